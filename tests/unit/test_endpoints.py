"""Which of a source's addresses is connected to, and when one is left for a better one."""

from __future__ import annotations

import itertools
import math
import os
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.capture.endpoints import Endpoints, shown
from tests.unit.ways import ONE, THREE, TWO, Drive, Way, noisy, stalling, steady

TEN_MINUTES, HOUR = 600.0, 3600.0
LONG = os.environ.get("RECORDER_LONG") == "1"
seeds = st.integers(0, 1 << 32)


def known(*addresses: str, **seconds: float) -> Endpoints:
    """Addresses, some of them measured twice."""
    endpoints = Endpoints(addresses or (ONE, TWO))
    for name, took in seconds.items():
        for _ in range(2):
            endpoints.reached({"one": ONE, "two": TWO, "three": THREE}[name], took, 1000.0)
    return endpoints


# --- where to connect to -----------------------------------------------------------------------------------------


def test_what_is_first_comes_first() -> None:
    """The order of the configuration is the order of preference, as long as nothing speaks against it."""
    assert known().choose("0", 1000.0) == ONE
    assert known(one=0.04, two=0.01).choose("0", 1000.0) == ONE
    assert not Endpoints((ONE,)).several


def test_a_failure_sends_elsewhere_for_a_time_that_doubles() -> None:
    """10 s, 20 s, 40 s …, at most ten minutes; data forgives everything."""
    endpoints, now = known(), 1000.0
    for cool in (10, 20, 40, 80, 160, 320, 600, 600):
        endpoints.failed("0", ONE, now)
        assert endpoints.choose("0", now + cool - 0.1) == TWO
        assert endpoints.choose("0", now + cool) == ONE
        now += 2000.0
    endpoints.proven("0", ONE)
    endpoints.failed("0", ONE, now)
    assert endpoints.choose("0", now + 10) == ONE


def test_where_all_have_failed_they_are_tried_in_turn() -> None:
    """The one whose failure is longest ago."""
    endpoints = known(ONE, TWO, THREE)
    tried = []
    for now in range(1000, 1006):
        tried.append(endpoints.choose("0", now))
        endpoints.failed("0", tried[-1], now)
    assert tried == [ONE, TWO, THREE] * 2


def test_what_worked_is_come_back_to() -> None:
    """A connection that brought data and broke goes where it was, though it is not the first of the list."""
    endpoints = known()
    endpoints.failed("0", ONE, 1000.0)
    endpoints.proven("0", TWO)
    assert endpoints.choose("0", 9000.0) == TWO
    assert endpoints.choose("1", 9000.0) == ONE, "another connection knows nothing of that"


def test_where_no_handshake_succeeds_what_worked_is_tried_first() -> None:
    """The prober may be the one that is kept out."""
    endpoints = known()
    endpoints.proven("0", TWO)
    for address in (ONE, TWO):
        endpoints.unreachable(address, 1000.0)
    assert (endpoints.choose("0", 1001.0), endpoints.choose("1", 1001.0)) == (TWO, ONE)


def test_what_is_much_further_away_is_passed_by() -> None:
    """Twice as far and 50 ms more; also for one that was there before. A handshake of a minute ago says nothing."""
    endpoints = known(one=0.25, two=0.05)
    endpoints.proven("0", ONE)
    assert endpoints.choose("0", 1001.0) == TWO
    assert endpoints.choose("0", 1061.0) == ONE
    assert known(one=0.09, two=0.05).choose("0", 1001.0) == ONE


def test_what_the_prober_cannot_reach_nobody_connects_to() -> None:
    """One connection's failure is its own; a handshake that fails holds for all of the source, until one succeeds."""
    endpoints = known(one=0.01, two=0.01)
    endpoints.unreachable(ONE, 1000.0)
    assert {endpoints.choose(line, 1001.0) for line in ("0", "1")} == {TWO}
    assert endpoints.handshake(ONE, 1001.0) is None
    endpoints.reached(ONE, 0.02, 1002.0)
    assert endpoints.choose("1", 1003.0) == ONE
    assert endpoints.handshake(ONE, 1003.0) == 0.02


def test_no_address_shows_more_than_it_may() -> None:
    """Labels and logs have it as it is configured, without what only a request may hold."""
    assert shown("wss://one.example:8443/base") == "wss://one.example:8443/base"
    assert shown("wss://user:pwd@one.example/?token=abc") == "wss://one.example/"


# --- leaving -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("usual", [0.001, 0.02, 0.1])
@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_200_ms_more_are_left_within_half_a_minute(usual: float, seed: int) -> None:
    """From the beginning, whatever the noise; and nobody comes back for them."""
    random = Random(seed)
    drive = Drive({ONE: noisy(random, usual + 0.2), TWO: noisy(random, usual)}).go(TEN_MINUTES)
    assert drive.left_within(1000.0) < 30
    assert drive.address == TWO and len(drive.moves) == 1


@given(seed=seeds, begins=st.floats(30.0, 300.0))
@settings(max_examples=15, deadline=None)
def test_a_way_that_becomes_slow_is_left(seed: int, begins: float) -> None:
    """200 ms more, after any time."""
    random = Random(seed)
    good, other = noisy(random, 0.03), noisy(random, 0.03)
    drive = Drive({ONE: lambda now: good(now) + 0.2 * (now >= 1000 + begins), TWO: other}).go(TEN_MINUTES)
    assert drive.left_within(1000.0 + begins) < 30
    assert len(drive.moves) == 1


def test_a_way_that_stalls_is_left() -> None:
    """One message in twenty held back for 200 ms and more, at 5, 20 and 100 messages a second: within half a minute in
    at least 19 of 20 runs, and within 40 s in all."""
    for rate in (5.0, 20.0, 100.0):
        took = []
        for seed in range(20):
            slow = stalling(Random(seed), 0.01, share=0.05, rate=rate)
            took.append(Drive({ONE: slow, TWO: steady(0.01)}).go(60).left_within(1000.0))
        assert sorted(took)[-2] < 30 and max(took) < 40, rate


def test_answers_that_stop_are_slow() -> None:
    """A way that says nothing any more is left before the heartbeat gives it up."""
    drive = Drive({ONE: lambda now: 0.01 if now < 1030 else math.inf, TWO: steady(0.01)}).go(60)
    assert drive.left_within(1030.0) < 15


def test_handshakes_show_what_pings_take_longer() -> None:
    """A venue whose program takes 70 ms to answer pings is as far away as its handshakes say: no move; and one move
    only where it takes so long that a slow way is likelier."""
    quick = {ONE: steady(0.001), TWO: steady(0.001)}
    assert Drive({ONE: steady(0.07), TWO: steady(0.07)}, quick).go(HOUR).moves == []
    assert len(Drive({ONE: steady(0.3), TWO: steady(0.3)}, quick).go(HOUR).moves) == 1


def test_a_slow_way_behind_a_near_door_is_left() -> None:
    """A balancer near us answers handshakes at once: only pings show how far the venue is."""
    near = {ONE: steady(0.001), TWO: steady(0.001)}
    drive = Drive({ONE: steady(0.2), TWO: steady(0.002)}, near).go(TEN_MINUTES)
    assert drive.left_within(1000.0) < 30 and len(drive.moves) == 1


@pytest.mark.parametrize(
    "there",
    [
        pytest.param(steady(math.inf), id="dead"),
        pytest.param(steady(0.12), id="hardly better"),
        pytest.param(lambda now: 0.001 if now < 1020 else math.inf, id="dying"),
    ],
)
def test_a_slow_way_is_better_than_none(there: Way) -> None:
    """No move to what cannot be reached, or is not twice as good; one that dies is not gone back to."""
    drive = Drive({ONE: lambda now: 0.001 if now < 1040 else 0.2, TWO: there}).go(TEN_MINUTES)
    assert drive.moves == []


def test_the_best_of_several_is_chosen() -> None:
    """Not the next in the list."""
    drive = Drive({ONE: steady(0.3), TWO: steady(0.1), THREE: steady(0.02)}).go(60)
    assert [move.to for _, move in drive.moves] == [THREE]
    assert str(drive.moves[0][1]).endswith("pings took 300 ms, there it is 20 ms")


# --- staying -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("usual", [0.0005, 0.05, 0.25])
@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_between_equal_ways_nobody_moves(usual: float, seed: int) -> None:
    """Not once in ten minutes, whatever the noise."""
    random = Random(seed)
    assert Drive({ONE: noisy(random, usual), TWO: noisy(random, usual)}).go(TEN_MINUTES).moves == []


@pytest.mark.parametrize("seed", range(10 if LONG else 1))
def test_an_outage_now_and_then_is_no_reason(seed: int) -> None:
    """Ten hours with one of up to a second every ten minutes, on each of two ways: not one move."""
    random = Random(seed)
    drive = Drive({ONE: noisy(random, 0.03, 600), TWO: noisy(random, 0.03, 600)}).go(10 * HOUR)
    assert drive.moves == []


@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_our_own_load_is_not_the_way_s(seed: int) -> None:
    """A thread that decodes for up to a second between a ping and its answer makes no way slow."""
    random = Random(seed)
    drive = Drive({ONE: steady(0.02), TWO: steady(0.02)}, busy=lambda now: random.choice((0.0, 0.3, 1.0)))
    assert drive.go(TEN_MINUTES).moves == []


def test_two_bad_ways_are_not_oscillated_between() -> None:
    """Both stall alike, and handshakes do not show it: after one look at the other, hardly any for ten minutes. The
    rest after moves alone would make it four or five, each time."""
    found = []
    for seed in range(5):
        ways = {a: stalling(Random(f"{seed}{a}"), 0.01, share=0.05, rate=5.0) for a in (ONE, TWO)}
        found.append(len(Drive(ways, {ONE: steady(0.01), TWO: steady(0.01)}).go(TEN_MINUTES).moves))
    assert max(found) <= 3 and sum(found) <= 10


def test_moves_become_rarer() -> None:
    """Two ways that are bad by turns: a minute's rest after the first move, then twice as long each time."""
    turns = [lambda now, n=n: 0.5 if now // 40 % 2 == n else 0.01 for n in (0, 1)]
    moves = [at for at, _ in Drive(dict(zip((ONE, TWO), turns, strict=True))).go(HOUR).moves]
    rests = [later - earlier for earlier, later in itertools.pairwise(moves)]
    assert 5 <= len(moves) <= 7
    assert all(rest >= 60 * 2**n for n, rest in enumerate(rests))


def test_after_a_quiet_hour_a_move_is_the_first_again() -> None:
    """An hour without one, and a minute's rest is enough."""
    good = steady(0.01)
    bad = [(1100, 1200), (1300, 1500), (6000, 6100), (6200, 6300)]

    def way(n: int) -> Way:
        return lambda now: 0.5 if any(a <= now < b for a, b in bad[n::2]) else good(now)

    moves = [at for at, _ in Drive({ONE: way(0), TWO: way(1)}).go(6000).moves]
    assert [round(at, -2) for at in moves] == [1100, 1300, 6000, 6200]


@pytest.mark.parametrize("frames", [0, 60, 600])
def test_pings_take_a_quarter_of_what_a_venue_allows(frames: int) -> None:
    """About two a second, eight while there is doubt; never more than a quarter of the frames. Then it takes longer to
    be sure, but not too long for a way that is slow for good."""
    drive = Drive({ONE: steady(0.2), TWO: steady(0.001)}, frames_per_minute=frames).go(30)
    assert drive.left_within(1000.0) < 30
    calm = Drive({ONE: steady(0.001), TWO: steady(0.001)}, frames_per_minute=frames).go(TEN_MINUTES)
    for pinged, most in ((drive.pinged, 8), (calm.pinged, 2)):
        allowed = min(most, frames / 60 / 4) if frames else most
        assert len(pinged) <= (pinged[-1] - pinged[0]) * allowed * 1.01 + 2
