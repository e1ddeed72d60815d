"""Speaks the WebSocket handshake: from a line and an endpoint to a socket that is ready for frames.

Owns an attempt from the URL to a socket that speaks WebSocket; what goes wrong becomes `ConnectionLost` with one of
the reasons of `recorder_reconnects_total`. Never lets a query or a header into a message: what libraries say of the
handshake holds both, so nothing of it is passed on.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from http.cookies import CookieError
from typing import Any, TypeVar

import websocket

from recorder import __version__
from recorder.capture.proxy import connect
from recorder.capture.reach import Deadline, Target, patiently, secure, send_all, trust
from recorder.errors import ConnectionLost

MAX_ANSWER = 64 << 10  # of an HTTP answer to the handshake
REFUSALS = {401: "auth", 403: "auth", 429: "rate"}

T = TypeVar("T")


class _Courier:
    """The socket as the library sees it during the handshake: deadlines, a cap, and the answer kept for us.

    The library reads the answer byte by byte, so nothing after it is taken, and asks `gettimeout`: 0 means that it
    calls `recv` and `send` and leaves waiting to us.
    """

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self._answer = bytearray()
        self.problem = ""

    def recv(self, size: int) -> bytes:
        """Some of the answer."""
        data = self._guarded(lambda: patiently(lambda: self._sock.recv(size), self._sock, self._deadline))
        self._answer += data
        if len(self._answer) > MAX_ANSWER:
            self.problem = "an answer without end"
            raise OSError(self.problem)
        return data

    def send(self, data: bytes) -> int:
        """All of the request."""
        self._guarded(lambda: send_all(self._sock, data, self._deadline))
        return len(data)

    def _guarded(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except TimeoutError:
            self.problem = "no answer in time"
            raise

    def gettimeout(self) -> float:
        """0: do not wait."""
        return 0

    def settimeout(self, seconds: float | None) -> None:
        """The deadline decides."""

    def fileno(self) -> int:
        """Of the real socket."""
        return self._sock.fileno()

    def close(self) -> None:
        """The library gave up."""
        self._sock.close()

    @property
    def status(self) -> int | None:
        """The HTTP status of the answer, if it is HTTP."""
        found = re.match(rb"HTTP/1\.[01] (\d{3})\b", self._answer)
        return int(found[1]) if found else None


# What the library makes of answers that are not HTTP: besides its own, whatever int(), split() and cookies raise.
_NO_HANDSHAKE = (websocket.WebSocketException, CookieError, ValueError, LookupError, AttributeError, TypeError)


def _handshake(sock: socket.socket, goal: Target, headers: list[str], deadline: Deadline) -> None:
    courier = _Courier(sock, deadline)
    problem = ""
    client: Any = websocket.WebSocket()  # untyped
    try:
        client.connect(goal.url, socket=courier, header=headers, suppress_origin=True, redirect_limit=0)
    except OSError:
        problem = "the connection broke"
    except _NO_HANDSHAKE:
        problem = "not a WebSocket answer"
    if courier.status not in (None, 101):
        reason = REFUSALS.get(courier.status or 0, "handshake")
        raise ConnectionLost(reason, f"{goal.public}: HTTP {courier.status}", str(courier.status))
    if problem:
        raise ConnectionLost("handshake", f"{goal.public}: {courier.problem or problem}")


def dial(
    goal: Target, headers: list[str], deadline: Deadline, proxy: str | None = None, tls: ssl.SSLContext | None = None
) -> tuple[socket.socket, float]:
    """A non-blocking socket that speaks WebSocket, and the round trip of its TCP handshake in seconds."""
    sock, rtt = connect(goal, deadline, proxy)
    try:
        if goal.tls:
            sock = secure(sock, goal, tls or trust(), deadline)
        _handshake(sock, goal, [f"User-Agent: recorder/{__version__}", *headers], deadline)
    except BaseException:  # whatever ends the attempt, its socket is closed
        sock.close()
        raise
    return sock, rtt
