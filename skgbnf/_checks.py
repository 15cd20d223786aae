"""Checks of what a user passes, each failing in one sentence that names the culprit."""

import math
import os
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from numbers import Integral, Real

import numpy as np

from skgbnf._files import check_replaceable

Check = Callable[[str, object], object]
"""Raises TypeError or ValueError, naming the parameter, unless the value is in its range."""

MOST_TRANSFORMS = 1000
MOST_UNITS = 100_000
"""Largest number of layers of a flow, and of units in a layer or columns of a latent space."""

_MOST_HIDDEN_WEIGHTS = 10**9


def check_integer(name: str, value: object, smallest: int, largest: int | None = None) -> None:
    """Raise unless `value` is an integer of at least `smallest` and at most `largest`."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}.")
    number = int(value)
    if number < smallest:
        raise ValueError(f"{name} must be at least {smallest}, got {value!r}.")
    if largest is not None and number > largest:
        raise ValueError(f"{name} must be at most {largest}, got {value!r}.")


def check_real(name: str, value: object, low: float, high: float, *, open_low: bool) -> None:
    """Raise unless `value` is a finite number from `low` (or above it) to below `high`."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    number = float(value)
    above = number > low if open_low else number >= low
    if not (above and number < high):
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


check_positive: Check = partial(check_real, low=0, high=math.inf, open_low=True)
check_not_negative: Check = partial(check_real, low=0, high=math.inf, open_low=False)
check_fraction: Check = partial(check_real, low=0, high=1, open_low=False)
check_count: Check = partial(check_integer, smallest=1)


def or_none(check: Check) -> Check:
    """A check of what may also be None."""

    def checked(name: str, value: object) -> None:
        if value is not None:
            check(name, value)

    return checked


def or_auto(check: Check, kind: str) -> Check:
    """A check of what may also be "auto"; `kind` is what errors call the rest."""

    def checked(name: str, value: object) -> None:
        if not isinstance(value, str):
            check(name, value)
        elif value != "auto":
            raise ValueError(f'{name} must be {kind} or "auto", got {value!r}.')

    return checked


def check_hidden_layer_sizes(name: str, sizes: object) -> tuple[int, ...]:
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
