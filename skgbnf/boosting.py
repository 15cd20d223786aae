r"""Boosting of component densities: the paper, and only the paper.

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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter

import torch
from torch import Tensor
from zuko.lazy import LazyDistribution

from skgbnf._random import derive_seed, seeded
from skgbnf.flows import Architecture, initialise
from skgbnf.mixture import component_log_prob, mixture_log_prob
from skgbnf.training import Objective, Rows, Settings, fit_component, fits_by_em

_EM_STEPS = 1000
_EM_TOL = 1e-9
_PRIOR_ROWS = 1.0
_WEIGHT_CLIP = 10.0
_FINE_TUNE_RATE = 0.25
_SETTLING_STEPS = 20
_TRIALS_PER_ROUND = 10

Ladder = Iterable[Architecture]
"""Architectures of one family, each larger than the one before."""


class MaximumLikelihood:
    """Objective of the first round: the plain likelihood."""

    def __init__(self, train: Rows, judge: Rows) -> None:
        self._weights, self._judge = train.weights, judge

    def row_weights(self, log_g: Tensor, index: Tensor | slice, progress: float) -> Tensor:
        return self._weights[index]

    def judge(self, log_g: Tensor) -> float:
        return self._judge.mean(log_g)


class Greedy:
    r"""The likelihood of the mixture as a function of the new component.

    Maximises ``mean log((1 - rho) G + rho g)`` with ``G`` held fixed. The weight of a row is the
    share ``g / ((1 - rho) G + rho g)``: the component's responsibility, over ``rho``.

    Parameters
    ----------
    train, judge : Rows

    log_G_train, log_G_judge : Tensors of shape (n_samples,)
        Log-density of the rest of the mixture.

    rho : float
        Weight of the component to begin with.

    tempered : bool, default=False
        Whether the weights are raised to a power that rises from 0 to 1 during the round. With
        1 the objective is exact; with 0 the component ignores the rest of the mixture, which
        serves a strong component better. The judging rows choose where to stop in between.
    """

    def __init__(
        self,
        train: Rows,
        judge: Rows,
        log_G_train: Tensor,
        log_G_judge: Tensor,
        rho: float,
        *,
        tempered: bool = False,
    ) -> None:
        self._train, self._judge = train, judge
        self._log_G_train, self._log_G_judge = log_G_train, log_G_judge
        self._rho, self._smallest = rho, min(rho, 1 - rho)
        self._tempered = tempered

    def row_weights(self, log_g: Tensor, index: Tensor | slice, progress: float) -> Tensor:
        log_G = self._log_G_train[index]
        log_mixture = torch.logaddexp(math.log1p(-self._rho) + log_G, math.log(self._rho) + log_g)
        power = progress if self._tempered else 1.0
        return self._train.weights[index] * (power * (log_g - log_mixture)).exp()

    def judge(self, log_g: Tensor) -> float:
        log_probs = torch.stack([self._log_G_judge, log_g], dim=1)
        start = log_g.new_tensor([1 - self._rho, self._rho])
        weights = corrective_weights(log_probs, self._judge.weights, start)
        # A component that is still poor must not be starved before it has learned, and that it
        # gets less poor must show.
        self._rho = min(max(float(weights[1]), self._smallest / 2), 1 - self._smallest / 2)
        weights = log_g.new_tensor([1 - self._rho, self._rho])
        return self._judge.mean(mixture_log_prob(log_probs, weights.log()))


class Weighted(Greedy):
    """The paper's objective: the component's own likelihood on rows weighted by ``1 / G``.

    The weights are fixed for the round, a softmax of ``-log G`` over the whole training set,
    clipped at ten times their mean.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        rows = self._train.weights
        inverse = torch.softmax(-self._log_G_train, dim=0) * len(rows)
        self._weights = rows * inverse.clamp(max=_WEIGHT_CLIP)
        self._weights /= self._weights.mean()

    def row_weights(self, log_g: Tensor, index: Tensor | slice, progress: float) -> Tensor:
        return self._weights[index]


OBJECTIVES = {
    "tempered": partial(Greedy, tempered=True),
    "greedy": Greedy,
    "weighted": Weighted,
}
"""Objectives of the rounds after the first, by name."""


def corrective_weights(log_probs: Tensor, row_weights: Tensor, start: Tensor) -> Tensor:
    """Fit the weights of a mixture of fixed components by EM.

    A Dirichlet prior worth one row in all keeps every weight above zero, so that a row
    that only one component explains stays explained.

    Parameters
    ----------
    log_probs : Tensor of shape (n_samples, n_components)
        Log-densities of the components.

    row_weights : Tensor of shape (n_samples,)

    start : Tensor of shape (n_components,)
        Weights to begin with.

    Returns
    -------
    weights : Tensor of shape (n_components,)
        They sum to 1.
    """
    densities = (log_probs - log_probs.amax(dim=1, keepdim=True)).exp()
    prior = _PRIOR_ROWS / log_probs.shape[1]
    rows = row_weights * (len(row_weights) / row_weights.sum())
    weights = start
    for _ in range(_EM_STEPS):
        scaled = densities * weights
        counts = (rows / scaled.sum(dim=1)) @ scaled + prior
        updated = counts / counts.sum()
        if float((updated - weights).abs().max()) < _EM_TOL:
            return updated
        weights = updated
    return weights


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


def certificate(log_G: Tensor, log_g: Tensor, rows: Rows) -> float:
    """Gain in mean log-likelihood, per unit of weight, of adding a component with weight zero.

    ``mean(g / G) - 1`` bounds from above what any positive weight of ``g`` can gain, since the
    likelihood is concave in the weight.
    """
    ratio = (log_g - log_G).clamp(max=50.0).exp()
    return rows.mean(ratio) - 1.0


@dataclass(frozen=True)
class Stage:
    """The mixture after one round: weights of its components and mean log-likelihoods in nats."""

    weights: Tensor
    train_score: float
    judge_score: float


@dataclass(frozen=True)
class _Fitted:
    """A trained component, and how good the judging rows say it is."""

    architecture: Architecture
    component: LazyDistribution
    n_iter: int
    score: float

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

    def add_round(self, ladders: Sequence[Ladder], seconds: float = math.inf) -> None:
        """Train one more component, the best by the judging rows of what the ladders offer.

        Where there are several ladders, networks are tried for a tenth of the epochs and of the
        `seconds` that the round may take, and only the best of them is trained in full.
        """
        contest = len(ladders) > 1
        start = time.perf_counter()
        full = trial = replace(self._settings, seconds=seconds)
        if contest:
            max_iter = math.ceil(full.max_iter / _TRIALS_PER_ROUND)
            share = max(_TRIALS_PER_ROUND, 2 * len(ladders))
            trial = replace(full, max_iter=max_iter, seconds=seconds / share)
        tried = [self._climb(ladder, trial) for ladder in ladders]
        networks = [fitted for fitted in tried if not fitted.exact]
        if contest and networks:
            left = seconds - (time.perf_counter() - start)
            architecture = max(networks, key=attrgetter("score")).architecture
            tried.append(self._fit(architecture, replace(full, seconds=left)))
        best = max(reversed(tried), key=attrgetter("score"))
        gain = math.inf
        if self.components:
            log_g = component_log_prob(best.component, self.judge.x)
            gain = certificate(self._log_density(self.judge), log_g, self.judge)
        self.append(best.architecture, best.component, best.n_iter, gain)

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
        self.n_iter[k] += fit_component(
            component, objective, self.train, self.judge, settings, seed
        )

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

    def _climb(self, ladder: Ladder, settings: Settings) -> _Fitted:
        """The best component of a ladder, climbed while the judging rows gain."""
        best, deadline = None, time.perf_counter() + settings.seconds
        for architecture in ladder:
            left = deadline - time.perf_counter()
            if best is not None and left <= 0:
                break
            fitted = self._fit(architecture, replace(settings, seconds=left))
            if best is not None and fitted.score <= best.score:
                break
            best = fitted
        return best

    def _fit(self, architecture: Architecture, settings: Settings) -> _Fitted:
        seed = derive_seed(self._seed, 1, len(self.components))
        device = self.train.x.device
        with seeded(seed, device):
            component = architecture.build().to(device, torch.float64)
        initialise(component, self.train.x, self.train.weights)
        if not fits_by_em(component):
            component = component.float()
        objective = self._new_objective(component)
        n_iter = fit_component(
            component, objective, self.train, self.judge, settings, derive_seed(seed, 1)
        )
        score = self._mixture_objective().judge(component_log_prob(component, self.judge.x))
        return _Fitted(architecture, component, n_iter, score)

    def _new_objective(self, component: LazyDistribution) -> Objective:
        """What a component added now is trained for.

        EM needs no tempering; the first network, no component to leave rows to.
        """
        exact = fits_by_em(component)
        if self._objective == "tempered" and not exact and all(map(fits_by_em, self.components)):
            return MaximumLikelihood(self.train, self.judge)
        return self._mixture_objective(exact)

    def _mixture_objective(self, exact: bool = True) -> Objective:
        """The likelihood of the mixture with one component more."""
        if not self.components:
            return MaximumLikelihood(self.train, self.judge)
        make = Greedy if exact and self._objective == "tempered" else OBJECTIVES[self._objective]
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

    def _log_density(self, rows: Rows) -> Tensor:
        return mixture_log_prob(self._log_probs[rows], self.stages[-1].weights.log())

    def _next_stage(self, stages: Sequence[Stage]) -> Stage:
        """The mixture with one component more than after `stages`."""
        n_rounds = len(stages) + 1
        start = self.train.x.new_full((n_rounds,), 1 / n_rounds)
        if stages:
            start[:-1] = stages[-1].weights * (1 - 1 / n_rounds)
        return self._stage(self._log_probs, start)

    def _stage(self, log_probs: dict[Rows, Tensor], start: Tensor) -> Stage:
        """The mixture of the first components, with weights fitted on the judging rows."""
        log_probs = {rows: matrix[:, : len(start)] for rows, matrix in log_probs.items()}
        weights = corrective_weights(log_probs[self.judge], self.judge.weights, start)
        scores = [
            rows.mean(mixture_log_prob(log_probs[rows], weights.log()))
            for rows in (self.train, self.judge)
        ]
        return Stage(weights, *scores)
