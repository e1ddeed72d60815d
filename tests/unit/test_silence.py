"""When a connection that stands counts as dead."""

from __future__ import annotations

import itertools

import pytest

from recorder.capture.silence import EMPTY, IDLE, LONGEST_EMPTY, SHORTEST, Silence


def steady(silence: Silence, interval: float, count: int, start: float = 0.0) -> float:
    """Data every `interval` seconds; when the last came."""
    silence.opened(start)
    for n in range(1, count + 1):
        assert not silence.overdue(start + n * interval)
        silence.data(start + n * interval)
    return start + count * interval


@pytest.mark.parametrize(("interval", "limit"), [(0.001, SHORTEST), (1.0, SHORTEST), (5.0, 100.0), (50.0, 1000.0)])
def test_the_limit_follows_the_rate_of_the_connection(interval: float, limit: float) -> None:
    """Twenty times the usual interval, never less than 30 s: a quiet market is not a dead feed."""
    silence = Silence()
    last = steady(silence, interval, 50)
    assert silence.limit == pytest.approx(limit)
    assert not silence.overdue(last + limit * 0.99)
    assert silence.overdue(last + limit * 1.01)


def test_a_connection_that_never_brings_anything_is_dead_too() -> None:
    """60 s at first, doubling with every such connection to 15 minutes; data starts anew."""
    silence = Silence()
    limits, now = [], 0.0
    for _ in range(7):
        silence.opened(now)
        limits.append(silence.limit)
        assert not silence.overdue(now + silence.limit - 1)
        now += silence.limit
        assert silence.overdue(now)
    assert limits == [60, 120, 240, 480, 900, 900, LONGEST_EMPTY]
    silence.opened(now)
    silence.data(now + 1)
    silence.opened(now + 2)
    assert silence.limit == EMPTY


def test_a_market_that_went_to_sleep_is_doubted_less_each_time() -> None:
    """A busy connection that turns quiet is left once; the new one is given at least twice the time."""
    silence = Silence()
    now = steady(silence, 0.1, 1000) + SHORTEST
    limits = [SHORTEST]
    for _ in range(4):
        assert silence.overdue(now)
        silence.opened(now)
        silence.data(now)
        limits.append(silence.limit)
        now += silence.limit
    assert all(later >= 2 * earlier - 1e-6 for earlier, later in itertools.pairwise(limits))


def test_the_burst_of_snapshots_at_the_start_says_nothing_about_the_rate() -> None:
    """Ten snapshots within milliseconds, then a quiet minute: not dead yet."""
    silence = Silence()
    silence.opened(0.0)
    for n in range(8):
        silence.data(n * 0.001)
    assert not silence.overdue(50.0)


@pytest.mark.parametrize("delivered", [False, True])
def test_where_nothing_is_expected_a_connection_is_left_every_four_hours(delivered: bool) -> None:
    """Streams that are known to be silent, or that bring events only: the heartbeat proves the line, and reconnecting
    would lose an event for nothing. What is expected again is judged by the usual limit."""
    silence = Silence()
    silence.opened(0.0)
    if delivered:
        silence.data(0.0)
    assert not silence.overdue(IDLE - 1, lambda: False)
    assert silence.overdue(IDLE, lambda: False)
    silence.opened(0.0)
    assert silence.overdue(silence.limit, lambda: True)
