"""Checks of input tables, with one-sentence errors that name the column and the remedy.

scikit-learn converts and checks tables. Types that it would read as numbers although they are not,
such as dates, are refused before; what it refuses is explained afterwards.
"""

import datetime
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import check_array, validate_data

from skgbnf.table.frames import (
    Description,
    check_labels,
    column_labels,
    column_types,
    column_values,
    container_of,
    for_sklearn,
)

DTYPES = [np.float64, np.float32]
"""Precisions that tables keep; others are converted to the first."""

TIMES = "dates or durations"
_MISSING = "missing values (NaN)"
INFINITE = "infinite values (inf)"
COMPLEX = "complex numbers"
SPARSE = "sparse values"
TOO_LARGE = "integers beyond the range of float64"
_ADVICE = {
    TIMES: "convert them to numbers, such as days since a day, or seconds",
    _MISSING: "they have no density; fill them in, or drop their rows",
    INFINITE: "drop their rows, or put finite values in their place",
    COMPLEX: "pass two columns, real and imaginary parts (Complex data not supported)",
    SPARSE: "X.sparse.to_dense() makes them dense",
    TOO_LARGE: "measure it in other units",
    "text": "encode it as numbers, or drop the column",
}
_NO_NUMBER = "a cell must hold one number (the argument must be a string or a real number)"

_TIME_TYPES = ("date", "time", "duration", "period")
"""Beginnings of the names of types that are none of numbers."""

_NUMERIC_TYPES = re.compile(r"(u?int\d+|float\d*|halffloat|double|bool(ean)?)(\[pyarrow\])?")
_TIME_CELLS = (
    datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64
)  # fmt: skip
_MOST_NAMED = 10


def checked_rows(
    estimator: Any,
    X: Any,
    *,
    reset: bool,
    table: Description | None = None,
    input_name: str = "X",
    **checks: Any,
) -> np.ndarray:
    """Table as an array of finite numbers, with the columns of `fit`.

    Parameters
    ----------
    estimator : estimator
        Number and names of the columns are stored in it, or compared with those it has.

    X : array-like of shape (n_samples, n_features)
        Table.

    reset : bool
        Whether to store number and names instead of comparing them.

    table : Description or None, default=None
        Table seen in fit, with whose names other than strings those of X are compared.

    input_name : str, default="X"
        Name of the table in errors.

    **checks : dict
        Parameters of :func:`sklearn.utils.check_array`.

    Returns
    -------
    rows : ndarray of shape (n_samples, n_features)

    Raises
    ------
    ValueError, TypeError
        If the table is not as above, in one sentence: table, column, its content and the remedy.
    """
    rows = checked_values(X, input_name, estimator, **checks)
    try:
        note_columns(estimator, X, reset=reset)
    except ValueError as error:
        raise _blaming(error, input_name) from None
    if table is not None:
        check_labels(X, table, input_name)
    return rows


def checked_values(
    X: Any, input_name: str = "X", estimator: Any = None, **checks: Any
) -> np.ndarray:
    """Table as an array of finite numbers, whatever the names of its columns."""
    check_table(X, input_name)
    checks = {"dtype": DTYPES, **checks}
    try:
        table = _stacked(X) if container_of(X) == "pyarrow" else for_sklearn(X)
        # scikit-learn sums columns; a sum of rows at both ends of the floats is no number.
        with np.errstate(over="ignore", invalid="ignore"):
            rows: np.ndarray = check_array(
                table, input_name=input_name, estimator=estimator, **checks
            )
    except (ValueError, TypeError, OverflowError) as error:
        _explain(X, input_name)
        raise _blaming(error, input_name) from None
    return rows


def note_columns(estimator: Any, X: Any, y: Any = None, *, reset: bool) -> None:
    """Store number and names of columns in an estimator, or compare them, by scikit-learn."""
    validate_data(estimator, for_sklearn(X), y, reset=reset, skip_check_array=True)


def _blaming(error: Exception, input_name: str) -> Exception:
    """An error of scikit-learn with the name of the table."""
    text = str(error)
    if input_name == "X" or input_name in text:
        return error
    text = f" {text[2:]}" if text.startswith("X ") else f": {text}"
    return type(error)(input_name + text)


def check_table(X: Any, input_name: str) -> None:
    """Raise unless a table is in memory, unmasked, and of types that can be numbers."""
    check_form(X, input_name)
    if container_of(X) != "numpy":
        types = map(str, column_types(X))
        faults = [_fault_of_type(X, j, dtype) for j, dtype in enumerate(types)]
    else:
        faults = [*_faults_of_objects(X)]
    raise_for(faults, X, input_name)


def check_form(X: Any, input_name: str) -> None:
    """Raise unless a table is in memory, unmasked and no structured array."""
    check_in_memory(X, input_name)
    check_unmasked(X, input_name)
    if getattr(getattr(X, "dtype", None), "names", None):
        raise TypeError(
            f"{input_name} is a structured array; make a frame of it, or a plain array."
        )


def check_in_memory(X: Any, input_name: str) -> None:
    """Raise TypeError for a lazy table, which has not been read or computed."""
    library, kind = type(X).__module__.partition(".")[0], type(X).__name__
    if library == "polars" and kind == "LazyFrame":
        advice = "collect() it first"
    elif library == "dask" and not hasattr(type(X), "map_blocks"):
        advice = "compute() it first"
    elif library == "pyarrow" and not hasattr(X, "schema"):
        return
    elif library == "pyarrow" and not hasattr(X, "shape"):
        advice = "read it into a table first"
    else:
        return
    raise TypeError(f"{input_name}: a {kind} of {library} holds no rows yet; {advice}.")


def check_unmasked(values: Any, input_name: str) -> None:
    """Raise ValueError if anything is masked."""
    if np.ma.is_masked(values):
        mask = np.ma.getmaskarray(values)
        where = ""
        if mask.ndim == 2:
            where = f" in columns {_shortened(np.flatnonzero(mask.any(axis=0)).tolist())}"
        raise ValueError(
            f"{input_name}: {mask.sum()} values{where} are masked; fill them in, or drop their "
            "rows."
        )


def _fault_of_type(X: Any, j: int, dtype: str) -> str | None:
    """Fault of a column of a frame; cells are inspected only if they are objects."""
    if dtype.lower().startswith(_TIME_TYPES):
        return TIMES
    if dtype.lower().startswith("sparse"):
        return SPARSE
    return None if _NUMERIC_TYPES.fullmatch(dtype.lower()) else _fault(column_values(X, j))


def _faults_of_objects(X: Any) -> Iterator[str | None]:
    """Faults of the columns of an array or list whose type is not numeric."""
    if not isinstance(getattr(X, "dtype", None), np.dtype):
        X = _as_array(X)
    if X is not None and X.ndim == 2 and X.dtype.kind not in "biuf":
        yield from map(_fault, X.T)


def _explain(X: Any, input_name: str) -> None:
    """Raise an error that names the faulty columns of a table, if there are any."""
    if container_of(X) != "numpy":
        faults = [_fault(column_values(X, j)) for j in range(X.shape[1])]
    else:
        array = _as_array(without_ragged_rows(X, input_name))
        faults = [*map(_fault, array.T)] if array is not None and array.ndim == 2 else []
    raise_for(faults, X, input_name)


def without_ragged_rows(X: Any, input_name: str) -> Any:
    """An array, or what can be none; lists become one, each cell as it is.

    Raises
    ------
    ValueError
        If the rows of a list have different lengths.
    """
    if not isinstance(X, list | tuple):
        return X
    array = _as_array(X)
    if array is None or _is_ragged(X):
        raise ValueError(f"{input_name}: its rows have different numbers of cells.")
    return array


def _is_ragged(rows: Any) -> bool:
    """Whether rows of lists have different lengths."""
    return len({len(row) for row in rows if isinstance(row, list | tuple)}) > 1


def _as_array(X: Any) -> np.ndarray | None:
    """Table as an array; None if it cannot be one, for which scikit-learn has an error."""
    if issparse(X):
        return None
    try:
        array = np.asarray(X)
    except (ValueError, TypeError, RuntimeError):
        array = None
    if isinstance(X, list | tuple) and (array is None or array.dtype.kind not in "biuf"):
        try:  # each cell as it is, not all as the type of one
            return np.array(X, dtype=object)
        except ValueError:
            return None
    return array


def _fault(values: np.ndarray) -> str | None:
    """Kind of the values that are not finite numbers, None if all are."""
    kind = values.dtype.kind
    if kind in "mM":
        return TIMES
    if kind == "c":
        return COMPLEX
    if kind == "f":
        if np.isnan(values).any():
            return _MISSING
        return INFINITE if np.isinf(values).any() else None
    if kind in "biu":
        return None
    return next((fault for fault in map(fault_of_cell, values.tolist()) if fault), None)


def fault_of_cell(cell: Any) -> str | None:
    """The same for one cell, which may be any object."""
    if type(cell) is float and math.isfinite(cell):
        return None
    kind = type(cell).__name__
    if isinstance(cell, _TIME_CELLS) or kind == "Period":
        return TIMES
    if cell is None or kind == "NAType":
        return _MISSING
    if isinstance(cell, complex | np.complexfloating):
        return COMPLEX
    text = isinstance(cell, str | bytes)
    if hasattr(cell, "__len__") and not text:
        return f"objects of type {kind}"
    try:
        number = float(cell)
    except (TypeError, ValueError):
        return "text" if text else f"objects of type {kind}"
    except OverflowError:
        return TOO_LARGE
    if math.isnan(number):
        return _MISSING
    return INFINITE if math.isinf(number) else None


def raise_for(faults: list[str | None], X: Any, input_name: str) -> None:
    """Raise an error for the first fault, naming all columns that have it."""
    fault = next((fault for fault in faults if fault), None)
    if fault is None:
        return
    labels = column_labels(X) or list(range(len(faults)))
    named = [label for label, other in zip(labels, faults, strict=True) if other == fault]
    subject = (
        f"column {named[0]!r} holds" if len(named) == 1 else f"columns {_shortened(named)} hold"
    )
    message = f"{input_name}: {subject} {fault}; {_ADVICE.get(fault, _NO_NUMBER)}."
    raise ValueError(message) if fault in _ADVICE and fault != SPARSE else TypeError(message)


def _shortened(labels: list[Any]) -> str:
    rest = len(labels) - _MOST_NAMED
    return str(labels) if rest <= 0 else f"{labels[:_MOST_NAMED]} and {rest} more"


def _stacked(X: Any) -> np.ndarray:
    """Columns of a table of pyarrow as one array."""
    columns = [column_values(X, j) for j in range(X.shape[1])]
    return np.column_stack(columns) if columns else np.empty(X.shape)
