"""Cells that are Python objects: which of them are distinct, and of what sort they are."""

import datetime
import decimal
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

_MISSING_TYPES = ("NoneType", "NAType", "NaTType")
_SORT_OF: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("duration", (datetime.timedelta, np.timedelta64)),  # NumPy's is one of its integers
    ("bool", (bool, np.bool_)),
    ("integer", (int, np.integer)),
    ("number", (float, np.floating, decimal.Decimal)),
    ("text", (str,)),
    ("datetime", (datetime.datetime, np.datetime64)),
    ("date", (datetime.date,)),
    ("mixed", (bytes, complex, np.complexfloating)),
)
_WIDER = (("number", {"bool", "integer", "number"}), ("datetime", {"date", "datetime"}))


@dataclass(frozen=True, eq=False)
class Objects:
    """The cells of a column as positions among its distinct ones.

    Attributes
    ----------
    codes : ndarray of int of shape (n_rows,)
        Position of each cell in `distinct`, -1 for a gap.

    distinct : list
        Distinct cells that are no gaps, in the order in which they occur.

    sort : {"none", "bool", "integer", "number", "text", "date", "datetime", "duration", "mixed"}
        What all of them are; "none" if all cells are gaps.
    """

    codes: np.ndarray
    distinct: list[Any]
    sort: str

    @classmethod
    def from_cells(cls, cells: Iterable[Any]) -> "Objects":
        """Find the distinct cells; TypeError if one is mutable, such as a list."""
        number_of: dict[Any, int] = {}
        codes = np.array([number_of.setdefault(cell, len(number_of)) for cell in cells], dtype=int)
        found = list(number_of)
        gap = np.array([is_missing(cell) for cell in found], dtype=bool)
        codes_of_found = np.where(gap, -1, np.cumsum(~gap) - 1)
        distinct = [cell for cell, missing in zip(found, gap, strict=True) if not missing]
        return cls(codes_of_found[codes] if len(codes) else codes, distinct, _sort(distinct))


def is_missing(cell: Any) -> bool:
    """Whether a cell is None, NaN, or the missing value of pandas or of a time."""
    if type(cell).__name__ in _MISSING_TYPES:
        return True
    if isinstance(cell, np.datetime64 | np.timedelta64):
        return bool(np.isnat(cell))
    return isinstance(cell, float | np.floating | decimal.Decimal) and bool(cell != cell)


def _sort(distinct: list[Any]) -> str:
    """What cells are, if they are all the same."""
    sorts = {_sort_of_type(kind) for kind in set(map(type, distinct))}
    if len(sorts) <= 1:
        return next(iter(sorts), "none")
    return next((sort for sort, parts in _WIDER if sorts <= parts), "mixed")


def _sort_of_type(kind: type) -> str:
    found = next((sort for sort, kinds in _SORT_OF if issubclass(kind, kinds)), None)
    return found or ("number" if hasattr(kind, "__float__") else "mixed")
