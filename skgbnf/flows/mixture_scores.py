"""Normal scores of one column under a mixture of Gaussians, which a network may give."""

import math

import torch
from torch import Tensor
from torch.distributions import Transform, constraints

from skgbnf.flows.interfaces import UnivariatePulled

_SPREAD = 1.2
_LOG_SCALE_BOUND = 5.0
_FAR = -80.0
"""Logarithm of a probability that float32 still tells from zero."""

_N_NEWTON = 5
_MOST_STEPS = 100
_LOG_ROOT = math.log(2 * math.pi) / 2


class MixtureScores(Transform):
    r"""Map ``y = Phi^-1(F(x))``, with F the distribution function of a mixture of Gaussians.

    Before a standard normal base the density of the column is that of the mixture. The mixture of
    parameters zero has mean zero and variance one, nearly normal. Log-scales have a soft bound.

    Parameters
    ----------
    phi : Tensor of shape (..., 3 * n_components)
        Logits of the weights, then means and log-scales relative to those of the start.

    References
    ----------
    Masked Autoregressive Flow for Density Estimation. G. Papamakarios, T. Pavlakou, I. Murray,
    2017. https://arxiv.org/abs/1705.07057

    Examples
    --------
    >>> import torch
    >>> from skgbnf.flows.mixture_scores import MixtureScores
    >>> scores = MixtureScores(torch.zeros(3 * 10))
    >>> scores(torch.tensor(0.0)).abs() < 1e-6
    tensor(True)
    """

    domain = constraints.real
    codomain = constraints.real
    bijective = True
    sign = +1

    def __init__(self, phi: Tensor) -> None:
        super().__init__()
        logits, raw_means, raw_log_scales = phi.unflatten(-1, (3, -1)).unbind(-2)
        start, log_scale = _start(logits, logits.shape[-1])
        damping = 1 + raw_log_scales.abs() / _LOG_SCALE_BOUND
        self.log_weights = torch.log_softmax(logits, dim=-1)
        self.means = raw_means + start
        self.log_scales = raw_log_scales / damping + log_scale

    @staticmethod
    def pullback(x: Tensor, parameters: Tensor) -> UnivariatePulled:
        """Value and log-derivative with samples along the last axis, and what carries gradients.

        Parameters
        ----------
        x : Tensor of shape (..., n_samples)

        parameters : Tensor of shape (..., 3 * n_components, n_samples or 1)
        """
        logits, raw_means, raw = parameters.unflatten(-2, (3, -1)).unbind(-3)
        start, log_scale = _start(logits, logits.shape[-2])
        damping = (1 + raw.abs() / _LOG_SCALE_BOUND).reciprocal_()
        log_scales = raw * damping + log_scale
        inverse_scales = (-log_scales).exp()
        t = (x.unsqueeze(-2) - raw_means - start.unsqueeze(-1)) * inverse_scales
        log_weights = torch.log_softmax(logits, dim=-2)
        y, log_tails, log_tail, sign = _scores(log_weights, t, -2)
        log_parts = torch.addcmul(log_weights - log_scales, t, t, value=-0.5)
        log_density = torch.logsumexp(log_parts, dim=-2)
        half_square = y.square() / 2

        def pull(grad_y: Tensor, grad_ladj: Tensor) -> tuple[Tensor, Tensor]:
            grad_density = (log_parts - log_density.unsqueeze(-2)).exp_() * grad_ladj.unsqueeze(-2)
            # Before a normal base this is zero but for rounding.
            grad_score = torch.addcmul(grad_y, grad_ladj, y).unsqueeze(-2)
            by_score = (log_parts + half_square.unsqueeze(-2)).exp_() * grad_score
            # Logarithms of what overflows or underflows by itself.
            own = (log_tails + (half_square + _LOG_ROOT).unsqueeze(-2)).exp_()
            mean = (log_weights + (log_tail + half_square + _LOG_ROOT).unsqueeze(-2)).exp_()
            grad_logits = grad_density - log_weights.exp() * grad_density.sum(-2, keepdim=True)
            grad_logits -= (own - mean) * (sign.unsqueeze(-2) * grad_score)
            grad_means = (grad_density * t).mul_(inverse_scales).sub_(by_score)
            grad_raw = torch.addcmul(-grad_density, grad_density, t.square())
            grad_raw -= by_score * t / inverse_scales
            grad_raw *= damping.square()
            grad_phi = torch.cat([grad_logits, grad_means, grad_raw], dim=-2)
            return -grad_means.sum(-2), _like(grad_phi, parameters)

        return y, log_density + half_square, pull

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.call_and_ladj(x)[1]

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        t = (x.unsqueeze(-1) - self.means) * (-self.log_scales).exp()
        y, *_ = _scores(self.log_weights, t, -1)
        log_parts = self.log_weights - self.log_scales - t.square() / 2
        return y, torch.logsumexp(log_parts, dim=-1) + y.square() / 2

    @torch.no_grad()
    def _inverse(self, y: Tensor) -> Tensor:
        """By Newton's steps, within the smallest and the largest of the values of all Gaussians.

        A step that leaves what is known to hold the value, or that is not half as long as the one
        before the last, is replaced by a halving.
        """
        values = self.means + self.log_scales.exp() * y.unsqueeze(-1)
        low, high = values.amin(-1), values.amax(-1)
        x, eps = (low + high) / 2, torch.finfo(y.dtype).eps
        longest = last = high - low
        for _ in range(_MOST_STEPS):
            value, log_slope = self.call_and_ladj(x)
            is_low = value < y
            low, high = torch.where(is_low, x, low), torch.where(is_low, high, x)
            step = (y - value) * (-log_slope).exp()
            halving = (low + high) / 2 - x
            good = (x + step >= low) & (x + step <= high) & (2 * step.abs() <= longest)
            step = torch.where(good, step, halving)
            x, longest, last = x + step, last, step.abs()
            # What one of Newton's steps leaves is of the order of its square.
            if bool((last <= torch.where(good, math.sqrt(eps), eps) * (1 + x.abs())).all()):
                break
        return x


def _start(like: Tensor, n_components: int) -> tuple[Tensor, float]:
    """Means of the Gaussians where training starts, and the logarithm of their scale."""
    if n_components == 1:
        return like.new_zeros(1), 0.0
    means = torch.linspace(-_SPREAD, _SPREAD, n_components, dtype=like.dtype, device=like.device)
    # Of equidistant values.
    variance = _SPREAD**2 * (n_components + 1) / (3 * (n_components - 1))
    return means, math.log(1 - variance) / 2


def _scores(log_weights: Tensor, t: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normal scores, and the smaller tail by which they are told.

    Returns
    -------
    y : Tensor
        Normal scores.

    log_tails : Tensor
        Logarithm of what each Gaussian, with its weight, has in the smaller tail.

    log_tail : Tensor
        The same of the mixture.

    sign : Tensor
        1 if the smaller tail is the upper one, -1 if it is the lower one.
    """
    below = (log_weights.exp() * torch.erfc(t / -math.sqrt(2)) / 2).sum(dim)
    sign = torch.where(below < 0.5, -1.0, 1.0).to(t)
    log_tails = log_weights + torch.special.log_ndtr(-sign.unsqueeze(dim) * t)
    log_tail = torch.logsumexp(log_tails, dim=dim)
    return -sign * _quantile(log_tail), log_tails, log_tail, sign


def _quantile(log_probability: Tensor) -> Tensor:
    """Quantile of the standard normal below its median, however small the probability."""
    near = torch.special.ndtri(log_probability.clamp(min=_FAR).exp())
    if not (torch.compiler.is_compiling() or (log_probability < _FAR).any()):
        return near
    with torch.no_grad():
        far = -(-2 * log_probability.clamp(max=_FAR)).sqrt()
    for i in range(_N_NEWTON):
        # The gradient is that of the last step, with the point it starts from held fixed.
        goal = log_probability.clamp(max=_FAR) if i == _N_NEWTON - 1 else log_probability.detach()
        with torch.no_grad():
            value = torch.special.log_ndtr(far)
            slope = (-far.square() / 2 - _LOG_ROOT - value).exp()
        far = far - (value - goal.clamp(max=_FAR)) / slope
    return torch.where(log_probability < _FAR, far, near)


def _like(grad: Tensor, parameters: Tensor) -> Tensor:
    """The gradient of parameters that samples share is a sum over these."""
    if parameters.shape[-1] == grad.shape[-1]:
        return grad
    return grad.sum(-1, keepdim=True)
