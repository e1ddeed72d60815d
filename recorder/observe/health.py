"""Who is still running: a beat per thread, and the word to systemd.

Owns the beats and the notification datagram. Never judges success: a writer that waits for an absent database
beats as long as its loop turns, and a restart would not bring the database back.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable

Clock = Callable[[], float]


class Beats:
    """When each thread last turned its loop. Beating costs 0.3 µs, so every loop can afford it."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}

    def register(self, name: str) -> None:
        """From now on this thread is expected to beat."""
        with self._lock:
            self._last[name] = self._clock()

    def forget(self, name: str) -> None:
        """This thread has ended as it should."""
        with self._lock:
            self._last.pop(name, None)

    def beat(self, name: str, busy: float = 0.0) -> None:
        """This thread is alive; for `busy` seconds it need not say so again, because something else watches over what
        it waits for. One that was forgotten in the meantime stays so."""
        with self._lock:
            if name in self._last:
                self._last[name] = self._clock() + busy

    def ages(self) -> dict[str, float]:
        """Seconds since each thread's last beat."""
        now = self._clock()
        with self._lock:
            return {name: max(0.0, now - last) for name, last in self._last.items()}

    def stale(self, limit: float) -> dict[str, float]:
        """The threads that have not beaten for more than `limit` seconds, with their ages."""
        return {name: age for name, age in self.ages().items() if age > limit}


def notify(state: str, address: str | None = None) -> bool:
    """Tell systemd (`READY=1`, `STOPPING=1`, `WATCHDOG=1`, `STATUS=…`): one datagram. False when nobody listens;
    that is never an error, because the same binary runs outside systemd."""
    address = os.environ.get("NOTIFY_SOCKET", "") if address is None else address
    if not address.startswith(("/", "@")):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)  # a full buffer must not stop the supervisor
            sock.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
    except OSError:
        return False
    return True


def watchdog_interval() -> float | None:
    """Seconds between two `WATCHDOG=1`: a third of what systemd allows; None where it does not watch us."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    mine = os.environ.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
    return int(microseconds) / 3e6 if mine and microseconds.isdigit() and int(microseconds) else None


class Watchdog:
    """Passes the threads' health on to systemd: a beat only while every thread beats."""

    def __init__(
        self,
        beats: Beats,
        limit: float,
        interval: float | None = None,
        *,
        send: Callable[[str], bool] = notify,
        clock: Clock = time.monotonic,
    ) -> None:
        self._beats = beats
        self._limit = limit
        self._interval = watchdog_interval() if interval is None else interval
        self._send = send
        self._clock = clock
        self._next = clock()

    def turn(self) -> dict[str, float]:
        """To be called at every turn of the supervisor. Answers the threads that are stuck, with their ages."""
        stale = self._beats.stale(self._limit)
        if not stale and self._interval is not None and self._clock() >= self._next:
            self._next = self._clock() + self._interval
            self._send("WATCHDOG=1")
        return stale
