"""What a mixture says of parts of samples: exact where its components do, else by draws."""

from collections.abc import Callable
from copy import copy
from typing import Any, Self

import torch
from torch import Tensor

from skgbnf._device import computing_on
from skgbnf._random import derive_seed, own_generator
from skgbnf.training.mixture import LOG_FLOOR, Mixture, any_tensor

_SMALLEST_SHARE = 0.1
"""Of a component in what proposes, so that none that the validation set dislikes is left out."""

_MOST_ORDERED = 2
"""Of networks with an order of their own; more would cost more than they add."""

_CELLS_PER_CHUNK = 60_000


class Proposals:
    """Completions of samples, proposed by the components of a mixture that know conditionals.

    Parameters
    ----------
    mixture : Mixture
        Of :class:`~skgbnf.flows.KnowsParts`.
    """

    def __init__(self, mixture: Mixture) -> None:
        self._mixture = mixture
        weights = mixture.weights[-1]
        ordered = [not component.any_order for component in mixture.components]
        heaviest = weights.argsort(descending=True, stable=True).tolist()
        groups = [
            [k for k in heaviest if not ordered[k]],
            [k for k in heaviest if ordered[k]][:_MOST_ORDERED],
        ]
        groups = [group for group in groups if group]
        self._components = [mixture.components[k] for group in groups for k in group]
        shares = [_shares(weights[group]) for group in groups]
        self._shares = torch.cat(shares) / len(groups)

    def alone(self, draw: float) -> Self:
        """Those of one component, chosen in proportion to its share by a uniform number."""
        chosen = int((self._shares.cumsum(0) < draw).sum().clamp(max=len(self._shares) - 1))
        one = copy(self)
        one._components, one._shares = [self._components[chosen]], torch.ones_like(self._shares[:1])
        return one

    @torch.no_grad()
    def draw(self, x: Tensor, wanted: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Samples with draws of what is wanted, and log-densities of them.

        Parameters
        ----------
        x : Tensor of shape (n_samples, n_variables)
            NaN where nothing is known.

        wanted : Tensor of bool of the same shape
            What is to be drawn; it must not be known.

        seed : int

        Returns
        -------
        completed : Tensor of the same shape

        log_p : Tensor of shape (n_samples,)
            By the mixture, of all that is known or drawn.

        log_q : Tensor of shape (n_samples,)
            That the draws were drawn by.
        """
        generator = torch.Generator().manual_seed(derive_seed(seed, 0))
        cumulative = self._shares.cumsum(0).cpu()
        draws = torch.rand(len(x), generator=generator, dtype=cumulative.dtype, device="cpu")
        origin = torch.searchsorted(cumulative, draws).clamp(max=len(cumulative) - 1).to(x.device)
        completed = x.clone()
        for k, component in enumerate(self._components):
            chosen = origin == k
            if chosen.any():
                with own_generator(derive_seed(seed, 1, k)):
                    drawn = _in_chunks(component.propose, component, x[chosen], wanted[chosen])
                completed[chosen] = drawn.to(x)
        return completed, self._mixture.log_prob(completed), self.log_q(completed, wanted)

    @torch.no_grad()
    def log_q(self, x: Tensor, wanted: Tensor) -> Tensor:
        """Log-density that :meth:`draw` draws what is wanted by, given the rest."""
        parts = [
            _in_chunks(component.proposal_log_density, component, x, wanted)
            .to(x)
            .nan_to_num(LOG_FLOOR, LOG_FLOOR, LOG_FLOOR)
            for component in self._components
        ]
        return torch.logsumexp(torch.stack(parts, dim=-1) + self._shares.log(), dim=-1)


def _shares(weights: Tensor) -> Tensor:
    """Shares of components in what proposes, by their weights."""
    shares = weights / weights.sum().clamp(min=1e-300) + _SMALLEST_SHARE
    return shares / shares.sum()


def _in_chunks(function: Callable[..., Tensor], component: Any, x: Tensor, mask: Tensor) -> Tensor:
    """A function of samples and a mask, of some at a time, in the component's own precision."""
    like = any_tensor(component)
    n_rows = max(64, _CELLS_PER_CHUNK // x.shape[1])
    pairs = zip(x.split(n_rows), mask.split(n_rows), strict=True)
    with computing_on(x.device):
        return torch.cat([function(rows.to(like), own) for rows, own in pairs])
