"""What a feed does about streams that were accepted and bring nothing."""

from __future__ import annotations

import itertools

from recorder.errors import ConnectionLost
from recorder.records import Acknowledged, Closed, Heard, Rejected, Silent
from recorder.venues import Subscription
from tests.unit.feedrig import Rig, Step, text

EOF = ConnectionLost("eof", "gone")
A, B = Subscription("trades", "A"), Subscription("trades", "B")


def trades(first: int, count: int, every: float = 10.0) -> list[tuple[float, Step]]:
    """A trade of A every so often."""
    return [(every, text(f"data trades A {n} {n}")) for n in range(first, first + count)]


def test_a_silent_stream_is_named_and_not_asked_for_again_and_again() -> None:
    """Beside a stream that works: asked for once more after 90 s, on record after 180 s, then left alone; the
    connection stays."""
    rig = Rig([*trades(0, 400), (1, EOF)], wanted=("trades:A", "trades:B"))
    rig.run()
    assert rig.of(Silent) == [Silent("trades", "B")]
    sent = [(at, payload) for at, payload in rig.wires[0].sent if payload != b"ping"]
    assert sent == [(1000, b"sub trades:A,trades:B"), (1090, b"unsub trades:B"), (1090, b"sub trades:B")]
    assert len(rig.wires) == 1
    assert rig.feed.silent() == [B]


def test_a_stream_that_speaks_after_all_is_accepted_again() -> None:
    """The outcome of its subscription is `accepted` again, and nobody counts it as silent."""
    late = [(1.0, text("data trades B 1 1")), (1.0, text("data trades B 2 2"))]
    rig = Rig([*trades(0, 20), *late, (1, EOF)], wanted=("trades:A", "trades:B"))
    rig.run()
    story = [c for c in rig.controls() if isinstance(c, Acknowledged | Silent | Heard)]
    said = [(type(c), c.symbol) for c in story]
    assert said == [(Acknowledged, "A"), (Acknowledged, "B"), (Silent, "B"), (Heard, "B")]
    assert rig.feed.silent() == []


def test_a_connection_whose_streams_are_all_silent_is_doubted_first_and_then_left_in_peace() -> None:
    """Two connections without a word are left, as dead ones are. The third lives long enough to tell that it is the
    streams: from then on a look every four hours is enough, and the recorder's records say it all along."""
    rig = Rig([], [], [], [])
    rig.run()
    starts = [at for at, _ in rig.attempts]
    lives = [b - a for a, b in itertools.pairwise(starts)]
    assert [round(life, -1) for life in lives] == [60, 120, 14_400, 14_400]
    assert rig.of(Silent)[:2] == [Silent("books", "A"), Silent("books", "B")]
    assert all(isinstance(c, Closed) and c.reason == "silence" for c in rig.of(Closed))


def test_a_refused_stream_is_not_silent() -> None:
    """Its refusal may come late: then it is rejected, and counted as nothing else."""
    refused: list[tuple[float, Step]] = [(0.5, text("no drop trades B"))]
    rig = Rig([*trades(0, 20), *refused, *trades(20, 30), (1, EOF)], wanted=("trades:A", "trades:B"))
    rig.run()
    assert rig.of(Silent) == [Silent("trades", "B")]
    assert [c.symbol for c in rig.of(Rejected) if isinstance(c, Rejected)] == ["B"]
    assert rig.feed.silent() == []
