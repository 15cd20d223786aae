"""Columns whose values repeat, found before a fit and spread over the steps between them.

A density has no bound where many rows share one value: a narrower and narrower peak there gains
for ever. Uniform noise as wide as the step between values turns the column into a continuous one
whose density at a value is its probability over the step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skgbnf._warnings import warn

_LARGE_SHARE = 0.05
_FEWEST_REPEATS = 5
_ATOM_WIDTH = 0.05
_GRID_TOLERANCE = 0.01


class DegenerateDataWarning(UserWarning):
    """Columns of a table have no density: they are constant, or some value repeats too often."""


@dataclass(frozen=True)
class Dequantisation:
    """Width of the uniform noise that is added to each column.

    Attributes
    ----------
    widths : ndarray of shape (n_features,)
        In units of X; 0 where nothing is added.

    atoms : tuple of ndarrays
        For each column the values that are spread; empty where all rows of the column are.

    origins : ndarray of shape (n_features,)
        A value of the grid whose step is the width; NaN where values lie on none.
    """

    widths: np.ndarray
    atoms: tuple[np.ndarray, ...]
    origins: np.ndarray

    @classmethod
    def from_rows(cls, X: np.ndarray, dequantize, names: Sequence) -> "Dequantisation":
        """Choose widths, and warn of columns that are constant or hold an atom.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)

        dequantize : {"auto", True, False}, float or array-like of shape (n_features,)
            "auto" spreads columns where one value holds a twentieth of the rows or more, True
            also those where any value repeats; numbers are widths.

        names : sequence of str or int
            What warnings call the columns.
        """
        columns = [_Column.from_values(values) for values in X.T]
        _warn_of_constants([n for n, c in zip(names, columns, strict=True) if c.constant])
        empty = np.empty(0)
        if not isinstance(dequantize, str | bool | np.bool_):
            widths = np.broadcast_to(np.asarray(dequantize, dtype=np.float64), len(columns)).copy()
            origins = [_origin(*column) for column in zip(X.T, widths, strict=True)]
            return cls(widths, (empty,) * len(columns), np.array(origins))
        coarse = [column.coarse for column in columns]
        if dequantize is not True:
            _warn_of_atoms([n for n, c in zip(names, coarse, strict=True) if c], bool(dequantize))
        if isinstance(dequantize, str):
            chosen = coarse
        else:
            chosen = [dequantize and column.repeats for column in columns]
        widths = np.array([c.width if use else 0.0 for c, use in zip(columns, chosen, strict=True)])
        atoms = tuple(c.atoms if use else empty for c, use in zip(columns, chosen, strict=True))
        on_grid = [use and not len(c.atoms) for c, use in zip(columns, chosen, strict=True)]
        origins = np.where(on_grid, [column.smallest for column in columns], np.nan)
        return cls(widths, atoms, origins)

    def apply(self, X: np.ndarray, seed: int) -> np.ndarray:
        """Rows with noise centred on the values that they had; X itself if there is none."""
        if not self.widths.any():
            return X
        X = X.astype(np.float64)
        rng = np.random.default_rng(seed)
        for j in np.flatnonzero(self.widths):
            noise = self.widths[j] * (rng.random(len(X)) - 0.5)
            spread = np.isin(X[:, j], self.atoms[j]) if len(self.atoms[j]) else True
            X[:, j] += np.where(spread, noise, 0.0)
        return X


@dataclass(frozen=True)
class _Column:
    """What is to be known of the values of one column.

    On a grid all rows are spread by its step. Values that repeat amid others that do not are
    spread alone, by a twentieth of the standard deviation.
    """

    constant: bool
    repeats: bool
    coarse: bool
    width: float
    atoms: np.ndarray
    smallest: float

    @classmethod
    def from_values(cls, values: np.ndarray) -> "_Column":
        values = values.astype(np.float64)
        distinct, counts = np.unique(values, return_counts=True)
        if len(distinct) == 1:
            return cls(True, False, False, 0.0, distinct, distinct[0])
        repeats = bool(counts.max() > 1)
        large = counts >= max(_LARGE_SHARE * len(values), _FEWEST_REPEATS)
        step = _step(distinct) if repeats else 0.0
        if step:
            return cls(False, repeats, bool(large.any()), step, np.empty(0), distinct[0])
        atoms = distinct[large] if large.any() else distinct[counts > 1]
        half = max(np.abs(distinct[[0, -1]]).max(), np.finfo(np.float64).tiny)
        width = _ATOM_WIDTH * float((values / half).std() * half)
        return cls(False, repeats, bool(large.any()), width, atoms, distinct[0])


def _origin(values: np.ndarray, width: float) -> float:
    """The smallest value, if all lie on a grid of which the width is the step, otherwise NaN."""
    distinct = np.unique(values.astype(np.float64))
    step = _step(distinct) if len(distinct) > 1 else 0.0
    on_grid = step > 0 and abs(step - width) < _GRID_TOLERANCE * width
    return float(distinct[0]) if on_grid else np.nan


def _step(distinct: np.ndarray) -> float:
    """Step of the grid on which sorted values lie, 0 if they lie on none."""
    with np.errstate(over="ignore", invalid="ignore"):
        offsets = distinct - distinct[0]
        step = np.diff(distinct).min()
        n_steps = np.round(offsets[-1] / step)
        if not np.isfinite(n_steps):
            return 0.0
        step = offsets[-1] / n_steps
        position = offsets / step
    on_grid = np.abs(position - np.round(position)).max() < _GRID_TOLERANCE
    # Any values lie on a grid that is fine enough; it says nothing of them.
    return float(step) if on_grid and n_steps < 1000 * len(distinct) else 0.0


def _warn_of_constants(names: list) -> None:
    if names:
        _warn(
            f"Columns {names} are constant; their density is that of a narrow peak of width "
            "about 1e-3 or less in the units of X. Drop them."
        )


def _warn_of_atoms(names: list, spread: bool) -> None:
    if not names:
        return
    held = f"One value holds a twentieth of the rows or more in columns {names}: "
    if spread:
        _warn(
            f"{held}uniform noise as wide as the step between their values is added for the fit. "
            "dequantize=True says that this is meant, a width for each column chooses others."
        )
    else:
        _warn(
            f"{held}the density may peak there without bound, and scores say little. "
            'Set dequantize="auto", or drop them.'
        )


def _warn(message: str) -> None:
    warn(message, DegenerateDataWarning)
