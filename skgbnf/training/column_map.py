"""The map of a table of numbers as a torch module: differentiable, with the NumPy map as oracle.

The formulas are those of :mod:`skgbnf.table`, where they are derived.
"""

import math
from collections.abc import Iterator
from itertools import combinations
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from skgbnf.table.bounds import NEAREST_SHARE, Bounds
from skgbnf.table.coordinates import MOST_MIRRORS, Coordinates
from skgbnf.table.scales import Scales
from skgbnf.table.standardisation import LARGEST, Standardisation


class ColumnMap(nn.Module):
    """From the units of X to those of flows, column by column, in double precision.

    Parameters
    ----------
    bounds : Bounds
        A bound with a margin belongs to the samples; one without does not.

    scales : Scales

    standardisation : Standardisation

    shifts : ndarray of shape (n_points, n_features)
        Points whose mean density is that of a sample, as shifts in units of X; zero for itself.

    folded : ndarray of bool of shape (n_features,)
        Whether the density in the margins of a feature is folded inwards.
    """

    limits: Tensor
    margins: Tensor
    location: Tensor
    scale: Tensor
    shifts: Tensor

    def __init__(
        self,
        bounds: Bounds,
        scales: Scales,
        standardisation: Standardisation,
        shifts: np.ndarray,
        folded: np.ndarray,
    ) -> None:
        super().__init__()
        self._bounded = np.flatnonzero(bounds.bounded).tolist()
        self._sides = [set(np.flatnonzero(np.isfinite(side)).tolist()) for side in bounds.limits]
        self._scaled = sorted(scales.knots)
        sides = np.argwhere((bounds.margins > 0) & folded).tolist()
        self._folded = [(int(side), int(j)) for side, j in sides]
        self._buffer("limits", bounds.limits)
        self._buffer("margins", bounds.margins)
        self._buffer("location", standardisation.location)
        self._buffer("scale", standardisation.scale)
        self._buffer("shifts", shifts)
        for j, (places, own) in scales.knots.items():
            self._buffer(f"knots_{j}", np.stack([places, own]))
            self._buffer(f"pieces_{j}", scales.pieces(j))

    def _buffer(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(name, torch.tensor(values, dtype=torch.float64))

    @classmethod
    def of_coordinates(cls, coordinates: Coordinates) -> Self:
        """The map of a table of numbers without atoms."""
        noise = coordinates.noise
        widths = np.where(np.isfinite(noise.origins), noise.widths, 0.0)
        return cls(
            coordinates.bounds,
            coordinates.scales,
            coordinates.standardisation,
            coordinates.shifts() * widths,
            ~noise.everywhere,
        )

    @classmethod
    def of_bounds(cls, bounds: Bounds) -> Self:
        """The map of features that have bounds and nothing else."""
        n_features = bounds.limits.shape[1]
        identity = Standardisation(np.zeros(n_features), np.ones(n_features))
        shifts = np.zeros((1, n_features))
        return cls(bounds, Scales({}), identity, shifts, np.zeros(n_features, bool))

    def points(self, x: Tensor, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
        """Points in the units of flows, and log-weights; their densities are summed."""
        limit = LARGEST[np.dtype(np.float32 if dtype == torch.float32 else np.float64)]
        for image, log_weight in self._images(x.double()):
            for shift in self.shifts:
                z, log_det = self(image + shift)
                log_det = log_det + log_weight - math.log(len(self.shifts))
                yield z.clamp(-limit, limit).to(dtype), log_det.to(dtype)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Samples in the units of flows, and the log-determinant of the map at each."""
        log_det, columns = -self.scale.log().sum(), list(x.unbind(-1))
        for j in self._bounded:
            columns[j], own = self._unbounded(columns[j], j)
            log_det = log_det + own
        for j in self._scaled:
            columns[j], own = self._rescaled(columns[j], j)
            log_det = log_det + own
        z = (torch.stack(columns, -1) - self.location) / self.scale
        return z, log_det.expand(x.shape[:-1])

    def excludes(self, x: Tensor) -> Tensor:
        """Whether each sample lies where the density is zero whatever the components."""
        lower, upper = self.limits.to(x.dtype)
        on_open = ((x == lower) & (self.margins[0] == 0)) | ((x == upper) & (self.margins[1] == 0))
        return ((x < lower) | (x > upper) | on_open).any(-1)

    def _images(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The samples, and mirror images of those near bounds, with log-weights."""
        inwards = {(side, j): (x[..., j] - self.limits[side, j]).abs() for side, j in self._folded}
        log_weight = x.new_zeros(x.shape[:-1])
        for inward in inwards.values():
            log_weight = log_weight + (inward == 0) * math.log(2)
        yield x, log_weight
        if torch.compiler.is_compiling():
            return  # whether a sample is near a bound is not known then
        near = {
            (side, j): (inward > 0) & (inward < self.margins[side, j])
            for (side, j), inward in inwards.items()
        }
        sides = [key for key, rows in near.items() if rows.any()][:MOST_MIRRORS]
        for n in range(1, len(sides) + 1):
            for mirrors in combinations(sides, n):
                columns = list(x.unbind(-1))
                for side, j in mirrors:
                    columns[j] = 2 * self.limits[side, j] - columns[j]
                everywhere = torch.stack([near[key] for key in mirrors]).all(0)
                yield torch.stack(columns, -1), log_weight.where(everywhere, -math.inf)

    def _unbounded(self, x: Tensor, j: int) -> tuple[Tensor, Tensor]:
        """Mapped values of a feature with bounds, and log-derivatives."""
        (lower, upper), (below, above) = self.limits[:, j], self.margins[:, j]
        # Which bounds there are is a matter of the model, not of the samples.
        has_lower, has_upper = (j in side for side in self._sides)
        mapped = log_derivative = torch.zeros_like(x)
        if has_lower:
            log_distance = _log_distance(x - lower, below)
            mapped, log_derivative = mapped + log_distance, log_derivative - log_distance
        if has_upper:
            log_distance = _log_distance(upper - x, above)
            mapped, log_derivative = mapped - log_distance, log_derivative - log_distance
        if has_lower and has_upper:
            log_derivative = log_derivative + (upper - lower + below + above).log()
        return mapped, log_derivative

    def _rescaled(self, x: Tensor, j: int) -> tuple[Tensor, Tensor]:
        """Mapped values of a feature at several scales, and log-derivatives."""
        places, scales = getattr(self, f"knots_{j}")
        i = torch.searchsorted(places[1:-1].contiguous(), x.detach().contiguous(), right=True)
        place, scale, slope, image = getattr(self, f"pieces_{j}")[:, i]
        inside = x.clamp(places[0], places[-1])
        start = (inside - place) / scale
        mapped = image + start * _log1p_ratio(slope * start)
        outer = torch.where(x < places[0], scales[0], scales[-1])
        own = torch.where(x == inside, scale * (1 + slope * start), outer)
        return mapped + (x - inside) / own, -own.log()


def _log_distance(inwards: Tensor, margin: Tensor) -> Tensor:
    """Log-distance from the end of a map, finite also if the distance was rounded to 0."""
    smallest = (NEAREST_SHARE * margin).clamp(min=torch.finfo(torch.float64).tiny)
    return torch.maximum(inwards + margin, smallest).log()


def _log1p_ratio(u: Tensor) -> Tensor:
    """``log(1 + u) / u``, 1 at zero."""
    safe = torch.where(u == 0, 1.0, u)
    return torch.where(u == 0, 1.0, safe.log1p() / safe)
