"""A Gaussian whose mean and scale depend on a context, as a layer."""

import torch
from torch import Tensor, nn
from torch.distributions import AffineTransform, Transform
from zuko.lazy import LazyTransform

_LOG_SCALE_BOUND = 7.0
_START_GAIN = 3.0
_START_LOG_SCALE = -2.0


class ConditionalAffine(LazyTransform):
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

    def forward(self, c: Tensor) -> Transform:
        mean, raw = self.head(c).chunk(2, dim=-1)
        # Near the identity, but bounded, so that no context makes the scale overflow or vanish.
        log_scale = _LOG_SCALE_BOUND * torch.tanh(raw / _LOG_SCALE_BOUND)
        return AffineTransform(mean, log_scale.exp(), event_dim=1).inv
