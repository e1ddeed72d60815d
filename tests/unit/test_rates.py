"""How fast it goes: from counters that only ever grow to rates of now and of the last minute."""

from __future__ import annotations

import pytest

from recorder.observe.rates import KEPT, Rates


class Rig:
    """A clock, counters and a spool that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.counts = {("a", "trades"): 0.0, ("a", "books"): 0.0, ("b", "trades"): 0.0}
        self.spool = 0
        self.rates = Rates(lambda: dict(self.counts), lambda: self.spool, lambda: self.now)

    def second(self, trades: float = 0, books: float = 0, spool: int = 0) -> None:
        """One passes."""
        self.now += 1
        self.counts["a", "trades"] += trades
        self.counts["a", "books"] += books
        self.spool += spool
        self.rates.turn()


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_before_the_first_sample_nothing_is_claimed(rig: Rig) -> None:
    """Counts are there, rates are 0, the spool's growth is unknown."""
    rig.counts["a", "trades"] = 5.0
    assert rig.rates.messages()["a", "trades"] == (5, 0.0)
    assert (rig.rates.history(), rig.rates.spool_growth()) == ({}, None)


def test_a_rate_looks_back_ten_seconds(rig: Rig) -> None:
    """What happened before is not in it; a stream that stopped goes to 0."""
    for _ in range(30):
        rig.second(trades=1000)
    for _ in range(10):
        rig.second(trades=50, books=10)
    assert rig.rates.messages() == {
        ("a", "trades"): (30_500, pytest.approx(50.0)),
        ("a", "books"): (100, pytest.approx(10.0)),
        ("b", "trades"): (0, 0.0),
    }
    for _ in range(11):
        rig.second()
    assert rig.rates.messages()["a", "trades"] == (30_500, 0.0)


def test_history_is_a_minute_by_source(rig: Rig) -> None:
    """A number for each second, the channels of a source together, the newest last."""
    for n in range(100):
        rig.second(trades=n, books=1)
    history = rig.rates.history()
    assert set(history) == {"a", "b"}
    assert history["a"] == [n + 1.0 for n in range(100 - KEPT + 1, 100)]
    assert history["b"] == [0.0] * (KEPT - 1)


def test_growth_of_the_spool(rig: Rig) -> None:
    """Over the last minute, once there are ten seconds; it may shrink."""
    for _ in range(10):
        rig.second(spool=500)
    assert rig.rates.spool_growth() is None
    rig.second(spool=500)
    assert rig.rates.spool_growth() == 500.0
    for _ in range(KEPT):
        rig.second(spool=-100)
    assert rig.rates.spool_growth() == -100.0


def test_a_late_sample_is_no_peak(rig: Rig) -> None:
    """Seconds are measured, not assumed."""
    rig.second(trades=10)
    rig.now += 3
    rig.second(trades=40)
    assert rig.rates.history()["a"] == [10.0]
