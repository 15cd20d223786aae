"""Invertible maps of one domain each: layers by name, all of which start at the identity."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn
from zuko.lazy import LazyTransform

from skgbnf.flows.actnorm import ActNorm
from skgbnf.flows.layers import bounded, coupling, element_wise, spline
from skgbnf.flows.linear import ExactLinear

_HIDDEN = (32, 32)
_MOST_LAYERS = 100
_RIDGE = 1e-6


def _scale(n_features: int) -> list[LazyTransform]:
    return [ActNorm(n_features)]


def _columns(n_features: int) -> list[LazyTransform]:
    layer = spline(element_wise, n_features, 0, scale_clamp=None)
    nn.init.zeros_(layer.phi[0])
    return [layer]


def _linear(n_features: int) -> list[LazyTransform]:
    return [ExactLinear(n_features, permute=False)]


def _coupling(n_features: int) -> list[LazyTransform]:
    if n_features == 1:
        return []
    make = partial(spline, coupling, n_features, scale_clamp=None, hidden_features=_HIDDEN)
    return [bounded(_from_identity(make(i))) for i in range(2)]


def _from_identity(layer: Any) -> Any:
    """Let a coupling whose network has not learned anything be the identity."""
    nn.init.zeros_(layer.hyper[-1].bias)
    nn.init.zeros_(layer.hyper[-1].weight)
    return layer


LAYERS: dict[str, Callable[[int], list[LazyTransform]]] = {
    "scale": _scale,
    "columns": _columns,
    "linear": _linear,
    "coupling": _coupling,
}
"""Makers of layers for so many columns, the identity until they are trained."""


class DomainMap(nn.Module):
    """An invertible map that is a chain of layers.

    Parameters
    ----------
    layers : sequence of LazyTransform
        In the order in which they are applied.
    """

    def __init__(self, layers: Sequence[LazyTransform]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images, log-determinants, and how far samples are moved.

        Parameters
        ----------
        x : Tensor of shape (n_samples, n_features)

        Returns
        -------
        y : Tensor of shape (n_samples, n_features)

        log_det : Tensor of shape (n_samples,)

        move : Tensor of shape (n_samples,)
            Sum over the layers of their squared distances, but for shifts and scales of columns.
        """
        log_det = move = x.new_zeros(len(x))
        for layer in self.layers:
            y, added = layer().call_and_ladj(x)
            if not isinstance(layer, ActNorm):
                move = move + (y - x).square().sum(-1)
            x, log_det = y, log_det + added
        return x, log_det, move

    def inverse(self, y: Tensor) -> Tensor:
        """The samples whose images are given."""
        for layer in reversed(self.layers):
            y = layer().inv(y)
        return y


@torch.no_grad()
def match_moments(layer: Any, x: Tensor, mean: Tensor, covariance: Tensor) -> None:
    """Set a layer so that samples have a mean, and variances or a covariance, after it.

    Of the linear maps that do so, that of "linear" moves samples least [1]_.

    Parameters
    ----------
    layer : ActNorm or ExactLinear
        The identity.

    x : Tensor of shape (n_samples, n_features)

    mean : Tensor of shape (n_features,)

    covariance : Tensor of shape (n_features, n_features)

    References
    ----------
    .. [1] On the Monge-Kantorovich Problem for Multivariate Normals. C. R. Givens, R. M. Shortt,
       1984. https://doi.org/10.1307/mmj/1029003026
    """
    location = x.mean(0)
    spread = (x - location).T @ (x - location) / len(x)
    spread = spread + _RIDGE * torch.eye(len(mean), dtype=x.dtype)
    if isinstance(layer, ActNorm):
        scale = (covariance.diagonal() / spread.diagonal()).sqrt()
        layer.log_scale.copy_(scale.log())
        layer.bias.copy_(mean - scale * location)
        return
    root = _power(spread, 0.5)
    back = _power(spread, -0.5)
    matrix = back @ _power(root @ covariance @ root, 0.5) @ back
    layer.offset.copy_(matrix - torch.eye(len(mean), dtype=x.dtype))
    layer.bias.copy_(mean - matrix @ location)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """Power of a symmetric, positive matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=_RIDGE).pow(exponent)) @ vectors.T


@dataclass(frozen=True)
class MapArchitecture:
    """What is needed to build a map anew, apart from its parameters.

    Attributes
    ----------
    n_features : int
        Number of columns.

    layers : tuple of str
        Names among `LAYERS`, in the order in which they are applied.
    """

    n_features: int
    layers: tuple[str, ...] = ()

    def build(self) -> DomainMap:
        """Build the map, the identity; networks take their parameters from torch's generator."""
        return DomainMap([layer for name in self.layers for layer in LAYERS[name](self.n_features)])

    def check(self, array_sizes: Sequence[int]) -> None:
        """Raise ValueError unless arrays of these sizes can be the map's."""
        if not set(self.layers) <= LAYERS.keys() or len(self.layers) > _MOST_LAYERS:
            raise ValueError(f"it has layers that are not known, or too many: {self.layers}")
        if self.layers and sum(array_sizes) < self.n_features:
            raise ValueError("a map has fewer numbers than columns")

    def to_plain(self) -> dict[str, Any]:
        """The fields as JSON knows them."""
        return {"n_features": self.n_features, "layers": list(self.layers)}

    @classmethod
    def from_plain(cls, fields: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`."""
        return cls(int(fields["n_features"]), tuple(map(str, fields["layers"])))


def number_of_parameters(module: nn.Module) -> int:
    """How many numbers a module learns."""
    return sum(parameter.numel() for parameter in module.parameters())


def in_double(architecture: MapArchitecture) -> DomainMap:
    """An untrained map in double precision."""
    return architecture.build().to(torch.float64)
