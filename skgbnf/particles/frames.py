r"""Coordinates of a configuration that do not depend on where it lies and how it is turned.

Particles in a chosen order give a frame: the first is the origin, the next ones span its axes. The
others have coordinates in it. What is left is the numbering, and a reflection where there are more
particles than dimensions: a density of these coordinates becomes one of configurations by a mean
over all of them,

.. math:: p(x) = \frac{1}{|G|} \sum_{g \in G} \frac{q(y(g x))}{J(g x)}.

It is normalised and invariant whatever q is. So q may learn each sample in the numbering that
suits it best, here the one that lies nearest to a template.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from scipy.special import gammaln

from skgbnf.particles.alignment import aligned, numberings

_SMALLEST = 1e-12
_N_TEMPLATES, _ROWS_TO_COMPARE = 30, 100


@dataclass(frozen=True)
class Frame:
    """The map between configurations and their coordinates in a frame of their own.

    The axes come of the first particles by Gram and Schmidt. With the vectors from the first
    particle to the others as rows of A, the coordinates are the entries of the triangular L in
    A = L Q, those on the diagonal that are lengths as their logarithms.

    Parameters
    ----------
    order : tuple of int
        Numbers of the particles, those that give the frame first.

    n_dims : int
    """

    order: tuple[int, ...]
    n_dims: int

    @property
    def n_axes(self) -> int:
        """Number of axes that particles give; the last one follows from the others."""
        return min(len(self.order) - 1, self.n_dims - 1)

    @property
    def n_coordinates(self) -> int:
        """Number of coordinates."""
        return int(self._free().sum())

    def coordinates(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates, and what turns their log-density into that of configurations.

        Parameters
        ----------
        x : ndarray of shape (n_samples, n_particles, n_dims)

        Returns
        -------
        y : ndarray of shape (n_samples, n_coordinates)

        log_det : ndarray of shape (n_samples,)
        """
        vectors = (x[:, self.order[1:]] - x[:, self.order[:1]]).astype(np.float64)
        lower = vectors @ self._axes(vectors)
        axes = np.arange(self.n_axes)
        logs = np.log(np.maximum(np.abs(lower[:, axes, axes]), _SMALLEST))
        lower[:, axes, axes] = logs
        log_det = -logs @ (self.n_dims - axes) - self._log_volume()
        return lower[:, self._free()], log_det

    def configurations(self, y: np.ndarray) -> np.ndarray:
        """Centred configurations of such coordinates, their first axes those of space."""
        vectors = np.zeros((len(y), len(self.order) - 1, self.n_dims))
        vectors[:, self._free()] = y
        axes = np.arange(self.n_axes)
        vectors[:, axes, axes] = np.exp(vectors[:, axes, axes])
        x = np.zeros((len(y), len(self.order), self.n_dims))
        x[:, self.order[1:]] = vectors
        return x - x.mean(axis=1, keepdims=True)

    def _free(self) -> np.ndarray:
        """Which entries of L are not zero always, shape (n_particles - 1, n_dims)."""
        shape = len(self.order) - 1, self.n_dims
        return np.tril(np.ones(shape, dtype=bool)) | (np.arange(shape[0]) >= self.n_axes)[:, None]

    def _axes(self, vectors: np.ndarray) -> np.ndarray:
        """Axes as columns, a rotation for each sample, shape (n_samples, n_dims, n_dims)."""
        first = vectors[:, : self.n_axes].swapaxes(1, 2)
        if not self.n_axes:
            return np.broadcast_to(np.eye(self.n_dims), (len(vectors), self.n_dims, self.n_dims))
        axes, upper = np.linalg.qr(first, mode="complete")
        diagonal = np.diagonal(upper, axis1=1, axis2=2)
        axes[:, :, : self.n_axes] *= np.where(diagonal < 0, -1.0, 1.0)[:, None]
        if len(self.order) > self.n_dims:
            # The last axis is none of a particle's: it makes them a rotation.
            axes[:, :, -1] *= np.linalg.det(axes)[:, None]
        return axes

    def _log_volume(self) -> float:
        """Volume of all positions of the axes, in units of centred coordinates."""
        spheres = self.n_dims - np.arange(self.n_axes)
        logs = math.log(2) + spheres / 2 * math.log(math.pi) - gammaln(spheres / 2)
        return float(logs.sum()) - self.n_dims / 2 * math.log(len(self.order))

    def to_plain(self) -> dict[str, Any]:
        """The fields as JSON knows them."""
        return dict(vars(self))

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`; ValueError unless there is such a frame."""
        order = tuple(plain["order"])
        if len(order) < 2 or sorted(order) != list(range(len(order))):
            raise ValueError(f"the order of its particles is none: {order}")
        return cls(order, plain["n_dims"])


def images(x: np.ndarray, types: tuple[int, ...]) -> np.ndarray:
    """Configurations in all numberings, and their reflections.

    Configurations of fewer particles than dimensions, or as many, can be turned into theirs.

    Returns
    -------
    images : ndarray of shape (n_samples, n_images, n_particles, n_dims)
    """
    renumbered = x[:, numberings(types)]
    if len(types) <= x.shape[2]:
        return renumbered
    signs = np.append(np.ones(x.shape[2] - 1), -1.0)
    return np.concatenate([renumbered, renumbered * signs], axis=1)


def moved_at_random(x: np.ndarray, types: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Configurations in random numberings, turned and reflected at random."""
    group = numberings(types)
    chosen = group[rng.integers(len(group), size=len(x))]
    q, r = np.linalg.qr(rng.normal(size=(len(x), x.shape[2], x.shape[2])))
    turns = q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None]
    return np.take_along_axis(x, chosen[:, :, None], axis=1) @ turns


def nearest_images(x: np.ndarray, template: np.ndarray, types: tuple[int, ...]) -> np.ndarray:
    """Centred configurations turned, reflected and renumbered to lie near a template."""
    return aligned(torch.from_numpy(x), torch.from_numpy(template[None]), types).numpy()


def choose_template(x: np.ndarray, types: tuple[int, ...]) -> np.ndarray:
    """The sample that lies nearest to others, of the first ones."""

    def distance(template: np.ndarray) -> float:
        moves = nearest_images(x[:_ROWS_TO_COMPARE], template, types) - template
        # Along each axis by itself.
        return float(np.linalg.norm(moves, axis=1).mean())

    return min(x[:_N_TEMPLATES], key=distance)


def choose_frame(template: np.ndarray) -> Frame:
    """The frame whose particles lie farthest apart in a configuration."""
    n_particles, n_dims = template.shape
    between = np.linalg.norm(template[:, None] - template, axis=-1)
    order = [int(between.max(axis=1).argmax())]
    rest = template - template[order[0]]
    for _ in range(min(n_particles - 1, n_dims)):
        lengths = np.linalg.norm(rest, axis=1)
        lengths[order] = -1.0
        order.append(int(lengths.argmax()))
        axis = rest[order[-1]] / max(lengths[order[-1]], _SMALLEST)
        rest = rest - np.outer(rest @ axis, axis)
    others = [i for i in range(n_particles) if i not in order]
    return Frame((*order, *others), n_dims)
