"""How heavy the tails of columns are, and a first layer that takes them off."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Transform, constraints
from zuko.lazy import LazyTransform

from skgbnf.flows.interfaces import DataInitialised, Stackable
from skgbnf.flows.marginals import LARGEST_LOG, log_bracket
from skgbnf.flows.weighted import weighted_quantiles

SMALLEST_DF, LARGEST_DF = 0.6, 100.0
"""Tail indices that are told apart; with the largest, a tail is nearly that of a normal."""

_SHARE = 0.15
EDGE = float(torch.special.ndtri(torch.tensor(1 - _SHARE, dtype=torch.float64, device="cpu")))
"""Normal score of the place where a tail begins."""

_START_DF = 4.0
_MAX_ITER = 60
_NEWTON_STEPS = 12
_LEAST_WIDTH = 1e-6
_EDGE_STEPS = 256


@dataclass(frozen=True)
class Tails:
    """Tails of columns, the lower and the upper one.

    Attributes
    ----------
    edges : Tensor of shape (2, n_features)
        Where they begin: 15 % of the mass lies below the first row, 15 % above the second, up to
        a step of a 256th of the distance between them.

    rates : Tensor of shape (2, n_features)
        Units of a Student t in a unit of the column.

    df : Tensor of shape (2, n_features)
        Tail indices: the mass beyond a distance falls with this power of it.
    """

    edges: Tensor
    rates: Tensor
    df: Tensor


def fit_tails(x: Tensor, weights: Tensor) -> Tails:
    """Fit the tails of weighted samples by maximum likelihood.

    Both parameters of each tail come from the samples beyond its edge alone, whatever the shape of
    the centre of the column. A weak prior prefers light tails where samples are few.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features)

    weights : Tensor of shape (n_samples,)
        A sample of weight 2 counts as two.
    """
    sides = torch.stack([-x, x])
    level = x.new_tensor([1 - _SHARE])
    edges = torch.stack([weighted_quantiles(side, weights, level) for side in sides])
    edges = _coarse(edges)
    n_most = max(int((sides > edges.mT).sum(dim=1).max()), 1)
    largest, index = sides.topk(n_most, dim=1)
    excess = (largest - edges.mT).clamp(min=0.0)
    shares = weights[index] * (excess > 0)
    total = shares.sum(dim=1, keepdim=True)
    shares = shares / total.clamp(min=1e-30)
    mean = (shares * excess).sum(dim=1, keepdim=True)
    mean = torch.where(mean > 0, mean, 1.0)
    with torch.enable_grad():
        rates, df = _most_likely(excess / mean, shares, total.clamp(min=1.0))
    df = torch.where(total > 0, df, LARGEST_DF)
    lower, upper = edges.squeeze(-1)
    return Tails(torch.stack([-lower, upper]), (rates / mean).squeeze(1), df.squeeze(1))


def _coarse(edges: Tensor) -> Tensor:
    """Edges rounded outward, since the quantiles are values of samples; equal ones stay."""
    width = edges.sum(dim=0)
    step = torch.where(width > 0, width.log2().floor().exp2() / _EDGE_STEPS, 0.0)
    return torch.where(step > 0, (edges / step).ceil() * step, edges)


def _most_likely(excess: Tensor, shares: Tensor, n_rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rates and indices, shape (2, 1, n_features), of samples beyond the edges.

    The prior is an exponential one on the inverse of the index, worth one sample.
    """
    log_rate = torch.full_like(n_rows, -0.5).requires_grad_()
    log_df = torch.full_like(n_rows, math.log(_START_DF)).requires_grad_()
    bounds = math.log(SMALLEST_DF), math.log(LARGEST_DF)
    optimiser = torch.optim.LBFGS(
        [log_rate, log_df], max_iter=_MAX_ITER, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        df = log_df.clamp(*bounds).exp()
        z, log_slope = _scores(_distance(excess.new_tensor(EDGE), df) + log_rate.exp() * excess, df)
        likelihood = (shares * (log_slope + log_rate - z.square() / 2)).sum(dim=1)
        value = (1 / (df * n_rows)).sum() - likelihood.sum()
        value.backward()
        return value

    optimiser.step(loss)
    return log_rate.detach().exp(), log_df.detach().clamp(*bounds).exp()


def _scores(t: Tensor, df: Tensor) -> tuple[Tensor, Tensor]:
    """Nearly the normal scores of positive values of a Student t, and their log-slopes.

    With ``y = df * log(1 + t**2 / df)`` it is ``sqrt(y - log(1 + y / (df + 1/2)))``. Under a
    normal law of the result, the mass beyond t is a constant times ``t ** -df`` far out, and for
    large df the map is the identity.
    """
    level = log_bracket(t, df)
    y, c = df * level, df + 0.5
    z = (y - (y / c).log1p()).sqrt()
    return z, (t / z).log() + (-1 / (c + y)).log1p() - level


def _distance(z: Tensor, df: Tensor) -> Tensor:
    """Inverse of :func:`_scores`, by Newton's method on a convex function from its right."""
    c, square = df + 0.5, z.square()
    y = square * c / (c - 1)
    for _ in range(_NEWTON_STEPS):
        y = y - (y - (y / c).log1p() - square) * (c + y) / (c + y - 1)
    return (df * (y / df).clamp(max=LARGEST_LOG[y.dtype]).expm1()).sqrt()


class TailTransform(LazyTransform, DataInitialised, Stackable):
    r"""Element-wise map of columns with heavy tails onto columns with tails of a normal.

    Beyond its edges a column is mapped as a Student t of the tail's own index would be onto a
    normal, but for a small error near the edge; between them by one rational-quadratic bin. The
    map is monotone with a continuous slope. It is estimated by :meth:`initialise` from samples and
    then fixed; before, it is nearly the identity.

    Parameters
    ----------
    n_features : int
        Number of columns.

    References
    ----------
    Flexible Tails for Normalizing Flows. T. Hickling, D. Prangle, 2024.
    https://arxiv.org/abs/2406.16971
    """

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("edges", torch.tensor([[-EDGE], [EDGE]]).repeat(1, n_features))
        self.register_buffer("rates", torch.ones(2, n_features))
        self.register_buffer("df", torch.full((2, n_features), LARGEST_DF))

    @torch.no_grad()
    def initialise(self, x: Tensor, weights: Tensor, context: Tensor | None = None) -> None:
        """Estimate the tails of weighted samples."""
        tails = fit_tails(x, weights)
        lower, upper = tails.edges
        # Where so many samples share a value that there is nothing between the edges; a column that
        # is constant keeps its scale, like everywhere.
        least = torch.where(x.amin(dim=0) < x.amax(dim=0), _LEAST_WIDTH, 2 * EDGE)
        missing = (least - (upper - lower)).clamp(min=0.0) / 2
        self.edges.copy_(torch.stack([lower - missing, upper + missing]))
        self.rates.copy_(tails.rates)
        self.df.copy_(tails.df)

    def forward(self, c: Tensor | None = None) -> Transform:
        pairs = self.edges, self.rates, self.df
        if any(pair.dim() > 2 for pair in pairs):
            return _TailTransform(*map(_sides_first, pairs))
        return _TailTransform(*pairs)


def _sides_first(pair: Tensor) -> Tensor:
    """Values of both sides along the first axis, those of several networks beside their samples.

    Networks may share some of them.
    """
    return pair.reshape(-1, *pair.shape[-2:]).movedim(1, 0).unsqueeze(-2)


class _TailTransform(Transform):
    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, edges: Tensor, rates: Tensor, df: Tensor) -> None:
        super().__init__()
        self.edges, self.rates, self.df = edges, rates, df
        self.starts = _distance(edges.new_tensor(EDGE), df)
        self.width = edges[1] - edges[0]
        self.slope = 2 * EDGE / self.width
        self.slopes = _scores(self.starts, df)[1].exp() * rates

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self.edges
        side = x < (lower + upper) / 2
        beyond = (x < lower) | (x > upper)
        excess = torch.where(side, lower - x, x - upper).clamp(min=0.0)
        rates = _of_side(side, self.rates)
        t = _of_side(side, self.starts) + rates * excess
        outer, outer_ladj = _scores(t, _of_side(side, self.df))
        centre, centre_ladj = self._centre(((x - lower) / self.width).clamp(0.0, 1.0))
        z = torch.where(beyond, torch.where(side, -outer, outer), centre)
        ladj = torch.where(beyond, outer_ladj + rates.log(), centre_ladj)
        return z, ladj.sum(-1)

    def _centre(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Value and log-slope between the edges, from 0 to 1."""
        d0, d1 = self.slopes
        bump, back = t * (1 - t), 1 - t
        denominator = self.slope + (d0 + d1 - 2 * self.slope) * bump
        z = 2 * EDGE * (self.slope * t * t + d0 * bump) / denominator - EDGE
        steepness = d1 * t * t + 2 * self.slope * bump + d0 * back * back
        return z, 2 * (self.slope / denominator).log() + steepness.log()

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.call_and_ladj(x)[1]

    def _inverse(self, y: Tensor) -> Tensor:
        side, beyond = y < 0, y.abs() > EDGE
        t = _distance(y.abs().clamp(min=EDGE), _of_side(side, self.df))
        excess = (t - _of_side(side, self.starts)).clamp(min=0.0)
        excess = excess / _of_side(side, self.rates)
        outer = torch.where(side, self.edges[0] - excess, self.edges[1] + excess)
        return torch.where(beyond, outer, self._from_centre(y.clamp(-EDGE, EDGE)))

    def _from_centre(self, y: Tensor) -> Tensor:
        (d0, d1), rise = self.slopes, y + EDGE
        bend = rise * (d0 + d1 - 2 * self.slope)
        a = 2 * EDGE * (self.slope - d0) + bend
        b = 2 * EDGE * d0 - bend
        c = -self.slope * rise
        root = (b.square() - 4 * a * c).clamp(min=0.0).sqrt()
        return self.edges[0] + self.width * (2 * c / (-b - root)).clamp(0.0, 1.0)


def _of_side(lower: Tensor, pair: Tensor) -> Tensor:
    """Values of the lower tails where `lower` is True, of the upper ones elsewhere."""
    return torch.where(lower, pair[0], pair[1])
