"""What a module would hold, found out without memory for it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class _OnMeta(TorchFunctionMode):
    """New numbers, zeros, ones or noise, have a shape and a dtype, but no values.

    All other tensors keep theirs: zuko counts what its indices and masks hold.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.eye:
            args = (args[0], args[-1])
        if func in _MADE and kwargs.get("dtype") not in (bool, torch.bool):
            kwargs.pop("generator", None)
            return _MADE[func](*args, **{**kwargs, "device": "meta"})
        if func in _IN_PLACE:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        return func(*args, **kwargs)


# Of some of them torch's own version without values takes a second when first called.
_MADE: dict[Callable[..., Any], Callable[..., Any]] = {
    **{func: func for func in (torch.empty, torch.zeros, torch.ones)},
    **dict.fromkeys((torch.eye, torch.rand, torch.randn), torch.empty),
}
# And these are slow at every call.
_IN_PLACE = {
    Tensor.mul_, Tensor.add_, Tensor.uniform_, Tensor.normal_, nn.init.uniform_, nn.init.zeros_,
    nn.init.kaiming_uniform_,
}  # fmt: skip


def shapes_of(build: Callable[[], nn.Module]) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Shape and dtype of each array of the state of a module.

    Parameters
    ----------
    build : callable
        Builds the module.
    """
    with _OnMeta():
        state = build().state_dict()
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in state.items()}
