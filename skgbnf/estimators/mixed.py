"""The map between a mixed table and the variables that components see."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike
from scipy.special import gammaln
from scipy.stats import yeojohnson, yeojohnson_normmax

from skgbnf.flows import Variable
from skgbnf.table.bounds import Bounds
from skgbnf.table.column import Column
from skgbnf.table.columns import TableColumns
from skgbnf.table.frames import Description

_MOST_VALUES = 10_000
_NORMAL_QUARTILES = 1.349
_FINE = 0.02
"""Largest step of a grid, in standard deviations, of which the power is fitted."""

_PLACES = (2, 3, 4, 5, 6, 7, 8, 10, 12, 20, 25, 30, 50, 60, 100)
_LEAST_GAIN = 0.02
"""In nats for each sample."""

_FEWEST_ROUNDS = 2
_ON_GRID = 1e-6
_LARGEST = 1e9
_FARTHEST = 100.0


@dataclass(frozen=True, eq=False)
class MixedCoordinates:
    """Feature by feature: codes as they are, numbers in units of their own.

    A feature with atoms, or whose values are often rounded, becomes two variables: a code, for an
    atom or for the place of a value between round ones, and behind it the value, which is not known
    at an atom. Every other feature is one.

    Attributes
    ----------
    columns : TableColumns
        Kinds of the features, and how the table is read.

    bounds : Bounds
        Map of bounded continuous features onto the real line; grids end there.

    location, scale : ndarrays of shape (n_features,)
        Units of numbers; 0 and 1 for codes.

    variables : tuple of Variable
    """

    columns: TableColumns
    bounds: Bounds
    location: np.ndarray
    scale: np.ndarray
    variables: tuple[Variable, ...]

    @classmethod
    def from_rows(cls, columns: TableColumns, X: np.ndarray, bounds: Bounds) -> Self:
        """Choose units by training samples.

        Parameters
        ----------
        columns : TableColumns

        X : ndarray of shape (n_samples, n_features)
            As ``columns`` reads them.

        bounds : Bounds
        """
        variables: list[Variable] = []
        location, scale = np.zeros(X.shape[1]), np.ones(X.shape[1])
        for j, column in enumerate(columns.columns):
            if column.is_coded:
                n_levels = max(len(column.levels), 1)
                variables.append(Variable("categorical", n_levels=n_levels))
                continue
            if column.kind == "periodic":
                scale[j] = column.period / (2 * math.pi)
                # Angles are given back from there on.
                location[j] = 0.0 if np.nanmin(X[:, j]) >= 0 else -column.period / 2
                variables.append(Variable("periodic"))
                continue
            x = X[~np.isnan(X[:, j]) & ~np.isin(X[:, j], column.atoms), j]
            y = x if column.step else bounds.transform(x, j)[0]
            location[j], scale[j] = _units(y, column.step)
            number = _number(y, column, bounds.limits[:, j], float(location[j]), float(scale[j]))
            if number.offset or column.atoms:
                n_levels = number.n_open + len(column.atoms)
                variables.append(Variable("categorical", n_levels=n_levels))
                number = replace(number, parent=len(variables) - 1)
            variables.append(number)
        return cls(columns, bounds, location, scale, tuple(variables))

    @property
    def n_features(self) -> int:
        """Number of columns of the table."""
        return len(self.columns.columns)

    @property
    def n_variables(self) -> int:
        """Number of variables that components see."""
        return len(self.variables)

    def transform(
        self, X: np.ndarray, dtype: DTypeLike = np.float64
    ) -> tuple[np.ndarray, np.ndarray]:
        """Samples as components see them, and what their log-densities are to be corrected by.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            NaN where a value is missing, codes below 0 where a level is unknown.

        dtype : dtype, default=float64

        Returns
        -------
        Z : ndarray of shape (n_samples, n_variables)

        log_det : ndarray of shape (n_samples,)
        """
        parts: list[np.ndarray] = []
        log_det = np.zeros(len(X))
        for j, column in enumerate(self.columns.columns):
            x = X[:, j]
            if column.is_coded:
                parts.append(x)
                continue
            value, own = self._units_of(np.where(np.isin(x, column.atoms), np.nan, x), j)
            number = self._numbers[j]
            if number.parent >= 0:
                parts.append(_codes(x, value, column.atoms, number))
            parts.append(value)
            log_det += np.where(np.isnan(value), 0.0, own)
        return np.stack(parts, axis=1).astype(dtype), log_det

    def points(self, X: np.ndarray, dtype: DTypeLike) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Points to score, in the form of :meth:`transform`: one for each sample."""
        yield self.transform(X, dtype)

    def inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        """Samples in units of X, as ``columns`` reads them, NaN where nothing is known."""
        X = np.empty((len(Z), len(self.columns.columns)))
        k = 0
        for j, column in enumerate(self.columns.columns):
            code = None
            if not column.is_coded and self._numbers[j].parent >= 0:
                code, k = Z[:, k], k + 1
            z, k = Z[:, k], k + 1
            if not column.is_coded:
                z = self._values_of(z, j)
            if code is not None:
                n_open = self._numbers[j].n_open
                atoms = np.array((*[np.nan] * n_open, *column.atoms))
                z = np.where(code >= n_open, atoms[np.nan_to_num(code).astype(int)], z)
            X[:, j] = z
        return X

    def values(self, X: np.ndarray) -> np.ndarray:
        """Samples as an array with the cells of the table, of numbers if it holds nothing else."""
        values = self.columns.values(X)
        plain = all(column.holds_numbers and not column.unit for column in self.columns.columns)
        return values.astype(np.float64) if plain else values

    def frame(self, X: np.ndarray, table: Description) -> Any:
        """Samples as a frame like that of fit."""
        return self.columns.restore(X)

    def excludes(self, X: np.ndarray) -> np.ndarray:
        """Whether samples hold a value whose density is zero whatever the components."""
        return np.asarray(self.impossible(X).any(axis=1))

    def impossible(self, X: np.ndarray) -> np.ndarray:
        """Whether the density of single values is zero whatever the components, shape of X."""
        low, high = self.bounds.limits
        outside: np.ndarray = (low > X) | (high < X)
        for j, column in enumerate(self.columns.columns):
            x = X[:, j]
            if column.is_coded:
                outside[:, j] = x < 0
            elif column.kind == "ordinal":
                off = np.abs(x - self.location[j]) / column.step
                off_grid = np.abs(off - np.round(off)) > _ON_GRID * np.maximum(off, 1.0)
                outside[:, j] |= off_grid | (x < column.lowest) | (x > column.highest)
        return outside

    @property
    def features(self) -> np.ndarray:
        """The feature that each variable belongs to, ndarray of int of shape (n_variables,)."""
        features: list[int] = []
        for variable in self.variables:
            features.append(features[-1] + (variable.parent < 0) if features else 0)
        return np.array(features)

    @cached_property
    def _numbers(self) -> dict[int, Variable]:
        """The number among the variables of each feature that has one."""
        pairs = zip(self.features.tolist(), self.variables, strict=True)
        return {j: variable for j, variable in pairs if variable.is_number}

    def _units_of(self, x: np.ndarray, j: int) -> tuple[np.ndarray, np.ndarray | float]:
        """Numbers in the units of components, and the logarithm of the derivative."""
        column = self.columns.columns[j]
        if column.kind == "periodic":
            angle = np.remainder(x / self.scale[j] + math.pi, 2 * math.pi) - math.pi
            return angle, -math.log(self.scale[j])
        if column.step:
            steps = np.round((x - self.location[j]) / column.step)
            # Of a grid components give probabilities.
            weight = 0.0 if column.kind == "ordinal" else -math.log(column.step)
            return steps * column.step / self.scale[j], weight
        y, log_slope = self.bounds.transform(x, j)
        limited = np.clip((y - self.location[j]) / self.scale[j], -_LARGEST, _LARGEST)
        return limited, log_slope - math.log(self.scale[j])

    def _values_of(self, z: np.ndarray, j: int) -> np.ndarray:
        """Inverse of :meth:`_units_of`; angles in the range of those seen in fit."""
        column = self.columns.columns[j]
        if column.kind == "periodic":
            start = self.location[j]
            return np.remainder(z * self.scale[j] - start, column.period) + start
        if column.step:
            steps = np.round(z * self.scale[j] / column.step)
            return self.location[j] + steps * column.step
        x = self.bounds.inverse_transform(z * self.scale[j] + self.location[j], j)
        low, high = self.bounds.limits[:, j]
        # Values in a margin are mirrored at the bound.
        x = np.where(x < low, 2 * low - x, np.where(x > high, 2 * high - x, x))
        return np.clip(x, low, high)

    def to_plain(self) -> dict[str, Any]:
        """The coordinates as JSON values and arrays."""
        return {
            "columns": self.columns.to_plain(),
            "bounds": self.bounds.limits,
            "bound_margins": self.bounds.margins,
            "location": self.location,
            "scale": self.scale,
            "variables": [variable.to_plain() for variable in self.variables],
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`; ValueError unless the parts fit together."""
        columns = TableColumns.from_plain(plain["columns"])
        variables = tuple(Variable.from_plain(fields) for fields in plain["variables"])
        bounds = Bounds(plain["bounds"], plain["bound_margins"])
        self = cls(columns, bounds, plain["location"], plain["scale"], variables)
        n = len(columns.columns)
        shapes = (self.location.shape, self.scale.shape, bounds.limits.shape, bounds.margins.shape)
        if shapes != ((n,), (n,), (2, n), (2, n)) or len(variables) != len(self.features):
            raise ValueError("its columns have more or fewer units than variables")
        if not (np.isfinite(self.location).all() and (self.scale > 0).all()):
            raise ValueError("the units of its columns are no positive numbers")
        return self


def _codes(
    x: np.ndarray, value: np.ndarray, atoms: tuple[float, ...], number: Variable
) -> np.ndarray:
    """Codes of atoms and, of values that are none, of the place between multiples of the step."""
    code = np.where(np.isnan(x), np.nan, 0.0)
    if number.offset:
        code = np.where(
            np.isnan(value), code, np.remainder(np.round(value / number.offset), number.n_open)
        )
    for a, atom in enumerate(atoms):
        code[x == atom] = number.n_open + a
    return code


def _units(y: np.ndarray, step: float) -> tuple[float, float]:
    """Location and scale of numbers, by quartiles; the location is one of them."""
    if not len(y):
        return 0.0, step or 1.0
    low, middle, high = np.quantile(y, (0.25, 0.5, 0.75), method="nearest")
    scale = (high - low) / _NORMAL_QUARTILES
    if not scale > 0:
        with np.errstate(over="ignore", invalid="ignore"):
            scale = np.nan_to_num(np.std(y), posinf=1.0)
    return float(middle), max(float(scale), step / 4) if scale > 0 else step or 1.0


def _number(
    y: np.ndarray, column: Column, limits: np.ndarray, location: float, scale: float
) -> Variable:
    """The variable of numbers, with a power and units behind it that make them nearly normal."""
    u = (y[:: -(-len(y) // _MOST_VALUES)] - location) / scale if len(y) else np.zeros(1)
    power, step = 1.0, column.step
    # A value far from all others is not to set the units.
    u = np.clip(u, -_FARTHEST, _FARTHEST)
    if step <= _FINE * scale and np.ptp(u) > 0:
        power = float(np.clip(yeojohnson_normmax(u), 0.0, 2.0))
    w = yeojohnson(u, power)
    spread = float(w.std())
    number = Variable(
        "grid" if step else "continuous",
        step=step / scale,
        power=power,
        shift=float(w.mean()),
        spread=spread if spread > 0 else 1.0,
    )
    if not step:
        return number
    low, high = max(column.lowest, limits[0]), min(column.highest, limits[1])
    ends = {
        name: round((end - location) / step) * step / scale
        for name, end in (("lowest", low), ("highest", high))
        if math.isfinite(end)
    }
    n_places = _n_places(np.round((y - location) / step).astype(np.int64))
    if n_places > 1:
        ends.update(step=n_places * step / scale, offset=step / scale, n_open=n_places)
    return replace(number, **ends)


def _n_places(steps: np.ndarray) -> int:
    """After how many steps of a grid some places are much more frequent than others; 1 for none.

    Numbers that people round lie at multiples of ten or a hundred, minutes of a clock below sixty.
    What is gained by frequencies of the places, drawn towards few of them, is compared with what
    they cost.
    """
    best, n_best = _LEAST_GAIN * len(steps), 1
    # Of small counts some are frequent by themselves.
    reach = np.ptp(np.quantile(steps, (0.1, 0.9))) if len(steps) else 0.0
    for n in _PLACES:
        if reach < _FEWEST_ROUNDS * n:
            break
        counts = np.bincount(np.remainder(steps, n), minlength=n)
        prior = 1 / n
        marginal = (gammaln(counts + prior) - gammaln(prior)).sum() - gammaln(len(steps) + 1)
        gain = float(marginal) + len(steps) * math.log(n)
        if gain > best:
            best, n_best = gain + _LEAST_GAIN * len(steps), n
    return n_best
