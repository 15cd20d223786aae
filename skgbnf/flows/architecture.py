"""A component described by a few plain values."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from zuko.lazy import LazyDistribution

from skgbnf.flows.copula import CopulaBase
from skgbnf.flows.families import SCALE_CLAMP, make_flow


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
    log_det: str = "lu"
    scale_clamp: float | None = SCALE_CLAMP
    splines: str | None = "columns"
    n_components: int = 1
    n_context: int = 0

    def __post_init__(self) -> None:
        # A base comes out of a file as the dict that it was written as.
        if isinstance(self.base, dict):
            object.__setattr__(self, "base", CopulaBase(**self.base))

    def build(self) -> LazyDistribution:
        """Build an untrained component; parameters come from torch's global generator.

        Raises
        ------
        TypeError, ValueError
            If a user's callable returns no density, or one over other columns.
        """
        if callable(self.kind):
            return _checked(self.kind(self.n_features), self.n_features)
        return make_flow(**vars(self))


def _checked(flow: object, n_features: int) -> LazyDistribution:
    """Return what a user's callable built, if it is a zuko density over `n_features` columns."""
    if not isinstance(flow, LazyDistribution):
        raise TypeError(
            "flow: a callable must return a zuko.flows.Flow or another "
            f"zuko.lazy.LazyDistribution, got {type(flow).__name__}."
        )
    flow = flow.float()
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
