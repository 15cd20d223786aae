"""Components fitted by EM: starts tried, the best one run to its end."""

import copy
import math

import torch
from torch import Tensor
from zuko.lazy import LazyDistribution

from skgbnf._clock import Clock
from skgbnf._random import derive_seed, own_generator
from skgbnf.flows import FittedByEM
from skgbnf.training.mixture import component_log_prob
from skgbnf.training.objective import Index, Objective, TrainingSettings, clear_gain

_TRIAL_STEPS = 5
_TRIAL_ROWS = 5000
_STEPS = 200
_PATIENCE = 3


def em_is_exact(component: LazyDistribution, objective: Objective) -> bool:
    """Whether one step of EM is the maximum: of one Gaussian, on samples of fixed weights."""
    return (
        isinstance(component, FittedByEM) and component.em_step_is_exact and objective.weights_stay
    )


def fit_by_em(
    component: FittedByEM, objective: Objective, settings: TrainingSettings, seed: int
) -> int:
    """Fit a component from several starts, whatever its state, and leave it in its best state.

    Returns
    -------
    n_iter : int
        Number of iterations; 1 where one step is exact.
    """
    fit = _Fit(component, objective, settings)
    if em_is_exact(component, objective):
        return fit.in_one_step()
    fit.try_starts(seed)
    fit.restore()
    return fit.iterate()


def continue_em(component: FittedByEM, objective: Objective, settings: TrainingSettings) -> int:
    """Run EM from the state that a component is in, and leave it in its best state.

    Returns
    -------
    n_iter : int
        Number of iterations; 0 where the one step before was exact.
    """
    if em_is_exact(component, objective):
        return 0
    fit = _Fit(component, objective, settings)
    fit.update()
    return fit.iterate()


class _Samples:
    """Samples as the core of a component sees them."""

    def __init__(self, component: FittedByEM, x: Tensor) -> None:
        self.x, self._log_det = component.mapped(x)

    def some(self, index: Tensor) -> "_Samples":
        part = copy.copy(self)
        part.x, part._log_det = self.x[..., index, :], self._log_det[..., index]
        return part

    def log_prob(self, core: FittedByEM) -> Tensor:
        return component_log_prob(core, self.x) + self._log_det

    def step(self, core: FittedByEM, weights: Tensor) -> Tensor:
        """One step with these weights; return the log-densities after it."""
        if weights.sum() > 0:
            core.em_step(self.x, weights)
        return self.log_prob(core)


class _Fit:
    """One component being fitted, and its best state so far, by the objective's score."""

    def __init__(
        self, component: FittedByEM, objective: Objective, settings: TrainingSettings
    ) -> None:
        self._core, self._objective, self._settings = component.core, objective, settings
        self._train, self._validation = (
            _Samples(component, rows.x)
            for rows in (objective.train_rows, objective.validation_rows)
        )
        self._clock = Clock(settings.seconds)
        self._score, self._state = -math.inf, copy.deepcopy(self._core.state_dict())

    def update(self, least_gain: float = 0.0) -> bool:
        """Score the present state; keep it, and return True, if it gains more than `least_gain`."""
        score = self._objective.score(self._validation.log_prob(self._core))
        if not score > self._score + least_gain:
            return False
        self._score, self._state = score, copy.deepcopy(self._core.state_dict())
        return True

    def restore(self) -> None:
        self._core.load_state_dict(self._state)

    def in_one_step(self) -> int:
        weights = self._objective.train_rows.weights
        everywhere = self._objective.row_weights(torch.zeros_like(weights), slice(None), 1.0)
        self._core.em_step(self._train.x, everywhere)
        score = self._objective.score(self._validation.log_prob(self._core))
        self._settings.on_epoch(1, 1, score)
        return 1

    def try_starts(self, seed: int) -> None:
        """Run EM for a few steps from random places, which is how it leaves poor optima."""
        rows, core, objective = self._objective.train_rows, self._core, self._objective
        some = _some_rows(len(rows), seed).to(rows.x.device)
        samples, index = self._train.some(some), (..., some)
        everywhere = self._everywhere(rows.weights[index], index)
        n_samples, n_features = samples.x.shape[-2:]
        n_smallest = min(n_samples, 2 * n_features + 2)
        for start in range(core.n_em_starts):
            n_neighbours = max(n_smallest, n_samples >> (start % 4 + 2))
            with own_generator(derive_seed(seed, start)):
                core.em_seed(samples.x, everywhere, n_neighbours, start)
            log_g = samples.log_prob(core)
            for _ in range(_TRIAL_STEPS):
                log_g = samples.step(core, objective.row_weights(log_g, index, 1.0))
                if self._clock.share() >= 1:
                    break
            plain = start < core.n_plain_starts
            self.update(0.0 if plain else clear_gain(objective.validation_rows))
            if not self._clock.has_time():
                break

    def iterate(self) -> int:
        """Run EM until nothing is gained, and restore the best state; return the iterations."""
        log_g = self._train.log_prob(self._core)
        n_iter = n_stale = 0
        timely = self._clock.share() < 1
        self._clock.lap()
        while n_iter < _STEPS and n_stale < _PATIENCE and timely:
            n_iter += 1
            weights = self._objective.row_weights(log_g, slice(None), 1.0)
            before, log_g = log_g, self._train.step(self._core, weights)
            gain = float((weights * (log_g - before)).mean())
            n_stale = 0 if self.update() else n_stale + 1
            self._settings.on_epoch(n_iter, _STEPS, self._score)
            if gain < self._settings.em_tol:
                break
            timely = self._clock.has_time()
        self.restore()
        return n_iter

    def _everywhere(self, weights: Tensor, index: Index) -> Tensor:
        """Weights for a start, before the component has a density of its own."""
        everywhere = self._objective.row_weights(torch.zeros_like(weights), index, 1.0)
        # Underflow, where the mixture is very dense everywhere.
        enough = everywhere.sum(-1, keepdim=True) > 0
        return torch.where(enough, everywhere, weights)


def _some_rows(n_rows: int, seed: int) -> Tensor:
    """Indices of all samples or, of many, of some drawn at random."""
    if n_rows <= _TRIAL_ROWS:
        return torch.arange(n_rows, device="cpu")
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(n_rows, generator=generator, device="cpu")[:_TRIAL_ROWS]
