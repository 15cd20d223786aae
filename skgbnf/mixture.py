"""The mixture of components: the density formula, written once."""

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

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of each row in nats, shape (n_samples,)."""
        return self._combined(self.component_log_prob(x), -1)

    def staged_log_prob(self, x: Tensor) -> Iterator[Tensor]:
        """Log-densities after each stage, each of shape (n_samples,)."""
        log_probs = self.component_log_prob(x)
        for stage in range(len(self.weights)):
            yield self._combined(log_probs, stage)

    def component_log_prob(self, x: Tensor) -> Tensor:
        """Log-density of each row under each component, shape (n_samples, n_components)."""
        return torch.stack([component_log_prob(g, x) for g in self.components], dim=1)

    @abstractmethod
    def sample(self, n_samples: int, seed: int) -> Tensor:
        """Draw rows, shape (n_samples, n_features), in random order."""

    @abstractmethod
    def _combined(self, log_probs: Tensor, stage: int) -> Tensor:
        """Log-density of rows whose log-densities under the components are given."""


class FlowMixture(Combination):
    r"""Mixture ``sum_k w_k g_k(x)`` of normalised densities."""

    @torch.no_grad()
    def sample(self, n_samples: int, seed: int) -> Tensor:
        """Draw rows, each from a component of its own, in random order."""
        like = any_tensor(self.components[0])
        generator = torch.Generator().manual_seed(derive_seed(seed, 0))
        cumulative = self.weights[-1].cpu().cumsum(0)
        draws = torch.rand(n_samples, generator=generator, dtype=cumulative.dtype, device="cpu")
        origin = torch.searchsorted(cumulative, draws * cumulative[-1]).to(like.device)
        counts = origin.bincount(minlength=len(self.components)).tolist()
        rows = None
        for k, count in enumerate(counts):
            if count:
                drawn = sample_component(self.components[k], count, derive_seed(seed, 1, k))
                rows = drawn.new_empty(n_samples, drawn.shape[1]) if rows is None else rows
                rows[origin == k] = drawn.to(rows)
        return rows

    def _combined(self, log_probs: Tensor, stage: int) -> Tensor:
        return mixture_log_prob(log_probs, self.weights[stage].log())


def mixture_log_prob(log_probs: Tensor, log_weights: Tensor) -> Tensor:
    """``logsumexp_k(log w_k + log g_k)`` for log-densities of shape (..., n_components)."""
    return torch.logsumexp(log_probs + log_weights, dim=-1)


def any_tensor(component: LazyDistribution) -> Tensor:
    """One of the component's tensors, all of which share a dtype and a device."""
    tensors = itertools.chain(component.parameters(), component.buffers())
    return next(tensor for tensor in tensors if tensor.is_floating_point())


@torch.no_grad()
def component_log_prob(component: LazyDistribution, x: Tensor) -> Tensor:
    """Log-density of rows under one component, in chunks, in the component's own precision."""
    dtype = any_tensor(component).dtype
    chunk = max(64, _CELLS_PER_CHUNK // (32 * x.shape[1]))
    with computing_on(x.device):
        distribution = component()
        scores = [distribution.log_prob(rows.to(dtype)) for rows in x.split(chunk)]
    return torch.cat(scores).to(x.dtype).nan_to_num(LOG_FLOOR, LOG_FLOOR, LOG_FLOOR)


def seconds_per_row(component: LazyDistribution, x: Tensor) -> float:
    """How long a row takes to score, by a few of these."""
    some = x[:_ROWS_TO_TIME]
    start = time.perf_counter()
    component_log_prob(component, some)
    return (time.perf_counter() - start) / len(some)


@torch.no_grad()
def sample_component(component: LazyDistribution, n_samples: int, seed: int) -> Tensor:
    """Rows of one component, by a generator of their own."""
    with computing_on(any_tensor(component).device):
        distribution = component()
        transform = getattr(distribution, "transform", None)
        with own_generator(seed):
            drawn = (distribution if transform is None else distribution.base).sample((n_samples,))
        if transform is None:
            return drawn
        chunk = max(64, _CELLS_PER_CHUNK // (32 * drawn.shape[1]))
        return torch.cat([transform.inv(z) for z in drawn.split(chunk)])
