"""What happened lately: bounded lists in which what belongs together is one entry."""

from __future__ import annotations

import pytest

from recorder.observe.recent import LONGEST, MOST, TOGETHER_US, Happening, Hole, Recent
from recorder.records import Acknowledged, Alive, Closed, Control, Ended, Event, Failed, Opened, Rejected, Shed, Silent
from recorder.redact import protect

SECOND = 1_000_000


def hole(symbol: str, *, cause: str = "disconnect", at: int = 0, missing: int | None = 5, length: int = 2) -> Hole:
    """A gap of `length` seconds that was found at `at` (seconds)."""
    end = at * SECOND
    return Hole("a", "trades", symbol, cause, end - length * SECOND, end, missing, end)


@pytest.fixture
def recent() -> Recent:
    return Recent()


def test_gaps_found_together_are_one_entry(recent: Recent) -> None:
    """One disconnection of three hundred streams is not three hundred entries; another cause, or later, is."""
    for n in range(300):
        recent.hole(hole(f"S{n}", length=n % 7))
    recent.hole(hole("S1", cause="sequence", at=1))
    recent.hole(hole("S1", at=20))
    late, other, first = recent.holes()
    assert (late.count, other.cause, first.count, first.missing) == (1, "sequence", 300, 1500)
    assert (first.from_time, first.to_time) == (-6 * SECOND, 0)


def test_what_is_not_known_of_one_is_not_known_of_all(recent: Recent) -> None:
    """A sum with an unknown part is unknown."""
    recent.hole(hole("X"))
    recent.hole(hole("Y", missing=None))
    assert recent.holes()[0].missing is None


def test_a_gap_that_was_filled_goes(recent: Recent) -> None:
    """Late records take it out again, from among others or altogether."""
    recent.hole(hole("X", missing=5))
    recent.hole(hole("Y", missing=7))
    recent.filled(hole("Y", missing=7))
    assert [(each.count, each.missing) for each in recent.holes()] == [(1, 5)]
    recent.filled(hole("X", missing=5))
    recent.filled(hole("X", missing=5))
    assert recent.holes() == []


def test_lists_end(recent: Recent) -> None:
    """Whatever happens for years, the lists stay short, and the newest stand first."""
    for n in range(10 * MOST):
        recent.hole(hole("X", at=n * (TOGETHER_US // SECOND + 1)))
        recent.noted("a", "a/0", n, Closed("reset", message=str(n)))
        recent.noted("a", "a/0", n, Rejected("trades", f"S{n}"))
    assert (len(recent.holes()), len(recent.happenings()), len(recent.refused())) == (MOST,) * 3
    assert recent.holes()[0].detected_at > recent.holes()[-1].detected_at
    assert recent.happenings()[1].message == str(10 * MOST - 1)
    assert recent.refused()[0].symbol == f"S{10 * MOST - 1}"


@pytest.mark.parametrize("end", [Acknowledged("trades", "X"), Ended("trades", "X")])
def test_a_refused_stream_is_an_open_gap(recent: Recent, end: Control) -> None:
    """Until the venue serves it or nobody wants it; a second refusal does not begin it anew."""
    recent.noted("a", "a/0", 1, Rejected("trades", "X", "60018", "no such instrument"))
    recent.noted("a", "a/0", 9, Rejected("trades", "X", "60018", "no such instrument"))
    (open_gap,) = recent.refused()
    assert (open_gap.cause, open_gap.from_time, open_gap.to_time) == ("rejected", 1, None)
    recent.noted("a", "a/0", 10, end)
    assert recent.refused() == []


@pytest.mark.parametrize(
    ("control", "kind", "code", "message"),
    [
        (Opened("wss://x"), "opened", "", "wss://x"),
        (Closed("heartbeat", "1006", "no pong"), "lost", "heartbeat", "no pong"),
        (Failed("dns", "wss://x", "no such host"), "failed", "dns", "no such host"),
        (Rejected("trades", "X", "60018", "no"), "refused", "60018", "trades X: no"),
        (Silent("trades", "X"), "silent", "", "trades X"),
        (Shed(7), "shed", "", "7"),
    ],
)
def test_what_a_feed_notes(recent: Recent, control: Control, kind: str, code: str, message: str) -> None:
    """Each with its kind, its reason or code, and its words."""
    recent.noted("a", "a/0", 5, control)
    assert recent.happenings() == [Happening(5, "a", "a/0", kind, code, message)]


def test_what_is_no_news_is_left_out(recent: Recent) -> None:
    """Signs of life and our own leave are nothing that happened."""
    recent.noted("a", "a/0", 5, Alive())
    recent.noted("a", "a/0", 5, Closed("shutdown"))
    assert recent.happenings() == []


def test_repetition_is_counted(recent: Recent) -> None:
    """The same once more is a count with the last time; what stands in between begins anew."""
    for at in range(5):
        recent.noted("a", "a/0", at, Failed("refused", "wss://x", "nobody listens"))
    recent.noted("a", "a/1", 5, Failed("refused", "wss://x", "nobody listens"))
    recent.noted("a", "a/0", 6, Failed("refused", "wss://x", "nobody listens"))
    assert [(each.time, each.count) for each in recent.happenings()] == [(6, 1), (5, 1), (4, 5)]


def test_a_refusal_is_told_once(recent: Recent) -> None:
    """The venue's word for it gives way to what it meant; a hundred refused streams are one entry."""
    recent.said("a", "a/0", 1, [Event(0, "60018", "drop", "no such instrument")])
    for n in range(100):
        recent.noted("a", "a/0", 2, Rejected("trades", f"S{n}", "60018", "no such instrument"))
    (only,) = recent.happenings()
    assert (only.kind, only.count, only.message) == ("refused", 100, "trades S99: no such instrument")
    assert len(recent.refused()) == MOST


def test_words_are_short_and_hold_no_secret(recent: Recent) -> None:
    """A venue that answers with our key in its words does not show it, and one that never ends is cut."""
    protect("hunter2hunter2")
    recent.said("a", "a/0", 1, [Event(0, "401", "park", "bad key hunter2hunter2"), Event(1, "x", "none", "y" * 9999)])
    long, bad = recent.happenings()
    assert "hunter2" not in bad.message
    assert len(long.message) == LONGEST
