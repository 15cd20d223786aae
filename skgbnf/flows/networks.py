"""Masked networks, evaluated by one function with a backward pass of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn
from zuko.nn import MaskedLinear

from skgbnf.flows.broadcasting import linear_map
from skgbnf.flows.dropout import Dropout

_aten = torch.ops.aten

# The gradient before a non-linearity from that behind it and the values before it.
_GRADIENTS: dict[type[nn.Module], Callable[[Any, Tensor, Tensor], Tensor]] = {
    nn.ReLU: lambda module, grad, a: _aten.threshold_backward(grad, a, 0.0),
    nn.Tanh: lambda module, grad, a: _aten.tanh_backward(grad, a.tanh()),
    nn.ELU: lambda module, grad, a: _aten.elu_backward(grad, module.alpha, 1, 1, False, a),
    nn.SiLU: lambda module, grad, a: _aten.silu_backward(grad, a),
}


class MaskedNetwork(nn.Sequential):
    """A :class:`zuko.nn.MaskedMLP` whose parameters may have a leading axis of networks.

    Most of what a step of a small network costs is the number of operations. Where all modules are
    of known kinds the network is one operation, which masks each weight once. With other modules
    it is the sequence that it is.

    Parameters
    ----------
    *modules : nn.Module
        A bound of the inputs, if any, then linear layers with non-linearities between them, each
        of which may have dropout behind it.
    """

    @property
    def is_known(self) -> bool:
        """Whether all modules are of known kinds, as a leading axis of networks needs."""
        return _Plan.of(self) is not None

    def forward(self, x: Tensor) -> Tensor:
        plan = _Plan.of(self)
        if plan is None:
            return super().forward(x)  # type: ignore[no-untyped-call]
        if plan.linears[0].weight.dim() > 2:
            return plan.apply(x)
        out = plan.apply(torch.atleast_2d(x).flatten(0, -2))
        return out if x.dim() == 2 else out.view(*x.shape[:-1], -1)


@dataclass
class _Plan:
    """The modules of a network by their kind, and what dropout does in one evaluation."""

    bound: nn.Hardtanh | None
    linears: list[MaskedLinear]
    activations: list[nn.Module]
    dropouts: list[Dropout | None]
    factors: list[Tensor | None] = field(default_factory=list)

    @classmethod
    def of(cls, network: nn.Sequential) -> Self | None:
        """The plan of a network; None if a module is of no known kind."""
        modules: list[Any] = list(network)
        bound = modules.pop(0) if isinstance(modules[0], nn.Hardtanh) else None
        linears, between = modules[::2], [_parts(module) for module in modules[1::2]]
        known = all(type(module) is MaskedLinear for module in linears)
        if not known or len(linears) != len(between) + 1 or None in between:
            return None
        activations, dropouts = zip(*between, strict=True) if between else ((), ())
        return cls(bound, linears, list(activations), list(dropouts))

    def apply(self, x: Tensor) -> Tensor:
        """The values of the network for samples of shape ([n_networks,] n_samples, n_inputs)."""
        self.factors = [
            None if dropout is None else dropout.factor((*x.shape[:-1], linear.out_features), x)
            for dropout, linear in zip(self.dropouts, self.linears, strict=False)
        ]
        weights, biases, masks = zip(
            *((linear.weight, linear.bias, linear.mask) for linear in self.linears), strict=True
        )
        return _Network.apply(self, x, *weights, *biases, *masks)  # type: ignore[no-untyped-call]

    def bounded(self, x: Tensor) -> Tensor:
        return x if self.bound is None else self.bound(x)

    def activated(self, i: int, a: Tensor) -> Tensor:
        """What the next linear layer sees of the values of layer `i`."""
        h, factor = self.activations[i](a), self.factors[i]
        return h if factor is None else h * factor

    def before_bound(self, grad: Tensor, x: Tensor) -> Tensor:
        if self.bound is None:
            return grad
        return _aten.hardtanh_backward(grad, x, self.bound.min_val, self.bound.max_val)

    def before_activation(self, i: int, grad: Tensor, a: Tensor) -> Tensor:
        activation, factor = self.activations[i], self.factors[i]
        grad = grad if factor is None else grad * factor
        return _GRADIENTS[type(activation)](activation, grad, a)


def _parts(module: nn.Module) -> tuple[nn.Module, Dropout | None] | None:
    """A non-linearity and its dropout; None if the module is something else."""
    parts = list(module) if isinstance(module, nn.Sequential) else [module]
    if type(parts[0]) not in _GRADIENTS or len(parts) > 2:
        return None
    if len(parts) == 1:
        return parts[0], None
    return (parts[0], parts[1]) if isinstance(parts[1], Dropout) else None


def _evaluate(
    plan: _Plan, x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs and values of each linear layer; the last value is that of the network."""
    inputs, values = [plan.bounded(x)], []
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        values.append(linear_map(inputs[i], weight, bias))
        if i + 1 < len(weights):
            inputs.append(plan.activated(i, values[i]))
    return inputs, values


class _Network(torch.autograd.Function):
    """A masked network of weights, biases and masks, in this order, with gradients written out."""

    @staticmethod
    def forward(ctx: Any, plan: _Plan, x: Tensor, *parts: Tensor) -> Tensor:
        n = len(plan.linears)
        masked = [parts[i] * parts[2 * n + i] for i in range(n)]
        inputs, values = _evaluate(plan, x, masked, parts[n : 2 * n])
        ctx.plan = plan
        ctx.save_for_backward(x, *parts, *masked, *inputs, *values[:-1])
        return values[-1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        n, plan = len(ctx.plan.linears), ctx.plan
        x, *saved = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, *_differentiable_gradients(plan, [x, *saved[: 3 * n]], grad)
        masks, masked, inputs = (saved[i * n : (i + 1) * n] for i in (2, 3, 4))
        grad_weights: list[Tensor] = []
        grad_biases: list[Tensor] = []
        for i in reversed(range(n)):
            grad_weights.insert(0, (grad.mT @ inputs[i]).mul_(masks[i]))
            grad_biases.insert(0, grad.sum(-2))
            grad = grad @ masked[i]
            if i > 0:
                grad = plan.before_activation(i - 1, grad, saved[5 * n + i - 1])
        return None, plan.before_bound(grad, x), *grad_weights, *grad_biases, *[None] * n


def _differentiable_gradients(
    plan: _Plan, inputs: list[Tensor], grad: Tensor
) -> list[Tensor | None]:
    """Gradients that can be differentiated again, by autograd of the same formula."""
    (x, *parts), n = inputs, len(plan.linears)
    weights = [parts[i] * parts[2 * n + i] for i in range(n)]
    out = _evaluate(plan, x, weights, parts[n : 2 * n])[1][-1]
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    grads = iter(torch.autograd.grad(out, wanted, grad, create_graph=True, allow_unused=True))
    return [next(grads) if tensor.requires_grad else None for tensor in inputs]
