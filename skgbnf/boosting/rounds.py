"""The loop of rounds: added until there are enough, no gain or no time; then fine-tuned."""

import time
from collections.abc import Callable

from skgbnf.boosting.base import Boosting, Limits
from skgbnf.training.progress import Overview, Progress


def run_rounds(
    boosting: Boosting,
    limits: Limits,
    progress: Progress,
    on_round: Callable[[], None],
    n_least: int = 0,
) -> KeyboardInterrupt | None:
    """Add rounds, drop those at the end that brought nothing, and fine-tune what is new.

    Parameters
    ----------
    boosting : Boosting
        With the rounds of an earlier fit, if there was one.

    limits : Limits

    progress : Progress

    on_round : callable ``()``
        Called after each round.

    n_least : int, default=0
        Rounds that stay as an earlier fit left them, whatever the samples say of them now.

    Returns
    -------
    interrupt : KeyboardInterrupt or None
        The interrupt that ended the rounds, if it came after the first one: to be raised again
        once the finished rounds are published.
    """
    with progress:
        try:
            _run(boosting, limits, progress, on_round, n_least)
        except KeyboardInterrupt as interrupt:
            if not boosting.stages:
                raise
            boosting.recover()
            return interrupt
    return None


def _run(
    boosting: Boosting,
    limits: Limits,
    progress: Progress,
    on_round: Callable[[], None],
    n_least: int,
) -> None:
    n_done, (_, log_det) = len(boosting.stages), boosting.log_dets
    progress.begin(Overview(boosting.describe(), n_done, log_det))
    finished = n_done > n_least and boosting.has_stopped(limits)
    try:
        while len(boosting.stages) < limits.n_estimators and not finished:
            n_rounds = len(boosting.stages)
            left = limits.deadline - time.perf_counter()
            # What is less than the work beside training is too little for one more round.
            if n_rounds and left <= boosting.overhead:
                break
            if not boosting.add_round(limits):
                break
            if len(boosting.stages) > n_rounds:
                on_round()
                progress.round(len(boosting.stages), boosting.n_iter[-1], *boosting.scores())
            else:
                progress.no_gain()
            finished = boosting.has_stopped(limits)
    finally:
        # An interrupt, too, keeps what brought something.
        if boosting.has_validation:
            boosting.truncate(max(boosting.best_round(limits.tol), n_least))
    if len(boosting.stages) > n_least:
        _fine_tune(boosting, limits, progress)


def _fine_tune(boosting: Boosting, limits: Limits, progress: Progress) -> None:
    """Make the passes over all components that the limits ask for, while there is time."""
    for number in range(limits.fine_tune):
        left = limits.deadline - time.perf_counter()
        if left <= 0:
            break
        progress.begin_pass(number + 1, limits.fine_tune)
        boosting.fine_tune(number, left / (limits.fine_tune - number))
        progress.end_pass(*boosting.scores())
