"""Statistics of weighted samples: quantiles, ranks, Gaussian and regression."""

import math

import torch
from torch import Tensor

RIDGE = 1e-6
"""Variance that components fitted by EM add to each column, so that they do not become spikes."""

_ROWS_PER_COLUMN = 20
_ROWS_OF_PRECISE_QUANTILES = 1000
_SILVERMAN = 1.06
_GRID_END, _GRID_SIZE = 6.0, 97
_SMALLEST = 1e-12
_SHRINKAGES = (0.0, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
_LEAST_LEFT = 1e-3
_PENALTIES = (1e-8, *torch.logspace(-6, 1, 15, dtype=torch.float64, device="cpu").tolist())


def weighted_quantiles(x: Tensor, weights: Tensor, levels: Tensor) -> Tensor:
    """Quantiles of each column, shape (n_features, n_levels), under weighted samples."""
    order = x.argsort(dim=0)
    ordered = x.gather(0, order).T.contiguous()
    mass = weights[order].T.cumsum(dim=1)
    wanted = (levels * mass[:, -1:]).contiguous()
    index = torch.searchsorted(mass.contiguous(), wanted).clamp(max=len(x) - 1)
    return ordered.gather(1, index)


def smoothed_quantiles(x: Tensor, weights: Tensor, levels: Tensor) -> Tensor:
    """Quantiles of each column under a kernel density of the same mean and variance.

    The bandwidth is that of Silverman's rule. A thousand samples or more have precise quantiles of
    their own, those of :func:`weighted_quantiles`.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features)

    weights : Tensor of shape (n_samples,)

    levels : Tensor of shape (n_levels,)
        Ascending.

    Returns
    -------
    quantiles : Tensor of shape (n_features, n_levels)
    """
    share = weights / weights.sum()
    n_rows = 1 / float(share.square().sum())
    if n_rows >= _ROWS_OF_PRECISE_QUANTILES:
        return weighted_quantiles(x, weights, levels)
    mean = share @ x
    deviation = (share @ (x - mean).square()).sqrt()
    width = _SILVERMAN * n_rows**-0.2
    shrunk = ((x - mean) / deviation.clamp(min=_SMALLEST)) / math.sqrt(1 + width**2)
    width = width / math.sqrt(1 + width**2)
    grid = torch.linspace(-_GRID_END, _GRID_END, _GRID_SIZE, dtype=x.dtype, device=x.device)
    below = share @ torch.special.ndtr((grid[:, None, None] - shrunk) / width)
    index = torch.searchsorted(below.T.contiguous(), levels.expand(x.shape[1], -1).contiguous())
    index = index.clamp(1, _GRID_SIZE - 1)
    low, high = below.T.gather(1, index - 1), below.T.gather(1, index)
    part = ((levels - low) / (high - low).clamp(min=_SMALLEST)).clamp(0, 1)
    step = 2 * _GRID_END / (_GRID_SIZE - 1)
    scores = grid[index - 1] + part * step
    return mean[:, None] + deviation[:, None] * scores


def weighted_ranks(x: Tensor, weights: Tensor) -> Tensor:
    """Share of the mass below each value of its column, half of its own sample's included."""
    order = x.argsort(dim=0)
    mass = weights[order]
    below = mass.cumsum(dim=0) - mass / 2
    return torch.empty_like(x).scatter_(0, order, below / weights.sum())


def weighted_gaussian(x: Tensor, weights: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Means and Cholesky factors of the covariances of weighted samples.

    Where there are fewer than twenty samples for each column, correlations are shrunk towards zero,
    as far as the leave-one-out likelihood asks for.

    Parameters
    ----------
    x : Tensor of shape (..., n_samples, n_features)

    weights : Tensor of shape (..., n_samples)
        Not negative, not all zero; only their ratios matter.

    ridge : float
        Variance added to each column before a Cholesky factor is taken.

    Returns
    -------
    mean : Tensor of shape (..., n_features)

    factor : Tensor of shape (..., n_features, n_features)
        Lower triangular; ``factor @ factor.T`` is the covariance plus a ridge that grows until
        the factor exists.

    Raises
    ------
    ValueError
        If the covariance is not finite, so that no ridge helps.
    """
    share = weights / weights.sum(-1, keepdim=True)
    mean = (share.unsqueeze(-2) @ x).squeeze(-2)
    centred = x - mean.unsqueeze(-2)
    covariance = (centred * share.unsqueeze(-1)).mT @ centred
    if not torch.isfinite(covariance).all():
        raise ValueError("The covariance of the rows is not finite; look for extreme values in X.")
    few = 1 / share.square().sum(-1) < _ROWS_PER_COLUMN * x.shape[-1]
    if few.any():
        shrinkage = leave_one_out_shrinkage(centred, share, covariance, ridge)
        shrinkage = torch.where(few, shrinkage, 0.0)[..., None, None]
        diagonal = covariance.diagonal(dim1=-2, dim2=-1).diag_embed()
        covariance = torch.lerp(covariance, diagonal, shrinkage)
    return mean, _factor(covariance, ridge)


def _factor(covariance: Tensor, ridge: float) -> Tensor:
    """Cholesky factors, each with the smallest ridge, or ten or more times that, that will do."""
    identity = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    factor, failed = torch.linalg.cholesky_ex(covariance + ridge * identity)
    while failed.any() and math.isfinite(ridge):
        ridge *= 10
        other, still = torch.linalg.cholesky_ex(covariance + ridge * identity)
        factor = torch.where((failed > 0)[..., None, None], other, factor)
        failed = torch.where(failed > 0, still, 0)
    return factor


def leave_one_out_shrinkage(
    centred: Tensor, share: Tensor, covariance: Tensor, ridge: float
) -> Tensor:
    """Share of the correlations to take away, by the likelihood of each sample under the others.

    Removing a sample changes the covariance by a matrix of rank one, so that one eigendecomposition
    serves all samples and all candidates.

    Parameters
    ----------
    centred : Tensor of shape (..., n_samples, n_features)
        Samples less their weighted mean.

    share : Tensor of shape (..., n_samples)
        Weights of the samples, which sum to 1.

    covariance : Tensor of shape (..., n_features, n_features)
        The weighted covariance of the samples.

    ridge : float
        Variance added to each column, here of unit variance.

    Returns
    -------
    shrinkage : Tensor of shape (...)
        From 0, the covariance as it is, to 1, its diagonal.

    References
    ----------
    Covariance Matrix Estimation and Classification with Limited Training Data. J. P. Hoffbeck,
    D. A. Landgrebe, 1996. https://doi.org/10.1109/34.506799
    """
    candidates = centred.new_tensor(_SHRINKAGES)
    share = share.clamp(max=1 - 1e-6).unsqueeze(-1)
    scale = (covariance.diagonal(dim1=-2, dim2=-1) + ridge).sqrt().unsqueeze(-2)
    values, vectors = torch.linalg.eigh(covariance / (scale * scale.mT))
    squares = ((centred / scale) @ vectors).square()
    # Without sample i the weights of the others grow by 1 / (1 - share_i), and so does the sample's
    # distance from their mean.
    growth = 1 / (1 - share)
    common = share.mT @ growth
    kept = (1 - candidates).unsqueeze(-1)
    variances = kept * common * values.clamp(min=0).unsqueeze(-2) + (1 - kept) + ridge
    distance = growth**2 * (squares @ (1 / variances).mT)
    left = (1 - kept.squeeze(-1) * share * distance).clamp(min=_LEAST_LEFT)
    row = left.log() + distance / left
    loss = variances.log().sum(-1) + (share * row).sum(-2) / share.sum(-2)
    return candidates[loss.argmin(-1)]


def weighted_regression(
    x: Tensor, context: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Linear ridge regression of columns on a context.

    The penalty, in units of the variances of the context, is that of least generalised
    cross-validation error.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features)

    context : Tensor of shape (n_samples, n_context)

    weights : Tensor of shape (n_samples,)
        Not negative, not all zero; only their ratios matter.

    Returns
    -------
    slope : Tensor of shape (n_context, n_features)

    intercept : Tensor of shape (n_features,)

    deviation : Tensor of shape (n_features,)
        Standard deviation of what is left, corrected for the degrees of freedom.

    References
    ----------
    Generalized Cross-Validation as a Method for Choosing a Good Ridge Parameter. G. H. Golub,
    M. Heath, G. Wahba, 1979. https://doi.org/10.1080/00401706.1979.10489751
    """
    share = weights / weights.sum()
    mean_x, mean_c = share @ x, share @ context
    y, c = x - mean_x, context - mean_c
    scale = (share @ c.square()).sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    weighted = (c / scale * share.unsqueeze(-1)).T
    values, vectors = torch.linalg.eigh(weighted @ (c / scale))
    values, target = values.clamp(min=0), vectors.T @ (weighted @ y)
    n_rows = 1 / float(share.square().sum())

    def fit(penalty: float) -> tuple[Tensor, Tensor, float]:
        slope = vectors @ (target / (values + penalty).unsqueeze(-1)) / scale.unsqueeze(-1)
        n_free = 1 + float((values / (values + penalty)).sum())
        return slope, share @ (y - c @ slope).square(), max(1 - n_free / n_rows, _LEAST_LEFT)

    def error(penalty: float) -> float:
        _, variance, left = fit(penalty)
        return float(variance.clamp(min=RIDGE**2).log().sum()) - 2 * len(mean_x) * math.log(left)

    slope, variance, left = fit(min(_PENALTIES, key=error))
    return slope, mean_x - mean_c @ slope, (variance / left).sqrt()
