"""Which of a source's addresses to connect to, and when to leave the one that is in use for a better one.

Owns, for one source, what is known of each address: the last handshakes, the failures and how long they count, and when
which connection moved. In: what feeds and the prober have measured, and the time (monotonic seconds); any thread. Out:
`choose`, where to connect to, and `judge`, whether to leave. Never measures, connects or looks at a clock by itself.
Fails: never; while nothing is known it is the order of preference, as the configuration has it.

Who is compared: pings on the connection in use against handshakes of the others. A ping waits for the venue's program,
a handshake mostly for the network, so the same distance may look different (`bias`). What one address alone says of
that difference is believed up to `TRUSTED`: behind a balancer near us a slow way looks just like a slow answer.
"""

from __future__ import annotations

import math
import statistics
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from recorder.redact import redact

# Worse is at least twice and at least 50 ms more: what a busy machine or a cable more makes of a ping stays below.
RATIO, MARGIN = 2.0, 0.05
# So many slow moments, a second apart, over so long, in the last half minute. One outage of a few seconds is one moment
# and no reason; of a connection that stalls 5 % of 20 messages a second for 200 ms, one ping in five is slow.
MOMENTS, APART, SPAN = 4, 1.0, 8.0
WINDOW, FEWEST = 30.0, 20  # seconds of pings that are judged, but never fewer pings than that
PROBES, RECENT, ENOUGH = 5, 60.0, 2  # handshakes of which the median counts, for so long, and from how many on
TRUSTED = 0.075  # more than a venue's program needs for a pong
# After a move nothing but failing moves a connection again for a minute, doubled with each move within an hour.
DWELL, LONGEST_DWELL, SETTLED = 60.0, 3600.0, 3600.0
COOL, LONGEST_COOL = 10.0, 600.0  # after a failure; doubled with each in a row
# What an address was like when it was left, where handshakes did not show it: to go back there, the pings of now must
# be twice as bad.
REMEMBERED = 600.0
SHARED = ""  # failures that the prober found hold for every connection


@dataclass(frozen=True, slots=True)
class Ping:
    """A ping on the connection in use, sent `at`. The round trip took at `least` the seconds until nothing had come
    yet, and at `most` those until the answer was read: infinite while there is none."""

    at: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Move:
    """An address to leave, for which, and the figures: how many of the last pings were slow, how many seconds those
    took, and how many one would take there."""

    away: str
    to: str
    slow: int
    pings: int
    took: float
    there: float

    def __str__(self) -> str:
        slow = f"{self.slow} of the last {self.pings} pings took {1000 * self.took:.0f} ms"
        return f"{self.to} is better than {self.away}: {slow}, there it is {1000 * self.there:.0f} ms"


@dataclass(slots=True)
class _Known:
    """One address."""

    handshakes: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=PROBES))
    offset: float | None = None  # that a ping took longer than a handshake, at best, when it was last in use
    # When it was left, what pings took then, and what they should take at the other: until handshakes show, too, how
    # bad it is, and so will show when it is not any more.
    left_at: float = -math.inf
    left_mean: float = 0.0
    left_for: float = 0.0


@dataclass(slots=True)
class _Fault:
    """Failures in a row."""

    times: int = 0
    at: float = -math.inf
    until: float = -math.inf


def shown(address: str) -> str:
    """An address as it may be shown: as it is configured, without what only a request may hold."""
    parts = urlsplit(address)
    return redact(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


class Endpoints:
    """One source's. `line` is the name of the connection that asks: each has its own failures and moves."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = tuple(addresses)
        self._known = {address: _Known() for address in self.addresses}
        self._faults: dict[tuple[str, str], _Fault] = {}
        self._home: dict[str, str] = {}  # where a connection last did what it is for
        self._moved: dict[str, tuple[int, float]] = {}  # how often within an hour, and when
        self._lock = threading.Lock()

    @property
    def several(self) -> bool:
        """Whether there is anything to choose."""
        return len(self.addresses) > 1

    # --- what is measured ----------------------------------------------------------------------------------------

    def reached(self, address: str, seconds: float, now: float) -> None:
        """A handshake took so long."""
        with self._lock:
            known = self._known[address]
            known.handshakes.append((now, seconds))
            self._faults.pop((SHARED, address), None)
            if (self._usual(address, now) or 0.0) >= _limit(known.left_for):
                known.left_at = -math.inf

    def unreachable(self, address: str, now: float) -> None:
        """A handshake failed: what was measured before says nothing any more."""
        with self._lock:
            self._known[address].handshakes.clear()
            self._fail(SHARED, address, now)

    def failed(self, line: str, address: str, now: float) -> None:
        """A connection did not come about, brought nothing, or died without a word."""
        with self._lock:
            self._fail(line, address, now)
            if self._home.get(line) == address:
                del self._home[line]

    def proven(self, line: str, address: str) -> None:
        """A connection brought data: it is worth coming back to."""
        with self._lock:
            self._home[line] = address
            self._faults.pop((line, address), None)

    def handshake(self, address: str, now: float) -> float | None:
        """Seconds of the last one; None where there is none, or where the last attempt failed."""
        with self._lock:
            found = self._recent(address, now)
        return found[-1] if found else None

    # --- what follows --------------------------------------------------------------------------------------------

    def choose(self, line: str, now: float) -> str:
        """Where to connect to: back where it worked, else the first in order of preference that has not just failed
        and is not much further away than another. If all have failed, the one whose failure is longest ago."""
        with self._lock:
            home = self._home.get(line, "")
            fit = [address for address in self.addresses if not self._cooling(line, address, now)]
            if not fit:
                return min(self.addresses, key=lambda address: (self._failed_at(line, address), address != home))
            usual = {address: found for address in fit if (found := self._usual(address, now)) is not None}
            best = min(usual.values(), default=math.inf)
            near = [address for address in fit if usual.get(address, 0.0) < _limit(best)]
            return home if home in near else near[0]

    def judge(self, line: str, address: str, pings: Sequence[Ping], now: float) -> tuple[float, Move | None]:
        """Of these pings, in their order, of the connection that is in use: when the last slow one was sent (-inf:
        none), and where to move to if it is time for that. A move that is given is taken for done."""
        with self._lock:
            self._compare(address, pings, now)
            there = {other: cost for other in self.addresses if (cost := self._cost(line, other, now)) is not None}
            there.pop(address, None)
            if not there or not pings:
                return -math.inf, None
            to = min(there, key=lambda other: there[other])
            limit = _limit(there[to])
            slow = [ping for ping in pings if ping.least >= limit]
            last = slow[-1].at if slow else -math.inf
            if not _lasting(slow) or now < self._dwell_until(line) or not self._gain(to, pings, now):
                return last, None
            took = statistics.median(ping.least for ping in slow)
            move = Move(shown(address), shown(to), len(slow), len(pings), took, there[to])
            self._move(line, address, to, now)
            known = self._known[address]
            known.left_at, known.left_mean, known.left_for = now, _mean(pings), there[to]
            return last, move

    # --- failures ------------------------------------------------------------------------------------------------

    def _fail(self, line: str, address: str, now: float) -> None:
        fault = self._faults.setdefault((line, address), _Fault())
        fault.at, fault.until = now, now + min(LONGEST_COOL, COOL * 2.0 ** min(fault.times, 16))
        fault.times += 1

    def _cooling(self, line: str, address: str, now: float) -> bool:
        faults = (self._faults.get((owner, address)) for owner in (line, SHARED))
        return any(fault is not None and now < fault.until for fault in faults)

    def _failed_at(self, line: str, address: str) -> float:
        return self._faults.get((line, address), _Fault()).at

    # --- distances -----------------------------------------------------------------------------------------------

    def _recent(self, address: str, now: float) -> list[float]:
        return [seconds for at, seconds in self._known[address].handshakes if now - at <= RECENT]

    def _usual(self, address: str, now: float) -> float | None:
        """Seconds of a handshake in the middle."""
        found = self._recent(address, now)
        return statistics.median(found) if found else None

    def _cost(self, line: str, address: str, now: float) -> float | None:
        """What a ping would take there; None where nobody should go, or too little is known."""
        usual = self._usual(address, now)
        if usual is None or self._cooling(line, address, now) or len(self._recent(address, now)) < ENOUGH:
            return None
        return usual + self._bias()

    def _bias(self) -> float:
        """That pings take longer than handshakes, whatever the distance."""
        offsets = [known.offset for known in self._known.values() if known.offset is not None]
        least = min(offsets, default=0.0)
        return least if len(offsets) > 1 else min(least, TRUSTED)

    def _compare(self, address: str, pings: Sequence[Ping], now: float) -> None:
        """Both kinds of measure of the address in use, each at its best: what delays a few pings is none of the
        difference."""
        usual = self._usual(address, now)
        best = min((ping.most for ping in pings), default=math.inf)
        if usual is not None and best < math.inf:
            self._known[address].offset = max(0.0, best - usual)

    # --- moves ---------------------------------------------------------------------------------------------------

    def _dwell_until(self, line: str) -> float:
        times, at = self._moved.get(line, (0, -math.inf))
        return at + min(LONGEST_DWELL, DWELL * 2.0 ** (times - 1)) if times else -math.inf

    def _gain(self, to: str, pings: Sequence[Ping], now: float) -> bool:
        """Not back to what was as bad a short time ago."""
        known = self._known[to]
        return now - known.left_at > REMEMBERED or _mean(pings) >= _limit(known.left_mean)

    def _move(self, line: str, address: str, to: str, now: float) -> None:
        times, at = self._moved.get(line, (0, -math.inf))
        self._moved[line] = (times + 1 if now - at <= SETTLED else 1, now)
        self._fail(line, address, now)
        self._faults[line, address].until = now + DWELL
        self._home[line] = to


def _limit(seconds: float) -> float:
    """From where on something is much worse than so many seconds."""
    return max(RATIO * seconds, seconds + MARGIN)


def _mean(pings: Sequence[Ping]) -> float:
    return math.fsum(ping.least for ping in pings) / len(pings)


def _lasting(slow: Sequence[Ping]) -> bool:
    """Whether so many slow pings are more than a moment's trouble."""
    moments: list[float] = []
    for ping in slow:
        if not moments or ping.at - moments[-1] >= APART:
            moments.append(ping.at)
    return len(moments) >= MOMENTS and moments[-1] - moments[0] >= SPAN
