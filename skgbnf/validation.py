"""Checks of what a user passes, each failing in one sentence that names the culprit."""

import math
import os
import re
from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from skgbnf._files import check_replaceable
from skgbnf.flows import ACTIVATIONS, BASES, FAMILIES, LOG_DETS, TAILS, CopulaBase
from skgbnf.geometric import GEOMETRIC
from skgbnf.objectives import OBJECTIVES
from skgbnf.table.bounds import check_bounds
from skgbnf.table.checks import check_unmasked

MOST_TRANSFORMS = 1000
MOST_UNITS = 100_000
"""Largest number of layers of a flow, and of units in a layer or columns of a latent space."""

_MOST_HIDDEN_WEIGHTS = 10**9


def check_integer(name: str, value: object, smallest: int, largest: int | None = None) -> None:
    """Raise unless `value` is an integer of at least `smallest` and at most `largest`."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}.")
    if value < smallest:
        raise ValueError(f"{name} must be at least {smallest}, got {value!r}.")
    if largest is not None and value > largest:
        raise ValueError(f"{name} must be at most {largest}, got {value!r}.")


def check_real(name: str, value: object, low: float, high: float, *, open_low: bool) -> None:
    """Raise unless `value` is a finite number from `low` (or above it) to below `high`."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    above = value > low if open_low else value >= low
    if not (above and value < high):
        bracket = "(" if open_low else "["
        raise ValueError(f"{name} must lie in {bracket}{low}, {high}), got {value!r}.")


def check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raise unless `value` is one of the `allowed` strings."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {allowed}, got {value!r}.")
    if value not in allowed:
        raise ValueError(f"{name} must be one of {allowed}, got {value!r}.")


def check_flag(name: str, value: object) -> None:
    """Raise unless `value` is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}.")


def check_verbose(value: object) -> None:
    """Raise unless `value` is True, False or an integer that is not negative."""
    if not isinstance(value, bool | np.bool_):
        check_integer("verbose", value, 0)


def check_flow(flow: object) -> None:
    """Raise unless `flow` is "auto", a name, a callable or a list of names and callables."""
    if isinstance(flow, str):
        check_choice("flow", flow, ("auto", *FAMILIES))
        return
    several = isinstance(flow, list | tuple)
    if several and not flow:
        raise ValueError("flow: a list must name at least one family, got an empty one.")
    for choice in flow if several else [flow]:
        if not callable(choice):
            check_choice("flow", choice, FAMILIES if several else ("auto", *FAMILIES))


def check_init(init: object) -> None:
    """Raise unless `init` is None, "auto", a name or a list of names."""
    if isinstance(init, list | tuple):
        for family in init:
            check_choice("init", family, FAMILIES)
    elif init is not None:
        check_choice("init", init, ("auto", *FAMILIES))


def check_base(base: object, n_features: int | None = None) -> None:
    """Raise unless `base` is a name or a :class:`CopulaBase` that suits the columns."""
    if not isinstance(base, str | CopulaBase):
        raise TypeError(f"base must be one of {tuple(BASES)} or a CopulaBase, got {base!r}.")
    if isinstance(base, str):
        check_choice("base", base, tuple(BASES))
    elif n_features is not None:
        base.check_columns(n_features)


def check_hidden_layer_sizes(sizes: object, name: str = "hidden_layer_sizes") -> tuple[int, ...]:
    """Return the widths as a tuple; a single integer stands for one layer."""
    if isinstance(sizes, np.ndarray):
        sizes = sizes.tolist()
    if isinstance(sizes, Integral) and not isinstance(sizes, bool):
        sizes = (sizes,)
    if not isinstance(sizes, list | tuple):
        raise TypeError(f"{name} must be a tuple of integers, got {sizes!r}.")
    if len(sizes) == 0:
        raise ValueError(f"{name} must name at least one layer, got none.")
    for size in sizes:
        check_integer(name, size, 1, MOST_UNITS)
    if sum(int(a) * int(b) for a, b in pairwise(sizes)) > _MOST_HIDDEN_WEIGHTS:
        raise ValueError(f"{name}: between them lie more than 1e9 weights, got {sizes!r}.")
    return tuple(int(size) for size in sizes)


def device_name(device: object) -> object:
    """The name of a torch device; anything else as it is."""
    return str(device) if isinstance(device, torch.device) else device


def check_device(device: object) -> None:
    """Raise unless `device` is what :func:`fit_device` knows."""
    name = device_name(device)
    numbered = isinstance(name, str) and re.fullmatch(r"(cpu|cuda):[0-9]+", name)
    check_choice("device", numbered[1] if numbered else name, ("cpu", "cuda", "auto"))


def fit_device(device: str | torch.device) -> torch.device:
    """The torch device to train on; "auto" takes a GPU where there is one.

    Raises
    ------
    ValueError
        If `device` is a GPU that torch does not find.
    """
    name = str(device)
    kind, _, number = name.partition(":")
    if kind == "cuda" and int(number or 0) >= _n_gpus():
        raise ValueError(f"device={name!r} needs a GPU that torch can use, and it finds none.")
    return score_device(device)


def score_device(device: str | torch.device) -> torch.device:
    """The torch device to score on: a model trained on a GPU opens on machines without one."""
    kind, _, number = str(device).partition(":")
    if kind == "cpu" or not _n_gpus():
        return torch.device("cpu")
    return torch.device(device) if number and int(number) < _n_gpus() else torch.device("cuda")


def _n_gpus() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def check_dequantize(value: object, n_features: int | None = None) -> None:
    """Raise unless `value` is "auto", a bool, or widths that are finite and not negative."""
    if isinstance(value, bool | np.bool_):
        return
    if isinstance(value, str):
        if value != "auto":
            raise ValueError(f'dequantize must be "auto", a bool or widths, got {value!r}.')
        return
    numbers = isinstance(value, Real | list | tuple | np.ndarray)
    try:
        widths = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = False
    if not numbers:
        raise TypeError(f'dequantize must be "auto", a bool or widths, got {value!r}.')
    if widths.ndim > 1 or not (np.isfinite(widths).all() and (widths >= 0).all()):
        raise ValueError(f"dequantize: widths must be finite and not negative, got {value!r}.")
    if n_features is not None and widths.ndim and len(widths) != n_features:
        raise ValueError(
            f"dequantize must hold a width for each of {n_features} features, got {value!r}."
        )


def check_path(name: str, value: object) -> None:
    """Raise unless `value` is None or a path."""
    is_path = isinstance(value, str | os.PathLike) and isinstance(os.fspath(value), str)
    if not (value is None or is_path):
        raise TypeError(f"{name} must be a path or None, got {value!r}.")


def check_file_can_be_made(name: str, path: str | os.PathLike[str]) -> None:
    """Raise ValueError unless `path` names a file, there or not, in a folder to write to."""
    folder = os.path.dirname(os.path.realpath(path))
    try:
        check_replaceable(path)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise ValueError(
            f"{name}: cannot write {os.fspath(path)!r}; it is no regular file, or its folder is "
            "missing or read-only."
        )


def check_density_parameters(estimator) -> None:
    """Raise unless every constructor parameter of a density estimator is in its range."""
    check_integer("n_estimators", estimator.n_estimators, 1)
    check_flow(estimator.flow)
    check_init(estimator.init)
    check_base(estimator.base)
    check_choice("tail", estimator.tail, TAILS)
    check_choice("objective", estimator.objective, (*OBJECTIVES, GEOMETRIC))
    check_hidden_layer_sizes(estimator.hidden_layer_sizes)
    check_choice("activation", estimator.activation, ("auto", *ACTIVATIONS))
    if not isinstance(estimator.dropout, str):
        check_real("dropout", estimator.dropout, 0, 1, open_low=False)
    elif estimator.dropout != "auto":
        raise ValueError(f'dropout must be a number or "auto", got {estimator.dropout!r}.')
    check_real("lipschitz_penalty", estimator.lipschitz_penalty, 0, math.inf, open_low=False)
    if estimator.scale_clamp is not None:
        check_real("scale_clamp", estimator.scale_clamp, 0, math.inf, open_low=True)
    check_choice("log_det", estimator.log_det, tuple(LOG_DETS))
    check_real("learning_rate_init", estimator.learning_rate_init, 0, math.inf, open_low=True)
    largest = {"n_transforms": MOST_TRANSFORMS, "batch_size": None, "max_iter": None}
    for name, most in largest.items():
        if not isinstance(value := getattr(estimator, name), str):
            check_integer(name, value, 1, most)
        elif value != "auto":
            raise ValueError(f'{name} must be an integer or "auto", got {value!r}.')
    check_integer("fine_tune", estimator.fine_tune, 0)
    if estimator.fine_tune and estimator.objective == GEOMETRIC:
        raise ValueError('fine_tune must be 0 with objective="geometric".')
    if estimator.max_time is not None:
        check_real("max_time", estimator.max_time, 0, math.inf, open_low=True)
    if estimator.validation_fraction is not None:
        check_real("validation_fraction", estimator.validation_fraction, 0, 1, open_low=False)
    check_integer("n_iter_no_change", estimator.n_iter_no_change, 1)
    check_real("tol", estimator.tol, 0, math.inf, open_low=False)
    check_flag("warm_start", estimator.warm_start)
    check_dequantize(estimator.dequantize)
    check_bounds(estimator.bounds)
    check_path("checkpoint", estimator.checkpoint)
    check_device(estimator.device)
    check_verbose(estimator.verbose)


def check_spread(X: np.ndarray, names: Sequence[Any], input_name: str = "X") -> None:
    """Raise ValueError unless the distance between the rows of each column is a finite number.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)

    names : sequence of length n_features
        What the message calls the columns.

    input_name : str, default="X"
        What it calls the table.
    """
    smallest, largest = (extreme(axis=0).astype(np.float64) for extreme in (X.min, X.max))
    with np.errstate(over="ignore"):
        too_wide = np.flatnonzero(~np.isfinite(largest - smallest))
    if len(too_wide):
        j = too_wide[0]
        raise ValueError(
            f"{input_name}: column {names[j]!r} reaches from {smallest[j]:g} to {largest[j]:g}, "
            "farther than float64 can tell; divide it by a power of ten or drop the rows at fault."
        )


def check_weights(sample_weight, n_samples: int, name: str = "sample_weight") -> np.ndarray:
    """Return row weights as shares of the largest, in float64, or ones for None.

    Raises
    ------
    ValueError
        If they are not one finite, non-negative number per row, or all zero.
    """
    if sample_weight is None:
        return np.ones(n_samples)
    check_unmasked(sample_weight, name)
    weights = np.asarray(sample_weight)
    if weights.dtype.kind in "mM":
        raise ValueError(f"{name} must hold numbers, got dates or durations.")
    if weights.dtype.kind in "US":
        raise ValueError(f"{name} must hold numbers, got text.")
    if weights.dtype.kind == "c":
        raise ValueError(f"{name} must hold real numbers, got complex ones.")
    try:
        weights = weights.astype(np.float64)
    except (TypeError, ValueError) as e:
        raise ValueError(f"{name} must hold numbers, got {sample_weight!r}.") from e
    if weights.ndim == 0:
        weights = np.full(n_samples, float(weights))
    if weights.shape != (n_samples,):
        raise ValueError(f"{name} must have shape ({n_samples},), got {weights.shape}.")
    if not np.isfinite(weights).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity.")
    if (weights < 0).any():
        raise ValueError(f"{name} must not be negative, got {weights.min():g}.")
    if not weights.any():
        raise ValueError(f"{name} must not be zero for every row.")
    # Sums of weights near the largest number would overflow.
    return weights / weights.max()


def rounded(weights: np.ndarray) -> np.ndarray:
    """Shares of the largest weight to seven digits.

    Weights that differ by a common factor become identical, not merely close, and so do the
    models trained with them.
    """
    return weights.astype(np.float32).astype(np.float64)


def seed_from(random_state) -> int:
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
