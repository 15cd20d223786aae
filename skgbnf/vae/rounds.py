"""The rounds of a fit: begun, added until enough or until no gain, and fine-tuned."""

import torch

from skgbnf._random import derive_seed, own_generator
from skgbnf.vae.boosting import PosteriorBoosting
from skgbnf.vae.model import Images, LatentModel
from skgbnf.vae.plan import (
    component_architecture,
    likelihood_of,
    network_architecture,
    training_settings,
)

_NETWORKS_KEY, _ROUNDS_KEY = 1, 2


def start_rounds(vae, train: Images, judge: Images, seed: int) -> PosteriorBoosting:
    """A model without components, its decoder at the mean of the images."""
    device, likelihood = train.inputs.device, likelihood_of(vae)
    with own_generator(derive_seed(seed, _NETWORKS_KEY)):
        encoder, decoder = (
            network_architecture(vae, role).build().to(device) for role in ("encoder", "decoder")
        )
    with torch.no_grad():
        decoder.offset.copy_(likelihood.start(train.targets))
    model = LatentModel(encoder, decoder, [], likelihood)
    settings, seed = training_settings(vae), derive_seed(seed, _ROUNDS_KEY)
    return PosteriorBoosting(model, component_architecture(vae), train, judge, settings, seed)


def add_rounds(vae, boosting: PosteriorBoosting) -> None:
    """Add rounds until enough, or until held-out images no longer gain; fine-tune."""
    while len(boosting.scores) < vae.n_estimators and boosting.add_round():
        _report(vae, f"round {len(boosting.scores)}/{vae.n_estimators}", boosting)
    for _ in range(vae.fine_tune):
        boosting.fine_tune()
        _report(vae, "fine-tuning", boosting)


def _report(vae, what: str, boosting: PosteriorBoosting) -> None:
    if vae.verbose:
        bound = boosting.scores[-1] + likelihood_of(vae).log_det
        print(f"[skgbnf] {what}: bound {bound:.4f} nats, {boosting.n_iter[-1]} epochs")
