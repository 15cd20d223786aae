"""Columns as numbers for a density: codes for levels, seconds for times, NaN for gaps."""

import numpy as np

from skgbnf.table.cells import Cells, Level
from skgbnf.table.grids import GRID_TOLERANCE
from skgbnf.table.kinds import Column
from skgbnf.table.labels import Label

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
    if not column.is_coded:
        assert numbers is not None
        return numbers
    if column.holds_numbers or (cells.levels is None and _are_flags(column.levels)):
        assert numbers is not None
        return _codes_of_numbers(numbers, column)
    if cells.levels is None:
        distinct, index = np.unique(cells.values, return_inverse=True)
        cells = Cells(index.astype(np.float64), tuple(distinct.tolist()))
    code_of: dict[Level, int] = {level: code for code, level in enumerate(column.levels)}
    assert cells.levels is not None
    codes = np.array([code_of.get(level, UNSEEN) for level in cells.levels], dtype=np.float64)
    return np.where(gaps, np.nan, cells.looked_up(codes))


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
