"""Integrals of many densities of one variable, by intervals that are halved where needed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(3)
_N_HALVED = 40
_N_PASSES = 3
_N_STEPS = 2
_TINY = 1e-300

Density = Callable[[np.ndarray], np.ndarray]
"""From values of shape (n_samples, n_values) to densities there, each row by its own density."""


@dataclass(frozen=True, eq=False)
class Quadrature:
    """Intervals of each density, and three points of Gauss and Legendre within each of them.

    Attributes
    ----------
    density : callable

    low, high : ndarrays of shape (n_samples, n_intervals)
        Ends of the intervals, ascending.

    points, masses : ndarrays of shape (n_samples, n_intervals, 3)
        The masses of all points of a sample sum to 1.
    """

    density: Density
    low: np.ndarray
    high: np.ndarray
    points: np.ndarray
    masses: np.ndarray

    @classmethod
    def between(cls, nodes: np.ndarray, density: Density) -> Self:
        """Intervals between ascending nodes, halved where three points say too little.

        How much they say is told by the difference from what one point says.
        """
        parts = _evaluated(nodes[:, :-1], nodes[:, 1:], density)
        for _ in range(_N_PASSES):
            low, high, points, masses = parts
            one_point = masses[..., 1] / _WEIGHTS[1] * 2
            doubt = np.abs(masses.sum(axis=2) - one_point)
            order = np.argsort(doubt, axis=1)
            kept, halved = order[:, :-_N_HALVED], order[:, -_N_HALVED:]
            a, b = (np.take_along_axis(ends, halved, axis=1) for ends in (low, high))
            middle = (a + b) / 2
            new = _evaluated(np.c_[a, middle], np.c_[middle, b], density)
            parts = tuple(
                np.concatenate([_taken(old, kept), own], axis=1)
                for old, own in zip(parts, new, strict=True)
            )
        order = np.argsort(parts[0], axis=1)
        low, high, points, masses = (_taken(part, order) for part in parts)
        total = np.maximum(masses.sum(axis=(1, 2), keepdims=True), _TINY)
        return cls(density, low, high, points, masses / total)

    def cumulative(self) -> np.ndarray:
        """Probability up to the lower end of each interval, and up to the last end."""
        sums = np.cumsum(self.masses.sum(axis=2), axis=1)
        return np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)

    def cdf(self, values: np.ndarray) -> np.ndarray:
        """Probabilities up to values of shape (n_samples, n_values)."""
        k = self._interval(values)
        low, high = (np.take_along_axis(ends, k, axis=1) for ends in (self.low, self.high))
        inside = values.clip(low, high)
        _, _, _, part = _evaluated(low, inside, self.density)
        _, _, _, rest = _evaluated(inside, high, self.density)
        part, rest = part.sum(axis=2), rest.sum(axis=2)
        share = np.where(part + rest > 0, part / np.maximum(part + rest, _TINY), 0.0)
        cumulative = self.cumulative()
        before, after = (np.take_along_axis(cumulative, k + i, axis=1) for i in (0, 1))
        return before + share * (after - before)

    def quantiles(self, shares: np.ndarray) -> np.ndarray:
        """Quantiles of shape (n_samples, n_shares)."""
        cumulative = self.cumulative()
        k = (cumulative[:, :-1, None] < shares).sum(axis=1) - 1
        k = k.clip(0, self.low.shape[1] - 1)
        low, high = (np.take_along_axis(ends, k, axis=1) for ends in (self.low, self.high))
        before, after = (np.take_along_axis(cumulative, k + i, axis=1) for i in (0, 1))
        share = (shares - before) / np.maximum(after - before, _TINY)
        found = low + share.clip(0.0, 1.0) * (high - low)
        for _ in range(_N_STEPS):
            # Newton's method between ends that close in.
            error = self.cdf(found) - shares
            low, high = np.where(error < 0, found, low), np.where(error > 0, found, high)
            step = found - error / np.maximum(self.density(found), _TINY)
            found = np.where((step > low) & (step < high), step, (low + high) / 2)
        return found

    def _interval(self, values: np.ndarray) -> np.ndarray:
        """Number of the interval that each value lies in."""
        k = (self.low[:, None, :] <= values[:, :, None]).sum(axis=2) - 1
        return k.clip(0, self.low.shape[1] - 1)


def _evaluated(low: np.ndarray, high: np.ndarray, density: Density) -> tuple[np.ndarray, ...]:
    """Intervals with their points and masses."""
    half = (high - low)[..., None] / 2
    points = low[..., None] + half * (1 + _NODES)
    densities = density(points.reshape(len(points), -1)).reshape(points.shape)
    return low, high, points, half * _WEIGHTS * densities


def _taken(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Intervals of each sample in an order of its own."""
    index = order if values.ndim == 2 else order[..., None]
    return np.take_along_axis(values, index, axis=1)
