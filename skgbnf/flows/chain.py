"""Flows whose log-density is one function with a backward pass of its own."""

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Transform
from zuko.distributions import NormalizingFlow
from zuko.flows import Flow

from skgbnf.flows.bases import StandardNormal
from skgbnf.flows.interfaces import Differentiated


class ChainedFlow(Flow):
    """A flow that is evaluated by its layers' own backward passes where all of them have one.

    So it is without a context and with at least as many samples as columns: with fewer, linear
    layers multiply samples in another order. Otherwise it is a :class:`zuko.flows.Flow`, whose
    arguments it has.
    """

    n_axes = 2
    """Number of axes of a batch of samples."""

    def forward(self, c: Tensor | None = None) -> NormalizingFlow:
        return ChainedDistribution(self) if c is None else super().forward(c)

    def has_chain_for(self, x: Tensor) -> bool:
        """Whether all layers have a backward pass of their own, and `x` is a batch for them."""
        if torch.compiler.is_compiling():
            return False  # an exported graph holds for any number of samples
        is_batch = x.dim() == self.n_axes and x.shape[-2] >= x.shape[-1]
        return is_batch and all(map(_is_differentiated, self.transform.transforms))


class ChainedDistribution(NormalizingFlow):
    """The distribution of a chained flow, whose parts are made when they are asked for.

    Parameters
    ----------
    flow : ChainedFlow
    """

    def __init__(self, flow: ChainedFlow) -> None:
        self._flow, self.reinterpreted = flow, 0
        Distribution.__init__(self, validate_args=False)

    @cached_property
    def transform(self) -> Transform:
        return self._flow.transform(None)

    @cached_property
    def base(self) -> Distribution:
        return self._flow.base(None)

    @property
    def batch_shape(self) -> torch.Size:
        return torch.Size()

    def expand(self, batch_shape: Any, new: None = None) -> NormalizingFlow:
        return NormalizingFlow(self.transform, self.base).expand(batch_shape)

    def log_prob(self, x: Tensor) -> Tensor:
        if not self._flow.has_chain_for(x):
            return super().log_prob(x)
        z, ladj = chained(self._flow.transform.transforms, x)
        base = self._flow.base
        # Torch's normal distribution takes as long as a layer.
        own = base.log_prob(z) if isinstance(base, StandardNormal) else self.base.log_prob(z)
        return own + ladj


def chained(layers: Iterable[Any], x: Tensor) -> tuple[Tensor, Tensor]:
    """Image and log-determinants of samples under one layer after the other."""
    values = [value for layer in layers for value in layer.parameter_list()]
    return _Chain.apply(layers, x, *values)  # type: ignore[no-untyped-call]


def _is_differentiated(layer: Any) -> bool:
    return isinstance(layer, Differentiated) and layer.is_differentiated


class _Chain(torch.autograd.Function):
    """Layers one after the other, with gradients carried back by each of them."""

    @staticmethod
    def forward(ctx: Any, layers: Iterable[Any], x: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        ctx.layers, ctx.pulls = layers, []
        ctx.save_for_backward(x, *values)
        # Nothing here is followed by autograd, and operations that cannot be are faster by a sixth.
        with torch.inference_mode():
            z, ladj = x.mT, x.new_zeros(x.shape[:-1])
            for layer in layers:
                z, own, pull = layer.pullback(z)
                ladj += own
                ctx.pulls.append(pull)
        return z.mT.clone(), ladj.clone()

    @staticmethod
    def backward(ctx: Any, grad_z: Tensor, grad_ladj: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return None, *_differentiable_gradients(ctx, grad_z, grad_ladj)
        grad, grads = grad_z.mT, []
        for pull in reversed(ctx.pulls):
            grad, own = pull(grad, grad_ladj)
            grads.append(own)
        return None, grad.mT, *(value for own in reversed(grads) for value in own)


def _differentiable_gradients(
    ctx: Any, grad_z: Tensor, grad_ladj: Tensor
) -> tuple[Tensor | None, ...]:
    """Gradients that can be differentiated again, by autograd of the layers' operations."""
    inputs = ctx.saved_tensors
    z: Tensor = inputs[0]
    total: Any = 0.0
    for layer in ctx.layers:
        z, ladj = layer(None).call_and_ladj(z)
        total = total + ladj
    value = (z * grad_z).sum() + (total * grad_ladj).sum()
    wanted = [own for own in inputs if own.requires_grad]
    grads = iter(torch.autograd.grad(value, wanted, create_graph=True, allow_unused=True))
    return tuple(next(grads) if own.requires_grad else None for own in inputs)
