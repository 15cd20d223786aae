"""Subsampling of a table that is too large for a time limit."""

import numpy as np

_CELLS_PER_SECOND = 1_000_000
_FEWEST_ROWS = 1000
_ROWS_PER_COLUMN = 2


def kept_rows(X: np.ndarray, max_time: float | None, seed: int) -> np.ndarray | slice:
    """A random subsample that can be prepared within a part of the time.

    Its size depends on the limit alone, not on the machine. A feature that varies in X varies in
    the subsample.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples.

    max_time : float or None
        Time limit of the fit, in seconds; None keeps all samples.

    seed : int
        Seed of the draw.

    Returns
    -------
    kept : ndarray of int, ascending, or slice
        What picks the samples.
    """
    n_samples, n_features = X.shape
    fewest = max(_FEWEST_ROWS, _ROWS_PER_COLUMN * n_features)
    n_rows = max((max_time or np.inf) * _CELLS_PER_SECOND / n_features, fewest)
    if n_samples <= n_rows:
        return slice(None)
    kept = np.random.default_rng(seed).choice(n_samples, int(n_rows), replace=False)
    level = np.flatnonzero(np.ptp(X[kept], axis=0) == 0)
    other = [np.flatnonzero(X[:, j] != X[kept[0], j])[:1] for j in level]
    return np.unique(np.concatenate([kept, *other]))
