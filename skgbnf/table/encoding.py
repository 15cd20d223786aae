"""Columns as numbers, codes for levels and seconds for times, and back."""

import numpy as np

from skgbnf.table.cells import Cells, Level
from skgbnf.table.column import Column
from skgbnf.table.grids import GRID_TOLERANCE
from skgbnf.table.labels import Label
from skgbnf.table.types import TypeContent
from skgbnf.table.writing import Values

UNSEEN = -1.0
"""The code of a value that is none of the levels of its column."""


def encoded(cells: Cells, column: Column, label: Label, input_name: str) -> np.ndarray:
    """One column of a table as the column of fit has it.

    Parameters
    ----------
    cells : Cells
        The cells.

    column : Column
        What the column held in fit.

    label : str or int
        Name of the column for errors.

    input_name : str
        Name of the table for errors.

    Returns
    -------
    values : ndarray of float64 of shape (n_rows,)
        Codes from 0 of a column with levels, -1 for what is none of them; numbers or seconds of
        others; NaN for gaps.

    Raises
    ------
    ValueError
        If the cells are of another type than those of fit.
    """
    gaps = np.isnan(cells.values)
    if gaps.all() or (column.is_coded and not column.levels):
        return np.where(gaps, np.nan, UNSEEN)
    _check_type(cells, column, label, input_name)
    numbers = cells.numbers()
    if numbers is not None and not column.is_coded:
        return numbers
    if numbers is not None and (column.holds_numbers or _are_flags(column.levels)):
        return _codes_of_numbers(numbers, column)
    if cells.levels is None:
        distinct, index = np.unique(cells.values, return_inverse=True)
        cells = Cells(index.astype(np.float64), tuple(distinct.tolist()))
    code_of: dict[Level, int] = {level: code for code, level in enumerate(column.levels)}
    codes = [code_of.get(level, UNSEEN) for level in cells.levels or ()]
    return np.where(gaps, np.nan, cells.looked_up(np.array(codes)))


def _check_type(cells: Cells, column: Column, label: Label, input_name: str) -> None:
    """Raise ValueError if cells are text, numbers or times, but were another of these in fit."""
    numeric = cells.numbers() is not None
    given = "dates or durations" if cells.unit else "numbers" if numeric else "text"
    known = "numbers" if column.holds_numbers or _are_flags(column.levels) else "text"
    if known == "text" and not all(isinstance(level, str) for level in column.levels):
        return
    known = "dates or durations" if column.unit else known
    if given != known:
        raise ValueError(f"{input_name}: column {label!r} holds {given}, but {known} in fit.")


def _are_flags(levels: tuple[Level, ...]) -> bool:
    return bool(levels) and all(isinstance(level, bool) for level in levels)


def _codes_of_numbers(numbers: np.ndarray, column: Column) -> np.ndarray:
    """Positions of numbers among the levels of a column."""
    levels = np.array(column.levels, dtype=np.float64)
    order = np.argsort(levels)
    ascending = levels[order]
    tolerance = GRID_TOLERANCE * column.step
    place = np.searchsorted(ascending, numbers - tolerance).clip(max=len(levels) - 1)
    found = np.abs(ascending[place] - numbers) <= tolerance
    return np.where(np.isnan(numbers), np.nan, np.where(found, order[place], UNSEEN))


def decoded(x: np.ndarray, column: Column, held: TypeContent) -> Values:
    """Inverse of :func:`encoded`, for a type of columns; samples are moved to possible values.

    A code of no level counts as a gap.
    """
    if not column.is_coded:
        return Values(_possible(x, column))
    codes = np.nan_to_num(np.round(x), nan=UNSEEN)
    codes = np.where((codes >= 0) & (codes < len(column.levels)), codes, np.nan)
    if held.content in ("levels", "text"):
        return Values(codes, column.levels)
    return Values(Cells(codes).looked_up(np.array(column.levels, dtype=np.float64)))


def _possible(x: np.ndarray, column: Column) -> np.ndarray:
    """Numbers on the grid of a column and within its ends; atoms as they are."""
    moved = column.grid.snap(x).clip(column.lowest, column.highest)
    return np.where(np.isin(x, column.atoms), x, moved) if column.atoms else moved


def type_for(column: Column, container: str, name: str) -> str:
    """A type that can hold what a column holds: the given one or, if it cannot, the usual one."""
    held = TypeContent.of(name).content
    if column.is_coded and not column.levels:
        return name
    if any(isinstance(level, str) for level in column.levels):
        return name if held in ("levels", "text") else _usual("text", container)
    if column.unit:
        fits = held in ("date", "datetime", "duration")
        return name if fits else TypeContent("datetime", "us").name_in(container)
    if TypeContent.of(name).is_numeric or (column.levels and held in ("levels", "text")):
        return name
    return _usual(_content_of_numbers(column), container)


def type_elsewhere(column: Column, name: str, container: str) -> str:
    """The type of another library that holds what a type holds."""
    held = TypeContent.of(name)
    if held.content not in ("levels", "text"):
        return held.name_in(container)
    if all(isinstance(level, str) for level in column.levels):
        return held.name_in(container)
    text = any(isinstance(level, str) for level in column.levels)
    return _usual("text" if text else _content_of_numbers(column), container)


def _content_of_numbers(column: Column) -> str:
    if _are_flags(column.levels):
        return "bool"
    whole = all(isinstance(level, int) for level in column.levels)
    return "integer" if whole and (column.levels or column.decimals == 0) else "number"


def _usual(content: str, container: str) -> str:
    return TypeContent(content).name_in(container)
