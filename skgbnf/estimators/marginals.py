"""Distributions of one target given features: integrals of their densities."""

from functools import cached_property

import numpy as np
import torch

from skgbnf.estimators.conditions import Condition
from skgbnf.table.coordinates import Coordinates
from skgbnf.training.mixture import Combination

_N_DRAWS = 48
_FIXED = np.sinh(np.linspace(-7.0, 7.0, 57))
_GAUSS_NODES, _GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(3)
_TINY = 1e-300


class Marginals:
    """Distributions of a target, one for each condition.

    Each density is integrated by Gauss-Legendre quadrature between nodes: draws, so that there are
    many where there is mass, and fixed ones that reach far into the tails.

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
        points, masses = self._points
        values = self._in_units(points.reshape(len(points), -1)).reshape(points.shape)
        mean = (masses * values).sum(axis=(1, 2))
        squares = np.square(values - mean[:, None, None])
        return mean, np.sqrt((masses * squares).sum(axis=(1, 2)))

    def quantiles(self, shares: np.ndarray) -> np.ndarray:
        """Quantiles of shape (n_samples, n_shares), between 0 and 1."""
        nodes, cumulative = self._nodes, self._cumulative
        found = np.empty((len(nodes), len(shares)))
        for i, (own, masses) in enumerate(zip(nodes, cumulative, strict=True)):
            k = np.searchsorted(masses, shares).clip(1, len(own) - 1)
            low, high = masses[k - 1], masses[k]
            part = (shares - low) / np.maximum(high - low, _TINY)
            found[i] = own[k - 1] + part.clip(0.0, 1.0) * (own[k] - own[k - 1])
        for _ in range(3):
            found = self._improved(found, shares)
        return self._in_units(found)

    def cdf(self, y: np.ndarray) -> np.ndarray:
        """Probability of values up to `y`, of shape (n_samples,)."""
        Z, _ = self._coordinates.transform(y[:, None])
        U, _ = self._condition.residuals(Z)
        return self._cdf(U)[:, 0]

    def _improved(self, U: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """Quantiles after a step of Newton's method that stays between the nodes around them."""
        k = self._interval(U)
        low = np.take_along_axis(self._nodes, k - 1, axis=1)
        high = np.take_along_axis(self._nodes, k, axis=1)
        step = (self._cdf(U) - shares) / np.maximum(self._density(U), _TINY)
        return np.clip(U - step, low, high)

    def _cdf(self, U: np.ndarray) -> np.ndarray:
        """Probability of residuals up to `U`, of shape (n_samples, n_values)."""
        k = self._interval(U)
        low = np.take_along_axis(self._nodes, k - 1, axis=1)
        high = np.take_along_axis(self._nodes, k, axis=1)
        before = np.take_along_axis(self._cumulative, k - 1, axis=1)
        inside = U.clip(low, high)
        half = (inside - low) / 2
        points = low[..., None] + half[..., None] * (1 + _GAUSS_NODES)
        densities = self._density(points.reshape(len(U), -1)).reshape(points.shape)
        return (before + half * (densities @ _GAUSS_WEIGHTS) / self._total[:, None]).clip(0.0, 1.0)

    def _interval(self, U: np.ndarray) -> np.ndarray:
        """Number of the node at the end of the interval that each residual lies in."""
        k = (self._nodes[:, None, :] < U[:, :, None]).sum(axis=2)
        return k.clip(1, self._nodes.shape[1] - 1)

    def _density(self, U: np.ndarray) -> np.ndarray:
        """Density of residuals of shape (n_samples, n_values), the context once for each sample."""
        x = torch.from_numpy(np.ascontiguousarray(U.T)[:, :, None]).to(self._device)
        context = self._condition.tensor(np.float64, self._device)
        log_probs = [
            component(context if getattr(component, "n_context", 1) else None).log_prob(x)
            for component in self._combination.components
        ]
        weights = self._combination.weights[-1]
        combined = torch.logsumexp(torch.stack(log_probs, dim=-1) + weights.log(), dim=-1)
        return combined.exp().nan_to_num(0.0).cpu().numpy().T

    def _in_units(self, U: np.ndarray) -> np.ndarray:
        """Residuals of shape (n_samples, n_values) in the units of the target."""
        condition = self._condition
        Z = condition.mean + np.exp(condition.log_spread) * U
        return self._coordinates.inverse_transform(Z.reshape(-1, 1)).reshape(U.shape)

    @cached_property
    def _nodes(self) -> np.ndarray:
        """Ends of the intervals, ascending, of shape (n_samples, n_nodes)."""
        many = self._condition.repeated(_N_DRAWS)
        context = many.tensor(np.float64, self._device)
        drawn = self._combination.sample(len(many), 0, context).cpu().numpy()
        drawn = np.nan_to_num(drawn.reshape(len(self._condition), _N_DRAWS))
        fixed = np.broadcast_to(_FIXED, (len(drawn), len(_FIXED)))
        return np.sort(np.concatenate([drawn, fixed], axis=1), axis=1)

    @cached_property
    def _points(self) -> tuple[np.ndarray, np.ndarray]:
        """Points of the quadrature, (n_samples, n_intervals, n_points), and their masses."""
        points, masses, total = self._integrated
        return points, masses / total[:, None, None]

    @cached_property
    def _integrated(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        half = np.diff(self._nodes, axis=1)[..., None] / 2
        points = self._nodes[:, :-1, None] + half * (1 + _GAUSS_NODES)
        densities = self._density(points.reshape(len(points), -1)).reshape(points.shape)
        masses = half * _GAUSS_WEIGHTS * densities
        return points, masses, np.maximum(masses.sum(axis=(1, 2)), _TINY)

    @property
    def _total(self) -> np.ndarray:
        """Integrals over all intervals, 1 but for errors of the quadrature."""
        return self._integrated[2]

    @cached_property
    def _cumulative(self) -> np.ndarray:
        """Probabilities up to each node."""
        sums = np.cumsum(self._points[1].sum(axis=2), axis=1)
        return np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)
