"""The additive mixture that grows by rounds: its objectives, its weights, its fine-tuning.

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

from skgbnf._random import derive_seed
from skgbnf.boosting import Boosting, Stage
from skgbnf.flows import Architecture
from skgbnf.mixture import component_log_prob, mixture_log_prob, seconds_per_row
from skgbnf.objectives import (
    OBJECTIVES,
    Greedy,
    MaximumLikelihood,
    certificate,
    corrective_weights,
)
from skgbnf.training import Clock, Objective, Rows, Settings, fit_component, fits_by_em

_FINE_TUNE_RATE = 0.25
_SETTLING_STEPS = 20


class AdditiveBoosting(Boosting):
    """An additive mixture that grows by rounds.

    Parameters
    ----------
    train, judge, settings, seed
        As for :class:`Boosting`.

    objective : {"tempered", "greedy", "weighted"}
    """

    def __init__(
        self, train: Rows, judge: Rows, objective: str, settings: Settings, seed: int
    ) -> None:
        super().__init__(train, judge, settings, seed)
        self._objective = objective

    def new_objective(self, architecture: Architecture, component: LazyDistribution) -> Objective:
        """What a component added now is trained for; EM needs no tempering.

        While EM fitted all components so far, one of another family learns as if it were alone:
        it leaves no rows to those that cannot explain them as well.
        """
        if self._objective != "tempered":
            return self._objective_by(OBJECTIVES[self._objective])
        known = any(architecture.kind == other.kind for other in self.architectures)
        if not known and all(map(fits_by_em, self.components)):
            return MaximumLikelihood(self.train, self.judge)
        name = "greedy" if fits_by_em(component) else "tempered"
        return self._objective_by(OBJECTIVES[name])

    def mixture_objective(self) -> Objective:
        return self._objective_by(Greedy)

    def rows_to_score(self) -> int:
        # By the end of its training, by the search, for what it promises, and when it is added.
        return len(self.train.x) + 4 * len(self.judge.x)

    def fine_tune(self, seconds: float = math.inf) -> None:
        """Improve all components against all the others, then fit all weights anew.

        A network is trained once more. A component that EM fits is moved: fitted afresh where
        the others leave most to explain, then all such components settle together. What the
        judging rows do not gain from is dropped, so no pass lowers them.
        """
        deadline = time.perf_counter() + seconds
        if seconds > 0:
            self._settle(copy.deepcopy(self.components), deadline)
        for k, component in enumerate(self.components):
            left = deadline - time.perf_counter()
            if math.isfinite(left):
                left -= self.rows_to_score() * seconds_per_row(component, self.train.x)
            if left <= 0:
                break
            settings = replace(self._settings, seconds=left / (len(self.components) - k))
            settings.on_part(f"component {k + 1} of {len(self.components)}")
            if fits_by_em(component):
                self._move(k, settings, deadline)
            else:
                self._retrain(k, settings)
        self.refit_stages()

    def _objective_by(self, make: Callable[..., Objective]) -> Objective:
        if not self.components:
            return MaximumLikelihood(self.train, self.judge)
        log_G = map(self._log_density, (self.train, self.judge))
        return make(self.train, self.judge, *log_G, 1 / (len(self.components) + 1))

    def _retrain(self, k: int, settings: Settings) -> None:
        """Go on training component `k`, all others held fixed."""
        rate = _FINE_TUNE_RATE * settings.learning_rate
        component = copy.deepcopy(self.components[k])
        self._fit_jointly(k, component, replace(settings, learning_rate=rate))
        self._accept({k: component})

    def _move(self, k: int, settings: Settings, deadline: float) -> None:
        """Fit component `k` in another place, and let EM settle all components from there."""
        components = copy.deepcopy(self.components)
        self._fit_jointly(k, components[k], settings)
        self._settle(components, deadline)

    def _settle(self, components: list[LazyDistribution], deadline: float) -> None:
        """Run a few steps of EM on all components that know it, and on the weights of all.

        It ends while there is time left to score what came of it.
        """
        settled = [k for k, component in enumerate(components) if fits_by_em(component)]
        if not settled:
            return
        train, weights = self.train, self.stages[-1].weights
        clock = Clock(deadline - time.perf_counter())
        log_probs = torch.stack([component_log_prob(c, train.x) for c in components], dim=1)
        scoring = clock.lap()
        for _ in range(_SETTLING_STEPS):
            if not clock.has_time(scoring):
                break
            shares = train.weights.unsqueeze(1) * (log_probs + weights.log()).softmax(dim=1)
            weights = shares.sum(dim=0) / shares.sum()
            for k in settled:
                if shares[:, k].sum() > 0:
                    components[k].em_step(train.x, shares[:, k])
                    log_probs[:, k] = component_log_prob(components[k], train.x)
        self._accept({k: components[k] for k in settled})

    def _fit_jointly(self, k: int, component: LazyDistribution, settings: Settings) -> None:
        seed = derive_seed(self._seed, 2, k, self.n_iter[k])
        objective = self._joint_objective(k)
        self.n_iter[k] += fit_component(component, objective, settings, seed)

    def _accept(self, changed: dict[int, LazyDistribution]) -> None:
        """Put other components in the places named, if the judging rows gain."""
        log_probs = {rows: matrix.clone() for rows, matrix in self._log_probs.items()}
        for rows, matrix in log_probs.items():
            for k, component in changed.items():
                matrix[:, k] = component_log_prob(component, rows.x)
        stage = self._stage(log_probs, self.stages[-1].weights)
        if stage.judge_score > self.stages[-1].judge_score:
            components = [changed.get(k, old) for k, old in enumerate(self.components)]
            # All at once, so that an interrupt leaves the mixture whole.
            self.components, self._log_probs, self.stages[-1] = components, log_probs, stage

    def _joint_objective(self, k: int) -> Objective:
        """What component `k` is retrained for, all others held fixed."""
        weights = self.stages[-1].weights
        rho = float(weights[k])
        if len(weights) == 1:
            return MaximumLikelihood(self.train, self.judge)
        others = weights.clone()
        others[k] = 0.0
        others /= others.sum()
        log_G = (
            mixture_log_prob(self._log_probs[rows], others.log())
            for rows in (self.train, self.judge)
        )
        return Greedy(self.train, self.judge, *log_G, rho)

    def _gain(self, component: LazyDistribution) -> float:
        """What a component promises to gain per unit of weight, in nats."""
        log_g = component_log_prob(component, self.judge.x)
        return certificate(self._log_density(self.judge), log_g, self.judge)

    def _log_density(self, rows: Rows) -> Tensor:
        return mixture_log_prob(self._log_probs[rows], self.stages[-1].weights.log())

    def _stage(self, log_probs: dict[Rows, Tensor], start: Tensor) -> Stage:
        """The mixture of components, with weights fitted on the judging rows."""
        weights = corrective_weights(log_probs[self.judge], self.judge.weights, start)
        scores = [
            rows.mean(mixture_log_prob(log_probs[rows], weights.log()))
            for rows in (self.train, self.judge)
        ]
        return Stage(weights, *scores)
