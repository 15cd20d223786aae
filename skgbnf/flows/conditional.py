"""What depends on a context alone: a first layer, and a mixture density network."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import AffineTransform, Transform
from zuko.lazy import LazyTransform
from zuko.mixtures import GMM

from skgbnf._random import own_generator
from skgbnf.flows.gaussian import GaussianMixture
from skgbnf.flows.interfaces import DataInitialised
from skgbnf.flows.layers import bounded
from skgbnf.flows.weighted import weighted_regression

_LOG_SCALE_BOUND = 7.0
_START_GAIN = 3.0
_START_LOG_SCALE = -2.0
_LARGEST_FITTED_LOG_SCALE = 6.0
_SMALLEST_DEVIATION = 1e-6
_EM_STEPS = 10


class ConditionalAffine(LazyTransform, DataInitialised):
    """Element-wise ``u = (z - mean(c)) / scale(c)``, mean and log-scale linear in the context.

    Behind it a standard normal is the diagonal Gaussian of an ordinary variational autoencoder.

    Parameters
    ----------
    n_features : int
        Number of columns of z.

    n_context : int
        Number of columns of the context.

    References
    ----------
    Auto-Encoding Variational Bayes. D. P. Kingma, M. Welling, 2013.
    https://arxiv.org/abs/1312.6114
    """

    def __init__(self, n_features: int, n_context: int) -> None:
        super().__init__()
        self.head = nn.Linear(n_context, 2 * n_features)
        # Draws must tell contexts apart from the first step on: behind broader Gaussians a decoder
        # learns to ignore them before the encoder has learned to place them.
        with torch.no_grad():
            self.head.weight[:n_features].mul_(_START_GAIN)
            self.head.bias[n_features:].add_(_START_LOG_SCALE)

    @torch.no_grad()
    def initialise(self, x: Tensor, weights: Tensor, context: Tensor | None = None) -> None:
        """Take a linear regression on the context off, and scale by what it leaves.

        The scale is the same in every context at first; a column of which nothing is left, since
        it is constant, keeps its scale.
        """
        if context is None:
            raise ValueError("a layer of a context needs the context to start from.")
        slope, intercept, deviation = weighted_regression(x, context, weights)
        log_scale = torch.where(deviation > _SMALLEST_DEVIATION, deviation, 1.0).log()
        log_scale = log_scale.clamp(-_LARGEST_FITTED_LOG_SCALE, _LARGEST_FITTED_LOG_SCALE)
        raw = _LOG_SCALE_BOUND * torch.atanh(log_scale / _LOG_SCALE_BOUND)
        self.head.weight.copy_(torch.cat([slope.T, torch.zeros_like(slope.T)]))
        self.head.bias.copy_(torch.cat([intercept, raw]))

    def forward(self, c: Tensor | None = None) -> Transform:
        mean, raw = self.head(c).chunk(2, dim=-1)
        # Near the identity, but bounded, so that no context makes the scale overflow or vanish.
        log_scale = _LOG_SCALE_BOUND * torch.tanh(raw / _LOG_SCALE_BOUND)
        return AffineTransform(mean, log_scale.exp(), event_dim=1).inv


class ConditionalGaussianMixture(DataInitialised, GMM):
    """A mixture of full-covariance Gaussians whose parameters a network of the context gives.

    Parameters
    ----------
    n_features : int
        Number of columns.

    n_components : int
        Number of Gaussians.

    n_context : int
        Number of columns of the context.

    **network
        Arguments of :class:`zuko.nn.MLP`.

    References
    ----------
    Mixture Density Networks. C. M. Bishop, 1994. https://publications.aston.ac.uk/id/eprint/373/
    """

    def __init__(self, n_features: int, n_components: int, n_context: int, **network: Any) -> None:
        super().__init__(n_features, n_context, components=n_components, **network)
        bounded(self)

    @torch.no_grad()
    def initialise(self, x: Tensor, weights: Tensor, context: Tensor | None = None) -> None:
        """Start near the mixture, the same in every context, that a few steps of EM find."""
        with own_generator(0):
            placed = GaussianMixture(x.shape[1], self.components).to(x)
            placed.em_seed(x, weights, len(x))
        for _ in range(_EM_STEPS):
            placed.em_step(x, weights)
        self.hyper[-1].bias.copy_(torch.cat([values.flatten() for values in placed.phi]))
