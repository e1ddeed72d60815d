"""Measures the addresses of sources that have several: by TCP and TLS handshake, through the source's proxy.

Owns a thread for each such source, and what is known of its addresses (`Endpoints`) while the source is as it is
configured. In: sources. Out: handshakes in `Endpoints`, round trips for the metrics. Never makes a WebSocket, which a
plan may allow only one of, and connects only when the venue's doors have a turn to give: a quarter of them at most.
Fails: an address that cannot be reached is noted as that and measured again; nothing else depends on a probe.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from loguru import logger

from recorder.capture.backoff import DOORS, Doors
from recorder.capture.endpoints import ENOUGH, Endpoints, shown
from recorder.capture.proxy import connect
from recorder.capture.reach import Deadline, secure, target, trust
from recorder.config import Source
from recorder.errors import ConnectionLost
from recorder.observe.health import Beats
from recorder.subscriptions import limits_of
from recorder.venues import Venue

EVERY, SOON = 10.0, 3.0  # seconds between two rounds; the first ones, until enough is known
JITTER = 0.2  # many recorders must not knock together
SHARE = 4  # of the connections that a venue allows, at most one in so many is a probe
PATIENCE = 5.0  # for one handshake
SLICE = 1.0  # between two beats

Measure = Callable[[str, str | None, Callable[[], bool]], float]


def handshake(address: str, proxy: str | None, unwanted: Callable[[], bool]) -> float:
    """Seconds of a TLS handshake, which is one round trip with TLS 1.3; without TLS those of connecting. Raises
    `ConnectionLost`."""
    goal = target(address, "", {}, ("ws", "wss"))
    deadline = Deadline(PATIENCE, unwanted)
    sock, seconds = connect(goal, deadline, proxy)
    try:
        if goal.tls:
            begin = time.monotonic()
            sock = secure(sock, goal, trust(), deadline)
            seconds = time.monotonic() - begin
    finally:
        sock.close()
    return seconds


@dataclass(frozen=True, slots=True)
class Means:
    """What a prober needs; all but `beats` differs only in tests. Waiting for `stop` is the only sleep."""

    beats: Beats
    doors: Doors = DOORS
    clock: Callable[[], float] = time.monotonic
    measure: Measure = handshake
    rng: random.Random = field(default_factory=random.Random)
    event: Callable[[], threading.Event] = threading.Event


class Prober(threading.Thread):
    """Thread `probe:<source>`. `fault`: what ended it when nobody told it to."""

    def __init__(self, source: Source, venue: Venue, endpoints: Endpoints, means: Means) -> None:
        super().__init__(name=f"probe:{source.name}", daemon=True)
        self.fault: BaseException | None = None
        self._source, self._venue, self._endpoints, self._means = source, venue, endpoints, means
        self._stopping = means.event()
        self._away: set[str] = set()  # addresses of which it was said that they cannot be reached

    def stop(self) -> None:
        """End, within a second."""
        self._stopping.set()

    def run(self) -> None:
        """Until stopped; what ends it otherwise is kept for the supervisor."""
        self._means.beats.register(self.name)
        rounds = 0
        try:
            while not self._stopping.is_set():
                self._pause(self._interval(rounds))
                self.turn()
                rounds += 1
        except Exception as fault:  # noqa: BLE001 - a thread's top: the supervisor ends the process
            self.fault = fault
        finally:
            self._means.beats.forget(self.name)

    def _interval(self, rounds: int) -> float:
        """Seconds before a round."""
        rate = limits_of(self._source, self._venue.limits).connects_per_second
        least = SHARE * len(self._endpoints.addresses) / rate if rate > 0 else 0.0
        usual = SOON if rounds <= ENOUGH else EVERY
        return max(least, usual) * self._means.rng.uniform(1 - JITTER, 1 + JITTER)

    def turn(self) -> None:
        """Measure every address once."""
        for address in self._endpoints.addresses:
            rate = limits_of(self._source, self._venue.limits).connects_per_second
            self._pause(self._means.doors.reserve(self._venue.name, rate, self._means.clock()))
            if not self._stopping.is_set():
                self._probe(address)

    def _probe(self, address: str) -> None:
        source = self._source
        try:
            proxy = None if source.proxy is None else str.__str__(source.proxy)
            seconds = self._means.measure(address, proxy, self._unwanted)
        except ConnectionLost as lost:
            if lost.reason != "shutdown":
                self._endpoints.unreachable(address, self._means.clock())
                self._tell(address, lost)
            return
        self._endpoints.reached(address, seconds, self._means.clock())
        self._tell(address, None)

    def _tell(self, address: str, lost: ConnectionLost | None) -> None:
        """Into the log that an address cannot be reached, or can again; once each."""
        if (lost is not None) == (address in self._away):
            return
        self._away ^= {address}
        log = logger.bind(event="endpoint.away" if lost else "endpoint.back", source=self._source.name)
        if lost is not None:
            log.warning("{}: {} cannot be reached: {}", self._source.name, shown(address), lost.detail)
        else:
            log.info("{}: {} can be reached again", self._source.name, shown(address))

    def _pause(self, seconds: float) -> None:
        end = self._means.clock() + seconds
        while not self._unwanted() and (left := end - self._means.clock()) > 0:
            self._stopping.wait(min(left, SLICE))

    def _unwanted(self) -> bool:
        self._means.beats.beat(self.name)
        return self._stopping.is_set()


Key = tuple[str, tuple[str, ...], str, tuple[tuple[str, float], ...]]


@dataclass(frozen=True, slots=True)
class _Held:
    endpoints: Endpoints
    prober: Prober | None


class Probers:
    """All of them. A source is measured from the next `keep` that names it until one that does not."""

    def __init__(self, venue: Callable[[Source], Venue], means: Means) -> None:
        self._venue, self._means = venue, means
        self._held: dict[Key, _Held] = {}
        self._lock = threading.Lock()

    def of(self, source: Source) -> Endpoints:
        """What is known of a source's addresses: the same for all of its feeds, and anew when the addresses or the way
        to them are others."""
        with self._lock:
            return self._hold(source).endpoints

    def _hold(self, source: Source) -> _Held:
        key = source.name, source.endpoints, str.__str__(source.proxy or ""), tuple(sorted(source.limits.items()))
        if key not in self._held:
            endpoints = Endpoints(source.endpoints)
            venue = self._venue(source)
            prober = Prober(source, venue, endpoints, self._means) if endpoints.several else None
            self._held[key] = _Held(endpoints, prober)
        return self._held[key]

    def keep(self, sources: Iterable[Source]) -> None:
        """These sources, and no others any more."""
        with self._lock:
            wanted = [self._hold(source) for source in sources]
            gone = [key for key, held in self._held.items() if all(held is not other for other in wanted)]
            _end([self._held.pop(key).prober for key in gone])  # first: the next one has the name of one that ends
            for held in wanted:
                if held.prober is not None and held.prober.ident is None:
                    held.prober.start()

    def stop(self) -> None:
        """End every thread, within a second."""
        self.keep(())

    def threads(self) -> list[Prober]:
        """Those that should be running."""
        with self._lock:
            probers = [held.prober for held in self._held.values()]
        return [prober for prober in probers if prober is not None and prober.ident is not None]

    def trips(self) -> dict[tuple[str, str], float]:
        """Seconds of the last handshake with each address that could be reached, by source and address."""
        now = self._means.clock()
        with self._lock:
            held = {key[0]: one.endpoints for key, one in self._held.items() if one.prober is not None}
        return {
            (source, shown(address)): seconds
            for source, endpoints in held.items()
            for address in endpoints.addresses
            if (seconds := endpoints.handshake(address, now)) is not None
        }


def _end(probers: Iterable[Prober | None]) -> None:
    """End those that run."""
    running = [prober for prober in probers if prober is not None and prober.ident is not None]
    for prober in running:
        prober.stop()
    for prober in running:
        prober.join(SLICE)
