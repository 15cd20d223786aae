"""The fit of an autoencoder, from what the caller passes to what it leaves behind."""

import os
import time
from typing import Any

import torch
from numpy.typing import ArrayLike

from skgbnf._device import fit_device, training_mode
from skgbnf._random import seed_from
from skgbnf.boosting.base import check_growing
from skgbnf.boosting.rounds import run_rounds
from skgbnf.persistence import rounds_to_continue, save
from skgbnf.training.fitted import FittedComponent
from skgbnf.training.progress import make_progress
from skgbnf.vae.boosting import PosteriorBoosting
from skgbnf.vae.fitted import FittedAutoencoder
from skgbnf.vae.images import ImageSpace, prepare
from skgbnf.vae.parameters import AutoencoderPlan, check_vae_parameters, resolve


def fit_autoencoder(
    estimator: Any,
    X: ArrayLike,
    X_val: ArrayLike | None,
    resume_from: str | os.PathLike[str] | None,
) -> KeyboardInterrupt | None:
    """Fit an estimator, and return the interrupt that ended it early, if it left finished rounds.

    Parameters
    ----------
    estimator : GradientBoostedFlowVAE
        Its ``fitted_`` is set.

    X, X_val : array-likes of shape (n_samples, ...)
        The second may be None.

    resume_from : str, path-like or None
    """
    start = time.perf_counter()
    check_vae_parameters(estimator)
    earlier = rounds_to_continue(estimator, resume_from)
    device = fit_device(estimator.device)
    seed = seed_from(estimator.random_state) if earlier is None else earlier.seed
    progress = make_progress(estimator.verbose, estimator.n_estimators, estimator.max_time)
    progress.read()
    X, X_val, space = prepare(
        estimator,
        X,
        X_val,
        likelihood_name=estimator.likelihood,
        n_levels=int(estimator.n_levels),
        conv=estimator.network == "conv",
        validation_fraction=estimator.validation_fraction,
        seed=seed,
        earlier=None if earlier is None else earlier.space,
    )
    train = space.to_tensors(X, torch.float32, device)
    validation = train if X_val is None else space.to_tensors(X_val, torch.float32, device)
    plan = resolve(estimator, space, progress, start)
    with training_mode(device):
        boosting = plan.start(train, validation, space, seed)
        if earlier is not None:
            check_growing(plan.limits.n_estimators, len(earlier.posterior.components))
            _continue(boosting, plan, earlier)

        def keep() -> None:
            if estimator.checkpoint is not None:
                estimator.fitted_ = _fitted(boosting, plan, space, seed)
                save(estimator, estimator.checkpoint)

        interrupt = run_rounds(boosting, plan.limits, progress, keep)
    estimator.fitted_ = _fitted(boosting, plan, space, seed)
    return interrupt


def _continue(
    boosting: PosteriorBoosting, plan: AutoencoderPlan, earlier: FittedAutoencoder
) -> None:
    """Give a boosting the rounds of an earlier fit; check that they were of this kind."""
    components = {fitted.architecture for fitted in earlier.posterior.components}
    known = earlier.encoder.architecture, earlier.decoder.architecture, components
    if known != (plan.encoder, plan.decoder, {plan.component}):
        raise ValueError("resume_from: the rounds in the file have other networks or components.")
    model, device = boosting.module, boosting.train.inputs.device
    for network, fitted in ((model.encoder, earlier.encoder), (model.decoder, earlier.decoder)):
        network.load_state_dict(fitted.to_module(torch.float32, device).state_dict())
    boosting.restore(earlier.posterior, earlier.history)
    if not boosting.agrees():
        raise ValueError("resume_from: the rounds in the file were fitted to other images.")


def _fitted(
    boosting: PosteriorBoosting, plan: AutoencoderPlan, space: ImageSpace, seed: int
) -> FittedAutoencoder:
    return FittedAutoencoder(
        space=space,
        encoder=FittedComponent.from_module(plan.encoder, boosting.module.encoder),
        decoder=FittedComponent.from_module(plan.decoder, boosting.module.decoder),
        posterior=boosting.fitted(),
        history=boosting.history(),
        seed=seed,
    )
