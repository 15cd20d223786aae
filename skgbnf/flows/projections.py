"""Whitened samples, and the directions in which they look least like one Gaussian."""

import torch
from torch import Tensor

from skgbnf.flows.weighted import RIDGE, weighted_gaussian

_STEPS = 10
_SKEW, _FLAT = 2, 3
_FAR = 3.0
_INDEPENDENT = 0.5


def whitened(x: Tensor, weights: Tensor) -> Tensor:
    """Weighted samples with mean zero and, up to a small ridge, identity covariance."""
    mean, factor = weighted_gaussian(x, weights, RIDGE)
    return torch.linalg.solve_triangular(factor, (x - mean).T, upper=False).T


def flattest(z: Tensor, weights: Tensor, n_most: int) -> Tensor:
    """Whitened samples along the directions of smallest kurtosis, where large clusters separate.

    Two clusters of equal size give a kurtosis below that of every single Gaussian, however small
    the part of the variance that lies between them.

    Parameters
    ----------
    z : Tensor of shape (n_samples, n_features)

    weights : Tensor of shape (n_samples,)

    n_most : int
        Largest number of directions; they are orthogonal to each other.

    References
    ----------
    Cluster Identification Using Projections. D. Peña, F. J. Prieto, 2001.
    https://doi.org/10.1198/016214501753382345

    Fast and Robust Fixed-Point Algorithms for Independent Component Analysis. A. Hyvärinen, 1999.
    https://doi.org/10.1109/72.761722
    """
    share = _inner_share(z, weights)
    directions = _extremes(z, share, _FLAT)
    kurtosis = share @ (z @ directions.T).pow(4)
    return z @ _orthogonal(directions[kurtosis.argsort()], n_most).T


def most_skewed(z: Tensor, weights: Tensor) -> Tensor:
    """Whitened samples along the direction of largest skewness, where a small cluster separates.

    Parameters and result are those of :func:`flattest`, for one direction.
    """
    share = _inner_share(z, weights)
    directions = _extremes(z, share, _SKEW)
    skewness = (share @ (z @ directions.T).pow(3)).abs()
    return z @ directions[skewness.argmax()].unsqueeze(1)


def _inner_share(z: Tensor, weights: Tensor) -> Tensor:
    """Weights that sum to 1, less for samples far out, which would decide every moment."""
    squares = z.square().sum(dim=1)
    weights = weights * (_FAR * z.shape[1] / squares.clamp(min=1e-30)).clamp(max=1.0)
    return weights / weights.sum()


def _extremes(z: Tensor, share: Tensor, power: int) -> Tensor:
    """Unit vectors, shape (n_features, n_features), at which a moment is extreme.

    Each is found by a fixed-point iteration of its own. They start from the eigenvectors of the
    fourth moments, which point to clusters where samples are many.
    """
    moments = (z * (share * z.square().sum(dim=1)).unsqueeze(1)).T @ z
    directions = torch.linalg.eigh(moments)[1].T
    for _ in range(_STEPS):
        gradient = (share.unsqueeze(1) * (z @ directions.T).pow(power)).T @ z
        if power == _FLAT:
            gradient = gradient - 3 * directions
        directions = gradient / gradient.norm(dim=1, keepdim=True).clamp(min=1e-30)
    return directions


def _orthogonal(directions: Tensor, n_most: int) -> Tensor:
    """The first directions, each made orthogonal to those before it, without near repetitions."""
    basis = directions[:0]
    for direction in directions:
        rest = direction - basis.T @ (basis @ direction)
        if len(basis) < n_most and (rest.norm() > _INDEPENDENT or not len(basis)):
            basis = torch.cat([basis, (rest / rest.norm().clamp(min=1e-30)).unsqueeze(0)])
    return basis
