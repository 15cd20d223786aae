"""A mixture that grows by rounds towards an unnormalised density, by a bound from draws."""

import copy
import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from zuko.lazy import LazyDistribution

from skgbnf._random import derive_seed
from skgbnf.boosting.base import Boosting, Limits, Stage
from skgbnf.flows import Architecture
from skgbnf.training.descent import descend
from skgbnf.training.fitted import FittedMixture, History
from skgbnf.training.objective import TrainingSettings
from skgbnf.variational.elbo import OBJECTIVES, RoundObjective, fit_weights, mixture_bound

# With losses from draws, Adam is ahead of Soap after few steps and level with it after many.
_ADAM = partial(torch.optim.Adam, fused=True)

VALIDATION_KEY, ROUND_KEY, FINE_TUNE_KEY, IMPORTANCE_KEY = 0, 1, 2, 3

Loss = Callable[[Any, float, float, torch.Generator], Tensor]
"""Of a batch, the share of the epochs that is over, the annealing, and a generator."""


@dataclass(frozen=True)
class Annealing:
    """A factor that rises to 1 at the beginning of a round, and the rate of the round.

    Attributes
    ----------
    start : float
        The factor at the start.

    warm_up : float
        Share of the epochs after which it is 1.

    rate : float
        Learning rate as a multiple of that of the settings.
    """

    start: float
    warm_up: float = 1.0
    rate: float = 1.0

    def factor(self, progress: float) -> float:
        """The factor when that share of the epochs is over."""
        return min(1.0, self.start + (1 - self.start) * progress / self.warm_up)


class VariationalBoosting(Boosting):
    """Rounds that raise the evidence lower bound of a mixture.

    A round trains a new component, and what else it lets learn, against the mixture so far;
    afterwards all weights are fitted anew. A round that does not gain is dropped at once, and the
    next one starts from other numbers.

    Parameters
    ----------
    module : nn.Module
        All that is trained. Its ``components`` is an empty ModuleList.

    architecture : Architecture
        Of the components.

    settings : TrainingSettings

    objective : {"greedy", "gradient"}
        What rounds after the first maximise.

    entropy_weight : float
        Factor of the logarithm of densities in these rounds.

    seed : int
        A round draws from a seed derived from this one and its number.

    device : torch.device
    """

    first: Annealing
    later: Annealing
    last: Annealing
    """Of the first round, of later ones, and of fine-tuning."""

    advice: str
    n_batches: int

    def __init__(
        self,
        module: nn.Module,
        architecture: Architecture,
        settings: TrainingSettings,
        objective: str,
        entropy_weight: float,
        seed: int,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.module, self.components = module, module.components
        self.weights = torch.ones(0, dtype=torch.float64, device=device)
        self.error = 0.0
        self._architecture, self._settings = architecture, settings
        self._objective: RoundObjective = OBJECTIVES[objective]
        self._entropy_weight, self._seed, self._device = entropy_weight, seed, device
        self._n_vain = 0
        self._kept: dict[int, tuple[dict[str, Tensor], Stage | None]] = {}
        self._keep(None)

    def add_round(self, limits: Limits) -> bool:
        n_rounds = len(self.stages)
        again = (self._n_vain,) if self._n_vain else ()
        seed = derive_seed(self._seed, ROUND_KEY, n_rounds, *again)
        self._settings.on_part(self._architecture.describe())
        self._let_learn(n_rounds)
        self.components.append(self._new_component(seed))
        rho = 1 / (n_rounds + 1)
        self.weights = torch.cat([(1 - rho) * self.weights, self.weights.new_tensor([rho])])
        loss = self._round_loss() if n_rounds else self._joint_loss
        left = limits.deadline - time.perf_counter()
        # Every round still to come, and every pass of fine-tuning, gets the same share.
        seconds = left / (limits.n_estimators - n_rounds + limits.fine_tune)
        n_iter = self._train(loss, self.later if n_rounds else self.first, seed, seconds)
        stage = self._stage()
        if n_rounds and not stage.validation_score > self.stages[-1].validation_score + limits.tol:
            self._n_vain += 1
            self.recover()
            return True
        self._n_vain = 0
        self._note(n_iter, stage)
        return True

    def has_stopped(self, limits: Limits) -> bool:
        return self._n_vain >= limits.n_iter_no_change

    def fine_tune(self, number: int, seconds: float) -> None:
        """Train everything at once on the bound of the mixture; undo it if the bound falls."""
        self.module.requires_grad_(True)
        self.weights = self._weights_to_tune()
        seed = derive_seed(self._seed, FINE_TUNE_KEY, self._tuning_key(number))
        n_iter = self._train(self._joint_loss, self.last, seed, seconds)
        stage = self._stage()
        if not stage.validation_score > self.stages[-1].validation_score:
            self.recover()
            return
        self.n_iter[-1] += n_iter
        self.weights = stage.weights
        self._keep(stage, n_rounds=len(self.stages))
        self.stages[-1] = stage

    def truncate(self, n_rounds: int) -> None:
        """Drop what no round has finished; a round without a gain was dropped when it ended."""
        self.recover()

    def recover(self) -> None:
        n_rounds = len(self.stages)
        for kept in (self.components, self.n_iter, self.gains, self.architectures):
            del kept[n_rounds:]
        state, stage = self._kept[n_rounds]
        self.module.load_state_dict(state)
        self.weights = self.weights[:0]
        if stage is not None:
            self.stages[-1], self.weights = stage, stage.weights

    def fitted(self) -> FittedMixture:
        return FittedMixture(self._fitted_components(), self._staged_weights())

    def restore(self, mixture: FittedMixture, history: History) -> None:
        """Go on from the rounds of an earlier fit, whose other modules are in place already."""
        scores, log_dets = (history.train_scores, history.validation_scores), self.log_dets
        for k, fitted in enumerate(mixture.components):
            self.components.append(fitted.to_module(torch.float32, self._device))
            self.architectures.append(fitted.architecture)
            weights = torch.from_numpy(mixture.staged_weights[k, : k + 1].copy()).to(self._device)
            train, validation = (None if own is None else float(own[k]) for own in scores)
            score = train if validation is None else validation
            self.stages.append(
                Stage(
                    weights,
                    None if train is None else train - log_dets[0],
                    (0.0 if score is None else score) - log_dets[1],
                )
            )
        self.n_iter, self.gains = history.n_iter.tolist(), history.gains.tolist()
        self.weights = self.stages[-1].weights
        self._keep(self.stages[-1], n_rounds=len(self.stages))

    def agrees(self) -> bool:
        """Whether what :meth:`restore` brought has the score here that it had before."""
        now, then = self._stage(), self.stages[-1]
        pairs = [(now.validation_score, then.validation_score)]
        if now.train_score is not None and then.train_score is not None:
            pairs.append((now.train_score, then.train_score))
        # Rounding differs from machine to machine, and these are single-precision sums.
        return all(math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-4) for a, b in pairs)

    def score(self, module: nn.Module) -> float | None:
        """Bound of a state, by which the best one of a round is chosen; None to take the last."""
        return float(self._fit_weights(module)[1].mean())

    @abstractmethod
    def batches(self, generator: torch.Generator) -> Iterable[Any]:
        """The batches of one epoch."""

    @abstractmethod
    def _let_learn(self, n_rounds: int) -> None:
        """Choose what learns in a round, apart from the new component."""

    @abstractmethod
    def _new_component(self, seed: int) -> LazyDistribution:
        """The component of a round, untrained."""

    @abstractmethod
    def _joint_loss(
        self, batch: Any, progress: float, factor: float, generator: torch.Generator
    ) -> Tensor:
        """Minus the bound of the mixture."""

    @abstractmethod
    def _round_loss(self) -> Loss:
        """Minus what a round after the first maximises."""

    @abstractmethod
    def draws(self, module: Any, *, validation: bool) -> tuple[Tensor, Tensor]:
        """What :func:`mixture_bound` needs, for a state of the module, in double precision."""

    def _weights_to_tune(self) -> Tensor:
        return self.weights

    def _tuning_key(self, number: int) -> int:
        return number

    def _train(self, loss: Loss, annealing: Annealing, seed: int, seconds: float) -> int:
        rate = annealing.rate * self._settings.learning_rate
        settings = replace(self._settings, learning_rate=rate, seconds=seconds, optimiser=_ADAM)
        return descend(_Target(self, loss, annealing), settings, derive_seed(seed, 1))

    @torch.no_grad()
    def _stage(self) -> Stage:
        """Fit the weights to validation draws; note their bound and its standard error."""
        weights, values = self._fit_weights(self.module)
        self.error = float(values.std() / values.numel() ** 0.5)
        score = float(values.mean())
        return Stage(weights, self._train_score(weights, score), score)

    def _fit_weights(self, module: nn.Module) -> tuple[Tensor, Tensor]:
        """Weights fitted to validation draws of a state, and the values of the bound with them."""
        log_p, log_probs = self.draws(module, validation=True)
        weights = fit_weights(log_p, log_probs, self.weights)
        return weights, mixture_bound(log_p, log_probs, weights)

    def _train_score(self, weights: Tensor, validation_score: float) -> float | None:
        """Bound of the training samples."""
        if not self.has_validation:
            return validation_score
        return float(mixture_bound(*self.draws(self.module, validation=False), weights).mean())

    def _note(self, n_iter: int, stage: Stage) -> None:
        self.architectures.append(self._architecture)
        self.n_iter.append(n_iter)
        self.gains.append(math.inf)
        self.weights = stage.weights
        self._keep(stage, n_rounds=len(self.stages) + 1)
        self.stages.append(stage)

    def _keep(self, stage: Stage | None, n_rounds: int = 0) -> None:
        """Keep the present state as that after so many rounds, for :meth:`recover`.

        The one before is kept until there is a third: an interrupt may come at any line.
        """
        state = copy.deepcopy(self.module.state_dict()), stage
        last = {n: kept for n, kept in self._kept.items() if n == n_rounds - 1}
        self._kept = {**last, n_rounds: state}


class _Target:
    """The module of a boosting, as :class:`~skgbnf.training.descent.Target` has it."""

    def __init__(self, boosting: VariationalBoosting, loss: Loss, annealing: Annealing) -> None:
        self.module, self.n_batches = boosting.module, boosting.n_batches
        self.advice = boosting.advice
        self._boosting, self._loss, self._annealing = boosting, loss, annealing

    def batches(self, generator: torch.Generator) -> Iterable[Any]:
        return self._boosting.batches(generator)

    def loss(self, batch: Any, progress: float, generator: torch.Generator) -> Tensor:
        return self._loss(batch, progress, self._annealing.factor(progress), generator)

    @torch.no_grad()
    def score(self, module: nn.Module) -> float | None:
        return self._boosting.score(module)


def standard_normal(
    generator: torch.Generator, shape: Sequence[int], device: torch.device
) -> Tensor:
    """Standard normal numbers, drawn on the CPU in single precision."""
    noise = torch.randn(*shape, generator=generator, dtype=torch.float32, device="cpu")
    return noise.to(device)
