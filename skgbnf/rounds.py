"""The rounds of a fit: begun or gone on with, added until enough, until no gain or no time."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from skgbnf.additive import AdditiveBoosting
from skgbnf.boosting import Boosting
from skgbnf.geometric import GEOMETRIC, GeometricBoosting
from skgbnf.plan import first_families, is_sparse, ladders, rows_in_time, training_settings
from skgbnf.preparation import Table
from skgbnf.progress import Plan, Progress
from skgbnf.search import Ladder
from skgbnf.training import fits_by_em


def start_rounds(estimator, table: Table, seed: int, proceed: bool, progress: Progress) -> Boosting:
    """A boosting that has no round yet, or those of the fit that is to proceed."""
    settings = training_settings(estimator, len(table.train.x))
    settings = replace(settings, on_epoch=progress.epoch, on_part=progress.part)
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
    now = [[s.train_score + table.train_log_det for s in boosting.stages]]
    before = [estimator.train_scores_]
    # With a limit of time a part of the training rows may have been scored.
    if estimator.max_time is not None and estimator.validation_scores_ is not None:
        now.append([s.judge_score + table.judge_log_det for s in boosting.stages])
        before.append(estimator.validation_scores_)
    # Rounding differs from machine to machine.
    close = partial(np.allclose, rtol=1e-6, atol=1e-6)
    if not any(map(close, now, before)):
        raise ValueError(
            "resume_from: the rounds in the file were fitted to other rows or weights, or to a "
            "part of the rows, for want of time (max_time)."
        )


@dataclass(frozen=True)
class Rounds:
    """What a fit does with a boosting that has begun.

    Attributes
    ----------
    estimator : GradientBoostedFlowDensity
        Its parameters say when it is enough.

    boosting : Boosting

    table : Table

    progress : Progress

    deadline : float
        Reading of ``time.perf_counter()`` at which the fit is to end.

    on_round : callable ``()``
        Called after each round.
    """

    estimator: Any
    boosting: Boosting
    table: Table
    progress: Progress
    deadline: float
    on_round: Callable[[], None]

    def run(self, n_least: int) -> None:
        """Add rounds, drop those at the end that brought nothing, and fine-tune what is new.

        Parameters
        ----------
        n_least : int
            Rounds that stay as an earlier fit left them, whatever rows or `tol` say of them now.
        """
        resumed = self._n_rounds > n_least
        self.progress.begin(self._plan())
        try:
            self._add(finished=resumed and has_stopped(self.estimator, self.boosting))
        finally:
            # An interrupt, too, keeps what brought something.
            if self.boosting.has_held_out:
                best = self.boosting.best_round(self.estimator.tol)
                self.boosting.truncate(max(best, n_least))
        if self._n_rounds > n_least:
            self._fine_tune()

    def _add(self, finished: bool) -> None:
        """Add rounds until enough, or until held-out rows no longer gain."""
        while self._n_rounds < self.estimator.n_estimators and not finished:
            left = self.deadline - time.perf_counter()
            # What is less than the work beside training is too little for one more round.
            if self._n_rounds and left <= self.boosting.overhead:
                break
            offered, share = self._offered(left)
            seconds = share * (self.deadline - time.perf_counter())
            if not self.boosting.add_round(offered, seconds):
                break
            self.on_round()
            self.progress.round(self._n_rounds, self.boosting.n_iter[-1], *self._scores())
            finished = has_stopped(self.estimator, self.boosting)

    def _offered(self, seconds: float) -> tuple[list[Ladder], float]:
        """What the next round chooses from, and its share of the time.

        Where there is no time to make use of all rows, it is to learn from a part of them.
        """
        estimator, boosting, n_rounds = self.estimator, self.boosting, self._n_rounds
        n_rows = len(self.table.train.x)
        offered, share = ladders(estimator, n_rounds, n_rows, sparse=False)
        if all(map(fits_by_em, boosting.components)):
            limit = rows_in_time(offered, estimator.n_features_in_, share * seconds)
            boosting.thin(int(min(limit, n_rows)))
        if estimator.flow == "auto" and n_rounds >= len(first_families(estimator)):
            offered, share = ladders(estimator, n_rounds, n_rows, sparse=self._sparse)
        return offered, share

    def _fine_tune(self) -> None:
        """Make the passes over all components that the estimator asks for, while there is time.

        It asks an additive mixture only; validation refuses them for a product.
        """
        n_passes = self.estimator.fine_tune
        for number in range(1, n_passes + 1):
            left = self.deadline - time.perf_counter()
            if left <= 0:
                break
            self.progress.begin_pass(number, n_passes)
            self.boosting.fine_tune(left)
            self.progress.end_pass(*self._scores())

    @cached_property
    def _sparse(self) -> bool:
        """Asked once, before the first round that may depend on it."""
        return is_sparse(self.boosting.train)

    def _plan(self) -> Plan:
        table = self.table
        n_held_out = len(table.judge.x) if self.boosting.has_held_out else 0
        return Plan(*table.train.x.shape, n_held_out, self._n_rounds, table.judge_log_det)

    @property
    def _n_rounds(self) -> int:
        return len(self.boosting.stages)

    def _scores(self) -> tuple[float, float | None]:
        """Mean log-likelihood of the training rows and, where there are any, of held-out rows."""
        stage, table = self.boosting.stages[-1], self.table
        held_out = stage.judge_score + table.judge_log_det if self.boosting.has_held_out else None
        return stage.train_score + table.train_log_det, held_out


def has_stopped(estimator, boosting: Boosting) -> bool:
    """Whether held-out rows no longer gain, once `flow` had a round."""
    if len(boosting.stages) <= len(first_families(estimator)):
        return False
    n_stale = len(boosting.stages) - boosting.best_round(estimator.tol)
    stopped = boosting.gains[-1] <= estimator.tol or n_stale >= estimator.n_iter_no_change
    return stopped and boosting.has_held_out
