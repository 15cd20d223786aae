"""Densities that are known exactly: rows can be drawn and log-densities computed in closed form.

A fitted density falls short of such a target by ``mean(log p - log q)`` over test rows, which
estimates the Kullback-Leibler divergence: how far it is from the best any method could do.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import i0e, logsumexp

Rows = np.ndarray

_CIRCLE_RADIUS, _CIRCLE_NOISE = 4 / np.sqrt(2), 0.5 / np.sqrt(2)
_RING_RADII, _RING_NOISE = 3 * np.array([0.25, 0.5, 0.75, 1.0]), 0.24
_ARMS, _ARM_DEVIATIONS, _SWIRL, _PINWHEEL_SCALE = 5, np.array([0.3, 0.1]), 0.25, 2.0
_GUMBEL_THETA = 2.5
_BANANA_NOISE = 0.5


@dataclass(frozen=True)
class Target:
    """A known density; log-densities are in nats."""

    n_features: int
    sample: Callable[[int, np.random.Generator], Rows]
    log_density: Callable[[Rows], np.ndarray]


class GaussianSum:
    """A mixture of Gaussians with given weights, means and Cholesky factors of covariances."""

    def __init__(self, weights: np.ndarray, means: np.ndarray, factors: np.ndarray) -> None:
        self.weights, self.means, self.factors = weights, means, factors

    def sample(self, n: int, rng: np.random.Generator) -> Rows:
        k = rng.choice(len(self.weights), n, p=self.weights)
        z = rng.normal(size=(n, self.means.shape[1]))
        return self.means[k] + np.einsum("nij,nj->ni", self.factors[k], z)

    def log_density(self, x: Rows) -> np.ndarray:
        parts = [
            standard_normal(np.linalg.solve(factor, (x - mean).T).T) - np.linalg.slogdet(factor)[1]
            for mean, factor in zip(self.means, self.factors, strict=True)
        ]
        return logsumexp(np.stack(parts, axis=1) + np.log(self.weights), axis=1)


def standard_normal(z: Rows) -> np.ndarray:
    """Log-density of independent standard normal columns."""
    return -0.5 * (z**2).sum(axis=1) - 0.5 * z.shape[1] * np.log(2 * np.pi)


def rotated(x: Rows, angle: np.ndarray) -> Rows:
    """Rows in the plane, each turned about the origin by an angle of its own."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * x[:, 0] - sin * x[:, 1], sin * x[:, 0] + cos * x[:, 1]], axis=1)


def eight_gaussians() -> Target:
    """Eight round Gaussians on a circle of radius 4/sqrt(2), noise 0.5/sqrt(2)."""
    mixture = on_circle(8, _CIRCLE_RADIUS, np.full(2, _CIRCLE_NOISE))
    return Target(2, mixture.sample, mixture.log_density)


def on_circle(n: int, radius: float, deviations: np.ndarray) -> GaussianSum:
    """Gaussians evenly on a circle, with deviations along the radius and across it."""
    angles = 2 * np.pi * np.arange(n) / n
    cos, sin = np.cos(angles), np.sin(angles)
    turns = np.stack([np.stack([cos, -sin], axis=1), np.stack([sin, cos], axis=1)], axis=1)
    means = radius * np.stack([cos, sin], axis=1)
    return GaussianSum(np.full(n, 1 / n), means, turns * deviations)


def pinwheel() -> Target:
    """Five Gaussians on the unit circle, turned by 0.25 exp(radius), then doubled in size.

    A turn by an angle that depends on the radius only keeps areas, so it leaves the density's
    value as it is; doubling the size divides it by 4.
    """
    arms = on_circle(_ARMS, 1.0, _ARM_DEVIATIONS)

    def sample(n: int, rng: np.random.Generator) -> Rows:
        x = arms.sample(n, rng)
        return _PINWHEEL_SCALE * rotated(x, swirl(x))

    def log_density(x: Rows) -> np.ndarray:
        y = x / _PINWHEEL_SCALE
        return arms.log_density(rotated(y, -swirl(y))) - 2 * np.log(_PINWHEEL_SCALE)

    return Target(2, sample, log_density)


def swirl(x: Rows) -> np.ndarray:
    return _SWIRL * np.exp(np.linalg.norm(x, axis=1))


def rings() -> Target:
    """Four rings of radii up to 3: a uniform angle plus round Gaussian noise.

    The convolution of a circle of radius R with a Gaussian is known by the Bessel function I0.
    """

    def sample(n: int, rng: np.random.Generator) -> Rows:
        radius, angle = rng.choice(_RING_RADII, n), rng.uniform(0, 2 * np.pi, n)
        circle = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return circle + _RING_NOISE * rng.normal(size=(n, 2))

    def log_density(x: Rows) -> np.ndarray:
        r, variance = np.linalg.norm(x, axis=1, keepdims=True), _RING_NOISE**2
        bessel = np.log(i0e(r * _RING_RADII / variance))
        parts = bessel - (r - _RING_RADII) ** 2 / (2 * variance)
        return logsumexp(parts, axis=1) - np.log(2 * np.pi * variance * len(_RING_RADII))

    return Target(2, sample, log_density)


def gumbel() -> Target:
    """Gumbel copula of parameter 2.5 between margins of Student's t with 2 degrees of freedom.

    Heavy tails, and extremes that come together. Below, ``a = -log F(x)`` of each margin.
    """

    def sample(n: int, rng: np.random.Generator) -> Rows:
        a = (rng.exponential(size=(n, 2)) / positive_stable(1 / _GUMBEL_THETA, n, rng)) ** (
            1 / _GUMBEL_THETA
        )
        lower, upper = np.exp(-a), -np.expm1(-a)
        return (lower - upper) / np.sqrt(2 * lower * upper)

    def log_density(x: Rows) -> np.ndarray:
        a = -student_log_cdf(x)
        log_a, theta = np.log(a), _GUMBEL_THETA
        log_s = logsumexp(theta * log_a, axis=1)
        root = np.exp(log_s / theta)
        copula = (
            -root + (a + (theta - 1) * log_a).sum(axis=1)
            + (1 / theta - 2) * log_s + np.log(root + theta - 1)
        )  # fmt: skip
        return copula - 1.5 * np.log(2 + x**2).sum(axis=1)

    return Target(2, sample, log_density)


def positive_stable(alpha: float, n: int, rng: np.random.Generator) -> Rows:
    """Draws, shape (n, 1), whose Laplace transform is ``exp(-s**alpha)``, by Kanter's formula."""
    angle, w = rng.uniform(0, np.pi, (n, 1)), rng.exponential(size=(n, 1))
    outer = np.sin(alpha * angle) / np.sin(angle) ** (1 / alpha)
    return outer * (np.sin((1 - alpha) * angle) / w) ** ((1 - alpha) / alpha)


def student_log_cdf(x: Rows) -> Rows:
    """Logarithm of the distribution function of Student's t with 2 degrees of freedom.

    Written by the smaller tail, ``1 / (r (r + |x|))`` with ``r = sqrt(2 + x**2)``, so that
    nothing cancels far out.
    """
    r = np.sqrt(2 + x**2)
    tail = 1 / (r * (r + np.abs(x)))
    return np.where(x < 0, np.log(tail), np.log1p(-tail))


def mixture10() -> Target:
    """Ten overlapping Gaussians with full covariances in ten columns: GaussianMixture's home."""
    rng = np.random.default_rng(10)
    factors = np.tril(rng.normal(size=(10, 10, 10)), -1) / np.sqrt(10)
    factors += np.eye(10) * rng.uniform(0.3, 1.0, (10, 1, 10))
    means = 1.5 * rng.normal(size=(10, 10))
    mixture = GaussianSum(rng.dirichlet(np.full(10, 5.0)), means, factors)
    return Target(10, mixture.sample, mixture.log_density)


def banana20() -> Target:
    """Ten bent pairs: each odd column is half its own noise plus the column before it squared."""

    def sample(n: int, rng: np.random.Generator) -> Rows:
        x = rng.normal(size=(n, 20))
        x[:, 1::2] = _BANANA_NOISE * x[:, 1::2] + x[:, ::2] ** 2
        return x

    def log_density(x: Rows) -> np.ndarray:
        z = x.copy()
        z[:, 1::2] = (x[:, 1::2] - x[:, ::2] ** 2) / _BANANA_NOISE
        return standard_normal(z) - 10 * np.log(_BANANA_NOISE)

    return Target(20, sample, log_density)


TARGETS = {
    "eight_gaussians": eight_gaussians(),
    "pinwheel": pinwheel(),
    "rings": rings(),
    "gumbel": gumbel(),
    "mixture10": mixture10(),
    "banana20": banana20(),
}
"""The known densities by name."""
