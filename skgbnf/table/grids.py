"""What distinct values of a column show: grids, codes far from others, values held by many."""

from dataclasses import dataclass

import numpy as np

from skgbnf.table.times import DAY

GRID_TOLERANCE = 0.01
"""How far values may lie from a grid, in steps."""

FEWEST_REPEATS = 5
"""Number of samples at a value below which it does not count as repeated."""

_EXPECTED_BEHIND = 3.0
_MOST_CODES = 5
_FAR = 10.0
_BULK = (0.05, 0.95)
_MOST_DECIMALS = 9
_LARGEST_WHOLE = 2.0**53
_MOST_STEPS = 1000
_MOST_VALUES = 20_000
_EXCESS = 5.0


@dataclass(frozen=True)
class Grid:
    """Equidistant values.

    Attributes
    ----------
    step : float, default=0
        Distance of two neighbours, 0 for no grid.

    origin : float, default=0
        One of the values, at least 0 and below the step.

    decimals : int, default=-1
        Digits behind the point of the values, -1 if they are not known.
    """

    step: float = 0.0
    origin: float = 0.0
    decimals: int = -1

    @classmethod
    def of(cls, distinct: np.ndarray, counts: np.ndarray) -> "Grid":
        """The grid of sorted values: of whole ones always, of others if they repeat."""
        if are_whole(distinct):
            return cls.of_whole(distinct)
        return cls._with_step(distinct, find_step(distinct, counts) if len(distinct) > 1 else 0.0)

    @classmethod
    def of_whole(cls, distinct: np.ndarray) -> "Grid":
        """The coarsest grid of sorted whole numbers; none for a single one."""
        if len(distinct) < 2:
            return cls()
        whole = distinct.astype(np.int64)
        step = int(np.gcd.reduce(np.diff(whole)))
        return cls(float(step), float(whole[0] % step), 0)

    @classmethod
    def of_times(cls, distinct: np.ndarray, counts: np.ndarray) -> "Grid":
        """The grid of sorted seconds: days, or what is not too fine for their number."""
        grid = cls.of_whole(distinct) if are_whole(distinct) else cls.of(distinct, counts)
        if not grid.step or grid.step % DAY == 0:
            return grid
        fine = (distinct[-1] - distinct[0]) / grid.step >= _MOST_STEPS * len(distinct)
        return cls() if fine else grid

    @classmethod
    def _with_step(cls, distinct: np.ndarray, step: float) -> "Grid":
        if not step:
            return cls()
        decimals = _decimals(distinct)
        middle = distinct[len(distinct) // 2]
        origin = float(middle - np.floor(middle / step + GRID_TOLERANCE) * step)
        return cls(step, origin if origin > GRID_TOLERANCE * step else 0.0, decimals)

    def snap(self, values: np.ndarray) -> np.ndarray:
        """Values moved to the nearest of the grid; those that lie on it stay as they are."""
        if not self.step:
            return values
        nearest = self.origin + np.round((values - self.origin) / self.step) * self.step
        if self.decimals >= 0:
            return np.round(nearest, self.decimals)
        return np.where(np.abs(values - nearest) <= GRID_TOLERANCE * self.step, values, nearest)


def are_whole(values: np.ndarray) -> bool:
    """Whether all values are integers that float64 can tell from their neighbours."""
    return bool((np.abs(values) < _LARGEST_WHOLE).all() and (values == np.round(values)).all())


def held_by(shares: np.ndarray, counts: np.ndarray, share: float) -> np.ndarray:
    """Whether each value holds a fraction of the weight, and at least five samples."""
    # A share of all but rounding is one.
    return (shares >= share * (1 - 1e-9)) & (counts >= FEWEST_REPEATS)


def ends_there(counts: np.ndarray) -> bool:
    """Whether values behind the last one would have been seen, if there were any.

    If counts went on to decrease as they last did, as those of a geometric distribution, at least
    three more samples would be expected there; none occurs by chance with probability exp(-3).
    """
    if len(counts) < 2 or counts[-1] >= counts[-2]:
        return True
    ratio = counts[-1] / counts[-2]
    return bool(counts[-1] * ratio / (1 - ratio) >= _EXPECTED_BEHIND)


def stand_out(shares: np.ndarray) -> np.ndarray:
    """Whether each value, of sorted ones, is held by many more than its neighbours are."""
    beside = np.maximum(np.append(shares[1:], 0.0), np.append(0.0, shares[:-1]))
    return shares > _EXCESS * beside


def some_of(values: np.ndarray) -> np.ndarray:
    """All values or, if there are many, a random subset and the smallest."""
    if len(values) <= _MOST_VALUES:
        return values
    drawn = np.random.default_rng(0).choice(len(values), _MOST_VALUES, replace=False)
    return values[np.r_[drawn, values.argmin()]]


def _decimals(values: np.ndarray) -> int:
    """Number of digits behind the point that all values need, -1 if it is large."""
    single = bool((values.astype(np.float32) == values).all())
    for decimals in range(_MOST_DECIMALS + 1):
        rounded = np.round(values, decimals)
        if single:
            rounded = rounded.astype(np.float32)
        if (rounded == values).all():
            return decimals
    return -1


def find_codes(distinct: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Lowest or highest values that repeat, at least ten times the range of the others away."""
    codes = np.empty(0)
    if counts.max() < FEWEST_REPEATS:
        return codes
    with np.errstate(over="ignore"):
        for low in range(_MOST_CODES + 1):
            for high in range(_MOST_CODES + 1):
                rest = distinct[low : len(distinct) - high]
                outer = np.r_[counts[:low], counts[len(distinct) - high :]]
                if len(rest) < 2 or low + high <= len(codes) or outer.min() < FEWEST_REPEATS:
                    continue
                least = _FAR * (rest[-1] - rest[0])
                gaps = [rest[0] - distinct[low - 1]] if low else []
                gaps += [distinct[len(distinct) - high] - rest[-1]] if high else []
                if min(gaps) > least:
                    codes = np.r_[distinct[:low], distinct[len(distinct) - high :]]
    return codes


def find_step(distinct: np.ndarray, counts: np.ndarray) -> float:
    """Step of the grid that sorted values lie on, 0 if they lie on none.

    It is computed from the central 90 % of the samples, so that one value far out cannot set it.
    """
    if counts.max() == 1:
        return 0.0
    mass = np.cumsum(counts) / counts.sum()
    first, last = np.searchsorted(mass, _BULK)
    bulk = distinct[first : last + 1]
    bulk = bulk if len(bulk) > 1 else distinct
    with np.errstate(over="ignore", invalid="ignore"):
        length, step = bulk[-1] - bulk[0], np.diff(bulk).min()
        n_steps = np.round(length / step)
        if not np.isfinite(n_steps):
            return 0.0
        step = length / n_steps
        position = (distinct - bulk[0]) / step
    on_grid = np.abs(position - np.round(position)).max() < GRID_TOLERANCE
    # Any values lie on a grid that is fine enough; it says nothing of them.
    return float(step) if on_grid and n_steps < 1000 * len(bulk) else 0.0
