"""Ways to a venue as functions of time, and a connection that pings over them: hours in a second, no clock, no socket.

Owns the model: answers come back in order, a thread looks at the socket all the time or is busy in between, a prober
measures every address. The rule that is driven (`Endpoints`, `Pings`) is the recorder's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from recorder.capture.endpoints import Endpoints, Move
from recorder.capture.pings import Pings

Way = Callable[[float], float]  # when something is sent -> seconds until its answer; infinite: there is none
ONE, TWO, THREE = "wss://one.example", "wss://two.example", "wss://three.example"


def steady(seconds: float) -> Way:
    """Always the same."""
    return lambda now: seconds


def noisy(random: Random, seconds: float, spikes_every: float = math.inf) -> Way:
    """Some more or less, rarely much more, and now and then an outage of up to a second."""
    begins = random.expovariate(1 / spikes_every) if spikes_every < math.inf else math.inf
    ends = begins + random.uniform(0.1, 1.0)

    def way(now: float) -> float:
        nonlocal begins, ends
        while now > ends:
            begins = ends + random.expovariate(1 / spikes_every)
            ends = begins + random.uniform(0.1, 1.0)
        waits = ends - now if begins <= now else 0.0
        jitter = random.lognormvariate(-4.0, 1.0) * seconds
        return seconds + jitter + waits

    return way


def stalling(random: Random, seconds: float, *, share: float, rate: float, stall: float = 0.2) -> Way:
    """A venue that sends `rate` messages a second; `share` of them, and of the answers, is held back for a time that
    doubles with each loss in a row, and everything behind waits."""
    at, free = random.expovariate(rate) if rate else math.inf, 0.0

    def held() -> float:
        waits, more = 0.0, stall
        while random.random() < share:
            waits, more = waits + more, 2 * more
        return waits

    def way(now: float) -> float:
        nonlocal at, free
        while at <= now:
            free = max(free, at + held())
            at += random.expovariate(rate)
        return max(free - now, 0.0) + held() + seconds

    return way


@dataclass
class Drive:
    """A connection on its way. `shakes`: what a handshake takes where it differs from a ping. `busy`: seconds, after
    each ping, in which the thread does something else. `moves`: when, and what."""

    ways: Mapping[str, Way]
    shakes: Mapping[str, Way] = field(default_factory=dict)
    busy: Callable[[float], float] = lambda now: 0.0
    frames_per_minute: int = 0
    probe_every: float = 10.0
    now: float = 1000.0
    moves: list[tuple[float, Move]] = field(default_factory=list)
    pinged: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.endpoints = Endpoints(tuple(self.ways))
        self._flying: list[tuple[float, bytes]] = []
        self._empty = self.now
        self._probe_at = self.now + 1.0
        self._connect()

    def _connect(self) -> None:
        self.address = self.endpoints.choose("0", self.now)
        self.endpoints.proven("0", self.address)
        self.pings = Pings(self.endpoints, "0", self.address, self.frames_per_minute)
        self._flying.clear()

    def go(self, seconds: float) -> Drive:
        """Let so much time pass."""
        end = self.now + seconds
        while self.now < end:
            self._probe()
            if self.pings.wait(self.now) <= 0:
                self._ping()
            arrives = self._flying[0][0] if self._flying else math.inf
            self._wait(min(end, self._probe_at, arrives, self.now + min(0.5, self.pings.wait(self.now))))
            here = [payload for at, payload in self._flying if at <= self.now]
            del self._flying[: len(here)]
            self.pings.looked(self._empty)
            self.pings.pong(here, self.now)
            move = self.pings.judge(self.now)
            if move is not None:
                self.moves.append((self.now, move))
                self._connect()
        return self

    def _ping(self) -> None:
        self.pinged.append(self.now)
        payload, takes = self.pings.next(self.now), self.ways[self.address](self.now)
        if takes < math.inf:
            before = self._flying[-1][0] if self._flying else 0.0
            self._flying.append((max(before, self.now + takes), payload))
        self.now += self.busy(self.now)

    def _wait(self, until: float) -> None:
        if until > self.now:
            self._empty = self.now = until

    def _probe(self) -> None:
        if self.now < self._probe_at:
            return
        self._probe_at += self.probe_every if self.now > 1010 else 3.0
        for address, way in (dict(self.ways) | dict(self.shakes)).items():
            seconds = way(self.now)
            if seconds < 5:
                self.endpoints.reached(address, seconds, self.now)
            else:
                self.endpoints.unreachable(address, self.now)

    def left_within(self, begin: float) -> float:
        """Seconds from `begin` to the first move since; infinite if there was none."""
        return next((at - begin for at, _ in self.moves if at >= begin), math.inf)
