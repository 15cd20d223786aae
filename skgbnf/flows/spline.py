"""Monotonic rational-quadratic splines, as a univariate transformation for zuko's layers."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import Transform, constraints

from skgbnf.flows.interfaces import UnivariatePulled

BOUND = 6.0
"""Half-width of the box inside which a spline bends; outside it is the identity."""

_MIN_SIZE = 1e-3
_MIN_SLOPE = 1e-3
_SMALLEST = 2 * BOUND * _MIN_SIZE
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

    @staticmethod
    def pullback(x: Tensor, raw: Tensor) -> UnivariatePulled:
        """Value and log-derivative with samples along the last axis, and what carries gradients.

        Parameters
        ----------
        x : Tensor of shape (..., n_samples)

        raw : Tensor of shape (..., 3 * n_bins - 1, n_samples) or (..., 3 * n_bins - 1, 1)
            The latter where all samples share the spline.
        """
        return _pullback(x, _Bins(raw))

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Value and log-derivative of the spline at `x`."""
        values, raw = self._samples_last(x)
        y, ladj = _Spline.apply(values, raw)  # type: ignore[no-untyped-call]
        return _as_before(y, x), _as_before(ladj, x)

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.call_and_ladj(x)[1]

    def _solved(self, y: Tensor) -> Tensor:
        values, raw = self._samples_last(y)
        x = _solution(values, _Bins(raw))
        return torch.where(y.abs() < BOUND, _as_before(x, y), y)

    def _inverse(self, y: Tensor) -> Tensor:
        with torch.no_grad():
            x = self._solved(y)
        if not (torch.is_grad_enabled() and (y.requires_grad or self.raw.requires_grad)):
            return x
        # A step of Newton leaves the value where it is and has the gradient of the inverse.
        image, ladj = self.call_and_ladj(x)
        return x + (y - image) * (-ladj.detach()).exp()

    def _samples_last(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Values of shape (n_splines, n_samples) and raw parameters as :meth:`pullback` has them.

        Where each value has parameters of its own, they are those of one spline's samples.
        """
        shape = self.raw.shape[:-1]
        if len(shape) < x.dim():
            raw = self.raw.reshape(shape.numel(), self.raw.shape[-1], 1)
            return x.reshape(-1, shape.numel()).mT, raw
        raw = self.raw.expand(*x.shape, -1).reshape(x.numel(), self.raw.shape[-1])
        return x.reshape(1, -1), raw.mT.unsqueeze(0)


def _as_before(values: Tensor, like: Tensor) -> Tensor:
    """Values of shape (n_splines, n_samples) in the shape of a tensor."""
    return values.mT.reshape(like.shape)


class _Bins:
    """All bins of splines, along the axis before that of the samples, where sums are fast.

    Widths and heights are stacked before it, since few operations on large tensors cost less than
    many on small ones. Ends are those in a box that begins at zero.
    """

    def __init__(self, raw: Tensor) -> None:
        self.n_bins = (raw.shape[-2] + 1) // 3
        sizes, slopes = raw.split([2 * self.n_bins, self.n_bins - 1], dim=-2)
        self.shares = sizes.unflatten(-2, (2, self.n_bins)).softmax(-2)
        smallest = raw.new_tensor(_SMALLEST)
        self.sizes = torch.add(smallest, self.shares, alpha=_size_range(self.n_bins))
        self.ends = self.sizes.cumsum(-2)
        # The slopes at both ends of the box are one, as those of raw parameters of zero are.
        self.raw_slopes = F.pad(slopes, (0, 0, 1, 1))

    def find(self, value: Tensor, *, inverse: bool = False) -> "_Bin":
        """The bin that holds each value, by its place or, for the inverse, by its height."""
        inner, value = self.ends[..., int(inverse), :-1, :], value + BOUND
        if inner.shape[-1] == value.shape[-1]:
            index = (value.unsqueeze(-2) >= inner).sum(-2, keepdim=True)
        else:
            edges = inner.squeeze(-1).contiguous()
            index = torch.searchsorted(edges, value.contiguous(), right=True).unsqueeze(-2)
        return _Bin(self, index)


class _Bin:
    """For each value its bin: where it begins, how large it is, slopes at both ends."""

    def __init__(self, bins: _Bins, index: Tensor) -> None:
        self.index = index
        pair = index.unsqueeze(-3).expand(*index.shape[:-2], 2, 1, -1)
        self.sizes = _gathered(bins.sizes, pair).squeeze(-2)
        self.starts = _gathered(bins.ends, pair).squeeze(-2) - self.sizes
        self.width, self.height = self.sizes.unbind(-2)
        self.left, self.bottom = (self.starts - BOUND).unbind(-2)
        self.slope = self.height / self.width
        self.both_ends = torch.cat([index, index + 1], dim=-2)
        self.raw_slopes = _gathered(bins.raw_slopes, self.both_ends) + _SLOPE_OFFSET
        self.d0, self.d1 = (F.softplus(self.raw_slopes) + _MIN_SLOPE).unbind(-2)


def _gathered(values: Tensor, index: Tensor) -> Tensor:
    """Values of each sample along the axis of the bins, which samples may share."""
    return values.expand(*values.shape[:-1], index.shape[-1]).gather(-2, index)


def _size_range(n_bins: int) -> float:
    """What the sizes of bins share, none being smaller than a thousandth of the box."""
    return 2 * BOUND * (1 - _MIN_SIZE * n_bins)


def _solution(y: Tensor, bins: _Bins) -> Tensor:
    """Where the splines have the values `y`, for values inside the box."""
    at = bins.find(y, inverse=True)
    rise = (y - at.bottom).clamp(min=0.0).minimum(at.height)
    bend = rise * (at.d0 + at.d1 - 2 * at.slope)
    a = at.height * (at.slope - at.d0) + bend
    b = at.height * at.d0 - bend
    c = -at.slope * rise
    # Rounding can push the discriminant of a nearly linear bin just below zero.
    root = (b.square() - 4 * a * c).clamp(min=0.0).sqrt()
    return at.left + at.width * (2 * c / (-b - root)).clamp(0.0, 1.0)


class _Place:
    """Values within their bins, and what the spline makes of them, by symbols of the reference.

    Products are written as torch's fused operations, and numbers as their arguments: what a step
    of a small network costs is the number of operations.
    """

    def __init__(self, x: Tensor, at: _Bin) -> None:
        self.at = at
        self.t = ((x - at.left) / at.width).clamp_(0.0, 1.0)
        self.back = 1 - self.t
        self.square, self.bump = self.t.square(), self.t * self.back
        self.back_square = self.back.square()
        self.bend = torch.sub(at.d0 + at.d1, at.slope, alpha=2)
        self.denominator = torch.addcmul(at.slope, self.bend, self.bump)
        self.rise = torch.addcmul(at.slope * self.square, at.d0, self.bump) / self.denominator
        steepness = torch.addcmul(at.d1 * self.square, at.slope, self.bump, value=2)
        self.steepness = steepness.addcmul_(at.d0, self.back_square)
        self.derivative = (at.slope / self.denominator).square_() * self.steepness

    def height(self) -> Tensor:
        return torch.addcmul(self.at.bottom, self.at.height, self.rise)

    def gradients(self, gy: Tensor, gl: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """By the place, by sizes and starts of the bin, and by the slopes at its ends."""
        at, t, bump, square = self.at, self.t, self.bump, self.square
        scaled, per_steepness = gy * at.height / self.denominator, gl / self.steepness
        per_denominator = gl / self.denominator
        drag = torch.addcmul(2 * per_denominator, scaled, self.rise)
        turn = self.back - t
        grad_t = torch.addcmul(at.d1 * t, at.slope, turn).addcmul_(at.d0, self.back, value=-1)
        grad_t.mul_(per_steepness).addcmul_(per_denominator * self.bend, turn, value=-1)
        grad_x = torch.addcmul(gy * self.derivative, grad_t, at.width.reciprocal(), value=2)
        grad_slope = torch.addcmul(gl / at.slope, per_steepness, bump).mul_(2)
        grad_slope.addcmul_(scaled, square).addcmul_(drag, bump, value=2).sub_(drag)
        grad_d0 = (scaled - drag).mul_(bump).addcmul_(per_steepness, self.back_square)
        grad_d1 = (per_steepness * square).addcmul_(drag, bump, value=-1)
        by_width = grad_slope / at.width
        grad_width = torch.addcmul(by_width * at.slope, grad_x, t).neg_()
        grad_sizes = torch.stack([grad_width, by_width.addcmul_(gy, self.rise)], dim=-2)
        grad_starts = torch.stack([-grad_x, gy], dim=-2)
        return grad_x, grad_sizes, grad_starts, torch.stack([grad_d0, grad_d1], dim=-2)


def _pullback(x: Tensor, bins: _Bins) -> UnivariatePulled:
    """Splines of known bins, and their gradients, written out.

    Autograd needs three times as many tensor operations for the same gradients.
    """
    at = bins.find(x)
    inside, within = x.abs() < BOUND, _Place(x, at)
    y = torch.where(inside, within.height(), x)
    ladj = torch.where(inside, within.derivative.log(), 0.0)
    shares = bins.shares

    def pull(grad_y: Tensor, grad_ladj: Tensor) -> tuple[Tensor, Tensor]:
        counted = inside.to(x)
        grad_x, *grads = within.gradients(grad_y * counted, grad_ladj * counted)
        is_own = shares.shape[-1] == x.shape[-1]
        grad_raw = (_own_gradient if is_own else _shared_gradient)(shares, at, *grads)
        return torch.where(inside, grad_x, grad_y), grad_raw

    return y, ladj, pull


def _own_gradient(
    shares: Tensor, at: _Bin, grad_sizes: Tensor, grad_starts: Tensor, grad_slopes: Tensor
) -> Tensor:
    """Carry gradients of one bin's parameters back to the raw parameters of all bins.

    A bin starts at the sum of the sizes before it, so each bin before pulls with `grad_starts`
    and the bin itself with `grad_sizes`, both less the mean pull, as softmax has it.
    """
    index, n_bins = at.index, shares.shape[-2]
    size_range = _size_range(n_bins)
    grad_starts, grad_own = grad_starts * size_range, grad_sizes * size_range
    grad_raw = shares.new_empty(*index.shape[:-2], 3 * n_bins - 1, index.shape[-1])
    pulls = grad_raw[..., : 2 * n_bins, :].unflatten(-2, (2, n_bins))
    shared = torch.add(at.starts, index, alpha=-_SMALLEST)
    mean = torch.addcmul(grad_sizes * (at.sizes - _SMALLEST), grad_starts / size_range, shared)
    number = torch.arange(n_bins, device=index.device).unsqueeze(-1)
    before, after = (grad_starts - mean).unsqueeze(-2), mean.neg().unsqueeze(-2)
    torch.where((number < index).unsqueeze(-3), before, after, out=pulls)
    pulls.scatter_(-2, index.unsqueeze(-3).expand_as(after), (grad_own - mean).unsqueeze(-2))
    pulls.mul_(shares)
    # Nothing is learned of the slopes at both ends of the box.
    slopes = shares.new_zeros(*index.shape[:-2], n_bins + 1, index.shape[-1])
    slopes.scatter_(-2, at.both_ends, grad_slopes * at.raw_slopes.sigmoid())
    grad_raw[..., 2 * n_bins :, :] = slopes[..., 1:-1, :]
    return grad_raw


def _shared_gradient(
    shares: Tensor, at: _Bin, grad_sizes: Tensor, grad_starts: Tensor, grad_slopes: Tensor
) -> Tensor:
    """The same where samples share raw parameters: sums over the samples in each bin."""
    pair, shares = at.index.expand_as(grad_sizes), shares.squeeze(-1)
    own, starts = (
        torch.zeros_like(shares).scatter_add_(-1, pair, grad) for grad in (grad_sizes, grad_starts)
    )
    pulls = (own + starts.sum(-1, keepdim=True)).sub_(starts.cumsum(-1))
    pulls = (
        shares * (pulls - (shares * pulls).sum(-1, keepdim=True)) * _size_range(shares.shape[-1])
    )
    grad_slopes = grad_slopes * at.raw_slopes.sigmoid()
    slopes = shares.new_zeros(*shares.shape[:-2], shares.shape[-1] + 1)
    slopes.scatter_add_(-1, at.both_ends.flatten(-2), grad_slopes.flatten(-2))
    return torch.cat([pulls.flatten(-2), slopes[..., 1:-1]], dim=-1).unsqueeze(-1)


class _Spline(torch.autograd.Function):
    """Value and log-derivative of splines, with samples along the last axis."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        y, ladj, ctx.pull = RationalQuadraticSpline.pullback(x, raw)
        return y, ladj

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_ladj: Tensor) -> tuple[Tensor, Tensor]:
        return ctx.pull(grad_y, grad_ladj)


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
