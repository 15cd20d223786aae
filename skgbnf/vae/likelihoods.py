"""Distributions of pixels, given what a decoder returns for them.

Each has ``n_parameters`` numbers for a pixel; ``raw`` has shape (..., n_parameters, n_pixels).
"""

import math
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from skgbnf.table.standardisation import Standardisation

_LOG_SCALE_BOUND = 4.0
_LARGEST_LOG_SCALE = 1.0
_SMALLEST_STD = 0.02


class Likelihood(Protocol):
    """A distribution of independent pixels.

    Attributes
    ----------
    n_parameters : int

    log_det : float
        To add to the log-density of targets for that in the units of X.
    """

    n_parameters: int

    @property
    def log_det(self) -> float: ...

    def check(self, X: np.ndarray) -> None:
        """Raise ValueError unless the values of X are such as the distribution has."""

    def targets(self, X: np.ndarray) -> np.ndarray:
        """Pixels in the units in which they are modelled."""

    def pixels(self, targets: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`targets`."""

    def start(self, targets: Tensor) -> Tensor:
        """Raw parameters that fit each pixel by itself, shape (n_parameters, n_pixels)."""

    def log_prob(self, raw: Tensor, targets: Tensor) -> Tensor:
        """Log-density of images in nats, shape (...)."""

    def mean(self, raw: Tensor) -> Tensor:
        """Mean of each pixel, shape (..., n_pixels)."""

    def draw(self, raw: Tensor, uniform: Tensor) -> Tensor:
        """Pixels drawn by inversion from uniform numbers of shape (..., n_pixels)."""


class Bernoulli:
    """Pixels between 0 and 1, by the cross-entropy; a likelihood where they are 0 or 1."""

    n_parameters = 1
    log_det = 0.0

    def check(self, X: np.ndarray) -> None:
        if X.min() < 0 or X.max() > 1:
            raise ValueError(
                'X must lie between 0 and 1 with likelihood="bernoulli", got values from '
                f"{X.min():g} to {X.max():g}."
            )

    def targets(self, X: np.ndarray) -> np.ndarray:
        return X

    def pixels(self, targets: np.ndarray) -> np.ndarray:
        return targets

    def start(self, targets: Tensor) -> Tensor:
        return torch.logit(targets.mean(0).clamp(0.01, 0.99))[None]

    def log_prob(self, raw: Tensor, targets: Tensor) -> Tensor:
        logits = raw[..., 0, :]
        return (targets * logits - F.softplus(logits)).sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        return torch.sigmoid(raw[..., 0, :])

    def draw(self, raw: Tensor, uniform: Tensor) -> Tensor:
        return (uniform < self.mean(raw)).to(uniform)


class Gaussian:
    """Real pixels, modelled in standardised units.

    Parameters
    ----------
    standardisation : Standardisation
    """

    n_parameters = 2

    def __init__(self, standardisation: Standardisation) -> None:
        self._standardisation = standardisation

    @property
    def log_det(self) -> float:
        return self._standardisation.log_det

    def check(self, X: np.ndarray) -> None:
        """Every finite number will do."""

    def targets(self, X: np.ndarray) -> np.ndarray:
        return self._standardisation.transform(X)

    def pixels(self, targets: np.ndarray) -> np.ndarray:
        return self._standardisation.inverse_transform(targets)

    def start(self, targets: Tensor) -> Tensor:
        mean = targets.mean(0)
        return torch.stack([mean, torch.zeros_like(mean)])

    def log_prob(self, raw: Tensor, targets: Tensor) -> Tensor:
        mean, log_scale = self._parameters(raw)
        error = (targets - mean) * (-log_scale).exp()
        return -(0.5 * error.square() + log_scale + 0.5 * math.log(2 * math.pi)).sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        return raw[..., 0, :]

    def draw(self, raw: Tensor, uniform: Tensor) -> Tensor:
        mean, log_scale = self._parameters(raw)
        return mean + log_scale.exp() * torch.special.ndtri(uniform)

    def _parameters(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_scale = raw.unbind(-2)
        return mean, _LOG_SCALE_BOUND * torch.tanh(log_scale / _LOG_SCALE_BOUND)


class DiscretizedLogistic:
    """Levels 0, 1, ..., each with the mass that a logistic distribution has around it.

    The lowest and the highest level have the tails.

    Parameters
    ----------
    n_levels : int

    References
    ----------
    Improved Variational Inference with Inverse Autoregressive Flow. D. P. Kingma, T. Salimans,
    R. Jozefowicz, X. Chen, I. Sutskever, M. Welling, 2016. https://arxiv.org/abs/1606.04934
    """

    n_parameters = 2
    log_det = 0.0

    def __init__(self, n_levels: int) -> None:
        self._top = n_levels - 1
        self._half = 0.5 / self._top

    def check(self, X: np.ndarray) -> None:
        if X.min() < 0 or X.max() > self._top or (np.round(X) != X).any():
            raise ValueError(
                f"X must hold integers from 0 to n_levels - 1 = {self._top} with "
                f'likelihood="discretized_logistic", got values from {X.min():g} to {X.max():g}.'
            )

    def targets(self, X: np.ndarray) -> np.ndarray:
        return X / self._top

    def pixels(self, targets: np.ndarray) -> np.ndarray:
        return targets * self._top

    def start(self, targets: Tensor) -> Tensor:
        mean, spread = targets.mean(0), targets.std(0, correction=0).clamp(min=_SMALLEST_STD)
        return torch.stack([mean, (spread * math.sqrt(3) / math.pi).log()])

    def log_prob(self, raw: Tensor, targets: Tensor) -> Tensor:
        # With the ends of a level at a and b in standard units, its mass is
        # sigmoid(a) sigmoid(-b) (1 - exp(b - a)): no difference of nearly equal numbers.
        mean, log_scale = self._parameters(raw)
        rate = (-log_scale).exp()
        inside = (targets > 0.5 * self._half) & (targets < 1 - 0.5 * self._half)
        above = F.logsigmoid((targets + self._half - mean) * rate)
        below = F.logsigmoid((mean - targets + self._half) * rate)
        width = torch.log(-torch.expm1(-2 * self._half * rate))
        mass = torch.where(inside, above + below + width, torch.where(targets < 0.5, above, below))
        return mass.sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        return raw[..., 0, :].clamp(0.0, 1.0)

    def draw(self, raw: Tensor, uniform: Tensor) -> Tensor:
        mean, log_scale = self._parameters(raw)
        drawn = mean + log_scale.exp() * torch.logit(uniform)
        return (drawn.clamp(0.0, 1.0) * self._top).round() / self._top

    def _parameters(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_scale = raw.unbind(-2)
        return mean, log_scale.clamp(math.log(self._half) - 2, _LARGEST_LOG_SCALE)


LIKELIHOODS = ("bernoulli", "gaussian", "discretized_logistic")
"""Names that :func:`make_likelihood` knows."""


def make_likelihood(name: str, n_levels: int, standardisation: Standardisation) -> Likelihood:
    """The distribution of pixels by name."""
    if name == "bernoulli":
        return Bernoulli()
    if name == "gaussian":
        return Gaussian(standardisation)
    return DiscretizedLogistic(n_levels)
