"""A mixture of components: the density formula, written once."""

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from zuko.lazy import LazyDistribution

from skgbnf._device import computing_on
from skgbnf._random import derive_seed, own_generator

LOG_FLOOR = -1e30
"""Stands in for the log-density of a component where rounding gave -inf or NaN."""

_CELLS_PER_CHUNK = 2_000_000
_ROWS_TO_TIME = 200


class Combination(ABC):
    """Normalised densities combined into one, after each of several stages.

    Parameters
    ----------
    components : sequence of zuko.lazy.LazyDistribution

    weights : Tensor of shape (n_components,) or (n_stages, n_components)
        Not negative, each row sums to 1. With several rows, the last one is the combination and
        those before it are its earlier stages.
    """

    def __init__(self, components: Sequence[LazyDistribution], weights: Tensor) -> None:
        self.components = list(components)
        self.weights = torch.atleast_2d(weights)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of each sample in nats, shape (n_samples,), given its context if any."""
        return self._combined(self.component_log_prob(x, context), -1)

    def staged_log_prob(self, x: Tensor, context: Tensor | None = None) -> Iterator[Tensor]:
        """Log-densities after each stage, each of shape (n_samples,)."""
        log_probs = self.component_log_prob(x, context)
        for stage in range(len(self.weights)):
            yield self._combined(log_probs, stage)

    def component_log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of each sample under each component, shape (n_samples, n_components)."""
        return torch.stack([component_log_prob(g, x, context) for g in self.components], dim=1)

    @abstractmethod
    def sample(self, n_samples: int, seed: int, context: Tensor | None = None) -> Tensor:
        """Draw samples, shape (n_samples, n_features), in random order or one for each context."""

    @abstractmethod
    def _combined(self, log_probs: Tensor, stage: int) -> Tensor:
        """Log-density of samples whose log-densities under the components are given."""


class Mixture(Combination):
    r"""Mixture ``sum_k w_k g_k(x)`` of normalised densities."""

    @torch.no_grad()
    def sample(self, n_samples: int, seed: int, context: Tensor | None = None) -> Tensor:
        """Draw samples, each from a component of its own, in random order.

        With a context, of shape (n_samples, n_context), sample i is drawn given row i.
        """
        like = any_tensor(self.components[0])
        generator = torch.Generator().manual_seed(derive_seed(seed, 0))
        cumulative = self.weights[-1].cpu().cumsum(0)
        draws = torch.rand(n_samples, generator=generator, dtype=cumulative.dtype, device="cpu")
        origin = torch.searchsorted(cumulative, draws * cumulative[-1]).to(like.device)
        counts = origin.bincount(minlength=len(self.components)).tolist()
        rows = like.new_empty(0)
        for k, count in enumerate(counts):
            if count:
                given = None if context is None else context[origin == k]
                drawn = sample_component(self.components[k], count, derive_seed(seed, 1, k), given)
                rows = rows if len(rows) else drawn.new_empty(n_samples, drawn.shape[1])
                rows[origin == k] = drawn.to(rows)
        return rows

    def _combined(self, log_probs: Tensor, stage: int) -> Tensor:
        return mixture_log_prob(log_probs, self.weights[stage].log())


def mixture_log_prob(log_probs: Tensor, log_weights: Tensor) -> Tensor:
    """``logsumexp_k(log w_k + log g_k)`` for log-densities of shape (..., n_components)."""
    return torch.logsumexp(log_probs + log_weights, dim=-1)


def fold_log_prob(
    mixture: Combination, x: Tensor, context: Tensor | None = None, *, n_folds: int
) -> Tensor:
    """Log-density of each sample under the mixture of each fold, shape (n_folds, n_samples).

    Components come round by round, in each of them fold by fold, in equal shares.
    """
    log_probs = mixture.component_log_prob(x, context).unflatten(1, (-1, n_folds)).transpose(1, 2)
    log_weights = (n_folds * mixture.weights[-1]).log().unflatten(0, (-1, n_folds)).T
    return mixture_log_prob(log_probs, log_weights).T


def any_tensor(component: LazyDistribution) -> Tensor:
    """One of the component's tensors, all of which share a dtype and a device."""
    tensors = itertools.chain(component.parameters(), component.buffers())
    return next(tensor for tensor in tensors if tensor.is_floating_point())


def given_to(component: LazyDistribution, context: Tensor | None) -> Tensor | None:
    """The context, or None for a component that does not depend on it."""
    return context if getattr(component, "n_context", 1) else None


@torch.no_grad()
def component_log_prob(
    component: LazyDistribution, x: Tensor, context: Tensor | None = None
) -> Tensor:
    """Log-density of samples under one component, in chunks, in the component's own precision.

    Of stacked components, one for each fold of the samples, it has the shape (n_folds, n_samples).
    """
    dtype, context = any_tensor(component).dtype, given_to(component, context)
    chunk = max(64, _CELLS_PER_CHUNK // (32 * x.shape[-1]))
    with computing_on(x.device):
        if context is None:
            distribution = component(None)
            scores = [distribution.log_prob(rows.to(dtype)) for rows in x.split(chunk, dim=-2)]
        else:
            pairs = zip(x.split(chunk, dim=-2), context.split(chunk, dim=-2), strict=True)
            scores = [component(c.to(dtype)).log_prob(rows.to(dtype)) for rows, c in pairs]
    return without_overflow(torch.cat(scores, dim=-1).to(x.dtype))


def without_overflow(log_prob: Tensor) -> Tensor:
    """Log-densities with :data:`LOG_FLOOR` where rounding made them infinite or no numbers."""
    return log_prob.nan_to_num(LOG_FLOOR, LOG_FLOOR, LOG_FLOOR)


def seconds_per_row(component: LazyDistribution, x: Tensor, context: Tensor | None = None) -> float:
    """How long a sample, or one of each fold, takes to score, by a few of these."""
    some = x[..., :_ROWS_TO_TIME, :]
    given = None if context is None else context[..., :_ROWS_TO_TIME, :]
    start = time.perf_counter()
    component_log_prob(component, some, given)
    return (time.perf_counter() - start) / some.shape[-2]


@torch.no_grad()
def sample_component(
    component: LazyDistribution, n_samples: int, seed: int, context: Tensor | None = None
) -> Tensor:
    """Samples of one component, by a generator of their own, one for each context if any."""
    like, context = any_tensor(component), given_to(component, context)
    given = None if context is None else context.to(like)
    with computing_on(like.device):
        distribution = component(given)
        transform = getattr(distribution, "transform", None)
        with own_generator(seed):
            source = distribution if transform is None else distribution.base
            drawn = source.sample((n_samples,) if given is None else ())
        if transform is None:
            return drawn
        chunk = max(64, _CELLS_PER_CHUNK // (32 * drawn.shape[1]))
        if given is None:
            return torch.cat([transform.inv(z) for z in drawn.split(chunk)])
        pairs = zip(drawn.split(chunk), given.split(chunk), strict=True)
        return torch.cat([component(c).transform.inv(z) for z, c in pairs])
