"""Distributions of one target given features: integrals of their densities."""

from functools import cached_property
from typing import Any

import numpy as np
import torch

from skgbnf.estimators.conditions import Condition
from skgbnf.estimators.quadrature import Quadrature
from skgbnf.table.coordinates import Coordinates
from skgbnf.training.mixture import Combination, given_to

_MOST_NODES = 123
_MOST_WEIGHT = 0.95
_NORMAL_QUANTILES = np.linspace(-5.0, 5.0, 41)
_FIXED = np.sinh(np.linspace(-7.0, 7.0, 57))


class Marginals:
    """Distributions of a target, one for each condition.

    Each density is integrated between nodes: quantiles of components, so that there are many where
    there is mass, and fixed ones that reach far into the tails.

    Parameters
    ----------
    combination : Combination
        Of residuals of one target.

    condition : Condition
        Of few samples; see `rows_at_once`.

    coordinates : Coordinates

    device : torch.device
    """

    rows_at_once = 200

    def __init__(
        self,
        combination: Combination,
        condition: Condition,
        coordinates: Coordinates,
        device: torch.device,
    ) -> None:
        self._combination, self._condition = combination, condition
        self._coordinates, self._device = coordinates, device

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, each of shape (n_samples,)."""
        points, masses = self._quadrature.points, self._quadrature.masses
        values = self._in_units(points.reshape(len(points), -1)).reshape(points.shape)
        mean = (masses * values).sum(axis=(1, 2))
        squares = np.square(values - mean[:, None, None])
        return mean, np.sqrt((masses * squares).sum(axis=(1, 2)))

    def quantiles(self, shares: np.ndarray) -> np.ndarray:
        """Quantiles of shape (n_samples, n_shares), between 0 and 1."""
        return self._in_units(self._quadrature.quantiles(shares))

    def cdf(self, y: np.ndarray) -> np.ndarray:
        """Probability of values up to `y`, of shape (n_samples,)."""
        Z, _ = self._coordinates.transform(y[:, None])
        U, _ = self._condition.residuals(Z)
        return self._quadrature.cdf(U)[:, 0]

    def _density(self, U: np.ndarray) -> np.ndarray:
        """Density of residuals of shape (n_samples, n_values), the context once for each sample."""
        x = torch.from_numpy(np.ascontiguousarray(U.T)[:, :, None]).to(self._device)
        log_probs = [
            self._distribution(component).log_prob(x) for component in self._combination.components
        ]
        weights = self._combination.weights[-1]
        combined = torch.logsumexp(torch.stack(log_probs, dim=-1) + weights.log(), dim=-1)
        return combined.exp().nan_to_num(0.0).cpu().numpy().T

    def _in_units(self, U: np.ndarray) -> np.ndarray:
        """Residuals of shape (n_samples, n_values) in the units of the target."""
        Z = self._condition.restored(U)
        return self._coordinates.inverse_transform(Z.reshape(-1, 1)).reshape(U.shape)

    @cached_property
    def _quadrature(self) -> Quadrature:
        return Quadrature.between(self._nodes(), self._density)

    def _nodes(self) -> np.ndarray:
        """Ends of intervals to begin with, ascending, of shape (n_samples, n_nodes)."""
        n = len(self._condition)
        placed = [_quantiles(distribution, n) for distribution in self._heaviest()]
        own = np.sort(np.nan_to_num(np.concatenate(placed, axis=1)), axis=1)
        if own.shape[1] > _MOST_NODES:
            own = own[:, np.linspace(0, own.shape[1] - 1, _MOST_NODES).astype(int)]
        fixed = np.broadcast_to(_FIXED, (n, len(_FIXED)))
        return np.sort(np.concatenate([own, fixed], axis=1), axis=1)

    def _heaviest(self) -> list[Any]:
        """Distributions of the components that have most of the weight."""
        weights, order = self._combination.weights[-1].sort(descending=True)
        before = (weights.cumsum(0) - weights).tolist()
        pairs = zip(order.tolist(), before, strict=True)
        kept = [k for k, share in pairs if share < _MOST_WEIGHT]
        return [self._distribution(self._combination.components[k]) for k in kept]

    def _distribution(self, component: Any) -> Any:
        return component(given_to(component, self._context))

    @cached_property
    def _context(self) -> torch.Tensor:
        return self._condition.tensor(np.float64, self._device)


def _quantiles(distribution: Any, n_samples: int) -> np.ndarray:
    """Values spread over where a component has its mass, of shape (n_samples, n_values).

    They need not be its quantiles, and are the same whatever other samples there are.
    """
    if hasattr(distribution, "transform"):
        z = torch.from_numpy(_quantiles(distribution.base, n_samples).T.copy())[..., None]
        return distribution.transform.inv(z)[..., 0].cpu().numpy().T
    # Gaussians, or what has a place and a scale.
    parts = getattr(distribution, "base", distribution)
    loc = getattr(parts, "loc", None)
    factor = getattr(parts, "scale_tril", getattr(parts, "factor", None))
    if loc is None or factor is None:
        return np.broadcast_to(_NORMAL_QUANTILES, (n_samples, len(_NORMAL_QUANTILES)))
    z = torch.from_numpy(_NORMAL_QUANTILES)
    values = loc + factor[..., 0] * z
    values = values.reshape(-1) if loc.dim() < 3 else values.reshape(n_samples, -1)
    return np.broadcast_to(values.cpu().numpy(), (n_samples, values.shape[-1]))
