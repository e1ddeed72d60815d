"""Delays, parking, and the allowances of a venue."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.capture.backoff import PROBE_EVERY, Allowance, Backoff, Doors, Window
from recorder.records import Reaction
from recorder.venues import Heartbeat, Limits, Request

HEARTBEAT = Heartbeat(b"ping", 20.0, 10.0, True)


class Highest(random.Random):
    """Draws the ceiling, so that it can be seen."""

    def uniform(self, a: float, b: float) -> float:
        """The upper end."""
        return b


@pytest.mark.parametrize(
    ("reason", "ceilings"),
    [
        ("eof", [0.5, 1, 2, 4, 8, 10, 10]),
        ("heartbeat", [0.5, 1, 2, 4, 8, 10, 10]),
        ("handshake", [0.5, 1, 2, 4, 8, 16, 32, 60, 60]),
        ("rate", [0.5, 1, 2, 4, 8, 16, 32, 60, 60]),
    ],
)
def test_delays_double_up_to_the_cap_of_their_kind(reason: str, ceilings: list[float]) -> None:
    """A line that fails is tried every 10 s at most, a refusal every 60."""
    backoff = Backoff(Highest())
    assert [backoff.failed(reason) for _ in ceilings] == ceilings


def test_jitter_is_full() -> None:
    """Delays are spread from nothing to the ceiling: feeds that fell together do not come back together."""
    draws = []
    for seed in range(300):
        backoff = Backoff(random.Random(seed))
        for _ in range(6):
            delay = backoff.failed("eof")
        draws.append(delay)
    assert min(draws) < 0.5 and max(draws) > 9.5
    assert 4 < sum(draws) / len(draws) < 6


def test_only_data_resets_the_delay() -> None:
    """A venue that accepts the connection and then drops it is not hammered."""
    backoff = Backoff(Highest())
    for _ in range(5):
        backoff.failed("close")
    assert backoff.failed("close") == 10
    backoff.data()
    assert backoff.failed("close") == 0.5


@pytest.mark.parametrize(
    ("reason", "reaction"), [("auth", Reaction.RETRY), ("quota", Reaction.RETRY), ("close", Reaction.PARK)]
)
def test_a_bad_key_is_tried_three_times_in_a_minute_and_then_every_quarter_of_an_hour(
    reason: str, reaction: Reaction
) -> None:
    """Three attempts within the first minute, then probes; data ends it."""
    for seed in range(50):
        backoff = Backoff(random.Random(seed))
        states = [backoff.parked]
        delays = []
        for _ in range(7):
            delays.append(backoff.failed(reason, reaction))
            states.append(backoff.parked)
        backoff.data()
        assert states == [False] * 3 + [True] * 5 and not backoff.parked
        assert sum(delays[:2]) < 60
        assert all(PROBE_EVERY <= delay <= PROBE_EVERY * 1.1 for delay in delays[2:])


def test_a_probe_that_fails_otherwise_is_no_longer_parked() -> None:
    """When the venue stops refusing, the line's own rhythm returns."""
    backoff = Backoff(Highest())
    for _ in range(4):
        backoff.failed("auth")
    assert backoff.failed("eof") == 0.5
    assert not backoff.parked


def test_a_hand_over_reconnects_at_once() -> None:
    """The venue asked for it: no delay, and it is no failure."""
    backoff = Backoff(Highest())
    assert backoff.failed("handover", Reaction.HAND_OVER) == 0
    assert backoff.failed("eof") == 0.5


def test_hand_overs_without_data_between_them_are_failures() -> None:
    """A venue that announces its end to every new connection is not called again at once for ever."""
    backoff = Backoff(Highest())
    assert [backoff.failed("handover", Reaction.HAND_OVER) for _ in range(4)] == [0, 0.5, 1, 2]
    backoff.data()
    assert backoff.failed("handover", Reaction.HAND_OVER) == 0


def test_a_complaint_about_the_rate_is_heeded_for_half_a_minute() -> None:
    """Whatever else is known of the line."""
    for seed in range(20):
        backoff = Backoff(random.Random(seed))
        delays = [backoff.failed("rate", Reaction.SLOW_DOWN) for _ in range(9)]
        assert all(30 <= delay <= 90 for delay in delays)


@given(st.integers(1, 20), st.floats(0.5, 100), st.lists(st.tuples(st.floats(0, 30), st.integers(1, 5)), max_size=80))
def test_no_window_ever_holds_more_than_its_limit(limit: int, seconds: float, asks: list[tuple[float, int]]) -> None:
    """Whatever is asked and when, any `seconds` hold at most `limit`; a bucket that refills would let twice pass."""
    window = Window(limit, seconds)
    now, taken = 0.0, []
    for pause, cost in asks:
        now += pause
        expected = window.wait(cost, now)
        assert window.reserve(cost, now) == expected
        taken += [now + expected] * min(cost, limit)
    assert all(late >= early - 1e-6 for early, late in itertools.pairwise(taken))
    assert all(late - early > seconds for early, late in zip(taken, taken[limit:], strict=False))


def test_a_window_gives_its_limit_at_once_and_waits_then() -> None:
    """A start may use what is allowed without being spread out first."""
    window = Window(3, 1.0)
    assert [window.reserve(1, 0.0) for _ in range(3)] == [0, 0, 0]
    assert 1 < window.reserve(1, 0.0) < 1.2


def test_all_feeds_of_a_venue_share_its_door() -> None:
    """Three connections a second count for the address, not for the feed; venues do not disturb each other."""
    doors = Doors()
    delays = [doors.reserve("one", 3.0, 10.0) for _ in range(9)]
    assert delays[:3] == [0, 0, 0] and all(d > 1 for d in delays[3:6]) and all(d > 2 for d in delays[6:])
    assert doors.reserve("two", 0.5, 10.0) == 0
    assert doors.reserve("two", 0.5, 10.0) > 2
    assert doors.reserve("three", 0.0, 10.0) == 0


def test_operations_are_allowed_up_to_the_limit_of_an_hour() -> None:
    """480 an hour, by cost; what costs no operation is not counted."""
    allowance = Allowance.of(Limits(operations_per_hour=480), HEARTBEAT)
    for _ in range(240):
        assert allowance.wait(Request(b"", cost=2), 0.0) == 0
        allowance.take(Request(b"", cost=2), 0.0)
    assert allowance.wait(Request(b""), 0.0) >= 3600
    assert allowance.wait(Request(b"", cost=0), 0.0) == 0
    assert allowance.wait(Request(b""), 3800.0) == 0


def test_heartbeats_keep_their_share_of_the_frames() -> None:
    """60 frames a minute with a heartbeat every 20 s: requests may use what the heartbeats leave."""
    allowance = Allowance.of(Limits(frames_per_minute=60), HEARTBEAT)
    sent = 0
    while allowance.wait(Request(b""), 0.0) == 0:
        allowance.take(Request(b""), 0.0)
        sent += 1
    assert sent + 60 / HEARTBEAT.interval <= 60
    assert sent >= 50


def test_a_complaint_pauses_requests() -> None:
    """After `requests too frequent` nothing is sent for a while; the longest pause counts."""
    allowance = Allowance.of(Limits(), HEARTBEAT)
    allowance.slow_down(30, 100.0)
    allowance.slow_down(5, 100.0)
    assert allowance.wait(Request(b""), 110.0) == 20
    assert allowance.wait(Request(b""), 131.0) == 0
