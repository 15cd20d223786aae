r"""Bounded features, mapped onto the real line before they are standardised.

With the bounds :math:`a` and :math:`b`, moved outwards by a small margin:

====================  ====================================  =================================
bounds                map                                   log-derivative
====================  ====================================  =================================
:math:`x > a`         :math:`\log(x - a)`                   :math:`-\log(x - a)`
:math:`x < b`         :math:`-\log(b - x)`                  :math:`-\log(b - x)`
:math:`a < x < b`     :math:`\log(x - a) - \log(b - x)`     :math:`\log(b - a) - \log(x - a)
                                                            - \log(b - x)`
====================  ====================================  =================================

The margin keeps samples on a bound from being mapped to infinity. For a feature with noise it is
half the width of the noise, so that a value on the bound keeps its whole step. Otherwise it is a
tenth of the smallest distance of a sample from the bound, rounded down to a power of two, so that a
file does not reveal the value of a sample.

The mass of a model in a margin is folded inwards, in samples and in the density: a value closer to
the bound than the margin also gets the density at its mirror image, and a value on the bound twice
its own. The density inside then integrates to 1. In a margin of half a step only samples are
folded: otherwise the density on the bound would not be the probability of its value divided by the
step.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize
from scipy.special import expit

from skgbnf.table.labels import Label, label_from_plain, label_to_plain, position_of

BoundsLike = Mapping[Any, Any] | Sequence[Any] | np.ndarray | optimize.Bounds | None
"""What the parameter `bounds` may be."""

_MARGIN_SHARE = 0.1
NEAREST_SHARE = 1e-9
_LARGEST_EXPONENT = 700.0
_FARTHEST_BOUND = 1e9


@dataclass(frozen=True, eq=False)
class Bounds:
    """Bounds of each feature, and their maps, in float64.

    Attributes
    ----------
    limits : ndarray of shape (2, n_features)
        Lower and upper bounds in units of X, -inf and inf for none.

    margins : ndarray of shape (2, n_features)
        Distance beyond each bound at which its map becomes infinite, in units of X.
    """

    limits: np.ndarray
    margins: np.ndarray

    @classmethod
    def from_rows(cls, limits: np.ndarray, X: np.ndarray, steps: np.ndarray) -> "Bounds":
        """Choose the margins from samples that lie within the bounds.

        Parameters
        ----------
        limits : ndarray of shape (2, n_features)
            Lower and upper bounds.

        X : ndarray of shape (n_samples, n_features)
            Samples without noise.

        steps : ndarray of shape (n_features,)
            Width of the noise that will be added to all values, 0 for none.
        """
        margins = np.zeros_like(limits)
        for side, j in np.argwhere(np.isfinite(limits)):
            margins[side, j] = steps[j] / 2 or _coarse(
                _MARGIN_SHARE * _smallest(X[:, j], limits[side, j])
            )
        return cls(limits, margins)

    @property
    def bounded(self) -> np.ndarray:
        """Whether each feature has a bound, of shape (n_features,)."""
        return np.isfinite(self.limits).any(axis=0)

    def excludes(self, X: np.ndarray) -> np.ndarray:
        """Whether each sample lies outside the bounds, of shape (n_samples,)."""
        return np.any(_outside(self.limits, X), axis=1)

    def holds(self, x: np.ndarray, j: int) -> np.ndarray:
        """Number of bounds of feature `j` that each value lies on."""
        return (x == self.limits[:, [j]].astype(x.dtype)).sum(axis=0)

    def mirrors(self, x: np.ndarray, side: int, j: int) -> np.ndarray:
        """Whether values off the bound have a mirror image in its margin."""
        inwards = np.abs(x - self.limits[side, j].astype(x.dtype))
        return (inwards > 0) & (inwards < self.margins[side, j])

    def transform(self, x: np.ndarray, j: int) -> tuple[np.ndarray, np.ndarray]:
        """Mapped values of feature `j` and log-derivatives, also for values in the margins."""
        (lower, upper), (below, above) = self.limits[:, j], self.margins[:, j]
        if np.isinf(lower) and np.isinf(upper):
            return x, np.zeros(len(x))
        mapped, log_derivative = np.zeros(len(x)), np.zeros(len(x))
        if np.isfinite(lower):
            log_distance = _log_distance(x - lower, below)
            mapped, log_derivative = mapped + log_distance, log_derivative - log_distance
        if np.isfinite(upper):
            log_distance = _log_distance(upper - x, above)
            mapped, log_derivative = mapped - log_distance, log_derivative - log_distance
        if np.isfinite(lower) and np.isfinite(upper):
            log_derivative += np.log(upper - lower + below + above)
        return mapped, log_derivative

    def inverse_transform(self, y: np.ndarray, j: int) -> np.ndarray:
        """Values of feature `j` in units of X, also in the margins."""
        (lower, upper), (below, above) = self.limits[:, j], self.margins[:, j]
        if np.isfinite(lower) and np.isfinite(upper):
            return lower - below + (upper - lower + below + above) * expit(y)
        if np.isfinite(lower):
            return lower - below + np.exp(np.minimum(y, _LARGEST_EXPONENT))
        if np.isfinite(upper):
            return upper + above - np.exp(np.minimum(-y, _LARGEST_EXPONENT))
        return y

    def fold(self, X: np.ndarray) -> np.ndarray:
        """Samples with values in the margins mirrored at the bounds."""
        lower, upper = self.limits
        X = np.where(lower > X, 2 * lower - X, X)
        X = np.where(upper < X, 2 * upper - X, X)
        return X.clip(lower, upper)


def _log_distance(inwards: np.ndarray, margin: float) -> np.ndarray:
    """Log-distance from the end of a map, finite also if the distance was rounded to 0."""
    smallest, largest = NEAREST_SHARE * margin, np.finfo(np.float64).max
    return np.log(np.clip(inwards + margin, max(smallest, np.finfo(np.float64).tiny), largest))


def _smallest(x: np.ndarray, limit: float) -> float:
    """Smallest positive distance from a bound, 1 if all values lie on it."""
    distances = np.abs(x.astype(np.float64) - limit)
    return float(distances[distances > 0].min(initial=np.inf)) if distances.any() else 1.0


def _coarse(size: float) -> float:
    """A size rounded down to a power of two, so that it does not reveal a value."""
    return math.ldexp(0.5, math.frexp(max(size, np.finfo(np.float64).tiny))[1])


def _outside(limits: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Whether values lie outside, compared in the precision of X; the shape of X."""
    with np.errstate(over="ignore"):
        lower, upper = limits.astype(X.dtype)
    return (lower > X) | (upper < X)


def check_within(
    limits: np.ndarray, X: np.ndarray, input_name: str, names: Sequence[Label]
) -> None:
    """Raise ValueError, naming column and value, if a sample lies outside the bounds."""
    outside = np.argwhere(_outside(limits, X))
    if len(outside):
        i, j = outside[0]
        raise ValueError(
            f"{input_name}: column {names[j]!r} holds {X[i, j]:g}, which is outside its bounds "
            f"({limits[0, j]:g}, {limits[1, j]:g})."
        )


def check_near(limits: np.ndarray, X: np.ndarray, names: Sequence[Label]) -> None:
    """Raise ValueError if bounds are too far from the samples for float64."""
    X = X.astype(np.float64)
    low, high = X.min(axis=0), X.max(axis=0)
    with np.errstate(over="ignore"):
        spread, nearest = high - low, np.minimum(low - limits[0], limits[1] - high)
        far = np.isfinite(nearest) & (spread > 0) & (nearest > _FARTHEST_BOUND * spread)
        overflows = np.isfinite(limits).all(axis=0) & np.isinf(limits[1] - limits[0])
    for j in np.flatnonzero(far | overflows).tolist():
        raise ValueError(
            f"bounds: column {names[j]!r} lies so far from its bounds ({limits[0, j]:g}, "
            f"{limits[1, j]:g}) that float64 cannot tell the distances of its rows apart; "
            "None stands for no bound."
        )


def check_bounds(bounds: Any) -> None:
    """Raise unless `bounds` has one of its forms; its values are checked in `fit`."""
    if bounds is None or isinstance(bounds, Mapping | optimize.Bounds):
        return
    if not isinstance(bounds, list | tuple | np.ndarray):
        raise TypeError(
            "bounds must be a dictionary, a pair (lower, upper), a sequence of pairs or None, "
            f"got {bounds!r}."
        )
    if not any(map(_is_sequence, bounds)) and len(bounds) != 2:
        raise ValueError(f"bounds must hold pairs (lower, upper), got {bounds!r}.")


def limits_from(bounds: Any, labels: Sequence[Label]) -> np.ndarray:
    """The parameter `bounds` as an array.

    Parameters
    ----------
    bounds : dict, sequence of pairs, pair, scipy.optimize.Bounds or None
        A pair ``(lower, upper)`` by name or position of a column, for each column, or for all; None
        for no bound.

    labels : sequence of length n_features
        Names of the columns, or positions if they have none.

    Returns
    -------
    limits : ndarray of shape (2, n_features)
        Lower and upper bounds, -inf and inf for none.

    Raises
    ------
    ValueError, TypeError
        If a column is unknown or named twice, a bound is not a number, or the lower bound is not
        below the upper one.
    """
    pairs: dict[int, Any] = {}
    if isinstance(bounds, Mapping):
        for key, pair in bounds.items():
            j = position_of(key, labels, "bounds")
            if j in pairs:
                raise ValueError(f"bounds: column {labels[j]!r} is named twice.")
            pairs[j] = pair
    elif bounds is not None:
        pairs = dict(enumerate(_pairs_of_all(bounds, len(labels))))
    limits = np.tile([[-np.inf], [np.inf]], len(labels))
    for j, pair in pairs.items():
        limits[:, j] = _checked_pair(labels[j], pair)
    crossed = np.flatnonzero(limits[0] >= limits[1])
    if len(crossed):
        j = crossed[0]
        raise ValueError(
            f"bounds: of column {labels[j]!r} the lower one, {limits[0, j]:g}, is not below the "
            f"upper one, {limits[1, j]:g}."
        )
    return limits


def _pairs_of_all(bounds: Any, n_features: int) -> list[Any]:
    """A pair for each column, from pairs for each or one for all."""
    if isinstance(bounds, optimize.Bounds):
        bounds = _plain_bounds(bounds)
    if not any(map(_is_sequence, bounds)):
        return [bounds] * n_features
    if len(bounds) == n_features:
        _check_not_ambiguous(bounds)
        return list(bounds)
    hint = ""
    if len(bounds) == 2 and all(_is_sequence(side) for side in bounds):
        hint = " Of two arrays, lower and upper, list(zip(lower, upper)) makes pairs."
    raise ValueError(
        f"bounds must hold a pair (lower, upper) for each of {n_features} columns, or be one pair "
        f"of numbers for all, got {bounds!r}.{hint}"
    )


def _check_not_ambiguous(bounds: Any) -> None:
    """Raise ValueError if two pairs could be of two columns, or lower and upper bounds."""
    if isinstance(bounds, list) or [len(part) for part in bounds if _is_sequence(part)] != [2, 2]:
        return
    try:
        pairs = [
            (_checked_bound(a, -np.inf), _checked_bound(b, np.inf))
            for a, b in zip(*bounds, strict=True)
        ]
    except (TypeError, ValueError):
        return
    if all(lower < upper for lower, upper in pairs):
        raise ValueError(
            f"bounds: {bounds!r} may be pairs of two columns or lower and upper bounds; give a "
            "list of pairs, or a dictionary."
        )


def _is_sequence(value: object) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _checked_pair(label: Label, pair: Any) -> tuple[float, float]:
    if not _is_sequence(pair):
        raise TypeError(f"bounds: column {label!r} needs a pair (lower, upper), got {pair!r}.")
    if len(pair) != 2:
        hint = " Of two arrays, lower and upper, list(zip(lower, upper)) makes pairs."
        raise ValueError(
            f"bounds: column {label!r} needs a pair (lower, upper), got {pair!r}.{hint}"
        )
    return _checked_bound(pair[0], -np.inf), _checked_bound(pair[1], np.inf)


def _checked_bound(bound: Any, none: float) -> float:
    """A bound as a float, infinite for None."""
    if bound is None:
        return none
    if isinstance(bound, str | bytes | bool | np.bool_) or _is_sequence(bound):
        raise TypeError(f"bounds must be numbers or None, got {bound!r}.")
    try:
        number = float(bound)
    except (TypeError, ValueError) as e:
        raise TypeError(f"bounds must be numbers or None, got {bound!r}.") from e
    if np.isnan(number) or number == -none:
        raise ValueError(f"bounds must be numbers, {none} or None, got {bound!r}.")
    return number


def bounds_to_plain(bounds: Any) -> Any:
    """The parameter `bounds` as JSON values: infinity becomes None, keys keep their type."""
    if isinstance(bounds, Mapping):
        items = bounds.items()
        pairs = [[label_to_plain(key), [_plain(bound) for bound in pair]] for key, pair in items]
        return {"by_column": pairs}
    if isinstance(bounds, optimize.Bounds):
        bounds = _plain_bounds(bounds)
    return None if bounds is None else [_plain(part) for part in bounds]


def bounds_from_plain(plain: Any) -> Any:
    """Inverse of :func:`bounds_to_plain`."""
    if isinstance(plain, Mapping):
        return {label_from_plain(key): tuple(pair) for key, pair in plain["by_column"]}
    if plain is None:
        return None
    if any(isinstance(part, list) for part in plain):
        return [tuple(part) if isinstance(part, list) else part for part in plain]
    return tuple(plain)


def _plain_bounds(bounds: optimize.Bounds) -> Any:
    """Bounds of scipy as pairs for each column, or as one pair."""
    pairs = np.stack(np.broadcast_arrays(bounds.lb, bounds.ub), axis=-1)
    return (pairs[0] if len(pairs) == 1 else pairs).tolist()


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and np.isinf(value) else value
