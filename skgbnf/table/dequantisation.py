"""Dequantisation: repeated values are found before a fit, and get noise or are kept apart.

Where many samples share a value, the likelihood has no upper bound: an ever narrower peak there
always gains. A feature on a grid (counts, ratings) gets uniform noise as wide as the step of the
grid; its density at a value is the probability of the value divided by the step. In other features,
values shared by many samples (zeros beside amounts) and codes far from all other values (-9999) are
atoms, which are kept apart from the rest of the feature (`atoms.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from skgbnf._warnings import warn
from skgbnf.table.grids import GRID_TOLERANCE, find_codes, find_step, held_by, some_of

_LARGE_SHARE = 0.05
_SMALL_SHARE = 0.01
"""Fraction of the samples at an atom, if the user asks for a treatment."""

_ATOM_WIDTH = 0.05
_MOST_LEVELS = 20
_NORMAL_QUARTILES = 1.349
"""Distance between the quartiles of a standard normal."""


class DegenerateDataWarning(UserWarning):
    """A table has features without a density, such as constant or repeated values."""

    __module__ = "skgbnf"  # the path in pickles, which stays wherever the class moves


@dataclass(frozen=True, eq=False)
class Dequantisation:
    """Treatment of the repeated values of each feature.

    Attributes
    ----------
    widths : ndarray of shape (n_features,)
        Width that the probability of a value is divided by, in units of X; 0 for features
        without repeated values.

    origins : ndarray of shape (n_features,)
        A value on the grid whose step is the width; NaN for features without a grid.

    everywhere, repeats : ndarrays of bool of shape (n_features,)
        Whether noise is added to all values but atoms, or only to those that repeat.

    atoms : tuple of ndarrays
        Atoms of each feature, ascending.

    levels : tuple of ndarrays
        All distinct values of each feature that has at most twenty and repeats some, ascending;
        empty for other features.

    floors : ndarray of shape (n_features,)
        0 for features without negative values, otherwise -inf.

    spreads : ndarray of shape (n_features,)
        Replaces the standard deviation of a feature if that is zero, in units of X.
    """

    widths: np.ndarray
    origins: np.ndarray
    everywhere: np.ndarray
    repeats: np.ndarray
    atoms: tuple[np.ndarray, ...]
    levels: tuple[np.ndarray, ...]
    floors: np.ndarray
    spreads: np.ndarray

    @classmethod
    def from_rows(
        cls, X: np.ndarray, dequantize: Any, names: Sequence[Any], weights: np.ndarray | None = None
    ) -> "Dequantisation":
        """Choose the treatment, and warn of features that are constant or have an atom.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Samples.

        dequantize : {"auto", True, False}, float or array-like of shape (n_features,)
            "auto" treats features in which a value holds at least 5 % of the samples or is a code
            far from all others; True also those in which any value repeats; numbers are widths.

        names : sequence of str or int
            Names of the features for warnings.

        weights : ndarray of shape (n_samples,) or None, default=None
            Sample weights; None for equal ones.
        """
        thorough = not isinstance(dequantize, str) and dequantize is not False
        weights = np.ones(len(X)) if weights is None else weights
        found = [_Column.from_values(values, weights, thorough=thorough) for values in X.T]
        _warn_of_constants([n for n, c in zip(names, found, strict=True) if len(c.distinct) == 1])
        if isinstance(dequantize, str | bool | np.bool_):
            if isinstance(dequantize, str):
                columns = [c.treated(only_large=True) if c.coarse else c for c in found]
            else:
                columns = [c.treated(only_large=False) if dequantize else c for c in found]
            if dequantize is not True:
                coarse = [(n, c) for n, c in zip(names, columns, strict=True) if c.coarse]
                _warn_of_atoms(coarse, bool(dequantize))
        else:
            widths = np.broadcast_to(np.asarray(dequantize, dtype=np.float64), len(found))
            columns = [c.spread_by(float(w)) for c, w in zip(found, widths, strict=True)]
        return cls._from_columns(columns)

    @classmethod
    def _from_columns(cls, columns: "Sequence[_Column]") -> "Dequantisation":
        lowest = np.array([column.distinct[0] for column in columns])
        return cls(
            widths=np.array([column.width for column in columns]),
            origins=np.array([column.origin for column in columns]),
            everywhere=np.array([column.spreads == "all" for column in columns]),
            repeats=np.array([column.spreads == "repeats" for column in columns]),
            atoms=tuple(column.atoms for column in columns),
            levels=tuple(column.levels for column in columns),
            floors=np.where(lowest >= 0, 0.0, -np.inf),
            spreads=_spreads(columns),
        )

    def apply(self, X: np.ndarray, seed: int) -> np.ndarray:
        """Samples with centred noise added; X itself if there is no noise."""
        if not self.widths.any():
            return X
        X = X.astype(np.float64)
        rng = np.random.default_rng(seed)
        for j in np.flatnonzero(self.widths):
            noise = self.widths[j] * (rng.random(len(X)) - 0.5)
            spread = self.everywhere[j] | (self.repeats[j] & _repeated(X[:, j]))
            spread &= ~np.isin(X[:, j], self.atoms[j])
            X[:, j] += np.where(spread, noise, 0.0)
        return X

    def snap(self, rows: np.ndarray, limits: np.ndarray, integers: np.ndarray) -> np.ndarray:
        """Samples with the values of discrete features moved to the nearest possible value.

        Parameters
        ----------
        rows : ndarray of shape (n_samples, n_features)
            Samples of a model.

        limits : ndarray of shape (2, n_features)
            Lower and upper bounds.

        integers : ndarray of bool of shape (n_features,)
            Whether the type of each feature is an integer.
        """
        rows = rows.copy()
        for j in np.flatnonzero(np.isfinite(self.origins) | integers).tolist():
            lowest = max(limits[0, j], self.floors[j])
            apart = np.isin(rows[:, j], self.atoms[j])
            rows[:, j] = np.where(apart, rows[:, j], self._snapped(rows[:, j], j, lowest, limits))
        return rows

    def _snapped(self, x: np.ndarray, j: int, lowest: float, limits: np.ndarray) -> np.ndarray:
        levels = self.levels[j][~np.isin(self.levels[j], self.atoms[j])]
        if len(levels):
            return levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, x)]
        on_grid = np.isfinite(self.origins[j])
        origin, step = (self.origins[j], self.widths[j]) if on_grid else (0.0, 1.0)
        low = np.ceil((lowest - origin) / step - GRID_TOLERANCE)
        high = np.floor((limits[1, j] - origin) / step + GRID_TOLERANCE)
        # Rounding must not lead out of the bounds again.
        return (origin + np.round((x - origin) / step).clip(low, high) * step).clip(
            lowest, limits[1, j]
        )


@dataclass(frozen=True, eq=False)
class _Column:
    """Distinct values of one feature, and their treatment."""

    distinct: np.ndarray
    counts: np.ndarray
    shares: np.ndarray
    codes: np.ndarray
    step: float
    width: float = 0.0
    spreads: str = "none"
    atoms: np.ndarray = field(default_factory=lambda: np.empty(0))
    origin: float = np.nan

    @classmethod
    def from_values(cls, values: np.ndarray, weights: np.ndarray, *, thorough: bool) -> "_Column":
        """The feature without a treatment.

        Unless `thorough`, repeated values are looked for in a random subset first: if none repeats
        there, none holds a large fraction of the samples.
        """
        values = values.astype(np.float64)
        distinct, counts = np.unique(some_of(values), return_counts=True)
        shares = counts / counts.sum()
        if thorough or counts.max() > 1:
            distinct, index, counts = np.unique(values, return_inverse=True, return_counts=True)
            shares = np.bincount(index, weights=weights) / weights.sum()
        codes = find_codes(distinct, counts)
        rest = ~np.isin(distinct, codes)
        step = find_step(distinct[rest], counts[rest]) if len(distinct) > 1 else 0.0
        return cls(distinct, counts, shares, codes, step)

    @property
    def repeats(self) -> bool:
        return len(self.distinct) > 1 and bool(self.counts.max() > 1)

    @property
    def coarse(self) -> bool:
        """Whether a value holds a large fraction of the samples, or is a code far from others."""
        return len(self.distinct) > 1 and bool(self._large.any() or len(self.codes))

    @property
    def levels(self) -> np.ndarray:
        few = self.repeats and len(self.distinct) <= _MOST_LEVELS
        return self.distinct if few else np.empty(0)

    @property
    def _large(self) -> np.ndarray:
        return self._held_by(_LARGE_SHARE)

    def _held_by(self, share: float) -> np.ndarray:
        return held_by(self.shares, self.counts, share)

    def treated(self, *, only_large: bool) -> "_Column":
        """The feature with noise on its grid, or with atoms; rarer repeats get noise in place."""
        if not self.repeats:
            return self
        if self.step:
            origin = self.distinct[~np.isin(self.distinct, self.codes)][0]
            return self._with(self.step, spreads="all", atoms=self.codes, origin=float(origin))
        held = self._large if only_large else self._held_by(_SMALL_SHARE)
        atoms = np.union1d(self.distinct[held], self.codes)
        width = _ATOM_WIDTH * _robust_spread(np.setdiff1d(self.distinct, atoms))
        spreads = "none" if only_large else "repeats"
        return self._with(width or self._own_width(), spreads=spreads, atoms=atoms)

    def spread_by(self, width: float) -> "_Column":
        """The feature with noise of a width chosen by the user."""
        on_grid = self.step > 0 and abs(self.step - width) < GRID_TOLERANCE * width
        origin = float(self.distinct[0]) if on_grid else np.nan
        return self._with(width, spreads="all", atoms=self.atoms, origin=origin)

    def _with(
        self, width: float, *, spreads: str, atoms: np.ndarray, origin: float = np.nan
    ) -> "_Column":
        return replace(self, width=width, spreads=spreads, atoms=atoms, origin=origin)

    def _own_width(self) -> float:
        """Width for a feature whose values are all atoms."""
        return _ATOM_WIDTH * _robust_spread(self.distinct)


def _repeated(values: np.ndarray) -> np.ndarray:
    """Whether each value occurs more than once."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    return counts[index] > 1


def _robust_spread(distinct: np.ndarray) -> float:
    """Standard deviation estimated from the quartiles of distinct values."""
    if len(distinct) < 2:
        return 0.0
    low, high = np.quantile(distinct, (0.25, 0.75))
    return float(high / _NORMAL_QUARTILES - low / _NORMAL_QUARTILES)


def _spreads(columns: Sequence[_Column]) -> np.ndarray:
    """Scale of each feature: its robust spread, or its absolute value if it is constant.

    A feature of zeros gets the median scale of the other features.
    """
    spreads = np.array([_robust_spread(column.distinct) for column in columns])
    sizes = np.array([np.abs(column.distinct).max() for column in columns])
    varies = spreads > 0
    others = float(np.median(spreads[varies])) if varies.any() else 1.0
    return np.where(varies, spreads, np.where(sizes > 0, sizes, others))


def _warn_of_constants(names: list[Any]) -> None:
    if names:
        _warn(
            f"Columns {names} are constant; their density is that of a narrow peak, a thousandth "
            "of their size wide or less. Drop them."
        )


def _warn_of_atoms(columns: "list[tuple[object, _Column]]", spread: bool) -> None:
    if not columns:
        return
    names = [name for name, _ in columns]
    held = (
        "One value holds a twentieth of the rows or more, or lies far from all others, in columns "
        f"{names}: "
    )
    if not spread:
        _warn(
            f"{held}the density may peak there without bound, and scores say little. "
            'Set dequantize="auto", or drop them.'
        )
        return
    widths = [float(f"{column.width:.3g}") for _, column in columns]
    apart = {name: column.atoms.tolist() for name, column in columns if len(column.atoms)}
    kept = f" Values kept apart from the rest: {apart}." if apart else ""
    _warn(
        f"{held}uniform noise of widths {widths} is added for the fit, and the density at a value "
        f"is its probability over the width.{kept} Set dequantize=True if this is meant, or to a "
        "width for each column to choose others."
    )


def warn_of_blurred(names: list[Any]) -> None:
    """Warn of features in which distinct values coincide, if there are any."""
    if names:
        _warn(
            f"Columns {names} hold many distinct values that are one in the units of training, "
            "since they lie too close together for the spread of the column; the density cannot "
            "tell them apart. Subtract what they have in common, or make columns of each scale."
        )


def _warn(message: str) -> None:
    warn(message, DegenerateDataWarning)
