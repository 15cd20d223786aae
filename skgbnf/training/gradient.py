"""Components trained by gradient: the loss of a batch of samples."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from zuko.lazy import LazyDistribution

from skgbnf.flows import Dropout, Penalised
from skgbnf.training.mixture import component_log_prob, given_to
from skgbnf.training.objective import Index, Objective, TrainingSettings
from skgbnf.training.penalty import StretchPenalty


class ComponentTarget:
    """A component trained for an objective, as :class:`~skgbnf.training.descent.Target` has it.

    The loss of a batch is minus its weighted likelihood, plus the penalties of layers that have
    one and of stretched steps. Values are dropped in the likelihood only.

    Parameters
    ----------
    component : zuko.lazy.LazyDistribution

    objective : Objective

    settings : TrainingSettings
    """

    advice = "Lower learning_rate_init or look for extreme values in X."

    def __init__(
        self, component: LazyDistribution, objective: Objective, settings: TrainingSettings
    ) -> None:
        self.module, self._objective = component, objective
        rows = objective.train_rows
        self._n_rows, self._x = len(rows), rows.x.float()
        context = given_to(component, rows.context)
        self._context = None if context is None else context.float()
        self.n_batches = math.ceil(self._n_rows / settings.batch_size)
        self._dropouts = [m for m in component.modules() if isinstance(m, Dropout)]
        self._penalties = [m.penalty for m in component.modules() if isinstance(m, Penalised)]
        self._weight = settings.lipschitz_penalty
        first = None if self._context is None else self._context[..., :1, :]
        stretches = self._weight and hasattr(component(first), "transform")
        self._stretch = StretchPenalty(rows) if stretches else None

    def batches(self, generator: torch.Generator) -> Iterable[Index]:
        sets = self._x.shape[:-2]
        orders = torch.stack(
            [
                torch.randperm(self._n_rows, generator=generator, device="cpu")
                for _ in range(sets.numel())
            ]
        ).to(self._x.device)
        if not sets:
            return orders[0].tensor_split(self.n_batches)
        folds = torch.arange(len(orders), device=orders.device).unsqueeze(1)
        return ((folds, batch) for batch in orders.tensor_split(self.n_batches, dim=1))

    def loss(self, batch: Index, progress: float, generator: torch.Generator) -> Tensor:
        x = self._x[batch]
        with lent(generator, self._dropouts):
            log_g = self._distribution(batch).log_prob(x)
        weights = self._objective.row_weights(log_g.detach(), batch, progress)
        loss = -(weights.to(log_g) * log_g).mean(-1)
        # The norm of all gradients is then about that of one fold's, and clipping does the same.
        loss = loss.sum() / math.sqrt(loss.numel())
        loss = sum((penalty() for penalty in self._penalties), loss)
        if self._stretch is not None:
            transform = self._distribution(batch).transform
            loss = loss + self._weight * self._stretch(transform, x, batch, generator)
        return loss

    def score(self, module: Any) -> float:
        rows = self._objective.validation_rows
        return self._objective.score(component_log_prob(module, rows.x, rows.context))

    def _distribution(self, index: Index) -> Any:
        return self.module(None if self._context is None else self._context[index])


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
