"""Seeds, and sections that draw from a generator of their own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

RandomState = int | np.random.RandomState | None
"""What the parameter `random_state` may be."""


def derive_seed(seed: int, *keys: int) -> int:
    """Derive an independent seed for one use, the same whenever it is asked for."""
    return int(np.random.SeedSequence([seed, *keys]).generate_state(1, np.uint64)[0]) >> 1


def seed_from(random_state: object) -> int:
    """A seed from None, an integer or a generator; an integer always gives the same one."""
    if random_state is None:
        # Not NumPy's global generator, which is the caller's.
        random_state = np.random.RandomState()
    try:
        generator = check_random_state(random_state)
    except ValueError as e:
        raise ValueError(
            "random_state must be None, an integer from 0 to 2**32 - 1 or a RandomState, "
            f"got {random_state!r}."
        ) from e
    return int(generator.randint(np.iinfo(np.int32).max))


class own_generator(TorchFunctionMode):
    """Draw from fresh generators, one for each device, for the length of a ``with`` block.

    Layers and distributions of torch and zuko draw from torch's global generator, which other
    threads share. Within the block, and in this thread only, they draw from the block's own.
    New tensors are float32 and on the CPU unless the call says otherwise, whatever the caller's
    defaults. Every call of torch becomes slower: a training step does not belong in the block.

    Parameters
    ----------
    seed : int
        The draws are those of ``torch.manual_seed(seed)``.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in _LIKE:
            return self._like(func, *args, **kwargs)
        if func in _FACTORIES or (func is torch.normal and not _tensors(args, kwargs)):
            _complete(func, args, kwargs)
        if func in _RANDOM and kwargs.get("generator") is None:
            kwargs["generator"] = self._generator(_device_of(args, kwargs))
        result = func(*args, **kwargs)
        return _in_single(result, args, kwargs) if func in _INFERRING else result

    def _generator(self, device: torch.device) -> torch.Generator | None:
        if device.type == "meta":
            return None
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self._seed)
        return self._generators[device]

    def _like(self, func: Callable[..., Any], input: Tensor, *bounds: int, **kwargs: Any) -> Tensor:
        """``rand_like`` and others, which take no generator in every version of torch."""
        bounds += tuple(kwargs.pop(name) for name in ("low", "high") if name in kwargs)
        generator = kwargs.pop("generator", None)
        drawn = torch.empty_like(input, **kwargs)
        return _LIKE[func](drawn, *bounds, generator=generator or self._generator(drawn.device))


def _complete(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Set the device of a new tensor and, where it does not follow from values, its dtype."""
    if kwargs.get("out") is not None:
        return
    kwargs["device"] = _device_of(args, kwargs)
    if func in _FLOATING and kwargs.get("dtype") is None:
        kwargs["dtype"] = torch.float32


def _in_single(result: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """A tensor whose dtype was the caller's default one, for want of any other, in float32."""
    asked = kwargs.get("dtype") is not None or any(
        hasattr(value, "dtype") for value in (*args, *kwargs.values())
    )
    is_default = result.is_floating_point() and result.dtype == torch.get_default_dtype()
    return result.float() if is_default and not asked else result


def _device_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.device:
    """The device a call names, or that of its first tensor, or the CPU."""
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"])
    tensors = _tensors(args, kwargs)
    return tensors[0].device if tensors else torch.device("cpu")


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    return [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]


_LIKE: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.rand_like: Tensor.uniform_,
    torch.randn_like: Tensor.normal_,
    torch.randint_like: Tensor.random_,
}
_FLOATING = {
    torch.empty, torch.zeros, torch.ones, torch.eye, torch.linspace, torch.logspace, torch.rand,
    torch.randn, torch.normal,
}  # fmt: skip
_INFERRING = {
    torch.tensor, torch.as_tensor, torch.asarray, torch.scalar_tensor, torch.full, torch.arange,
}  # fmt: skip
_FACTORIES = {
    *_FLOATING, *_INFERRING, torch.randint, torch.randperm, torch.tril_indices,
    torch.triu_indices, torch.empty_strided,
} - {torch.normal}  # fmt: skip
_RANDOM = {
    torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal, torch.bernoulli,
    torch.multinomial, torch.poisson, torch.binomial, torch._standard_gamma,
    torch._sample_dirichlet, Tensor.bernoulli, Tensor.bernoulli_, Tensor.cauchy_,
    Tensor.exponential_, Tensor.geometric_, Tensor.log_normal_, Tensor.multinomial,
    Tensor.normal_, Tensor.random_, Tensor.uniform_, nn.init.uniform_, nn.init.normal_,
    nn.init.trunc_normal_, nn.init.xavier_uniform_, nn.init.xavier_normal_,
    nn.init.kaiming_uniform_, nn.init.kaiming_normal_, nn.init.orthogonal_, nn.init.sparse_,
}  # fmt: skip
