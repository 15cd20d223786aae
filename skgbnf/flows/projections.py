"""Whitened samples, and the directions in which they look least like one Gaussian."""

import torch
from torch import Tensor

from skgbnf.flows.weighted import RIDGE, weighted_gaussian

_STEPS = 10
_SKEW, _FLAT = 2, 3
_FAR = 3.0
_INDEPENDENT = 0.5


def whitened(x: Tensor, weights: Tensor) -> Tensor:
    """Weighted samples with mean zero and, up to a small ridge, identity covariance.

    Here and in the other functions samples may have leading axes, of sets apart from each other.
    """
    mean, factor = weighted_gaussian(x, weights, RIDGE)
    return torch.linalg.solve_triangular(factor, (x - mean.unsqueeze(-2)).mT, upper=False).mT


def flattest(z: Tensor, weights: Tensor, n_most: int) -> Tensor:
    """Whitened samples along the directions of smallest kurtosis, where large clusters separate.

    Two clusters of equal size give a kurtosis below that of every single Gaussian, however small
    the part of the variance that lies between them.

    Parameters
    ----------
    z : Tensor of shape (..., n_samples, n_features)

    weights : Tensor of shape (..., n_samples)

    n_most : int
        Largest number of directions; they are orthogonal to each other.

    Returns
    -------
    places : Tensor of shape (..., n_samples, n_most)
        Columns of zeros where there are fewer directions.

    References
    ----------
    Cluster Identification Using Projections. D. Peña, F. J. Prieto, 2001.
    https://doi.org/10.1198/016214501753382345

    Fast and Robust Fixed-Point Algorithms for Independent Component Analysis. A. Hyvärinen, 1999.
    https://doi.org/10.1109/72.761722
    """
    share = _inner_share(z, weights)
    directions = _extremes(z, share, _FLAT)
    kurtosis = _moments(z, share, directions, 4)
    ordered = directions.take_along_dim(kurtosis.argsort(-1).unsqueeze(-1), dim=-2)
    return z @ _orthogonal(ordered, n_most).mT


def most_skewed(z: Tensor, weights: Tensor) -> Tensor:
    """Whitened samples along the direction of largest skewness, where a small cluster separates.

    Parameters and result are those of :func:`flattest`, for one direction.
    """
    share = _inner_share(z, weights)
    directions = _extremes(z, share, _SKEW)
    largest = _moments(z, share, directions, 3).abs().argmax(-1)[..., None, None]
    return z @ directions.take_along_dim(largest, dim=-2).mT


def _moments(z: Tensor, share: Tensor, directions: Tensor, power: int) -> Tensor:
    """Moments of the samples along each direction, shape (..., n_features)."""
    return (share.unsqueeze(-2) @ (z @ directions.mT).pow(power)).squeeze(-2)


def _inner_share(z: Tensor, weights: Tensor) -> Tensor:
    """Weights that sum to 1, less for samples far out, which would decide every moment."""
    squares = z.square().sum(-1)
    weights = weights * (_FAR * z.shape[-1] / squares.clamp(min=1e-30)).clamp(max=1.0)
    return weights / weights.sum(-1, keepdim=True)


def _extremes(z: Tensor, share: Tensor, power: int) -> Tensor:
    """Unit vectors, shape (..., n_features, n_features), at which a moment is extreme.

    Each is found by a fixed-point iteration of its own. They start from the eigenvectors of the
    fourth moments, which point to clusters where samples are many.
    """
    moments = (z * (share * z.square().sum(-1)).unsqueeze(-1)).mT @ z
    directions = torch.linalg.eigh(moments)[1].mT
    for _ in range(_STEPS):
        gradient = (share.unsqueeze(-1) * (z @ directions.mT).pow(power)).mT @ z
        if power == _FLAT:
            gradient = gradient - 3 * directions
        directions = gradient / gradient.norm(dim=-1, keepdim=True).clamp(min=1e-30)
    return directions


def _orthogonal(directions: Tensor, n_most: int) -> Tensor:
    """The first directions, each made orthogonal to those before it, without near repetitions.

    Shape (..., n_most, n_features), with rows of zeros at the end where there are fewer.
    """
    basis = torch.zeros_like(directions[..., :n_most, :])
    places = torch.arange(basis.shape[-2], device=basis.device)
    n_found = torch.zeros(directions.shape[:-2], dtype=torch.long, device=basis.device)
    for direction in directions.unbind(-2):
        rest = direction - ((basis @ direction.unsqueeze(-1)).mT @ basis).squeeze(-2)
        norm = rest.norm(dim=-1, keepdim=True)
        new = (norm.squeeze(-1) > _INDEPENDENT) | (n_found == 0)
        here = new.unsqueeze(-1) & (places == n_found.unsqueeze(-1))
        unit = (rest / norm.clamp(min=1e-30)).unsqueeze(-2)
        basis = torch.where(here.unsqueeze(-1), unit, basis)
        n_found += new
    return basis
