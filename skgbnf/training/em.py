"""Components fitted by EM: starts tried, the best one run to its end."""

import copy
import math

import torch
from torch import Tensor
from zuko.lazy import LazyDistribution

from skgbnf._random import derive_seed, own_generator
from skgbnf.flows import FittedByEM
from skgbnf.training.descent import Clock
from skgbnf.training.mixture import component_log_prob
from skgbnf.training.objective import Objective, TrainingSettings, clear_gain

_TRIAL_STEPS = 5
_TRIAL_ROWS = 5000
_STEPS = 200
_PATIENCE = 10


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
    if em_is_exact(component, objective):
        return _fit_in_one_step(component, objective, settings)
    clock, best = Clock(settings.seconds), _Best(component, objective)
    _try_starts(component, objective, best, clock, seed)
    best.restore()
    return _iterate(component, objective, settings, best, clock)


def continue_em(component: FittedByEM, objective: Objective, settings: TrainingSettings) -> int:
    """Run EM from the state that a component is in, and leave it in its best state.

    Returns
    -------
    n_iter : int
        Number of iterations; 0 where the one step before was exact.
    """
    if em_is_exact(component, objective):
        return 0
    clock, best = Clock(settings.seconds), _Best(component, objective)
    best.update()
    return _iterate(component, objective, settings, best, clock)


class _Best:
    """The best state so far, by the objective's score."""

    def __init__(self, component: FittedByEM, objective: Objective) -> None:
        self._component, self._objective = component, objective
        self.score, self._state = -math.inf, copy.deepcopy(component.state_dict())

    def update(self, least_gain: float = 0.0) -> bool:
        """Score the present state; keep it, and return True, if it gains more than `least_gain`."""
        rows = self._objective.validation_rows
        score = self._objective.score(component_log_prob(self._component, rows.x, rows.context))
        if not score > self.score + least_gain:
            return False
        self.score, self._state = score, copy.deepcopy(self._component.state_dict())
        return True

    def restore(self) -> None:
        self._component.load_state_dict(self._state)


def _fit_in_one_step(
    component: FittedByEM, objective: Objective, settings: TrainingSettings
) -> int:
    train, validation = objective.train_rows, objective.validation_rows
    weights = objective.row_weights(train.x.new_zeros(train.weights.shape), slice(None), 1.0)
    component.em_step(train.x, weights)
    log_g = component_log_prob(component, validation.x, validation.context)
    settings.on_epoch(1, 1, objective.score(log_g))
    return 1


def _iterate(
    component: FittedByEM,
    objective: Objective,
    settings: TrainingSettings,
    best: _Best,
    clock: Clock,
) -> int:
    train = objective.train_rows
    log_g = component_log_prob(component, train.x)
    n_iter = n_stale = 0
    timely = clock.share() < 1
    clock.lap()
    while n_iter < _STEPS and n_stale < _PATIENCE and timely:
        n_iter += 1
        weights = objective.row_weights(log_g, slice(None), 1.0)
        before, log_g = log_g, _step(component, train.x, weights)
        gain = float((weights * (log_g - before)).mean())
        n_stale = 0 if best.update() else n_stale + 1
        settings.on_epoch(n_iter, _STEPS, best.score)
        if gain < settings.em_tol:
            break
        timely = clock.has_time()
    best.restore()
    return n_iter


def _try_starts(
    component: FittedByEM, objective: Objective, best: _Best, clock: Clock, seed: int
) -> None:
    """Run EM for a few steps from random places, which is how it leaves poor optima."""
    train = objective.train_rows
    some = _some_rows(len(train), seed).to(train.x.device)
    rows, index = train[some], (..., some)
    x = rows.x
    everywhere = objective.row_weights(x.new_zeros(x.shape[:-1]), index, 1.0)
    # Underflow, where the mixture is very dense everywhere.
    enough = everywhere.sum(-1, keepdim=True) > 0
    everywhere = torch.where(enough, everywhere, rows.weights)
    n_smallest = min(len(rows), 2 * x.shape[-1] + 2)
    for start in range(component.n_em_starts):
        n_neighbours = max(n_smallest, len(rows) >> (start % 4 + 2))
        with own_generator(derive_seed(seed, start)):
            component.em_seed(x, everywhere, n_neighbours, start)
        log_g = component_log_prob(component, x)
        for _ in range(_TRIAL_STEPS):
            log_g = _step(component, x, objective.row_weights(log_g, index, 1.0))
            if clock.share() >= 1:
                break
        plain = start < component.n_plain_starts
        best.update(0.0 if plain else clear_gain(objective.validation_rows))
        if not clock.has_time():
            break


def _some_rows(n_rows: int, seed: int) -> Tensor:
    """Indices of all samples or, of many, of some drawn at random."""
    if n_rows <= _TRIAL_ROWS:
        return torch.arange(n_rows, device="cpu")
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(n_rows, generator=generator, device="cpu")[:_TRIAL_ROWS]


def _step(component: FittedByEM, x: Tensor, weights: Tensor) -> Tensor:
    """One step on samples with these weights; return their log-densities after it."""
    if weights.sum() > 0:
        component.em_step(x, weights)
    return component_log_prob(component, x)
