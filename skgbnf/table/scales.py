r"""Features with samples at several scales, mapped so that each scale is resolved.

One value of a billion beside values near zero sets the standard deviation of a feature, and the
others become one point. The map

.. math:: T(x) = \int \frac{dx}{\sigma(x)}

has the local scale :math:`\sigma` of the samples: it is linear where many samples lie, logarithmic
between such places and far out, and linear again beyond all samples. Features with one scale have
no map.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skgbnf.table.standardisation import standard_deviation

_SHARE = 0.02
_FEWEST = 10
_MOST_VALUES = 20_000
_NORMAL_WIDTH = 2.5
"""Width of a central interval of a normal over its small mass, in standard deviations."""

_LINEAR = 4.0
_RATIO = 60.0
_MOST_SCALES = 16
_LARGEST = 1e303


@dataclass(frozen=True, eq=False)
class Scales:
    """Maps of the features with several scales.

    Attributes
    ----------
    knots : dict of int to ndarray of shape (2, n_knots)
        Places, ascending, and the scales there, for each feature with a map. The scale is linear
        between the places and constant beyond them.
    """

    knots: dict[int, np.ndarray]

    @classmethod
    def from_columns(cls, columns: Sequence[np.ndarray]) -> "Scales":
        """Fit a map to each feature that needs one.

        A feature needs a map if its standard deviation is more than sixty times the smallest local
        scale, that of a window with 2 % of its distinct values.
        """
        knots = {}
        for j, values in enumerate(columns):
            found = _knots(values)
            if found is not None:
                knots[j] = found
        return cls(knots)

    def transform(self, x: np.ndarray, j: int) -> tuple[np.ndarray, np.ndarray]:
        """Mapped values of feature `j`, and the log-derivative of the map at each."""
        if j not in self.knots:
            return x, np.zeros(len(x))
        places, scales = self.knots[j]
        i = np.searchsorted(places[1:-1], x, side="right")
        place, scale, slope, image = _pieces(places, scales)[:, i]
        inside = np.clip(x, places[0], places[-1])
        start = (inside - place) / scale
        mapped = image + start * _log1p_ratio(slope * start)
        outer = np.where(x < places[0], scales[0], scales[-1])
        scale = np.where(x == inside, scale * (1 + slope * start), outer)
        with np.errstate(over="ignore"):
            return mapped + (x - inside) / scale, -np.log(scale)

    def pieces(self, j: int) -> np.ndarray:
        """Pieces of the map between knots, of shape (4, n_knots - 1); see :func:`_pieces`."""
        return _pieces(*self.knots[j])

    def inverse_transform(self, y: np.ndarray, j: int) -> np.ndarray:
        """Values of feature `j` from mapped ones."""
        if j not in self.knots:
            return y
        places, scales = self.knots[j]
        images = _images(places, scales)
        i = np.searchsorted(images[1:-1], y, side="right")
        place, scale, slope, image = _pieces(places, scales)[:, i]
        inside = np.clip(y, images[0], images[-1])
        start = (inside - image) * _expm1_ratio(slope * (inside - image))
        outer = np.where(y < images[0], scales[0], scales[-1])
        return place + start * scale + (y - inside) * outer


def _pieces(places: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Pieces between knots, each from its end of smaller scale: place, scale, slope, image.

    Differences from the other end would lose digits.
    """
    n = np.arange(len(places) - 1)
    base = np.where(scales[:-1] <= scales[1:], n, n + 1)
    slopes = np.diff(scales) / np.diff(places)
    return np.stack([places[base], scales[base], slopes, _images(places, scales)[base]])


def _images(places: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Images of the knots; that of the first is zero."""
    small, large = np.minimum(scales[:-1], scales[1:]), np.maximum(scales[:-1], scales[1:])
    steps = np.diff(places) / small * _log1p_ratio((large - small) / small)
    return np.concatenate([[0.0], np.cumsum(steps)])


def _log1p_ratio(u: np.ndarray) -> np.ndarray:
    """``log(1 + u) / u``, 1 at zero."""
    safe = np.where(u == 0, 1.0, u)
    return np.where(u == 0, 1.0, np.log1p(safe) / safe)


def _expm1_ratio(u: np.ndarray) -> np.ndarray:
    """``(exp(u) - 1) / u``, 1 at zero."""
    safe = np.where(u == 0, 1.0, u)
    return np.where(u == 0, 1.0, np.expm1(safe) / safe)


def _knots(values: np.ndarray) -> np.ndarray | None:
    """Places and scales of the map of one feature; None if one scale is enough."""
    spread = standard_deviation(values)
    distinct = np.unique(values[:: -(-len(values) // _MOST_VALUES)] if len(values) else values)
    n_window = max(round(_SHARE * len(distinct)), min(_FEWEST, len(distinct) // 2))
    if n_window < 3 or not spread > 0:
        return None
    with np.errstate(over="ignore"):
        widths = distinct[n_window - 1 :] - distinct[: 1 - n_window]
    share = (n_window - 1) / len(distinct)
    widths = widths / (_NORMAL_WIDTH * share)
    centres = distinct[: 1 - n_window] / 2 + distinct[n_window - 1 :] / 2
    if not spread / _RATIO > widths.min():
        return None
    cap = min(spread, _LARGEST) * np.sqrt(len(values))
    kept = _smallest_scales(centres, widths)
    return _envelope(centres[kept], widths[kept], cap)


def _smallest_scales(centres: np.ndarray, scales: np.ndarray) -> list[int]:
    """Windows with less than half the scale that the windows chosen before give their place."""
    chosen: list[int] = []
    known = np.full(len(centres), np.inf)
    while len(chosen) < _MOST_SCALES:
        ratio = scales / known if chosen else scales
        best = int(np.argmin(ratio))
        if chosen and not ratio[best] < 0.5:
            break
        chosen.append(best)
        known = np.minimum(known, _scale_from(centres, centres[best], scales[best]))
    return chosen


def _scale_from(x: np.ndarray, centre: float, scale: float) -> np.ndarray:
    """Scale that a window gives to places: its own nearby, then growing with the distance."""
    return scale + np.maximum(np.abs(x - centre) - _LINEAR * scale, 0.0)


def _envelope(centres: np.ndarray, scales: np.ndarray, cap: float) -> np.ndarray:
    """Knots of the lower envelope of the scales given by the windows, up to a cap."""
    reach = _LINEAR * scales
    # Legs rise with slope one from the ends of each window: left and right zero, so to speak.
    left, right = centres - reach + scales, centres + reach - scales
    ends = [centres - reach, centres + reach, left - cap, right + cap]
    crossings = (left[:, None] + right[None, :]) / 2
    flat = [left[:, None] - scales[None, :], right[:, None] + scales[None, :]]
    places = np.unique(np.concatenate([*ends, crossings.ravel(), *(f.ravel() for f in flat)]))
    every = np.stack([_scale_from(places, *pair) for pair in zip(centres, scales, strict=True)])
    lowest = np.minimum(every.min(axis=0), cap)
    slopes = np.diff(lowest) / np.diff(places)
    bends = np.abs(np.diff(slopes)) > 1e-9
    kept = np.concatenate([[True], bends, [True]])
    return np.stack([places[kept], lowest[kept]])
