"""Boosting of flows of particles: each round matches paths, then maximises the likelihood."""

import copy
import math
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from zuko.flows import Flow

from skgbnf._random import derive_seed, own_generator
from skgbnf.boosting.base import Boosting, Limits, Stage
from skgbnf.boosting.objectives import (
    OBJECTIVES,
    MaximumLikelihood,
    corrective_weights,
    gain_bound,
    joint_objective,
)
from skgbnf.particles.flow import MOST_STEPS, ParticleArchitecture, field_of
from skgbnf.particles.targets import FlowTarget, LikelihoodTarget, MatchingTarget
from skgbnf.training.descent import descend
from skgbnf.training.fitted import FittedMixture
from skgbnf.training.mixture import component_log_prob, mixture_log_prob, seconds_per_row
from skgbnf.training.objective import Objective, TrainingSettings
from skgbnf.training.rows import Rows

_ROUND_KEY, _BUILD_KEY, _LIKELIHOOD_KEY, _TUNE_KEY, _THIN_KEY = 1, 2, 3, 4, 5
_ROWS_TO_CHECK = 200
_MATCHING_SHARE, _SCORING_SHARE = 0.25, 0.25
_FEWEST_ROWS = 1000
_MORE_STEPS = 3


@dataclass(frozen=True, eq=False)
class ParticlePlan:
    """What each round does.

    Attributes
    ----------
    architecture : ParticleArchitecture

    matching, likelihood : TrainingSettings
        Of the two parts of a round.

    objective : {"tempered", "weighted"}

    solver_tol : float
        Largest mean error that the solver may make in log-densities, in nats.

    farthest : float
        Distance up to which the field tells distances apart.

    log_det : float
        What turns log-densities into the units of X.
    """

    architecture: ParticleArchitecture
    matching: TrainingSettings
    likelihood: TrainingSettings
    objective: str
    solver_tol: float
    farthest: float
    log_det: float


class ParticleBoosting(Boosting):
    """A mixture of flows of particles that grows by rounds.

    Parameters
    ----------
    train, validation : Rows
        Training samples and validation set (the same object if there is none).

    plan : ParticlePlan

    seed : int
        Each round draws from a seed derived from this one and its number alone.

    Attributes
    ----------
    solver_errors : list of float
        Mean error that the solver of each component makes in log-densities, in nats.
    """

    def __init__(self, train: Rows, validation: Rows, plan: ParticlePlan, seed: int) -> None:
        super().__init__()
        self.train, self.validation = train, validation
        self.solver_errors: list[float] = []
        self._plan, self._seed = plan, seed
        self._log_probs = {rows: rows.x.new_empty(len(rows), 0) for rows in (train, validation)}

    @property
    def has_validation(self) -> bool:
        return self.validation is not self.train

    @property
    def log_dets(self) -> tuple[float, float]:
        return self._plan.log_det, self._plan.log_det

    def describe(self) -> str:
        architecture = self._plan.architecture
        n_particles, n_dims = len(architecture.types), architecture.n_dims
        text = f"{len(self.train):,} configurations of {n_particles:,} particles x {n_dims:,}"
        return text + (f", {len(self.validation):,} for validation" if self.has_validation else "")

    def add_round(self, limits: Limits) -> bool:
        plan, left = self._plan, limits.deadline - time.perf_counter()
        seed = derive_seed(self._seed, _ROUND_KEY, len(self.components))
        with own_generator(derive_seed(seed, _BUILD_KEY)):
            component = plan.architecture.build().to(self.train.x.device)
        field_of(component).field.cover(plan.farthest)
        objective = self._new_objective()
        plan.matching.on_part("matching")
        n_iter = self._train(MatchingTarget, component, objective, _MATCHING_SHARE * left, seed)
        left = limits.deadline - time.perf_counter()
        # The solver may need more steps in the end than it takes now.
        scoring = _MORE_STEPS * seconds_per_row(component, self.train.x)
        if not self.components:
            objective = self._thinned(_SCORING_SHARE * left / scoring)
        left -= scoring * sum(map(len, self._log_probs))
        plan.likelihood.on_part("maximum likelihood")
        key = derive_seed(seed, _LIKELIHOOD_KEY)
        n_iter += self._train(LikelihoodTarget, component, objective, max(left, 0.0), key)
        trained = time.perf_counter()
        self._append(component, n_iter)
        self.overhead = time.perf_counter() - trained
        return True

    def has_stopped(self, limits: Limits) -> bool:
        if not (self.stages and self.has_validation):
            return False
        n_stale = len(self.stages) - self.best_round(limits.tol)
        return self.gains[-1] <= limits.tol or n_stale >= limits.n_iter_no_change

    def fine_tune(self, number: int, seconds: float) -> None:
        """Go on maximising the likelihood of each component, the others held fixed.

        Changes from which the validation score does not gain are dropped.
        """
        deadline = time.perf_counter() + seconds
        for k, component in enumerate(self.components):
            left = (deadline - time.perf_counter()) / (len(self.components) - k)
            weights = self.stages[-1].weights
            objective = joint_objective(self.train, self.validation, self._log_probs, weights, k)
            seed = derive_seed(self._seed, _TUNE_KEY, number, k)
            changed = copy.deepcopy(component)
            n_iter = self._train(LikelihoodTarget, changed, objective, max(left, 0.0), seed)
            self._accept(k, changed, n_iter)
        self.stages = [self._stage(self._log_probs, n + 1) for n in range(len(self.components))]

    def truncate(self, n_rounds: int) -> None:
        for kept in (
            self.stages, self.components, self.architectures, self.n_iter, self.gains,
            self.solver_errors,
        ):  # fmt: skip
            del kept[n_rounds:]
        for rows, log_probs in self._log_probs.items():
            self._log_probs[rows] = log_probs[:, :n_rounds]

    def recover(self) -> None:
        self.truncate(len(self.stages))

    def fitted(self) -> FittedMixture:
        return FittedMixture(self._fitted_components(), self._staged_weights())

    def _train(
        self,
        make: type[FlowTarget],
        component: Flow,
        objective: Objective,
        seconds: float,
        seed: int,
    ) -> int:
        """Train a component in place, and return the number of epochs."""
        plan = self._plan
        settings = plan.matching if make is MatchingTarget else plan.likelihood
        target = make(component, plan.architecture, objective, settings.batch_size)
        return descend(target, replace(settings, seconds=seconds), seed)

    def _new_objective(self) -> Objective:
        """What the next component is trained for."""
        if not self.components:
            return MaximumLikelihood(self.train, self.validation)
        log_G = [self._log_density(rows) for rows in (self.train, self.validation)]
        rho = 1 / (len(self.components) + 1)
        return OBJECTIVES[self._plan.objective](self.train, self.validation, *log_G, rho)

    def _thinned(self, n_rows: float) -> Objective:
        """The first objective, of no more training samples than these, but for a few."""
        rows, n_rows = self.train, max(n_rows, _FEWEST_ROWS)
        if n_rows < len(rows):
            generator = torch.Generator().manual_seed(derive_seed(self._seed, _THIN_KEY))
            chosen = torch.randperm(len(rows), generator=generator)[: int(n_rows)]
            self.train = rows.part(chosen.to(rows.x.device))
            if self.validation is rows:
                self.validation = self.train
            self._log_probs = {
                rows: rows.x.new_empty(len(rows), 0) for rows in (self.train, self.validation)
            }
        return self._new_objective()

    def _accept(self, k: int, component: Flow, n_iter: int) -> None:
        """Put a component in the place of another, if the validation score gains."""
        n_steps, error = self._follow(component)
        log_probs = {rows: matrix.clone() for rows, matrix in self._log_probs.items()}
        for rows, matrix in log_probs.items():
            matrix[:, k] = component_log_prob(component, rows.x)
        stage = self._stage(log_probs, len(self.components))
        self.n_iter[k] += n_iter
        if stage.validation_score > self.stages[-1].validation_score:
            self.components[k], self.solver_errors[k] = component, error
            self.architectures[k] = self._architecture(n_steps)
            self._log_probs, self.stages[-1] = log_probs, stage

    def _append(self, component: Flow, n_iter: int) -> None:
        """Add a trained component, and fit all weights anew."""
        n_steps, error = self._follow(component)
        rows_scores = {rows: component_log_prob(component, rows.x) for rows in self._log_probs}
        gain = math.inf
        if self.components:
            log_G = self._log_density(self.validation)
            gain = gain_bound(log_G, rows_scores[self.validation], self.validation)
        for rows, scores in rows_scores.items():
            self._log_probs[rows] = torch.cat([self._log_probs[rows], scores[:, None]], dim=1)
        self.architectures.append(self._architecture(n_steps))
        self.components.append(component)
        self.n_iter.append(n_iter)
        self.gains.append(gain)
        self.solver_errors.append(error)
        self.stages.append(self._stage(self._log_probs, len(self.components)))

    def _architecture(self, n_steps: int) -> Any:
        """That of a component whose solver takes so many steps."""
        return replace(self._plan.architecture, n_steps=n_steps)

    def _follow(self, component: Flow) -> tuple[int, float]:
        """Give a component so many steps that its log-densities are as exact as is asked for.

        Returns
        -------
        n_steps : int

        error : float
            Mean difference of log-densities to those by twice as many steps, in nats.
        """
        flow, x = field_of(component), self.validation.x[:_ROWS_TO_CHECK]
        scores = component_log_prob(component, x)
        while True:
            n_steps, before = flow.n_steps, scores
            flow.n_steps = 2 * n_steps
            scores = component_log_prob(component, x)
            error = float((scores - before).abs().mean())
            if error <= self._plan.solver_tol or 2 * n_steps > MOST_STEPS:
                flow.n_steps = n_steps
                return n_steps, error

    def _stage(self, log_probs: dict[Rows, Tensor], n_rounds: int) -> Stage:
        """The mixture of the first components, with weights fitted to the validation set."""
        rows = self.validation
        start = rows.x.new_full((n_rounds,), 1 / n_rounds)
        weights = corrective_weights(log_probs[rows][:, :n_rounds], rows.weights, start)
        scores = [
            rows.mean(mixture_log_prob(log_probs[rows][:, :n_rounds], weights.log()))
            for rows in (self.train, self.validation)
        ]
        return Stage(weights, *scores)

    def _log_density(self, rows: Rows) -> Tensor:
        return mixture_log_prob(self._log_probs[rows], self.stages[-1].weights.log())
