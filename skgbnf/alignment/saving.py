"""An aligner in files and pickles."""

from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skgbnf.alignment.domains import Domains
from skgbnf.alignment.fitted import FittedAlignment
from skgbnf.alignment.parameters import check_alignment_parameters
from skgbnf.persistence import (
    PersistentEstimator,
    from_parameters,
    note_features,
    parameters_to_plain,
)


class PersistentAlignment(PersistentEstimator):
    """Mixin of what files and pickles need of an aligner."""

    fitted_: FittedAlignment
    domains_: np.ndarray
    reference_: Any

    def _check_parameters(self) -> None:
        """Raise ValueError or TypeError unless every constructor parameter is in its range."""
        check_alignment_parameters(self)

    @property
    def layers_(self) -> list[tuple[str, ...]]:
        """Layers of the map of each domain."""
        return [fitted.architecture.layers for fitted in self.fitted_.maps]

    @property
    def component_weights_(self) -> np.ndarray:
        """Weights of the components of the shared density in each domain."""
        return self.fitted_.weights

    @property
    def _domains(self) -> Domains:
        return Domains(self.domains_)

    def _note_domains(self, domains: Domains, reference: int) -> None:
        self.domains_ = domains.labels
        self.reference_ = domains.labels.tolist()[reference]

    def to_plain(self) -> dict[str, Any]:
        """The fitted aligner as JSON values and arrays."""
        check_is_fitted(self, "fitted_")
        self._check_parameters()
        return {
            "parameters": parameters_to_plain(self),
            "fitted": self.fitted_.to_plain(),
            "domains": self._domains.to_plain(),
            "reference": self.domains_.tolist().index(self.reference_),
            "feature_names": getattr(self, "feature_names_in_", np.array([])).tolist(),
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`; ValueError unless the parts fit together."""
        self = from_parameters(cls, plain["parameters"])
        self.fitted_ = FittedAlignment.from_plain(plain["fitted"])
        domains = Domains.from_plain(plain["domains"])
        if len(domains.labels) != len(self.fitted_.maps):
            raise ValueError("it has more or fewer domains than maps")
        if plain["reference"] not in range(len(domains.labels)):
            raise ValueError("its reference is no domain")
        self._note_domains(domains, plain["reference"])
        note_features(self, self.fitted_.mixture.n_features, plain["feature_names"])
        return self

    def __getstate__(self) -> dict[str, Any]:
        """State for pickles and copies: plain, so that they name no module of this package."""
        state = dict(super().__getstate__())  # type: ignore[call-overload]
        if "fitted_" in state:
            state["fitted_"] = self.fitted_.to_plain()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "fitted_" in state:
            fitted = FittedAlignment.from_plain(state["fitted_"], check=False)
            state = {**state, "fitted_": fitted}
        super().__setstate__(state)  # type: ignore[misc]
