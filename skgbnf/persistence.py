"""Modules as named arrays, and estimators as one file that loads without running code."""

import hashlib
import json
import os
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, Self, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as write_tensors

from skgbnf._files import check_path, read_file, replace_file
from skgbnf._random import own_generator
from skgbnf._shapes import shapes_of
from skgbnf.flows import FAMILIES, Architecture, base_to_plain

FORMAT_VERSION = 1
_FORMAT = "skgbnf"


class Persistent(Protocol):
    """What :func:`save` and :func:`load` need of a class of estimators."""

    def _get_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON data and arrays."""

    @classmethod
    def _from_state(cls, data: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """The estimator again; what is given is validated."""


_Class = TypeVar("_Class", bound=type[Persistent])
_PERSISTENT: dict[str, type[Persistent]] = {}


@dataclass(frozen=True, eq=False)
class FittedComponent:
    """One trained component or network: its architecture and its parameters as NumPy arrays.

    Attributes
    ----------
    architecture : Architecture, or NetworkArchitecture of an autoencoder
        A frozen dataclass of plain values with methods ``build`` and ``check``.

    arrays : dict of str to ndarray
        The module's state.
    """

    architecture: Any
    arrays: dict[str, np.ndarray] = field(repr=False)

    def __post_init__(self) -> None:
        # A module of them may be in use, and would not follow.
        for array in self.arrays.values():
            array.flags.writeable = False

    @classmethod
    def from_module(cls, architecture: Any, module: torch.nn.Module) -> Self:
        """Copy a module's state into arrays."""
        state = module.state_dict().items()
        arrays = {name: tensor.detach().cpu().numpy().copy() for name, tensor in state}
        return cls(architecture, arrays)

    @classmethod
    def from_plain(cls, state: dict[str, Any]) -> "FittedComponent":
        """Inverse of :meth:`plain`."""
        return cls(Architecture.from_plain(state["architecture"]), state["arrays"])

    @classmethod
    def checked(cls, architecture: Any, arrays: dict[str, np.ndarray]) -> Self:
        """A component out of a file; ValueError unless architecture and arrays fit together.

        Nothing of the size that the architecture claims is made before that is known.
        """
        architecture.check([array.size for array in arrays.values()])
        expected = _expected(architecture)
        if expected.keys() != arrays.keys():
            odd = min(expected.keys() ^ arrays.keys())
            raise ValueError(f"an array {odd!r} is missing or does not belong to: {architecture}")
        for name, (shape, dtype) in expected.items():
            _check_array(name, arrays[name], shape, dtype)
        return cls(architecture, arrays)

    def plain(self) -> dict[str, Any]:
        """The component as dicts of plain values and arrays."""
        return {"architecture": self.architecture.plain(), "arrays": self.arrays}

    @property
    def dtype(self) -> torch.dtype:
        """Precision the component was trained in."""
        doubles = any(array.dtype == np.float64 for array in self.arrays.values())
        return torch.float64 if doubles else torch.float32

    def module(self, dtype: torch.dtype, device: torch.device | str) -> Any:
        """The module to answer with, not to be trained: kept for the next call.

        To build one takes longer than to score a row.
        """
        kept = _MODULES.setdefault(self, {})
        key = dtype, torch.device(device)
        if key not in kept:
            # Whatever mode the first call is made in.
            with torch.inference_mode(False), torch.no_grad():
                kept[key] = self.to_module(dtype, device).requires_grad_(False)
        return kept[key]

    def to_module(self, dtype: torch.dtype, device: torch.device | str) -> Any:
        """Build a module anew: of a component, a zuko density over standardised rows."""
        # Parameters may be float64 where the fresh module is float32: widen it before they go in.
        module = _built(self.architecture).to(torch.float64)
        module.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in self.arrays.items()})
        return module.to(device, dtype).eval()


_MODULES: WeakKeyDictionary[FittedComponent, dict[Any, torch.nn.Module]] = WeakKeyDictionary()
"""Modules of fitted components in use; beside them, lest they get into pickles and copies."""


def _built(architecture: Any) -> Any:
    with own_generator(0):
        return architecture.build()


@lru_cache(maxsize=64)
def _expected(architecture: Any) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Shapes and dtypes of a component's arrays; many components of a file have the same."""
    return shapes_of(lambda: _built(architecture))


def persistent(cls: _Class) -> _Class:
    """Class decorator: let :func:`save` and :func:`load` handle an estimator."""
    _PERSISTENT[cls.__name__] = cls
    return cls


def save(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator to one safetensors file.

    Parameters
    ----------
    estimator : estimator of this package
        Fitted. A FlowOutlierDetector or FlowBayesClassifier needs a GradientBoostedFlowDensity as
        its `estimator`.

    path : str or path-like
        File to write. One that exists is replaced all at once and keeps its mode; a link stays
        one.

    Raises
    ------
    TypeError
        If the estimator is of no class this package can load, or holds one that is not, or `path`
        is no path.

    ValueError
        If it holds what no file can: a user's callable as ``flow``, a random number generator as
        ``random_state``, or labels that are neither numbers nor strings.

    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.

    OSError
        If the file cannot be written, or there is a folder, a pipe or a device at `path`.

    Examples
    --------
    >>> import tempfile, os, skgbnf
    >>> from sklearn.datasets import load_iris
    >>> X = load_iris().data
    >>> model = skgbnf.GradientBoostedFlowDensity(flow="affine", dequantize=True).fit(X)
    >>> path = os.path.join(tempfile.mkdtemp(), "iris.safetensors")
    >>> skgbnf.save(model, path)
    >>> bool((skgbnf.load(path).score_samples(X) == model.score_samples(X)).all())
    True
    """
    check_path(path)
    name = type(estimator).__name__
    if _PERSISTENT.get(name) is not type(estimator):
        raise TypeError(f"estimator: expected one of {sorted(_PERSISTENT)}, got {name}.")
    data, arrays = estimator._get_state()
    text = json.dumps({"class": name, "data": data}, allow_nan=False)
    metadata = {
        "format": _FORMAT,
        "version": str(FORMAT_VERSION),
        "model": text,
        "sha256": _digest(text, arrays),
    }
    content = write_tensors({k: np.ascontiguousarray(v) for k, v in arrays.items()}, metadata)
    replace_file(path, content)


def load(path: str | os.PathLike[str]) -> Any:
    """Read an estimator that :func:`save` wrote. No code from the file is run.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    estimator : estimator of this package
        Fitted; its scores are those of the estimator that was saved.

    Raises
    ------
    ValueError
        If the file is damaged, foreign, or of a later format version.

    OSError
        If the file cannot be read, or is a folder, a pipe or a device.

    TypeError
        If `path` is no path.
    """
    check_path(path)
    content = read_file(path)
    try:
        metadata, arrays = _parse(content)
        model = json.loads(metadata["model"])
        cls = _PERSISTENT[model["class"]]
        return cls._from_state(model["data"], arrays)
    except (
        LookupError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError,
    ) as e:  # fmt: skip
        raise ValueError(f"{os.fspath(path)!r} is not a readable skgbnf model: {e}") from e


def _parse(content: bytes) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Metadata and arrays of a file whose format, version and digest have been checked."""
    try:
        arrays = read_tensors(content)
        header_size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + header_size]).get("__metadata__", {})
    except (SafetensorError, KeyError, UnicodeDecodeError) as e:
        raise ValueError(f"it is damaged or no safetensors file ({e})") from e
    if metadata.get("format") != _FORMAT:
        raise ValueError("it was not written by skgbnf.save")
    version = metadata.get("version", "")
    if version != str(FORMAT_VERSION):
        raise ValueError(
            f"its format version is {version!r}, this version of skgbnf reads {FORMAT_VERSION}"
        )
    if metadata.get("sha256") != _digest(metadata["model"], arrays):
        raise ValueError("its checksum does not match, so it is damaged")
    return metadata, arrays


def _digest(text: str, arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def check_savable_random_state(random_state: object) -> None:
    """Raise ValueError if a constructor's `random_state` is what no file can hold."""
    if not (random_state is None or isinstance(random_state, int | np.integer)):
        raise ValueError(
            "random_state: a generator cannot be saved; "
            "set_params(random_state=None) or an integer first."
        )


def plain(value: object) -> object:
    """A constructor parameter as JSON knows it."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    return base_to_plain(value)


def components_to_state(
    components: Iterable[FittedComponent],
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """JSON data of fitted components, and their arrays under names that tell them apart.

    Raises
    ------
    ValueError
        If an architecture is a user's callable.
    """
    data, arrays = [], {}
    for k, component in enumerate(components):
        if callable(component.architecture.kind):
            raise ValueError(
                "flow: a model with a callable cannot be rebuilt from a file; pickle it where the "
                f"callable can be imported, or use one of {FAMILIES}."
            )
        data.append(component.architecture.plain())
        arrays.update({f"estimators.{k}.{name}": a for name, a in component.arrays.items()})
    return data, arrays


def components_from_state(
    data: Iterable[dict[str, Any]], arrays: dict[str, np.ndarray]
) -> list[FittedComponent]:
    """Inverse of :func:`components_to_state`, checking that data and arrays fit together."""
    groups = numbered_arrays("estimators.", arrays)
    return [
        FittedComponent.checked(Architecture.from_plain(component), groups.get(str(k), {}))
        for k, component in enumerate(data)
    ]


def arrays_under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those arrays whose names begin with a prefix, by the rest of their names."""
    return {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}


def numbered_arrays(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Arrays named by a prefix, a number and a dot, by number and by the rest of their names."""
    groups: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays_under(prefix, arrays).items():
        number, _, rest = name.partition(".")
        groups.setdefault(number, {})[rest] = array
    return groups


def check_arrays(
    estimator: Any, shapes: dict[str, tuple[int, ...]], optional: Container[str] = ()
) -> None:
    """Raise ValueError unless the fitted arrays of an estimator over columns fit together.

    Parameters
    ----------
    estimator : estimator
        With ``location_`` and ``scale_`` among its arrays.

    shapes : dict of str to tuple of int
        Of each attribute that holds an array.

    optional : container of str
        Attributes that may be None.
    """
    for name, shape in shapes.items():
        array = getattr(estimator, name)
        if array is None and name in optional:
            continue
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    location, scale = estimator.location_, estimator.scale_
    if not (np.isfinite(location).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError("its location or scale is not finite, or a scale is not positive")
    if len(getattr(estimator, "feature_names_in_", location)) != len(location):
        raise ValueError("it has more or fewer feature names than columns")


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
