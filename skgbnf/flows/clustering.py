"""Clusters of samples, from which mixtures start."""

import math

import torch
from torch import Tensor

_STEPS = 10


def clusters(places: Tensor, weights: Tensor, n_clusters: int) -> Tensor:
    """Clusters that k-means finds from a start drawn by torch's generator.

    Parameters
    ----------
    places : Tensor of shape (..., n_samples, n_coordinates)

    weights : Tensor of shape (..., n_samples)

    n_clusters : int

    Returns
    -------
    assigned : Tensor of shape (..., n_samples, n_clusters)
        One for the nearest cluster of each sample, zero for others.
    """
    centres = rows_at(places, spread_rows(places, weights, n_clusters))
    for _ in range(_STEPS):
        nearest = torch.cdist(places, centres).argmin(dim=-1)
        assigned = torch.nn.functional.one_hot(nearest, n_clusters).to(places)
        shares = weights.unsqueeze(-1) * assigned
        total = shares.sum(-2).unsqueeze(-1)
        centres = torch.where(total > 0, shares.mT @ places / total, centres)
    return assigned


def rows_at(x: Tensor, index: Tensor) -> Tensor:
    """Samples of each set by their indices, of shape (..., n_indices)."""
    return x.gather(-2, index.unsqueeze(-1).expand(*index.shape, x.shape[-1]))


def draw_row(odds: Tensor, n_draws: int = 1) -> Tensor:
    """Indices, shape (..., n_draws), of samples drawn in proportion to `odds`."""
    mass = odds.cumsum(-1)
    shape = (*odds.shape[:-1], n_draws)
    target = mass[..., -1:] * torch.rand(shape, dtype=odds.dtype, device=odds.device)
    return torch.searchsorted(mass, target).clamp(max=odds.shape[-1] - 1)


def spread_rows(x: Tensor, weights: Tensor, n_rows: int) -> Tensor:
    """Indices, shape (..., n_rows), of samples far from each other, by greedy k-means++.

    Each is drawn by its squared distance from those before, as the best of a few.

    References
    ----------
    k-means++: The Advantages of Careful Seeding. D. Arthur, S. Vassilvitskii, 2007.
    https://theory.stanford.edu/~sergei/papers/kMeansPP-soda.pdf
    """
    n_draws = 2 + int(math.log(n_rows))
    chosen = [draw_row(weights)]
    distance = torch.cdist(x, rows_at(x, chosen[0])).square().squeeze(-1)
    while len(chosen) < n_rows:
        odds = weights * distance
        odds = torch.where(odds.sum(-1, keepdim=True) > 0, odds, weights)
        drawn = draw_row(odds, n_draws)
        left = distance.unsqueeze(-1).minimum(torch.cdist(x, rows_at(x, drawn)).square())
        best = (weights.unsqueeze(-2) @ left).squeeze(-2).argmin(-1, keepdim=True)
        chosen.append(drawn.gather(-1, best))
        distance = left.gather(-1, best.unsqueeze(-2).expand(*distance.shape, 1)).squeeze(-1)
    return torch.cat(chosen, dim=-1)
