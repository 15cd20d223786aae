"""Logistic distributions of numbers, of grids and of angles."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skgbnf.flows.variables import Variable, power_inverse, power_log_slope, power_transform

_N_TURNS = 5
LARGEST_ANGLE_LOG_SCALE = math.log(2.0)
"""Of an angle; beyond it what lies more than five turns away would matter."""

_LARGEST = 1e6
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Places:
    """Where numbers lie on the line on which they have logistic distributions.

    All tensors have the shape (..., n_samples, n_numbers). A value that has a density has equal
    ends; one on a grid has those of its cell.
    """

    low: Tensor
    high: Tensor
    is_first: Tensor
    is_last: Tensor
    log_slope: Tensor


class Numbers(nn.Module):
    """The numbers among variables: their maps onto the line, log-densities and draws.

    Parameters
    ----------
    variables : sequence of Variable
        Of any kind but "categorical".
    """

    powers: Tensor
    shifts: Tensor
    spreads: Tensor
    steps: Tensor
    offsets: Tensor
    lowest: Tensor
    highest: Tensor
    on_grid: Tensor
    are_angles: Tensor

    def __init__(self, variables: Sequence[Variable]) -> None:
        super().__init__()
        ends = [
            (
                -math.inf if v.lowest is None else v.lowest,
                math.inf if v.highest is None else v.highest,
            )
            for v in variables
        ]
        columns = {
            "powers": [v.power for v in variables],
            "shifts": [v.shift for v in variables],
            "spreads": [v.spread for v in variables],
            "steps": [v.step for v in variables],
            "offsets": [v.offset for v in variables],
            "lowest": [low for low, _ in ends],
            "highest": [high for _, high in ends],
        }
        for name, values in columns.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.float64), persistent=False)
        on_grid = torch.tensor([v.kind == "grid" for v in variables], dtype=torch.bool)
        are_angles = torch.tensor([v.kind == "periodic" for v in variables], dtype=torch.bool)
        self.register_buffer("on_grid", on_grid, persistent=False)
        self.register_buffer("are_angles", are_angles, persistent=False)
        self.angles = [j for j, v in enumerate(variables) if v.kind == "periodic"]

    def __len__(self) -> int:
        return len(self.steps)

    def images(self, u: Tensor, index: slice = slice(None)) -> Tensor:
        """Values of all numbers, or of some, on the line; angles as they are."""
        image = power_transform(u, self.powers[index])
        return (image - self.shifts[index]) / self.spreads[index]

    def places(self, u: Tensor, index: slice = slice(None)) -> Places:
        """The cells of values of all numbers, or of some; NaN must have been replaced."""
        on_grid, steps, offsets = self.on_grid[index], self.steps[index], self.offsets[index]
        half = torch.where(on_grid, steps / 2, 0.0)
        # Of a shifted grid the first value may lie up to a step from the end.
        reach = steps - torch.where(offsets > 0, offsets, steps) / 2
        is_first = on_grid & (u <= self.lowest[index] + reach)
        is_last = on_grid & (u >= self.highest[index] - reach)
        slope = power_log_slope(u, self.powers[index]) - self.spreads[index].log()
        log_slope = torch.where(on_grid, 0.0, slope)
        low, high = self.images(u - half, index), self.images(u + half, index)
        return Places(low, high, is_first, is_last, log_slope)

    def image_steps(self) -> Tensor:
        """Steps of grids on the line at the middle, zeros of other numbers."""
        return torch.where(self.on_grid, self.steps / self.spreads, 0.0)

    def log_widths(self, u: Tensor) -> Tensor:
        """What turns a density on the line into that of values, or into their probabilities.

        Of grids it is the logarithm of the width of the cell, by which a smooth density is
        multiplied.
        """
        half = self.steps / 2
        width = self.images(u + half) - self.images(u - half)
        slope = power_log_slope(u, self.powers) - self.spreads.log()
        return torch.where(self.on_grid, torch.where(self.on_grid, width, 1.0).log(), slope)

    def values(self, w: Tensor, j: int, codes: Tensor | None = None) -> Tensor:
        """Values of number `j` whose images are given; on a grid the one in whose cell each is.

        `codes` are those of its parent, if it has one.
        """
        if j in self.angles:
            return torch.remainder(w + math.pi, 2 * math.pi) - math.pi
        line = (w * self.spreads[j] + self.shifts[j]).clamp(-_LARGEST, _LARGEST)
        u = power_inverse(line, self.powers[j])
        if not self.on_grid[j]:
            return u
        step, offset = self.steps[j], self.offsets[j]
        if codes is None or not offset:
            return ((u / step).round() * step).clamp(self.lowest[j], self.highest[j])
        start = codes * offset
        low = ((self.lowest[j] - start) / step - _ROUNDING).ceil()
        high = ((self.highest[j] - start) / step + _ROUNDING).floor()
        return start + ((u - start) / step).round().clamp(low, high) * step


def logistic_log_prob(
    numbers: Numbers, places: Places, means: Tensor, log_scales: Tensor, index: slice = slice(None)
) -> Tensor:
    """Log-density, or log-probability of a cell, under logistic distributions.

    Parameters
    ----------
    numbers : Numbers

    places : Places
        Of shape (..., n_numbers).

    means, log_scales : Tensors of shape (..., n_numbers, n_logistics)

    index : slice
        Which of all numbers these are.

    Returns
    -------
    log_prob : Tensor of shape (..., n_numbers, n_logistics)
    """
    on_grid = numbers.on_grid[index].unsqueeze(-1)
    low, high = places.low.unsqueeze(-1), places.high.unsqueeze(-1)
    inverse = (-log_scales).exp()
    below, above = (low - means) * inverse, (high - means) * inverse
    widths = torch.where(on_grid, high - low, 1.0) * inverse
    inner = torch.where(on_grid, torch.log(-torch.expm1(-widths)), -log_scales)
    first, last = places.is_first.unsqueeze(-1), places.is_last.unsqueeze(-1)
    inner = torch.where(first | last, 0.0, inner) + places.log_slope.unsqueeze(-1)
    # The difference of two logistic functions is a product, and loses nothing.
    log_prob = (
        inner
        + torch.where(last, 0.0, F.logsigmoid(above))
        + torch.where(first, 0.0, F.logsigmoid(-below))
    )
    are_angles = numbers.are_angles[index]
    if not are_angles.any():
        return log_prob
    wrapped = _wrapped(low[..., are_angles, :], means, log_scales, are_angles)
    log_prob = log_prob.clone()
    log_prob[..., are_angles, :] = wrapped
    return log_prob


def _wrapped(angles: Tensor, means: Tensor, log_scales: Tensor, index: Tensor) -> Tensor:
    """Log-density of angles under logistic distributions wound around the circle."""
    means = means[..., index, :].unsqueeze(-1)
    log_scales = log_scales[..., index, :].unsqueeze(-1)
    turns = 2 * math.pi * torch.arange(-_N_TURNS, _N_TURNS + 1).to(angles)
    offset = torch.remainder(angles.unsqueeze(-1) - means + math.pi, 2 * math.pi) - math.pi
    t = (offset + turns) * (-log_scales).exp()
    return torch.logsumexp(F.logsigmoid(t) + F.logsigmoid(-t) - log_scales, dim=-1)


def draw_logistic(means: Tensor, log_scales: Tensor) -> Tensor:
    """Independent draws by torch's generator, in the shape of the means."""
    uniform = torch.rand_like(means).clamp(min=torch.finfo(means.dtype).tiny)
    return means + log_scales.exp() * torch.logit(uniform)
