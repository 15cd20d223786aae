"""What a display of a density is computed from: limits, grids, regions, columns."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skgbnf.plotting.tables import as_table, score_rows

_MARGIN = 0.05


def plot_limits(rows: np.ndarray, percentiles: tuple[float, float]) -> np.ndarray:
    """Smallest and largest value of each column to draw, with a margin."""
    try:
        low, high = percentiles
    except (TypeError, ValueError):
        raise ValueError(f"percentiles must be a pair of numbers, got {percentiles!r}.") from None
    if not 0 <= low < high <= 1:
        raise ValueError(f"percentiles must ascend within [0, 1], got {percentiles!r}.")
    low, high = np.quantile(rows, [low, high], axis=0)
    margin = np.where(high > low, _MARGIN * (high - low), 0.5)
    return np.column_stack([low - margin, high + margin])


def on_grid(estimator: Any, X: ArrayLike, limits: np.ndarray, grid_resolution: int) -> np.ndarray:
    """Log-density at all combinations of evenly spaced values."""
    values = [np.linspace(low, high, grid_resolution) for low, high in limits]
    points = np.stack(np.meshgrid(*values, indexing="ij"), axis=-1)
    rows = points.reshape(-1, len(values))
    return score_rows(estimator, as_table(rows, X)).reshape(points.shape[:-1])


def regions(
    estimator: Any, X: ArrayLike, rows: np.ndarray, levels: ArrayLike
) -> dict[str, np.ndarray]:
    """Levels in ascending order, and the largest threshold that so many rows reach."""
    shares = np.sort(np.ravel(levels))
    if not len(shares) or not (shares[0] > 0 and shares[-1] < 1):
        raise ValueError(f"levels must be numbers above 0 and below 1, got {levels!r}.")
    scores = np.sort(score_rows(estimator, as_table(rows, X)))
    # Less a little, lest 0.95 of 100 rows be 96 by rounding.
    n_within = np.ceil(shares * len(scores) - 1e-6).astype(int)
    return {"levels": shares, "thresholds": scores[len(scores) - n_within]}


def positions(features: Sequence[int | str] | None, names: list[str]) -> list[int]:
    """Positions of the columns that are named by number or by name."""
    if isinstance(features, str) or (features is not None and not len(features)):
        raise ValueError(f"features must be a list of at least one column, got {features!r}.")
    if features is None:
        return list(range(len(names)))
    positions = []
    for feature in features:
        known = range(len(names)) if isinstance(feature, Integral) else names
        if feature not in known:
            raise ValueError(f"features: there is no column {feature!r} among {names}.")
        positions.append(int(feature) if isinstance(feature, Integral) else names.index(feature))
    return positions
