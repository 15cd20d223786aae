"""A density of configurations in files and pickles."""

from typing import Any

from skgbnf.particles.fitted import FittedParticles, fitted_from_plain
from skgbnf.particles.parameters import check_parameters
from skgbnf.persistence import PersistentFit


class PersistentParticles(PersistentFit):
    """Mixin of what files and pickles need of a density of configurations."""

    fitted_: FittedParticles
    device: Any

    def _check_parameters(self) -> None:
        """Raise ValueError or TypeError unless every constructor parameter is in its range."""
        check_parameters(self)

    @staticmethod
    def _fitted_from_plain(plain: dict[str, Any], *, check: bool = True) -> FittedParticles:
        return fitted_from_plain(plain, check=check)

    @property
    def _n_fitted_features(self) -> int:
        return self.fitted_.space.n_features
