"""Dates and durations as seconds, and back.

A date of this century in seconds, as float64, is exact to a quarter of a microsecond.
"""

import numpy as np

TICKS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
"""Ticks in a second of the units that frames have."""

DAY = 86400.0


def seconds_of(times: np.ndarray) -> np.ndarray:
    """Dates or durations of NumPy as seconds, NaN for NaT."""
    unit, count = np.datetime_data(times.dtype)
    if unit not in TICKS or count != 1:
        unit = "s" if unit in ("Y", "M", "W", "D", "h", "m", "s") else "ns"
        times = times.astype(f"{times.dtype.kind}8[{unit}]")
    return np.where(np.isnat(times), np.nan, times.astype(np.int64) / TICKS[unit])
