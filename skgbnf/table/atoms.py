r"""Atoms of a column given a place of their own beside its continuous part.

At an atom the line is cut open and an interval put in, into which its rows are spread. The
probability of the atom is the mass of the interval; nothing of it lies among other values, and a
drawn row in the interval is the atom. The density at an atom is its probability over a width in
units of X that is the same for all densities to be compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skgbnf.table.standardisation import standard_deviation

_HEIGHT = 0.4
"""Density of the rows in an interval, over that of one row for each unit: a normal's peak."""

_NARROWEST, _WIDEST = 0.2, 2.0
_GAP = 2.0


@dataclass(frozen=True, eq=False)
class Atoms:
    """The intervals of the atoms of each column.

    Attributes
    ----------
    values : tuple of ndarrays of shape (n_atoms,)
        For each column its atoms in units of X, ascending.

    places : tuple of ndarrays of shape (n_atoms,)
        Where the line is cut, ascending, in mapped units.

    lengths : tuple of ndarrays of shape (n_atoms,)
        Widths of the intervals, in mapped units.

    widths : ndarray of shape (n_features,)
        Width by which the probability of an atom is divided, in units of X.

    single : bool
        Whether the rows of fit were in single precision, in which values are then compared.
    """

    values: tuple[np.ndarray, ...]
    places: tuple[np.ndarray, ...]
    lengths: tuple[np.ndarray, ...]
    widths: np.ndarray
    single: bool

    @classmethod
    def from_columns(
        cls,
        values: Sequence[np.ndarray],
        images: Sequence[np.ndarray],
        free: Sequence[np.ndarray],
        shares: Sequence[np.ndarray],
        widths: np.ndarray,
        spreads: np.ndarray,
        single: bool,
    ) -> "Atoms":
        """Choose places and lengths.

        Parameters
        ----------
        values : sequence of ndarrays of shape (n_atoms,)
            For each column its atoms in units of X, ascending.

        images : sequence of ndarrays of shape (n_atoms,)
            Where the maps of the columns lead them.

        free : sequence of ndarrays
            For each column the mapped values that are no atoms.

        shares : sequence of ndarrays of shape (n_atoms,)
            Share of the rows at each atom.

        widths : ndarray of shape (n_features,)

        spreads : ndarray of shape (n_features,)
            Stands in for the standard deviation of values where there are none.

        single : bool
        """
        places, lengths = [], []
        for image, rest, share, spread in zip(images, free, shares, spreads, strict=True):
            unit = (standard_deviation(rest) if len(share) else 0.0) or float(spread)
            length = 2 * unit * np.clip(share / _HEIGHT, _NARROWEST, _WIDEST)
            # A code far away needs no place far away, but one beyond all other values.
            ends = (
                (rest.min() - _GAP * unit, rest.max() + _GAP * unit) if len(rest) else (None,) * 2
            )
            places.append(image.clip(*ends))
            lengths.append(length)
        return cls(tuple(values), tuple(places), tuple(lengths), widths, single)

    def find(self, x: np.ndarray, j: int) -> np.ndarray:
        """Number of the atom that each value of column `j` is, -1 for none, shape (n_samples,)."""
        x = x.astype(np.float32, copy=False) if self.single else x
        atoms = self.values[j].astype(x.dtype)
        if not len(atoms):
            return np.full(len(x), -1)
        k = np.searchsorted(atoms, x).clip(max=len(atoms) - 1)
        return np.where(atoms[k] == x, k, -1)

    def open(self, y: np.ndarray, j: int) -> np.ndarray:
        """Mapped values that are no atoms, moved aside by the intervals below them."""
        shifts = np.concatenate([[0.0], np.cumsum(self.lengths[j])])
        return y + shifts[np.searchsorted(self.places[j], y, side="right")]

    def close(self, y: np.ndarray, j: int) -> tuple[np.ndarray, np.ndarray]:
        """Inverse of :meth:`open`, and the number of the atom that each value is, -1 for none."""
        starts, ends = self._intervals(j)
        shifts = np.concatenate([[0.0], np.cumsum(self.lengths[j])])
        k = np.searchsorted(ends, y, side="right")
        inside = k < len(starts)
        inside[inside] = y[inside] >= starts[k[inside]]
        return y - shifts[k], np.where(inside, k, -1)

    def centres(self, j: int) -> np.ndarray:
        """Middles of the intervals of column `j`."""
        starts, ends = self._intervals(j)
        return (starts + ends) / 2

    def _intervals(self, j: int) -> tuple[np.ndarray, np.ndarray]:
        below = np.cumsum(self.lengths[j]) - self.lengths[j]
        starts = self.places[j] + below
        return starts, starts + self.lengths[j]
