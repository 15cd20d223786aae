"""Estimators as one file that loads without running code.

A file holds a tree of JSON values and arrays. Each class turns itself into such a tree and back;
everything else about files is written here.
"""

import hashlib
import json
import math
import os
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as write_tensors
from sklearn.utils.validation import check_is_fitted

from skgbnf._checks import check_file_can_be_made, check_path
from skgbnf._device import device_name
from skgbnf._files import check_file_path, read_file, replace_file

FORMAT_VERSION = 1
_FORMAT = "skgbnf"
_ARRAY, _NUMBER = "array", "number"
"""Keys under which the tree of a file names the array, or number, that belongs in its place."""


class Persistent(Protocol):
    """What :func:`save` and :func:`load` need of a class."""

    def to_plain(self) -> dict[str, Any]:
        """Nested dicts and lists of JSON values and arrays; ValueError if something is neither."""

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """The object again; what is given is validated."""


_Class = TypeVar("_Class", bound=type[Persistent])
_PERSISTENT: dict[str, type[Persistent]] = {}


def persistent(cls: _Class) -> _Class:
    """Class decorator: let :func:`save` and :func:`load` handle a class."""
    _PERSISTENT[cls.__name__] = cls
    return cls


def save(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator to one safetensors file.

    Parameters
    ----------
    estimator : estimator of this package
        Fitted. The `estimator` of a FlowOutlierDetector, FlowBayesClassifier or FlowTransformer
        must be a GradientBoostedFlowDensity.

    path : str or path-like
        File to write. An existing file is replaced atomically and keeps its mode; a link stays a
        link.

    Raises
    ------
    TypeError
        If the estimator, or one that it holds, is not of this package, or `path` is not a path.

    ValueError
        If the estimator holds what a file cannot: a callable as ``flow``, a random number generator
        as ``random_state``, or class labels other than numbers and strings.

    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.

    OSError
        If the file cannot be written, or `path` is a folder, a pipe or a device.

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
    check_file_path(path)
    name = type(estimator).__name__
    if _PERSISTENT.get(name) is not type(estimator):
        raise TypeError(f"estimator: expected one of {sorted(_PERSISTENT)}, got {name}.")
    arrays: dict[str, np.ndarray] = {}
    tree = _split(estimator.to_plain(), "", arrays)
    text = json.dumps({"class": name, "data": tree}, allow_nan=False)
    metadata = {
        "format": _FORMAT,
        "version": str(FORMAT_VERSION),
        "model": text,
        "sha256": _digest(text, arrays),
    }
    replace_file(path, write_tensors(arrays, metadata))


def load(path: str | os.PathLike[str]) -> Any:
    """Read a fitted estimator from a file of :func:`save`, without running code from the file.

    Parameters
    ----------
    path : str or path-like
        File to read.

    Returns
    -------
    estimator : estimator of this package
        Fitted; its scores are those of the saved estimator.

    Raises
    ------
    ValueError
        If the file is damaged, not one of this package, or of a later format version.

    OSError
        If the file cannot be read, or `path` is a folder, a pipe or a device.

    TypeError
        If `path` is not a path.
    """
    check_file_path(path)
    content = read_file(path)
    try:
        metadata, arrays = _parse(content)
        model = json.loads(metadata["model"])
        cls = _PERSISTENT[model["class"]]
        tree = _joined(model["data"], arrays)
        if arrays:
            raise ValueError(f"the array {min(arrays)!r} belongs to nothing")
        return cls.from_plain(tree)
    except (
        LookupError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError,
    ) as e:  # fmt: skip
        raise ValueError(f"{os.fspath(path)!r} is not a readable skgbnf model: {e}") from e


def _split(tree: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """The tree with each array moved to `arrays`, and the name it has there in its place."""
    if isinstance(tree, dict):
        return {key: _split(part, f"{name}{key}.", arrays) for key, part in tree.items()}
    if isinstance(tree, list | tuple):
        return [_split(part, f"{name}{i}.", arrays) for i, part in enumerate(tree)]
    if isinstance(tree, np.ndarray):
        arrays[name[:-1]] = np.ascontiguousarray(tree)
        return {_ARRAY: name[:-1]}
    # JSON knows no infinity.
    return {_NUMBER: str(tree)} if isinstance(tree, float) and not math.isfinite(tree) else tree


def _joined(tree: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Inverse of :func:`_split`; takes the arrays that it puts into the tree."""
    if isinstance(tree, dict):
        if tree.keys() == {_ARRAY}:
            return arrays.pop(tree[_ARRAY])
        if tree.keys() == {_NUMBER}:
            return float(tree[_NUMBER])
        return {key: _joined(part, arrays) for key, part in tree.items()}
    if isinstance(tree, list):
        return [_joined(part, arrays) for part in tree]
    return tree


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


class PersistentEstimator:
    """Mixin of estimators that go into files.

    The constructor's parameters go in as plain values. Those that name a path do not, nor are they
    read: a fit would write where the file says.
    """

    random_state: Any
    n_features_in_: int
    feature_names_in_: np.ndarray

    def _check_parameters(self) -> None:
        """Raise unless every constructor parameter is in its range, as far as it can be told."""

    @staticmethod
    def _parameter_to_plain(name: str, value: Any) -> Any:
        """One parameter as JSON knows it."""
        return plain(value)

    @staticmethod
    def _parameter_from_plain(name: str, value: Any) -> Any:
        """Inverse of :meth:`_parameter_to_plain`; sequences become tuples."""
        return tuples(value)


_Estimator = TypeVar("_Estimator", bound=PersistentEstimator)


def parameters_to_plain(estimator: Any) -> dict[str, Any]:
    """The constructor's parameters as JSON knows them, without paths.

    Raises
    ------
    ValueError
        If one of them is what no file can hold.
    """
    check_savable_random_state(estimator.random_state)
    return {
        name: estimator._parameter_to_plain(name, value)
        for name, value in estimator.get_params(deep=False).items()
        if name not in _PATHS
    }


def from_parameters(cls: type[_Estimator], parameters: dict[str, Any]) -> _Estimator:
    """An estimator that is not fitted; inverse of :func:`parameters_to_plain`.

    Raises
    ------
    TypeError, ValueError
        If they are not its parameters, or one of them is out of its range.
    """
    expected = cls().get_params(deep=False).keys() - _PATHS  # type: ignore[attr-defined]
    if parameters.keys() - _PATHS != expected:
        raise ValueError(f"it has other parameters than {sorted(expected)}")
    known = {name: cls._parameter_from_plain(name, parameters[name]) for name in expected}
    check_savable_random_state(known["random_state"])
    self = cls(**known)
    self._check_parameters()
    return self


def adopt_columns(estimator: PersistentEstimator, other: Any) -> None:
    """Let scikit-learn know, of an estimator, the columns that another one knows."""
    estimator.n_features_in_ = other.n_features_in_
    if hasattr(other, "feature_names_in_"):
        estimator.feature_names_in_ = other.feature_names_in_
    elif hasattr(estimator, "feature_names_in_"):
        del estimator.feature_names_in_


def rounds_to_continue(estimator: Any, resume_from: str | os.PathLike[str] | None) -> Any:
    """The fitted rounds of a file, None without one; what cannot be saved is refused now.

    Parameters
    ----------
    estimator : estimator
        With ``fitted_`` and ``checkpoint``.

    resume_from : str, path-like or None

    Raises
    ------
    TypeError, ValueError
        If the file holds another estimator, or one fitted with parameters that its rounds depend
        on, or if `checkpoint` is no file that can be written.
    """
    check_path("resume_from", resume_from)
    if estimator.checkpoint is not None:
        parameters_to_plain(estimator)
        check_file_can_be_made("checkpoint", estimator.checkpoint)
    if resume_from is None:
        return None
    earlier = load(resume_from)
    if type(earlier) is not type(estimator):
        raise ValueError(f"resume_from: the file holds a {type(earlier).__name__}.")
    check_same_parameters(parameters_to_plain(earlier), parameters_to_plain(estimator))
    adopt_columns(estimator, earlier)
    return earlier.fitted_


_PATHS = {"checkpoint"}

_MAY_CHANGE = {
    "n_estimators", "n_iter_no_change", "tol", "fine_tune", "max_time", "device", "warm_start",
    "verbose",
}  # fmt: skip
"""Parameters that finished rounds do not depend on."""


def check_same_parameters(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Raise ValueError if rounds in a file were fitted with other parameters than those of now."""
    other = [name for name in ours.keys() - _MAY_CHANGE if theirs.get(name) != ours[name]]
    if other:
        raise ValueError(
            f"resume_from: the rounds in the file were fitted with other {sorted(other)}."
        )


def check_savable_random_state(random_state: object) -> None:
    """Raise ValueError if a constructor's `random_state` is what no file can hold."""
    if not (random_state is None or isinstance(random_state, int | np.integer)):
        raise ValueError(
            "random_state: a generator cannot be saved; "
            "set_params(random_state=None) or an integer first."
        )


def plain(value: Any) -> Any:
    """A constructor parameter as JSON knows it."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    return value


def tuples(value: Any) -> Any:
    """A parameter of a file, its lists as tuples."""
    return tuple(map(tuples, value)) if isinstance(value, list) else value


class PersistentFit(PersistentEstimator):
    """Mixin of estimators whose fit is one object that has `to_plain`, and features with names."""

    fitted_: Any

    @staticmethod
    def _fitted_from_plain(plain: dict[str, Any], *, check: bool = True) -> Any:
        """The fit; with `check`, ValueError if arrays of a file do not fit their architectures."""
        raise NotImplementedError

    @property
    def _n_fitted_features(self) -> int:
        """Number of features that the fit is for."""
        raise NotImplementedError

    def to_plain(self) -> dict[str, Any]:
        """The fitted estimator as JSON values and arrays."""
        check_is_fitted(self)
        self._check_parameters()
        names = getattr(self, "feature_names_in_", np.array([])).tolist()
        parameters, fitted = parameters_to_plain(self), self.fitted_.to_plain()
        return {"parameters": parameters, "fitted": fitted, "feature_names": names}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`; ValueError unless the parts fit together."""
        self = from_parameters(cls, plain["parameters"])
        self.fitted_ = cls._fitted_from_plain(plain["fitted"])
        self.n_features_in_ = self._n_fitted_features
        names = plain["feature_names"]
        if names:
            if len(names) != self.n_features_in_:
                raise ValueError("it has more or fewer feature names than columns")
            self.feature_names_in_ = np.array(names, dtype=object)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """State for pickles, copies and skops: plain, so that skops has nothing to trust in it."""
        state = dict(super().__getstate__())  # type: ignore[call-overload]
        if "fitted_" in state:
            state["fitted_"] = self.fitted_.to_plain()
        if "device" in state:
            state["device"] = device_name(state["device"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "fitted_" in state:
            fitted = self._fitted_from_plain(state["fitted_"], check=False)
            state = {**state, "fitted_": fitted}
        super().__setstate__(state)  # type: ignore[misc]
