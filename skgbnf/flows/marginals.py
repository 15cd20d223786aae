"""Symmetric distributions of single columns, and their normal scores.

The normal score of a value is the value that has as much mass below it under the standard normal.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Protocol

import torch
from numpy.polynomial.laguerre import laggauss
from numpy.polynomial.legendre import leggauss
from torch import Tensor

_LOG_HALF = math.log(0.5)
_CENTRE = 3.0
_N_INNER, _N_OUTER = 20, 32
_NEWTON_STEPS = 6
_CELLS_PER_CHUNK = 20_000

LARGEST_LOG = {torch.float32: 60.0, torch.float64: 460.0}
"""Logarithms of which the exponential is still far from the largest number."""


class Marginal(Protocol):
    """The distribution of columns; values are tensors of shape (..., n_columns)."""

    def log_density(self, x: Tensor) -> Tensor:
        """Log-density of each value, in nats."""

    def scores(self, x: Tensor) -> Tensor:
        """Normal scores of values."""

    def from_scores(self, z: Tensor) -> Tensor:
        """Values with given normal scores."""

    def draw(self, like: Tensor) -> Tensor:
        """Independent values in the shape of a tensor, by torch's generator."""


class NormalMarginal:
    """Standard normal columns."""

    def log_density(self, x: Tensor) -> Tensor:
        return log_normal(x)

    def scores(self, x: Tensor) -> Tensor:
        return x

    def from_scores(self, z: Tensor) -> Tensor:
        return z

    def draw(self, like: Tensor) -> Tensor:
        return torch.randn_like(like)


class LaplaceMarginal:
    """Laplace columns of scale 1: tails that fall exponentially."""

    def log_density(self, x: Tensor) -> Tensor:
        return _LOG_HALF - x.abs()

    def scores(self, x: Tensor) -> Tensor:
        return torch.copysign(_normal_score(_LOG_HALF - x.abs()), x)

    def from_scores(self, z: Tensor) -> Tensor:
        return torch.copysign(_LOG_HALF - torch.special.log_ndtr(-z.abs()), z)

    def draw(self, like: Tensor) -> Tensor:
        return self.from_scores(torch.randn_like(like))


class StudentTMarginal:
    """Student-t columns: densities fall with the power ``df + 1`` of the distance.

    Parameters
    ----------
    df : Tensor of shape (n_columns,)
        Degrees of freedom, at least one half.
    """

    def __init__(self, df: Tensor) -> None:
        self.df = df
        log_peak = torch.lgamma((df + 1) / 2) - torch.lgamma(df / 2)
        self._log_peak = log_peak - 0.5 * (math.pi * df).log()

    def log_density(self, x: Tensor) -> Tensor:
        return self._log_peak - (self.df + 1) / 2 * log_bracket(x, self.df)

    def scores(self, x: Tensor) -> Tensor:
        return torch.copysign(_normal_score(self.log_survival(x.abs())), x)

    def from_scores(self, z: Tensor) -> Tensor:
        rows = max(1, _CELLS_PER_CHUNK // z.shape[-1])
        size = torch.cat([self._distance_of(part) for part in z.abs().split(rows)])
        return torch.copysign(size, z)

    def draw(self, like: Tensor) -> Tensor:
        drawn = torch.distributions.StudentT(self.df, validate_args=False)
        return drawn.sample(like.shape[:-1])

    def log_survival(self, t: Tensor) -> Tensor:
        """Logarithm of the mass beyond `t`, which is not negative, by Gaussian quadrature.

        Near the centre the density is integrated from 0 to t. Further out, with
        ``L = log(1 + t**2 / df)``, the mass is an integral over levels above that of t, of
        ``exp(-df * L / 2)`` times a smooth factor.
        """
        inner = t.clamp(max=_CENTRE)
        nodes, masses = _quadrature(_legendre, _N_INNER, t)
        within = inner * torch.tensordot(masses, self.log_density(inner * nodes).exp(), dims=1)
        centre = _LOG_HALF + torch.log1p(-2 * within)
        level = log_bracket(t.clamp(min=_CENTRE), self.df)
        nodes, masses = _quadrature(_laguerre, _N_OUTER, t)
        factor = torch.rsqrt(-torch.expm1(-level - 2 * nodes / self.df))
        outer = torch.tensordot(masses, factor, dims=1).log() - self.df / 2 * level
        return torch.where(t < _CENTRE, centre, outer + self._log_peak - 0.5 * self.df.log())

    def _distance_of(self, z: Tensor) -> Tensor:
        """Distance with as much mass beyond it as beyond `z`, not negative, under the normal.

        By Newton's method in ``q = sqrt(df * log(1 + t**2 / df))``, which is nearly a normal score
        itself; the logarithm of the mass beyond is concave in it, so that no step goes astray.
        """
        wanted, q = torch.special.log_ndtr(-z), z
        for _ in range(_NEWTON_STEPS):
            t = self._from_level(q)
            beyond = self.log_survival(t)
            stretch = (q.clamp(min=1e-10) / t.clamp(min=1e-10)).log() + q.square() / self.df
            slope = (self.log_density(t) - beyond + stretch).exp()
            q = (q + (beyond - wanted) / slope).clamp(min=0.0)
        return self._from_level(q)

    def _from_level(self, q: Tensor) -> Tensor:
        level = (q.square() / self.df).clamp(max=LARGEST_LOG[q.dtype])
        return (self.df * level.expm1()).sqrt()


MARGINALS = ("student_t", "laplace", "normal")
"""Names of marginals."""


def make_marginal(name: str, df: Tensor) -> Marginal:
    """The marginal of a name; `df` matters to Student's t."""
    if name == "student_t":
        return StudentTMarginal(df)
    return LaplaceMarginal() if name == "laplace" else NormalMarginal()


def log_normal(z: Tensor) -> Tensor:
    """Standard normal log-density of each value."""
    return -0.5 * (z.square() + math.log(2 * math.pi))


def log_bracket(t: Tensor, df: Tensor) -> Tensor:
    """``log(1 + t**2 / df)``, where the square may overflow."""
    ratio = t.abs() / df.sqrt()
    near, far = ratio.clamp(max=1.0), ratio.clamp(min=1.0)
    return torch.where(ratio < 1, near.square().log1p(), 2 * far.log() + far.pow(-2).log1p())


def _normal_score(log_survival: Tensor) -> Tensor:
    """Non-negative z with given logarithm of the mass beyond it, at most that of one half."""
    with torch.no_grad():
        z = (2 * (_LOG_HALF - log_survival)).clamp(min=0.0).sqrt()
        for _ in range(_NEWTON_STEPS):
            z = (z + _newton_step(z, log_survival)).clamp(min=0.0)
    # The last step has the gradient of the solution.
    return z + _newton_step(z, log_survival)


def _newton_step(z: Tensor, log_survival: Tensor) -> Tensor:
    # The mass beyond z over the density there, which does not overflow.
    mills = math.sqrt(math.pi / 2) * torch.special.erfcx(z / math.sqrt(2))
    return (torch.special.log_ndtr(-z) - log_survival) * mills


def _quadrature(
    rule: Callable[[int], tuple[Tensor, Tensor]], n_nodes: int, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Nodes, broadcast over a tensor along a first axis, and their masses."""
    nodes, masses = (part.to(like) for part in rule(n_nodes))
    return nodes.view(-1, *[1] * like.dim()), masses


@cache
def _legendre(n_nodes: int) -> tuple[Tensor, Tensor]:
    """Gauss's rule for integrals over [0, 1]."""
    nodes, masses = map(torch.from_numpy, leggauss(n_nodes))
    return (nodes + 1) / 2, masses / 2


@cache
def _laguerre(n_nodes: int) -> tuple[Tensor, Tensor]:
    """Gauss's rule for integrals over the positive numbers with the weight ``exp(-v)``."""
    nodes, masses = map(torch.from_numpy, laggauss(n_nodes))
    return nodes, masses
