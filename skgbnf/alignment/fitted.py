"""A fitted alignment: one map a domain, and the density that they share."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from skgbnf.alignment.maps import DomainMap, MapArchitecture
from skgbnf.alignment.shared import on_cpu
from skgbnf.table.standardisation import Standardisation
from skgbnf.training.fitted import FittedComponent, FittedMixture, combination_from_plain
from skgbnf.training.mixture import Mixture, mixture_log_prob


@dataclass(frozen=True, eq=False)
class FittedAlignment:
    """All that a fit found out about several domains.

    Attributes
    ----------
    standardisation : Standardisation
        Of the reference domain. Maps and mixture live in its units, the shared space does not.

    maps : tuple of FittedComponent
        One for each domain.

    mixture : FittedMixture
        The shared density.

    weights : ndarray of shape (n_domains, n_components)
        Weights that its components have in each domain.
    """

    standardisation: Standardisation
    maps: tuple[FittedComponent, ...]
    mixture: FittedMixture
    weights: np.ndarray

    def __post_init__(self) -> None:
        n_features, shape = self.mixture.n_features, (len(self.maps), len(self.mixture.components))
        if self.weights.shape != shape or not np.allclose(self.weights.sum(axis=1), 1.0):
            raise ValueError("it has weights for other domains or components than it has")
        columns = {fitted.architecture.n_features for fitted in self.maps}
        if columns != {n_features} or self.standardisation.location.shape != (n_features,):
            raise ValueError("its maps, its density and its units are of different columns")

    def transform(self, X: np.ndarray, k: int) -> np.ndarray:
        """Samples of domain `k` in the shared space, of shape (n_samples, n_features)."""
        with torch.no_grad():
            y = self._map(k)(self._standardised(X))[0]
        return self.standardisation.inverse_transform(y.numpy())

    def inverse_transform(self, Z: np.ndarray, k: int) -> np.ndarray:
        """Samples of domain `k` whose images are given."""
        with torch.no_grad():
            x = self._map(k).inverse(self._standardised(Z))
        return self.standardisation.inverse_transform(x.numpy())

    def log_density(self, X: np.ndarray, k: int) -> np.ndarray:
        """Log-density of domain `k` in nats, in its own units, of shape (n_samples,)."""
        with torch.no_grad():
            y, log_det, _ = self._map(k)(self._standardised(X))
            log_probs = on_cpu(self.mixture).component_log_prob(y)
            values = mixture_log_prob(log_probs, torch.from_numpy(self.weights[k]).log()) + log_det
        return values.numpy() + self.standardisation.log_det

    def sample(self, n_samples: int, k: int, seed: int) -> np.ndarray:
        """Samples of domain `k`, of shape (n_samples, n_features)."""
        components = on_cpu(self.mixture).components
        mixture = Mixture(components, torch.from_numpy(self.weights[k]))
        with torch.no_grad():
            x = self._map(k).inverse(mixture.sample(n_samples, seed))
        return self.standardisation.inverse_transform(x.numpy())

    def _map(self, k: int) -> DomainMap:
        module: DomainMap = self.maps[k].module(torch.float64, "cpu")
        return module

    def _standardised(self, X: np.ndarray) -> Tensor:
        return torch.from_numpy(self.standardisation.transform(X.astype(np.float64)))

    def to_plain(self) -> dict[str, Any]:
        """The alignment as plain values and arrays."""
        return {
            "location": self.standardisation.location,
            "scale": self.standardisation.scale,
            "maps": [fitted.to_plain() for fitted in self.maps],
            "mixture": self.mixture.to_plain(),
            "weights": self.weights,
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any], *, check: bool = True) -> Self:
        """Inverse of :meth:`to_plain`.

        Parameters
        ----------
        plain : dict

        check : bool, default=True
            Whether arrays are compared with what they belong to, as those of a file must be.

        Raises
        ------
        ValueError
            If the parts do not fit together.
        """
        mixture = combination_from_plain(plain["mixture"], check=check)
        if not isinstance(mixture, FittedMixture) or mixture.n_context:
            raise ValueError("its density is no mixture, or needs a context")
        maps = tuple(
            FittedComponent.from_plain(one, MapArchitecture.from_plain) for one in plain["maps"]
        )
        if check:
            for fitted in maps:
                fitted.check()
        units = Standardisation(plain["location"], plain["scale"])
        if not (np.isfinite(units.location).all() and (units.scale > 0).all()):
            raise ValueError("its units are not finite")
        return cls(units, maps, mixture, plain["weights"])
