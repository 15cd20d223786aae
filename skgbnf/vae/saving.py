"""An autoencoder in files and pickles."""

from typing import Any

from skgbnf.persistence import PersistentFit
from skgbnf.vae.fitted import FittedAutoencoder
from skgbnf.vae.parameters import check_vae_parameters


class PersistentAutoencoder(PersistentFit):
    """Mixin of what files and pickles need of an autoencoder."""

    fitted_: FittedAutoencoder
    device: Any

    def _check_parameters(self) -> None:
        """Raise ValueError or TypeError unless every constructor parameter is in its range."""
        check_vae_parameters(self)

    @staticmethod
    def _fitted_from_plain(plain: dict[str, Any], *, check: bool = True) -> FittedAutoencoder:
        return FittedAutoencoder.from_plain(plain, check=check)

    @property
    def _n_fitted_features(self) -> int:
        return self.fitted_.space.n_pixels
