r"""A mixture that grows by rounds: its objectives, its weights, its fine-tuning.

A round adds a component ``g_c`` to the mixture of those before it,

.. math:: G_c = (1 - \rho) G_{c-1} + \rho g_c,

and then all weights are fitted anew.

References
----------
Gradient Boosted Normalizing Flows. R. Giaquinto, A. Banerjee, 2020.
https://arxiv.org/abs/2002.11896

Mixture Density Estimation. J. Li, A. Barron, 1999.
https://papers.nips.cc/paper/1999/hash/a0f3601dc682036423013a5d965db9aa-Abstract.html
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from zuko.lazy import LazyDistribution

from skgbnf._clock import Clock
from skgbnf._random import derive_seed
from skgbnf.boosting.base import Stage
from skgbnf.boosting.candidates import CandidatePlan
from skgbnf.boosting.likelihood import LikelihoodBoosting
from skgbnf.boosting.objectives import (
    OBJECTIVES,
    Greedy,
    MaximumLikelihood,
    corrective_weights,
    gain_bound,
    joint_objective,
)
from skgbnf.flows import Architecture, FittedByEM
from skgbnf.training.component import fit_component
from skgbnf.training.fitted import FittedMixture
from skgbnf.training.mixture import component_log_prob, mixture_log_prob, seconds_per_row
from skgbnf.training.objective import Objective, TrainingSettings
from skgbnf.training.rows import Rows

_FINE_TUNE_RATE = 0.25
_SETTLING_STEPS = 20
_FINE_TUNE_KEY = 2


class AdditiveBoosting(LikelihoodBoosting):
    """A mixture that grows by rounds.

    Parameters
    ----------
    train, validation, plan, settings, seed
        As for :class:`~skgbnf.boosting.likelihood.LikelihoodBoosting`.

    objective : {"tempered", "greedy", "weighted"}
    """

    def __init__(
        self,
        train: Rows,
        validation: Rows,
        plan: CandidatePlan,
        settings: TrainingSettings,
        seed: int,
        objective: str,
    ) -> None:
        super().__init__(train, validation, plan, settings, seed)
        self._objective = objective

    def new_objective(self, architecture: Architecture, component: LazyDistribution) -> Objective:
        """What a component added now is trained for; EM needs no tempering.

        While EM fitted all components so far, one of another family learns as if it were alone:
        it leaves no samples to those that cannot explain them as well. So does one that learns
        other orders than that of its density, and the first one after it.
        """
        if _learns_any_order(component):
            return MaximumLikelihood(self.train, self.validation)
        if self._objective != "tempered":
            return self._objective_by(OBJECTIVES[self._objective])
        known = any(architecture.family == other.family for other in self.architectures)
        if not known and all(
            isinstance(other, FittedByEM) or _learns_any_order(other) for other in self.components
        ):
            return MaximumLikelihood(self.train, self.validation)
        name = "greedy" if isinstance(component, FittedByEM) else "tempered"
        return self._objective_by(OBJECTIVES[name])

    def joint_objective(self) -> Objective:
        return self._objective_by(Greedy)

    def rows_to_score(self) -> int:
        # By the end of its training, by the search, for its gain bound, and when it is added.
        return len(self.train) + 4 * len(self.validation)

    def fine_tune(self, number: int = 0, seconds: float = math.inf) -> None:
        """Improve all components against all the others, then fit all weights anew.

        A network is trained once more. A component that EM fits is moved: fitted afresh where
        the others leave most to explain, then all such components settle together. Changes from
        which the validation score does not gain are dropped, so that no pass lowers it.
        """
        self._tuned = True
        deadline = time.perf_counter() + seconds
        if seconds > 0:
            self._settle(copy.deepcopy(self.components), deadline)
        for k, component in enumerate(self.components):
            left = deadline - time.perf_counter()
            if math.isfinite(left):
                left -= self.rows_to_score() * seconds_per_row(
                    component, self.train.x, self.train.context
                )
            if left <= 0:
                break
            settings = replace(self._settings, seconds=left / (len(self.components) - k))
            settings.on_part(f"component {k + 1} of {len(self.components)}")
            if isinstance(component, FittedByEM):
                self._move(k, settings, deadline)
            else:
                self._retrain(k, settings)
        self.refit_stages()

    def fitted(self) -> FittedMixture:
        return FittedMixture(self._fitted_components(), self._staged_weights())

    def _objective_by(self, make: Callable[..., Objective]) -> Objective:
        if not self.components:
            return MaximumLikelihood(self.train, self.validation)
        log_G_train, log_G_validation = map(self._log_density, (self.train, self.validation))
        rho = 1 / (len(self.components) + 1)
        return make(self.train, self.validation, log_G_train, log_G_validation, rho)

    def _retrain(self, k: int, settings: TrainingSettings) -> None:
        """Go on training component `k`, all others held fixed."""
        rate = _FINE_TUNE_RATE * settings.learning_rate
        component = copy.deepcopy(self.components[k])
        self._fit_jointly(k, component, replace(settings, learning_rate=rate))
        self._accept({k: component})

    def _move(self, k: int, settings: TrainingSettings, deadline: float) -> None:
        """Fit component `k` in another place, and let EM settle all components from there."""
        components = copy.deepcopy(self.components)
        self._fit_jointly(k, components[k], settings)
        self._settle(components, deadline)

    def _settle(self, components: list[LazyDistribution], deadline: float) -> None:
        """Run a few steps of EM on all components that know it, and on the weights of all.

        It ends while there is time left to score what came of it.
        """
        settled = [k for k, component in enumerate(components) if isinstance(component, FittedByEM)]
        if not settled:
            return
        train, weights = self.train, self.stages[-1].weights
        clock = Clock(deadline - time.perf_counter())
        log_probs = torch.stack(
            [component_log_prob(c, train.x, train.context) for c in components], dim=-1
        )
        scoring = clock.lap()
        for _ in range(_SETTLING_STEPS):
            if not clock.has_time(scoring):
                break
            shares = train.weights.unsqueeze(-1) * (log_probs + weights.log()).softmax(dim=-1)
            weights = shares.flatten(0, -2).sum(dim=0) / shares.sum()
            for k in settled:
                if shares[..., k].sum() > 0:
                    components[k].em_step(train.x, shares[..., k])
                    log_probs[..., k] = component_log_prob(components[k], train.x, train.context)
        self._accept({k: components[k] for k in settled})

    def _fit_jointly(self, k: int, component: LazyDistribution, settings: TrainingSettings) -> None:
        seed = derive_seed(self._seed, _FINE_TUNE_KEY, k, self.n_iter[k])
        objective = self._joint_objective(k)
        self.n_iter[k] += fit_component(component, objective, settings, seed)

    def _accept(self, changed: dict[int, LazyDistribution]) -> None:
        """Put other components in the places named, if the validation score gains."""
        log_probs = {rows: matrix.clone() for rows, matrix in self._log_probs.items()}
        for rows, matrix in log_probs.items():
            for k, component in changed.items():
                matrix[..., k] = component_log_prob(component, rows.x, rows.context)
        stage = self._stage(log_probs, self.stages[-1].weights)
        if stage.validation_score > self.stages[-1].validation_score:
            components = [changed.get(k, old) for k, old in enumerate(self.components)]
            # All at once, so that an interrupt leaves the mixture whole.
            self.components, self._log_probs, self.stages[-1] = components, log_probs, stage

    def _joint_objective(self, k: int) -> Objective:
        """What component `k` is retrained for, all others held fixed."""
        weights = self.stages[-1].weights
        return joint_objective(self.train, self.validation, self._log_probs, weights, k)

    def _gain(self, component: LazyDistribution) -> float:
        rows = self.validation
        log_g = component_log_prob(component, rows.x, rows.context)
        return gain_bound(self._log_density(rows), log_g, rows)

    def _log_density(self, rows: Rows) -> Tensor:
        return mixture_log_prob(self._log_probs[rows], self.stages[-1].weights.log())

    def _stage(self, log_probs: dict[Rows, Tensor], start: Tensor) -> Stage:
        """The mixture of components, with weights fitted to the validation set."""
        weights = corrective_weights(log_probs[self.validation], self.validation.weights, start)
        scores = [
            rows.mean(mixture_log_prob(log_probs[rows], weights.log()))
            for rows in (self.train, self.validation)
        ]
        return Stage(weights, *scores)


def _learns_any_order(component: LazyDistribution) -> bool:
    """Whether a component is trained for all conditionals."""
    return any(getattr(module, "any_order", False) for module in component.modules())
