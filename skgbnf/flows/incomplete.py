"""Gaussians of which each sample shows a part."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

_MANY = 32
_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True, eq=False)
class Posterior:
    """What Gaussians say of some samples.

    Attributes
    ----------
    index : Tensor of shape (n_samples,)
        Numbers of the samples.

    log_prob : Tensor of shape (n_samples, n_gaussians)
        Log-density of what is known.

    means : Tensor of shape (n_samples, n_gaussians, n_variables)
        Samples, with conditional means in place of what is not known.

    covariances : Tensor of shape (n_patterns, n_gaussians, n_variables, n_variables)
        Conditional covariances of what is not known, zero elsewhere.

    pattern : Tensor of shape (n_samples,)
        Which of these is each sample's.
    """

    index: Tensor
    log_prob: Tensor
    means: Tensor
    covariances: Tensor
    pattern: Tensor


def posteriors(x: Tensor, means: Tensor, covariances: Tensor) -> Iterator[Posterior]:
    """What each of several Gaussians says of samples with gaps, some samples after the other.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_variables)
        NaN where a variable is not known.

    means : Tensor of shape (n_gaussians, n_variables)

    covariances : Tensor of shape (n_gaussians, n_variables, n_variables)
    """
    patterns, of_sample = torch.unique(~x.isnan(), dim=0, return_inverse=True)
    order = of_sample.argsort(stable=True)
    counts = of_sample.bincount(minlength=len(patterns)).tolist()
    first = 0
    for group in _groups(counts, x.shape[1] ** 2 * len(means)):
        n = sum(counts[group])
        index, first = order[first : first + n], first + n
        yield _posterior(
            x, index, patterns[group], of_sample[index] - group.start, means, covariances
        )


def _groups(counts: list[int], n_cells: int) -> Iterator[slice]:
    """Patterns to be taken at once: one that many samples have alone, others together."""
    start = n_samples = 0
    for p, count in enumerate(counts):
        alone = count >= _MANY
        if p > start and (alone or (n_samples + count) * n_cells > _CELLS_AT_ONCE):
            yield slice(start, p)
            start, n_samples = p, 0
        n_samples += count
        if alone:
            yield slice(p, p + 1)
            start, n_samples = p + 1, 0
    if start < len(counts):
        yield slice(start, len(counts))


def _posterior(
    x: Tensor, index: Tensor, known: Tensor, pattern: Tensor, means: Tensor, covariances: Tensor
) -> Posterior:
    """What Gaussians say of samples that have one of a few patterns of gaps."""
    mask = known.to(means).unsqueeze(1)
    both = mask.unsqueeze(-1) * mask.unsqueeze(-2)
    identity = torch.eye(means.shape[-1], dtype=means.dtype, device=means.device)
    # Of what is not known, independent variables of variance one, which are zero.
    factor = torch.linalg.cholesky(both * covariances + (1 - both) * identity)
    precision = both * torch.cholesky_inverse(factor)
    log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    gain = covariances @ precision
    centred = (x[index].unsqueeze(1) - means).nan_to_num(0.0)
    if len(known) == 1:
        weighed = torch.einsum("nkd,kde->nke", centred, precision[0])
        filled = torch.einsum("nkd,ked->nke", centred, gain[0])
    else:
        weighed = torch.einsum("nkd,nkde->nke", centred, precision[pattern])
        filled = torch.einsum("nkd,nked->nke", centred, gain[pattern])
    constant = log_det + 0.5 * math.log(2 * math.pi) * mask.sum(-1)
    log_prob = -constant[pattern] - (centred * weighed).sum(-1) / 2
    return Posterior(index, log_prob, filled + means, covariances - gain @ covariances, pattern)
