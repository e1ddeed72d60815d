"""A feed's life: what it spools and offers, what it does about answers, and when it comes back."""

from __future__ import annotations

import itertools

import pytest

from recorder.capture.feed import Feed
from recorder.errors import ConnectionLost, SpoolFault
from recorder.records import Acknowledged, Alive, Closed, Failed, Kind, Opened, Rejected, Shed, Subscribed
from recorder.venues import Limits
from tests.unit.feedrig import WALL, Rig, Script, text

EOF = ConnectionLost("eof", "gone")


def data(*sequences: int, symbol: str = "A", channel: str = "books") -> list[tuple[Kind, list[bytes]]]:
    """A read with chained records; the first of all is a snapshot."""
    return text(*(f"data {channel} {symbol} {n - 1 if n else -1} {n}" for n in sequences))


# --- what is recorded --------------------------------------------------------------------------------------------


def test_everything_appended_is_offered_in_the_order_of_its_numbers() -> None:
    """Positions stand on frame numbers: what the feed itself notes goes through the queue like what it received."""
    rig = Rig([(1, data(0, 1)), (0, data(2)), (15, data(3)), (1, EOF)], [(1, data(0)), (1, EOF)])
    rig.run()
    offered = rig.offered()
    assert [(d.first, d.next) for d in offered] == [(b.first, b.next) for b in rig.tape.bursts]
    assert [d.next for d in offered[:-1]] == [d.first for d in offered[1:]]
    assert rig.state.head == rig.tape.next
    assert [d.received_at for d in offered] == [b.received_at for b in rig.tape.bursts]


def test_a_connection_tells_its_story() -> None:
    """Opened, asked, accepted one by one, alive, closed with the reason, the frames and the round trip."""
    rig = Rig([(1, data(0)), (1, ConnectionLost("close", "maintenance", "1012"))])
    rig.run()
    opened, subscribed, *rest = [c for c in rig.controls() if not isinstance(c, Alive)]
    assert opened == Opened("wss://one.example/ws")
    assert subscribed == Subscribed((("books", "A"), ("books", "B")))
    assert set(rest[:2]) == {Acknowledged("books", "A"), Acknowledged("books", "B")}
    closed = rest[2]
    assert isinstance(closed, Closed)
    assert (closed.reason, closed.code, closed.message) == ("close", "1012", "maintenance")
    assert (closed.endpoint, closed.frames, closed.rtt_ms) == ("wss://one.example/ws", 3, 1.5)
    assert closed.opened_at == WALL + 1000_000_000


def test_alive_is_noted_every_ten_seconds_whatever_the_feed_does() -> None:
    """Connected and quiet, waiting for the next attempt, or in the middle of one: it bounds what a crash costs."""
    rig = Rig([(25, data(0)), (5, EOF)], *[ConnectionLost("tls")] * 9)
    rig.dial_seconds = 8.0
    rig.run()
    moments = [b.received_at for b in rig.tape.bursts if b.kind is Kind.CONTROL and b.frames == [b'{"type":"alive"}']]
    assert rig.now > 1120
    gaps = [b - a for a, b in itertools.pairwise(moments)]
    assert all(gap <= 10_500_000 for gap in gaps)
    assert sum(gap < 9_900_000 for gap in gaps) <= 1  # the last one, on the way out


def test_failed_attempts_are_noted_and_go_through_the_endpoints() -> None:
    """What did not work is tried elsewhere; a connection that brought data is worth coming back to."""
    rig = Rig(ConnectionLost("refused", "nobody there"), [(1, data(0)), (1, EOF)], [(1, data(0)), (1, EOF)], [(1, EOF)])
    rig.run()
    assert rig.of(Failed)[0] == Failed("refused", "wss://one.example", "nobody there")
    one, two = "wss://one.example", "wss://two.example"
    assert [endpoint for _, endpoint in rig.attempts] == [one, two, two, two, one]


def test_messages_of_a_read_are_spooled_even_if_the_first_ends_the_connection() -> None:
    """What was received must not be lost because of what stands in front of it."""
    rig = Rig([(1, [(Kind.TEXT, [b"notice leave", b"data books A -1 0"]), (Kind.BINARY, [b"data books A 0 1"])])])
    rig.run()
    assert rig.kept() == [b"data books A -1 0", b"data books A 0 1"]
    assert isinstance(rig.of(Closed)[0], Closed)


def test_counters_tell_what_came() -> None:
    """Messages by channel, bytes, reconnects by reason; the age of the last message by channel."""
    rig = Rig([(1, data(0, 1)), (3, data(5, channel="trades")), (1, EOF)], ConnectionLost("dns"))
    rig.run()
    assert rig.count("recorder_messages_received_total", channel="books") == 2
    assert rig.count("recorder_messages_received_total", channel="trades") == 1
    assert rig.count("recorder_received_bytes_total") == len(
        "ok books Aok books Bdata books A -1 0data books A 0 1data trades A 4 5"
    )
    assert rig.count("recorder_reconnects_total", reason="eof") == 1
    assert rig.count("recorder_reconnects_total", reason="dns") == 1
    assert rig.feed.last_data == {"books": 1001.0, "trades": 1004.0}
    assert rig.count("recorder_venue_latency_seconds_count", channel="books") == 1


def test_a_bar_s_opening_time_is_no_delay() -> None:
    """The time of a candle lies in the past by its nature."""
    rig = Rig([(1, data(0, channel="candles")), (1, EOF)])
    rig.run()
    assert rig.metrics.registry.get_sample_value(
        "recorder_venue_latency_seconds_count", {"source": "other", "channel": "other"}
    ) in (None, 0)


# --- coming back -------------------------------------------------------------------------------------------------


def test_a_venue_that_drops_every_connection_is_not_hammered() -> None:
    """Connecting resets nothing; only data does."""
    drops: list[Script] = [[(0.1, EOF)]] * 40
    rig = Rig(*drops, [(0.1, data(0)), (0.1, EOF)], [(0.1, EOF)])
    rig.run()
    starts = [at for at, _ in rig.attempts]
    waits = [b - a for a, b in itertools.pairwise(starts)]
    assert max(waits) <= 10.7
    assert sum(waits[10:40]) > 100
    assert waits[41] <= 0.7


def test_connections_share_the_venue_s_door() -> None:
    """One connection in two seconds is one in two seconds, however quickly they end."""
    short: list[Script] = [[(0.0, data(0)), (0.0, EOF)]] * 10
    rig = Rig(*short, limits=Limits(connects_per_second=0.5))
    rig.run()
    starts = [at for at, _ in rig.attempts]
    assert all(b - a >= 2 for a, b in itertools.pairwise(starts))


@pytest.mark.parametrize("how", ["close", "frame"])
def test_a_bad_key_parks_the_feed(how: str) -> None:
    """Three attempts in the first minute, then a probe every 15 minutes, and the gauge says so; data ends it."""
    refusal = ConnectionLost("close", "login failed", "4001") if how == "close" else text("notice key")
    refused: list[Script] = [[(0.1, refusal)]] * 5
    rig = Rig(*refused, [(0.1, lambda: parked.append(rig.feed.parked)), (0.1, data(0)), (0.1, EOF)])
    parked: list[bool] = []
    rig.run()
    starts = [at for at, _ in rig.attempts]
    assert starts[2] - starts[0] < 60
    assert all(b - a >= 900 for a, b in itertools.pairwise(starts[2:6]))
    assert parked == [True]
    assert not rig.feed.parked
    assert rig.count("recorder_reconnects_total", reason="auth") == 5
    code = "close 4001" if how == "close" else "key"
    assert rig.count("recorder_venue_errors_total", code=code) == 5


def test_a_hand_over_comes_back_at_once() -> None:
    """The venue announced its end: there is nothing to wait for."""
    rig = Rig([(5, data(0)), (1, text("notice upgrade"))], [(1, data(0)), (1, EOF)])
    rig.run()
    assert rig.attempts[1][0] == 1006
    closed = rig.of(Closed)[0]
    assert isinstance(closed, Closed) and (closed.reason, closed.code) == ("handover", "upgrade")


@pytest.mark.parametrize(
    ("end", "reason", "code"),
    [
        (ConnectionLost("close", "no data in 30 s", "4004"), "heartbeat", "close 4004"),
        (text("notice 513"), "close", "513"),
    ],
)
def test_a_venue_that_missed_our_heartbeat_is_counted(end: ConnectionLost, reason: str, code: str) -> None:
    """Whoever noticed it, it is one heartbeat timeout."""
    rig = Rig([(1, end)])
    rig.run()
    assert rig.count("recorder_heartbeat_timeouts_total") == 1
    assert rig.count("recorder_reconnects_total", reason=reason) == 1
    assert rig.count("recorder_venue_errors_total", code=code) == 1


def test_a_dead_line_is_left_within_thirty_seconds() -> None:
    """20 s without anything, a heartbeat, 10 s without a reply."""
    rig = Rig([(1, data(0))], [(0, data(0)), (0, EOF)])
    rig.answer = lambda payload: [] if payload == b"ping" else rig.agree(payload)
    rig.run()
    assert rig.attempts[1][0] - 1001 <= 31.5
    assert (1021.0, b"ping") in rig.wires[0].sent
    assert rig.count("recorder_heartbeat_timeouts_total") == 1


def test_pongs_do_not_hide_that_nothing_comes() -> None:
    """Answered heartbeats prove the line, not the stream: without data the connection is left after 60 s, and the
    next one is given twice as long."""
    rig = Rig([], [])
    rig.run()
    closed = rig.of(Closed)
    assert [c.reason for c in closed if isinstance(c, Closed)] == ["silence", "silence"]
    assert 60 <= rig.attempts[1][0] - 1000 < 62
    assert 120 <= rig.attempts[2][0] - rig.attempts[1][0] < 123


def test_the_round_trip_is_that_of_the_last_heartbeat() -> None:
    """A pong tells how far away the venue is."""
    rig = Rig([(20.25, text("pong")), (5, EOF)])
    rig.answer = lambda payload: [] if payload == b"ping" else rig.agree(payload)
    rig.run()
    assert rig.wires[0].sent[-1] == (1020.0, b"ping")
    closed = rig.of(Closed)[0]
    assert isinstance(closed, Closed) and closed.rtt_ms == 250.0
    assert rig.feed.rtt == ("wss://one.example/ws", 0.25)


def test_a_hundred_reconnects_leave_no_schedule_behind() -> None:
    """Each connection's heartbeat ends with it."""
    short: list[Script] = [[(0.1, data(0)), (0.1, EOF)]] * 100
    rig = Rig(*short, [(30, lambda: counts.append(rig.heartbeats.schedules)), (0, EOF)])
    counts: list[int] = []
    rig.run()
    assert counts == [1]
    assert rig.heartbeats.schedules == 0
    assert sum(payload == b"ping" for _, payload in rig.wires[-1].sent) == 1
    assert all(wire.closed == 1000 for wire in rig.wires)


# --- subscriptions -----------------------------------------------------------------------------------------------


def test_one_refused_symbol_costs_only_itself() -> None:
    """The rest of the connection goes on; the refusal is on record."""
    rig = Rig([(1, text("ok books A", "no drop books B")), (1, data(0)), (30, data(1)), (1, EOF)])
    rig.answer = rig.ignore
    rig.run()
    assert rig.of(Acknowledged) == [Acknowledged("books", "A")]
    assert rig.of(Rejected) == [Rejected("books", "B", "drop", "refused")]
    assert len(rig.kept()) == 2
    assert rig.count("recorder_venue_errors_total", code="drop") == 1


def test_a_connection_whose_subscriptions_are_all_refused_is_left() -> None:
    """It could bring nothing; the next attempt is that of a refusal."""
    rig = Rig([(1, text("no drop books A", "no drop books B")), (1, data(0))])
    rig.answer = rig.ignore
    rig.run()
    assert len(rig.of(Rejected)) == 2
    assert rig.count("recorder_reconnects_total", reason="config") == 1


def test_what_is_never_answered_is_asked_again_and_then_the_connection_is_doubted() -> None:
    """Three requests in 30 s, then a new connection; asked again is no new subscription on record."""
    rig = Rig([(n, data(n)) if n else (0, data(0)) for n in range(9)])
    rig.answer = lambda payload: [w for w in rig.agree(payload) if w.endswith("A")]
    rig.run()
    asked = [payload for _, payload in rig.wires[0].sent if payload.startswith(b"sub")]
    assert asked == [b"sub books:A,books:B", b"sub books:B", b"sub books:B"]
    assert len(rig.of(Subscribed)) == 1
    closed = rig.of(Closed)[0]
    assert isinstance(closed, Closed)
    assert closed.reason == "silence" and "books B" in closed.message


def test_requests_keep_within_the_allowance_while_messages_flow() -> None:
    """A slow allowance delays requests, never reading."""
    wanted = tuple(f"books:{n}" for n in range(2))
    rig = Rig(
        [(1, data(0)), (10, data(1)), (10, data(2)), (40, data(3)), (5, EOF)],
        wanted=wanted,
        limits=Limits(frames_per_minute=6),
    )
    rig.answer = lambda payload: (
        ["refuse again " + payload.decode()[4:]] if payload.startswith(b"sub") else rig.agree(payload)
    )
    rig.run()
    sent = [at for at, _ in rig.wires[0].sent]
    assert all(sum(a <= b < a + 60 for b in sent) <= 6 for a in sent)
    assert len(rig.kept()) == 4


def test_a_complaint_about_the_rate_pauses_requests_and_keeps_the_connection() -> None:
    """Too frequent: asked again after half a minute, on the same connection."""
    rig = Rig([(1, text("refuse slow books:A,books:B")), (5, data(0)), (20, data(1)), (20, data(2)), (5, EOF)])
    rig.answer = rig.ignore
    rig.run()
    times = [at for at, payload in rig.wires[0].sent if payload.startswith(b"sub")]
    assert times[0] == 1000 and times[1] >= 1031
    assert len(rig.wires) == 1


def test_a_broken_book_is_asked_for_anew_once() -> None:
    """A thousand broken updates after one lost message are one recovery: unsubscribe, subscribe, counted once."""
    broken = [f"data books A {n} {n + 1}" for n in range(100, 1100)]
    reads = [(0.001, text(one)) for one in broken]
    rig = Rig([(1, data(0, 1)), *reads, (0.1, data(0)), (1, EOF)])
    rig.run()
    sent = [payload for _, payload in rig.wires[0].sent]
    assert sent == [b"sub books:A,books:B", b"unsub books:A", b"sub books:A"]
    assert rig.count("recorder_book_resyncs_total") == 1
    assert len(rig.of(Subscribed)) == 1


def test_a_feed_without_books_looks_at_no_chains() -> None:
    """Numbered channels prove themselves in the writer; the feed need not."""
    rig = Rig([(1, data(5, channel="trades")), (0, data(50, channel="trades")), (1, EOF)], wanted=("trades:A",))
    rig.run()
    assert [payload for _, payload in rig.wires[0].sent] == [b"sub trades:A"]


# --- the disk ----------------------------------------------------------------------------------------------------


def test_a_full_disk_stops_nothing_but_the_keeping() -> None:
    """Messages go on being read, answered and counted; once there is room again, what was lost is noted before the
    next burst, which makes the hole a recorded one. While it lasts the feed says so."""
    said: list[str] = []
    rig = Rig(
        [
            (1, data(0)),
            (0, lambda: setattr(rig.tape, "full", True)),
            (1, text("ok books A", "data books A 0 1")),
            (1, data(2)),
            (0, lambda: said.append(rig.state.trouble)),
            (0, lambda: setattr(rig.tape, "full", False)),
            (1, data(3)),
            (1, data(4)),
            (0, lambda: said.append(rig.state.trouble)),
        ]
    )
    rig.answer = rig.ignore
    rig.run()
    assert rig.kept() == [b"data books A -1 0", b"data books A 2 3", b"data books A 3 4"]
    assert rig.count("recorder_shed_messages_total", channel="books") == 2
    assert rig.count("recorder_messages_received_total", channel="books") == 5
    assert rig.of(Shed) == [Shed(3)]
    assert said == ["the spool's disk is full: what comes in is shed", ""]
    offered = rig.offered()
    assert [d.next for d in offered[:-1]] == [d.first for d in offered[1:]]


def test_a_disk_that_refuses_twice_ends_the_thread_and_says_so() -> None:
    """Nothing that cannot be kept is worth receiving: the process is told to end."""
    fault = SpoolFault("the disk is gone")
    rig = Rig([(1, lambda: setattr(rig.tape, "fault", fault)), (1, data(0))])
    with pytest.raises(SpoolFault):
        rig.run()
    assert rig.feed.fault is fault
    assert rig.wires[0].closed is not None
    assert rig.heartbeats.schedules == 0


# --- stopping ----------------------------------------------------------------------------------------------------


def test_stop_takes_in_what_has_arrived_and_says_that_it_was_us() -> None:
    """Received is received: what waits in the socket is spooled, then the venue is told goodbye."""
    rig = Rig([(1, data(0)), (1, lambda: rig.halt()), (0, data(1)), (0, data(2)), (5, data(3))])
    rig.run()
    assert rig.kept() == [b"data books A -1 0", b"data books A 0 1", b"data books A 1 2"]
    closed = rig.of(Closed)[0]
    assert isinstance(closed, Closed) and closed.reason == "shutdown"
    assert rig.wires[0].closed == 1000
    assert sum(rig.count("recorder_reconnects_total", reason=r) for r in ("close", "eof", "reset")) == 0
    assert rig.now < 1003


def test_stop_in_the_middle_of_connecting_ends_at_once() -> None:
    """A venue that does not answer holds nobody up."""
    rig = Rig([])
    rig.dial_seconds = 10.0
    beat = rig.heartbeats.turn

    def turn() -> None:
        beat()
        if rig.now >= 1002:
            rig.halt()

    rig.heartbeats.turn = turn  # type: ignore[method-assign]
    rig.run()
    assert rig.now < 1003
    assert rig.of(Opened) == []


def test_a_thread_of_its_own_ends_when_told_to() -> None:
    """The real thread, named after its feed, with the real event."""
    rig = Rig(ConnectionLost("tls"))
    assert rig.feed.name == "feed:toy/public/0"
    assert isinstance(rig.feed, Feed)
    rig.halt()
    rig.feed.start()
    rig.feed.join(5)
    assert not rig.feed.is_alive()
    assert rig.attempts == []
