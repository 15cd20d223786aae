"""The density of some of the features of a fitted density."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skgbnf._device import score_device
from skgbnf._random import RandomState
from skgbnf.estimators.conditionals import scores_of_parts
from skgbnf.estimators.mixed import MixedCoordinates
from skgbnf.table.column import Column

_N_DRAWS = 20_000
_N_POINTS = 4_000
_N_POINTS_BY_DRAWS = 200
"""Where the density at each point is an estimate itself."""

_N_DRAWS_PER_POINT = 200
_MOST_DOUBLINGS = 60
_NEGLIGIBLE = 30.0
"""Nats below the peak at which a tail ends."""

_MOST_STEPS = 5_000


class MarginalDensity:
    """The density of some features of a fitted density, which makes it by ``marginal``.

    Parameters
    ----------
    density : GradientBoostedFlowDensity
        Fitted.

    places : list of int
        Positions of the features.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.datasets import load_iris
    >>> from skgbnf import GradientBoostedFlowDensity
    >>> data = load_iris(as_frame=True)
    >>> frame = data.data.assign(species=data.target_names[data.target])
    >>> model = GradientBoostedFlowDensity(flow="location_mixture", random_state=0).fit(frame)
    >>> species = model.marginal("species")
    >>> species.score_samples([["setosa"], ["virginica"]]).round(1).tolist()
    [-1.1, -1.1]
    >>> length = model.marginal("petal length (cm)")
    >>> bool(1 < length.quantile(0.1) < length.quantile(0.9) < 7)
    True
    """

    __module__ = "skgbnf"  # the path in pickles, which stays wherever the class moves

    def __init__(self, density: Any, places: list[int]) -> None:
        self._density, self._places = density, places
        self._found: tuple[Any, Any] | None = None

    @property
    def columns(self) -> list[Any]:
        """Names, or positions, of the features."""
        labels = self._density.fitted_.table.labels
        return [labels[j] for j in self._places]

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Log-density of samples of these features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_columns)
            The features in the order in which they were named.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, in the units of the features.

        Raises
        ------
        ValueError
            If X has another number of columns.
        """
        cells = np.asarray(X, dtype=object)
        if cells.ndim != 2 or cells.shape[1] != len(self._places):
            raise ValueError(f"X must have {len(self._places)} columns, got {cells.shape}.")
        fitted = self._density.fitted_
        if isinstance(fitted.coordinates, MixedCoordinates):
            cells = fitted.coordinates.columns.rows_of(cells, self._places)
        rows = np.full((len(cells), self._density.n_features_in_), np.nan)
        rows[:, self._places] = cells.astype(np.float64)
        return np.asarray(scores_of_parts(self._density, rows))

    def sample(self, n_samples: int = 1, random_state: RandomState = None) -> np.ndarray:
        """Draw samples of these features.

        Parameters
        ----------
        n_samples : int, default=1
            Number of samples.

        random_state : int, RandomState instance or None, default=None
            Seed of the draws.

        Returns
        -------
        X : ndarray of shape (n_samples, n_columns)
        """
        drawn: np.ndarray = self._density.sample(n_samples, random_state)
        return drawn[:, self._places]

    def cdf(self, x: ArrayLike) -> np.ndarray:
        """Probability of values up to x, of one feature that holds numbers.

        Parameters
        ----------
        x : array-like
            Values, in units of the feature; seconds of dates and durations.

        Returns
        -------
        probability : ndarray of the shape of x

        Raises
        ------
        ValueError
            If there are several features, or the values have no order.
        """
        points, below, up_to = self._distribution()
        x = np.asarray(x, dtype=np.float64)
        place = np.searchsorted(points, x, side="right")
        ends = np.r_[points[0], points], np.r_[points, points[-1]]
        start, stop = ends[0][place], ends[1][place]
        left, right = np.r_[0.0, up_to][place], np.r_[below, 1.0][place]
        share = np.where(stop > start, (x - start) / np.where(stop > start, stop - start, 1.0), 0.0)
        return np.asarray(left + np.clip(share, 0.0, 1.0) * (right - left))

    def quantile(self, q: ArrayLike) -> np.ndarray | float:
        """Inverse of :meth:`cdf`: of a feature with atoms or on a grid, the smallest such value.

        Parameters
        ----------
        q : array-like
            Probabilities between 0 and 1.

        Returns
        -------
        x : ndarray of the shape of q, or float
        """
        wanted = np.asarray(q, dtype=np.float64)
        if ((wanted < 0) | (wanted > 1)).any():
            raise ValueError("q must lie between 0 and 1.")
        points, below, up_to = self._distribution()
        levels = np.stack([below, up_to], axis=1).ravel()
        values = np.interp(wanted, levels, np.repeat(points, 2))
        return float(values) if wanted.ndim == 0 else values

    def _distribution(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points, and the probabilities of lying below each and of lying up to it.

        Between points the distribution function is linear. It is found once for each fit.
        """
        if self._found is None or self._found[0] is not self._density.fitted_:
            self._found = self._density.fitted_, self._new_distribution()
        found: tuple[np.ndarray, np.ndarray, np.ndarray] = self._found[1]
        return found

    def _new_distribution(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if len(self._places) != 1:
            raise ValueError("a distribution function is that of one column.")
        coordinates = self._density.fitted_.coordinates
        column = Column("continuous")
        if isinstance(coordinates, MixedCoordinates):
            column = coordinates.columns.columns[self._places[0]]
        if not column.holds_numbers:
            raise ValueError("the values of the column have no order.")
        values = self._numbers()
        if not (column.is_coded or len(values)):
            raise ValueError("nothing is known of a column of gaps.")
        if column.step and np.ptp(values) / column.step > _MOST_STEPS:
            return _of_draws(values)
        atoms, masses = self._atoms(column)
        points, density = self._smooth_part(column)
        cumulative = np.r_[0.0, np.cumsum(np.diff(points) * (density[1:] + density[:-1]) / 2)]
        if len(points):
            cumulative *= max(1 - masses.sum(), 0.0) / max(cumulative[-1], 1e-300)
        every = np.union1d(points, atoms)
        smooth = np.interp(every, points, cumulative) if len(points) else np.zeros(len(every))
        jumps = np.zeros(len(every))
        jumps[np.searchsorted(every, atoms)] = masses
        total = np.cumsum(jumps)
        up_to = smooth + total
        # What lies beyond the outermost points is negligible.
        return every, (up_to - jumps) / up_to[-1], up_to / up_to[-1]

    def _atoms(self, column: Column) -> tuple[np.ndarray, np.ndarray]:
        """Values with a probability of their own, ascending, and these."""
        if column.is_coded:
            levels = np.array(column.levels, dtype=np.float64)
            scores = self._scores(np.arange(len(levels), dtype=np.float64))
            order = levels.argsort()
            return levels[order], np.exp(scores[order])
        atoms = np.array(column.atoms, dtype=np.float64)
        if column.step:
            low, high = column.grid.snap(np.array(self._ends(column, self._numbers())))
            steps = column.step * np.arange(round((high - low) / column.step) + 1)
            atoms = np.union1d(atoms, column.grid.snap(low + steps))
        scores = self._scores(atoms)
        if column.step and column.kind != "ordinal":
            scores = scores + np.where(np.isin(atoms, column.atoms), 0.0, math.log(column.step))
        return atoms, np.exp(scores)

    def _smooth_part(self, column: Column) -> tuple[np.ndarray, np.ndarray]:
        """Points and density of what has one; none of a column that is coded or on a grid."""
        if column.is_coded or column.step:
            return np.empty(0), np.empty(0)
        drawn = np.setdiff1d(self._numbers(), column.atoms)
        if len(drawn) < 2:
            return np.empty(0), np.empty(0)
        low, high = self._ends(column, drawn)
        mixed = isinstance(self._density.fitted_.coordinates, MixedCoordinates)
        n_points = _N_POINTS if mixed else _N_POINTS_BY_DRAWS
        inner = np.quantile(drawn, np.linspace(0, 1, n_points))
        even = np.linspace(drawn[0], drawn[-1], n_points)
        outside = [(low, drawn[0]), (drawn[-1], high)]
        tails = [np.linspace(*ends, n_points // 20) for ends in outside]
        points = np.setdiff1d(np.r_[inner, even, *tails], column.atoms)
        return points, np.exp(self._scores(points))

    def _ends(self, column: Column, drawn: np.ndarray) -> tuple[float, float]:
        """Beyond which the density is negligible, or zero by bounds; one turn of an angle."""
        low, high = float(drawn.min()), float(drawn.max())
        if column.period:
            start = 0.0 if low >= 0 else -column.period / 2
            return start, start + column.period
        limits = self._density.fitted_.coordinates.bounds.limits[:, self._places[0]]
        reach = high - low
        return max(self._tail(low, -reach), limits[0]), min(self._tail(high, reach), limits[1])

    def _tail(self, start: float, reach: float) -> float:
        """Where the density beyond an outermost draw has become negligible."""
        if not reach:
            return start
        peak, distance = self._scores(np.array([start]))[0], reach / 8
        for _ in range(_MOST_DOUBLINGS):
            score = self._scores(np.array([start + distance]))[0]
            if not score > peak - _NEGLIGIBLE:
                break
            distance *= 2
        return start + distance

    def _numbers(self) -> np.ndarray:
        """Draws of the feature as numbers, ascending."""
        rows = self._density.fitted_.sample(_N_DRAWS, 0, score_device("cpu"))
        values = rows[:, self._places[0]]
        return np.sort(values[~np.isnan(values)])

    def _scores(self, values: np.ndarray) -> np.ndarray:
        rows = np.full((len(values), self._density.n_features_in_), np.nan)
        rows[:, self._places[0]] = values
        if not len(rows):
            return np.empty(0)
        return np.asarray(scores_of_parts(self._density, rows, _N_DRAWS_PER_POINT))


def _of_draws(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distribution of draws, ascending, in the form of that of a density."""
    points, counts = np.unique(values, return_counts=True)
    up_to = counts.cumsum() / counts.sum()
    return points, up_to - counts / counts.sum(), up_to
