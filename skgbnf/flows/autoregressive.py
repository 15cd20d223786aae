"""Autoregressive layers whose inverse evaluates every unit of the network once."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Transform
from zuko.flows import MaskedAutoregressiveTransform
from zuko.nn import MaskedLinear
from zuko.transforms import AutoregressiveTransform
from zuko.utils import unpack


class IncrementalAutoregressive(MaskedAutoregressiveTransform):
    """A masked autoregressive layer of zuko with a cheap inverse.

    Inverting column by column evaluates the whole network for each in zuko, although a column
    changes only the units that look at it. Here each unit waits for the last column that it looks
    at, so that the inverse of all columns costs about one evaluation of the network.

    Its arguments are those of :class:`zuko.flows.MaskedAutoregressiveTransform`, except for a
    context and an order. Between its linear layers, and before them, the network may have functions
    of single units.
    """

    def forward(self, c: None = None) -> Transform:
        return _Incremental(partial(self.meta, c), self.passes, self)

    def invert(self, y: Tensor) -> Tensor:
        """Columns from the first to the last, each under a map that those before it govern."""
        x = torch.empty_like(y)
        linears = [module for module in self.hyper if isinstance(module, MaskedLinear)]
        functions = [module for module in self.hyper if not isinstance(module, MaskedLinear)]
        if len(functions) < len(linears):
            functions.insert(0, nn.Identity())
        inputs = [y.new_zeros(*y.shape[:-1], linear.in_features) for linear in linears]
        weights = [linear.mask * linear.weight for linear in linears]
        ready = _ready_after(linears, y.shape[-1])
        for i, column in enumerate(y.unbind(-1)):
            for depth, linear in enumerate(linears):
                units = ready[depth][i]
                values = F.linear(inputs[depth], weights[depth][units], linear.bias[units])
                if depth + 1 < len(linears):
                    inputs[depth + 1][..., units] = functions[depth + 1](values)
            x[..., i] = self.univariate(*unpack(values, self.shapes)).inv(column)
            inputs[0][..., i] = functions[0](x[..., i])
        return x


class _Incremental(AutoregressiveTransform):
    def __init__(self, meta, passes: int, layer: IncrementalAutoregressive) -> None:
        super().__init__(meta, passes)
        self._layer = layer

    def _inverse(self, y: Tensor) -> Tensor:
        return self._layer.invert(y)


def _ready_after(linears: list[MaskedLinear], n_features: int) -> list[list[Tensor]]:
    """For each linear layer and number of known columns, the units that then can be computed.

    Those of the last layer are the parameters of one column after the other.
    """
    *hidden, last = linears
    needed = torch.arange(1, n_features + 1, device=last.weight.device)
    ready = []
    for linear in hidden:
        needed = (linear.mask * needed).amax(dim=1)
        ready.append([torch.nonzero(needed == i).flatten() for i in range(n_features)])
    return [*ready, list(torch.arange(last.out_features, device=needed.device).chunk(n_features))]
