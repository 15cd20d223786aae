"""What a column holds: continuous, ordinal, categorical, mixed, periodic or constant values."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from skgbnf.table.cells import Level
from skgbnf.table.grids import Grid

KINDS = ("continuous", "ordinal", "categorical", "mixed", "periodic", "constant")

_UNITS = ("", "seconds")
_LARGEST = 2.0**63
_MOST_DECIMALS = 15


@dataclass(frozen=True)
class Column:
    """What a column of a table holds.

    Attributes
    ----------
    kind : {"continuous", "ordinal", "categorical", "mixed", "periodic", "constant"}

    levels : tuple of (str, bool, int or float), default=()
        Values in the order of their codes: of a categorical or constant column, and of an ordinal
        one that is closed at both ends and has at most 20; empty for others.

    step : float, default=0
        Distance of neighbours on a grid, in units of the column; 0 for no grid.

    lowest, highest : float, default=-inf and inf
        Ends of an ordinal column, infinite where it is open.

    atoms : tuple of float, default=()
        Values of a mixed column that have a probability of their own, ascending.

    period : float, default=0
        Period of a periodic column.

    unit : {"", "seconds"}, default=""
        "seconds" for dates, since 1970, and for durations.

    origin : float, default=0
        A value on the grid, at least 0 and below the step.

    decimals : int, default=-1
        Digits behind the point of the values on the grid, -1 if they are not known.
    """

    kind: str
    levels: tuple[Level, ...] = ()
    step: float = 0.0
    lowest: float = -math.inf
    highest: float = math.inf
    atoms: tuple[float, ...] = ()
    period: float = 0.0
    unit: str = ""
    origin: float = 0.0
    decimals: int = -1

    @property
    def grid(self) -> Grid:
        return Grid(self.step, self.origin, self.decimals)

    @property
    def is_coded(self) -> bool:
        """Whether numbers stand for levels in the rows of a table."""
        return self.kind == "constant" or bool(self.levels)

    @property
    def holds_numbers(self) -> bool:
        """Whether its values are numbers or times."""
        return not any(isinstance(level, str | bool) for level in self.levels)

    def on(self, grid: Grid) -> "Column":
        """The column with its values on a grid."""
        return replace(self, step=grid.step, origin=grid.origin, decimals=grid.decimals)

    def to_plain(self) -> dict[str, Any]:
        """The column as JSON values, None for an open end."""
        plain = asdict(self) | {"levels": list(self.levels), "atoms": list(self.atoms)}
        ends = {"lowest": self.lowest, "highest": self.highest}
        return plain | {name: None if math.isinf(end) else end for name, end in ends.items()}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Column":
        """Inverse of :meth:`to_plain`; ValueError unless it describes a column."""
        kind, unit, decimals = plain["kind"], plain["unit"], plain["decimals"]
        if kind not in KINDS or unit not in _UNITS:
            raise ValueError(f"a column is of an unknown kind or unit: {kind!r}, {unit!r}")
        if type(decimals) is not int or not -1 <= decimals <= _MOST_DECIMALS:
            raise ValueError(f"the number of decimals of a column is out of range: {decimals!r}")
        column = cls(
            kind,
            _levels(plain["levels"]),
            _number(plain["step"]),
            -math.inf if plain["lowest"] is None else _number(plain["lowest"]),
            math.inf if plain["highest"] is None else _number(plain["highest"]),
            tuple(map(_number, plain["atoms"])),
            _number(plain["period"]),
            unit,
            _number(plain["origin"]),
            decimals,
        )
        if not column._is_consistent():
            raise ValueError(f"the parts of a column do not fit together: {plain!r}")
        return column

    def _is_consistent(self) -> bool:
        """Whether the column has what its kind has."""
        of_kind = {
            "continuous": not self.levels,
            "ordinal": self.step > 0,
            "categorical": bool(self.levels),
            "mixed": bool(self.atoms) and not self.levels,
            "periodic": self.period > 0 and not self.levels,
            "constant": len(self.levels) <= 1,
        }[self.kind]
        return (
            of_kind
            and bool(self.atoms) == (self.kind == "mixed")
            and (self.period > 0) == (self.kind == "periodic")
            and 0 <= self.origin <= self.step
            and self.lowest < self.highest
            and list(self.atoms) == sorted(set(self.atoms))
        )

    def summary(self) -> str:
        """What is known of the column beside its kind, in a few words."""
        if self.kind == "constant":
            return f"always {self.levels[0]}" if self.levels else "no value"
        parts = []
        if self.kind == "categorical" or not self.holds_numbers:
            return f"{len(self.levels)} levels"
        if self.atoms:
            parts.append(f"atoms {', '.join(f'{atom:g}' for atom in self.atoms)}")
        if self.period:
            parts.append(f"period {self.period:g}")
        if self.step:
            parts.append(f"step {self.step:g}")
        ends = f"from {self.lowest:g}" if math.isfinite(self.lowest) else ""
        ends += f" to {self.highest:g}" if math.isfinite(self.highest) else ""
        return ", ".join([*parts, ends.strip()] if ends else parts)


def _levels(plain: Any) -> tuple[Level, ...]:
    """Levels of a file; ValueError unless they are distinct strings, booleans and numbers."""
    known = isinstance(plain, list) and all(type(x) in (str, bool, int, float) for x in plain)
    if not known or len(set(plain)) != len(plain):
        raise ValueError("the levels of a column are no distinct strings, booleans or numbers")
    if any(not abs(x) <= _LARGEST for x in plain if not isinstance(x, str)):
        raise ValueError("a level of a column is no finite number")
    return tuple(plain)


def _number(plain: Any) -> float:
    if type(plain) not in (int, float) or not math.isfinite(plain):
        raise ValueError(f"a column has a part that is no finite number: {plain!r}")
    return float(plain)
