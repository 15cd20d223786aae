"""Monotonic rational-quadratic splines, as a univariate transformation for zuko's layers."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Transform, constraints

BOUND = 6.0
"""Half-width of the box inside which a spline bends; outside it is the identity."""

_MIN_SIZE = 1e-3
_MIN_SLOPE = 1e-3
_SLOPE_OFFSET = math.log(math.expm1(1.0 - _MIN_SLOPE))


class RationalQuadraticSpline(Transform):
    r"""Monotonic rational-quadratic spline on ``[-BOUND, BOUND]``, the identity outside.

    Raw parameters of zero give the identity. It takes the place of
    :class:`zuko.transforms.MonotonicRQSTransform` with fewer tensor operations, a bounded
    slope in every bin and an inverse that is safe at the knots.

    Parameters
    ----------
    widths, heights : Tensor of shape (..., n_bins)
        Unconstrained sizes of the bins.

    slopes : Tensor of shape (..., n_bins - 1)
        Unconstrained derivatives at the inner knots.

    References
    ----------
    Neural Spline Flows. C. Durkan, A. Bekasov, I. Murray, G. Papamakarios, 2019.
    https://arxiv.org/abs/1906.04032
    """

    domain = constraints.real
    codomain = constraints.real
    bijective = True
    sign = +1

    def __init__(self, widths: Tensor, heights: Tensor, slopes: Tensor) -> None:
        super().__init__()
        self.widths = _bin_sizes(widths)
        self.heights = _bin_sizes(heights)
        self.slopes = F.pad(_MIN_SLOPE + F.softplus(slopes + _SLOPE_OFFSET), (1, 1), value=1.0)
        self.left = self.widths.cumsum(-1) - self.widths - BOUND
        self.bottom = self.heights.cumsum(-1) - self.heights - BOUND

    def _bin(self, knots: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Parameters of the bin that holds each value, `knots` being the bins' lower ends."""
        index = (value.unsqueeze(-1) >= knots).sum(-1, keepdim=True).sub(1).clamp(min=0)

        def pick(parameter: Tensor) -> Tensor:
            return parameter.expand(*value.shape, -1).gather(-1, index).squeeze(-1)

        left, width, bottom, height = map(pick, (self.left, self.widths, self.bottom, self.heights))
        return left, width, bottom, height, pick(self.slopes), pick(self.slopes[..., 1:])

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Value and log-derivative of the spline at `x`."""
        # The branch for rows outside is masked after the fact, so its input must be harmless:
        # torch.where lets a NaN gradient of the branch not taken through.
        inside = x.abs() < BOUND
        left, width, bottom, height, d0, d1 = self._bin(self.left, x.clamp(-BOUND, BOUND))
        slope = height / width
        t = ((x - left) / width).clamp(0.0, 1.0)
        bump = t * (1 - t)
        denominator = slope + (d0 + d1 - 2 * slope) * bump
        y = bottom + height * (slope * t.square() + d0 * bump) / denominator
        numerator = d1 * t.square() + 2 * slope * bump + d0 * (1 - t).square()
        ladj = 2 * torch.log(slope / denominator) + torch.log(numerator)
        return torch.where(inside, y, x), torch.where(inside, ladj, 0.0)

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.call_and_ladj(x)[1]

    def _inverse(self, y: Tensor) -> Tensor:
        inside = y.abs() < BOUND
        left, width, bottom, height, d0, d1 = self._bin(self.bottom, y.clamp(-BOUND, BOUND))
        slope = height / width
        rise = (y - bottom).clamp(min=0.0).minimum(height)
        bend = rise * (d0 + d1 - 2 * slope)
        a = height * (slope - d0) + bend
        b = height * d0 - bend
        c = -slope * rise
        # Rounding can push the discriminant of a nearly linear bin just below zero.
        root = (b.square() - 4 * a * c).clamp(min=0.0).sqrt()
        x = left + width * (2 * c / (-b - root)).clamp(0.0, 1.0)
        return torch.where(inside, x, y)


def _bin_sizes(raw: Tensor) -> Tensor:
    """Positive sizes that fill the box, none smaller than a thousandth of it."""
    n_bins = raw.shape[-1]
    return 2 * BOUND * (_MIN_SIZE + (1 - _MIN_SIZE * n_bins) * torch.softmax(raw, dim=-1))
