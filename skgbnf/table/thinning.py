"""A part of the rows, where a limit of time is too short to look at all of them."""

import numpy as np

_CELLS_PER_SECOND = 1_000_000
_FEWEST_ROWS = 1000
_ROWS_PER_COLUMN = 2


def thinned(
    X: np.ndarray, weights: np.ndarray, max_time: float | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """As many rows, drawn at random, as can be prepared in a part of the time; and their weights.

    How many depends on the limit alone, not on the machine. A column that varies keeps a row
    that shows it.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)

    weights : ndarray of shape (n_samples,)

    max_time : float or None
        In seconds; None for all rows.

    seed : int
    """
    n_samples, n_features = X.shape
    fewest = max(_FEWEST_ROWS, _ROWS_PER_COLUMN * n_features)
    n_rows = max((max_time or np.inf) * _CELLS_PER_SECOND / n_features, fewest)
    if n_samples <= n_rows:
        return X, weights
    kept = np.random.default_rng(seed).choice(n_samples, int(n_rows), replace=False)
    level = np.flatnonzero(np.ptp(X[kept], axis=0) == 0)
    other = [np.flatnonzero(X[:, j] != X[kept[0], j])[:1] for j in level]
    kept = np.unique(np.concatenate([kept, *other]))
    return X[kept], weights[kept]
