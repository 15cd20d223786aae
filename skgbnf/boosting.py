"""A combination of components that grows by rounds, whatever combines them."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from zuko.lazy import LazyDistribution

from skgbnf._random import derive_seed
from skgbnf.flows import Architecture
from skgbnf.mixture import component_log_prob
from skgbnf.search import Ladder, Search
from skgbnf.training import Objective, Rows, Settings


@dataclass(frozen=True)
class Stage:
    """The mixture after one round.

    Attributes
    ----------
    weights : Tensor of shape (n_components,)

    train_score, judge_score : float
        Mean log-likelihoods, in nats.

    log_normalizer, log_normalizer_error : float or None
        Logarithm of what the combined components integrate to, and its standard error; None of
        an additive mixture, which integrates to 1.
    """

    weights: Tensor
    train_score: float
    judge_score: float
    log_normalizer: float | None = None
    log_normalizer_error: float | None = None


class Boosting(ABC):
    """Rounds, with the log-densities of all rows cached.

    Each component sees each row once after its own training, so that ``C`` rounds cost ``O(C)``.

    Parameters
    ----------
    train, judge : Rows
        Rows to learn from and rows to judge by (the same object if there are no held-out rows).

    settings : Settings

    seed : int
        Each round draws from a seed derived from this one and its number alone, so that adding
        rounds later gives what adding them at once would have given.

    Attributes
    ----------
    components : list of zuko.lazy.LazyDistribution

    architectures : list of Architecture

    n_iter : list of int
        Epochs each component was trained for.

    gains : list of float
        What each component promised to gain per unit of weight, in nats; see `certificate`.

    stages : list of Stage
        The mixture after each round.

    overhead : float
        Seconds of the last round in which its component was not trained.
    """

    def __init__(self, train: Rows, judge: Rows, settings: Settings, seed: int) -> None:
        self.train, self.judge = train, judge
        self.components: list[LazyDistribution] = []
        self.architectures: list[Architecture] = []
        self.n_iter: list[int] = []
        self.gains: list[float] = []
        self.stages: list[Stage] = []
        self.overhead = 0.0
        self._settings, self._seed = settings, seed
        self._log_probs = {rows: rows.x.new_empty(len(rows.x), 0) for rows in (train, judge)}

    def append(
        self, architecture: Architecture, component: LazyDistribution, n_iter: int, gain: float
    ) -> None:
        """Add a trained component and fit all weights anew."""
        for rows, log_probs in self._log_probs.items():
            column = component_log_prob(component, rows.x).unsqueeze(1)
            self._log_probs[rows] = torch.cat([log_probs, column], dim=1)
        self.architectures.append(architecture)
        self.components.append(component)
        self.n_iter.append(n_iter)
        self.gains.append(gain)
        self.stages.append(self._next_stage(self.stages))

    def add_round(self, ladders: Sequence[Ladder], seconds: float = math.inf) -> bool:
        """Train one more component, the best by the judging rows of what the ladders offer.

        Returns
        -------
        added : bool
            Whether there is one more: not if a trial leaves no time to train, but for the first.
        """
        start = time.perf_counter()
        search = Search(self, self._settings, derive_seed(self._seed, 1, len(self.components)))
        found = search.best(ladders, seconds, needed=not self.components)
        if found is None:
            return False
        self._settings.on_part("scoring all rows")
        gain = self._gain(found.component) if self.components else math.inf
        self.append(found.architecture, found.component, found.n_iter, gain)
        self.overhead = time.perf_counter() - start - search.training_seconds
        return True

    @property
    def has_held_out(self) -> bool:
        """Whether there are rows to judge by which are not learned from."""
        return self.judge is not self.train

    def best_round(self, tol: float) -> int:
        """Number of rounds after which the judging rows gained no more than `tol` nats."""
        best, best_score = 0, -math.inf
        for n_rounds, stage in enumerate(self.stages, start=1):
            if stage.judge_score > best_score + tol:
                best, best_score = n_rounds, stage.judge_score
        return best

    def truncate(self, n_rounds: int) -> None:
        """Forget all rounds but the first ones."""
        for kept in (self.components, self.architectures, self.n_iter, self.gains, self.stages):
            del kept[n_rounds:]
        for rows, log_probs in self._log_probs.items():
            self._log_probs[rows] = log_probs[:, :n_rounds]

    def thin(self, n_rows: int) -> None:
        """Learn from, and judge by, no more than `n_rows` rows from now on, drawn at random."""
        thinned, generator = {}, torch.Generator().manual_seed(derive_seed(self._seed, 7))
        for rows in self._log_probs:
            if len(rows.x) > n_rows:
                order = torch.randperm(len(rows.x), generator=generator)
                thinned[rows] = order[:n_rows].sort().values.to(rows.x.device)
        if not thinned:
            return
        kept = {
            rows: rows.part(thinned[rows]) if rows in thinned else rows for rows in self._log_probs
        }
        self._log_probs = {
            kept[rows]: log_probs[thinned[rows]] if rows in thinned else log_probs
            for rows, log_probs in self._log_probs.items()
        }
        self.train, self.judge, before = kept[self.train], kept[self.judge], self.judge
        if self.judge is not before:
            self.refit_stages()

    def refit_stages(self) -> None:
        """Fit the weights after each round anew, once components have changed."""
        stages: list[Stage] = []
        for _ in self.components:
            stages.append(self._next_stage(stages))
        self.stages = stages

    @abstractmethod
    def new_objective(self, architecture: Architecture, component: LazyDistribution) -> Objective:
        """What a component added now is trained for."""

    @abstractmethod
    def mixture_objective(self) -> Objective:
        """The likelihood with one component more, by which all are judged."""

    @abstractmethod
    def rows_to_score(self) -> int:
        """Number of rows that a component of this round scores once it is trained."""

    @abstractmethod
    def _gain(self, component: LazyDistribution) -> float:
        """What a component promises to gain per unit of weight, in nats."""

    @abstractmethod
    def _stage(self, log_probs: dict[Rows, Tensor], start: Tensor) -> Stage:
        """The first components combined, with weights fitted on the judging rows from a start."""

    def _next_stage(self, stages: Sequence[Stage]) -> Stage:
        """The mixture with one component more than after `stages`."""
        n_rounds = len(stages) + 1
        start = self.train.x.new_full((n_rounds,), 1 / n_rounds)
        if stages:
            start[:-1] = stages[-1].weights * (1 - 1 / n_rounds)
        first = {rows: log_probs[:, :n_rounds] for rows, log_probs in self._log_probs.items()}
        return self._stage(first, start)
