"""What training leaves behind, as NumPy arrays: components, their combination, the scores."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Protocol, Self
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from skgbnf._random import own_generator
from skgbnf._shapes import shapes_of
from skgbnf.flows import Architecture
from skgbnf.training.mixture import Combination, Mixture
from skgbnf.training.product import Product

Plain = dict[str, Any]
"""Nested dicts and lists of JSON values and arrays, which pickles and files hold."""


class Buildable(Protocol):
    """A frozen description of a module, apart from its parameters."""

    def build(self) -> Any:
        """Build the module, untrained."""

    def check(self, array_sizes: Sequence[int]) -> None:
        """Raise ValueError unless arrays of these sizes can be the module's."""

    def to_plain(self) -> Plain:
        """The description as JSON knows it."""


@dataclass(frozen=True, eq=False)
class FittedComponent:
    """One trained component or network: its architecture and its parameters as NumPy arrays.

    Attributes
    ----------
    architecture : Architecture, or NetworkArchitecture of an autoencoder

    arrays : dict of str to ndarray
        The module's state; read-only.
    """

    architecture: Any
    arrays: dict[str, np.ndarray] = field(repr=False)

    def __post_init__(self) -> None:
        # A module of them may be in use, and would not follow.
        for array in self.arrays.values():
            array.flags.writeable = False

    @classmethod
    def from_module(cls, architecture: Buildable, module: nn.Module) -> Self:
        """Copy a module's state into arrays."""
        state = module.state_dict().items()
        arrays = {name: tensor.detach().cpu().numpy().copy() for name, tensor in state}
        return cls(architecture, arrays)

    def to_plain(self) -> Plain:
        """The component as plain values and arrays."""
        return {"architecture": self.architecture.to_plain(), "arrays": dict(self.arrays)}

    @classmethod
    def from_plain(
        cls, plain: Plain, describe: Callable[[Plain], Buildable] = Architecture.from_plain
    ) -> Self:
        """Inverse of :meth:`to_plain`."""
        return cls(describe(plain["architecture"]), dict(plain["arrays"]))

    def check(self) -> None:
        """Raise ValueError unless architecture and arrays fit together.

        Nothing of the size that the architecture claims is made before that is known.
        """
        architecture, arrays = self.architecture, self.arrays
        architecture.check([array.size for array in arrays.values()])
        expected = _expected(architecture, getattr(architecture, "record", None))
        if expected.keys() != arrays.keys():
            odd = min(expected.keys() ^ arrays.keys())
            raise ValueError(f"an array {odd!r} is missing or does not belong to: {architecture}")
        for name, (shape, dtype) in expected.items():
            _check_array(name, arrays[name], shape, dtype)

    @property
    def dtype(self) -> torch.dtype:
        """Precision the component was trained in."""
        doubles = any(array.dtype == np.float64 for array in self.arrays.values())
        return torch.float64 if doubles else torch.float32

    def module(self, dtype: torch.dtype, device: torch.device | str) -> Any:
        """The module to answer with, not to be trained: kept for the next call.

        To build one takes longer than to score a sample.
        """
        kept = _MODULES.setdefault(self, {})
        key = dtype, torch.device(device)
        if key not in kept:
            # Whatever mode the first call is made in.
            with torch.inference_mode(False), torch.no_grad():
                kept[key] = self.to_module(dtype, device).requires_grad_(False)
        return kept[key]

    def to_module(self, dtype: torch.dtype, device: torch.device | str) -> Any:
        """Build a module anew: of a component, a zuko density over standardised samples."""
        # Parameters may be float64 where the fresh module is float32: widen it before they go in.
        module = _built(self.architecture).to(torch.float64)
        module.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in self.arrays.items()})
        return module.to(device, dtype).eval()


_MODULES: WeakKeyDictionary[FittedComponent, dict[Any, nn.Module]] = WeakKeyDictionary()
"""Modules of fitted components in use; beside them, lest they get into pickles and copies."""


def _built(architecture: Buildable) -> Any:
    with own_generator(0):
        return architecture.build()


@lru_cache(maxsize=64)
def _expected(
    architecture: Buildable, record: object
) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Shapes and dtypes of a component's arrays; many of a file have the same.

    A family may be registered again: its record is a part of the key.
    """
    return shapes_of(lambda: _built(architecture))


def _check_array(name: str, array: np.ndarray, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Raise ValueError unless an array is one that a module has under a name."""
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    # What is not real is an index or a mask; what is may have been trained in either precision.
    own = torch.from_numpy(np.empty(0, array.dtype)).dtype
    if own != dtype and not (dtype.is_floating_point and own in (torch.float32, torch.float64)):
        raise ValueError(f"{name} holds {own}, expected {dtype}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} is not finite")


@dataclass(frozen=True, eq=False)
class FittedCombination(ABC):
    """Trained components and their weights.

    Attributes
    ----------
    components : tuple of FittedComponent
        Densities of the same features, given the same context or none.

    staged_weights : ndarray of shape (n_stages, n_components)
        Weights after each stage, 0 of components that came later; the last row is in force.
    """

    components: tuple[FittedComponent, ...]
    staged_weights: np.ndarray

    def __post_init__(self) -> None:
        weights, n = self.staged_weights, len(self.components)
        if not n:
            raise ValueError("it has no components")
        if weights.ndim != 2 or weights.shape[1] != n or n % max(len(weights), 1):
            raise ValueError(f"its weights have shape {weights.shape}, for {n} components")
        if not ((weights >= 0).all() and np.allclose(weights.sum(axis=1), 1.0, atol=1e-6)):
            raise ValueError("its weights are negative or do not sum to 1")
        weights.flags.writeable = False
        sizes = {component.architecture.n_features for component in self.components}
        contexts = {component.architecture.n_context for component in self.components} - {0}
        if len(sizes) != 1 or len(contexts) > 1:
            raise ValueError("its components have different numbers of columns or of context")

    @property
    def weights(self) -> np.ndarray:
        """The weights in force, of shape (n_components,)."""
        return self.staged_weights[-1]

    @property
    def n_features(self) -> int:
        """Number of features of each component."""
        return int(self.components[0].architecture.n_features)

    @property
    def n_context(self) -> int:
        """Number of columns of the context of the components that depend on it, 0 for none."""
        return max(int(component.architecture.n_context) for component in self.components)

    @abstractmethod
    def at(self, dtype: torch.dtype, device: torch.device) -> Combination:
        """The density as modules of that precision on that device."""

    def to_plain(self) -> Plain:
        """The combination as plain values and arrays."""
        return {
            "components": [component.to_plain() for component in self.components],
            "staged_weights": self.staged_weights,
        }

    def _at(self, dtype: torch.dtype, device: torch.device) -> tuple[list[Any], torch.Tensor]:
        modules = [component.module(dtype, device) for component in self.components]
        return modules, torch.tensor(self.staged_weights, device=device, dtype=dtype)


@dataclass(frozen=True, eq=False)
class FittedMixture(FittedCombination):
    """A trained mixture: the weighted sum of its components."""

    def at(self, dtype: torch.dtype, device: torch.device) -> Mixture:
        return Mixture(*self._at(dtype, device))


@dataclass(frozen=True, eq=False)
class FittedProduct(FittedCombination):
    """A trained product: powers of its components, over the integral of their product.

    Attributes
    ----------
    log_normalizers : ndarray of shape (n_stages,)
        Logarithm of the integral after each stage.

    log_normalizer_error : float
        Standard error of the last one, in nats.
    """

    log_normalizers: np.ndarray
    log_normalizer_error: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_context:
            raise ValueError("its components need a context, on which its integral would depend")
        if self.log_normalizers.shape != self.staged_weights.shape[:1]:
            raise ValueError("it has more or fewer normalisers than stages")
        if not np.isfinite(self.log_normalizers).all():
            raise ValueError("its normaliser is not finite")

    def at(self, dtype: torch.dtype, device: torch.device) -> Product:
        log_normalizers = torch.tensor(self.log_normalizers, device=device, dtype=dtype)
        return Product(*self._at(dtype, device), log_normalizers)

    def to_plain(self) -> Plain:
        return {
            **super().to_plain(),
            "log_normalizers": self.log_normalizers,
            "log_normalizer_error": self.log_normalizer_error,
        }


def combination_from_plain(
    plain: Plain,
    *,
    check: bool,
    describe: Callable[[Plain], Buildable] = Architecture.from_plain,
) -> FittedMixture | FittedProduct:
    """Inverse of the method ``to_plain`` of a mixture or a product.

    Parameters
    ----------
    plain : dict

    check : bool
        Whether the arrays of components are compared with their architectures.

    describe : callable, default=Architecture.from_plain
        Makes the architecture of a component of its plain values.

    Raises
    ------
    ValueError
        If the parts do not fit together.
    """
    weights = _floats(plain["staged_weights"])
    if weights.ndim != 2 or weights.shape[1] != len(plain["components"]):
        # Before components are built, of which there may be a great many.
        raise ValueError("it has more or fewer weights than components")
    components = tuple(FittedComponent.from_plain(part, describe) for part in plain["components"])
    if check:
        for component in components:
            component.check()
    if "log_normalizers" not in plain:
        return FittedMixture(components, weights)
    log_normalizers, error = _floats(plain["log_normalizers"]), plain["log_normalizer_error"]
    return FittedProduct(components, weights, log_normalizers, float(error))


def _floats(array: np.ndarray) -> np.ndarray:
    """An array of a file that must be one of numbers in double precision."""
    if not isinstance(array, np.ndarray) or array.dtype != np.float64:
        raise ValueError("an array of numbers is missing or of another type")
    return array


@dataclass(frozen=True, eq=False)
class History:
    """What was noted after each round.

    Attributes
    ----------
    n_iter : ndarray of shape (n_rounds,)
        Epochs, or EM iterations, for which the component of the round was trained.

    gains : ndarray of shape (n_rounds,)
        Bound of what the component could gain per unit of weight, in nats; inf if unknown.

    train_scores : ndarray of shape (n_rounds,) or None
        Mean score of the training samples, in nats; None where there are none.

    validation_scores : ndarray of shape (n_rounds,) or None
        The same of the validation set; None without one.
    """

    n_iter: np.ndarray
    gains: np.ndarray
    train_scores: np.ndarray | None
    validation_scores: np.ndarray | None

    def __post_init__(self) -> None:
        arrays = [array for array in vars(self).values() if array is not None]
        if {array.shape for array in arrays} != {(len(self.n_iter),)}:
            raise ValueError("it has notes on different numbers of rounds")
        if self.n_iter.dtype.kind != "i" or np.isnan(self.gains).any():
            raise ValueError("its notes on rounds are no numbers")
        for array in arrays:
            array.flags.writeable = False

    @property
    def total_iter(self) -> int:
        """Epochs, or EM iterations, of all rounds."""
        return int(self.n_iter.sum())

    def shifted(self, log_det: float) -> "History":
        """The notes with scores in other units."""
        scores = (self.train_scores, self.validation_scores)
        train, validation = (None if own is None else own + log_det for own in scores)
        return replace(self, train_scores=train, validation_scores=validation)

    def to_plain(self) -> Plain:
        """The notes as arrays; those that are missing are left out."""
        return {name: array for name, array in vars(self).items() if array is not None}

    @classmethod
    def from_plain(cls, plain: Plain, n_rounds: int) -> Self:
        """Inverse of :meth:`to_plain`; ValueError unless there are notes on so many rounds."""
        self = cls(**{"train_scores": None, "validation_scores": None, **plain})
        if len(self.n_iter) != n_rounds:
            raise ValueError("it has notes on more or fewer rounds than it has components")
        return self
