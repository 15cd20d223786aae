r"""Boosting of component densities: the rounds of the paper.

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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

import torch
from torch import Tensor
from zuko.lazy import LazyDistribution

from skgbnf._random import derive_seed, seeded
from skgbnf.flows import Architecture, initialise
from skgbnf.mixture import component_log_prob, mixture_log_prob
from skgbnf.objectives import (
    OBJECTIVES,
    Greedy,
    MaximumLikelihood,
    certificate,
    corrective_weights,
)
from skgbnf.training import (
    Objective,
    Rows,
    Settings,
    continue_em,
    fit_component,
    fits_by_em,
)

_FINE_TUNE_RATE = 0.25
_SETTLING_STEPS = 20
_TRIALS_PER_ROUND = 20
_COARSE_EM_TOL = 1e-3

Ladder = Iterable[Architecture]
"""Architectures of one family, each larger than the one before."""


def settle(components: Sequence[LazyDistribution], weights: Tensor, train: Rows) -> list[int]:
    """Run a few steps of EM on all components that know it, and on the weights of all.

    Returns
    -------
    settled : list of int
        Places of the components that were changed.
    """
    settled = [k for k, component in enumerate(components) if fits_by_em(component)]
    log_probs = torch.stack([component_log_prob(c, train.x) for c in components], dim=1)
    for _ in range(_SETTLING_STEPS):
        shares = train.weights.unsqueeze(1) * (log_probs + weights.log()).softmax(dim=1)
        weights = shares.sum(dim=0) / shares.sum()
        for k in settled:
            if shares[:, k].sum() > 0:
                components[k].em_step(train.x, shares[:, k])
                log_probs[:, k] = component_log_prob(components[k], train.x)
    return settled


@dataclass(frozen=True)
class Stage:
    """The mixture after one round.

    Attributes
    ----------
    weights : Tensor of shape (n_components,)

    train_score, judge_score : float
        Mean log-likelihoods, in nats.

    log_normalizer, log_normalizer_error : float
        Logarithm of what the combined components integrate to, and its standard error; an
        additive mixture integrates to 1.
    """

    weights: Tensor
    train_score: float
    judge_score: float
    log_normalizer: float = 0.0
    log_normalizer_error: float = 0.0


@dataclass(frozen=True)
class _Fitted:
    """A trained component, how good the judging rows say it is, and how long it takes for a row."""

    architecture: Architecture
    component: LazyDistribution
    n_iter: int
    score: float
    seconds_per_row: float

    @property
    def exact(self) -> bool:
        return fits_by_em(self.component)


class Boosting:
    """A mixture that grows by rounds, with the log-densities of all rows cached.

    Each component sees each row once after its own training, so that ``C`` rounds cost ``O(C)``.

    Parameters
    ----------
    train, judge : Rows
        Rows to learn from and rows to judge by (the same object if there are no held-out rows).

    objective : {"tempered", "greedy", "weighted"}
        `GeometricBoosting` has its own.

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

    def __init__(
        self, train: Rows, judge: Rows, objective: str, settings: Settings, seed: int
    ) -> None:
        self.train, self.judge = train, judge
        self.components: list[LazyDistribution] = []
        self.architectures: list[Architecture] = []
        self.n_iter: list[int] = []
        self.gains: list[float] = []
        self.stages: list[Stage] = []
        self.overhead = 0.0
        self._objective, self._settings, self._seed = objective, settings, seed
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

        Where there are several ladders, networks are tried for a twentieth of the epochs and of the
        `seconds` that the round may take, and only the best of them is trained in full.

        Returns
        -------
        added : bool
            Whether there is one more: not if a trial leaves no time to train, but for the first.
        """
        start = time.perf_counter()
        full = replace(self._settings, seconds=seconds)
        tried = self._trials(ladders, full) if len(ladders) > 1 else []
        networks = [fitted for fitted in tried if not fitted.exact]
        before = time.perf_counter()
        left = seconds - (before - start)
        if not tried:
            tried = [self._climb(ladders[0], full)]
        elif networks:
            winner = max(networks, key=attrgetter("score"))
            left -= self._rows_to_score() * winner.seconds_per_row
            if left > 0:
                tried.append(self._fit(winner.architecture, replace(full, seconds=left)))
        after = time.perf_counter()
        best = max(reversed(tried), key=attrgetter("score"))
        if left <= 0 and self.stages and not best.exact:
            return False
        gain = self._gain(best.component) if self.components else math.inf
        self.append(best.architecture, best.component, best.n_iter, gain)
        self.overhead = time.perf_counter() - start - (after - before)
        return True

    def fine_tune(self, seconds: float = math.inf) -> None:
        """Improve all components against all the others, then fit all weights anew.

        A network is trained once more. A component that EM fits is moved: fitted afresh where
        the others leave most to explain, then all such components settle together. What the
        judging rows do not gain from is dropped, so no pass lowers them.
        """
        deadline = time.perf_counter() + seconds
        if seconds > 0:
            self._settle(copy.deepcopy(self.components))
        for k, component in enumerate(self.components):
            left = deadline - time.perf_counter()
            if left <= 0:
                break
            settings = replace(self._settings, seconds=left / (len(self.components) - k))
            if fits_by_em(component):
                self._move(k, settings)
            else:
                self._retrain(k, settings)
        self.refit_stages()

    def refit_stages(self) -> None:
        """Fit the weights after each round anew, once components have changed."""
        stages: list[Stage] = []
        for _ in self.components:
            stages.append(self._next_stage(stages))
        self.stages = stages

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

    def _retrain(self, k: int, settings: Settings) -> None:
        """Go on training component `k`, all others held fixed."""
        rate = _FINE_TUNE_RATE * settings.learning_rate
        component = copy.deepcopy(self.components[k])
        self._fit_jointly(k, component, replace(settings, learning_rate=rate))
        self._accept({k: component})

    def _move(self, k: int, settings: Settings) -> None:
        """Fit component `k` in another place, and let EM settle all components from there."""
        components = copy.deepcopy(self.components)
        self._fit_jointly(k, components[k], settings)
        self._settle(components)

    def _settle(self, components: list[LazyDistribution]) -> None:
        settled = settle(components, self.stages[-1].weights, self.train)
        if settled:
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

    def _trials(self, ladders: Sequence[Ladder], full: Settings) -> list[_Fitted]:
        """The best component of each ladder that there is time for, the first one in any case."""
        max_iter = math.ceil(full.max_iter / _TRIALS_PER_ROUND)
        share = max(_TRIALS_PER_ROUND, 2 * len(ladders))
        trial = replace(full, max_iter=max_iter, seconds=full.seconds / share)
        deadline = time.perf_counter() + full.seconds
        tried: list[_Fitted] = []
        for ladder in ladders:
            if not tried or time.perf_counter() < deadline:
                tried.append(self._climb(ladder, trial))
        return tried

    def _climb(self, ladder: Ladder, settings: Settings) -> _Fitted:
        """The best component of a ladder, climbed until two rungs in a row bring no gain.

        EM gains most in its first steps, so that each rung takes those and the best one the rest;
        a gain smaller than what the steps left out would bring is none.
        """
        best, n_stale, deadline = None, 0, time.perf_counter() + settings.seconds
        coarse = replace(settings, em_tol=_COARSE_EM_TOL)
        for architecture in ladder:
            left = deadline - time.perf_counter()
            if best is not None and (left <= 0 or n_stale == 2):
                break
            fitted = self._fit(architecture, replace(coarse, seconds=left))
            if best is None or fitted.score > best.score + _COARSE_EM_TOL:
                best, n_stale = fitted, 0
            else:
                n_stale += 1
        left = deadline - time.perf_counter()
        return self._refined(best, replace(settings, seconds=left)) if best.exact else best

    def _refined(self, fitted: _Fitted, settings: Settings) -> _Fitted:
        """What more steps of EM make of a component, if the judging rows gain."""
        if settings.seconds <= 0:
            return fitted
        component = copy.deepcopy(fitted.component)
        objective = self._new_objective(fitted.architecture, component)
        n_iter = fitted.n_iter + continue_em(component, objective, settings)
        refined = self._scored(fitted.architecture, component, n_iter)
        return max(fitted, refined, key=attrgetter("score"))

    def _fit(self, architecture: Architecture, settings: Settings) -> _Fitted:
        deadline = time.perf_counter() + settings.seconds
        seed = derive_seed(self._seed, 1, len(self.components))
        device = self.train.x.device
        with seeded(seed, device):
            component = architecture.build().to(device, torch.float64)
        initialise(component, self.train.x, self.train.weights)
        if not fits_by_em(component):
            component = component.float()
        objective = self._new_objective(architecture, component)
        settings = replace(settings, seconds=deadline - time.perf_counter())
        n_iter = fit_component(component, objective, settings, derive_seed(seed, 1))
        return self._scored(architecture, component, n_iter)

    def _scored(
        self, architecture: Architecture, component: LazyDistribution, n_iter: int
    ) -> _Fitted:
        mixture = self._mixture_objective()
        start = time.perf_counter()
        log_g = component_log_prob(component, mixture.judge_rows.x)
        seconds_per_row = (time.perf_counter() - start) / len(log_g)
        return _Fitted(architecture, component, n_iter, mixture.judge(log_g), seconds_per_row)

    def _rows_to_score(self) -> int:
        """Number of rows that a component of this round scores once it is trained."""
        return len(self.train.x) + 4 * len(self.judge.x)

    def _new_objective(self, architecture: Architecture, component: LazyDistribution) -> Objective:
        """What a component added now is trained for; EM needs no tempering.

        While EM fitted all components so far, one of another family learns as if it were alone:
        it leaves no rows to those that cannot explain them as well.
        """
        if self._objective != "tempered":
            return self._mixture_objective(OBJECTIVES[self._objective])
        known = any(architecture.kind == other.kind for other in self.architectures)
        if not known and all(map(fits_by_em, self.components)):
            return MaximumLikelihood(self.train, self.judge)
        name = "greedy" if fits_by_em(component) else "tempered"
        return self._mixture_objective(OBJECTIVES[name])

    def _mixture_objective(self, make: Callable[..., Objective] = Greedy) -> Objective:
        """The likelihood of the mixture with one component more; all objectives judge by it."""
        if not self.components:
            return MaximumLikelihood(self.train, self.judge)
        log_G = map(self._log_density, (self.train, self.judge))
        return make(self.train, self.judge, *log_G, 1 / (len(self.components) + 1))

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

    def _next_stage(self, stages: Sequence[Stage]) -> Stage:
        """The mixture with one component more than after `stages`."""
        n_rounds = len(stages) + 1
        start = self.train.x.new_full((n_rounds,), 1 / n_rounds)
        if stages:
            start[:-1] = stages[-1].weights * (1 - 1 / n_rounds)
        first = {rows: log_probs[:, :n_rounds] for rows, log_probs in self._log_probs.items()}
        return self._stage(first, start)

    def _stage(self, log_probs: dict[Rows, Tensor], start: Tensor) -> Stage:
        """The mixture of components, with weights fitted on the judging rows."""
        weights = corrective_weights(log_probs[self.judge], self.judge.weights, start)
        scores = [
            rows.mean(mixture_log_prob(log_probs[rows], weights.log()))
            for rows in (self.train, self.judge)
        ]
        return Stage(weights, *scores)
