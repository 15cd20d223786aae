"""Gradient descent with a schedule, patience and the best state restored.

It depends on a :class:`Target` alone: batches, their loss and a validation score. Whether a flow,
an autoencoder or a mixture is trained, and on what, is the target's.
"""

import copy
import math
from collections.abc import Iterable
from typing import Any, Protocol

import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

from skgbnf._clock import Clock
from skgbnf._warnings import warn
from skgbnf.training.objective import TrainingSettings

_CLIP_NORM = 5.0
_AVERAGING = 0.998
_DECAY = 0.25
_MAX_FAILED_STEPS = 10


class Target(Protocol):
    """What is trained, on what, and for what.

    Attributes
    ----------
    module : nn.Module
        Trained in place. Parameters that need no gradient stay as they are.

    n_batches : int
        Number of batches of an epoch.

    advice : str
        What a user is told to do where the loss is not finite.
    """

    module: nn.Module
    n_batches: int
    advice: str

    def batches(self, generator: torch.Generator) -> Iterable[Any]:
        """The batches of one epoch."""

    def loss(self, batch: Any, progress: float, generator: torch.Generator) -> Tensor:
        """Loss of a batch; `progress` runs from 0 to 1 over the epochs."""

    def score(self, module: nn.Module) -> float | None:
        """Validation score of a state of the module, higher is better; None to keep the last."""


def descend(target: Target, settings: TrainingSettings, seed: int) -> int:
    """Train the module of a target in place and leave it in its best state.

    What is scored after every epoch, and kept where it is the best, is the running average of the
    states. A target without scores ends in its last state, or where losses are not finite in that
    before them.

    Parameters
    ----------
    target : Target

    settings : TrainingSettings

    seed : int
        Governs batches and losses.

    Returns
    -------
    n_iter : int
        Number of epochs.
    """
    run, best = _Run(target, settings, seed), _Best()
    best.update(run.steps.average, target.score(run.steps.average))
    n_iter = n_stale = n_restarts = 0
    for n_iter in range(1, settings.max_iter + 1):
        healthy = run.epoch(n_iter, _DECAY**n_restarts, best.score)
        average = run.steps.average
        n_stale = 0 if healthy and best.update(average, target.score(average)) else n_stale + 1
        settings.on_epoch(n_iter, settings.max_iter, best.score)
        if run.progress >= 1:
            break
        if healthy and n_stale < settings.patience:
            continue
        if n_restarts == settings.n_restarts:
            break
        n_restarts, n_stale = n_restarts + 1, 0
        best.restore(target.module)
        run.steps.restart()
    best.restore(target.module)
    return n_iter


class _Best:
    """The state with the highest score so far."""

    def __init__(self) -> None:
        self.score = -math.inf
        self._state: dict[str, Tensor] | None = None

    def update(self, module: nn.Module, score: float | None) -> bool:
        """Keep a state if it is better than all before, or has no score; return whether it is."""
        better = score is None or score > self.score
        if better or self._state is None:
            self._state = copy.deepcopy(module.state_dict())
        if better and score is not None:
            self.score = score
        return better

    def restore(self, module: nn.Module) -> None:
        if self._state is not None:
            module.load_state_dict(self._state)


class _Run:
    """One descent under way."""

    def __init__(self, target: Target, settings: TrainingSettings, seed: int) -> None:
        self._target, self._settings = target, settings
        self._clock = Clock(settings.seconds)
        self._generator = torch.Generator().manual_seed(seed)
        self.steps = Steps(target.module, settings)
        self.progress = 0.0

    def epoch(self, n_iter: int, factor: float, best_score: float) -> bool:
        """Take the steps of one epoch; return False once too many losses were not finite."""
        target, settings, n_batches = self._target, self._settings, self._target.n_batches
        n_steps = settings.max_iter * n_batches
        for i, batch in enumerate(target.batches(self._generator)):
            done = (n_iter - 1) * n_batches + i
            self.progress = max(done / n_steps, self._clock.share())
            if self.progress >= 1:
                return True
            loss = target.loss(batch, self.progress, self._generator)
            healthy = self.steps.step(loss, _cosine(self.progress) * factor)
            fraction = n_iter - 1 + (i + 1) / (n_batches + 1)
            settings.on_epoch(fraction, settings.max_iter, best_score)
            if not healthy:
                _warn_not_finite(target.advice)
                return False
        return True


def _cosine(progress: float) -> float:
    """Factor of the learning rate: half a cosine from 1 down to 0."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def _warn_not_finite(advice: str) -> None:
    warn(
        f"{_MAX_FAILED_STEPS} training steps had a loss or gradient that was not finite. "
        f"The best state so far is restored. {advice}",
        ConvergenceWarning,
    )


class Steps:
    """Steps of an optimiser with clipped gradients; those that are not finite are left out.

    Beside the module it keeps the running average of its states, which scores better than any
    single one.

    Parameters
    ----------
    module : nn.Module

    settings : TrainingSettings
    """

    def __init__(self, module: nn.Module, settings: TrainingSettings) -> None:
        self.average = copy.deepcopy(module)
        self._averages: list[Tensor] = list(self.average.parameters())
        self._settings = settings
        self._parameters: list[Tensor] = list(module.parameters())
        self.restart()

    def restart(self) -> None:
        """Go on from the module's present state, with fresh moments; the average follows."""
        self._optimiser = self._settings.optimiser(self._parameters)
        self._n_steps = self._n_failed = 0

    def step(self, loss: Tensor, factor: float) -> bool:
        """Take one step at `factor` times the rate; return False once too many have failed."""
        for group in self._optimiser.param_groups:
            group["lr"] = self._settings.learning_rate * factor
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
        torch._foreach_lerp_(self._averages, self._parameters, share)
