"""The log-density to be matched, as training sees it: of tensors, without bounds, checked."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

LogProb = Callable[[Tensor], Tensor]
"""From samples, shape (n_samples, n_features), to their log-densities up to a constant."""

_LARGEST_EXPONENT = 80.0
"""Whose exponential single precision holds."""

_OFF_CENTRE = 0.1
"""At zero the gradient of many densities is zero, whatever its sign."""

_STEP = 1e-5
_TOLERANCE = 1e-3
_NO_GRADIENT = (
    "log_prob takes NumPy arrays, which have no gradient: pass its gradient as grad_log_prob, or "
    "write it with torch. Differences of its values do not take the place of a gradient: they "
    "would cost n_features more values for each draw, and most of their digits."
)


class FromArrays:
    """A log-density of NumPy arrays and its gradient, as a function of tensors.

    Parameters
    ----------
    log_prob : callable
        From float64 arrays of shape (n_samples, n_features) to arrays of shape (n_samples,).

    gradient : callable
        From the same to arrays of shape (n_samples, n_features).
    """

    def __init__(self, log_prob: Callable[..., Any], gradient: Callable[..., Any]) -> None:
        self._log_prob, self._gradient = log_prob, gradient

    def __call__(self, z: Tensor) -> Tensor:
        return _OfArrays.apply(z, self)  # type: ignore[no-untyped-call]

    def values(self, z: Tensor) -> Tensor:
        """Log-densities without a gradient."""
        return _answer("log_prob", self._log_prob, z, z.shape[:1])

    def gradients(self, z: Tensor) -> Tensor:
        """Gradients of the log-densities."""
        return _answer("grad_log_prob", self._gradient, z, z.shape)


class _OfArrays(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, function: FromArrays) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(z)
        return function.values(z)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (z,) = ctx.saved_tensors
        return grad[:, None] * ctx.function.gradients(z), None


def _answer(name: str, function: Callable[..., Any], z: Tensor, shape: torch.Size) -> Tensor:
    """What a function of arrays returns, in the precision of `z` and on its device."""
    values = np.asarray(function(z.detach().cpu().double().numpy()), dtype=np.float64)
    if values.shape != tuple(shape):
        raise ValueError(
            f"{name} must return an array of shape {tuple(shape)} for rows of shape "
            f"{tuple(z.shape)}, got {values.shape}."
        )
    return torch.tensor(values, dtype=z.dtype, device=z.device)


class Unbounded:
    """A log-density within bounds, as one of features without.

    The maps are the inverses of those in :mod:`skgbnf.table.bounds`, without margins. What they
    return lies inside the bounds, also where rounding would put it on one.

    Parameters
    ----------
    log_prob : callable
        Density of features within the bounds.

    limits : ndarray of shape (2, n_features)
        Lower and upper bounds, -inf and inf for none.
    """

    def __init__(self, log_prob: LogProb, limits: np.ndarray) -> None:
        self._log_prob, self._limits = log_prob, limits

    def __call__(self, u: Tensor) -> Tensor:
        z, log_det = self.bounded(u)
        return self._log_prob(z) + log_det

    def bounded(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Samples within the bounds, and the log-determinant of the map at each."""
        lower, upper = torch.as_tensor(self._limits, dtype=u.dtype, device=u.device)
        has_lower, has_upper = lower.isfinite(), upper.isfinite()
        low, high = lower.where(has_lower, 0.0), upper.where(has_upper, 0.0)
        # Where the other map is in force, its gradient must be finite too.
        grown = torch.where(has_upper, -u, u).clamp(-_LARGEST_EXPONENT, _LARGEST_EXPONENT)
        one_sided = torch.where(has_lower, low + grown.exp(), high - grown.exp())
        two_sided = low + (high - low) * torch.sigmoid(u)
        both, none = has_lower & has_upper, ~(has_lower | has_upper)
        z = torch.where(both, two_sided, torch.where(none, u, one_sided))
        inside = (high - low).where(both, 1.0).log() + logsigmoid(u) + logsigmoid(-u)
        log_det = torch.where(both, inside, torch.where(none, 0.0, grown))
        return z.clamp(*_open_interval(lower, upper)), log_det.sum(-1)


def _open_interval(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the last number between bounds."""
    return torch.nextafter(lower, upper), torch.nextafter(upper, lower)


def checked_target(
    log_prob: Any, gradient: Any, limits: np.ndarray, device: torch.device
) -> LogProb:
    """The log-density of features without bounds, tried at three samples near the origin.

    Parameters
    ----------
    log_prob : callable
        Of tensors, or of arrays if there is a gradient.

    gradient : callable or None
        Of arrays.

    limits : ndarray of shape (2, n_features)

    device : torch.device

    Raises
    ------
    TypeError, ValueError
        Unless the function returns a finite number with a gradient for each sample.
    """
    if not callable(log_prob):
        raise TypeError(f"log_prob must be callable, got {log_prob!r}.")
    if not (gradient is None or callable(gradient)):
        raise TypeError(f"grad_log_prob must be callable or None, got {gradient!r}.")
    of_tensors = log_prob if gradient is None else FromArrays(log_prob, gradient)
    u = torch.zeros(3, limits.shape[1], device=device, dtype=torch.float32)
    u = u + torch.arange(3, device=device)[:, None] / 2
    target, z = of_tensors, u
    if np.isfinite(limits).any():
        target = unbounded = Unbounded(of_tensors, limits)
        z = unbounded.bounded(u)[0]
    _check_values(log_prob, of_tensors, z)
    if gradient is not None:
        _check_gradient(target, u.double())
    return target


def _check_values(log_prob: Any, of_tensors: LogProb, z: Tensor) -> None:
    """Raise ValueError unless values at three samples are finite and have a gradient."""
    try:
        values = of_tensors(z.detach().requires_grad_())
    except Exception as error:
        if of_tensors is log_prob and _takes_arrays(log_prob, z):
            raise ValueError(_NO_GRADIENT) from error
        raise
    if isinstance(values, np.ndarray):
        raise ValueError(_NO_GRADIENT)
    if not isinstance(values, Tensor) or values.shape != (3,):
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(
            f"log_prob must return a Tensor of shape (n_samples,) for rows of shape "
            f"(n_samples, {z.shape[1]}), got {got} for 3 rows."
        )
    if not values.requires_grad:
        raise ValueError("log_prob: what it returns has no gradient with respect to its argument.")
    if not torch.isfinite(values).all():
        raise ValueError(
            f"log_prob returned {values.tolist()} at samples near the origin, or well within the "
            "bounds; it must be finite."
        )


def _takes_arrays(log_prob: Callable[..., Any], z: Tensor) -> bool:
    """Whether a function that failed for tensors is one of arrays."""
    try:
        return isinstance(log_prob(z.cpu().double().numpy()), np.ndarray)
    except Exception:
        return False


def _check_gradient(target: LogProb, u: Tensor) -> None:
    """Raise ValueError if the gradient given agrees with differences of values at no sample.

    At some samples they may differ: a function may have a kink there.
    """
    u = (u + _OFF_CENTRE).requires_grad_()
    (gradient,) = torch.autograd.grad(target(u).sum(), u)
    step = _STEP * torch.linspace(1, 2, u.shape[1], dtype=u.dtype, device=u.device)
    given = gradient @ step
    with torch.no_grad():
        found = (target(u + step) - target(u - step)) / 2
    scale = given.abs() + found.abs() + _TOLERANCE * step.norm()
    if not ((given - found).abs() <= _TOLERANCE * scale).any():
        raise ValueError(
            "grad_log_prob is not the gradient of log_prob: at samples near the origin it says "
            f"{(given / _STEP).tolist()} along one direction, and values of log_prob "
            f"{(found / _STEP).tolist()}."
        )
