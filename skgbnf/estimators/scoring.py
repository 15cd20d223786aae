"""Tables to score that need not fit into memory: block by block, or lazily.

dask is not imported here. What is one of its collections is told from the name of its module.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from skgbnf._warnings import warn
from skgbnf.estimators.fitted import FittedDensity
from skgbnf.estimators.mixed import MixedCoordinates
from skgbnf.table.checks import checked_rows, checked_values, note_columns
from skgbnf.table.columns import TableColumns
from skgbnf.table.frames import check_labels

_ROWS_PER_BLOCK = 200_000


def checked_blocks(
    estimator: Any, X: Any, fitted: FittedDensity, *, gaps: bool = False
) -> Iterator[np.ndarray]:
    """Samples to score, each block checked and converted by itself.

    Of a memory map, thus, no more than a block is ever copied. With `gaps` values may be missing,
    and all samples are one block; those of a mixed table may be in any case.
    """
    table = fitted.table
    if isinstance(fitted.coordinates, MixedCoordinates):
        rows = mixed_rows(estimator, X, fitted.coordinates.columns)
        for start in range(0, len(rows), _ROWS_PER_BLOCK):
            yield rows[start : start + _ROWS_PER_BLOCK]
        return
    if gaps:
        yield checked_rows(estimator, X, reset=False, table=table, ensure_all_finite="allow-nan")
        return
    if isinstance(X, np.ndarray) and X.ndim == 2:
        yield checked_rows(estimator, X[:_ROWS_PER_BLOCK], reset=False, table=table)
        for start in range(_ROWS_PER_BLOCK, len(X), _ROWS_PER_BLOCK):
            yield checked_values(X[start : start + _ROWS_PER_BLOCK], estimator=estimator)
        return
    X = checked_rows(estimator, X, reset=False, table=table)
    for start in range(0, len(X), _ROWS_PER_BLOCK):
        yield X[start : start + _ROWS_PER_BLOCK]


def mixed_rows(estimator: Any, X: Any, columns: TableColumns) -> np.ndarray:
    """A mixed table as numbers, with a warning where levels were not seen in fit."""
    note_columns(estimator, X, reset=False)
    check_labels(X, columns.table, "X")
    rows = columns.rows(X, "X", estimator)
    if unseen := columns.unseen(rows):
        warn(
            f"X: columns {unseen} hold values that none of the rows of fit had; the density of "
            "such rows is 0. If such values may come, declare them in fit: by a category type "
            "that lists them, or by X_reference.",
            UserWarning,
        )
    return rows


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
