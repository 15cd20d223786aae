"""Configurations of particles: what X must hold, and the units of the flows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod
from typing import Any, Self

import numpy as np
from scipy.stats import chi2

from skgbnf.table.checks import check_unmasked, checked_rows

_FAR = 0.999
_ROWS_TO_MEASURE = 10_000


@dataclass(frozen=True)
class ConfigurationSpace:
    """What configurations look like, and the length that the flows measure them by.

    Attributes
    ----------
    n_dims : int

    types : tuple of int
        Type of each particle, numbered from 0 in the order in which they first appear.

    stacked : bool
        Whether X had the shape (n_samples, n_particles, n_dims) in fit.

    scale : float
        Root mean square of a coordinate, in units of X.

    farthest : float
        Distance that few pairs exceed, in units of `scale`.
    """

    n_dims: int
    types: tuple[int, ...]
    stacked: bool
    scale: float
    farthest: float

    @property
    def shape(self) -> tuple[int, int]:
        """Of one configuration: particles and dimensions."""
        return len(self.types), self.n_dims

    @property
    def n_features(self) -> int:
        """Number of coordinates."""
        return math.prod(self.shape)

    @property
    def log_det(self) -> float:
        """What turns log-densities into the units of X."""
        return -(len(self.types) - 1) * self.n_dims * math.log(self.scale)

    @classmethod
    def from_samples(
        cls, X: np.ndarray, shape: tuple[int, int], types: tuple[int, ...], *, stacked: bool
    ) -> Self:
        """The units of training samples, X of shape (n_samples, n_features)."""
        x = centred(X.astype(np.float64).reshape(-1, *shape))
        n_free = (shape[0] - 1) * shape[1]
        scale = float(np.sqrt(np.square(x).sum() / (len(x) * n_free)))
        pairs = distances(x[:_ROWS_TO_MEASURE]) / scale
        of_noise = math.sqrt(2 * chi2.ppf(_FAR, shape[1]))
        return cls(shape[1], types, stacked, scale, max(float(np.quantile(pairs, _FAR)), of_noise))

    def checked(self, estimator: Any, X: Any, input_name: str = "X") -> np.ndarray:
        """Configurations as rows of coordinates, if they are such as those of fit."""
        X, shape = _flat(X)
        if shape and shape != self.shape:
            raise ValueError(
                f"{input_name} has configurations of shape {shape}, expected {self.shape}."
            )
        return checked_rows(estimator, X, reset=False, input_name=input_name)

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Rows of coordinates, centred and in units of `scale`."""
        x = X.reshape(-1, *self.shape)
        return (centred(x) / X.dtype.type(self.scale)).reshape(X.shape)

    def in_shape(self, x: np.ndarray) -> np.ndarray:
        """Configurations with as many axes as X had in fit."""
        return x if self.stacked else x.reshape(len(x), self.n_features)

    def to_plain(self) -> dict[str, Any]:
        """The space as plain values."""
        return dict(vars(self))

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`; ValueError unless the values are in their ranges."""
        self = cls(**{**plain, "types": tuple(plain["types"])})
        numbers = (self.scale, self.farthest)
        if not all(type(x) is float and 0 < x < math.inf for x in numbers):
            raise ValueError("its scale or its farthest distance is no positive number")
        if type(self.stacked) is not bool or type(self.n_dims) is not int or self.n_dims < 1:
            raise ValueError("the shape of its configurations is unknown")
        check_types(self.types)
        return self


def check_types(types: tuple[int, ...]) -> None:
    """Raise ValueError unless types of a file are numbered from 0, of two particles or more."""
    kinds = set(types)
    numbered = all(type(kind) is int for kind in kinds) and kinds == set(range(len(kinds)))
    if len(types) < 2 or not numbered:
        raise ValueError(f"the types of its particles are not numbered from 0: {types}")


def read_configurations(
    estimator: Any, X: Any
) -> tuple[np.ndarray, tuple[int, int], tuple[int, ...], bool]:
    """Check what fit is given.

    Parameters
    ----------
    estimator : EquivariantFlowDensity
        scikit-learn notes the number and names of the columns in it.

    X : array-like of shape (n_samples, n_particles * n_dims) or (n_samples, n_particles, n_dims)

    Returns
    -------
    X : ndarray of shape (n_samples, n_particles * n_dims)

    shape : tuple (n_particles, n_dims)

    types : tuple of int
        Numbered from 0.

    stacked : bool
        Whether X had three axes.

    Raises
    ------
    ValueError
        If X does not hold such configurations, or two particles of one coincide.
    """
    X, given = _flat(X)
    rows = checked_rows(estimator, X, reset=True, ensure_min_samples=2)
    shape = _shape(estimator, given, rows.shape[1])
    types = _types(estimator.types, shape[0])
    _check_apart(rows.reshape(-1, *shape))
    return rows, shape, types, bool(given)


def distances(x: np.ndarray) -> np.ndarray:
    """Distances of all pairs, shape (n_samples, n_pairs)."""
    first, second = np.triu_indices(x.shape[1], 1)
    return np.sqrt(np.square(x[:, first] - x[:, second]).sum(axis=2))


def centred(x: np.ndarray) -> np.ndarray:
    """Configurations moved to have their centre at the origin."""
    return x - x.mean(axis=1, keepdims=True)


def _flat(X: Any) -> tuple[Any, tuple[int, ...]]:
    """Configurations as rows, and the shape of one; () and X itself where they are rows."""
    check_unmasked(X, "X")
    if isinstance(X, list | tuple):
        X = np.asarray(X)
    shape = tuple(int(n) for n in getattr(X, "shape", ()))
    if len(shape) != 3:
        return X, ()
    return np.asarray(X).reshape(len(X), prod(shape[1:])), shape[1:]


def _shape(estimator: Any, given: tuple[int, ...], n_columns: int) -> tuple[int, int]:
    """Number of particles and of dimensions, by the parameters and by what X says."""
    n_particles, n_dims = estimator.n_particles, estimator.n_dims
    if given:
        asked = n_particles or given[0], n_dims or given[1]
        if asked != given:
            raise ValueError(
                f"X has {given[0]} particles in {given[1]} dimensions, but n_particles and n_dims "
                f"say {asked[0]} and {asked[1]}."
            )
        n_particles, n_dims = given
    elif n_particles is None and n_dims is None:
        raise ValueError(
            "n_particles or n_dims must be given, or X of shape (n_samples, n_particles, n_dims)."
        )
    n_particles = n_columns // n_dims if n_particles is None else int(n_particles)
    n_dims = n_columns // n_particles if n_dims is None else int(n_dims)
    if n_particles * n_dims != n_columns:
        raise ValueError(
            f"X has {n_columns} feature(s), which are not the coordinates of "
            f"{n_particles} particles in {n_dims} dimensions."
        )
    if n_particles < 2:
        raise ValueError(f"X has {n_columns} feature(s): a density needs at least two particles.")
    return n_particles, n_dims


def _types(types: Sequence[Any] | None, n_particles: int) -> tuple[int, ...]:
    """Types numbered from 0 in the order in which they first appear."""
    if types is None:
        return (0,) * n_particles
    known = list(dict.fromkeys(types))
    if len(types) != n_particles:
        raise ValueError(f"types must name {n_particles} particles, got {len(types)}.")
    return tuple(known.index(kind) for kind in types)


def _check_apart(x: np.ndarray) -> None:
    """Raise ValueError if two particles of a sample are in one place."""
    for i, j in combinations(range(x.shape[1]), 2):
        together = np.flatnonzero((x[:, i] == x[:, j]).all(axis=1))
        if len(together):
            raise ValueError(
                f"X: particles {i} and {j} coincide in sample {together[0]}; drop the sample."
            )
