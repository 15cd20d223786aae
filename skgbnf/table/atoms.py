"""Atoms: values with a probability of their own, represented by intervals on the real line.

The line is cut open at an atom, an interval is inserted, and the samples at the atom are spread
over it. The mass of a density in the interval is the probability of the atom, and a sample drawn
there is the atom exactly. The density at an atom is its probability divided by a width, in units of
X, that is the same for all densities that are compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skgbnf.table.standardisation import standard_deviation

_HEIGHT = 0.4
"""Density that the samples of an interval get: about the peak of a standard normal."""

_NARROWEST, _WIDEST = 0.2, 2.0
_GAP = 2.0


@dataclass(frozen=True, eq=False)
class Atoms:
    """Atoms of each feature and their intervals.

    Attributes
    ----------
    values : tuple of ndarrays of shape (n_atoms,)
        Atoms of each feature, in units of X, ascending.

    places : tuple of ndarrays of shape (n_atoms,)
        Where the line is cut, in mapped units, ascending.

    lengths : tuple of ndarrays of shape (n_atoms,)
        Lengths of the intervals, in mapped units.

    widths : ndarray of shape (n_features,)
        Width that the probability of an atom is divided by, in units of X.

    single : bool
        Whether values are compared in single precision, that of the samples of `fit`.
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
        """Choose places and lengths of the intervals.

        Parameters
        ----------
        values : sequence of ndarrays of shape (n_atoms,)
            Atoms of each feature, in units of X, ascending.

        images : sequence of ndarrays of shape (n_atoms,)
            Atoms of each feature, in mapped units.

        free : sequence of ndarrays
            Mapped values of each feature that are not atoms.

        shares : sequence of ndarrays of shape (n_atoms,)
            Fraction of the samples at each atom.

        widths : ndarray of shape (n_features,)
            As the attribute.

        spreads : ndarray of shape (n_features,)
            Replaces the standard deviation of a feature whose values are all atoms.

        single : bool
            As the attribute.
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
        """Index of the atom at each value of feature `j`, -1 for none; shape (n_samples,)."""
        x = x.astype(np.float32, copy=False) if self.single else x
        atoms = self.values[j].astype(x.dtype)
        if not len(atoms):
            return np.full(len(x), -1)
        k = np.searchsorted(atoms, x).clip(max=len(atoms) - 1)
        return np.where(atoms[k] == x, k, -1)

    def open(self, y: np.ndarray, j: int) -> np.ndarray:
        """Mapped values that are not atoms, shifted by the lengths of the intervals below."""
        shifts = np.concatenate([[0.0], np.cumsum(self.lengths[j])])
        return y + shifts[np.searchsorted(self.places[j], y, side="right")]

    def close(self, y: np.ndarray, j: int) -> tuple[np.ndarray, np.ndarray]:
        """Inverse of :meth:`open`, and the index of the atom at each value, -1 for none."""
        starts, ends = self._intervals(j)
        shifts = np.concatenate([[0.0], np.cumsum(self.lengths[j])])
        k = np.searchsorted(ends, y, side="right")
        inside = k < len(starts)
        inside[inside] = y[inside] >= starts[k[inside]]
        return y - shifts[k], np.where(inside, k, -1)

    def centres(self, j: int) -> np.ndarray:
        """Centres of the intervals of feature `j`."""
        starts, ends = self._intervals(j)
        return (starts + ends) / 2

    def _intervals(self, j: int) -> tuple[np.ndarray, np.ndarray]:
        below = np.cumsum(self.lengths[j]) - self.lengths[j]
        starts = self.places[j] + below
        return starts, starts + self.lengths[j]
