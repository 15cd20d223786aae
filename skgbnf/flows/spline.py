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
        return _Spline.apply(x, self._raw_for(x))  # type: ignore[no-untyped-call]

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.call_and_ladj(x)[1]

    def _solved(self, y: Tensor) -> Tensor:
        at = _Bins(self._raw_for(y)).find(y, inverse=True)
        rise = (y - at.bottom).clamp(min=0.0).minimum(at.height)
        bend = rise * (at.d0 + at.d1 - 2 * at.slope)
        a = at.height * (at.slope - at.d0) + bend
        b = at.height * at.d0 - bend
        c = -at.slope * rise
        # Rounding can push the discriminant of a nearly linear bin just below zero.
        root = (b.square() - 4 * a * c).clamp(min=0.0).sqrt()
        x = at.left + at.width * (2 * c / (-b - root)).clamp(0.0, 1.0)
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
        """Raw parameters with the dimensions of `x`, of size 1 where samples share the spline."""
        return self.raw.reshape(*[1] * (x.dim() + 1 - self.raw.dim()), *self.raw.shape)


class _Bins:
    """All bins of splines.

    Bins run along an early axis, where sums are fast; widths and heights are stacked before it,
    since few operations on large tensors cost less than many on small ones.
    """

    def __init__(self, raw: Tensor) -> None:
        raw = raw.movedim(-1, 0).contiguous()
        self.n_bins = (len(raw) + 1) // 3
        self.shares = _softmax(raw[: 2 * self.n_bins].unflatten(0, (2, self.n_bins)))
        self.sizes = self.shares * _size_range(self.n_bins) + 2 * BOUND * _MIN_SIZE
        self.ends = self.sizes.cumsum(1)
        slopes = raw[2 * self.n_bins :]
        flat = slopes.new_zeros(1, *slopes.shape[1:])
        self.raw_slopes = torch.cat([flat, slopes, flat])

    def find(self, value: Tensor, *, inverse: bool = False) -> "_Bin":
        """The bin that holds each value, by its place or, for the inverse, by its height."""
        index = (value + BOUND >= self.ends[int(inverse), :-1]).sum(0, keepdim=True)
        return _Bin(self, index)


class _Bin:
    """For each value its bin: where it begins, how large it is, slopes at both ends."""

    def __init__(self, bins: _Bins, index: Tensor) -> None:
        self.index = index
        pair = index.expand(2, *index.shape)
        sizes, ends = (
            stacked.expand(-1, -1, *index.shape[1:]).gather(1, pair).squeeze(1)
            for stacked in (bins.sizes, bins.ends)
        )
        self.sizes, self.starts = sizes, ends - sizes
        self.width, self.height = sizes
        self.left, self.bottom = self.starts - BOUND
        self.slope = self.height / self.width
        raw_slopes = bins.raw_slopes.expand(-1, *index.shape[1:])
        self.raw_slopes = raw_slopes.gather(0, torch.cat([index, index + 1]))
        self.d0, self.d1 = F.softplus(self.raw_slopes + _SLOPE_OFFSET) + _MIN_SLOPE


class _Spline(torch.autograd.Function):
    """Value and log-derivative of the spline, with gradients written out.

    Autograd needs three times as many tensor operations for the same gradients.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        bins = _Bins(raw)
        at = bins.find(x)
        t = ((x - at.left) / at.width).clamp_(0.0, 1.0)
        bump = t * (1 - t)
        bend = at.d0 + at.d1 - 2 * at.slope
        denominator = at.slope + bend * bump
        rise = (at.slope * t * t + at.d0 * bump) / denominator
        steepness = at.d1 * t * t + 2 * at.slope * bump + at.d0 * (1 - t).square()
        inside = x.abs() < BOUND
        y = torch.where(inside, at.bottom + at.height * rise, x)
        ladj = torch.where(inside, 2 * (at.slope / denominator).log() + steepness.log(), 0.0)
        ctx.bins, ctx.at = bins, at
        ctx.save_for_backward(inside, t, bump, bend, denominator, rise, steepness)
        return y, ladj

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_ladj: Tensor) -> tuple[Tensor, Tensor]:
        inside, t, bump, bend, denominator, rise, steepness = ctx.saved_tensors
        at = ctx.at
        gy = torch.where(inside, grad_y, 0.0)
        gl = torch.where(inside, grad_ladj, 0.0)
        # Partial derivatives of the value and of the log-derivative, by position within the bin
        # (t), by the bin's mean slope and by the slopes at its ends.
        scaled = gy * at.height / denominator
        log_steepness = gl / steepness
        pull = scaled * rise + 2 * gl / denominator
        square, back = t * t, 1 - t
        turn = back - t
        grad_t = (
            scaled * (2 * at.slope * t + at.d0 * turn)
            + 2 * log_steepness * (at.d1 * t + at.slope * turn - at.d0 * back)
            - pull * bend * turn
        )
        grad_slope = (
            scaled * square + 2 * (gl / at.slope + log_steepness * bump) - pull * (1 - 2 * bump)
        )
        grad_d0 = scaled * bump + log_steepness * back * back - pull * bump
        grad_d1 = log_steepness * square - pull * bump
        grad_x = grad_t / at.width
        grad_width = -(grad_t * t + grad_slope * at.slope) / at.width
        grad_height = grad_slope / at.width + gy * rise
        grad_raw = _raw_gradient(
            ctx.bins,
            at,
            torch.stack([grad_width, grad_height]),
            torch.stack([-grad_x, gy]),
            torch.stack([grad_d0, grad_d1]),
        )
        return torch.where(inside, grad_x, grad_y), grad_raw


def _raw_gradient(
    bins: _Bins, at: _Bin, grad_sizes: Tensor, grad_starts: Tensor, grad_slopes: Tensor
) -> Tensor:
    """Carry gradients of one bin's parameters back to the raw parameters of all bins.

    A bin starts at the sum of the sizes before it, so each bin before pulls with `grad_starts`
    and the bin itself with `grad_sizes`, both less the mean pull, as softmax has it.
    """
    n_bins, index, shape = bins.n_bins, at.index, bins.raw_slopes.shape[1:]
    smallest, size_range = 2 * BOUND * _MIN_SIZE, _size_range(n_bins)
    shared = at.starts - smallest * index.to(at.starts)
    mean = grad_sizes * (at.sizes - smallest) + grad_starts * shared
    number = torch.arange(n_bins, device=index.device).view(-1, *[1] * (index.dim() - 1))
    before, after = (grad_starts * size_range - mean).unsqueeze(1), -mean.unsqueeze(1)
    pulls = torch.where(number < index, before, after)
    pair = index.expand(2, *index.shape)
    pulls.scatter_add_(1, pair, (grad_sizes * size_range).unsqueeze(1))
    # The slopes at both ends of the box are fixed: the first row is written over, the last left.
    grad_raw = pulls.new_zeros(3 * n_bins, *index.shape[1:])
    ends = torch.cat([index, index + 1])
    grad_raw[2 * n_bins - 1 :].scatter_add_(
        0, ends, grad_slopes * (at.raw_slopes + _SLOPE_OFFSET).sigmoid()
    )
    grad_raw[: 2 * n_bins] = pulls.flatten(0, 1)
    grad_raw = grad_raw[:-1].sum_to_size(3 * n_bins - 1, *shape)
    grad_raw[: 2 * n_bins] *= bins.shares.flatten(0, 1)
    return grad_raw.movedim(0, -1)


def _size_range(n_bins: int) -> float:
    """What the sizes of bins share, none being smaller than a thousandth of the box."""
    return 2 * BOUND * (1 - _MIN_SIZE * n_bins)


def _softmax(raw: Tensor) -> Tensor:
    """Softmax along the second axis; torch's own is slow where that axis is short."""
    powers = (raw - raw.amax(1, keepdim=True)).exp_()
    return powers.div_(powers.sum(1, keepdim=True))


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
