"""When to try again, and how much may be asked.

Owns the delays between connection attempts, parking, and the allowances of a venue: connections a second for all
feeds together, operations and frames for each connection. Never sleeps and never looks at a clock by itself: callers
say what time it is (monotonic seconds) and are told how long to wait.
"""

from __future__ import annotations

import math
import random
import threading
from collections import deque
from dataclasses import dataclass

from recorder.records import Reaction
from recorder.venues import Heartbeat, Limits, Request

BASE = 0.5
TRANSPORT_CAP = 10.0
REFUSAL_CAP = 60.0
# Not the line's fault but somebody's decision: asking again soon only annoys.
REFUSALS = frozenset({"tls", "proxy", "handshake", "auth", "quota", "rate", "config"})
PARKING = frozenset({"auth", "quota"})
ATTEMPTS_BEFORE_PARKING = 3
PROBE_EVERY = 900.0
# A venue's limits are counted on its clock: what we spread over a second may arrive in less.
MARGIN = 1.05
SLOW_DOWN = 30.0  # at least, after a complaint about how often we come or ask


class Backoff:
    """Delays of one feed: full jitter, doubling, forgotten only when data came (a venue that lets us log in and then
    kicks us out would otherwise be hammered)."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._failures = 0
        self._refusals = 0
        self._handed_over = False

    @property
    def parked(self) -> bool:
        """Refused so often that only a probe every quarter of an hour makes sense."""
        return self._refusals >= ATTEMPTS_BEFORE_PARKING

    def data(self) -> None:
        """A data message came: all is well."""
        self._failures = self._refusals = 0
        self._handed_over = False

    def failed(self, reason: str, reaction: Reaction = Reaction.RETRY) -> float:
        """A connection was lost or not made; seconds until the next attempt. `reaction` is what the venue's table
        says about the code that came with it."""
        if reaction is Reaction.HAND_OVER and not self._handed_over:  # a second one before any data is a failure
            self._handed_over = True
            return 0.0
        if reaction is Reaction.PARK or reason in PARKING:
            return self._park()
        self._refusals = 0
        floor = SLOW_DOWN if reaction is Reaction.SLOW_DOWN else 0.0
        cap = REFUSAL_CAP if reason in REFUSALS else TRANSPORT_CAP
        ceiling = min(cap, BASE * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return self._rng.uniform(floor, floor + ceiling)

    def _park(self) -> float:
        """Three attempts in the first minute, then a probe every 15 minutes; both with a spread, so that many feeds
        with one bad key do not ask together."""
        self._refusals += 1
        if self.parked:
            return PROBE_EVERY * self._rng.uniform(1.0, 1.1)
        return self._rng.uniform(15.0, 25.0)


class Window:
    """At most `limit` in any `seconds`: exact, where a bucket that refills would let nearly twice as much pass in
    its first window. Any thread may ask."""

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds * MARGIN
        self._taken: deque[float] = deque(maxlen=limit)
        self._lock = threading.Lock()

    def wait(self, cost: int, now: float) -> float:
        """Seconds until `cost` may be taken."""
        with self._lock:
            return self._wait(min(cost, self._limit), now)

    def _wait(self, cost: int, now: float) -> float:
        free = self._limit - len(self._taken)
        if cost <= free:
            return max(0.0, self._taken[-1] - now) if self._taken else 0.0
        return max(0.0, self._taken[cost - free - 1] + self._seconds - now)

    def reserve(self, cost: int, now: float) -> float:
        """Take `cost`, now or at the earliest time allowed; seconds until then."""
        cost = min(cost, self._limit)
        with self._lock:
            delay = self._wait(cost, now)
            self._taken.extend([now + delay] * cost)
            return delay


class Doors:
    """How often each venue may be connected to, by all feeds of the process together: venues count per address."""

    def __init__(self) -> None:
        self._windows: dict[str, Window] = {}
        self._lock = threading.Lock()

    def reserve(self, venue: str, per_second: float, now: float) -> float:
        """Take a turn; seconds until it comes."""
        if per_second <= 0:
            return 0.0
        with self._lock:
            if venue not in self._windows:
                count = max(1, math.floor(per_second))
                self._windows[venue] = Window(count, count / per_second)
        return self._windows[venue].reserve(1, now)


DOORS = Doors()  # venues count connections per address, so it is one for the process


@dataclass(slots=True)
class Allowance:
    """What one connection may send. Heartbeats have a share of the frames that nobody else can use up."""

    operations: Window | None
    frames: Window | None
    paused_until: float = -math.inf

    @classmethod
    def of(cls, limits: Limits, heartbeat: Heartbeat) -> Allowance:
        """A fresh connection's allowance."""
        operations = Window(limits.operations_per_hour, 3600) if limits.operations_per_hour else None
        frames = None
        if limits.frames_per_minute:
            reserved = math.ceil(60 * MARGIN / heartbeat.interval) + 1
            frames = Window(max(1, limits.frames_per_minute - reserved), 60)
        return cls(operations, frames)

    def wait(self, request: Request, now: float) -> float:
        """Seconds until this request may be sent."""
        delays = [max(0.0, self.paused_until - now)]
        if self.operations is not None and request.cost:
            delays.append(self.operations.wait(request.cost, now))
        if self.frames is not None:
            delays.append(self.frames.wait(1, now))
        return max(delays)

    def take(self, request: Request, now: float) -> None:
        """This request is being sent."""
        if self.operations is not None and request.cost:
            self.operations.reserve(request.cost, now)
        if self.frames is not None:
            self.frames.reserve(1, now)

    def slow_down(self, seconds: float, now: float) -> None:
        """The venue complained: nothing but heartbeats for a while."""
        self.paused_until = max(self.paused_until, now + seconds)
