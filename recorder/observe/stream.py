"""Server-sent events on a client's socket: how a listener's items get out, and how one that does not read is let go.

Owns the socket of one listener while it listens, and the time that it is given. Runs in the client's own thread, and
never holds up anybody else.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from recorder.observe.events import Events, Listener, message

TYPE = "text/event-stream; charset=utf-8"
HEARTBEAT = 15.0  # seconds between two signs of life, so that proxies and people know
PACE = 0.02  # a listener is woken up fifty times a second at most: what is left of the processor is the feeds'
LAST_WORDS = 5.0  # seconds that a slow listener has to read what it is in the middle of, and why it is dropped
GONE = 60_000  # milliseconds without a word from the other end's kernel: it is not there any more
SEND_BUFFER = 256 << 10  # of the kernel; what waits there is not seen to be late
AT_ONCE = 64 << 10

HEAD = b": every record as it is handed to the database; numbers are strings, times are UTC\nretry: 2000\n\n"
ALIVE = b": alive\n\n"
SLOW = message("dropped", {"reason": "too slow: records came faster than they were read"})


def serve(sock: socket.socket, events: Events, listener: Listener) -> None:
    """Until the client goes, is too slow, or the recorder stops."""
    with suppress(OSError):  # whoever goes away in the middle has gone away
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE)
        sock.settimeout(1.0)
        _pump(sock, listener, events.clock)


def _pump(sock: socket.socket, listener: Listener, clock: Callable[[], float]) -> None:
    last, out = clock(), HEAD
    while True:
        if out:
            last = clock()
            if not _send(sock, out, listener, clock):
                return
        if listener.dropped or listener.closed:
            _send(sock, SLOW if listener.dropped else b"", listener, clock)
            return
        if _gone(sock):
            return
        out = _next(listener, max(0.0, last + HEARTBEAT - clock()))
        if not out and clock() - last >= HEARTBEAT:
            out = ALIVE


def _next(listener: Listener, within: float) -> bytes:
    """Some of what has come, as bytes; nothing where nothing did. Looks up once a second, for a client that has gone
    says nothing of it."""
    parts: list[bytes] = []
    size, timeout = 0, min(1.0, within)
    while size < AT_ONCE and (item := listener.take(timeout)) is not None:
        if not parts:
            time.sleep(PACE)  # for more to come
        parts.append(listener.events(item))
        size += len(parts[-1])
        timeout = 0.0
    return b"".join(parts)


def _send(sock: socket.socket, data: bytes, listener: Listener, clock: Callable[[], float]) -> bool:
    """Send all of it, however long the client takes, unless it is dropped meanwhile; whether it was."""
    view, end = memoryview(data), None
    while view:
        try:
            view = view[sock.send(view) :]
        except TimeoutError:
            if listener.closed:
                return False
            if listener.dropped:
                end = clock() + LAST_WORDS if end is None else end
                if clock() >= end:
                    return False
    return True


def _gone(sock: socket.socket) -> bool:
    """Whether the client has closed its side; what else it may send is of no interest."""
    look = select.poll()
    look.register(sock, select.POLLIN)
    return bool(look.poll(0)) and not sock.recv(4096)
