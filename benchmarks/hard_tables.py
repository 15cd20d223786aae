"""Tables that break density estimators, by name; the tests fit them too."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy import stats

FAR = np.array([10, 12, 15, 20, 30, 50, 100, 1e3, 1e4, 1e6, 1e8])
"""Distances from the middle of a table, in standard deviations."""


def correlated(n_rows: int = 300, n_columns: int = 4) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n_rows, n_columns)) @ rng.normal(size=(n_columns, n_columns))


def with_outlier(size: float) -> np.ndarray:
    X = correlated()
    X[0, 0] = size * X[:, 0].std()
    return X


def beside(column: Callable[[np.random.Generator], np.ndarray]) -> np.ndarray:
    X = correlated()
    return np.column_stack([X, column(np.random.default_rng(1))])


def drawn(draw: Callable[[np.random.Generator], np.ndarray]) -> np.ndarray:
    return draw(np.random.default_rng(0))


TABLES: dict[str, Callable[[], np.ndarray]] = {
    "plain": correlated,
    "an outlier of 1e6 standard deviations": partial(with_outlier, 1e6),
    "an outlier of 1e30 standard deviations": partial(with_outlier, 1e30),
    "Cauchy": partial(drawn, lambda rng: rng.standard_cauchy((300, 3))),
    "columns at 1e-12 and 1e12": lambda: correlated() * [1e-12, 1e12, 1.0, 1.0],
    "seconds since 1970": partial(drawn, lambda rng: 1.7e9 + rng.normal(size=(300, 2))),
    "the same column twice": lambda: correlated()[:, [0, 1, 0, 1]],
    "a constant column": partial(beside, lambda rng: np.full(300, 7.0)),
    "integers": lambda: np.round(correlated()),
    "a binary column": partial(beside, lambda rng: rng.integers(0, 2, 300)),
    "every row fifteen times": lambda: np.repeat(correlated(20), 15, axis=0),
    "one column": partial(correlated, n_columns=1),
    "60 columns, 100 rows": partial(drawn, lambda rng: rng.normal(size=(100, 60))),
    "2 rows": partial(correlated, 2),
    "5 rows": partial(correlated, 5),
    "20 rows": partial(correlated, 20),
}


N_ORDINARY, N_TEST = 500, 2000


@dataclass(frozen=True)
class Ordinary:
    """A known density of ordinary rows, and what lies far from them in a table.

    Attributes
    ----------
    density : scipy.stats frozen distribution
        Of rows of one or more columns.

    spoil : callable ``(rows, rng) -> rows``
        Puts values far away into rows of the density.
    """

    density: Any
    spoil: Callable[[np.ndarray, np.random.Generator], np.ndarray]

    def table(self, seed: int) -> np.ndarray:
        """Rows to learn from, some of them far away."""
        rng = np.random.default_rng([seed, 1])
        return self.spoil(self._rows(N_ORDINARY, rng), rng)

    def test(self, seed: int) -> tuple[np.ndarray, float]:
        """Ordinary rows, and their mean log-density in truth."""
        rows = self._rows(N_TEST, np.random.default_rng([seed, 2]))
        return rows, float(np.mean(self.density.logpdf(rows)))

    def _rows(self, n: int, rng: np.random.Generator) -> np.ndarray:
        rows = self.density.rvs(n, random_state=rng)
        return rows.reshape(n, -1)


def one_cell(value: float, column: int = 0) -> Callable:
    """One value put into one column of the first row."""

    def spoil(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        rows[0, column] = value
        return rows

    return spoil


def some_rows(share: float, size: float) -> Callable:
    """Some rows multiplied by a Cauchy of some size."""

    def spoil(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        chosen = rng.random(len(rows)) < share
        rows[chosen] *= size * rng.standard_cauchy((chosen.sum(), 1))
        return rows

    return spoil


def _correlated_normal():
    mixing = np.random.default_rng(0).normal(size=(4, 4))
    return stats.multivariate_normal(np.zeros(4), mixing @ mixing.T)


ORDINARY: dict[str, Ordinary] = {
    "N(20, 5), nothing far": Ordinary(stats.norm(20, 5), lambda rows, rng: rows),
    "N(20, 5), one value 1e4": Ordinary(stats.norm(20, 5), one_cell(1e4)),
    "N(20, 5), one value 1e9": Ordinary(stats.norm(20, 5), one_cell(1e9)),
    "gamma, one value 1e6": Ordinary(stats.gamma(2.0), one_cell(1e6)),
    "four columns, nothing far": Ordinary(_correlated_normal(), lambda rows, rng: rows),
    "four columns, one value 1e7": Ordinary(_correlated_normal(), one_cell(1e7, 1)),
    "four columns, 2 % of rows 1e4 times a Cauchy": Ordinary(
        _correlated_normal(), some_rows(0.02, 1e4)
    ),
}
"""Ordinary rows with values far away beside them; of the rest only how ordinary rows score."""


def rays(location: np.ndarray, scale: np.ndarray, varies: np.ndarray, n_rays: int) -> np.ndarray:
    """Rows along random rays from the middle, shape (n_rays, len(FAR), n_features).

    A constant column has no standard deviation to move by: it stays.
    """
    directions = np.random.default_rng(2).normal(size=(n_rays, len(location))) * varies
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return location + FAR[:, None] * scale * directions[:, None]


def beyond_all_rows(X: np.ndarray) -> int:
    """Number of the first of `FAR` that is farther from the middle than every row."""
    with np.errstate(all="ignore"):
        distances = np.abs(X - X.mean(axis=0)) / X.std(axis=0)
    return int(np.searchsorted(FAR, np.nanmax(distances)))
