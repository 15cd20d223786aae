"""A first layer that gives each column a standard normal marginal."""

import torch
from torch import Tensor
from torch.distributions import Transform

from skgbnf.flows.element_wise import ElementWise
from skgbnf.flows.interfaces import DataInitialised
from skgbnf.flows.spline import BOUND, RationalQuadraticSpline, raw_parameters
from skgbnf.flows.weighted import smoothed_quantiles


class MarginalSpline(ElementWise, DataInitialised):
    """One spline per column, started from the column's weighted quantiles.

    Parameters
    ----------
    n_features : int
        Number of columns.

    n_bins : int, default=16
        Number of bins of each spline.

    reach : float, default=BOUND
        Normal scores up to which :meth:`initialise` looks at quantiles; from there on the columns
        are taken to be normal as they come.
    """

    def __init__(self, n_features: int, n_bins: int = 16, reach: float = BOUND) -> None:
        super().__init__(
            n_features,
            univariate=RationalQuadraticSpline,
            shapes=[(3 * n_bins - 1,)],
        )
        self.reach = reach
        torch.nn.init.zeros_(self.phi[0])

    @torch.no_grad()
    def initialise(self, x: Tensor, weights: Tensor, context: Tensor | None = None) -> None:
        """Map the smoothed quantiles of each column onto those of the standard normal."""
        n_bins = (self.phi[0].shape[-1] + 1) // 3
        normal = torch.linspace(-2.5, 2.5, n_bins - 1, dtype=x.dtype, device=x.device)
        quantiles = smoothed_quantiles(x, weights, torch.special.ndtr(normal))
        x_knots = _spread(torch.where(normal.abs() < self.reach, quantiles, normal))
        y_knots = torch.nn.functional.pad(normal, (1, 1))
        y_knots[0], y_knots[-1] = -BOUND, BOUND
        self.phi[0].copy_(raw_parameters(x_knots, y_knots.expand_as(x_knots)))

    def forward(self, c: Tensor | None = None) -> Transform:
        return super().forward(None)


def _spread(quantiles: Tensor, smallest: float = 2e-2) -> Tensor:
    """Knots from -BOUND to BOUND near the quantiles, no two closer than about `smallest`."""
    ends = quantiles.new_full((len(quantiles), 1), BOUND)
    knots = torch.cat([-ends, quantiles.clamp(-BOUND, BOUND), ends], dim=1)
    widths = knots.diff(dim=1).clamp(min=smallest)
    widths = widths * (2 * BOUND / widths.sum(dim=1, keepdim=True))
    return torch.nn.functional.pad(widths.cumsum(dim=1), (1, 0)) - BOUND
