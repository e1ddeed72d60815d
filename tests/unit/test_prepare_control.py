"""What a feed says of itself, as rows of connections, subscriptions and venue_events."""

from __future__ import annotations

import pytest

from recorder.capture.spoolreader import Lost
from recorder.quality.trackers import GRACE
from recorder.records import (
    Acknowledged,
    Alive,
    Closed,
    Control,
    Decoded,
    Ended,
    Event,
    Failed,
    Heard,
    Opened,
    Poison,
    Rejected,
    Shed,
    Silent,
    Subscribed,
)
from recorder.store.queries import queries
from tests.unit.storerig import FEED, SOURCE, Rig, at, prepare, receive, trade


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """One feed, open."""
    rig = Rig(monkeypatch)
    rig.open()
    return rig


WHERE = "wss://one.example/ws"
T, F = "AT", FEED  # AT: when the burst was received
A = (SOURCE, "trades", "A")
STATEMENTS: dict[str, tuple[Control, list[tuple[str, tuple[object, ...]]]]] = {
    "opened": (
        Opened(WHERE),
        [
            ("abandon_connections", (T, F)),
            ("end_feed_subscriptions", (T, SOURCE, F)),
            ("open_connection", (SOURCE, F, WHERE, T)),
        ],
    ),
    "closed by the venue": (
        Closed("close", "4004", "no data\0", WHERE, 1, 99, 1.5),
        [
            ("close_connection", (T, "close", "4004", 99, 1.5, SOURCE, F)),
            ("end_feed_subscriptions", (T, SOURCE, F)),
            ("insert_event", (T, SOURCE, F, "4004", "retry", "no data\ufffd")),
        ],
    ),
    "lost without a code": (
        Closed("eof", None, "gone"),
        [
            ("close_connection", (T, "eof", None, 0, None, SOURCE, F)),
            ("end_feed_subscriptions", (T, SOURCE, F)),
            ("insert_event", (T, SOURCE, F, "eof", "retry", "gone")),
        ],
    ),
    "closed by us": (
        Closed("shutdown"),
        [
            ("close_connection", (T, "shutdown", None, 0, None, SOURCE, F)),
            ("end_feed_subscriptions", (T, SOURCE, F)),
        ],
    ),
    "not connected": (
        Failed("dns", WHERE, "no such host"),
        [("insert_event", (T, SOURCE, F, "dns", "retry", "no such host"))],
    ),
    "refused": (
        Failed("handshake", WHERE, "forbidden", "403"),
        [("insert_event", (T, SOURCE, F, "403", "retry", "forbidden"))],
    ),
    "subscribed": (
        Subscribed((("trades", "A"), ("books", "A"))),
        [
            ("open_subscription", (SOURCE, F, "trades", "A", T)),
            ("open_subscription", (SOURCE, F, "books", "A", T)),
        ],
    ),
    "accepted": (
        Acknowledged("trades", "A"),
        [("set_subscription", ("accepted", *A)), ("close_gap", (T, T, *A, "rejected"))],
    ),
    "silent": (Silent("trades", "A"), [("set_subscription", ("silent", SOURCE, "trades", "A"))]),
    "heard": (Heard("trades", "A"), [("set_subscription", ("accepted", SOURCE, "trades", "A"))]),
    "rejected": (
        Rejected("trades", "A", "60018"),
        [("end_subscription", ("rejected", T, *A)), ("open_gap", (*A, T, "rejected", T, *A, "rejected"))],
    ),
    "ended": (
        Ended("trades", "A"),
        [("end_subscription", ("ended", T, *A)), ("close_gap", (T, T, *A, "rejected"))],
    ),
    "shed": (
        Shed(12),
        [("insert_event", (T, SOURCE, F, "spool", "shed", "12 frames were shed: the spool had no room"))],
    ),
    "alive": (Alive(), []),
}


@pytest.mark.parametrize(("record", "expected"), STATEMENTS.values(), ids=STATEMENTS)
def test_control_records_become_statements(
    rig: Rig, record: Control, expected: list[tuple[str, tuple[object, ...]]]
) -> None:
    """What a feed says of itself becomes rows of connections, subscriptions and venue_events, in the order in which
    they must be written."""
    burst = receive(rig, record)
    to = prepare(rig, burst)
    said = [(name, row) for name, rows in to.flush.statements for row in rows]
    assert said == [(name, tuple(at(burst) if p is T else p for p in row)) for name, row in expected]


def test_statements_are_given_what_they_take(rig: Rig) -> None:
    """Every statement that is prepared stands in queries.sql and takes as many parameters as it is given."""
    burst = receive(rig, trade(1))
    burst.poison.append(Poison(0, "invalid_json", b"x"))
    later = [receive(rig, trade(5)), receive(rig, trade(6), after=GRACE / 1e6), receive(rig, trade(3))]
    to = prepare(
        rig, burst, *later, *(receive(rig, record) for record, _ in STATEMENTS.values()), Lost(9, 9, "corrupt")
    )
    rig.preparer.checkpoint(to, rig.sides[0].lane)
    assert len(to.flush.statements) >= 15
    for name, params in to.flush.statements:
        assert {len(row) for row in params} == {queries()[name].count(b"%s")}, name


def test_every_kind_of_control_record_has_its_statements() -> None:
    """The table above leaves no kind out."""
    assert {type(record) for record, _ in STATEMENTS.values()} == set(Control.__args__)


def test_statements_keep_their_order_and_neighbours_travel_together(rig: Rig) -> None:
    """A connection's life is written in order; equal statements in a row are one."""
    bursts = [
        receive(rig, Opened(WHERE)),
        receive(rig, Subscribed((("trades", "A"),))),
        receive(rig, Subscribed((("books", "A"),))),
        receive(rig, Acknowledged("trades", "A")),
        receive(rig, Closed("shutdown")),
    ]
    to = prepare(rig, *bursts)
    assert [(name, len(rows)) for name, rows in to.flush.statements] == [
        ("abandon_connections", 1),
        ("end_feed_subscriptions", 1),
        ("open_connection", 1),
        ("open_subscription", 2),
        ("set_subscription", 1),
        ("close_gap", 1),
        ("close_connection", 1),
        ("end_feed_subscriptions", 1),
    ]


def gaps(rig: Rig, *bursts: Decoded) -> list[tuple[str, object]]:
    """Statements about holes, with the cause of those that are written."""
    to = prepare(rig, *bursts)
    about = ("open_gap", "close_gap", "drop_open_gap", "insert_gap")
    causes = {"open_gap": 4, "insert_gap": 8}
    return [
        (name, row[causes[name]] if name in causes else None)
        for name, rows in to.flush.statements
        for row in rows
        if name in about
    ]


def test_a_refused_stream_has_a_hole_that_goes_on(rig: Rig) -> None:
    """Until the venue serves it. A stream without records was never whole: its hole ends with the agreement; one with
    records tells by its next one what the refusal has cost, and then the open row goes."""
    agreed, refused = Acknowledged("trades", "A"), Rejected("trades", "A", "60018")
    assert gaps(rig, receive(rig, agreed)) == [("close_gap", None)]
    assert gaps(rig, receive(rig, agreed)) == []
    assert gaps(rig, receive(rig, refused)) == [("open_gap", "rejected")]
    assert gaps(rig, receive(rig, agreed)) == [("close_gap", None)]
    assert gaps(rig, receive(rig, trade(1)), receive(rig, refused)) == [("open_gap", "rejected")]
    assert gaps(rig, receive(rig, agreed)) == [("drop_open_gap", None)]
    assert gaps(rig, receive(rig, trade(4)), receive(rig, trade(5), after=GRACE / 1e6)) == [("insert_gap", "rejected")]


def test_refused_streams_are_known_until_they_are_served_or_nobody_wants_them(rig: Rig) -> None:
    """Whoever scrapes asks for them; each counts once, however often it is refused."""
    for control, expected in (
        (Rejected("trades", "A", "60018"), {"A"}),
        (Rejected("trades", "B", "60018"), {"A", "B"}),
        (Rejected("trades", "A", "60018"), {"A", "B"}),
        (Acknowledged("trades", "A"), {"B"}),
        (Ended("trades", "B"), set()),
    ):
        prepare(rig, receive(rig, control))
        assert {stream.symbol for stream in rig.preparer.refused()} == expected


def test_ids_that_run_on_over_a_refusal_prove_that_nothing_is_missing(rig: Rig) -> None:
    """Nothing was traded meanwhile."""
    refused, agreed = Rejected("trades", "A", "60018"), Acknowledged("trades", "A")
    bursts = [receive(rig, trade(1)), receive(rig, refused), receive(rig, agreed), receive(rig, trade(2))]
    told = gaps(rig, *bursts, receive(rig, trade(3), after=GRACE / 1e6))
    assert told == [("open_gap", "rejected"), ("drop_open_gap", None)]


def test_an_error_that_ends_the_connection_is_one_event(rig: Rig) -> None:
    """The venue said it in a frame, and the end of the connection says it again; the next connection's is another."""
    said, ended = receive(rig, trade(1)), receive(rig, Closed("heartbeat", "513", "no heartbeat"))
    said.events.append(Event(0, "513", "retry", "no heartbeat"))
    again = [receive(rig, Opened(WHERE)), receive(rig, Closed("heartbeat", "513", "no heartbeat"))]
    to = prepare(rig, said, ended, *again)
    events = [row[3] for name, rows in to.flush.statements if name == "insert_event" for row in rows]
    assert events == ["513", "513"]
