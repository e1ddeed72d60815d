"""Pings on a connection in use: when they are sent, what they show, and what a feed does with a better address."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import pytest

from recorder.capture.endpoints import Endpoints
from recorder.capture.pings import Pings
from recorder.errors import ConnectionLost
from recorder.records import Closed
from recorder.venues import Limits
from tests.unit.feedrig import Rig, Script, text
from tests.unit.test_changing import Slots, under
from tests.unit.ways import ONE, TWO

EOF = ConnectionLost("eof", "gone")


def data(n: int) -> Script:
    """A message a second, numbered from 0."""
    return [(1.0, text(f"data books A {i - 1 if i else -1} {i}")) for i in range(n)]


def known(rig: Rig, two: float = 0.01) -> Rig:
    """The prober has measured both addresses."""
    for _ in range(2):
        rig.feed._endpoints.reached("wss://one.example", 0.01, rig.now)
        rig.feed._endpoints.reached("wss://two.example", two, rig.now)
    return rig


def slow(endpoint: str, number: int) -> float:
    """The first address is 250 ms away, the second 10."""
    return 0.25 if "one" in endpoint else 0.01


def reasons(rig: Rig) -> list[str]:
    return [closed.reason for closed in rig.of(Closed) if isinstance(closed, Closed)]


def prove(there: SimpleNamespace, rig: Rig) -> None:
    """A step of a script: the successor does what it is for."""
    there.proven_at = rig.now


class Room(Slots):
    """Says whether there is room for a second connection."""

    def __init__(self, *successors: SimpleNamespace | None, spare: tuple[bool, bool] = (True, True)) -> None:
        super().__init__(*successors)
        self.room = spare

    def spare(self, feed: object) -> tuple[bool, bool]:
        return self.room


# --- on the connection -------------------------------------------------------------------------------------------


def test_pings_show_the_way_to_the_venue() -> None:
    """Twice a second, whatever else comes; the last round trip is the connection's, not that of a heartbeat."""
    rig = Rig([*data(10), (0, EOF)])
    rig.trip = lambda endpoint, number: 0.03
    rig.run()
    assert 19 <= len(rig.wires[0].pinged) <= 21
    closed = rig.of(Closed)[0]
    assert isinstance(closed, Closed) and closed.rtt_ms == pytest.approx(30)
    assert rig.feed.rtt is not None and rig.feed.rtt[1] == pytest.approx(0.03)


def test_a_source_with_one_address_is_not_pinged() -> None:
    """Nobody would learn anything by it."""
    rig = Rig([*data(10), (0, EOF)])
    rig.feed._endpoints = Endpoints(("wss://one.example",))
    rig.run()
    assert rig.wires[0].pinged == []


def test_a_venue_that_answers_no_pings_is_left_in_peace() -> None:
    """After 20 s without an answer to any; its heartbeats show the round trip instead, and it is not slow."""
    rig = Rig([(25.25, text("pong")), *data(60), (0, EOF)])
    rig.answer = lambda payload: [] if payload == b"ping" else rig.agree(payload)
    known(rig).run()
    assert 39 <= len(rig.wires[0].pinged) <= 42
    assert max(rig.wires[0].pinged) <= 1020.5
    assert (1020.0, b"ping") in rig.wires[0].sent
    closed = rig.of(Closed)[0]
    assert isinstance(closed, Closed) and (closed.reason, closed.rtt_ms) == ("eof", 5250.0)


def test_pings_are_frames_of_the_allowance() -> None:
    """A quarter of it at most; requests come first, and are not made to wait by pings."""
    rig = Rig([*data(180), (0, EOF)], limits=Limits(frames_per_minute=60))
    rig.trip = lambda endpoint, number: 0.01
    rig.run()
    pinged = rig.wires[0].pinged
    assert 40 <= len(pinged) <= 46
    assert min(b - a for a, b in itertools.pairwise(pinged)) >= 4
    assert rig.wires[0].sent[0][0] == 1000.0


def test_our_own_work_is_not_the_way_s() -> None:
    """An answer that is found after a second of work came at some moment of it; one that was not there before some work
    and is after it took at least until then."""
    pings = Pings(Endpoints((ONE, TWO)), "0", ONE)
    first, second, third = (pings.next(10.0 + n) for n in range(3))
    pings.looked(10.02)
    assert pings.pong([first], 11.02) == pytest.approx(0.02)
    pings.looked(11.3)
    assert pings.pong([second], 11.4) == pytest.approx(0.3)
    pings.looked(11.9)
    assert pings.pong([third], 12.1) == 0.0
    assert [round(p.most, 6) for p in pings._all()] == [1.02, 0.4, 0.1]


def test_strange_answers_are_no_answers() -> None:
    """What was never sent, was answered before, or is no number; the last of several stands for all before it."""
    pings = Pings(Endpoints((ONE, TWO)), "0", ONE)
    sent = [pings.next(10.0 + n) for n in range(3)]
    pings.looked(14.0)
    assert pings.pong([b"", b"\xff", b"99", b"9" * 200, "²".encode()], 14.0) is None
    assert pings.pong([sent[1]], 14.0) == 3.0
    assert pings.pong([sent[0], sent[1]], 14.0) is None
    assert pings.pong([sent[2]], 14.0) == 2.0


def test_a_heartbeat_s_reply_is_measured_once() -> None:
    """From when it was sent; where pings are answered, those tell it."""
    pings = Pings(Endpoints((ONE, TWO)), "0", ONE)
    pings.looked(10.5)
    assert pings.reply(10.2, 10.5) == pytest.approx(0.3)
    assert pings.reply(10.2, 10.6) is None, "the same one"
    ping = pings.next(11.0)
    assert pings.pong([ping], 11.1) is not None
    assert pings.reply(11.5, 11.6) is None


# --- a better address --------------------------------------------------------------------------------------------


def test_without_anybody_to_take_over_it_reconnects_at_once() -> None:
    """To the better address, reason `line`, and there it stays."""
    rig = Rig(data(60), [*data(60), (0, EOF)])
    rig.trip = slow
    known(rig).run()
    assert [endpoint for _, endpoint in rig.attempts][:2] == ["wss://one.example", "wss://two.example"]
    assert rig.attempts[1][0] - 1000 < 12
    assert reasons(rig) == ["line", "eof"]
    assert rig.count("recorder_reconnects_total", reason="line") == 1


@pytest.mark.parametrize("spare", [(True, True), (False, False)])
def test_it_is_handed_over_where_a_second_connection_is_allowed(spare: tuple[bool, bool]) -> None:
    """The slow one records until the other has for a second, and what the venue had sent before is here; where the
    plan allows no second connection nobody is asked to take over."""
    there = SimpleNamespace(proven_at=None, leaving=False)
    slots = Room(there, spare=spare)
    rig: Rig = under(slots, known(Rig([*data(20), (0.0, lambda: prove(there, rig)), *data(20)], [(0, EOF)])))
    rig.trip = slow
    rig.run()
    assert reasons(rig)[0] == "line"
    if spare[0]:
        assert (len(rig.kept()), len(rig.attempts)) == (21, 1)
        assert slots.relieved_feeds == [rig.feed]
    else:
        assert (slots.asked, rig.attempts[1][1]) == (0, "wss://two.example")
        assert len(rig.kept()) < 12


def test_it_waits_while_others_of_its_source_take_the_room() -> None:
    """Two lines, three connections: one after the other."""
    there = SimpleNamespace(proven_at=1000.0, leaving=False)
    slots = Room(there, spare=(True, False))
    rig = under(slots, known(Rig([*data(20), (0.0, lambda: setattr(slots, "room", (True, True))), *data(9)])))
    rig.trip = slow
    rig.run()
    assert (reasons(rig), len(rig.kept()), slots.asked) == (["line"], 20, 1)


@pytest.mark.parametrize(("late", "least"), [(4.0, 4.0), (math.inf, 10.0)])
def test_what_is_still_under_way_is_waited_for(late: float, least: float) -> None:
    """Answers come behind what was sent before them: a line that is four seconds late is left four seconds after the
    other was proven, one that answers nothing any more after ten."""
    there = SimpleNamespace(proven_at=None, leaving=False)
    rig: Rig = under(Room(there), known(Rig([*data(30), (0.0, lambda: prove(there, rig)), *data(30)])))
    rig.trip = lambda endpoint, number: 0.01 if number < 10 else late
    rig.run()
    assert reasons(rig) == ["line"]
    assert least <= rig.now - there.proven_at <= least + 2


def test_a_silent_end_sends_elsewhere_though_data_had_come() -> None:
    """No reply to a heartbeat, or a connection without data: the address is dead; an ordinary end says nothing."""
    for end, there in (("heartbeat", "two"), ("silence", "two"), ("eof", "one"), ("reset", "one")):
        rig = Rig([*data(2), (1, ConnectionLost(end))], [*data(1), (0, EOF)])
        rig.run()
        assert rig.attempts[1][1] == f"wss://{there}.example", end


def test_a_far_address_is_left_for_a_near_one_only_when_it_is_known() -> None:
    """Nobody has measured the other, or it cannot be reached: the slow one is better than none."""
    for measured in (False, True):
        rig = Rig([*data(60), (0, EOF)])
        rig.trip = slow
        if measured:
            known(rig).feed._endpoints.unreachable("wss://two.example", rig.now)
        rig.run()
        assert reasons(rig) == ["eof"]


def test_where_it_worked_it_comes_back_to() -> None:
    """Though the first of the list can be asked again by then, and was only away for a moment."""
    rig = Rig(ConnectionLost("refused"), [*data(30), (0, EOF)], [*data(1), (0, EOF)])
    rig.run()
    assert [endpoint[6:9] for _, endpoint in rig.attempts] == ["one", "two", "two", "two"]
