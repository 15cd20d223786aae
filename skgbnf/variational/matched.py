"""The density that comes of matching: scores, samples, a file."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_array

from skgbnf._random import RandomState
from skgbnf.mixture import FlowMixture
from skgbnf.persistence import (
    FittedComponent,
    components_from_state,
    components_to_state,
    persistent,
)
from skgbnf.table.checks import DTYPES
from skgbnf.validation import check_device, check_integer, score_device, seed_from


@persistent
@dataclass(frozen=True, eq=False)
class MatchedDensity:
    """A normalised mixture of flows close to an unnormalised density; see `fit_to_log_prob`.

    Attributes
    ----------
    estimators_ : list of FittedComponent
        The components, their parameters as NumPy arrays.

    estimator_weights_ : ndarray of shape (`n_estimators_`,)
        They sum to 1.

    lower_bounds_ : ndarray of shape (`n_estimators_`,)
        Evidence lower bound after each round, in nats: logarithm of the integral of what was
        matched, less the Kullback-Leibler divergence from it. The last one is after fine-tuning.

    lower_bound_error_ : float
        Standard error of the last bound, from the draws it was estimated with.

    device : str or torch.device
        Where to compute.
    """

    estimators_: list[FittedComponent]
    estimator_weights_: np.ndarray
    lower_bounds_: np.ndarray
    lower_bound_error_: float
    device: str | torch.device = field(default="cpu", repr=False)

    @property
    def n_features_in_(self) -> int:
        """Number of columns."""
        return self.estimators_[0].architecture.n_features

    @property
    def n_estimators_(self) -> int:
        """Number of components."""
        return len(self.estimators_)

    def score_samples(self, Z: ArrayLike) -> np.ndarray:
        """Log-density of each row.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_features)

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats; float32 if Z is, otherwise float64.
        """
        rows = check_array(Z, dtype=DTYPES, input_name="Z")
        n_columns, n_known = rows.shape[1], self.n_features_in_
        if n_columns != n_known:
            raise ValueError(f"Z has {n_columns} columns, but the density {n_known}.")
        z = torch.from_numpy(np.array(rows)).to(score_device(self.device))
        with torch.no_grad():
            return self._mixture(z.dtype).log_prob(z).cpu().numpy()

    def score(self, Z: ArrayLike, y: object = None) -> float:
        """Mean of :meth:`score_samples`, in nats, higher is better; `y` is ignored."""
        return float(np.mean(self.score_samples(Z), dtype=np.float64))

    def sample(self, n_samples: int = 1, random_state: RandomState = None) -> np.ndarray:
        """Draw rows.

        Parameters
        ----------
        n_samples : int, default=1

        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features)
            float64, in random order.
        """
        check_integer("n_samples", n_samples, 1)
        mixture = self._mixture(torch.float64)
        return mixture.sample(int(n_samples), seed_from(random_state)).cpu().numpy()

    def _get_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON data and arrays from which :meth:`_from_state` restores the density."""
        components, arrays = components_to_state(self.estimators_)
        arrays.update(weights=self.estimator_weights_, bounds=self.lower_bounds_)
        data = {
            "components": components,
            "error": self.lower_bound_error_,
            "device": str(self.device),
        }
        return data, arrays

    @classmethod
    def _from_state(cls, data: dict[str, Any], arrays: dict[str, np.ndarray]) -> "MatchedDensity":
        """Restore a density, checking that data and arrays fit together."""
        check_device(data["device"])
        weights, bounds = arrays["weights"], arrays["bounds"]
        n_components = len(data["components"])
        if not n_components or {weights.shape, bounds.shape} != {(n_components,)}:
            raise ValueError("it has more or fewer weights or bounds than components")
        if not ((weights > 0).all() and np.isclose(weights.sum(), 1.0, atol=1e-6)):
            raise ValueError("its weights are not positive or do not sum to 1")
        components = components_from_state(data["components"], arrays)
        if any(fitted.architecture.n_context for fitted in components):
            raise ValueError("one of its components needs a context")
        if len({fitted.architecture.n_features for fitted in components}) != 1:
            raise ValueError("its components have different numbers of columns")
        return cls(components, weights, bounds, float(data["error"]), data["device"])

    def _mixture(self, dtype: torch.dtype) -> FlowMixture:
        device = score_device(self.device)
        components = [fitted.module(dtype, device) for fitted in self.estimators_]
        weights = torch.tensor(self.estimator_weights_, device=device, dtype=dtype)
        return FlowMixture(components, weights)
