"""An autoencoder in files and pickles."""

from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skgbnf._device import device_name
from skgbnf.persistence import (
    PersistentEstimator,
    from_parameters,
    note_features,
    parameters_to_plain,
)
from skgbnf.vae.fitted import FittedAutoencoder
from skgbnf.vae.parameters import check_vae_parameters


class PersistentAutoencoder(PersistentEstimator):
    """Mixin of what files and pickles need of an autoencoder."""

    fitted_: FittedAutoencoder
    device: Any

    def _check_parameters(self) -> None:
        """Raise ValueError or TypeError unless every constructor parameter is in its range."""
        check_vae_parameters(self)

    def to_plain(self) -> dict[str, Any]:
        """The fitted estimator as JSON values and arrays."""
        check_is_fitted(self)
        self._check_parameters()
        names = getattr(self, "feature_names_in_", np.array([])).tolist()
        parameters, fitted = parameters_to_plain(self), self.fitted_.to_plain()
        return {"parameters": parameters, "fitted": fitted, "feature_names": names}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`; ValueError unless the parts fit together."""
        self = from_parameters(cls, plain["parameters"])
        self.fitted_ = FittedAutoencoder.from_plain(plain["fitted"])
        note_features(self, self.fitted_.space.n_pixels, plain["feature_names"])
        return self

    def __getstate__(self) -> dict[str, Any]:
        """State for pickles, copies and skops: plain, so that skops has nothing to trust in it."""
        state = dict(super().__getstate__())  # type: ignore[call-overload]
        if "fitted_" in state:
            state["fitted_"] = self.fitted_.to_plain()
        return {**state, "device": device_name(self.device)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "fitted_" in state:
            fitted = FittedAutoencoder.from_plain(state["fitted_"], check=False)
            state = {**state, "fitted_": fitted}
        super().__setstate__(state)  # type: ignore[misc]
