"""Helpers for matplotlib, imported when a display is drawn, and colours of all displays."""

from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # it is imported when something is drawn
    from matplotlib.axes import Axes
    from matplotlib.gridspec import GridSpecFromSubplotSpec

Keywords = dict[str, Any]
"""Keywords for a method of matplotlib."""

# Of the palette of M. Okabe and K. Ito, which colour-blind readers can tell apart.
MODEL = "#0072B2"
ROWS = "#D55E00"
OTHER = "#009E73"
REFERENCE = "#555555"
CYCLE = [MODEL, ROWS, OTHER, "#CC79A7", "#E69F00", "#56B4E9"]


def import_pyplot(caller: str) -> ModuleType:
    """The module ``matplotlib.pyplot``; ImportError with a hint if it is not installed."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{caller} requires matplotlib. Install it with `pip install 'skgbnf[plot]'`."
        ) from error
    return plt


def style(defaults: Keywords, given: Keywords | None) -> Keywords:
    """Keywords for matplotlib: the defaults, replaced by those of the caller."""
    return {**defaults, **(given or {})}


def axes_or_new(plt: ModuleType, ax: "Axes | None") -> "Axes":
    """The given axes, or those of a new figure with the colours of this package."""
    if ax is None:
        _, ax = plt.subplots(layout="constrained")
        ax.set_prop_cycle(color=CYCLE)
    return ax


def split_axes(
    plt: ModuleType,
    ax: "Axes | None",
    n_rows: int,
    n_columns: int,
    figsize: tuple[float, float] | None,
    **grid_kw: Any,
) -> "tuple[Axes, GridSpecFromSubplotSpec]":
    """Turn one axes into a grid of them.

    Returns
    -------
    ax : Axes
        The given axes, or those of a new figure of size `figsize`, hidden.

    places : GridSpecFromSubplotSpec
        Places of the new axes, for ``Figure.add_subplot``.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=figsize, layout="constrained")
    place = ax.get_subplotspec()
    if place is None:
        raise ValueError(
            "ax must be part of a grid, as those of plt.subplots are, to be divided into several."
        )
    ax.set_axis_off()
    return ax, place.subgridspec(n_rows, n_columns, **grid_kw)


def bin_edges(values: np.ndarray, bins: Any = None) -> np.ndarray:
    """Edges of `bins`; by default of equal bins, the square root of the number of values."""
    if bins is None:
        bins = int(np.clip(np.sqrt(len(values)), 10, 100))
    return np.histogram_bin_edges(values, bins)
