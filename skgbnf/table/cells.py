"""Columns of any table, read as numbers with NaN for gaps, or as categories.

Arrays, also of objects, and frames of pandas, polars and pyarrow are read to the same result.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from sklearn.utils.validation import check_array

from skgbnf.table.checks import (
    COMPLEX,
    INFINITE,
    SPARSE,
    TIMES,
    TOO_LARGE,
    check_form,
    fault_of_cell,
    raise_for,
    without_ragged_rows,
)
from skgbnf.table.frames import container_of
from skgbnf.table.objects import Objects
from skgbnf.table.times import DAY, TICKS, seconds_of

Level = str | bool | int | float
"""What a category may be."""

_FLAGS = (False, True)


class _FaultError(Exception):
    """A column cannot be read; the argument says what it holds."""


@dataclass(frozen=True, eq=False)
class Cells:
    """One column of a table.

    Attributes
    ----------
    values : ndarray of float64 of shape (n_rows,)
        Numbers, seconds, or positions in `levels`; NaN for gaps.

    levels : tuple or None, default=None
        Categories, each a string, a boolean or a number; None for numbers and times.

    declared : bool, default=False
        Whether the type of the column lists the levels, in an order of its own. Other levels are
        sorted, and occur in the column; of booleans there are always two.

    unit : {"", "seconds"}, default=""
        "seconds" for dates, since 1970, and for durations.
    """

    values: np.ndarray
    levels: tuple[Level, ...] | None = None
    declared: bool = False
    unit: str = ""

    def numbers(self) -> np.ndarray | None:
        """The cells as numbers; None if a level is a string."""
        if self.levels is None:
            return self.values
        if any(isinstance(level, str) for level in self.levels):
            return None
        return self.looked_up(np.array(self.levels, dtype=np.float64))

    def looked_up(self, table: np.ndarray) -> np.ndarray:
        """What a table with an entry for each level says of the cells, NaN for gaps."""
        table = np.append(table.astype(np.float64), np.nan)
        return table[np.nan_to_num(self.values, nan=len(table) - 1).astype(int)]


def read_columns(
    X: Any, input_name: str = "X", estimator: Any = None, *, infinite: bool = False
) -> list[Cells]:
    """All columns of a table.

    Parameters
    ----------
    X : array-like or frame of shape (n_samples, n_features)
        Table.

    input_name : str, default="X"
        Name of the table in errors.

    estimator : estimator or None, default=None
        Named in errors of scikit-learn.

    infinite : bool, default=False
        Whether numbers may be infinite.

    Raises
    ------
    ValueError, TypeError
        If the table has no rows or columns, is lazy or masked, or a column holds what is neither a
        number, a category nor a time.
    """
    check_form(X, input_name)
    whole = {"ensure_all_finite": False, "input_name": input_name, "estimator": estimator}
    container = container_of(X)
    if container == "numpy":
        X = without_ragged_rows(X, input_name)
        if getattr(X, "ndim", 0) == 2 and X.dtype.kind == "c":
            raise_for([COMPLEX] * X.shape[1], X, input_name)
        X = check_array(X, dtype=None, **whole)
    else:
        check_array(np.broadcast_to(0.0, X.shape), **whole)
    found, faults = [], []
    for j in range(X.shape[1]):
        try:
            found.append(_READERS[container](X, j))
            numeric = found[-1].levels is None and not infinite
            faults.append(INFINITE if numeric and np.isinf(found[-1].values).any() else None)
        except _FaultError as fault:
            faults.append(str(fault))
    raise_for(faults, X, input_name)
    return found


def _numpy_column(X: np.ndarray, j: int) -> Cells:
    return _from_array(X[:, j])


def _pandas_column(X: Any, j: int) -> Cells:
    series = X.iloc[:, j]
    dtype = series.dtype
    if str(dtype) == "category":
        return _from_codes(series.cat.codes.to_numpy(), series.cat.categories.tolist())
    if hasattr(dtype, "pyarrow_dtype"):
        return _from_arrow(series.array.__arrow_array__())
    if str(dtype).startswith("Sparse"):
        raise _FaultError(SPARSE)
    if str(dtype).startswith("period"):
        raise _FaultError(TIMES)
    if dtype.kind in "biuf" and not isinstance(dtype, np.dtype):
        return _from_array(series.to_numpy(dtype=np.float64, na_value=np.nan), dtype.kind)
    if dtype.kind == "M" and not isinstance(dtype, np.dtype):
        series = series.dt.tz_convert(None)
    return _from_array(np.asarray(series))


def _polars_column(X: Any, j: int) -> Cells:
    pl, series = import_module("polars"), X[:, j]
    name = str(series.dtype).partition("(")[0]
    if name == "Enum":
        codes = series.to_physical().cast(pl.Float64).to_numpy()
        return _from_codes(codes, series.dtype.categories.to_list())
    if name == "Time":
        raise _FaultError(TIMES)
    if name in ("Date", "Datetime", "Duration"):
        unit = getattr(series.dtype, "time_unit", None)
        ticks = 1 / DAY if unit is None else TICKS[unit]
        return Cells(series.to_physical().cast(pl.Float64).to_numpy() / ticks, unit="seconds")
    if series.dtype.is_numeric() or name in ("Boolean", "Null"):
        numbers = series.cast(pl.Float64).to_numpy()
        return _from_array(numbers, "b" if name == "Boolean" else "f")
    return _from_objects(series.to_list())


def _pyarrow_column(X: Any, j: int) -> Cells:
    return _from_arrow(X.column(j))


def _from_arrow(column: Any) -> Cells:
    """A column of pyarrow, in chunks or whole."""
    name = str(column.type)
    if name.startswith("dictionary"):
        if hasattr(column, "unify_dictionaries"):
            column = column.unify_dictionaries().combine_chunks()
        codes = np.asarray(column.indices.cast("float64"))
        return _from_codes(codes, column.dictionary.to_pylist())
    if name.startswith("time") and not name.startswith("timestamp"):
        raise _FaultError(TIMES)
    if name.startswith(("date", "timestamp", "duration")):
        column = column.cast("int32") if name.startswith("date32") else column
        ticks = np.asarray(column.cast("int64").cast("float64", safe=False))
        return Cells(ticks / _ticks_of_arrow(name), unit="seconds")
    if name.startswith(("int", "uint", "float", "double", "halffloat", "decimal", "bool", "null")):
        if not name.startswith("halffloat"):  # old versions cannot cast it
            column = column.cast("float64", safe=False)
        return _from_array(np.asarray(column, np.float64), "b" if name == "bool" else "f")
    if name.startswith(("string", "large_string")):
        return _from_objects(np.asarray(column, dtype=object).tolist())
    return _from_objects(column.to_pylist())


_READERS: dict[str, Callable[[Any, int], Cells]] = {
    "numpy": _numpy_column,
    "pandas": _pandas_column,
    "polars": _polars_column,
    "pyarrow": _pyarrow_column,
}


def _ticks_of_arrow(name: str) -> float:
    """Ticks in a second of a type of times of pyarrow."""
    unit = name[name.index("[") + 1 :].partition("]")[0].partition(",")[0]
    return 1 / DAY if unit == "day" else TICKS[unit]


def _from_array(values: np.ndarray, kind: str = "") -> Cells:
    """A column from an array of any type, or from float64 that stands for another `kind`."""
    kind = kind or values.dtype.kind
    if kind == "c":
        raise _FaultError(COMPLEX)
    if kind in "mM":
        return Cells(seconds_of(values), unit="seconds")
    if kind in "biuf":
        with np.errstate(over="ignore"):
            return Cells(values.astype(np.float64), _FLAGS if kind == "b" else None)
    return _from_objects(values.tolist())


def _from_codes(codes: np.ndarray, levels: list[Any]) -> Cells:
    """A column whose type lists its levels; the code of a gap is NaN or negative."""
    codes = codes.astype(np.float64)
    cells = Cells(np.where(codes < 0, np.nan, codes), tuple(map(_plain, levels)), declared=True)
    distinct = tuple(dict.fromkeys(cells.levels or ()))
    if len(distinct) == len(levels):
        return cells
    position = np.array([distinct.index(level) for level in cells.levels or ()])
    return Cells(cells.looked_up(position), distinct, declared=True)


def _from_objects(cells: list[Any]) -> Cells:
    """A column of Python objects."""
    try:
        objects = Objects.from_cells(cells)
    except TypeError as e:
        faults = (fault_of_cell(cell) for cell in cells if type(cell).__hash__ is None)
        raise _FaultError(next(faults, None) or "nested objects") from e
    if objects.sort in ("none", "integer", "number"):
        return Cells(_looked_up(_floats(objects.distinct), objects.codes))
    if objects.sort in ("date", "datetime", "duration"):
        return Cells(_looked_up(_seconds_of(objects), objects.codes), unit="seconds")
    levels = [_plain(_category(cell)) for cell in objects.distinct]
    order = _FLAGS if objects.sort == "bool" else tuple(sorted(set(levels), key=_rank))
    code_of = {level: code for code, level in enumerate(order)}
    table = np.array([code_of[level] for level in levels], dtype=np.float64)
    return Cells(_looked_up(table, objects.codes), order)


def _looked_up(table: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Entries of a table, NaN for the code -1."""
    return np.append(table, np.nan)[codes]


def _floats(cells: list[Any]) -> np.ndarray:
    try:
        return np.array([float(cell) for cell in cells], dtype=np.float64)
    except OverflowError as e:
        raise _FaultError(TOO_LARGE) from e
    except (TypeError, ValueError) as e:
        raise _FaultError(f"objects of type {type(cells[0]).__name__}") from e


def _seconds_of(objects: Objects) -> np.ndarray:
    kind = "m" if objects.sort == "duration" else "M"
    naive = [_naive(cell) for cell in objects.distinct]
    return seconds_of(np.array(naive, dtype=f"{kind}8[us]"))


def _naive(cell: Any) -> Any:
    """A time without its time zone, in UTC."""
    offset = getattr(cell, "utcoffset", lambda: None)()
    return cell if offset is None else cell.replace(tzinfo=None) - offset


def _category(cell: Any) -> Any:
    """A cell that can be a category, as it is."""
    fault = fault_of_cell(cell) or ""
    nested = fault.startswith("objects") and hasattr(cell, "__len__")
    if fault in (COMPLEX, TIMES) or nested:
        raise _FaultError(fault)
    return cell


def _plain(cell: Any) -> Level:
    """A category as a boolean, a number, or a string."""
    cell = cell.item() if isinstance(cell, np.generic) else cell
    return cell if isinstance(cell, bool | int | float) else str(cell)


def _rank(level: Level) -> tuple[bool, Any]:
    """Order of levels: numbers first."""
    return isinstance(level, str), level
