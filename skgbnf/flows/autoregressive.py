"""Autoregressive layers whose inverse evaluates every unit of the network once."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Transform
from zuko.flows import MaskedAutoregressiveTransform
from zuko.nn import MaskedLinear
from zuko.transforms import AutoregressiveTransform
from zuko.utils import broadcast, unpack

from skgbnf.flows.element_wise import univariate_pullback
from skgbnf.flows.interfaces import Differentiated, Pulled, Stackable
from skgbnf.flows.networks import MaskedNetwork


class IncrementalAutoregressive(MaskedAutoregressiveTransform, Stackable, Differentiated):
    """A masked autoregressive layer of zuko with a cheap inverse.

    Inverting column by column evaluates the whole network for each in zuko, although a column
    changes only the units that look at it. Here each unit waits for the last column that it looks
    at, so that the inverse of all columns costs about one evaluation of the network.

    Its arguments are those of :class:`zuko.flows.MaskedAutoregressiveTransform`, except for an
    order. Between its linear layers, and before them, the network may have functions
    of single units.
    """

    hyper: MaskedNetwork

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hyper = MaskedNetwork(*self.hyper)
        self._pullback: Any = univariate_pullback(self.univariate)

    @property
    def stackable(self) -> bool:
        return self.hyper.is_known

    @property
    def is_differentiated(self) -> bool:
        return self._pullback is not None and self.stackable

    def parameter_list(self) -> tuple[Tensor, ...]:
        return self.hyper.parameter_list()

    def pullback(self, x: Tensor) -> Pulled:
        phi, pull_network = self.hyper.pullback(x)
        phi = phi.unflatten(-2, (-1, self.total))
        y, ladj, pull_univariate = self._pullback(x, phi)

        def pull(grad_y: Tensor, grad_ladj: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
            grad_x, grad_phi = pull_univariate(grad_y, grad_ladj.unsqueeze(-2))
            by_network, grads = pull_network(grad_phi.flatten(-3, -2))
            return grad_x.add_(by_network), grads

        return y, ladj.sum(-2), pull

    def forward(self, c: Tensor | None = None) -> Transform:
        return _Incremental(partial(self.meta, c), self.passes, self, c)

    def invert(self, y: Tensor, c: Tensor | None = None) -> Tensor:
        """Columns from the first to the last, each under a map that those before it govern."""
        if c is not None:
            y, c = broadcast(y, c, ignore=1)
        x = torch.empty_like(y)
        linears = [module for module in self.hyper if isinstance(module, MaskedLinear)]
        functions = [module for module in self.hyper if not isinstance(module, MaskedLinear)]
        if len(functions) < len(linears):
            functions.insert(0, nn.Identity())
        inputs = [y.new_zeros(*y.shape[:-1], linear.in_features) for linear in linears]
        weights = [linear.mask * linear.weight for linear in linears]
        ready = _ready_after(linears, y.shape[-1])
        if c is not None:
            inputs[0][..., y.shape[-1] :] = functions[0](c)
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
    def __init__(
        self,
        meta: Callable[[Tensor], Transform],
        passes: int,
        layer: IncrementalAutoregressive,
        c: Tensor | None,
    ) -> None:
        super().__init__(meta, passes)
        self._layer, self._c = layer, c

    def _inverse(self, y: Tensor) -> Tensor:
        return self._layer.invert(y, self._c)


def _ready_after(linears: list[MaskedLinear], n_features: int) -> list[list[Tensor]]:
    """For each linear layer and number of known columns, the units that then can be computed.

    Those that look at a context alone can be from the start. Those of the last layer are the
    parameters of one column after the other.
    """
    *hidden, last = linears
    needed = torch.arange(1, n_features + 1, device=last.weight.device)
    n_context = linears[0].in_features - n_features
    needed = torch.cat([needed, needed.new_zeros(n_context)])
    ready = []
    for linear in hidden:
        needed = (linear.mask * needed).amax(dim=1)
        ready.append([torch.nonzero(needed == i).flatten() for i in range(n_features)])
    return [*ready, list(torch.arange(last.out_features, device=needed.device).chunk(n_features))]
