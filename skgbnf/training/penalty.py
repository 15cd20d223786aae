"""A penalty of maps that stretch short steps much or little."""

import torch
from torch import Tensor
from torch.distributions import Transform

from skgbnf.flows.weighted import RIDGE, weighted_gaussian
from skgbnf.training.objective import Index
from skgbnf.training.rows import Rows

_STEP = 0.05
_SHORTEST = 1e-4


class StretchPenalty:
    r"""Mean squared logarithm of how much the map of a component stretches short steps.

    For a step ``s`` of random direction from a sample ``x`` it is that of

    .. math:: |T(x + s / 2) - T(x - s / 2)| / |A s|,

    where ``A`` whitens the samples. The best affine map costs nothing, then, however nearly
    columns are linear functions of each other; twice its stretch costs as much as half of it, so
    that the map and its inverse are bounded alike. The quotient of steps is what a Lipschitz
    constant bounds, and unlike a product with the Jacobian it needs no second derivatives.

    Parameters
    ----------
    rows : Rows
        All training samples.
    """

    def __init__(self, rows: Rows) -> None:
        factors = [weighted_gaussian(fold.x, fold.weights, RIDGE)[1] for fold in rows.folds()]
        self._factor = torch.stack(factors).reshape(*rows.x.shape[:-2], *factors[0].shape).float()
        self._weights = rows.weights.float()

    def __call__(
        self, transform: Transform, x: Tensor, index: Index, generator: torch.Generator
    ) -> Tensor:
        """The penalty of a map at the training samples `x` with these indices."""
        directions = torch.randn(
            x.shape, generator=generator, dtype=torch.float32, device="cpu"
        ).to(x)
        directions = directions / directions.norm(dim=-1, keepdim=True)
        step = _STEP * directions @ self._factor.mT
        moved = (transform(x + step / 2) - transform(x - step / 2)).norm(dim=-1)
        # Very far out a step is lost in rounding.
        log_stretch = (moved.clamp(min=_SHORTEST * _STEP) / _STEP).log()
        return (self._weights[index] * log_stretch.square()).mean()
