"""Statistics of weighted rows: quantiles, ranks, and the Gaussian, shrunk where rows are few."""

import math

import torch
from torch import Tensor

RIDGE = 1e-6
"""Variance that components fitted by EM add to each column, so that they do not become spikes."""

_ROWS_PER_COLUMN = 20
_SHRINKAGES = (0.0, *torch.logspace(-4, 0, 13, dtype=torch.float64, device="cpu").tolist())
_LEAST_LEFT = 1e-3


def weighted_quantiles(x: Tensor, weights: Tensor, levels: Tensor) -> Tensor:
    """Quantiles of each column, shape (n_features, n_levels), under weighted rows."""
    order = x.argsort(dim=0)
    ordered = x.gather(0, order).T.contiguous()
    mass = weights[order].T.cumsum(dim=1)
    wanted = (levels * mass[:, -1:]).contiguous()
    index = torch.searchsorted(mass.contiguous(), wanted).clamp(max=len(x) - 1)
    return ordered.gather(1, index)


def weighted_ranks(x: Tensor, weights: Tensor) -> Tensor:
    """Share of the mass below each value of its column, half of its own row's included."""
    order = x.argsort(dim=0)
    mass = weights[order]
    below = mass.cumsum(dim=0) - mass / 2
    return torch.empty_like(x).scatter_(0, order, below / weights.sum())


def weighted_gaussian(x: Tensor, weights: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Mean and Cholesky factor of the covariance of weighted rows.

    Where there are fewer than twenty rows for each column, correlations are shrunk towards zero,
    as far as the leave-one-out likelihood asks for.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features)

    weights : Tensor of shape (n_samples,)
        Not negative, not all zero; only their ratios matter.

    ridge : float
        Variance added to each column before a Cholesky factor is taken.

    Returns
    -------
    mean : Tensor of shape (n_features,)

    factor : Tensor of shape (n_features, n_features)
        Lower triangular; ``factor @ factor.T`` is the covariance plus a ridge that grows until
        the factor exists.

    Raises
    ------
    ValueError
        If the covariance is not finite, so that no ridge helps.
    """
    share = weights / weights.sum()
    mean = share @ x
    centred = x - mean
    covariance = (centred * share.unsqueeze(-1)).T @ centred
    if not torch.isfinite(covariance).all():
        raise ValueError("The covariance of the rows is not finite; look for extreme values in X.")
    if 1 / share.square().sum() < _ROWS_PER_COLUMN * x.shape[1]:
        shrinkage = leave_one_out_shrinkage(centred, share, covariance, ridge)
        covariance = torch.lerp(covariance, covariance.diagonal().diag(), shrinkage)
    identity = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    info = 1
    while info and math.isfinite(ridge):
        factor, info = torch.linalg.cholesky_ex(covariance + ridge * identity)
        ridge *= 10
    return mean, factor


def leave_one_out_shrinkage(
    centred: Tensor, share: Tensor, covariance: Tensor, ridge: float
) -> float:
    """Share of the correlations to take away, by the likelihood of each row under the others.

    Removing a row changes the covariance by a matrix of rank one, so that one eigendecomposition
    serves all rows and all candidates.

    Parameters
    ----------
    centred : Tensor of shape (n_samples, n_features)
        Rows less their weighted mean.

    share : Tensor of shape (n_samples,)
        Weights of the rows, which sum to 1.

    covariance : Tensor of shape (n_features, n_features)
        The weighted covariance of the rows.

    ridge : float
        Variance added to each column, here of unit variance.

    Returns
    -------
    shrinkage : float
        From 0, the covariance as it is, to 1, its diagonal.

    References
    ----------
    Covariance Matrix Estimation and Classification with Limited Training Data. J. P. Hoffbeck,
    D. A. Landgrebe, 1996. https://doi.org/10.1109/34.506799
    """
    kept = share > 0
    share = share[kept].clamp(max=1 - 1e-6)
    scale = (covariance.diagonal() + ridge).sqrt()
    values, vectors = torch.linalg.eigh(covariance / torch.outer(scale, scale))
    squares = ((centred[kept] / scale) @ vectors).square()
    # Without row i the weights of the others grow by 1 / (1 - share_i), and so does the row's
    # distance from their mean.
    growth = 1 / (1 - share)
    common = float(share @ growth)

    def likelihood(shrinkage: float) -> float:
        variances = (1 - shrinkage) * common * values.clamp(min=0) + shrinkage + ridge
        distance = (squares / variances).sum(1)
        left = 1 - (1 - shrinkage) * share * growth**2 * distance
        left = left.clamp(min=_LEAST_LEFT)
        row = left.log() + growth**2 * distance / left
        return -float(variances.log().sum() + share @ row / share.sum())

    return max(_SHRINKAGES, key=likelihood)
