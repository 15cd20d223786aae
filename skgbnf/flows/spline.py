"""Monotonic rational-quadratic splines, as a univariate transformation for zuko's layers."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import Transform, constraints

BOUND = 6.0
"""Half-width of the box inside which a spline bends; outside it is the identity."""

_MIN_SIZE = 1e-3
_MIN_SLOPE = 1e-3
_SLOPE_OFFSET = math.log(math.expm1(1.0 - _MIN_SLOPE))


class RationalQuadraticSpline(Transform):
    r"""Monotonic rational-quadratic spline on ``[-BOUND, BOUND]``, the identity outside.

    Raw parameters of zero give the identity. It takes the place of
    :class:`zuko.transforms.MonotonicRQSTransform` with an analytic backward pass, a bounded slope
    in every bin and an inverse that is safe at the knots.

    Parameters
    ----------
    raw : Tensor of shape (..., 3 * n_bins - 1)
        Unconstrained widths and heights of the bins, and slopes at the inner knots.

    References
    ----------
    Neural Spline Flows. C. Durkan, A. Bekasov, I. Murray, G. Papamakarios, 2019.
    https://arxiv.org/abs/1906.04032
    """

    domain = constraints.real
    codomain = constraints.real
    bijective = True
    sign = +1

    def __init__(self, raw: Tensor) -> None:
        super().__init__()
        self.raw = raw

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Value and log-derivative of the spline at `x`."""
        return _Spline.apply(x, self._raw_for(x))

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.call_and_ladj(x)[1]

    def _solved(self, y: Tensor) -> Tensor:
        knots = _Knots(self._raw_for(y))
        left, width, bottom, height, d0, d1 = knots.bin_of(y, knots.bottom)
        slope = height / width
        rise = (y - bottom).clamp(min=0.0).minimum(height)
        bend = rise * (d0 + d1 - 2 * slope)
        a = height * (slope - d0) + bend
        b = height * d0 - bend
        c = -slope * rise
        # Rounding can push the discriminant of a nearly linear bin just below zero.
        root = (b.square() - 4 * a * c).clamp(min=0.0).sqrt()
        x = left + width * (2 * c / (-b - root)).clamp(0.0, 1.0)
        return torch.where(y.abs() < BOUND, x, y)

    def _inverse(self, y: Tensor) -> Tensor:
        with torch.no_grad():
            x = self._solved(y)
        if not (torch.is_grad_enabled() and (y.requires_grad or self.raw.requires_grad)):
            return x
        # A step of Newton leaves the value where it is and has the gradient of the inverse.
        image, ladj = self.call_and_ladj(x)
        return x + (y - image) * (-ladj.detach()).exp()

    def _raw_for(self, x: Tensor) -> Tensor:
        """Raw parameters with the dimensions of `x`, of size 1 where rows share the spline."""
        return self.raw.reshape(*[1] * (x.dim() + 1 - self.raw.dim()), *self.raw.shape)


class _Knots:
    """Sizes, positions and slopes, with the bins along the first axis, where sums are fast."""

    def __init__(self, raw: Tensor) -> None:
        self.n_bins = (raw.shape[-1] + 1) // 3
        widths, heights, slopes = (
            raw.movedim(-1, 0).contiguous().split([self.n_bins, self.n_bins, self.n_bins - 1])
        )
        self.width_shares, self.height_shares = _softmax(widths), _softmax(heights)
        self.widths, self.heights = map(_bin_sizes, (self.width_shares, self.height_shares))
        self.left = self.widths.cumsum(0).sub_(self.widths).sub_(BOUND)
        self.bottom = self.heights.cumsum(0).sub_(self.heights).sub_(BOUND)
        self.raw_slopes = slopes + _SLOPE_OFFSET
        one = slopes.new_ones(1, *slopes.shape[1:])
        self.slopes = torch.cat([one, F.softplus(self.raw_slopes) + _MIN_SLOPE, one])

    def bin_of(self, value: Tensor, lower_ends: Tensor) -> tuple[Tensor, ...]:
        """Left, width, bottom, height and both slopes of the bin that holds each value."""
        self.index = (value >= lower_ends[1:]).sum(0, keepdim=True)
        left, width, bottom, height, d0, d1 = (
            parameter.expand(-1, *value.shape).gather(0, self.index).squeeze(0)
            for parameter in (
                self.left,
                self.widths,
                self.bottom,
                self.heights,
                self.slopes,
                self.slopes[1:],
            )
        )
        return left, width, bottom, height, d0, d1


class _Spline(torch.autograd.Function):
    """Value and log-derivative of the spline, with gradients written out.

    Autograd needs three times as many tensor operations for the same gradients.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        knots = _Knots(raw)
        left, width, bottom, height, d0, d1 = knots.bin_of(x, knots.left)
        t = ((x - left) / width).clamp_(0.0, 1.0)
        slope = height / width
        bump = t * (1 - t)
        bend = d0 + d1 - 2 * slope
        denominator = slope + bend * bump
        rise = (slope * t * t + d0 * bump) / denominator
        steepness = d1 * t * t + 2 * slope * bump + d0 * (1 - t).square()
        inside = x.abs() < BOUND
        y = torch.where(inside, bottom + height * rise, x)
        ladj = torch.where(inside, 2 * (slope / denominator).log() + steepness.log(), 0.0)
        ctx.knots = knots
        ctx.save_for_backward(
            inside, t, width, height, d0, d1, slope, bump, bend, denominator, rise, steepness
        )
        return y, ladj

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_ladj: Tensor) -> tuple[Tensor, Tensor]:
        (inside, t, width, height, d0, d1, slope, bump, bend, denominator, rise, steepness) = (
            ctx.saved_tensors
        )
        zero = grad_y.new_zeros(())
        gy = torch.where(inside, grad_y, zero)
        gl = torch.where(inside, grad_ladj, zero)
        # Partial derivatives of the value and of the log-derivative, by position within the bin
        # (t), by the bin's mean slope and by the slopes at its ends.
        scaled = gy * height / denominator
        log_steepness = gl / steepness
        log_denominator = 2 * gl / denominator
        pull = scaled * rise + log_denominator
        turn = 1 - 2 * t
        grad_t = (
            scaled * (2 * slope * t + d0 * turn)
            + 2 * log_steepness * (d1 * t + slope * turn - d0 * (1 - t))
            - pull * bend * turn
        )
        grad_slope = (
            scaled * t * t + 2 * gl / slope + 2 * log_steepness * bump - pull * (1 - 2 * bump)
        )
        grad_d0 = scaled * bump + log_steepness * (1 - t).square() - pull * bump
        grad_d1 = log_steepness * t * t - pull * bump
        grad_x = grad_t / width
        grad_width = -(grad_t * t + grad_slope * slope) / width
        grad_height = grad_slope / width + gy * rise
        grad_raw = _raw_gradient(ctx.knots, grad_width, -grad_x, grad_height, gy, grad_d0, grad_d1)
        return torch.where(inside, grad_x, grad_y), grad_raw


def _raw_gradient(
    knots: _Knots,
    grad_width: Tensor,
    grad_left: Tensor,
    grad_height: Tensor,
    grad_bottom: Tensor,
    grad_d0: Tensor,
    grad_d1: Tensor,
) -> Tensor:
    """Carry the gradients of one bin's parameters back to the raw parameters of all bins."""
    n_bins, index = knots.n_bins, knots.index
    number = torch.arange(n_bins, device=index.device).view(-1, *[1] * (index.dim() - 1))
    own, before = number == index, number < index
    shape = knots.raw_slopes.shape[1:]
    grad_raw = grad_width.new_empty(3 * n_bins - 1, *shape)
    size_gradients = (
        (knots.width_shares, grad_width, grad_left),
        (knots.height_shares, grad_height, grad_bottom),
    )
    for i, (shares, grad_size, grad_position) in enumerate(size_gradients):
        # A bin's position is the sum of the sizes before it.
        pulled = own * grad_size + before * grad_position
        pulled = shares * pulled.sum_to_size(n_bins, *shape)
        pulled -= shares * pulled.sum(0)
        torch.mul(pulled, _size_range(n_bins), out=grad_raw[i * n_bins : (i + 1) * n_bins])
    # Knot j lies between bins j and j + 1.
    at_knots = own[1:] * grad_d0 + own[:-1] * grad_d1
    at_knots = at_knots.sum_to_size(n_bins - 1, *shape)
    torch.mul(at_knots, knots.raw_slopes.sigmoid(), out=grad_raw[2 * n_bins :])
    return grad_raw.movedim(0, -1)


def _size_range(n_bins: int) -> float:
    return 2 * BOUND * (1 - _MIN_SIZE * n_bins)


def _bin_sizes(shares: Tensor) -> Tensor:
    """Sizes that fill the box, none smaller than a thousandth of it."""
    return shares * _size_range(len(shares)) + 2 * BOUND * _MIN_SIZE


def _softmax(raw: Tensor) -> Tensor:
    """Softmax along the first axis; torch's own is slow where that axis is short."""
    powers = (raw - raw.amax(0)).exp_()
    return powers.div_(powers.sum(0))


def raw_parameters(x_knots: Tensor, y_knots: Tensor) -> Tensor:
    """Raw parameters, shape (..., 3 * n_bins - 1), of a spline that runs through given knots.

    Parameters
    ----------
    x_knots, y_knots : Tensors of shape (..., n_bins + 1)
        Increasing, from ``-BOUND`` to ``BOUND``.
    """
    widths, heights = x_knots.diff(dim=-1), y_knots.diff(dim=-1)
    slopes = heights / widths
    # The geometric mean of the neighbours' slopes keeps the curve monotone and smooth.
    inner = (slopes[..., 1:] * slopes[..., :-1]).sqrt().clamp(2 * _MIN_SLOPE, 1e3) - _MIN_SLOPE
    # The inverse of softplus, in the form that does not overflow.
    raw_slopes = inner + torch.log(-torch.expm1(-inner)) - _SLOPE_OFFSET
    return torch.cat([widths.log(), heights.log(), raw_slopes], dim=-1)
