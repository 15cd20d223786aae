"""Optimal transport between configurations: one turned and renumbered to lie near another.

References
----------
Equivariant flow matching. L. Klein, A. Krämer, F. Noé, 2023. https://arxiv.org/abs/2306.15030

A solution for the best rotation to relate two sets of vectors. W. Kabsch, 1976.
https://doi.org/10.1107/S0567739476001873
"""

import math
from functools import lru_cache
from itertools import permutations, product

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

FEW_NUMBERINGS = 24
"""So many numberings are all tried."""

MOST_NUMBERINGS = 720
"""So many are the most that a mean is taken over."""

_N_ALTERNATIONS = 2


def n_numberings(types: tuple[int, ...]) -> int:
    """Number of ways to renumber particles within their types."""
    return math.prod(math.factorial(len(group)) for group in _groups(types))


@lru_cache(maxsize=16)
def numberings(types: tuple[int, ...]) -> np.ndarray:
    """All ways to renumber particles within their types, shape (n_numberings, n_particles)."""
    rows = []
    for orders in product(*map(permutations, _groups(types))):
        row = np.empty(len(types), dtype=np.int64)
        for group, order in zip(_groups(types), orders, strict=True):
            row[group] = order
        rows.append(row)
    return np.stack(rows)


def aligned(z: Tensor, x: Tensor, types: tuple[int, ...]) -> Tensor:
    """Configurations turned, reflected and renumbered so that they lie near others.

    With up to 24 numberings they lie as near as they can; with more, the best numbering given the
    rotation (the Hungarian method) and the best rotation given the numbering take turns.

    Parameters
    ----------
    z : Tensor of shape (n_samples, n_particles, n_dims)
        Centred; what is moved.

    x : Tensor of shape (n_samples or 1, n_particles, n_dims)
        Centred; where to.

    types : tuple of int
        Type of each particle.

    Returns
    -------
    moved : Tensor of shape (n_samples, n_particles, n_dims)
    """
    if n_numberings(types) <= FEW_NUMBERINGS:
        candidates = z[:, torch.from_numpy(numberings(types)).to(z.device)]
        closeness = _nuclear_norms(candidates.transpose(-1, -2) @ x.unsqueeze(1))
        return _turned(candidates[torch.arange(len(z), device=z.device), closeness.argmax(1)], x)
    for _ in range(_N_ALTERNATIONS):
        z = _turned(_renumbered(z, x, types), x)
    return z


def _groups(types: tuple[int, ...]) -> list[list[int]]:
    """Numbers of the particles of each type."""
    return [[i for i, own in enumerate(types) if own == kind] for kind in sorted(set(types))]


def _nuclear_norms(matrices: Tensor) -> Tensor:
    """Sums of singular values: how near the best rotation brings two configurations."""
    if matrices.shape[-1] != 2:
        return torch.linalg.svdvals(matrices).sum(-1)
    # The larger of what rotations alone and reflections alone can do; a hundred times as fast.
    (a, b), (c, d) = (row.unbind(-1) for row in matrices.unbind(-2))
    return torch.maximum(torch.hypot(a + d, b - c), torch.hypot(a - d, b + c))


def _turned(z: Tensor, x: Tensor) -> Tensor:
    """Configurations behind the orthogonal map that brings each nearest to its counterpart."""
    u, _, vh = torch.linalg.svd(z.transpose(-1, -2) @ x)
    return z @ (u @ vh)


def _renumbered(z: Tensor, x: Tensor, types: tuple[int, ...]) -> Tensor:
    """Configurations in the numbering that brings each nearest to its counterpart."""
    closeness = (x @ z.transpose(-1, -2)).cpu().numpy()
    order = np.empty(closeness.shape[:2], dtype=np.int64)
    for group in map(np.array, _groups(types)):
        for row, own in zip(order, closeness[:, group[:, None], group], strict=True):
            row[group] = group[linear_sum_assignment(own, maximize=True)[1]]
    index = torch.from_numpy(order).to(z.device).unsqueeze(-1)
    return torch.gather(z, 1, index.expand_as(z))
