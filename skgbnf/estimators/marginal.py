"""Densities of some of the features of a fitted density."""

from typing import Any

_N_DRAWS = 20_000
_N_BETWEEN = 4
_REACH = 0.5


class MarginalDensity:
    """The density of some features of a fitted density.

    :meth:`GradientBoostedFlowDensity.marginal` makes it.

    Parameters
    ----------
    density : GradientBoostedFlowDensity
        Fitted.

    places : list of int
        Positions of the features.
    """

    __module__ = "skgbnf"

    def __init__(self, density: Any, places: list[int]) -> None:
        self.density = density
        self.places = places
