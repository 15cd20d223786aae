"""The data-dependent start of a component."""

import torch
from torch import Tensor
from zuko.lazy import LazyDistribution

from skgbnf.flows.copula import CopulaDensity
from skgbnf.flows.interfaces import DataInitialised
from skgbnf.flows.linear import LinearLayer
from skgbnf.flows.masked import MaskedNetwork
from skgbnf.flows.tails import TailTransform
from skgbnf.flows.views import FromResiduals


@torch.no_grad()
def initialise(
    component: LazyDistribution, x: Tensor, weights: Tensor, context: Tensor | None = None
) -> None:
    """Run weighted samples through the layers and initialise each from its own input.

    These are the layers that are :class:`~skgbnf.flows.DataInitialised`: tail transforms, splines
    of columns, the first affine layer of a context, the first linear layer, which whitens,
    activation normalisations; then the base. A later linear layer stays as it is: whitened samples
    need no second whitening.

    Parameters
    ----------
    component : zuko.lazy.LazyDistribution
        Changed in place; where it has no such layer it is left alone.

    x : Tensor of shape (n_samples, n_features)

    weights : Tensor of shape (n_samples,)

    context : Tensor of shape (n_samples, n_context) or None, default=None
    """
    if isinstance(component, FromResiduals) and context is not None:
        x, context = component.seen(x, context)
        component = component.component
    if isinstance(component, MaskedNetwork):
        component.initialise(x, weights)
        return
    layers = list(getattr(getattr(component, "transform", None), "transforms", ()))
    linear = [layer for layer in layers if isinstance(layer, LinearLayer)]
    waiting = [a for a in layers if isinstance(a, DataInitialised) and a not in linear[1:]]
    z = tailed = x
    for layer in layers:
        if not waiting:
            break
        if layer is waiting[0]:
            waiting.pop(0).initialise(z, weights, context)
        z = layer(context)(z)
        if isinstance(layer, TailTransform):
            tailed = z
    base = getattr(component, "base", None)
    if isinstance(base, CopulaDensity):
        base.initialise(tailed, z, weights)
    elif isinstance(base, DataInitialised):
        base.initialise(z, weights, context)
