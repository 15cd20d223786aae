"""What a fitted autoencoder holds: taken from boosting, put into a file and back."""

from dataclasses import asdict, replace
from math import prod

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skgbnf.persistence import (
    FittedComponent,
    arrays_under,
    check_arrays,
    check_savable_random_state,
    components_from_state,
    components_to_state,
    plain,
)
from skgbnf.vae.boosting import PosteriorBoosting
from skgbnf.vae.likelihoods import LIKELIHOODS
from skgbnf.vae.networks import NetworkArchitecture
from skgbnf.vae.plan import likelihood_of, network_architecture
from skgbnf.vae.validation import check_parameters
from skgbnf.validation import check_choice, check_integer

_SAVED_ARRAYS = ("location_", "scale_", "estimator_weights_", "scores_")


class AutoencoderState:
    """Mixin of what a fitted autoencoder is: its attributes, and its file."""

    def _publish(self, boosting: PosteriorBoosting) -> None:
        """Turn the trained model into fitted attributes."""
        self.encoder_, self.decoder_ = (
            FittedComponent.from_module(network_architecture(self, role), module)
            for role, module in (
                ("encoder", boosting.model.encoder),
                ("decoder", boosting.model.decoder),
            )
        )
        self.estimators_ = [
            FittedComponent.from_module(boosting.architecture, component)
            for component in boosting.model.components
        ]
        self.estimator_weights_ = boosting.weights.cpu().numpy()
        self.n_estimators_ = len(self.estimators_)
        self.scores_ = np.array(boosting.scores) + likelihood_of(self).log_det
        self.n_iter_ = sum(boosting.n_iter)

    def _get_state(self) -> tuple[dict, dict[str, np.ndarray]]:
        """JSON data and arrays from which :meth:`_from_state` restores the fitted estimator."""
        check_is_fitted(self)
        check_parameters(self)
        check_savable_random_state(self.random_state)
        components, arrays = components_to_state(self.estimators_)
        networks = {"encoder": self.encoder_, "decoder": self.decoder_}
        for role, fitted in networks.items():
            arrays.update({f"{role}.{name}": array for name, array in fitted.arrays.items()})
        arrays.update({name: getattr(self, name) for name in _SAVED_ARRAYS})
        data = {
            "parameters": {k: plain(v) for k, v in self.get_params(deep=False).items()},
            "components": components,
            "networks": {role: asdict(net.architecture) for role, net in networks.items()},
            "image_shape": list(self.image_shape_),
            "likelihood": self.likelihood_,
            "n_levels": self.n_levels_,
            "n_iter": self.n_iter_,
            "feature_names": getattr(self, "feature_names_in_", np.array([])).tolist(),
        }
        return data, arrays

    @classmethod
    def _from_state(cls, data: dict, arrays: dict[str, np.ndarray]):
        """Restore a fitted estimator, checking that data and arrays fit together."""
        parameters = data["parameters"]
        for name in ("hidden_layer_sizes", "flow_hidden_layer_sizes"):
            if isinstance(parameters[name], list):
                parameters[name] = tuple(parameters[name])
        self = cls(**parameters)
        check_parameters(self)
        for name in _SAVED_ARRAYS:
            setattr(self, name, arrays[name])
        self.image_shape_ = tuple(data["image_shape"])
        self.likelihood_, self.n_levels_ = data["likelihood"], data["n_levels"]
        check_choice("the likelihood of its pixels", self.likelihood_, LIKELIHOODS)
        check_integer("the number of its levels", self.n_levels_, 2)
        self.n_iter_ = int(data["n_iter"])
        self.n_features_in_ = len(self.location_)
        self.n_estimators_ = len(data["components"])
        if data["feature_names"]:
            self.feature_names_in_ = np.array(data["feature_names"], dtype=object)
        self._check_arrays()
        self.estimators_ = components_from_state(data["components"], arrays)
        n_latents = {fitted.architecture.n_features for fitted in self.estimators_}
        self.encoder_ = _network("encoder", data["networks"], arrays, self)
        self.decoder_ = _network("decoder", data["networks"], arrays, self)
        encoder, decoder = self.encoder_.architecture, self.decoder_.architecture
        if encoder != replace(decoder, role="encoder"):
            raise ValueError("its encoder does not fit its decoder")
        n_contexts = {fitted.architecture.n_context for fitted in self.estimators_}
        if n_latents != {decoder.n_latent} or n_contexts != {encoder.hidden_layer_sizes[-1]}:
            raise ValueError("its components do not fit its encoder and decoder")
        return self

    def _check_arrays(self) -> None:
        """Raise ValueError unless the fitted arrays fit together."""
        n, d = self.n_estimators_, self.n_features_in_
        shapes = {
            "location_": (d,), "scale_": (d,), "estimator_weights_": (n,),
            "scores_": (n,),
        }  # fmt: skip
        check_arrays(self, shapes)
        weights = self.estimator_weights_
        if n < 1 or not ((weights > 0).all() and np.isclose(weights.sum(), 1.0, atol=1e-6)):
            raise ValueError("its weights are not positive or do not sum to 1")
        sizes_are_integers = all(type(size) is int and size > 0 for size in self.image_shape_)
        if not sizes_are_integers or prod(self.image_shape_) != d:
            raise ValueError("the shape of its images does not fit their number of pixels")


def _network(role: str, networks: dict, arrays: dict[str, np.ndarray], vae) -> FittedComponent:
    """An encoder or decoder from plain data, if it is one for the images of the estimator."""
    data = networks[role]
    lists = {name: tuple(data[name]) for name in ("image_shape", "hidden_layer_sizes")}
    architecture = NetworkArchitecture(**{**data, **lists})
    fits = (
        architecture.role == role
        and architecture.image_shape == vae.image_shape_
        and architecture.n_parameters == likelihood_of(vae).n_parameters
    )
    if not fits:
        raise ValueError(f"its {role} is not one for its images")
    return FittedComponent.checked(architecture, arrays_under(f"{role}.", arrays))
