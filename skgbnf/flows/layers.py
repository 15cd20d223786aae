"""Layers that networks govern, and what stands before each of them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from zuko.flows import GeneralCouplingTransform
from zuko.lazy import LazyTransform, UnconditionalTransform
from zuko.transforms import PermutationTransform

from skgbnf.flows.actnorm import ActNorm
from skgbnf.flows.affine import Affine
from skgbnf.flows.autoregressive import IncrementalAutoregressive
from skgbnf.flows.element_wise import ElementWise
from skgbnf.flows.graphical import GraphicalAutoregressive
from skgbnf.flows.interfaces import Differentiated, Pulled, Stackable
from skgbnf.flows.mixture_scores import MixtureScores
from skgbnf.flows.spline import RationalQuadraticSpline

_N_BINS = 8
_N_GAUSSIANS = 10
_INPUT_BOUND = 10.0
_SMALL_START = 0.1

Layer = Callable[..., LazyTransform]
"""Makes layer `i` of so many columns: ``(n_features, i, **network)``."""

MakeLinear = Callable[[int], LazyTransform]
"""Makes a linear layer of so many columns."""

Before = Callable[[int, MakeLinear], list[LazyTransform]]
"""Makes what stands before a layer of so many columns."""


def autoregressive(n_features: int, i: int, **network: Any) -> LazyTransform:
    """Each column is mapped by functions of those before it."""
    return (IncrementalAutoregressive if n_features > 1 else ElementWise)(n_features, **network)


def graphical(n_features: int, i: int, **network: Any) -> LazyTransform:
    """Each column is mapped by functions of those before it that it depends on."""
    return (GraphicalAutoregressive if n_features > 1 else ElementWise)(n_features, **network)


def coupling(n_features: int, i: int, **network: Any) -> LazyTransform:
    """Every second column is mapped by functions of the others, in turns."""
    mask = torch.arange(n_features) % 2 == i % 2
    return GeneralCouplingTransform(n_features, mask=mask, **network)


def element_wise(
    n_features: int,
    i: int,
    *,
    context: int = 0,
    univariate: type,
    shapes: list[tuple[int, ...]],
    **network: Any,
) -> LazyTransform:
    """A function of each column by itself, which a network gives if there is a context."""
    network = network if context else {}
    return ElementWise(n_features, context, univariate, shapes, **network)


def spline(
    make: Layer, n_features: int, i: int, *, scale_clamp: float | None, **network: Any
) -> LazyTransform:
    """A layer of rational-quadratic splines."""
    shapes = [(3 * _N_BINS - 1,)]
    return make(n_features, i, univariate=RationalQuadraticSpline, shapes=shapes, **network)


def affine(
    make: Layer, n_features: int, i: int, *, scale_clamp: float | None, **network: Any
) -> LazyTransform:
    """A layer of affine functions."""
    univariate = partial(Affine, scale_clamp=scale_clamp)
    return make(n_features, i, univariate=univariate, shapes=[(), ()], **network)


def mixture_scores(
    make: Layer, n_features: int, i: int, *, scale_clamp: float | None, **network: Any
) -> LazyTransform:
    """A layer of normal scores under mixtures of Gaussians."""
    shapes = [(3 * _N_GAUSSIANS,)]
    return make(n_features, i, univariate=MixtureScores, shapes=shapes, **network)


class Reversal(UnconditionalTransform, Stackable, Differentiated):
    """The columns in reverse.

    Parameters
    ----------
    n_features : int
        Number of columns.
    """

    def __init__(self, n_features: int) -> None:
        super().__init__(PermutationTransform, torch.arange(n_features).flip(0), buffer=True)

    def parameter_list(self) -> tuple[Tensor, ...]:
        return ()

    def pullback(self, x: Tensor) -> Pulled:
        return x.flip(-2), x.new_zeros(1), lambda grad_y, grad_ladj: (grad_y.flip(-2), ())


def nothing(n_features: int, make_linear: MakeLinear) -> list[LazyTransform]:
    """No layer."""
    return []


def linear(n_features: int, make_linear: MakeLinear) -> list[LazyTransform]:
    """A linear layer."""
    return [make_linear(n_features)]


def normalised_linear(n_features: int, make_linear: MakeLinear) -> list[LazyTransform]:
    """An activation normalisation and a linear layer."""
    return [ActNorm(n_features), make_linear(n_features)]


def reversal(n_features: int, make_linear: MakeLinear) -> list[LazyTransform]:
    """The columns in reverse: any other linear layer would mix columns that are independent."""
    return [Reversal(n_features)]


def bounded(layer: nn.Module) -> Any:
    """Start a module of a network near the identity and bound what its network sees.

    The bound leaves the density normalised, since any function of the conditioning columns is
    allowed, and keeps samples far from the data from driving the network to infinity.
    """
    with torch.no_grad():
        hyper = getattr(layer, "hyper", None)
        # Of one column zuko makes a layer without a network.
        for parameter in layer.parameters() if hyper is None else hyper[-1].parameters():
            parameter.mul_(_SMALL_START)
        if hyper is not None:
            hyper.insert(0, nn.Hardtanh(-_INPUT_BOUND, _INPUT_BOUND))
    return layer
