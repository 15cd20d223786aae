"""The layers that each family alternates, linear ones and those between them."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from zuko.flows import ElementWiseTransform, GeneralCouplingTransform
from zuko.lazy import LazyTransform, UnconditionalTransform
from zuko.transforms import PermutationTransform

from skgbnf.flows.actnorm import ActNorm
from skgbnf.flows.affine import Affine
from skgbnf.flows.autoregressive import IncrementalAutoregressive
from skgbnf.flows.conditional import ConditionalAffine
from skgbnf.flows.graphical import GraphicalAutoregressive
from skgbnf.flows.linear import LOG_DETS, LULinear
from skgbnf.flows.spline import RationalQuadraticSpline

_N_BINS = 8
_INPUT_BOUND = 10.0
_SMALL_START = 0.1

Layer = Callable[..., LazyTransform]


def _autoregressive(n_features: int, i: int, **kwargs) -> LazyTransform:
    return IncrementalAutoregressive(n_features, **kwargs)


def _graphical(n_features: int, i: int, **kwargs) -> LazyTransform:
    return GraphicalAutoregressive(n_features, **kwargs)


def _coupling(n_features: int, i: int, **kwargs) -> LazyTransform:
    mask = torch.arange(n_features) % 2 == i % 2
    return GeneralCouplingTransform(n_features, mask=mask, **kwargs)


def _element_wise(
    n_features: int, i: int, *, hidden_features: tuple[int, ...], activation: type, **kwargs
) -> LazyTransform:
    return ElementWiseTransform(n_features, **kwargs)


def _spline(
    make: Layer, n_features: int, i: int, *, scale_clamp: float | None, **kwargs
) -> LazyTransform:
    shapes = [(3 * _N_BINS - 1,)]
    return make(n_features, i, univariate=RationalQuadraticSpline, shapes=shapes, **kwargs)


def _affine(
    make: Layer, n_features: int, i: int, *, scale_clamp: float | None, **kwargs
) -> LazyTransform:
    univariate = partial(Affine, scale_clamp=scale_clamp)
    return make(n_features, i, univariate=univariate, shapes=[(), ()], **kwargs)


LAYERS: dict[str, Layer] = {
    "nsf": partial(_spline, _autoregressive),
    "nsf_coupling": partial(_spline, _coupling),
    "maf": partial(_affine, _autoregressive),
    "graphical": partial(_affine, _graphical),
    "realnvp": partial(_affine, _coupling),
    "glow": partial(_affine, _coupling),
    "linear": partial(_spline, _element_wise),
}
"""Constructors ``(n_features, i, **network)`` of what stands behind linear layers, by family."""


def family_layers(
    kind: str, n_features: int, n_transforms: int, log_det: str, network: dict
) -> list[LazyTransform]:
    """The layers of a family, of which the first is linear and can whiten rows."""
    if kind == "affine":
        return [LULinear(n_features, permute=False)]
    # "realnvp" has no other linear layer, and "glow" begins with a scale for each column, the
    # steps of which would be stretched where columns are nearly dependent.
    make_linear = LOG_DETS[log_det]
    layers = [make_linear(n_features)] if kind in ("realnvp", "glow") else []
    for i in range(n_transforms):
        layers += _linear_layers(kind, n_features, make_linear)
        layers.append(_bounded(LAYERS[kind](n_features, i, **network)))
    return layers


def conditional_layers(
    kind: str, n_features: int, n_transforms: int, network: dict
) -> list[LazyTransform]:
    """The layers of a family, all of them governed by a context."""
    layers = [ConditionalAffine(n_features, network["context"])]
    for i in range(n_transforms if kind != "affine" else 0):
        layers += _linear_layers(kind, n_features, LULinear) if kind == "glow" else []
        layers.append(_bounded(LAYERS[kind](n_features, i, **network)))
    return layers


def _linear_layers(kind: str, n_features: int, make_linear: Layer) -> list[LazyTransform]:
    """What stands before each layer of `LAYERS`."""
    if kind == "realnvp":
        return []
    if kind == "graphical":
        # Anything else would mix columns that do not depend on each other.
        reverse = torch.arange(n_features).flip(0)
        return [UnconditionalTransform(PermutationTransform, reverse, buffer=True)]
    linear = make_linear(n_features)
    return [ActNorm(n_features), linear] if kind == "glow" else [linear]


def _bounded(layer: LazyTransform) -> LazyTransform:
    """Start a conditional layer near the identity and bound what its network sees.

    The bound leaves the density normalised, since any function of the conditioning columns is
    allowed, and keeps rows far from the data from driving the network to infinity.
    """
    with torch.no_grad():
        if hasattr(layer, "hyper"):
            layer.hyper[-1].weight.mul_(_SMALL_START)
            layer.hyper[-1].bias.mul_(_SMALL_START)
            layer.hyper.insert(0, nn.Hardtanh(-_INPUT_BOUND, _INPUT_BOUND))
        else:  # without a network: of one column zuko makes such a layer too
            for parameter in layer.phi:
                parameter.mul_(_SMALL_START)
    return layer
