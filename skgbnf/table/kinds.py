"""Kinds of columns, found by their values or asked for by the user."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skgbnf.table.cells import Cells, Level
from skgbnf.table.column import Column
from skgbnf.table.grids import (
    FEWEST_REPEATS,
    Grid,
    are_whole,
    ends_there,
    find_codes,
    held_by,
    some_of,
    stand_out,
)
from skgbnf.table.labels import Label
from skgbnf.table.requested import Request, requests_from

_ATOM_SHARE = 0.05
_ATOM_EXCESS = 20.0
"""Share of an atom that is found, as a multiple of the median share of all values."""

_REQUESTED_ATOM_SHARE = 0.01
_END_SHARE = 0.01
_MOST_ATOMS = 5
_MOST_LEVELS = 20
_PERIODS = (
    (-math.pi, math.pi, 2 * math.pi), (0.0, 2 * math.pi, 2 * math.pi), (0.0, 24.0, 24.0),
    (-180.0, 360.0, 360.0),
)  # fmt: skip


def find_columns(
    cells: Sequence[Cells],
    labels: Sequence[Label],
    requested: Any = None,
    weights: np.ndarray | None = None,
) -> tuple[Column, ...]:
    """Kinds of the columns of a table.

    Parameters
    ----------
    cells : sequence of Cells
        Columns of the table.

    labels : sequence
        Names of the columns, or positions if they have none.

    requested : dict or None, default=None
        Kinds by name or position of a column, which replace those that would be found; for a
        period ``("periodic", period)``.

    weights : ndarray of shape (n_rows,) or None, default=None
        Sample weights; None for equal ones.

    Raises
    ------
    ValueError, TypeError
        If a request is none, or does not suit its column.
    """
    requests = requests_from(requested, labels)
    return tuple(
        _requested(column, label, requests[j], weights)
        if j in requests
        else _found(column, weights)
        for j, (column, label) in enumerate(zip(cells, labels, strict=True))
    )


def _found(cells: Cells, weights: np.ndarray | None) -> Column:
    """The kind that the cells show."""
    if cells.levels is not None:
        return _of_levels(cells, cells.levels)
    numbers = _Numbers.from_values(cells.values, weights, thorough=bool(cells.unit))
    if len(numbers.distinct) < 2:
        return _constant(numbers, cells.unit)
    if cells.unit:
        grid = Grid.of_times(numbers.distinct, numbers.counts)
        return Column("continuous", unit=cells.unit).on(grid)
    atoms = numbers.outstanding_atoms()
    if len(atoms):
        return numbers.mixed(atoms)
    return numbers.ordinal(numbers.grid) if numbers.whole else Column("continuous").on(numbers.grid)


def _requested(cells: Cells, label: Label, request: Request, weights: np.ndarray | None) -> Column:
    """The kind that the user asks for."""
    values, kind = cells.numbers(), request.kind
    if kind == "categorical" and cells.levels is not None:
        return _of_levels(cells, cells.levels)
    if kind == "ordinal" and cells.levels is not None and (values is None or not cells.declared):
        return _ordinal_levels(cells, cells.levels, label)
    if values is None:
        raise ValueError(f"columns: {label!r} holds text, which cannot be {kind}.")
    numbers = _Numbers.from_values(values, weights)
    if len(numbers.distinct) < 2:
        return _constant(numbers, cells.unit)
    column = _requested_numbers(numbers, label, request)
    return replace(column, unit=cells.unit)


def _requested_numbers(numbers: "_Numbers", label: Label, request: Request) -> Column:
    if request.kind == "categorical":
        return Column("categorical", numbers.as_levels(numbers.distinct))
    if request.kind == "continuous":
        return Column("continuous")
    if request.kind == "ordinal":
        if not numbers.grid.step:
            raise ValueError(
                f"columns: the values of {label!r} lie on no grid, so it cannot be ordinal; round "
                "them first."
            )
        return numbers.ordinal(numbers.grid)
    if request.kind == "periodic":
        period = request.period or _period_of(numbers, label)
        return Column("periodic", period=period).on(numbers.grid)
    atoms = numbers.requested_atoms()
    if not len(atoms):
        raise ValueError(
            f"columns: {label!r} is to be mixed, but no value holds 1 % of its rows, and at least "
            f"{FEWEST_REPEATS}."
        )
    if len(atoms) == len(numbers.distinct):
        raise ValueError(
            f"columns: {label!r} is to be mixed, but has no other values than "
            f"{atoms.tolist()}; it is ordinal or categorical."
        )
    return numbers.mixed(atoms)


def _of_levels(cells: Cells, levels: tuple[Level, ...]) -> Column:
    """A categorical column, or a constant one if a single level holds all rows."""
    seen = np.unique(cells.values[~np.isnan(cells.values)]).astype(int).tolist()
    if not seen:
        return Column("constant")
    kept = levels if cells.declared else tuple(levels[code] for code in seen)
    constant = len(kept) == 1 and not np.isnan(cells.values).any()
    return Column("constant" if constant else "categorical", kept)


def _ordinal_levels(cells: Cells, levels: tuple[Level, ...], label: Label) -> Column:
    """An ordinal column of text, whose order its type must give, or of booleans."""
    if not cells.declared and any(isinstance(level, str) for level in levels):
        raise ValueError(
            f"columns: {label!r} holds text in no known order, so it cannot be ordinal; a category "
            "type of its library gives the order."
        )
    column = _of_levels(cells, levels)
    if len(column.levels) < 2:
        return column
    highest = float(len(column.levels) - 1)
    return Column("ordinal", column.levels, 1.0, 0.0, highest, decimals=0)


def _constant(numbers: "_Numbers", unit: str) -> Column:
    return Column("constant", numbers.as_levels(numbers.distinct), unit=unit)


def _period_of(numbers: "_Numbers", label: Label) -> float:
    """The usual period of values that fill at least half of it; whole numbers are no radians."""
    low, high = float(numbers.distinct[0]), float(numbers.distinct[-1])
    for lowest, highest, period in _PERIODS:
        radians = period == 2 * math.pi
        fits = lowest <= low and high <= highest and high - low >= period / 2
        if fits and not (radians and numbers.whole):
            return period
    raise ValueError(
        f'columns: the period of {label!r} is not clear from its values; say ("periodic", period).'
    )


@dataclass(frozen=True, eq=False)
class _Numbers:
    """Distinct values of a column that are no gaps, ascending, with counts and shares."""

    distinct: np.ndarray
    counts: np.ndarray
    shares: np.ndarray
    whole: bool

    @classmethod
    def from_values(
        cls, values: np.ndarray, weights: np.ndarray | None, *, thorough: bool = True
    ) -> "_Numbers":
        """Count the values.

        Unless `thorough`, repeated ones are looked for in a random subset first, which stands for
        the column if there are none.
        """
        known = ~np.isnan(values)
        values = values[known] + 0.0  # zero has one sign
        whole = are_whole(values)
        if not (thorough or whole):
            distinct, counts = np.unique(some_of(values), return_counts=True)
            if counts.max() == 1:
                return cls(distinct, counts, counts / len(distinct), whole)
        distinct, index, counts = np.unique(values, return_inverse=True, return_counts=True)
        held = counts if weights is None else np.bincount(index, weights[known], len(distinct))
        return cls(distinct, counts, held / (held.sum() or 1.0), whole)

    @property
    def grid(self) -> Grid:
        return Grid.of(self.distinct, self.counts)

    def as_levels(self, values: np.ndarray) -> tuple[Level, ...]:
        return tuple((values.astype(np.int64) if self.whole else values).tolist())

    def outstanding_atoms(self) -> np.ndarray:
        """Codes far away, and values held by many more rows than their neighbours and others."""
        if len(self.distinct) <= _MOST_LEVELS:
            return self._atoms(np.zeros(len(self.distinct), bool))
        share = max(_ATOM_SHARE, _ATOM_EXCESS * float(np.median(self.shares)))
        return self._atoms(held_by(self.shares, self.counts, share) & stand_out(self.shares))

    def requested_atoms(self) -> np.ndarray:
        """Values that hold a hundredth of the rows, and codes."""
        return self._atoms(held_by(self.shares, self.counts, _REQUESTED_ATOM_SHARE))

    def _atoms(self, chosen: np.ndarray) -> np.ndarray:
        """Chosen values and codes, the most frequent of them, ascending."""
        codes = find_codes(self.distinct, self.counts)
        found = np.flatnonzero(chosen | np.isin(self.distinct, codes))
        most = found[np.argsort(-self.shares[found], kind="stable")[:_MOST_ATOMS]]
        return self.distinct[np.sort(most)]

    def mixed(self, atoms: np.ndarray) -> Column:
        rest = ~np.isin(self.distinct, atoms)
        column = Column("mixed", atoms=tuple(atoms.tolist()))
        return column.on(Grid.of(self.distinct[rest], self.counts[rest]))

    def ordinal(self, grid: Grid) -> Column:
        """An ordinal column, closed where its values seem to end, or where it starts at 0 or 1."""
        held = held_by(self.shares, self.counts, _END_SHARE)
        closed_below = held[0] and ends_there(self.counts[::-1])
        closed_above = held[-1] and ends_there(self.counts)
        low, high = float(self.distinct[0]), float(self.distinct[-1])
        column = Column(
            "ordinal",
            lowest=low if closed_below or low in (0.0, 1.0) else -math.inf,
            highest=high if closed_above else math.inf,
        ).on(grid)
        if math.isinf(column.lowest) or math.isinf(column.highest):
            return column
        n_levels = round((high - low) / grid.step) + 1
        if n_levels > _MOST_LEVELS:
            return column
        values = grid.snap(low + grid.step * np.arange(n_levels))
        return replace(column, levels=self.as_levels(values))
