"""The public attributes of a fitted autoencoder, read from its one fitted object."""

import numpy as np

from skgbnf.boosting.attributes import RoundAttributes
from skgbnf.training.fitted import FittedCombination, FittedComponent, History
from skgbnf.vae.fitted import FittedAutoencoder


class AutoencoderAttributes(RoundAttributes):
    """Mixin of the public attributes of a fitted autoencoder; all of them are read-only."""

    fitted_: FittedAutoencoder

    def _rounds(self) -> tuple[FittedCombination, History]:
        """The fitted components, and the notes on their rounds."""
        return self.fitted_.posterior, self.fitted_.history

    @property
    def encoder_(self) -> FittedComponent:
        """The encoder, its parameters as NumPy arrays."""
        return self.fitted_.encoder

    @property
    def decoder_(self) -> FittedComponent:
        """The decoder, its parameters as NumPy arrays."""
        return self.fitted_.decoder

    @property
    def location_(self) -> np.ndarray:
        """Mean of each pixel, ndarray of shape (`n_features_in_`,)."""
        return self.fitted_.space.standardisation.location

    @property
    def scale_(self) -> np.ndarray:
        """What the encoder's inputs are divided by, ndarray of shape (`n_features_in_`,).

        The standard deviation of each pixel, or one for all where the likelihood is not
        "gaussian".
        """
        return self.fitted_.space.standardisation.scale

    @property
    def image_shape_(self) -> tuple[int, ...]:
        """Shape of one row of X."""
        return self.fitted_.space.shape

    @property
    def likelihood_(self) -> str:
        """Distribution of a pixel, `likelihood` at the time of `fit`."""
        return self.fitted_.space.likelihood_name

    @property
    def n_levels_(self) -> int:
        """`n_levels` at the time of `fit`."""
        return self.fitted_.space.n_levels
