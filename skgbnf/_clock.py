"""Wall time spent, and whether there is more."""

import math
import time


class Clock:
    """Wall time since it was made, but for pauses, and whether there is time for more.

    Parameters
    ----------
    seconds : float
        What may be spent.
    """

    def __init__(self, seconds: float) -> None:
        self._start = self._lap = time.perf_counter()
        self._seconds, self._paused = seconds, math.nan

    def spent(self) -> float:
        """Seconds that have passed."""
        now = time.perf_counter() if math.isnan(self._paused) else self._paused
        return now - self._start

    def pause(self) -> None:
        """Let no time pass until it is resumed."""
        self._paused = time.perf_counter()

    def resume(self, left: float = math.inf) -> None:
        """Let time pass again, of which no more than `left` seconds may be spent from now on."""
        self._start += time.perf_counter() - self._paused
        self._paused = math.nan
        self._seconds = min(self._seconds, self.spent() + left)

    def share(self) -> float:
        """Time as a share of what may be spent."""
        return self.spent() / max(self._seconds, 1e-9)

    def lap(self) -> float:
        """Seconds since this, or :meth:`has_time`, was last called."""
        now = time.perf_counter()
        last, self._lap = now - self._lap, now
        return last

    def has_time(self, after: float = 0.0) -> bool:
        """Whether there is time left for one more lap like the last, and `after` seconds then."""
        last = self.lap()
        return self._lap + last + after < self._start + self._seconds
