"""Gradient descent with a schedule, patience and the best state restored.

It depends on a :class:`Target` alone: batches, their loss and a validation score. Whether a flow,
an autoencoder or a mixture is trained, and on what, is the target's.
"""

import copy
import math
from collections.abc import Iterable, Iterator
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

    Parameters are those of a :class:`Descent`.

    Returns
    -------
    n_iter : int
        Number of epochs.
    """
    descent = Descent(target, settings, seed)
    descent.run()
    return descent.finish()


class Descent:
    """The training of a target's module, at once or in parts with pauses between them.

    What is scored after every epoch and at each pause, and kept where it is the best, is the
    running average of the states. A target without scores ends in its last state, or where losses
    are not finite in that before them.

    Parameters
    ----------
    target : Target

    settings : TrainingSettings
        Time passes only while it runs.

    seed : int
        Governs batches and losses.

    Attributes
    ----------
    n_iter : int
        Number of epochs so far, the one under way included.

    finished : bool
        Whether there is nothing left to do.
    """

    def __init__(self, target: Target, settings: TrainingSettings, seed: int) -> None:
        self.n_iter, self.finished = 0, settings.max_iter < 1
        self._target, self._settings = target, settings
        self._generator = torch.Generator().manual_seed(seed)
        self._steps, self._best = Steps(target.module, settings), _Best()
        self._batches: Iterator[Any] | None = None
        self._n_steps = self._n_stale = self._n_restarts = 0
        self._unscored = False
        self._clock = Clock(settings.seconds)
        self._score()
        self._clock.pause()

    @property
    def seconds(self) -> float:
        """Wall time for which it has run."""
        return self._clock.spent()

    def run(self, share: float = math.inf, seconds: float = math.inf) -> None:
        """Train until a share of the epochs or of the time is spent, or nothing is gained.

        Parameters
        ----------
        share : float, default=inf
            Of what the settings allow, what was spent before included.

        seconds : float, default=inf
            What may be spent from now on in any case; the learning rate falls with it.
        """
        self._clock.resume(seconds)
        while not self.finished and self._spent() < share:
            self._advance()
        if self._unscored:
            self._score()
        self._clock.pause()

    def best(self) -> nn.Module:
        """A copy of the module in its best state so far."""
        module = copy.deepcopy(self._target.module)
        self._best.restore(module)
        return module

    def finish(self) -> int:
        """Leave the module in its best state, and return the number of epochs."""
        self._best.restore(self._target.module)
        return self.n_iter

    def _spent(self) -> float:
        """Share of the epochs, or of the time, that is spent, whichever is larger."""
        n_batches = self._target.n_batches
        n_done = max(self.n_iter - 1, 0) * n_batches + self._n_steps
        return max(n_done / (self._settings.max_iter * n_batches), self._clock.share())

    def _advance(self) -> None:
        """Take one step, and end the epoch if it is the last of it or there is no more time."""
        target, settings = self._target, self._settings
        if self._batches is None:
            self.n_iter, self._n_steps = self.n_iter + 1, 0
            self._batches = iter(target.batches(self._generator))
        spent = self._spent()
        if spent >= 1:
            self._end_epoch(healthy=True)
            return
        loss = target.loss(next(self._batches), spent, self._generator)
        factor = _cosine(spent) * _DECAY**self._n_restarts
        healthy = self._unscored = self._steps.step(loss, factor)
        self._n_steps += 1
        fraction = self.n_iter - 1 + self._n_steps / (target.n_batches + 1)
        settings.on_epoch(fraction, settings.max_iter, self._best.score)
        if not healthy:
            _warn_not_finite(target.advice)
        if not healthy or self._n_steps == target.n_batches:
            self._end_epoch(healthy=healthy)

    def _end_epoch(self, *, healthy: bool) -> None:
        """Score the average; start again from the best state, or end, where nothing was gained."""
        settings, self._batches = self._settings, None
        self._n_stale = 0 if healthy and self._score() else self._n_stale + 1
        settings.on_epoch(self.n_iter, settings.max_iter, self._best.score)
        if self.n_iter == settings.max_iter or self._spent() >= 1:
            self.finished = True
        elif healthy and self._n_stale < settings.patience:
            return
        elif self._n_restarts == settings.n_restarts:
            self.finished = True
        else:
            self._n_restarts, self._n_stale = self._n_restarts + 1, 0
            self._best.restore(self._target.module)
            self._steps.restart()

    def _score(self) -> bool:
        """Score the average of the states, and return whether it is the best so far."""
        self._unscored = False
        average = self._steps.average
        return self._best.update(average, self._target.score(average))


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
        if self._parameters:
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
