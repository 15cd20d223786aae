"""Tables to score that need not fit into memory: block by block, or lazily.

dask is not imported here. What is one of its collections is told from the name of its module.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from skgbnf.table.checks import checked_rows, checked_values
from skgbnf.table.frames import Description

_ROWS_PER_BLOCK = 200_000


def checked_blocks(estimator: Any, X: Any, table: Description) -> Iterator[np.ndarray]:
    """Samples to score, each block checked and converted by itself.

    Of a memory map, thus, no more than a block is ever copied.
    """
    if isinstance(X, np.ndarray) and X.ndim == 2:
        yield checked_rows(estimator, X[:_ROWS_PER_BLOCK], reset=False, table=table)
        for start in range(_ROWS_PER_BLOCK, len(X), _ROWS_PER_BLOCK):
            yield checked_values(X[start : start + _ROWS_PER_BLOCK], estimator=estimator)
        return
    X = checked_rows(estimator, X, reset=False, table=table)
    for start in range(0, len(X), _ROWS_PER_BLOCK):
        yield X[start : start + _ROWS_PER_BLOCK]


def is_lazy(X: Any) -> bool:
    """Whether X is a collection of dask."""
    return type(X).__module__.partition(".")[0] == "dask"


def score_lazily(estimator: Any, X: Any) -> Any:
    """Log-densities of a dask array as a dask array, computed when they are asked for.

    Raises
    ------
    TypeError
        If X is another collection than an array.

    ValueError
        If it has not the columns seen in fit.
    """
    if not hasattr(type(X), "map_blocks"):
        raise TypeError(f"X: of dask an array is needed, got {type(X).__name__}; to_dask_array().")
    if X.ndim != 2 or X.shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"X must have shape (n_samples, {estimator.n_features_in_}), got {X.shape}."
        )
    dtype = np.dtype(np.float32 if X.dtype == np.float32 else np.float64)
    return X.rechunk({1: -1}).map_blocks(
        _score_block, estimator, dtype=dtype, drop_axis=1, meta=np.empty(0, dtype)
    )


def _score_block(X: np.ndarray, estimator: Any) -> np.ndarray:
    # dask may leave a block without rows.
    return estimator.score_samples(X) if len(X) else np.empty(0, X.dtype)
