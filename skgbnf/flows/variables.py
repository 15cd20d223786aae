"""The variables of a mixed table as components see them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor

KINDS = ("continuous", "grid", "categorical", "periodic")
"""Kinds of variables."""


@dataclass(frozen=True)
class Variable:
    """One variable of the samples of a component for mixed tables.

    Samples hold NaN where a variable is not known. What is not categorical is seen through a map
    onto the real line, ``w = (YJ(u) - shift) / spread`` with the power transform of Yeo and
    Johnson.

    Attributes
    ----------
    kind : {"continuous", "grid", "categorical", "periodic"}
        "grid": multiples of `step`, whose densities are probabilities. "categorical": codes from 0.
        "periodic": angles in radians.

    n_levels : int, default=0
        Number of codes.

    step : float, default=0.0
        Of a grid.

    lowest, highest : float or None, default=None
        Ends of a grid; None for none.

    power : float, default=1.0
        Parameter of the power transform, from 0 to 2; 1 is the identity.

    shift, spread : float
        Location and scale behind it.

    parent : int, default=-1
        Number of the categorical variable that says where this one has a value; -1 for none. It
        stands right before this one.

    n_open : int, default=1
        Codes of the parent below this one are those with a value.

    offset : float, default=0.0
        Of a grid that the parent shifts: its values are multiples of the step plus so much for each
        code. Values of a column that are often rounded have codes for their last digits.

    References
    ----------
    A New Family of Power Transformations to Improve Normality or Symmetry. I.-K. Yeo,
    R. A. Johnson, 2000. https://doi.org/10.1093/biomet/87.4.954
    """

    kind: str
    n_levels: int = 0
    step: float = 0.0
    lowest: float | None = None
    highest: float | None = None
    power: float = 1.0
    shift: float = 0.0
    spread: float = 1.0
    parent: int = -1
    n_open: int = 1
    offset: float = 0.0

    @property
    def is_number(self) -> bool:
        """Whether it is no code."""
        return self.kind != "categorical"

    def to_plain(self) -> dict[str, Any]:
        """The fields as JSON knows them."""
        return asdict(self)

    @classmethod
    def from_plain(cls, fields: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`; ValueError unless it is a variable."""
        self = cls(**fields)
        numbers = (self.step, self.power, self.shift, self.spread, self.offset)
        ends = [end for end in (self.lowest, self.highest) if end is not None]
        good = (
            self.kind in KINDS
            and all(isinstance(number, int | float) for number in (*numbers, *ends))
            and all(type(count) is int for count in (self.n_levels, self.parent, self.n_open))
            and (self.n_levels > 0) == (self.kind == "categorical")
            and (self.step > 0) == (self.kind == "grid")
            and 0 <= self.power <= 2
            and self.spread > 0
            and 0 <= self.offset <= self.step
            and self.n_open > 0
        )
        if not good:
            raise ValueError(f"a variable of a component is none: {fields}")
        return self


def check_parents(variables: Sequence[Variable]) -> None:
    """Raise ValueError unless what has a parent stands right behind it."""
    for j, variable in enumerate(variables):
        parent = variable.parent
        if parent >= 0 and (parent != j - 1 or variables[parent].is_number):
            raise ValueError("a variable does not stand behind the one that it depends on")


def power_transform(u: Tensor, power: Tensor) -> Tensor:
    """The power transform of Yeo and Johnson."""
    size, exponent = u.abs().log1p(), _exponent(u, power)
    safe = torch.where(exponent == 0, 1.0, exponent)
    image = torch.where(exponent == 0, size, torch.expm1(safe * size) / safe)
    return torch.copysign(image, u)


def power_log_slope(u: Tensor, power: Tensor) -> Tensor:
    """Logarithm of its derivative."""
    return (_exponent(u, power) - 1) * u.abs().log1p()


def power_inverse(w: Tensor, power: Tensor) -> Tensor:
    """Inverse of :func:`power_transform`."""
    size, exponent = w.abs(), _exponent(w, power)
    safe = torch.where(exponent == 0, 1.0, exponent)
    logarithm = torch.where(exponent == 0, size, torch.log1p(safe * size) / safe)
    return torch.copysign(torch.expm1(logarithm), w)


def _exponent(u: Tensor, power: Tensor) -> Tensor:
    return torch.where(u >= 0, power, 2 - power)
