"""What one component is trained for, and for how long."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor
from torch.optim import Optimizer

from skgbnf.training.rows import Rows
from skgbnf.training.soap import Soap

_SPREAD = 1.0

Index = Any
"""What picks training samples: ``weights[index]`` are theirs, in one set or fold by fold."""


class Objective(Protocol):
    """A weighted likelihood whose weights may depend on the component.

    Attributes
    ----------
    train_rows, validation_rows : Rows
        Samples for the loss, and samples by which the best state is chosen (the same object if
        there is no validation set).

    weights_stay : bool
        Whether the weights of the training samples do not depend on the component.
    """

    train_rows: Rows
    validation_rows: Rows
    weights_stay: bool

    def row_weights(self, log_g: Tensor, index: Index, progress: float) -> Tensor:
        """Weights of training samples, given the component's log-densities there.

        `progress` runs from 0 to 1 over the epochs. The weights are the gradient of the
        objective with respect to ``log_g``, up to a constant factor.
        """

    def score(self, log_g: Tensor) -> float:
        """How good the component is, in nats, given its log-densities on the validation set.

        Called after every epoch; whatever depends on the component is updated here.
        """


def ignore(*news: object) -> None:
    """Do nothing: the callback of those who want to know nothing."""


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how fast something is trained.

    Parameters
    ----------
    max_iter : int
        Epochs.

    batch_size : int

    learning_rate : float

    seconds : float, default=inf
        Wall time. The learning rate falls with whichever ends first, this or the epochs.

    patience : float, default=15
        Epochs without a better validation score after which training starts again from the best
        state at a quarter of the rate, or ends.

    n_restarts : int, default=3
        How often it starts again.

    lipschitz_penalty : float, default=0.0
        Weight of :class:`~skgbnf.training.penalty.StretchPenalty` in the loss of components that
        are trained by gradient.

    em_tol : float, default=1e-5
        EM ends with the first step that gains less, in nats of the objective.

    optimiser : callable ``(parameters)``, default=Soap
        Makes the optimiser of what is trained by gradient.

    on_epoch : callable ``(n_iter, max_iter, score)``
        Called after each epoch or EM iteration with the best score so far, and within an epoch
        after each step, `n_iter` then with a fraction.

    on_part : callable ``(what)``
        Called with a description of what is trained next.
    """

    max_iter: int
    batch_size: int
    learning_rate: float
    seconds: float = math.inf
    patience: float = 15
    n_restarts: int = 3
    lipschitz_penalty: float = 0.0
    em_tol: float = 1e-5
    optimiser: Callable[..., Optimizer] = Soap
    on_epoch: Callable[[float, int, float], None] = ignore
    on_part: Callable[[str], None] = ignore


def clear_gain(rows: Rows) -> float:
    """Gain in nats that exceeds what chance brings on this validation set.

    The log-densities of a sample under two fits of one table differ by a few tenths; twice the
    standard error of a gain that small is enough.
    """
    return _SPREAD / math.sqrt(rows.n_counted)
