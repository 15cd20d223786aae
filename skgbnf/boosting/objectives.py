"""What a round of a mixture maximises, the weights of the mixture, and a bound of the gain.

References
----------
Gradient Boosted Normalizing Flows. R. Giaquinto, A. Banerjee, 2020.
https://arxiv.org/abs/2002.11896
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from skgbnf.training.mixture import mixture_log_prob
from skgbnf.training.objective import Index
from skgbnf.training.rows import Rows

_EM_STEPS = 1000
_EM_TOL = 1e-9
_PRIOR_ROWS = 1.0

WEIGHT_CLIP = 10.0
"""Largest weight of a sample, in units of their mean, where weights have no bound of their own."""


class MaximumLikelihood:
    """Objective of the first round: the plain likelihood."""

    weights_stay = True

    def __init__(self, train: Rows, validation: Rows) -> None:
        self.train_rows, self.validation_rows = train, validation

    def row_weights(self, log_g: Tensor, index: Index, progress: float) -> Tensor:
        return self.train_rows.weights[index]

    def score(self, log_g: Tensor) -> float:
        return self.validation_rows.mean(log_g)


class _OneMore(ABC):
    """An objective of a component that joins others, scored by the likelihood of all.

    Parameters
    ----------
    train, validation : Rows

    log_G_train, log_G_validation : Tensors of shape (n_samples,)
        Log-density of the rest of the mixture.

    rho : float
        Weight of the component to begin with.
    """

    weights_stay = False

    def __init__(
        self,
        train: Rows,
        validation: Rows,
        log_G_train: Tensor,
        log_G_validation: Tensor,
        rho: float,
    ) -> None:
        self.train_rows, self.validation_rows = train, validation
        self._log_G_train, self._log_G_validation = log_G_train, log_G_validation
        self._rho, self._smallest = rho, min(rho, 1 - rho) / 2

    @abstractmethod
    def row_weights(self, log_g: Tensor, index: Index, progress: float) -> Tensor:
        """Weights of training rows, as :class:`~skgbnf.training.objective.Objective` has it."""

    def score(self, log_g: Tensor) -> float:
        log_probs = torch.stack([self._log_G_validation, log_g], dim=-1)
        start = log_g.new_tensor([1 - self._rho, self._rho])
        weights = corrective_weights(log_probs, self.validation_rows.weights, start)
        # A component that is still poor must not be starved before it has learned, and that it
        # gets less poor must show.
        self._rho = max(float(weights[1]), self._smallest)
        weights = log_g.new_tensor([1 - self._rho, self._rho])
        return self.validation_rows.mean(mixture_log_prob(log_probs, weights.log()))


class Greedy(_OneMore):
    r"""The likelihood of the mixture as a function of the new component.

    Maximises ``mean log((1 - rho) G + rho g)`` with ``G`` held fixed. The weight of a row is the
    share ``g / ((1 - rho) G + rho g)``: the component's responsibility, over ``rho``.

    Parameters
    ----------
    train, validation, log_G_train, log_G_validation, rho
        As for all objectives of one more component.

    tempered : bool, default=False
        Whether the weights are raised to a power that rises from 0 to 1 during the round. With
        1 the objective is exact; with 0 the component ignores the rest of the mixture, which
        serves a strong component better. The validation set decides where to stop in between.
    """

    def __init__(
        self,
        train: Rows,
        validation: Rows,
        log_G_train: Tensor,
        log_G_validation: Tensor,
        rho: float,
        *,
        tempered: bool = False,
    ) -> None:
        super().__init__(train, validation, log_G_train, log_G_validation, rho)
        self._tempered = tempered

    def row_weights(self, log_g: Tensor, index: Index, progress: float) -> Tensor:
        log_G = self._log_G_train[index]
        log_mixture = torch.logaddexp(math.log1p(-self._rho) + log_G, math.log(self._rho) + log_g)
        power = progress if self._tempered else 1.0
        return self.train_rows.weights[index] * (power * (log_g - log_mixture)).exp()


class Weighted(_OneMore):
    """The paper's objective: the component's own likelihood on rows weighted by ``1 / G``.

    The weights are fixed for the round, a softmax of ``-log G`` over the whole training set,
    clipped at ten times their mean.
    """

    weights_stay = True

    def __init__(
        self,
        train: Rows,
        validation: Rows,
        log_G_train: Tensor,
        log_G_validation: Tensor,
        rho: float,
    ) -> None:
        super().__init__(train, validation, log_G_train, log_G_validation, rho)
        rows = self.train_rows.weights
        inverse = torch.softmax(-self._log_G_train, dim=-1) * rows.shape[-1]
        self._weights = rows * inverse.clamp(max=WEIGHT_CLIP)
        self._weights /= self._weights.mean(-1, keepdim=True)

    def row_weights(self, log_g: Tensor, index: Index, progress: float) -> Tensor:
        return self._weights[index]


OBJECTIVES: dict[str, Callable[..., "Greedy | Weighted"]] = {
    "tempered": partial(Greedy, tempered=True),
    "greedy": Greedy,
    "weighted": Weighted,
}
"""Objectives of the rounds after the first, by name."""


def joint_objective(
    train: Rows, validation: Rows, log_probs: Mapping[Rows, Tensor], weights: Tensor, k: int
) -> MaximumLikelihood | Greedy:
    """What component `k` of a mixture is retrained for, all others held fixed.

    Parameters
    ----------
    train, validation : Rows

    log_probs : mapping from both to Tensors of shape (..., n_samples, n_components)
        Log-densities of the components.

    weights : Tensor of shape (n_components,)

    k : int
    """
    if len(weights) == 1:
        return MaximumLikelihood(train, validation)
    others = weights.clone()
    others[k] = 0.0
    others /= others.sum()
    log_G_train, log_G_validation = (
        mixture_log_prob(log_probs[rows], others.log()) for rows in (train, validation)
    )
    return Greedy(train, validation, log_G_train, log_G_validation, float(weights[k]))


def corrective_weights(log_probs: Tensor, row_weights: Tensor, start: Tensor) -> Tensor:
    """Fit the weights of a mixture of fixed components by EM.

    A Dirichlet prior worth one row in all keeps every weight above zero, so that a sample
    that only one component explains stays explained.

    Parameters
    ----------
    log_probs : Tensor of shape (..., n_samples, n_components)
        Log-densities of the components.

    row_weights : Tensor of shape (..., n_samples)

    start : Tensor of shape (n_components,)
        Weights to begin with.

    Returns
    -------
    weights : Tensor of shape (n_components,)
        They sum to 1.
    """
    rows = row_weights[row_weights > 0]
    rows = rows * (len(rows) / rows.sum())
    log_probs = log_probs[row_weights > 0]
    densities = (log_probs - log_probs.amax(dim=1, keepdim=True)).exp()
    prior = _PRIOR_ROWS / log_probs.shape[1]
    weights = start
    for _ in range(_EM_STEPS):
        scaled = densities * weights
        counts = (rows / scaled.sum(dim=1)) @ scaled + prior
        updated = counts / counts.sum()
        if float((updated - weights).abs().max()) < _EM_TOL:
            return updated
        weights = updated
    return weights


def gain_bound(log_G: Tensor, log_g: Tensor, rows: Rows) -> float:
    """Upper bound of the gain in mean log-likelihood per unit of weight of a new component.

    It is ``mean(g / G) - 1``, the directional derivative of the likelihood at weight zero: no
    positive weight of ``g`` gains more, since the likelihood is concave in the weight.
    """
    ratio = (log_g - log_G).clamp(max=50.0).exp()
    return rows.mean(ratio) - 1.0
