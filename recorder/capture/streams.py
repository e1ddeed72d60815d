"""What httpcore stands on here: our own way to a host, and one deadline for a whole request.

Owns the attempt that a request is (where it goes, until when, what was heard), the connections that it makes through a
proxy or without one, and what the failures of both are called. Never speaks HTTP, and never lets a path, a query or a
header into a message: they may hold keys.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import httpcore

from recorder.capture.proxy import connect
from recorder.capture.reach import Deadline, Target, patiently, secure, send_all
from recorder.errors import ConnectionLost
from recorder.records import now_us

CHUNK = 16 << 10

T = TypeVar("T")


@dataclass(slots=True)
class Attempt:
    """One request on its way, for the streams below: httpcore hands through nothing but time-outs of single calls.
    `peer`: what messages call the other side."""

    goal: Target
    deadline: Deadline
    peer: str = "the venue"
    fresh: bool = False  # a connection was made for it
    ended: bool = False  # the other side hung up
    sent: float = 0.0
    heard: float | None = None
    received_at: int = 0


_attempt: ContextVar[Attempt] = ContextVar("_attempt")


@contextmanager
def carried(attempt: Attempt) -> Iterator[None]:
    """Everything httpcore does in here is this attempt's; whatever fails is `ConnectionLost`."""
    public = attempt.goal.public
    token = _attempt.set(attempt)
    try:
        yield
    except (httpcore.LocalProtocolError, UnicodeError):
        raise ConnectionLost("config", f"{public}: a header or the host name cannot be sent") from None
    except httpcore.PoolTimeout:
        raise ConnectionLost("handshake", f"{public}: no answer in time, other requests are still waiting") from None
    except httpcore.ProtocolError:
        reason, words = ("eof", f"{attempt.peer} hung up") if attempt.ended else ("handshake", "not an HTTP answer")
        raise ConnectionLost(reason, f"{public}: {words}") from None
    finally:
        _attempt.reset(token)


class Backend(httpcore.NetworkBackend):
    """Makes connections our way, for the attempt of the calling thread."""

    def __init__(self, proxy: str | None) -> None:
        self._proxy = proxy

    def connect_tcp(self, *_: Any, **__: Any) -> httpcore.NetworkStream:
        """To the host and port of the attempt."""
        attempt = _attempt.get()
        attempt.fresh = True
        return _Stream(connect(attempt.goal, attempt.deadline, self._proxy)[0])


class _Stream(httpcore.NetworkStream):
    """A non-blocking socket; its waits end at the deadline of the attempt that uses it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """With the certificate checked."""
        attempt = _attempt.get()
        try:
            return _Stream(secure(self._sock, attempt.goal, ssl_context, attempt.deadline))
        except BaseException:  # whatever ends the handshake, the socket is closed: httpcore does not
            self._sock.close()
            raise

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Some bytes, none at the end."""
        attempt = _attempt.get()
        size = min(max_bytes, CHUNK)
        data = _guarded(attempt, lambda: patiently(lambda: self._sock.recv(size), self._sock, attempt.deadline))
        if attempt.heard is None:
            attempt.heard, attempt.received_at = (time.monotonic(), now_us()) if data else (None, 0)
        attempt.ended = not data
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """All of it."""
        attempt = _attempt.get()
        _guarded(attempt, lambda: send_all(self._sock, buffer, attempt.deadline))
        attempt.sent = time.monotonic()

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def get_extra_info(self, info: str) -> Any:
        """`is_readable`: bytes on a connection that nobody uses are its end."""
        if info != "is_readable":
            return None
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(0))


def _guarded(attempt: Attempt, call: Callable[[], T]) -> T:
    """What breaks on an open connection, by its reason."""
    try:
        return call()
    except TimeoutError:
        raise ConnectionLost("handshake", f"{attempt.goal.public}: no answer in time") from None
    except OSError as error:
        reason = "tls" if isinstance(error, ssl.SSLError) else "reset"
        words = error.strerror or type(error).__name__
        raise ConnectionLost(reason, f"{attempt.goal.public}: {words}") from None
