"""Mixtures of components that know parts of samples: conditionals and completions."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from skgbnf._device import computing_on
from skgbnf._random import derive_seed, own_generator
from skgbnf.training.mixture import LOG_FLOOR, Combination, any_tensor

_CELLS_PER_CHUNK = 60_000


@torch.no_grad()
def conditional_log_prob(mixture: Combination, x: Tensor, given: Tensor) -> Tensor:
    """Log-density of what is known of each sample, given a part of it, shape (n_samples,).

    Components weigh as much as they explain of what is given.

    Parameters
    ----------
    mixture : Combination
        A mixture of :class:`~skgbnf.flows.KnowsParts`.

    x : Tensor of shape (n_samples, n_variables)
        NaN where nothing is known.

    given : Tensor of bool of shape (n_variables,) or (n_samples, n_variables)
    """
    given = given.expand_as(x)
    log_weights = _log_shares(mixture, torch.where(given, x, torch.nan))
    parts = [
        _in_chunks(component.conditional_log_density, component, x, given)
        for component in mixture.components
    ]
    return torch.logsumexp(log_weights + torch.stack(parts, dim=-1), dim=-1)


@torch.no_grad()
def complete(mixture: Combination, x: Tensor, seed: int) -> Tensor:
    """Samples with draws from the mixture in place of what is not known, given the rest."""
    generator = torch.Generator().manual_seed(derive_seed(seed, 0))
    shares = _log_shares(mixture, x).softmax(-1).cpu()
    draws = torch.rand(len(x), 1, generator=generator, dtype=shares.dtype, device="cpu")
    origin = (shares.cumsum(-1) < draws).sum(-1).clamp(max=shares.shape[-1] - 1).to(x.device)
    completed = x.clone()
    with computing_on(x.device):
        for k, component in enumerate(mixture.components):
            rows = x[origin == k]
            if len(rows):
                with own_generator(derive_seed(seed, 1, k)):
                    like = any_tensor(component)
                    completed[origin == k] = component.complete(rows.to(like)).to(x)
    return completed


def _log_shares(mixture: Combination, x: Tensor) -> Tensor:
    """Log-weight of each component given what is known, up to a constant, normalised."""
    log_probs = mixture.component_log_prob(x) + mixture.weights[-1].log()
    return log_probs.log_softmax(-1)


def _in_chunks(function: Any, component: Any, *tensors: Tensor) -> Tensor:
    """A function of samples, of some of them at a time, in the component's own precision."""
    like = any_tensor(component)
    n_rows = max(64, _CELLS_PER_CHUNK // tensors[0].shape[1])
    chunks: Sequence[tuple[Tensor, ...]] = list(
        zip(*(tensor.split(n_rows) for tensor in tensors), strict=True)
    )
    with computing_on(tensors[0].device):
        values = [function(x.to(like), *others) for x, *others in chunks]
    return torch.cat(values).to(tensors[0]).nan_to_num(LOG_FLOOR, LOG_FLOOR, LOG_FLOOR)
