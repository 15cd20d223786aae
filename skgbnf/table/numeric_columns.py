"""What the columns of a table of numbers hold, told from the map that was fitted to it."""

import numpy as np

from skgbnf.table.column import Column
from skgbnf.table.coordinates import Coordinates


def columns_of(coordinates: Coordinates) -> list[Column]:
    """A record of each column, as tables of other kinds have them.

    Repeated values whose treatment was not asked for leave no trace in the map: such a column is
    continuous.
    """
    return [_column(coordinates, j) for j in range(coordinates.n_features)]


def _column(coordinates: Coordinates, j: int) -> Column:
    noise, limits = coordinates.noise, coordinates.bounds.limits[:, j]
    if _is_constant(coordinates, j):
        location = coordinates.standardisation.location[j : j + 1]
        return Column("constant", (float(coordinates.bounds.inverse_transform(location, j)[0]),))
    step = float(noise.widths[j]) if np.isfinite(noise.origins[j]) else 0.0
    origin = float(noise.origins[j] % step) if step else 0.0
    if len(noise.atoms[j]):
        return Column("mixed", step=step, atoms=tuple(noise.atoms[j].tolist()), origin=origin)
    if step >= 1 and step.is_integer() and origin.is_integer():
        low, high = max(float(limits[0]), float(noise.floors[j])), float(limits[1])
        return Column("ordinal", (), step, low, high, origin=origin, decimals=0)
    return Column("continuous", step=step, origin=origin)


def _is_constant(coordinates: Coordinates, j: int) -> bool:
    """Whether the scale of a column is the one that stands in for a spread of zero."""
    noise = coordinates.noise
    stand_in = 1.0 if coordinates.bounds.bounded[j] else noise.spreads[j]
    same = coordinates.standardisation.scale[j] == stand_in
    return bool(same) and not noise.widths[j] and not len(noise.levels[j])
