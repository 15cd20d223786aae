"""Checks of the parameters of the autoencoder."""

import math

from skgbnf.elbo import BOUNDS
from skgbnf.flows import ACTIVATIONS, INVERTIBLE_FAMILIES
from skgbnf.vae.likelihoods import LIKELIHOODS
from skgbnf.vae.networks import NETWORKS
from skgbnf.validation import (
    MOST_TRANSFORMS,
    MOST_UNITS,
    check_choice,
    check_device,
    check_hidden_layer_sizes,
    check_integer,
    check_real,
    check_verbose,
)


def check_parameters(vae) -> None:
    """Raise unless every constructor parameter is in its range."""
    check_integer("n_components", vae.n_components, 1, MOST_UNITS)
    check_integer("n_estimators", vae.n_estimators, 1)
    check_choice("flow", vae.flow, INVERTIBLE_FAMILIES)
    check_integer("n_transforms", vae.n_transforms, 1, MOST_TRANSFORMS)
    check_choice("likelihood", vae.likelihood, LIKELIHOODS)
    check_integer("n_levels", vae.n_levels, 2)
    check_choice("network", vae.network, NETWORKS)
    check_hidden_layer_sizes(vae.hidden_layer_sizes)
    check_hidden_layer_sizes(vae.flow_hidden_layer_sizes, "flow_hidden_layer_sizes")
    check_choice("activation", vae.activation, tuple(ACTIVATIONS))
    check_choice("objective", vae.objective, tuple(BOUNDS))
    check_real("entropy_weight", vae.entropy_weight, 0, math.inf, open_low=True)
    for name in ("max_iter", "batch_size", "n_iter_no_change"):
        check_integer(name, getattr(vae, name), 1)
    check_integer("fine_tune", vae.fine_tune, 0)
    check_real("learning_rate_init", vae.learning_rate_init, 0, math.inf, open_low=True)
    if vae.validation_fraction is not None:
        check_real("validation_fraction", vae.validation_fraction, 0, 1, open_low=False)
    check_device(vae.device)
    check_verbose(vae.verbose)
