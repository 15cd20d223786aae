"""Columns of pandas, polars and pyarrow, and cells as objects, made from numbers."""

import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from skgbnf.table.times import ticks_of
from skgbnf.table.types import TypeContent

_INTEGER = re.compile(r"(u?int)(\d+)")
_LARGEST_BITS = 64
_FLOATS = {"halffloat": np.float16, "float": np.float32, "double": np.float64}


@dataclass(frozen=True, eq=False)
class Values:
    """Values of a column.

    Attributes
    ----------
    numbers : ndarray of float64 of shape (n_rows,)
        Numbers, seconds, or positions in `levels`; NaN for gaps.

    levels : tuple or None, default=None
        Levels of a column whose values are levels.
    """

    numbers: np.ndarray
    levels: tuple[Any, ...] | None = None

    @property
    def gaps(self) -> np.ndarray:
        return np.isnan(self.numbers)

    @property
    def codes(self) -> np.ndarray:
        """Positions in the levels, -1 for gaps."""
        return np.nan_to_num(self.numbers, nan=-1).astype(np.int64)

    def cells(self, gap: Any = None) -> np.ndarray:
        """The levels as objects."""
        table = np.empty(len(self.levels or ()) + 1, dtype=object)
        table[:-1], table[-1] = self.levels or (), gap
        return table[self.codes]

    def integers(self, type_name: str) -> np.ndarray:
        """Numbers rounded within the range of a type of integers; 0 for gaps."""
        integer = _INTEGER.match(type_name.lower())
        assert integer is not None
        kind = np.dtype(integer[1] + str(min(int(integer[2]), _LARGEST_BITS)))
        limits = np.iinfo(kind)
        # Not every integer is a float64: the largest would be rounded up, beyond the range.
        largest = limits.max if kind.itemsize < 8 else np.nextafter(float(limits.max), 0)
        numbers = np.nan_to_num(self.numbers, nan=0.0)
        return np.clip(np.round(numbers), limits.min, largest).astype(kind)

    def flags(self) -> np.ndarray:
        """Numbers as booleans, False for gaps."""
        return self.numbers > 0.5

    def days(self) -> np.ndarray:
        return ticks_of(self.numbers, "D")

    def times(self, kind: str, unit: str) -> np.ndarray:
        """Numbers as datetime64 ("M") or timedelta64 ("m") of NumPy."""
        times = ticks_of(self.numbers, unit).astype(f"{kind}8[{unit}]")
        times[self.gaps] = np.array("NaT", times.dtype)
        return times

    def dates(self) -> np.ndarray:
        """Numbers as objects of the type date, None for gaps."""
        dates = self.days().astype("M8[D]").astype(object)
        dates[self.gaps] = None
        return dates


def objects_of(values: Values, name: str) -> np.ndarray:
    """Cells as Python objects, NaN for gaps."""
    held = TypeContent.of(name)
    if values.levels is not None:
        return values.cells(np.nan)
    made: dict[str, Callable[[], np.ndarray]] = {
        "bool": values.flags,
        "integer": lambda: values.integers("int64"),
        "date": values.dates,
        "datetime": lambda: values.times("M", "us"),
        "duration": lambda: values.times("m", "us"),
    }
    cells = made.get(held.content, lambda: values.numbers)().astype(object)
    if held.zone:
        utc = datetime.UTC
        cells = _objects([None if cell is None else cell.replace(tzinfo=utc) for cell in cells])
    cells[values.gaps] = np.nan
    return cells


def _objects(cells: list[Any]) -> np.ndarray:
    array = np.empty(len(cells), dtype=object)
    array[:] = cells
    return array


def pandas_column(pd: ModuleType, values: Values, name: str) -> Any:
    """A series of pandas; types that have no gaps become nullable ones if there are some."""
    if name.endswith("[pyarrow]"):
        array = pyarrow_column(import_module("pyarrow"), values, name.removesuffix("[pyarrow]"))
        return pd.Series(pd.arrays.ArrowExtensionArray(array))
    held = TypeContent.of(name)
    if held.content == "levels":
        index = pd.Index(list(values.levels or ()))
        return pd.Series(pd.Categorical.from_codes(values.codes, index, ordered=held.ordered))
    if held.content == "text":
        cells = values.cells(np.nan if name == "object[nan]" else None)
        if name.startswith("object") or isinstance(pd.api.types.pandas_dtype(name), np.dtype):
            return pd.Series(cells, dtype=object)
        return pd.Series(cells, dtype=name)
    if held.content == "date":
        return pd.Series(values.dates(), dtype=object)
    if held.content == "duration":
        return pd.Series(values.times("m", held.unit))
    if held.content == "datetime":
        series = pd.Series(values.times("M", held.unit))
        return series.dt.tz_localize("UTC").dt.tz_convert(held.zone) if held.zone else series
    return _pandas_numbers(pd, values, name, held.content)


def _pandas_numbers(pd: ModuleType, values: Values, name: str, content: str) -> Any:
    """A series of numbers or booleans."""
    if content == "number":
        series = pd.Series(values.numbers).astype(name)
        return series.mask(values.gaps) if name[0] == "F" else series
    series = pd.Series(values.flags() if content == "bool" else values.integers(name))
    if not values.gaps.any():
        return series.astype(name)
    nullable = "boolean" if content == "bool" else name.replace("u", "U").replace("i", "I")
    return series.astype(nullable).mask(values.gaps)


def polars_column(pl: ModuleType, values: Values, name: str) -> Any:
    """A series of polars."""
    held = TypeContent.of(name)
    if held.content == "levels":
        dtype = pl.Enum(list(values.levels or ())) if name == "Enum" else pl.Categorical
        return pl.Series(values.cells().tolist(), dtype=dtype)
    if held.content == "text":
        cells = [cell if cell is None else str(cell) for cell in values.cells()]
        return pl.Series(cells, dtype=pl.String)
    if held.content == "null":
        return pl.Series([None] * len(values.numbers), dtype=pl.Null)
    if held.content == "number":
        return pl.Series(values.numbers, nan_to_null=True).cast(getattr(pl, name))
    if held.content == "bool":
        series = pl.Series(values.flags())
    elif held.content == "integer":
        series = pl.Series(values.integers(name)).cast(getattr(pl, name))
    elif held.content == "date":
        series = pl.Series(values.days().astype(np.int32)).cast(pl.Date)
    else:
        ticks = pl.Series(ticks_of(values.numbers, held.unit))
        zone = {"time_zone": held.zone or None} if held.content == "datetime" else {}
        series = ticks.cast(getattr(pl, held.content.capitalize())(held.unit, **zone))
    return series.scatter(np.flatnonzero(values.gaps).tolist(), None)


def pyarrow_column(pa: ModuleType, values: Values, name: str) -> Any:
    """An array of pyarrow."""
    held = TypeContent.of(name)
    if held.content == "levels":
        parts = re.match(r"dictionary<values=(\w+), indices=(\w+), ordered=([01])>", name)
        assert parts is not None
        codes = pa.array(np.where(values.gaps, 0, values.codes), mask=values.gaps)
        return pa.DictionaryArray.from_arrays(
            codes.cast(pa.type_for_alias(parts[2])),
            pa.array(list(values.levels or ())).cast(pa.type_for_alias(parts[1])),
            ordered=parts[3] == "1",
        )
    if held.content == "text":
        cells = [cell if cell is None else str(cell) for cell in values.cells()]
        return pa.array(cells, pa.type_for_alias(name))
    if held.content == "null":
        return pa.nulls(len(values.numbers))
    if held.content in ("datetime", "duration"):
        ticks = pa.array(ticks_of(values.numbers, held.unit), mask=values.gaps)
        zoned = {"tz": held.zone or None} if held.content == "datetime" else {}
        make = pa.timestamp if held.content == "datetime" else pa.duration
        return ticks.cast(make(held.unit, **zoned))
    made: dict[str, Callable[[], np.ndarray]] = {
        "bool": values.flags,
        "integer": lambda: values.integers(name),
        "number": lambda: values.numbers.astype(_FLOATS[name]),
        "date": lambda: values.days().astype("M8[D]"),
    }
    return pa.array(made[held.content](), mask=values.gaps).cast(pa.type_for_alias(name))
