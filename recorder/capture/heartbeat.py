"""Keeps all connections alive: one thread, one schedule per connection.

Owns when a heartbeat is due and when its reply is overdue. Never waits for a connection (sending is the transport's
outbox, and breaking a connection is a flag and a shutdown), so that one feed that is stuck delays no other, and never
takes a heartbeat for data: whether a stream is silent is the feed's question.
"""

from __future__ import annotations

import heapq
import math
import threading
import time
from collections.abc import Callable
from typing import Protocol

from recorder.observe.health import Beats
from recorder.venues import Heartbeat

# A check that comes this late says more about this machine than about the venue: a stall of ours would otherwise
# break every connection at once, and all would reconnect together.
STALL = 1.0


class Connection(Protocol):
    """What a heartbeat needs of a transport. Nothing here may wait."""

    last_received: float

    def send(self, payload: bytes) -> None:
        """Send a text message."""

    def heard_since(self, moment: float) -> bool:
        """Did anything come since then? Bytes that nobody has read yet count."""

    def abort(self, reason: str, detail: str = "") -> None:
        """Break the connection."""


class Pulse:
    """The heartbeat of one connection. `sent_at`: when the last one was sent."""

    __slots__ = ("_asked_at", "_beat_at", "_connection", "_heartbeat", "due", "sent_at")

    def __init__(self, connection: Connection, heartbeat: Heartbeat, now: float) -> None:
        self._connection = connection
        self._heartbeat = heartbeat
        self._beat_at = now + heartbeat.interval
        self._asked_at: float | None = None  # of the heartbeat whose reply is awaited
        self.sent_at: float | None = None
        self.due = self._beat_at  # when `turn` wants to be called

    def turn(self, now: float) -> bool:
        """Do what is due; False when the connection was broken and needs no heartbeat any more."""
        deadline = self._deadline()
        if now >= deadline:
            if now - self.due <= STALL:
                within = self._heartbeat.reply_within
                self._connection.abort("heartbeat", f"no reply to a heartbeat within {within:g} s")
                return False
            deadline = now + STALL
        if self._heartbeat.idle_only:
            self._beat_at = max(self._connection.last_received, self.sent_at or 0.0) + self._heartbeat.interval
        if now >= self._beat_at:
            self._beat(now)
            deadline = self._deadline()
        self.due = min(deadline, self._beat_at)
        return True

    def _deadline(self) -> float:
        """When the awaited reply is overdue; anything that came is a reply."""
        within = self._heartbeat.reply_within
        if self._asked_at is None or within is None:
            return math.inf
        if self._connection.heard_since(self._asked_at):
            self._asked_at = None
            return math.inf
        return self._asked_at + within

    def _beat(self, now: float) -> None:
        self._connection.send(self._heartbeat.payload)
        self.sent_at = now
        self._beat_at = now + self._heartbeat.interval
        if self._asked_at is None:
            self._asked_at = now


class Heartbeats(threading.Thread):
    """The thread."""

    def __init__(self, beats: Beats, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(name="heartbeat")
        self.fault: BaseException | None = None
        self._beats = beats
        self._clock = clock
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Pulse]] = []
        self._count = 0  # breaks ties in the heap
        self._active: set[Pulse] = set()
        self._stopping = False
        beats.register(self.name)

    def add(self, connection: Connection, heartbeat: Heartbeat) -> Pulse:
        """Keep this connection alive from now on."""
        with self._changed:
            pulse = Pulse(connection, heartbeat, self._clock())
            self._active.add(pulse)
            self._push(pulse)
            self._changed.notify()
        return pulse

    def remove(self, pulse: Pulse) -> None:
        """This connection has ended. Its schedule goes at once: it must not outlive a hundred reconnects."""
        with self._changed:
            self._active.discard(pulse)
            self._heap = [entry for entry in self._heap if entry[2] is not pulse]
            heapq.heapify(self._heap)

    @property
    def schedules(self) -> int:
        """How many heartbeats are scheduled."""
        with self._changed:
            return len(self._heap)

    def stop(self) -> None:
        """End the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def run(self) -> None:
        """Until stopped; what ends it otherwise is kept for the supervisor, who sees a thread that is gone."""
        try:
            while not self._stopping:
                self._beats.beat(self.name)
                self.turn()
                with self._changed:
                    if not self._stopping:
                        self._changed.wait(self._idle())
        except Exception as fault:  # noqa: BLE001 - a thread's top
            self.fault = fault
        finally:
            self._beats.forget(self.name)

    def turn(self) -> None:
        """Do everything that is due now."""
        now = self._clock()
        while (pulse := self._pop(now)) is not None:
            alive = pulse.turn(now)
            with self._changed:
                if alive and pulse in self._active:
                    self._push(pulse)
                else:
                    self._active.discard(pulse)

    def _idle(self) -> float:
        return min(1.0, max(0.0, self._heap[0][0] - self._clock())) if self._heap else 1.0

    def _pop(self, now: float) -> Pulse | None:
        with self._changed:
            if not self._heap or self._heap[0][0] > now:
                return None
            return heapq.heappop(self._heap)[2]

    def _push(self, pulse: Pulse) -> None:
        self._count += 1
        heapq.heappush(self._heap, (pulse.due, self._count, pulse))
