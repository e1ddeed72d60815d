"""Heartbeats: when they are due, what counts as a reply, and that nobody waits for anybody."""

from __future__ import annotations

import threading

import pytest

from recorder.capture.heartbeat import Heartbeats
from recorder.observe.health import Beats
from recorder.venues import Heartbeat

IDLE = Heartbeat(b"ping", 20.0, 10.0, True)
PERIODIC = Heartbeat(b"beat", 30.0, None, False)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Wire:
    """A connection that writes down what is done to it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.last_received = clock.now
        self.unread = False
        self.sent: list[tuple[float, bytes]] = []
        self.aborted: list[tuple[float, str]] = []

    def send(self, payload: bytes) -> None:
        """Write it down."""
        self.sent.append((self.clock.now, payload))

    def heard_since(self, moment: float) -> bool:
        """As the transport does."""
        return self.last_received >= moment or self.unread

    def abort(self, reason: str, detail: str = "") -> None:
        """Write it down."""
        self.aborted.append((self.clock.now, reason))


@pytest.fixture
def clock() -> Clock:
    """The test's clock."""
    return Clock()


@pytest.fixture
def heart(clock: Clock) -> Heartbeats:
    """The thread, not started: tests turn it."""
    return Heartbeats(Beats(clock), clock)


def pass_time(heart: Heartbeats, clock: Clock, seconds: float, step: float = 0.5) -> None:
    """Turn the loop as the thread would, on time."""
    for _ in range(round(seconds / step)):
        clock.now += step
        heart.turn()


def test_a_quiet_connection_is_asked_after_the_interval(heart: Heartbeats, clock: Clock) -> None:
    """`idle_only`: nothing is sent while messages come, and one heartbeat when none came for the interval."""
    wire = Wire(clock)
    heart.add(wire, IDLE)
    for _ in range(10):
        pass_time(heart, clock, 5)
        wire.last_received = clock.now
    assert wire.sent == []
    pass_time(heart, clock, 25)
    assert wire.sent == [(wire.last_received + 20, b"ping")]


def test_a_heartbeat_without_reply_breaks_the_connection_in_time(heart: Heartbeats, clock: Clock) -> None:
    """A dead line is noticed within interval + reply, here 30 s, once, and then left alone."""
    wire = Wire(clock)
    heart.add(wire, IDLE)
    pass_time(heart, clock, 120)
    assert wire.aborted == [(1030.0, "heartbeat")]
    assert len(wire.sent) == 1
    assert heart.schedules == 0


def test_anything_that_comes_is_a_reply(heart: Heartbeats, clock: Clock) -> None:
    """A venue whose pong is swallowed but whose data flows is alive; the next heartbeat is due after the interval."""
    wire = Wire(clock)
    heart.add(wire, IDLE)
    pass_time(heart, clock, 25)
    wire.last_received = clock.now
    pass_time(heart, clock, 19)
    assert len(wire.sent) == 1
    pass_time(heart, clock, 2)
    assert [at for at, _ in wire.sent] == [1020.0, 1045.0]
    assert wire.aborted == []


def test_bytes_nobody_has_read_yet_count_as_a_reply(heart: Heartbeats, clock: Clock) -> None:
    """A feed that is stuck in a slow disk has a venue that is alive: its connection stays."""
    wire = Wire(clock)
    heart.add(wire, IDLE)
    wire.unread = True
    pass_time(heart, clock, 300)
    assert wire.aborted == []
    assert len(wire.sent) == 15


def test_a_venue_that_never_answers_is_beaten_regularly(heart: Heartbeats, clock: Clock) -> None:
    """Periodic heartbeats go out whether or not messages come, and wait for nothing."""
    wire = Wire(clock)
    heart.add(wire, PERIODIC)
    for _ in range(20):
        pass_time(heart, clock, 10)
        wire.last_received = clock.now
    assert [at for at, _ in wire.sent] == [1030.0, 1060.0, 1090.0, 1120.0, 1150.0, 1180.0]
    assert wire.aborted == []


def test_a_periodic_heartbeat_that_wants_a_reply_breaks_a_silent_line(heart: Heartbeats, clock: Clock) -> None:
    """The reply is awaited from the first heartbeat on, also when a second one goes out meanwhile."""
    wire = Wire(clock)
    heart.add(wire, Heartbeat(b"beat", 10.0, 25.0, False))
    pass_time(heart, clock, 60)
    assert [at for at, _ in wire.sent] == [1010.0, 1020.0, 1030.0]
    assert wire.aborted == [(1035.0, "heartbeat")]


def test_a_stall_of_this_machine_breaks_nothing(heart: Heartbeats, clock: Clock) -> None:
    """After a stop of the whole process every reply is overdue, and waits unread: all would reconnect at once."""
    wire = Wire(clock)
    heart.add(wire, IDLE)
    pass_time(heart, clock, 20)
    clock.now += 60
    heart.turn()
    assert wire.aborted == []
    wire.last_received = clock.now
    pass_time(heart, clock, 15)
    assert wire.aborted == []


def test_after_a_stall_a_dead_line_is_still_noticed(heart: Heartbeats, clock: Clock) -> None:
    """The grace after a stall is short."""
    wire = Wire(clock)
    heart.add(wire, IDLE)
    pass_time(heart, clock, 20)
    clock.now += 60
    heart.turn()
    pass_time(heart, clock, 3)
    assert len(wire.aborted) == 1


def test_a_hundred_reconnects_leave_one_schedule(heart: Heartbeats, clock: Clock) -> None:
    """A schedule ends with its connection, at once; the next beat comes from the last one only."""
    wires = []
    for _ in range(100):
        wires.append(Wire(clock))
        pulse = heart.add(wires[-1], IDLE)
        pass_time(heart, clock, 1)
        if len(wires) < 100:
            heart.remove(pulse)
        assert heart.schedules == int(len(wires) == 100)
    pass_time(heart, clock, 25)
    assert [len(wire.sent) for wire in wires] == [0] * 99 + [1]


def test_a_connection_removed_while_its_turn_is_on_does_not_come_back(heart: Heartbeats, clock: Clock) -> None:
    """The feed may reconnect at the very moment of a heartbeat."""

    class Leaving(Wire):
        def send(self, payload: bytes) -> None:
            heart.remove(pulse)

    pulse = heart.add(Leaving(clock), IDLE)
    pass_time(heart, clock, 30)
    assert heart.schedules == 0


def test_the_thread_beats_wakes_for_new_connections_and_stops() -> None:
    """A connection added while the thread sleeps is served on time, and stop ends the thread at once."""
    beats = Beats()
    heart = Heartbeats(beats)
    heart.start()
    sent = threading.Event()

    class Telling(Wire):
        def send(self, payload: bytes) -> None:
            sent.set()

    heart.add(Telling(Clock()), Heartbeat(b"x", 0.02, None, False))
    assert sent.wait(5)
    assert "heartbeat" in beats.ages()
    heart.stop()
    heart.join(5)
    assert not heart.is_alive()
    assert heart.fault is None
    assert "heartbeat" not in beats.ages()
