"""The rounds of a fit: begun or gone on with, added until enough, until no gain or no time."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from skgbnf.additive import AdditiveBoosting
from skgbnf.boosting import Boosting
from skgbnf.geometric import GEOMETRIC, GeometricBoosting
from skgbnf.plan import first_families, ladders, training_settings
from skgbnf.preparation import Table
from skgbnf.progress import Progress


def start_rounds(estimator, table: Table, seed: int, proceed: bool, progress: Progress) -> Boosting:
    """A boosting that has no round yet, or those of the fit that is to proceed."""
    settings = training_settings(estimator, len(table.train.x))
    settings = replace(settings, on_epoch=progress.epoch)
    boosting: Boosting
    if estimator.objective == GEOMETRIC:
        boosting = GeometricBoosting(table.train, table.judge, settings, seed)
    else:
        boosting = AdditiveBoosting(table.train, table.judge, estimator.objective, settings, seed)
    if proceed:
        n_estimators, n_done = estimator.n_estimators, estimator.n_estimators_
        if n_estimators < n_done:
            raise ValueError(
                f"n_estimators={n_estimators} is below the {n_done} rounds already fitted; "
                "it can only grow."
            )
        earlier = zip(estimator.estimators_, estimator.n_iter_, estimator.gains_, strict=True)
        for fitted, n_iter, gain in earlier:
            module = fitted.to_module(fitted.dtype, table.train.x.device)
            boosting.append(fitted.architecture, module, int(n_iter), float(gain))
    return boosting


def check_resumed(estimator, boosting: Boosting, table: Table) -> None:
    """Raise unless the rounds of a file score the rows of this fit as they did before."""
    scores = [s.train_score + table.train_log_det for s in boosting.stages]
    # Rounding differs from machine to machine.
    if not np.allclose(scores, estimator.train_scores_, rtol=1e-6, atol=1e-6):
        raise ValueError(
            "resume_from: the rounds in the file were fitted to other rows or weights."
        )


def add_rounds(
    estimator,
    boosting: Boosting,
    table: Table,
    progress: Progress,
    deadline: float,
    finished: bool,
    on_round: Callable[[], None],
) -> None:
    """Add rounds until enough, or until held-out rows no longer gain.

    Parameters
    ----------
    estimator : GradientBoostedFlowDensity
        Its parameters say when it is enough.

    boosting : Boosting

    table : Table

    progress : Progress

    deadline : float
        Reading of ``time.perf_counter()`` after which no round begins.

    finished : bool
        Whether the rounds that are there are all.

    on_round : callable ``()``
        Called after each round, before anything is told of it.
    """
    while len(boosting.stages) < estimator.n_estimators and not finished:
        left = deadline - time.perf_counter()
        # What is less than the work beside training is too little for one more round.
        if boosting.stages and left <= boosting.overhead:
            break
        n_rounds = len(boosting.stages)
        offered, share = ladders(estimator, n_rounds, len(boosting.train.x))
        if not boosting.add_round(offered, share * left):
            break
        on_round()
        progress.round(n_rounds + 1, boosting.n_iter[-1], *last_scores(boosting, table))
        finished = has_stopped(estimator, boosting)


def fine_tune(
    estimator, boosting: Boosting, table: Table, progress: Progress, deadline: float
) -> None:
    """Make the passes over all components that the estimator asks for, while there is time.

    It asks an additive mixture only; validation refuses them for a product.
    """
    for number in range(1, estimator.fine_tune + 1):
        progress.begin_pass(number, estimator.fine_tune)
        boosting.fine_tune(deadline - time.perf_counter())
        progress.end_pass(*last_scores(boosting, table))


def last_scores(boosting: Boosting, table: Table) -> tuple[float, float | None]:
    """Mean log-likelihood of the training rows and, where there are any, of the held-out rows."""
    stage = boosting.stages[-1]
    held_out = stage.judge_score + table.judge_log_det if boosting.has_held_out else None
    return stage.train_score + table.train_log_det, held_out


def has_stopped(estimator, boosting: Boosting) -> bool:
    """Whether held-out rows no longer gain, once `flow` had a round."""
    if len(boosting.stages) <= len(first_families(estimator)):
        return False
    n_stale = len(boosting.stages) - boosting.best_round(estimator.tol)
    stopped = boosting.gains[-1] <= estimator.tol or n_stale >= estimator.n_iter_no_change
    return stopped and boosting.has_held_out
