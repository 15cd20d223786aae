"""A component described by a few plain values."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import torch
from zuko.lazy import LazyDistribution

from skgbnf.flows.bases import BASES, base_from_plain, base_to_plain
from skgbnf.flows.copula import CopulaBase
from skgbnf.flows.dropout import with_own_dropout
from skgbnf.flows.families import (
    ACTIVATIONS,
    FAMILIES,
    INVERTIBLE_FAMILIES,
    LAYERED_FAMILIES,
    NETWORK_FAMILIES,
    SCALE_CLAMP,
    SPLINES,
    TAILS,
    make_flow,
)
from skgbnf.flows.linear import LOG_DETS

_SMALL_GRAPH = 1_000_000
_CELLS_PER_VALUE = 64


@dataclass(frozen=True)
class Architecture:
    """What is needed to build a component anew, apart from its parameters.

    ``kind`` is a name that :func:`skgbnf.flows.make_flow` knows or a user's callable; the other
    fields are arguments of that function.
    """

    kind: str | Callable[[int], LazyDistribution]
    n_features: int
    base: str | CopulaBase = "normal"
    tail: str = "base"
    n_transforms: int = 3
    hidden_layer_sizes: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    dropout: float = 0.0
    log_det: str = "lu"
    scale_clamp: float | None = SCALE_CLAMP
    splines: str | None = "columns"
    n_components: int = 1
    n_context: int = 0

    def plain(self) -> dict[str, Any]:
        """The fields as JSON knows them."""
        return {**vars(self), "base": base_to_plain(self.base)}

    @classmethod
    def from_plain(cls, fields: dict[str, Any]) -> Self:
        """Inverse of :meth:`plain`; what was a tuple may be a list."""
        sizes = tuple(fields["hidden_layer_sizes"])
        base = base_from_plain(fields["base"])
        return cls(**{**fields, "base": base, "hidden_layer_sizes": sizes})

    def build(self) -> LazyDistribution:
        """Build an untrained component; parameters come from torch's generator.

        Raises
        ------
        TypeError, ValueError
            If a user's callable returns no density, or one over other columns.
        """
        if callable(self.kind):
            return _checked(self.kind(self.n_features), self.n_features)
        return make_flow(**vars(self))

    def check(self, array_sizes: Sequence[int]) -> None:
        """Check what came out of a file before anything is built of it.

        Parameters
        ----------
        array_sizes : sequence of int
            Number of values in each array of parameters that came with it.

        Raises
        ------
        ValueError
            If a name is unknown, or a size is none or one that the arrays cannot have come from.
        """
        if not self._is_known():
            raise ValueError(f"it names an unknown component: {self}")
        sizes = (self.n_features, *self.hidden_layer_sizes)
        counts = (*sizes, self.n_transforms, self.n_components, self.n_context + 1)
        if not all(type(count) is int and count > 0 for count in counts):
            raise ValueError(f"a size of a component is no positive integer: {self}")
        n_values, n_arrays = self._fewest()
        if n_values > sum(array_sizes) or n_arrays > len(array_sizes):
            raise ValueError("the sizes of a component do not fit its arrays")

    def _fewest(self) -> tuple[int, int]:
        """No more than the numbers of values and of arrays that the parameters hold.

        What building takes time and memory for, masks included, grows no faster than these.
        """
        d = self.n_features
        n_all = d * max(self.n_components, self.n_context)
        if self.kind not in LAYERED_FAMILIES:
            return n_all, 1
        # With one column there is nothing to condition on, and no network.
        network = self.kind in NETWORK_FAMILIES and (d > 1 or self.n_context > 0)
        hidden = self.hidden_layer_sizes if network else ()
        n_values = d + sum(a * b for a, b in pairwise(hidden))
        n_values += d // 2 * (hidden[0] + hidden[-1]) if hidden else 0
        square = 0 if self.n_context else d * d
        if self.kind == "graphical":
            # It has no linear layer, which holds a matrix, but a graph while it is built.
            square = max(square - _SMALL_GRAPH, 0) // _CELLS_PER_VALUE
        n_arrays = self.n_transforms * (1 + len(hidden))
        return max(self.n_transforms * n_values, square, n_all), n_arrays

    def _is_known(self) -> bool:
        clamp, dropout = self.scale_clamp, self.dropout
        return (
            self.kind in FAMILIES
            and (isinstance(self.base, CopulaBase) or self.base in BASES)
            and self.tail in TAILS
            and self.activation in ACTIVATIONS
            and (isinstance(dropout, int | float) and 0 <= dropout < 1)
            and self.log_det in LOG_DETS
            and self.splines in SPLINES
            and (clamp is None or (isinstance(clamp, int | float) and 0 < clamp < math.inf))
            and (self.n_context == 0 or self.kind in INVERTIBLE_FAMILIES)
        )


def _checked(flow: object, n_features: int) -> LazyDistribution:
    """Return what a user's callable built, if it is a zuko density over `n_features` columns."""
    if not isinstance(flow, LazyDistribution):
        raise TypeError(
            "flow: a callable must return a zuko.flows.Flow or another "
            f"zuko.lazy.LazyDistribution, got {type(flow).__name__}."
        )
    flow = with_own_dropout(flow).float()
    try:
        distribution = flow()
        distribution.log_prob(torch.zeros(1, *distribution.event_shape))
    except (RuntimeError, TypeError, AttributeError, ValueError) as e:
        raise ValueError(
            f"flow: the callable's density cannot be evaluated without a context ({e})."
        ) from e
    event_shape = tuple(distribution.event_shape)
    if event_shape != (n_features,):
        raise ValueError(
            f"flow: the callable returned a density over shape {event_shape}, "
            f"but X has {n_features} features."
        )
    return flow
