"""Wall time spent, and whether there is more."""

import time


class Clock:
    """Wall time since it was made, and whether there is time for more.

    Parameters
    ----------
    seconds : float
        What may be spent.
    """

    def __init__(self, seconds: float) -> None:
        self._start = self._lap = time.perf_counter()
        self._seconds = seconds

    def share(self) -> float:
        """Time as a share of what may be spent."""
        return (time.perf_counter() - self._start) / max(self._seconds, 1e-9)

    def lap(self) -> float:
        """Seconds since this, or :meth:`has_time`, was last called."""
        now = time.perf_counter()
        last, self._lap = now - self._lap, now
        return last

    def has_time(self, after: float = 0.0) -> bool:
        """Whether there is time left for one more lap like the last, and `after` seconds then."""
        last = self.lap()
        return self._lap + last + after < self._start + self._seconds
