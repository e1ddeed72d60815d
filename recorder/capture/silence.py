"""When a connection that stands is dead all the same: it brings no data.

Owns the limit, which follows the connection's own rate: a quiet market is not a dead feed. Never looks at a clock by
itself, and is told of data only: heartbeats and acknowledgements prove a line, not a stream.
"""

from __future__ import annotations

from collections.abc import Callable

SHORTEST = 30.0
FACTOR = 20.0  # times the mean interval between two bursts of data
WEIGHT = 0.05  # of the newest interval in the mean
KNOWN = 10  # intervals after which the mean means something: subscriptions are answered by bursts of snapshots
EMPTY, LONGEST_EMPTY = 60.0, 900.0  # where nothing ever came
# Where nothing is expected (events only, or streams that are known to be silent) the heartbeat proves the line. The
# venue may have forgotten the subscriptions all the same: a new connection every four hours costs little.
IDLE = 14_400.0


class Silence:
    """The judgement of one feed, over all its connections."""

    def __init__(self) -> None:
        self._mean = 0.0
        self._intervals = 0
        self._last = 0.0
        self._empty = EMPTY
        self.delivered = False  # on this connection

    def opened(self, now: float) -> None:
        """A connection begins."""
        self._last, self.delivered = now, False

    def data(self, now: float) -> None:
        """A burst with data messages came."""
        if self.delivered:
            self._intervals += 1
            self._mean += max(WEIGHT, 1 / self._intervals) * (now - self._last - self._mean)
        self._last, self.delivered, self._empty = now, True, EMPTY

    @property
    def limit(self) -> float:
        """Seconds without data that are too many."""
        if not self.delivered:
            return self._empty
        return max(SHORTEST if self._intervals >= KNOWN else EMPTY, FACTOR * self._mean)

    def overdue(self, now: float, expecting: Callable[[], bool] = lambda: True) -> bool:
        """Too long without data. `expecting` is asked only when it seems so. Answered with yes, the limit has doubled
        for the next time."""
        quiet = now - self._last
        if quiet < self.limit or (quiet < IDLE and not expecting()):
            return False
        if self.delivered:
            self._mean = max(self._mean, 2 * quiet / FACTOR)
        else:
            self._empty = min(2 * self._empty, LONGEST_EMPTY)
        return True
