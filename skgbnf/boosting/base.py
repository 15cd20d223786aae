"""A combination of components that grows by rounds, whatever is combined and for what."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from torch import Tensor

from skgbnf.flows import Architecture
from skgbnf.training.fitted import FittedCombination, FittedComponent, History

_MOST = 10**12
"""Rounds or passes beyond all that a fit can make; times are divided by their number."""


@dataclass(frozen=True)
class Limits:
    """How many rounds there may be, and what must be gained by them.

    Attributes
    ----------
    n_estimators : int
        Largest number of rounds.

    n_iter_no_change : int
        Rounds without a gain after which boosting stops.

    tol : float
        Smallest gain that counts, in nats of the mean validation score.

    fine_tune : int
        Passes over all components after the last round.

    deadline : float
        Reading of ``time.perf_counter()`` at which the fit is to end.
    """

    n_estimators: int
    n_iter_no_change: int
    tol: float
    fine_tune: int = 0
    deadline: float = math.inf

    @classmethod
    def of(cls, parameters: Mapping[str, Any], start: float) -> Self:
        """What checked parameters say, which have the same names for everything that is boosted.

        Parameters
        ----------
        parameters : mapping
            With ``n_estimators``, ``n_iter_no_change``, ``tol``, ``fine_tune`` and ``max_time``.

        start : float
            Reading of ``time.perf_counter()`` when the fit began.
        """
        return cls(
            n_estimators=min(int(parameters["n_estimators"]), _MOST),
            n_iter_no_change=int(parameters["n_iter_no_change"]),
            tol=float(parameters["tol"]),
            fine_tune=min(int(parameters["fine_tune"]), _MOST),
            deadline=start + (parameters["max_time"] or math.inf),
        )


@dataclass(frozen=True)
class Stage:
    """The combination after one round.

    Attributes
    ----------
    weights : Tensor of shape (n_components,)

    train_score : float or None
        Mean score of the training samples, in nats, in the units of training; None where there
        are none.

    validation_score : float
        The same of the validation set, or of the training samples if there is none.
    """

    weights: Tensor
    train_score: float | None
    validation_score: float


def check_growing(n_estimators: int, n_done: int) -> None:
    """Raise ValueError if there are more rounds already than there may be."""
    if n_estimators < n_done:
        raise ValueError(
            f"n_estimators={n_estimators} is below the {n_done} rounds already fitted; it can "
            "only grow."
        )


class Boosting(ABC):
    """Components added round by round.

    Attributes
    ----------
    components : sequence of zuko.lazy.LazyDistribution

    architectures : list of Architecture

    n_iter : list of int
        Epochs for which each component was trained.

    gains : list of float
        Bound of what each component could gain per unit of weight, in nats.

    stages : list of Stage
        The combination after each round.

    overhead : float
        Seconds of the last round that were not spent on training its component.
    """

    def __init__(self) -> None:
        self.components: Any = []
        self.architectures: list[Architecture] = []
        self.n_iter: list[int] = []
        self.gains: list[float] = []
        self.stages: list[Any] = []
        self.overhead = 0.0

    @property
    @abstractmethod
    def has_validation(self) -> bool:
        """Whether there is a validation set beside the training samples."""

    @property
    @abstractmethod
    def log_dets(self) -> tuple[float, float]:
        """What turns mean training and validation scores into the units of the user."""

    @abstractmethod
    def describe(self) -> str:
        """What a reader is told of the samples before the first round."""

    @abstractmethod
    def add_round(self, limits: Limits) -> bool:
        """Train one more component; return False if there is no time for it."""

    @abstractmethod
    def has_stopped(self, limits: Limits) -> bool:
        """Whether the last rounds gained too little for one more to be tried."""

    @abstractmethod
    def fine_tune(self, number: int, seconds: float) -> None:
        """Train all components once more; `number` counts the passes from 0."""

    @abstractmethod
    def truncate(self, n_rounds: int) -> None:
        """Forget all rounds but the first ones."""

    @abstractmethod
    def recover(self) -> None:
        """Make the finished rounds whole again after an interrupt."""

    def best_round(self, tol: float) -> int:
        """Number of rounds after which the validation score gained no more than `tol` nats."""
        best, best_score = 0, -math.inf
        for n_rounds, stage in enumerate(self.stages, start=1):
            if stage.validation_score > best_score + tol:
                best, best_score = n_rounds, stage.validation_score
        return best

    def scores(self) -> tuple[float | None, float | None]:
        """Mean scores after the last round, in the units of the user; None of what is missing."""
        history = self.history()
        train, validation = (
            None if scores is None else float(scores[-1])
            for scores in (history.train_scores, history.validation_scores)
        )
        return train, validation

    def history(self) -> History:
        """The notes on all rounds."""
        train = [stage.train_score for stage in self.stages]
        validation = np.array([stage.validation_score for stage in self.stages])
        return History(
            n_iter=np.array(self.n_iter),
            gains=np.array(self.gains),
            train_scores=None if None in train else self.log_dets[0] + np.array(train),
            validation_scores=self.log_dets[1] + validation if self.has_validation else None,
        )

    @abstractmethod
    def fitted(self) -> FittedCombination:
        """Components and weights as NumPy arrays."""

    def _fitted_components(self) -> tuple[FittedComponent, ...]:
        pairs = zip(self.architectures, self.components, strict=True)
        return tuple(FittedComponent.from_module(*pair) for pair in pairs)

    def _staged_weights(self) -> np.ndarray:
        """Weights after each round as rows of a square matrix, zeros behind them."""
        rows = np.zeros((len(self.stages), len(self.stages)))
        for row, stage in zip(rows, self.stages, strict=True):
            row[: len(stage.weights)] = stage.weights.cpu().numpy()
        return rows
