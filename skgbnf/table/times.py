"""Dates and durations as seconds, and back.

A date of this century in seconds, as float64, is exact to a quarter of a microsecond.
"""

import numpy as np

TICKS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
"""Ticks in a second of the units that frames have."""

DAY = 86400.0

_RANGE = (-62135596800.0, 253402300799.0)
"""From the first to the last year that Python's dates have."""

_DAYS = (_RANGE[0] // DAY, _RANGE[1] // DAY)
_NANOSECOND_RANGE = (-9.2e9, 9.2e9)
_FINE_SECONDS = 2**52 / 1e9


def seconds_of(times: np.ndarray) -> np.ndarray:
    """Dates or durations of NumPy as seconds, NaN for NaT."""
    unit, count = np.datetime_data(times.dtype)
    if unit not in TICKS or count != 1:
        unit = "s" if unit in ("Y", "M", "W", "D", "h", "m", "s") else "ns"
        times = times.astype(f"{times.dtype.kind}8[{unit}]")
    return np.where(np.isnat(times), np.nan, times.astype(np.int64) / TICKS[unit])


def ticks_of(seconds: np.ndarray, unit: str) -> np.ndarray:
    """Seconds as int64 in a unit, days included, 0 for NaN.

    Where float64 cannot tell nanoseconds apart they are whole microseconds.
    """
    seconds = np.nan_to_num(seconds, nan=0.0)
    if unit == "D":
        return np.floor(seconds / DAY).clip(*_DAYS).astype(np.int64)
    seconds = seconds.clip(*(_NANOSECOND_RANGE if unit == "ns" else _RANGE))
    if unit != "ns":
        return np.round(seconds * TICKS[unit]).astype(np.int64)
    coarse = np.round(seconds * TICKS["us"]).astype(np.int64) * 1000
    fine = np.round(seconds * TICKS["ns"]).astype(np.int64)
    return np.where(np.abs(seconds) < _FINE_SECONDS, fine, coarse)
