"""An aligner in files and pickles."""

from typing import Any, Self

import numpy as np

from skgbnf.alignment.domains import Domains
from skgbnf.alignment.fitted import FittedAlignment
from skgbnf.alignment.parameters import check_alignment_parameters
from skgbnf.persistence import PersistentFit


class PersistentAlignment(PersistentFit):
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

    @staticmethod
    def _fitted_from_plain(plain: dict[str, Any], *, check: bool = True) -> FittedAlignment:
        return FittedAlignment.from_plain(plain, check=check)

    @property
    def _n_fitted_features(self) -> int:
        return self.fitted_.mixture.n_features

    def to_plain(self) -> dict[str, Any]:
        """The fitted aligner as JSON values and arrays."""
        plain = super().to_plain()
        reference = self.domains_.tolist().index(self.reference_)
        return {**plain, "domains": self._domains.to_plain(), "reference": reference}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`; ValueError unless the parts fit together."""
        self = super().from_plain(plain)
        domains = Domains.from_plain(plain["domains"])
        if len(domains.labels) != len(self.fitted_.maps):
            raise ValueError("it has more or fewer domains than maps")
        if plain["reference"] not in range(len(domains.labels)):
            raise ValueError("its reference is no domain")
        self._note_domains(domains, plain["reference"])
        return self
