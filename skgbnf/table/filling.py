"""A table of any library with other cells where its own are missing."""

from typing import Any

import numpy as np

from skgbnf.table.frames import container_of, library


def filled(X: Any, completed: Any, missing: np.ndarray) -> Any:
    """A copy of a table with the cells of another one in its gaps; all others stay as they are.

    Parameters
    ----------
    X : ndarray or frame of shape (n_samples, n_features)

    completed : ndarray or frame of shape (n_incomplete_samples, n_features)
        Of the library of X: its samples with gaps, without them.

    missing : ndarray of bool of shape (n_samples, n_features)

    Returns
    -------
    table : ndarray or frame
        Columns of a frame keep their types, but one without a value, which gets that of
        `completed`. An array of integers or booleans becomes one of
        floats, as it would if it had gaps.
    """
    container = container_of(X)
    if container == "numpy":
        table = X.astype(np.float64) if X.dtype.kind in "biu" else X.copy()
        incomplete = missing.any(axis=1)
        table[missing] = completed[missing[incomplete]]
        return table
    table = X.copy() if container == "pandas" else X
    position = np.cumsum(missing.any(axis=1)) - 1
    for j in np.flatnonzero(missing.any(axis=0)).tolist():
        places = np.flatnonzero(missing[:, j])
        table = _COLUMN[container](table, completed, j, places, position[places])
    return table


def _pandas(table: Any, completed: Any, j: int, places: np.ndarray, sources: np.ndarray) -> Any:
    column, other = table.iloc[:, j].copy(), completed.iloc[sources, j]
    if len(places) == len(column):
        column = other.set_axis(column.index)
    else:
        column.iloc[places] = other.tolist()
    table.isetitem(j, column)
    return table


def _polars(table: Any, completed: Any, j: int, places: np.ndarray, sources: np.ndarray) -> Any:
    column = table.to_series(j)
    other = completed.to_series(j).gather(sources).alias(column.name)
    if len(places) == len(column):
        return table.with_columns(other)
    other = other.cast(column.dtype)
    return table.with_columns(column.clone().append(other).gather(_order(len(column), places)))


def _pyarrow(table: Any, completed: Any, j: int, places: np.ndarray, sources: np.ndarray) -> Any:
    column = table.column(j)
    other = completed.column(j).take(sources)
    if len(places) == len(column):
        return table.set_column(j, table.schema.field(j).name, other)
    other = other.cast(column.type)
    chunks = [*column.chunks, *other.chunks]
    joined = library("pyarrow").chunked_array(chunks, column.type).unify_dictionaries()
    return table.set_column(j, table.schema.field(j), joined.take(_order(len(column), places)))


def _order(n_rows: int, places: np.ndarray) -> np.ndarray:
    """Where the cells of a filled column are found: in it, or behind it where it had gaps."""
    order = np.arange(n_rows)
    order[places] = n_rows + np.arange(len(places))
    return order


_COLUMN = {"pandas": _pandas, "polars": _polars, "pyarrow": _pyarrow}
