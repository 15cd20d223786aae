"""Masked networks whose parameters may have a leading axis, with a backward pass of their own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from zuko.nn import MaskedLinear

from skgbnf.flows.broadcasting import linear_map, linear_map_of_last
from skgbnf.flows.dropout import Dropout
from skgbnf.flows.interfaces import own_parameters

_aten = torch.ops.aten

# The gradient before a non-linearity from that behind it and the values before it.
_GRADIENTS: dict[type[nn.Module], Callable[[Any, Tensor, Tensor], Tensor]] = {
    nn.ReLU: lambda module, grad, a: _aten.threshold_backward(grad, a, 0.0),
    nn.Tanh: lambda module, grad, a: _aten.tanh_backward(grad, a.tanh()),
    nn.ELU: lambda module, grad, a: _aten.elu_backward(grad, module.alpha, 1, 1, False, a),
    nn.SiLU: lambda module, grad, a: _aten.silu_backward(grad, a),
}

NetworkPulled = tuple[Tensor, Callable[[Tensor], tuple[Tensor, tuple[Tensor, ...]]]]
"""Values of a network, and what carries their gradient back to its inputs and parameters."""


class MaskedNetwork(nn.Sequential):
    """A :class:`zuko.nn.MaskedMLP` whose parameters may have a leading axis of networks.

    Parameters
    ----------
    *modules : nn.Module
        A bound of the inputs, if any, then linear layers with non-linearities between them, each
        of which may have dropout behind it. With modules of other kinds it knows neither a leading
        axis nor a backward pass of its own.
    """

    @property
    def is_known(self) -> bool:
        """Whether all modules are of these kinds."""
        return _Plan.of(self) is not None

    def forward(self, x: Tensor) -> Tensor:
        for module in self:
            x = _masked(module, x) if type(module) is MaskedLinear else module(x)
        return x

    def parameter_list(self) -> tuple[Tensor, ...]:
        """The parameters in the order of their gradients."""
        return tuple(
            value
            for module in self
            if type(module) is MaskedLinear
            for value in own_parameters(module)
        )

    def pullback(self, x: Tensor) -> NetworkPulled:
        """Values for samples along the last axis, and what carries gradients back."""
        plan = _Plan.of(self)
        assert plan is not None
        return plan.pullback(x)


def _masked(linear: MaskedLinear, x: Tensor) -> Tensor:
    return linear_map(x, linear.mask * linear.weight, linear.bias)


@dataclass
class _Plan:
    """The modules of a network by their kind."""

    bound: nn.Hardtanh | None
    linears: list[MaskedLinear]
    between: list[tuple[nn.Module, Dropout | None]]

    @classmethod
    def of(cls, network: nn.Sequential) -> Self | None:
        """The plan of a network; None if a module is of no known kind."""
        modules: list[Any] = list(network)
        bound = modules.pop(0) if isinstance(modules[0], nn.Hardtanh) else None
        linears, between = modules[::2], [_parts(module) for module in modules[1::2]]
        known = all(type(module) is MaskedLinear for module in linears)
        known_between = [parts for parts in between if parts is not None]
        if not known or not len(linears) - 1 == len(between) == len(known_between):
            return None
        return cls(bound, linears, known_between)

    def pullback(self, x: Tensor) -> NetworkPulled:
        """As :meth:`MaskedNetwork.pullback`."""
        h = x if self.bound is None else self.bound(x)
        h, pull = _linear_pullback(self.linears[0], h)
        pulls = [pull]
        for linear, (activation, dropout) in zip(self.linears[1:], self.between, strict=True):
            h, pull = _hidden_pullback(activation, dropout, linear, h)
            pulls.append(pull)

        def pull_all(grad: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
            grads: tuple[Tensor, ...] = ()
            for pull in reversed(pulls):
                grad, own = pull(grad)
                grads = own + grads
            return self._before_bound(grad, x), grads

        return h, pull_all

    def _before_bound(self, grad: Tensor, x: Tensor) -> Tensor:
        if self.bound is None:
            return grad
        return _aten.hardtanh_backward(grad, x, self.bound.min_val, self.bound.max_val)


def _parts(module: nn.Module) -> tuple[nn.Module, Dropout | None] | None:
    """A non-linearity and its dropout; None if the module is something else."""
    parts = list(module) if isinstance(module, nn.Sequential) else [module]
    if type(parts[0]) not in _GRADIENTS or len(parts) > 2:
        return None
    if len(parts) == 1:
        return parts[0], None
    return (parts[0], parts[1]) if isinstance(parts[1], Dropout) else None


def _linear_pullback(linear: MaskedLinear, h: Tensor) -> NetworkPulled:
    # As numbers the mask is multiplied by several times as fast.
    mask = linear.mask.to(h)
    weight = linear.weight * mask

    def pull(grad: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return weight.mT @ grad, ((grad @ h.mT).mul_(mask), grad.sum(-1))

    return linear_map_of_last(weight, h, linear.bias), pull


def _hidden_pullback(
    activation: nn.Module, dropout: Dropout | None, linear: MaskedLinear, a: Tensor
) -> NetworkPulled:
    """A non-linearity, dropout and the linear layer behind them."""
    factor = None if dropout is None else dropout.factor(a.shape, a)
    h = activation(a)
    out, pull_linear = _linear_pullback(linear, h if factor is None else h * factor)

    def pull(grad: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        grad, grads = pull_linear(grad)
        grad = grad if factor is None else grad * factor
        return _GRADIENTS[type(activation)](activation, grad, a), grads

    return out, pull
