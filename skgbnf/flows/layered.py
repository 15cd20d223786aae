"""Flows that alternate layers of networks with linear ones, splines of columns before them."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import nn
from zuko.flows import Flow
from zuko.lazy import LazyTransform

from skgbnf.flows.architecture import Architecture
from skgbnf.flows.bases import make_base
from skgbnf.flows.chain import ChainedFlow
from skgbnf.flows.column_splines import MarginalSpline
from skgbnf.flows.conditional import ConditionalAffine
from skgbnf.flows.dropout import Dropout
from skgbnf.flows.layers import Before, Layer, bounded, linear, nothing, reversal
from skgbnf.flows.linear import LOG_DETS, LinearLayer
from skgbnf.flows.options import ACTIVATIONS
from skgbnf.flows.spline import BOUND
from skgbnf.flows.tails import EDGE, TailTransform

_SMALL_GRAPH = 1_000_000
_CELLS_PER_VALUE = 64


@dataclass(frozen=True)
class Layered:
    """Builds the flows of a family.

    Parameters
    ----------
    layer : callable
        Makes each layer of a network.

    before : callable, default=linear
        Makes what stands before each of them.

    before_with_context : callable, default=linear
        The same where there is a context.

    first : callable, default=nothing
        Makes what stands before all of them; with a context it is a conditional affine layer.

    has_network : bool, default=True
        Whether there are networks without a context too.

    last : callable or None, default=None
        Makes the last layer of a network; None for one like the others.
    """

    layer: Layer
    before: Before = linear
    before_with_context: Before = linear
    first: Before = nothing
    has_network: bool = True
    last: Layer | None = None

    def build(self, architecture: Architecture) -> Flow:
        """An untrained flow."""
        d = architecture.n_features
        layers = self._layers(architecture)
        if architecture.splines is not None:
            # What quantiles in the tails say is noise, where a tail has been fitted.
            reach = EDGE if architecture.tail == "transform" else BOUND
            place = 0 if architecture.splines == "columns" else _whitening(architecture, layers)
            layers.insert(place, MarginalSpline(d, reach=reach))
        return flow_of(architecture, layers)

    def fewest(self, architecture: Architecture) -> tuple[int, int]:
        """No more than the numbers of values and of arrays that the parameters hold.

        What building takes time and memory for, masks included, grows no faster than these.
        """
        d, n_context = architecture.n_features, architecture.n_context
        # With one column and no context there is nothing to condition on, and no network.
        has_network = (self.has_network and d > 1) or n_context > 0
        hidden = architecture.hidden_layer_sizes if has_network else ()
        n_values = d + sum(a * b for a, b in pairwise(hidden))
        n_values += (d // 2 + n_context) * hidden[0] + d // 2 * hidden[-1] if hidden else 0
        n_arrays = architecture.n_transforms * (1 + len(hidden))
        n_values = max(architecture.n_transforms * n_values, self._fewest_of_matrices(architecture))
        return max(n_values, fewest_of_columns(architecture)[0]), n_arrays

    def _fewest_of_matrices(self, architecture: Architecture) -> int:
        square = architecture.n_features**2
        parts = {self._before(architecture)}
        parts |= set() if architecture.n_context else {self.first}
        if parts <= {nothing, reversal}:
            # There is no linear layer, which holds a matrix, but a graph while it is built.
            return max(square - _SMALL_GRAPH, 0) // _CELLS_PER_VALUE if reversal in parts else 0
        return square

    def _before(self, architecture: Architecture) -> Before:
        return self.before_with_context if architecture.n_context else self.before

    def _layers(self, architecture: Architecture) -> list[LazyTransform]:
        """What a network governs and what stands before it."""
        d, make_linear = architecture.n_features, LOG_DETS[architecture.log_det]
        network = {**network_of(architecture), "scale_clamp": architecture.scale_clamp}
        if architecture.n_context:
            network["context"] = architecture.n_context
            layers: list[LazyTransform] = [ConditionalAffine(d, architecture.n_context)]
        else:
            layers = self.first(d, make_linear)
        before, n_layers = self._before(architecture), architecture.n_transforms
        for i in range(n_layers):
            layers += before(d, make_linear)
            make = self.last if self.last is not None and i == n_layers - 1 else self.layer
            layers.append(bounded(make(d, i, **network)))
        return layers


def _whitening(architecture: Architecture, layers: list[LazyTransform]) -> int:
    """Number of the first layers that give columns mean zero and variance one."""
    return 2 if architecture.n_context and isinstance(layers[1], LinearLayer) else 1


def flow_of(architecture: Architecture, layers: list[LazyTransform]) -> Flow:
    """Layers behind the tail transform, if there is to be one, and before the base."""
    d = architecture.n_features
    tail = [TailTransform(d)] if architecture.tail == "transform" else []
    return ChainedFlow([*tail, *layers], make_base(architecture.base, d))


def network_of(architecture: Architecture) -> dict[str, Any]:
    """Arguments of zuko's networks."""
    activation = _dropping(ACTIVATIONS[architecture.activation], architecture.dropout)
    return {"hidden_features": architecture.hidden_layer_sizes, "activation": activation}


def fewest_of_columns(architecture: Architecture) -> tuple[int, int]:
    """What a component holds at least that has a value of each column for each of the others."""
    n_most = max(architecture.n_components, architecture.n_context)
    return architecture.n_features * n_most, 1


def _dropping(activation: type[nn.Module], dropout: float) -> Callable[[], nn.Module]:
    """What makes a non-linearity, with dropout behind it if there is to be any."""
    if not dropout:
        return activation
    return lambda: nn.Sequential(activation(), Dropout(dropout))
