r"""A velocity field of particles that moves, turns, reflects and renumbers with them.

.. math:: v_i = \frac{1}{n} \sum_{j \ne i} m_{ij} (x_i - x_j), \qquad m_{ij} = m_{ji}

The factor of a pair depends on its distance, on all distances of its two particles, on those of the
whole configuration and on time. So the field is that of one layer of an E(n)-equivariant graph
network with messages between all pairs [1]_; its forces are reciprocal, as are those of every
gradient of a function of distances. With one layer the divergence has a closed form: what pair ij
adds is a derivative in a single direction, in which i and j move apart, and all pairs together cost
about as much as the field.

References
----------
.. [1] E(n) Equivariant Normalizing Flows. V. G. Satorras, E. Hoogeboom, F. B. Fuchs, I. Posner,
   M. Welling, 2021. https://arxiv.org/abs/2105.09016
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SOFTENING = 1e-6
_N_TIMES = 8
"""Number of cosines of time that the networks see."""


class PairField(nn.Module):
    """The field, of centred configurations in units in which coordinates are of order 1.

    Parameters
    ----------
    types : sequence of int
        Type of each particle, numbered from 0.

    n_dims : int

    n_basis : int
        Number of Gaussian functions of the distance; :meth:`cover` says where they lie.

    hidden_layer_sizes : tuple of int
        Widths of the network of pairs; the one layer of particles has the first of them.
    """

    centres: Tensor
    _first: Tensor
    _second: Tensor
    _kinds: Tensor

    def __init__(
        self, types: tuple[int, ...], n_dims: int, n_basis: int, hidden_layer_sizes: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.n_particles, self.n_dims = len(types), n_dims
        kinds = F.one_hot(torch.tensor(types)).float()
        first, second = torch.triu_indices(len(types), len(types), 1)
        at_first, at_second = (F.one_hot(end, len(types)).float() for end in (first, second))
        by_kind = at_first[:, None] * kinds[second][..., None]
        by_kind = by_kind + at_second[:, None] * kinds[first][..., None]
        fixed = {
            "first": first,
            "second": second,
            "kinds": kinds,
            "signs": (at_first - at_second).T,  # (n_particles, n_pairs)
            "by_kind": by_kind.permute(2, 1, 0),  # (n_particles, n_kinds, n_pairs)
        }
        for name, buffer in fixed.items():
            self.register_buffer(f"_{name}", buffer, persistent=False)
        self.register_buffer("centres", torch.linspace(0.0, 5.0, n_basis))
        n_kinds, width = kinds.shape[1], hidden_layer_sizes[0]
        self.of_particle = nn.Linear(n_kinds * n_basis, width)
        self.of_kind = nn.Linear(n_kinds, width, bias=False)
        self.of_pair = nn.Linear(n_basis, width)
        self.of_ends = nn.Linear(width, width, bias=False)
        self.of_all = nn.Linear(n_basis, width, bias=False)
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(hidden_layer_sizes))
        widths = (width, *hidden_layer_sizes)
        self.times = nn.ModuleList(nn.Linear(_N_TIMES, w, bias=False) for w in widths)
        self.out = nn.Linear(hidden_layer_sizes[-1], 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, t: Tensor, x: Tensor, *, divergence: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Velocities, and their divergence if it is asked for.

        Parameters
        ----------
        t : Tensor of shape () or (n_samples,)
            From 0, where configurations are noise, to 1.

        x : Tensor of shape (n_samples, n_particles, n_dims)

        divergence : bool, default=False

        Returns
        -------
        velocity : Tensor of shape (n_samples, n_particles, n_dims)
            Its mean over the particles is 0.

        divergence : Tensor of shape (n_samples,) or None
        """
        times = torch.cos(math.pi * torch.arange(_N_TIMES, device=x.device) * t.reshape(-1, 1, 1))
        between = x[:, self._first] - x[:, self._second]
        squares = between.square().sum(-1)
        r = (squares + _SOFTENING).sqrt()
        basis, slopes = self._basis(r)
        sums = torch.einsum("ikp,bpc->bikc", self._by_kind, basis)
        particle = self.of_particle(sums.flatten(2)) + self.of_kind(self._kinds)
        particle, gates = _activated(particle + self.times[0](times))
        hidden = self.of_pair(basis) + self.of_all(basis.sum(1, keepdim=True) / self.n_particles)
        ends = self.of_ends(particle)
        hidden = hidden + ends[:, self._first] + ends[:, self._second] + self.times[1](times)
        tangent = self._first_tangent(between, squares, r, slopes, gates) if divergence else None
        m, slope = self._factors(hidden, tangent, times)
        velocity = torch.einsum("ip,bpd->bid", self._signs, m.unsqueeze(-1) * between)
        if slope is None:
            return velocity / self.n_particles, None
        return velocity / self.n_particles, (2 * self.n_dims * m + slope).sum(1) / self.n_particles

    @torch.no_grad()
    def cover(self, farthest: float) -> None:
        """Put the functions of distances evenly between 0 and the farthest distance."""
        self.centres.copy_(torch.linspace(0.0, farthest, len(self.centres)))

    def _basis(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Functions of distances and their derivatives, shape (..., n_basis)."""
        width = self.centres[1] - self.centres[0]
        z = (r.unsqueeze(-1) - self.centres) / width
        basis = (-0.5 * z.square()).exp()
        return basis, -z * basis / width

    def _first_tangent(
        self, between: Tensor, squares: Tensor, r: Tensor, slopes: Tensor, gates: Tensor
    ) -> Tensor:
        """Derivative of what the network of pairs sees, for each pair as its ends move apart.

        They move by what lies between them, one end in each direction.
        """
        own = slopes * (squares / r).unsqueeze(-1)
        forces = (slopes / r.unsqueeze(-1)).unsqueeze(-1) * between.unsqueeze(-2)
        pulls = torch.einsum("ikp,ip,bpcd->bikcd", self._by_kind, self._signs, forces)
        tangent, total = F.linear(2 * own, self.of_pair.weight), -2 * own
        for end, other, sign in (
            (self._first, self._second, 1.0),
            (self._second, self._first, -1.0),
        ):
            change = sign * torch.einsum("bpkcd,bpd->bpkc", pulls[:, end], between)
            change = change + own.unsqueeze(-2) * self._kinds[other].unsqueeze(-1)
            total = total + change.sum(-2)
            change = F.linear(change.flatten(2), self.of_particle.weight) * gates[:, end]
            tangent = tangent + F.linear(change, self.of_ends.weight)
        return tangent + F.linear(total / self.n_particles, self.of_all.weight)

    def _factors(
        self, hidden: Tensor, tangent: Tensor | None, times: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """The factors of pairs, shape (n_samples, n_pairs), and their derivatives if any."""
        for layer, time in zip((*self.hidden, self.out), (*self.times[2:], None), strict=True):
            hidden, gates = _activated(hidden)
            hidden = layer(hidden) if time is None else layer(hidden) + time(times)
            if tangent is not None:
                tangent = F.linear(tangent * gates, layer.weight)
        return hidden.squeeze(-1), None if tangent is None else tangent.squeeze(-1)


def _activated(x: Tensor) -> tuple[Tensor, Tensor]:
    """``x sigmoid(x)`` and its derivative."""
    gate = torch.sigmoid(x)
    value = x * gate
    return value, gate + value * (1 - gate)
