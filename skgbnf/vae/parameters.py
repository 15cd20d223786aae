"""Parameters of the autoencoder: declared, checked, and turned into what is to be done."""

from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch

from skgbnf._checks import (
    MOST_UNITS,
    Check,
    check_choice,
    check_count,
    check_fraction,
    check_hidden_layer_sizes,
    check_integer,
    or_none,
)
from skgbnf._random import derive_seed, own_generator
from skgbnf.boosting.base import Limits
from skgbnf.flows import Architecture
from skgbnf.training.objective import TrainingSettings
from skgbnf.training.progress import Progress
from skgbnf.vae.boosting import PosteriorBoosting
from skgbnf.vae.images import ImageSpace
from skgbnf.vae.likelihoods import LIKELIHOODS
from skgbnf.vae.model import Images, LatentModel
from skgbnf.vae.networks import NETWORKS, Decoder, NetworkArchitecture
from skgbnf.variational.parameters import SHARED_CHECKS

_NETWORKS_KEY, _ROUNDS_KEY = 1, 2


@dataclass(frozen=True, eq=False)
class AutoencoderPlan:
    """What a fit is to do.

    Attributes
    ----------
    encoder, decoder : NetworkArchitecture

    component : Architecture
        Of the components of the posterior.

    settings : TrainingSettings

    limits : Limits

    objective : {"greedy", "gradient"}

    entropy_weight : float
    """

    encoder: NetworkArchitecture
    decoder: NetworkArchitecture
    component: Architecture
    settings: TrainingSettings
    limits: Limits
    objective: str
    entropy_weight: float

    def start(
        self, train: Images, validation: Images, space: ImageSpace, seed: int
    ) -> PosteriorBoosting:
        """A boosting without rounds, its decoder at the mean of the training images."""
        device, likelihood = train.inputs.device, space.likelihood
        with own_generator(derive_seed(seed, _NETWORKS_KEY)):
            encoder, decoder = (net.build().to(device) for net in (self.encoder, self.decoder))
        with torch.no_grad():
            cast(Decoder, decoder).offset.copy_(likelihood.start(train.targets))
        return PosteriorBoosting(
            model=LatentModel(encoder, decoder, [], likelihood),
            train=train,
            validation=validation,
            architecture=self.component,
            settings=self.settings,
            objective=self.objective,
            entropy_weight=self.entropy_weight,
            seed=derive_seed(seed, _ROUNDS_KEY),
        )


def resolve(vae: Any, space: ImageSpace, progress: Progress, start: float) -> AutoencoderPlan:
    """Turn the checked parameters of an autoencoder into what is to be done.

    Parameters
    ----------
    vae : GradientBoostedFlowVAE

    space : ImageSpace

    progress : Progress
        Told of each part and epoch.

    start : float
        Reading of ``time.perf_counter()`` when the fit began.
    """
    sizes = check_hidden_layer_sizes("hidden_layer_sizes", vae.hidden_layer_sizes)
    encoder, decoder = (
        NetworkArchitecture(
            role=role,
            kind=vae.network,
            image_shape=space.shape,
            n_latent=int(vae.n_components),
            n_parameters=space.likelihood.n_parameters,
            hidden_layer_sizes=sizes,
            activation=vae.activation,
        )
        for role in ("encoder", "decoder")
    )
    settings = TrainingSettings(
        max_iter=int(vae.max_iter),
        batch_size=int(vae.batch_size),
        learning_rate=float(vae.learning_rate_init),
        patience=int(vae.patience),
        n_restarts=0,
        on_epoch=progress.epoch,
        on_part=progress.part,
    )
    return AutoencoderPlan(
        encoder=encoder,
        decoder=decoder,
        component=_component(vae, sizes[-1]),
        settings=settings,
        limits=Limits.of(vae.get_params(deep=False), start),
        objective=vae.objective,
        entropy_weight=float(vae.entropy_weight),
    )


def _component(vae: Any, n_context: int) -> Architecture:
    """Architecture of the components of the posterior."""
    return Architecture(
        family=vae.flow,
        n_features=int(vae.n_components),
        n_transforms=int(vae.n_transforms),
        hidden_layer_sizes=check_hidden_layer_sizes(
            "flow_hidden_layer_sizes", vae.flow_hidden_layer_sizes
        ),
        activation=vae.activation,
        splines=None,
        n_context=n_context,
    )


def check_vae_parameters(vae: Any) -> None:
    """Raise unless every constructor parameter is in its range."""
    for name, check in CHECKS.items():
        check(name, getattr(vae, name))


CHECKS: dict[str, Check] = {
    **SHARED_CHECKS,
    "n_components": partial(check_integer, smallest=1, largest=MOST_UNITS),
    "likelihood": partial(check_choice, allowed=LIKELIHOODS),
    "n_levels": partial(check_integer, smallest=2),
    "network": partial(check_choice, allowed=NETWORKS),
    "flow_hidden_layer_sizes": check_hidden_layer_sizes,
    "batch_size": check_count,
    "patience": check_count,
    "validation_fraction": or_none(check_fraction),
}
"""Checks of the constructor's parameters by name; scikit-learn checks `random_state`."""
