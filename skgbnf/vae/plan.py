"""What an autoencoder is made of: networks and components by its parameters, its likelihood."""

from skgbnf.flows import Architecture
from skgbnf.table.standardisation import Standardisation
from skgbnf.vae.boosting import Settings
from skgbnf.vae.likelihoods import Likelihood, make_likelihood
from skgbnf.vae.networks import NetworkArchitecture
from skgbnf.validation import check_hidden_layer_sizes


def likelihood_of(vae) -> Likelihood:
    """Distribution of the pixels that an autoencoder was fitted with."""
    standardisation = Standardisation(vae.location_, vae.scale_)
    return make_likelihood(vae.likelihood_, vae.n_levels_, standardisation)


def network_architecture(vae, role: str) -> NetworkArchitecture:
    """Architecture of the "encoder" or the "decoder"."""
    return NetworkArchitecture(
        role=role,
        kind=vae.network,
        image_shape=vae.image_shape_,
        n_latent=int(vae.n_components),
        n_parameters=likelihood_of(vae).n_parameters,
        hidden_layer_sizes=check_hidden_layer_sizes(vae.hidden_layer_sizes),
        activation=vae.activation,
    )


def component_architecture(vae) -> Architecture:
    """Architecture of the components of the posterior."""
    return Architecture(
        kind=vae.flow,
        n_features=int(vae.n_components),
        n_transforms=int(vae.n_transforms),
        hidden_layer_sizes=check_hidden_layer_sizes(vae.flow_hidden_layer_sizes),
        activation=vae.activation,
        splines=None,
        n_context=check_hidden_layer_sizes(vae.hidden_layer_sizes)[-1],
    )


def training_settings(vae) -> Settings:
    """How the model is trained."""
    return Settings(
        max_iter=int(vae.max_iter),
        batch_size=int(vae.batch_size),
        learning_rate=float(vae.learning_rate_init),
        n_iter_no_change=int(vae.n_iter_no_change),
        objective=vae.objective,
        entropy_weight=float(vae.entropy_weight),
    )
