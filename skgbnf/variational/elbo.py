r"""The evidence lower bound of a mixture: what its rounds maximise, and its weights.

A density ``G`` approximates what is proportional to ``p`` from below:

.. math:: L(G) = E_{z \sim G}[\log p(z) - \log G(z)] = \log \int p - KL(G \,\|\, p / \int p).

For a mixture the expectation is a sum over its components, each with draws of its own.

References
----------
Gradient Boosted Normalizing Flows. R. Giaquinto, A. Banerjee, 2020.
https://arxiv.org/abs/2002.11896

Automatic Differentiation Variational Inference with Mixtures. W. Morningstar, S. Vikram, C. Ham,
A. Gallagher, J. Dillon, 2021. https://arxiv.org/abs/2003.01687
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from skgbnf.training.mixture import mixture_log_prob

_FLOOR_DEPTH = 10.0
_SEARCH_STEPS = 200
_SEARCH_TOL = 1e-7
_SMALLEST_STEP = 1e-6
_SMALLEST_WEIGHT = 1e-6


@dataclass(frozen=True)
class Draws:
    """What a round needs to know of draws from one density.

    Attributes
    ----------
    log_p : Tensor of shape (n_samples,)
        Logarithm of what is approximated, not normalised.

    log_g, log_G : Tensors of shape (n_samples,)
        Log-densities of the new component and of the mixture before it.
    """

    log_p: Tensor
    log_g: Tensor
    log_G: Tensor


def greedy_bound(
    new: Draws,
    old: Draws,
    rho: float,
    entropy_weight: float,
    progress: float,
    density_weight: float = 1.0,
) -> Tensor:
    r"""The bound of the mixture itself, as a function of the new component.

    .. math:: \rho E_g[\log p - \log G_c] + (1 - \rho) E_{G_{c-1}}[\log p - \log G_c],
        \qquad G_c = (1 - \rho) G_{c-1} + \rho g.

    Parameters
    ----------
    new, old : Draws
        From the new component and from the mixture before it.

    rho : float
        Weight of the new component.

    entropy_weight : float
        Factor of the logarithm of the mixture.

    progress : float
        Share of the round that is over; not used.

    density_weight : float, default=1.0
        Another factor of the logarithms of all densities but p, for annealing.
    """

    def value(draws: Draws) -> Tensor:
        log_mixture = torch.logaddexp(math.log1p(-rho) + draws.log_G, math.log(rho) + draws.log_g)
        return (draws.log_p - density_weight * entropy_weight * log_mixture).mean()

    return rho * value(new) + (1 - rho) * value(old)


def gradient_bound(
    new: Draws,
    old: Draws,
    rho: float,
    entropy_weight: float,
    progress: float,
    density_weight: float = 1.0,
) -> Tensor:
    r"""The paper's objective: the functional gradient of the bound, with an entropy term.

    .. math:: E_g[\log p - \lambda \log g - \max(\log G_{c-1}, f)]

    The floor ``f`` lies ten nats under the mean of ``log G`` over its own draws: without one, a
    component gains without limit by going where the mixture is not. What else ``p`` depends on (a
    decoder) learns from draws of the mixture too, in a share that rises during the round.
    Parameters are those of :func:`greedy_bound`.
    """
    floor = float(old.log_G.detach().mean()) - _FLOOR_DEPTH
    densities = entropy_weight * new.log_g + new.log_G.clamp(min=floor)
    value = new.log_p - density_weight * densities
    share = (1 - rho) * progress
    return (1 - share) * value.mean() + share * old.log_p.mean()


RoundObjective = Callable[..., Tensor]
"""Signature of :func:`greedy_bound`."""

OBJECTIVES: dict[str, RoundObjective] = {"greedy": greedy_bound, "gradient": gradient_bound}
"""What rounds after the first maximise, by name."""


def mixture_bound(log_p: Tensor, log_probs: Tensor, weights: Tensor) -> Tensor:
    """Bound of a mixture from draws of each component.

    Parameters
    ----------
    log_p : Tensor of shape (n_components, ...)
        Logarithm of what is approximated, at draws of each component.

    log_probs : Tensor of shape (n_components, ..., n_components)
        Log-densities of the same draws under each component.

    weights : Tensor of shape (n_components,)
        They sum to 1.

    Returns
    -------
    bound : Tensor of shape (...)
        In nats.
    """
    ratio = log_p - mixture_log_prob(log_probs, weights.log())
    return torch.tensordot(weights, ratio, dims=1)


def fit_weights(log_p: Tensor, log_probs: Tensor, start: Tensor) -> Tensor:
    """Weights that maximise the mean of :func:`mixture_bound`, by a line search.

    The bound is concave in the weights, since a mixture is linear in them. Each step multiplies a
    weight by the exponential of its gradient and is halved until the bound does not fall.

    Parameters
    ----------
    log_p, log_probs : Tensors
        As for :func:`mixture_bound`.

    start : Tensor of shape (n_components,)
        Weights to begin with, positive.

    Returns
    -------
    weights : Tensor of shape (n_components,)
        Positive, they sum to 1; their bound is no lower than that of `start`.
    """
    n_components = len(log_p)
    log_p = log_p.reshape(n_components, -1)
    log_probs = log_probs.reshape(n_components, -1, n_components)
    weights, step = start, 1.0
    value, gradient = _value_and_gradient(log_p, log_probs, weights)
    for _ in range(_SEARCH_STEPS):
        moved = _moved(weights, step * gradient)
        new_value, new_gradient = _value_and_gradient(log_p, log_probs, moved)
        if new_value < value:
            step /= 2
            if step < _SMALLEST_STEP:
                break
            continue
        change = float((moved - weights).abs().max())
        weights, value, gradient, step = moved, new_value, new_gradient, 1.5 * step
        if change < _SEARCH_TOL:
            break
    return weights


def _moved(weights: Tensor, direction: Tensor) -> Tensor:
    moved = torch.softmax(weights.log() + direction - direction.max(), dim=0)
    moved = moved.clamp(min=_SMALLEST_WEIGHT)
    return moved / moved.sum()


def _value_and_gradient(log_p: Tensor, log_probs: Tensor, weights: Tensor) -> tuple[float, Tensor]:
    with torch.enable_grad():
        weights = weights.detach().requires_grad_()
        value = mixture_bound(log_p, log_probs, weights).mean()
        (gradient,) = torch.autograd.grad(value, weights)
    return float(value.detach()), gradient
