"""The addresses of a source are measured beside its connections: how often, through what, and what fails."""

from __future__ import annotations

import itertools
import math
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from recorder.capture.backoff import Doors
from recorder.capture.prober import Means, Prober, Probers
from recorder.config import Secret, Source
from recorder.errors import ConnectionLost
from recorder.observe.health import Beats
from recorder.venues import Limits
from tests.unit.toyvenue import Toy
from tests.unit.ways import ONE, TWO

SOURCE = Source(name="toy", venue="toy", endpoints=(ONE, TWO), rest="")


class Rig:
    """Probers whose time passes when they wait; `takes` says what a handshake does. After `end` nobody wants any."""

    def __init__(self, limits: Limits | None = None, end: float = 1100.0) -> None:
        self.now, self.end = 1000.0, end
        self.asked: list[tuple[float, str, str | None]] = []
        self.takes: Callable[[str], float] = lambda address: 0.02
        self.beats = Beats(lambda: self.now)
        self.doors = Doors()
        self.venue = Toy(limits or Limits())
        rng = random.Random(1)
        means = Means(self.beats, self.doors, lambda: self.now, self._measure, rng, lambda: _Stop(self))
        self.probers = Probers(lambda source: self.venue, means)
        self.endpoints = self.probers.of(SOURCE)
        self.prober = Prober(SOURCE, self.venue, self.endpoints, means)

    def _measure(self, address: str, proxy: str | None, unwanted: Callable[[], bool]) -> float:
        self.asked.append((self.now, address, proxy))
        seconds = self.takes(address)
        self.now += seconds
        return seconds

    def run(self) -> None:
        """The thread's function, here, until the end."""
        self.prober.run()
        if self.prober.fault is not None:
            raise self.prober.fault


class _Stop(threading.Event):
    def __init__(self, rig: Rig) -> None:
        super().__init__()
        self._rig = rig

    def wait(self, timeout: float | None = None) -> bool:
        self._rig.now += timeout or 0.0
        if self._rig.now >= self._rig.end:
            self.set()
        return self.is_set()


def test_every_address_is_measured_about_every_ten_seconds() -> None:
    """Soon for the first three times, then 8 to 12 s apart; the one in use, too."""
    rig = Rig()
    rig.run()
    for address in (ONE, TWO):
        at = [now for now, asked, _ in rig.asked if asked == address]
        rests = [later - earlier for earlier, later in itertools.pairwise(at)]
        assert at[0] < 1004 and max(rests[:2]) < 4
        assert all(7.9 < rest < 12.2 for rest in rests[2:]) and len(set(rests)) == len(rests)
    assert rig.endpoints.handshake(TWO, rig.now) == 0.02
    assert rig.beats.ages() == {}


@pytest.mark.parametrize("rate", [0.1, 3.0])
def test_probes_leave_the_venue_s_doors_to_connections(rate: float) -> None:
    """A quarter of the turns at most, each at its turn."""
    rig = Rig(Limits(connects_per_second=rate), end=3000.0)
    for _ in range(3):
        rig.doors.reserve("toy", rate, rig.now)
    rig.run()
    assert 0.5 * min(rate / 4, 0.2) < len(rig.asked) / 2000 <= min(rate / 4, 0.21) * 1.05
    at = [now for now, _, _ in rig.asked]
    assert min(later - earlier for earlier, later in itertools.pairwise(at)) >= min(0.019, 1 / rate)
    assert at[0] >= 1000 + 2 / rate


def test_an_address_that_fails_is_away_until_it_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """It has no round trip meanwhile; the log says it once, and once that it is back."""
    rig = Rig(end=1200.0)
    lines: list[str] = []
    from loguru import logger

    handler = logger.add(lines.append, format="{extra[event]} {message}", filter=lambda r: "event" in r["extra"])

    def takes(address: str) -> float:
        if address == TWO and rig.now < 1100:
            raise ConnectionLost("refused", "connecting to two.example:443: Connection refused")
        return 0.02

    rig.takes = takes
    rig.end = 1050.0
    rig.run()
    assert (rig.endpoints.handshake(ONE, rig.now), rig.endpoints.handshake(TWO, rig.now)) == (0.02, None)
    rig.end = 1200.0
    rig.prober._stopping.clear()
    rig.run()
    logger.remove(handler)
    assert rig.endpoints.handshake(TWO, rig.now) == 0.02
    assert [line.strip() for line in lines] == [
        f"endpoint.away toy: {TWO} cannot be reached: connecting to two.example:443: Connection refused",
        f"endpoint.back toy: {TWO} can be reached again",
    ]


def test_a_probe_goes_through_the_source_s_proxy() -> None:
    """The same way as connections, with its password."""
    rig = Rig(end=1010.0)
    proxied = msgspec.structs.replace(SOURCE, proxy=Secret("socks5h://user:pwd@proxy:1080"))
    rig.prober = Prober(proxied, rig.venue, rig.endpoints, rig.probers._means)
    rig.run()
    assert {proxy for _, _, proxy in rig.asked} == {"socks5h://user:pwd@proxy:1080"}


def test_what_ends_a_prober_is_known() -> None:
    """A mistake of ours is the supervisor's business, who finds a thread that is dead."""
    rig = Rig()
    rig.takes = lambda address: 1 // 0
    rig.prober.run()
    assert isinstance(rig.prober.fault, ZeroDivisionError)
    assert rig.beats.ages() == {}


def test_feeds_of_a_source_share_what_is_known() -> None:
    """As long as its addresses and the way to them are the same; one address needs no prober."""
    probers = Probers(lambda source: Toy(Limits()), Means(Beats()))
    others: list[dict[str, Any]] = [
        {"endpoints": (ONE,)},
        {"proxy": Secret("socks5h://proxy:1080")},
        {"limits": {"connects_per_second": 1.0}},
    ]
    assert probers.of(SOURCE) is probers.of(msgspec.structs.replace(SOURCE, coalesce=0.5))
    for other in others:
        assert probers.of(msgspec.structs.replace(SOURCE, **other)) is not probers.of(SOURCE)


def test_probers_run_for_the_sources_that_are_kept() -> None:
    """One thread for each that has several addresses; other settings are another thread, the old one has ended."""
    measured = threading.Event()

    def measure(address: str, proxy: str | None, unwanted: Callable[[], bool]) -> float:
        measured.set()
        return 0.01

    probers = Probers(lambda source: Toy(Limits()), Means(Beats(), measure=measure, rng=_Hasty()))
    single = msgspec.structs.replace(SOURCE, name="single", endpoints=(ONE,))
    probers.of(SOURCE)
    assert probers.threads() == [], "nothing runs before it is kept"
    probers.keep([SOURCE, single])
    [first] = probers.threads()
    assert first.is_alive() and first.name == "probe:toy"
    assert measured.wait(10)
    end = time.monotonic() + 10
    while len(probers.trips()) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    assert probers.trips() == {("toy", ONE): 0.01, ("toy", TWO): 0.01}
    changed = msgspec.structs.replace(SOURCE, endpoints=(TWO, ONE))
    probers.of(changed)
    probers.keep([changed, single])
    [second] = probers.threads()
    assert (first.is_alive(), second.is_alive()) == (False, True)
    probers.stop()
    assert not second.is_alive() and probers.threads() == []


class _Hasty(random.Random):
    """No rest between two rounds."""

    def uniform(self, a: float, b: float) -> float:
        return 0.0


def test_a_round_trip_that_is_old_is_none() -> None:
    """A minute after the last handshake nothing is known any more."""
    rig = Rig(end=1010.0)
    rig.run()
    assert rig.endpoints.handshake(ONE, rig.now + 61) is None
    assert math.isclose(rig.endpoints.handshake(ONE, rig.now) or 0.0, 0.02)
