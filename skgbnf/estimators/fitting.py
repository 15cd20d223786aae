"""The fit of a density, from what the caller passes to what it leaves behind."""

import os
import time
from typing import Any

from skgbnf._device import training_mode
from skgbnf._random import seed_from
from skgbnf.boosting.base import check_growing
from skgbnf.boosting.likelihood import LikelihoodBoosting
from skgbnf.boosting.rounds import run_rounds
from skgbnf.estimators.conditions import ConditionerFit
from skgbnf.estimators.fitted import FittedDensity
from skgbnf.estimators.fitted_regression import FittedRegression
from skgbnf.estimators.given import Given
from skgbnf.estimators.parameters import check_density_parameters, models_of
from skgbnf.estimators.plan import resolve, table_options
from skgbnf.estimators.preparation import prepare
from skgbnf.flows import stack
from skgbnf.persistence import rounds_to_continue, save
from skgbnf.predictors import Encoder
from skgbnf.training.progress import make_progress


def fit_density(
    estimator: Any,
    given: Given,
    resume_from: str | os.PathLike[str] | None,
    encoder: Encoder | None = None,
) -> KeyboardInterrupt | None:
    """Fit an estimator, and return the interrupt that ended it early, if it left finished rounds.

    Parameters
    ----------
    estimator : GradientBoostedFlowDensity or GradientBoostedFlowRegressor
        Its ``fitted_`` is set.

    given : Given

    resume_from : str, path-like or None

    encoder : Encoder or None, default=None
        Of the features that the density is conditional on.
    """
    start = time.perf_counter()
    check_density_parameters(estimator)
    earlier = rounds_to_continue(estimator, resume_from)
    if earlier is None and estimator.warm_start:
        earlier = getattr(estimator, "fitted_", None)
    seed = seed_from(estimator.random_state) if earlier is None else earlier.seed
    progress = make_progress(estimator.verbose, estimator.n_estimators, estimator.max_time)
    progress.read()
    options = table_options(estimator)
    conditioner = None
    if encoder is not None:
        models = models_of(estimator.context_model)
        conditioner = ConditionerFit(encoder, models, estimator.max_time, start, progress.part)
    prepared = prepare(estimator, given, options, seed, earlier, conditioner)
    n_columns = 0 if encoder is None else encoder.n_columns
    plan = resolve(
        estimator, prepared.train, progress, start, n_columns, prepared.coordinates.variables
    )
    boosting = plan.start(prepared.train, prepared.validation, seed)
    resumed = resume_from is not None
    with training_mode(options.device):
        if earlier is not None:
            _continue(estimator, boosting, earlier, check=resumed)
        n_least = 0 if resumed else len(boosting.stages)

        def keep() -> None:
            if estimator.checkpoint is not None:
                estimator.fitted_ = prepared.fitted(boosting.fitted(), boosting.history(), seed)
                save(estimator, estimator.checkpoint)

        interrupt = run_rounds(boosting, plan.limits, progress, keep, n_least)
    estimator.fitted_ = prepared.fitted(boosting.fitted(), boosting.history(), seed)
    return interrupt


def _continue(
    estimator: Any,
    boosting: LikelihoodBoosting,
    earlier: FittedDensity | FittedRegression,
    *,
    check: bool,
) -> None:
    """Give a boosting the rounds of an earlier fit; check that they were of these samples."""
    history, device = earlier.history, boosting.train.x.device
    check_growing(estimator.n_estimators, len(history.n_iter))
    rounds = zip(earlier.rounds(), history.n_iter, history.gains, strict=True)
    for fitted, n_iter, gain in rounds:
        modules = [component.to_module(component.dtype, device) for component in fitted]
        module = modules[0] if boosting.train.n_folds is None else stack(modules)
        boosting.append(fitted[0].architecture, module, int(n_iter), float(gain))
    # With a limit of time a part of the training samples may have been scored.
    if check and not boosting.agrees_with(history, validation_alone=estimator.max_time is not None):
        raise ValueError(
            "resume_from: the rounds in the file were fitted to other rows or weights, or to "
            "a part of the rows, for want of time (max_time)."
        )
