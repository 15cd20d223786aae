"""Parameters of the autoencoder checked, and a fitted one as plain data and arrays, and back."""

import math
from dataclasses import asdict
from math import prod

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from skgbnf.elbo import BOUNDS
from skgbnf.flows import ACTIVATIONS, INVERTIBLE_FAMILIES
from skgbnf.persistence import (
    FittedComponent,
    arrays_under,
    check_arrays,
    check_savable_random_state,
    components_from_state,
    components_to_state,
    plain,
)
from skgbnf.vae.likelihoods import LIKELIHOODS
from skgbnf.vae.networks import NETWORKS, NetworkArchitecture
from skgbnf.vae.plan import network_architecture
from skgbnf.validation import (
    check_choice,
    check_device,
    check_hidden_layer_sizes,
    check_integer,
    check_real,
)

_SAVED_ARRAYS = ("location_", "scale_", "estimator_weights_", "scores_")


def check_parameters(estimator) -> None:
    """Raise unless every constructor parameter is in its range."""
    check_integer("n_components", estimator.n_components, 1)
    check_integer("n_estimators", estimator.n_estimators, 1)
    check_choice("flow", estimator.flow, INVERTIBLE_FAMILIES)
    check_integer("n_transforms", estimator.n_transforms, 1)
    check_choice("likelihood", estimator.likelihood, LIKELIHOODS)
    check_integer("n_levels", estimator.n_levels, 2)
    check_choice("network", estimator.network, NETWORKS)
    check_hidden_layer_sizes(estimator.hidden_layer_sizes)
    check_hidden_layer_sizes(estimator.flow_hidden_layer_sizes, "flow_hidden_layer_sizes")
    check_choice("activation", estimator.activation, tuple(ACTIVATIONS))
    check_choice("objective", estimator.objective, tuple(BOUNDS))
    check_real("entropy_weight", estimator.entropy_weight, 0, math.inf, open_low=True)
    for name in ("max_iter", "batch_size", "n_iter_no_change"):
        check_integer(name, getattr(estimator, name), 1)
    check_integer("fine_tune", estimator.fine_tune, 0)
    check_real("learning_rate_init", estimator.learning_rate_init, 0, math.inf, open_low=True)
    if estimator.validation_fraction is not None:
        check_real("validation_fraction", estimator.validation_fraction, 0, 1, open_low=False)
    check_device(estimator.device)
    if not isinstance(estimator.verbose, bool | np.bool_):
        check_integer("verbose", estimator.verbose, 0)


class AutoencoderState:
    """Mixin of the file of a fitted autoencoder."""

    def _get_state(self) -> tuple[dict, dict[str, np.ndarray]]:
        """JSON data and arrays from which :meth:`_from_state` restores the fitted estimator."""
        check_is_fitted(self)
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
        self.n_iter_ = int(data["n_iter"])
        self.n_features_in_ = len(self.location_)
        self.n_estimators_ = len(data["components"])
        if data["feature_names"]:
            self.feature_names_in_ = np.array(data["feature_names"], dtype=object)
        self._check_arrays()
        self.estimators_ = components_from_state(data["components"], arrays)
        n_latents = {fitted.architecture.n_features for fitted in self.estimators_}
        self.encoder_ = _network(data["networks"]["encoder"], arrays, self)
        self.decoder_ = _network(data["networks"]["decoder"], arrays, self)
        n_context = self.encoder_.architecture.hidden_layer_sizes[-1]
        if n_latents != {self.decoder_.architecture.n_latent} or any(
            fitted.architecture.n_context != n_context for fitted in self.estimators_
        ):
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


def _network(data: dict, arrays: dict[str, np.ndarray], estimator) -> FittedComponent:
    """An encoder or decoder from plain data, if it is that of the estimator."""
    lists = {name: tuple(data[name]) for name in ("image_shape", "hidden_layer_sizes")}
    architecture = NetworkArchitecture(**{**data, **lists})
    role = architecture.role
    if architecture != network_architecture(estimator, role):
        raise ValueError(f"its {role} is not what its parameters say")
    own = arrays_under(f"{role}.", arrays)
    if not all(np.isfinite(array).all() for array in own.values()):
        raise ValueError(f"a parameter of its {role} is not finite")
    largest = max((array.size for array in own.values()), default=0)
    sizes = (*architecture.hidden_layer_sizes, architecture.n_latent, estimator.n_features_in_)
    if max(sizes) > largest:
        raise ValueError(f"the sizes of its {role} do not fit its arrays")
    fitted = FittedComponent(architecture, own)
    fitted.to_module(torch.float32, "cpu")
    return fitted
