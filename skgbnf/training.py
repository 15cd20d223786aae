"""Fitting of one component: minibatches or EM, schedule, patience, best state restored.

This room knows an objective as a weight for every row and a score for a finished state; it does
not know where they come from.
"""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn
from zuko.lazy import LazyDistribution

from skgbnf._random import derive_seed, own_generator
from skgbnf._warnings import warn
from skgbnf.flows import Dropout
from skgbnf.flows.weighted import RIDGE, weighted_gaussian
from skgbnf.mixture import component_log_prob

_CLIP_NORM = 5.0
_AVERAGING = 0.998
_PATIENCE = 6
_DECAY = 0.25
_N_DECAYS = 3
_MAX_FAILED_STEPS = 10
_EM_TRIAL_STEPS = 5
_EM_TRIAL_ROWS = 5000
_EM_STEPS = 200
_EM_PATIENCE = 10
_ROW_SPREAD = 1.0
_STEP = 0.05
_SHORTEST = 1e-4


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows to learn from or to judge by, standardised, in float64.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features)

    weights : Tensor of shape (n_samples,)
        Mean 1.
    """

    x: Tensor
    weights: Tensor

    def part(self, index: Tensor) -> "Rows":
        """Some of the rows."""
        weights = self.weights[index]
        return Rows(self.x[index], weights / weights.mean())

    def mean(self, values: Tensor) -> float:
        """Weighted mean over the rows."""
        return float(self.weights @ values / self.weights.sum())


class Objective(Protocol):
    """What a component is trained for, as a weighted likelihood that may move with it.

    Attributes
    ----------
    train_rows, judge_rows : Rows
        Rows to learn from, and rows by which the best state is chosen (the same if there are no
        held-out rows).

    weights_stay : bool
        Whether the weights of the training rows do not depend on the component.
    """

    train_rows: Rows
    judge_rows: Rows
    weights_stay: bool

    def row_weights(self, log_g: Tensor, index: Tensor | slice, progress: float) -> Tensor:
        """Weights of training rows, given the component's log-densities there.

        `progress` runs from 0 to 1 over the epochs. The weights are the gradient of the
        objective with respect to ``log_g``, up to a constant factor.
        """

    def judge(self, log_g: Tensor) -> float:
        """Return how good the component is, in nats, given its log-densities on judging rows.

        Called after every epoch; what moves with the component is brought up to date here.
        """


def _tell_nobody(*news: object) -> None:
    pass


@dataclass(frozen=True)
class Settings:
    """How long and how fast a component is trained.

    Parameters
    ----------
    max_iter : int
        Epochs.

    batch_size : int

    learning_rate : float

    seconds : float, default=inf
        Wall time. The schedule of the learning rate ends with whichever ends first, this or the
        epochs.

    on_epoch : callable ``(n_iter, max_iter, score)``
        Told of each epoch, or EM iteration, and the best score so far; within an epoch of each
        step, `n_iter` then with a fraction.

    on_part : callable ``(what)``
        Told in words what is trained next, by those who choose it.

    lipschitz_penalty : float, default=0.0
        Weight, in the loss of components that are trained by their gradient, of the mean squared
        logarithm of how much their maps stretch short steps.

    em_tol : float, default=1e-5
        EM ends with the first step that gains less, in nats of the objective.
    """

    max_iter: int
    batch_size: int
    learning_rate: float
    seconds: float = math.inf
    on_epoch: Callable[[float, int, float], None] = _tell_nobody
    on_part: Callable[[str], None] = _tell_nobody
    lipschitz_penalty: float = 0.0
    em_tol: float = 1e-5


def fits_by_em(component: LazyDistribution) -> bool:
    """Whether a component is fitted by EM and not by its gradient."""
    return hasattr(component, "em_step")


def em_is_exact(component: LazyDistribution, objective: Objective) -> bool:
    """Whether one step of EM is the maximum: of one Gaussian, on rows whose weights stay."""
    return getattr(component, "em_step_is_exact", False) and objective.weights_stay


def fit_component(
    component: LazyDistribution,
    objective: Objective,
    settings: Settings,
    seed: int,
) -> int:
    """Train a component in place and leave it in its best state.

    Parameters
    ----------
    component : zuko.lazy.LazyDistribution
        With the methods ``em_seed`` and ``em_step`` it is fitted by EM from ``n_em_starts``
        starts, whatever its state, or in one step where that is exact; otherwise by Adam from
        the state it is in.

    objective : Objective

    settings : Settings

    seed : int
        Governs the order of the rows and, for EM, the starts.

    Returns
    -------
    n_iter : int
        Number of epochs, or of EM iterations.
    """
    if fits_by_em(component):
        return _fit_by_em(component, objective, settings, seed)
    if not list(component.parameters()):
        return 0
    return _fit_by_gradient(component, objective, settings, seed)


def clear_gain(rows: Rows) -> float:
    """Gain, in nats, that is more than what luck with these judging rows brings.

    The log-densities of a row under two fits of one table differ by a few tenths; a small gain,
    twice its standard error, will do.
    """
    return _ROW_SPREAD / math.sqrt(len(rows.x))


class Clock:
    """Wall time since it was made, and whether there is time for more.

    Parameters
    ----------
    seconds : float
        What may be spent.
    """

    def __init__(self, seconds: float) -> None:
        self._start = self._lap = time.perf_counter()
        self._seconds = seconds

    def share(self) -> float:
        """Time as a share of what may be spent."""
        return (time.perf_counter() - self._start) / max(self._seconds, 1e-9)

    def lap(self) -> float:
        """Seconds since this, or :meth:`has_time`, was last called."""
        now = time.perf_counter()
        last, self._lap = now - self._lap, now
        return last

    def has_time(self, after: float = 0.0) -> bool:
        """Whether there is time left for one more lap like the last, and `after` seconds then."""
        last = self.lap()
        return self._lap + last + after < self._start + self._seconds


class _Best:
    """The best state seen, by the objective's score."""

    def __init__(self, component: LazyDistribution, objective: Objective) -> None:
        self._component, self._objective = component, objective
        self.score, self.state = -math.inf, copy.deepcopy(component.state_dict())

    def update(self, margin: float = 0.0) -> bool:
        """Score the present state; keep it and say so if it is better than all before.

        It must be better by more than `margin`, in nats.
        """
        rows = self._objective.judge_rows
        score = self._objective.judge(component_log_prob(self._component, rows.x))
        if not score > self.score + margin:
            return False
        self.score, self.state = score, copy.deepcopy(self._component.state_dict())
        return True

    def restore(self) -> None:
        self._component.load_state_dict(self.state)


def _fit_by_em(component, objective: Objective, settings: Settings, seed: int) -> int:
    if em_is_exact(component, objective):
        return _fit_in_one_step(component, objective, settings)
    clock, best = Clock(settings.seconds), _Best(component, objective)
    _try_starts(component, objective, best, clock, seed)
    best.restore()
    return _run_em(component, objective, settings, best, clock)


def _fit_in_one_step(component, objective: Objective, settings: Settings) -> int:
    train = objective.train_rows
    weights = objective.row_weights(train.x.new_zeros(len(train.x)), slice(None), 1.0)
    component.em_step(train.x, weights)
    log_g = component_log_prob(component, objective.judge_rows.x)
    settings.on_epoch(1, 1, objective.judge(log_g))
    return 1


def continue_em(component: LazyDistribution, objective: Objective, settings: Settings) -> int:
    """Run EM from the state that a component is in, and leave it in its best state.

    Returns
    -------
    n_iter : int
        Number of iterations; none where the one step before was exact.
    """
    if em_is_exact(component, objective):
        return 0
    clock, best = Clock(settings.seconds), _Best(component, objective)
    best.update()
    return _run_em(component, objective, settings, best, clock)


def _run_em(component, objective: Objective, settings: Settings, best: _Best, clock) -> int:
    train = objective.train_rows
    log_g = component_log_prob(component, train.x)
    n_iter = n_stale = 0
    timely = clock.share() < 1
    clock.lap()
    while n_iter < _EM_STEPS and n_stale < _EM_PATIENCE and timely:
        n_iter += 1
        weights = objective.row_weights(log_g, slice(None), 1.0)
        before, log_g = log_g, _em_step(component, train.x, weights)
        gain = float(weights @ (log_g - before)) / len(log_g)
        n_stale = 0 if best.update() else n_stale + 1
        settings.on_epoch(n_iter, _EM_STEPS, best.score)
        if gain < settings.em_tol:
            break
        timely = clock.has_time()
    best.restore()
    return n_iter


def _try_starts(component, objective: Objective, best: _Best, clock: Clock, seed: int) -> None:
    """Run EM for a few steps from random places, which is how it leaves poor optima."""
    train = objective.train_rows
    some = _some_rows(len(train.x), seed).to(train.x.device)
    x = train.x[some]
    everywhere = objective.row_weights(x.new_zeros(len(x)), some, 1.0)
    if not everywhere.sum() > 0:  # underflow, where the mixture is very dense everywhere
        everywhere = train.weights[some]
    n_smallest = min(len(x), 2 * x.shape[1] + 2)
    for start in range(component.n_em_starts):
        n_neighbours = max(n_smallest, len(x) >> (start % 4 + 2))
        with own_generator(derive_seed(seed, start)):
            component.em_seed(x, everywhere, n_neighbours, start)
        log_g = component_log_prob(component, x)
        for _ in range(_EM_TRIAL_STEPS):
            log_g = _em_step(component, x, objective.row_weights(log_g, some, 1.0))
            if clock.share() >= 1:
                break
        plain = start < component.n_plain_starts
        best.update(0.0 if plain else clear_gain(objective.judge_rows))
        if not clock.has_time():
            break


def _some_rows(n_rows: int, seed: int) -> Tensor:
    """Indices of all rows or, of many, of some drawn at random."""
    if n_rows <= _EM_TRIAL_ROWS:
        return torch.arange(n_rows, device="cpu")
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(n_rows, generator=generator, device="cpu")[:_EM_TRIAL_ROWS]


def _em_step(component, x: Tensor, weights: Tensor) -> Tensor:
    """One step on rows with these weights; return their log-densities after it."""
    if weights.sum() > 0:
        component.em_step(x, weights)
    return component_log_prob(component, x)


def _fit_by_gradient(component, objective: Objective, settings: Settings, seed: int) -> int:
    clock, progress = Clock(settings.seconds), 0.0
    # One that was rebuilt from arrays is to go on as if it had never been arrays.
    component.train()
    generator = torch.Generator().manual_seed(seed)
    batch_loss = _BatchLoss(component, objective, settings.lipschitz_penalty, generator)
    n_rows, device = len(objective.train_rows.x), objective.train_rows.x.device
    descent = Descent(component, settings.learning_rate)
    best = _Best(descent.average, objective)
    best.update()
    n_batches = math.ceil(n_rows / settings.batch_size)
    n_steps = settings.max_iter * n_batches
    n_stale = n_decays = 0
    for n_iter in range(1, settings.max_iter + 1):
        order = torch.randperm(n_rows, generator=generator, device="cpu").to(device)
        healthy = True
        for i, index in enumerate(order.tensor_split(n_batches)):
            progress = max(((n_iter - 1) * n_batches + i) / n_steps, clock.share())
            if progress >= 1:
                break
            loss = batch_loss(index, progress)
            healthy = descent.step(loss, cosine(progress) * _DECAY**n_decays)
            settings.on_epoch(n_iter - 1 + (i + 1) / (n_batches + 1), settings.max_iter, best.score)
            if not healthy:
                warn_not_finite(
                    "The best state so far is restored and the rate lowered. Lower "
                    "learning_rate_init or look for extreme values in X."
                )
                break
        n_stale = 0 if healthy and best.update() else n_stale + 1
        settings.on_epoch(n_iter, settings.max_iter, best.score)
        if progress >= 1:
            break
        if healthy and n_stale < _PATIENCE:
            continue
        if n_decays == _N_DECAYS:
            break
        n_decays, n_stale = n_decays + 1, 0
        component.load_state_dict(best.state)
        descent.restart()
    component.load_state_dict(best.state)
    return n_iter


def warn_not_finite(consequence: str) -> None:
    """Warn that :meth:`Descent.step` gave up, and say what follows and what to do about it."""
    warn(
        f"{_MAX_FAILED_STEPS} training steps had a loss or gradient that was not finite. "
        f"{consequence}",
        ConvergenceWarning,
    )


def cosine(progress: float) -> float:
    """Factor of the learning rate: half a cosine from 1 down to 0."""
    return 0.5 * (1 + math.cos(math.pi * progress))


class _BatchLoss:
    """Loss of a batch: minus its weighted likelihood, and what is penalised besides.

    Values are dropped in the likelihood only. Modules of a component may have a method
    ``penalty()``, which returns nats about the batch that they saw last; `lipschitz_penalty` is
    the weight of a :class:`StretchPenalty`, which a component without a map has not.
    """

    def __init__(
        self,
        component: LazyDistribution,
        objective: Objective,
        lipschitz_penalty: float,
        generator: torch.Generator,
    ) -> None:
        self._component, self._objective = component, objective
        self._x = objective.train_rows.x.float()
        self._penalties = [m.penalty for m in component.modules() if hasattr(m, "penalty")]
        self._dropouts = [m for m in component.modules() if isinstance(m, Dropout)]
        self._weight, self._generator = lipschitz_penalty, generator
        stretches = lipschitz_penalty and hasattr(component(), "transform")
        self._stretch = StretchPenalty(objective.train_rows) if stretches else None

    def __call__(self, index: Tensor, progress: float) -> Tensor:
        """The loss of the rows with these indices."""
        with lent(self._generator, self._dropouts):
            log_g = self._component().log_prob(self._x[index])
        weights = self._objective.row_weights(log_g.detach(), index, progress)
        loss = -(weights.to(log_g) * log_g).mean()
        loss = sum((penalty() for penalty in self._penalties), loss)
        if self._stretch is not None:
            stretch = self._stretch(self._component, self._x, index, self._generator)
            loss = loss + self._weight * stretch
        return loss


@contextmanager
def lent(generator: torch.Generator, dropouts: Iterable[Dropout]) -> Iterator[None]:
    """Let modules drop values for the length of a ``with`` block."""
    for module in dropouts:
        module.generator = generator
    try:
        yield
    finally:
        for module in dropouts:
            module.generator = None


class StretchPenalty:
    r"""Mean squared logarithm of how much the map of a component stretches short steps.

    For a step ``s`` of random direction from a row ``x`` it is that of

    .. math:: |T(x + s / 2) - T(x - s / 2)| / |A s|,

    where ``A`` whitens the rows. The best affine map costs nothing, then, however nearly columns
    are linear functions of each other; twice its stretch costs as much as half of it, so that map
    and inverse are bounded alike. The quotient of steps is what a Lipschitz constant bounds, and
    unlike a product with the Jacobian it does not ask layers for second derivatives.

    Parameters
    ----------
    rows : Rows
        All training rows.
    """

    def __init__(self, rows: Rows) -> None:
        _, factor = weighted_gaussian(rows.x, rows.weights, RIDGE)
        self._factor, self._weights = factor.float(), rows.weights.float()

    def __call__(
        self, component: LazyDistribution, x: Tensor, index: Tensor, generator: torch.Generator
    ) -> Tensor:
        """The penalty in some of the rows; a component must have a map."""
        transform, x = component().transform, x[index]
        directions = torch.randn(
            x.shape, generator=generator, dtype=torch.float32, device="cpu"
        ).to(x)
        directions = directions / directions.norm(dim=1, keepdim=True)
        step = _STEP * directions @ self._factor.T
        moved = (transform(x + step / 2) - transform(x - step / 2)).norm(dim=1)
        # Very far out a step is lost in rounding.
        log_stretch = (moved.clamp(min=_SHORTEST * _STEP) / _STEP).log()
        return (self._weights[index] * log_stretch.square()).mean()


class Descent:
    """Adam with clipped gradients that skips steps which are not finite.

    Beside the component it keeps the running average of its states, which scores better than
    any single one.
    """

    def __init__(self, component: nn.Module, learning_rate: float) -> None:
        self.average = copy.deepcopy(component)
        self._learning_rate = learning_rate
        self._parameters = list(component.parameters())
        self.restart()

    def restart(self) -> None:
        """Go on from the component's present state, with fresh moments; the average follows."""
        self._optimiser = torch.optim.Adam(self._parameters, fused=True)
        self._n_steps = self._n_failed = 0

    def step(self, loss: Tensor, factor: float) -> bool:
        """Take one step at `factor` times the rate; return False once too many have failed."""
        for group in self._optimiser.param_groups:
            group["lr"] = self._learning_rate * factor
        self._optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._parameters, _CLIP_NORM)
        if torch.isfinite(loss) and torch.isfinite(norm):
            self._optimiser.step()
            self._update_average()
            return True
        self._n_failed += 1
        return self._n_failed < _MAX_FAILED_STEPS

    @torch.no_grad()
    def _update_average(self) -> None:
        self._n_steps += 1
        share = max(1 - _AVERAGING, 10 / (10 + self._n_steps))
        for average, parameter in zip(self.average.parameters(), self._parameters, strict=True):
            average.lerp_(parameter, share)
