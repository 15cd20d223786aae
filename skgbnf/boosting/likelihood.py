"""Boosting by the likelihood of samples, whose log-densities under all components are cached."""

import math
import time
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from zuko.lazy import LazyDistribution

from skgbnf._random import derive_seed
from skgbnf.boosting.base import Boosting, Limits, Stage
from skgbnf.boosting.candidates import CandidatePlan, Candidates, is_sparse, rows_in_time
from skgbnf.boosting.search import Search
from skgbnf.flows import Architecture, FittedByEM, unstack
from skgbnf.training.fitted import FittedComponent, History
from skgbnf.training.mixture import component_log_prob
from skgbnf.training.objective import Objective, TrainingSettings
from skgbnf.training.rows import Rows

_ROUND_KEY, _THIN_KEY = 1, 7


class LikelihoodBoosting(Boosting):
    """Rounds with the log-densities of all samples cached.

    Each component sees each sample once after its own training, so that ``C`` rounds cost
    ``O(C)``.

    Parameters
    ----------
    train, validation : Rows
        Training samples and validation set (the same object if there is none).

    plan : CandidatePlan
        Architectures that each round may choose from.

    settings : TrainingSettings

    seed : int
        Each round draws from a seed derived from this one and its number alone, so that adding
        rounds later gives what adding them at once would have given.
    """

    def __init__(
        self,
        train: Rows,
        validation: Rows,
        plan: CandidatePlan,
        settings: TrainingSettings,
        seed: int,
    ) -> None:
        super().__init__()
        self.train, self.validation = train, validation
        self._plan, self._settings, self._seed = plan, settings, seed
        self._search, self._tuned = Search(self, settings), False
        self._log_probs = {
            rows: rows.x.new_empty(*rows.weights.shape, 0) for rows in (train, validation)
        }

    @property
    def has_validation(self) -> bool:
        return self.validation is not self.train

    @property
    def log_dets(self) -> tuple[float, float]:
        return self.train.mean_log_det, self.validation.mean_log_det

    def describe(self) -> str:
        n_validation, n_features = self.validation.n_counted, self.train.x.shape[-1]
        n_folds = self.train.n_folds
        n_samples = n_validation if n_folds else len(self.train)
        text = f"{n_samples:,} rows x {n_features:,} columns"
        if n_folds:
            return f"{text}, {n_folds} folds"
        return text + (f", {n_validation:,} for validation" if self.has_validation else "")

    def append(
        self, architecture: Architecture, component: LazyDistribution, n_iter: int, gain: float
    ) -> None:
        """Add a trained component and fit all weights anew."""
        for rows, log_probs in self._log_probs.items():
            column = component_log_prob(component, rows.x, rows.context).unsqueeze(-1)
            self._log_probs[rows] = torch.cat([log_probs, column], dim=-1)
        self.architectures.append(architecture)
        self.components.append(component)
        self.n_iter.append(n_iter)
        self.gains.append(gain)
        self.stages.append(self._next_stage(self.stages))

    def add_round(self, limits: Limits) -> bool:
        """Train one more component, the best on the validation set of what the plan offers.

        It is not added if trials leave no time to train it, but for the first.
        """
        left = limits.deadline - time.perf_counter()
        offered, share = self._offered(left)
        seconds = share * (limits.deadline - time.perf_counter())
        start = time.perf_counter()
        seed = derive_seed(self._seed, _ROUND_KEY, len(self.components))
        found = self._search.best(offered, seconds, seed, needed=not self.components)
        if found is None:
            return False
        self._settings.on_part("scoring all rows")
        gain = self._gain(found.component) if self.components else math.inf
        self.append(found.architecture, found.component, found.n_iter, gain)
        self.overhead = time.perf_counter() - start - self._search.training_seconds
        return True

    def has_stopped(self, limits: Limits) -> bool:
        """Whether the validation set no longer gains, once every first family had its round."""
        if len(self.stages) <= self._plan.n_first or not self.has_validation:
            return False
        n_stale = len(self.stages) - self.best_round(limits.tol)
        return self.gains[-1] <= limits.tol or n_stale >= limits.n_iter_no_change

    def agrees_with(self, history: History, *, validation_alone: bool) -> bool:
        """Whether earlier rounds, appended here, score these samples as they did before.

        Parameters
        ----------
        history : History
            Of the earlier fit.

        validation_alone : bool
            Whether it is enough that the validation set has the same scores.
        """
        now = self.history()
        pairs = [(now.train_scores, history.train_scores)]
        if validation_alone and now.validation_scores is not None:
            pairs.append((now.validation_scores, history.validation_scores))
        # Rounding differs from machine to machine.
        return any(
            scores is not None
            and then is not None
            and np.allclose(scores, then, rtol=1e-6, atol=1e-6)
            for scores, then in pairs
        )

    def truncate(self, n_rounds: int) -> None:
        # Stages first: they say how many rounds there are, wherever an interrupt comes.
        for kept in (self.stages, self.components, self.architectures, self.n_iter, self.gains):
            del kept[n_rounds:]
        for rows, log_probs in self._log_probs.items():
            self._log_probs[rows] = log_probs[..., :n_rounds]

    def recover(self) -> None:
        self.truncate(len(self.stages))
        if self._tuned:
            self.refit_stages()

    def thin(self, n_rows: int) -> None:
        """Keep no more than `n_rows` training samples, and as many for validation, at random."""
        thinned, generator = {}, torch.Generator().manual_seed(derive_seed(self._seed, _THIN_KEY))
        for rows in self._log_probs:
            if len(rows) > n_rows:
                order = torch.randperm(len(rows), generator=generator)
                thinned[rows] = order[:n_rows].sort().values.to(rows.x.device)
        if not thinned:
            return
        kept = {
            rows: rows.part(thinned[rows]) if rows in thinned else rows for rows in self._log_probs
        }
        self._log_probs = {
            kept[rows]: log_probs[..., thinned[rows], :] if rows in thinned else log_probs
            for rows, log_probs in self._log_probs.items()
        }
        before = self.validation
        self.train, self.validation = kept[self.train], kept[self.validation]
        if self.validation is not before:
            self.refit_stages()

    def _fitted_components(self) -> tuple[FittedComponent, ...]:
        """The components round by round, in each of them fold by fold."""
        if self.train.n_folds is None:
            return super()._fitted_components()
        pairs = zip(self.architectures, self.components, strict=True)
        return tuple(
            FittedComponent.from_module(architecture, component)
            for architecture, stacked in pairs
            for component in unstack(stacked)
        )

    def _staged_weights(self) -> np.ndarray:
        """Those of the rounds, in equal shares for the components of the folds."""
        n_folds = self.train.n_folds or 1
        return np.repeat(super()._staged_weights() / n_folds, n_folds, axis=1)

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
    def joint_objective(self) -> Objective:
        """The likelihood with one component more, by which all candidates are compared."""

    @abstractmethod
    def rows_to_score(self) -> int:
        """Number of samples that a component of this round scores once it is trained."""

    @abstractmethod
    def _gain(self, component: LazyDistribution) -> float:
        """Bound of what a component can gain per unit of weight, in nats."""

    @abstractmethod
    def _stage(self, log_probs: dict[Rows, Tensor], start: Tensor) -> Stage:
        """The first components combined, their weights fitted to the validation set."""

    def _next_stage(self, stages: Sequence[Stage]) -> Stage:
        """The combination with one component more than after `stages`."""
        n_rounds = len(stages) + 1
        start = self.train.x.new_full((n_rounds,), 1 / n_rounds)
        if stages:
            start[:-1] = stages[-1].weights * (1 - 1 / n_rounds)
        first = {rows: log_probs[..., :n_rounds] for rows, log_probs in self._log_probs.items()}
        return self._stage(first, start)

    def _offered(self, seconds: float) -> tuple[list[Candidates], float]:
        """What the next round chooses from, and its share of the time.

        Where there is no time to make use of all samples, it is to learn from a part of them.
        """
        n_rounds, earlier = len(self.stages), [a.family for a in self.architectures]
        share = self._plan.share(n_rounds)
        if all(isinstance(component, FittedByEM) for component in self.components):
            offered = self._plan.offered(earlier, sparse=False)
            limit = rows_in_time(offered, self.train.x.shape[-1], share * seconds)
            self.thin(int(min(limit, self._plan.n_samples)))
        sparse = self._plan.depends_on_sparsity(n_rounds) and self._sparse
        return self._plan.offered(earlier, sparse=sparse), share

    @cached_property
    def _sparse(self) -> bool:
        """Looked at once, before the first round that depends on it."""
        return is_sparse(self.train.folds()[0])
