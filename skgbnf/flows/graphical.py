"""Autoregressive layers in which a column looks only at columns that it is seen to depend on."""

import torch
from torch import Tensor
from zuko.nn import MaskedLinear, MaskedMLP

from skgbnf._random import own_generator
from skgbnf.flows.autoregressive import IncrementalAutoregressive
from skgbnf.flows.interfaces import DataInitialised
from skgbnf.flows.weighted import weighted_ranks

_CLEAR = 4.0
_MOST_CELLS = 1_000_000


class GraphicalAutoregressive(IncrementalAutoregressive, DataInitialised):
    """An autoregressive layer whose conditionals follow a graph of the columns.

    It is built with the graph of all columns before each. :meth:`initialise` takes away those that
    samples show no dependence on: what a network could learn of them is noise. Each column sees
    the whole context.

    References
    ----------
    Graphical Normalizing Flows. A. Wehenkel, G. Louppe, 2021. https://arxiv.org/abs/2006.02548
    """

    @torch.no_grad()
    def initialise(self, x: Tensor, weights: Tensor, context: Tensor | None = None) -> None:
        """Let each column look at those before it that :func:`dependence` names."""
        graph = dependence(x, weights).tril(-1).cpu()
        own = _linear_layers(self.hyper)
        n_context = own[0].in_features - len(graph)
        graph = torch.nn.functional.pad(graph, (0, n_context), value=True)
        if not graph.any():
            own[0].mask.zero_()
            return
        widths = [linear.out_features for linear in own[:-1]]
        governed = graph.repeat_interleave(self.total, dim=0)
        # Of this network only the masks are wanted, no numbers that are drawn.
        with own_generator(0):
            network = MaskedMLP(governed, widths)
        for linear, masked in zip(own, _linear_layers(network), strict=True):
            linear.mask.copy_(masked.mask)


def _linear_layers(network: torch.nn.Sequential) -> list[MaskedLinear]:
    return [module for module in network if isinstance(module, MaskedLinear)]


@torch.no_grad()
def dependence(x: Tensor, weights: Tensor) -> Tensor:
    """Which pairs of columns depend on each other, as far as simple correlations tell.

    A pair does if values, squares or magnitudes of its normal scores have a correlation that is
    more than four standard errors from zero. Of a large table a part of the samples, a
    million cells, is looked at.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features)

    weights : Tensor of shape (n_samples,)

    Returns
    -------
    graph : bool Tensor of shape (n_features, n_features)
        Symmetric, True on the diagonal.
    """
    counted = weights > 0
    x, weights = x[counted].double(), weights[counted].double()
    every = max(1, x.numel() // _MOST_CELLS)
    x, weights = x[::every], weights[::every]
    share = (weights / weights.sum()).unsqueeze(1)
    scores = torch.special.ndtri(weighted_ranks(x, weights))
    features = torch.cat([scores, scores.square(), scores.abs()], dim=1)
    features = features - (share * features).sum(dim=0)
    features = features / (share * features.square()).sum(dim=0).sqrt().clamp(min=1e-12)
    errors = (share * features).T @ features / share.square().sum().sqrt()
    largest = errors.abs().unflatten(0, (3, -1)).unflatten(2, (3, -1)).amax(dim=(0, 2))
    return largest.maximum(largest.T) > _CLEAR
