"""Activation normalisation: a scale and a shift for each column, started from samples."""

import torch
from torch import Tensor, nn
from torch.distributions import Transform
from zuko.lazy import LazyTransform
from zuko.transforms import DependentTransform

from skgbnf.flows.affine import Affine
from skgbnf.flows.interfaces import DataInitialised

_LOG_SCALE_BOUND = 20.0
_SMALLEST_DEVIATION = 1e-6


class ActNorm(LazyTransform, DataInitialised):
    """Element-wise ``y = exp(log_scale) x + bias``, which samples may start.

    :meth:`initialise` gives each column mean zero and variance one; from there both parameters
    are learned like any other. Nothing is computed from a batch, so that, unlike with batch
    normalisation, the density of a sample does not depend on those beside it.

    Parameters
    ----------
    n_features : int
        Number of columns.

    References
    ----------
    Glow: Generative Flow with Invertible 1x1 Convolutions. D. P. Kingma, P. Dhariwal, 2018.
    https://arxiv.org/abs/1807.03039

    Examples
    --------
    >>> import torch
    >>> from skgbnf.flows.actnorm import ActNorm
    >>> x = torch.tensor([[1.0], [5.0]])
    >>> layer = ActNorm(1)
    >>> layer.initialise(x, torch.ones(2))
    >>> layer()(x).tolist()
    [[-1.0], [1.0]]
    """

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(n_features))
        self.bias = nn.Parameter(torch.zeros(n_features))

    @torch.no_grad()
    def initialise(self, x: Tensor, weights: Tensor, context: Tensor | None = None) -> None:
        """Map weighted samples to mean zero and variance one; a constant column keeps its scale.

        What was learned before is undone.
        """
        share = weights / weights.sum()
        mean = share @ x
        deviation = (share @ (x - mean).square()).sqrt()
        deviation = torch.where(deviation > _SMALLEST_DEVIATION, deviation, 1.0)
        self.log_scale.copy_(-deviation.log())
        self.bias.copy_(-mean / deviation)

    def forward(self, c: Tensor | None = None) -> Transform:
        # Not `scale_clamp`: this scale is the same for all samples, and may be large at first.
        log_scale = self.log_scale.clamp(-_LOG_SCALE_BOUND, _LOG_SCALE_BOUND)
        return DependentTransform(Affine(self.bias, log_scale), 1)
