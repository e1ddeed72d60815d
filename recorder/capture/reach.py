"""From a name to a socket: looks names up, connects, checks certificates, all within one deadline.

Owns the deadline of an attempt and what its failures are called: each becomes `ConnectionLost` with one of the
reasons of `recorder_reconnects_total` and a sentence. Never waits longer than a slice without asking whether the
attempt is still wanted, and never speaks: what goes over the socket is its user's business.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

from recorder.errors import ConnectionLost

SLICE = 0.25  # seconds between two looks at whether anybody still wants this connection
PORTS = {"ws": 80, "wss": 443, "http": 80, "https": 443}

# A peer that vanished is noticed by the kernel, too: unacknowledged data for 30 s, or silence for 30 + 3 × 10 s.
_TCP_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
)

T = TypeVar("T")
Address = tuple[int, int, int, str, tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Target:
    """Where a connection goes. Only `public` may be shown."""

    url: str = field(repr=False)
    public: str
    host: str
    port: int
    tls: bool

    @property
    def name(self) -> str:
        """`host:port` as it stands in a URL."""
        return f"{bracketed(self.host)}:{self.port}"


def bracketed(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def target(endpoint: str, path: str, query: Mapping[str, str], schemes: tuple[str, str]) -> Target:
    """The URL of a path at an endpoint. `schemes`: which two there may be, the second of them with TLS."""
    parts = urlsplit(endpoint)
    plain, tls = schemes
    try:
        port = parts.port or PORTS[parts.scheme]
    except (KeyError, ValueError):
        port = 0
    if not port or not parts.hostname or parts.scheme not in schemes:
        raise ConnectionLost("config", f"an endpoint must be {plain}://host[:port] or {tls}://host[:port]")
    public = f"{parts.scheme}://{bracketed(parts.hostname)}:{port}{parts.path.rstrip('/')}{path}"
    asked = "&".join(q for q in (parts.query, urlencode(query)) if q)
    return Target(f"{public}?{asked}" if asked else public, public, parts.hostname, port, parts.scheme == tls)


class Deadline:
    """The end of an attempt, and whether it is still wanted."""

    def __init__(self, seconds: float, interrupted: Callable[[], bool]) -> None:
        self._end = time.monotonic() + seconds
        self._interrupted = interrupted

    def left(self) -> float:
        """Seconds left; raises when there are none, or when the attempt is no longer wanted."""
        if self._interrupted():
            raise ConnectionLost("shutdown", "given up while connecting")
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def wait(self, sock: socket.socket, event: int, end: float | None = None) -> None:
        """Wait until the socket is ready; `end` (monotonic) may be nearer than the deadline."""
        poll = select.poll()
        poll.register(sock, event)
        while not poll.poll(1000 * min(SLICE, self.left())):
            if end is not None and time.monotonic() > end:
                raise TimeoutError

    def result(self, future: Future[T]) -> T:
        """What a helper thread found."""
        while True:
            try:
                return future.result(min(SLICE, self.left()))
            except TimeoutError:
                if future.done():
                    raise
                self.left()


@contextmanager
def stage(reason: str, what: str) -> Iterator[None]:
    """Everything that fails in here is `reason`; the sentence says what failed and names no secret."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        hint = "; is this machine's clock right?" if error.verify_code in (9, 10) else ""
        raise ConnectionLost("tls", f"{what}: {error.verify_message}{hint}") from None
    except ssl.SSLError as error:
        raise ConnectionLost(reason, f"{what}: {_words(error)}") from None
    except TimeoutError:
        raise ConnectionLost(reason, f"{what}: no answer in time") from None
    except OSError as error:
        raise ConnectionLost(reason, f"{what}: {error.strerror or type(error).__name__}") from None


def _words(error: ssl.SSLError) -> str:
    """What OpenSSL calls it, without the capitals."""
    return (error.reason or "TLS failed").lower().replace("_", " ")


# --- what only blocking calls can do -----------------------------------------------------------------------------


def _aside(name: str, work: Callable[[], T]) -> Future[T]:
    """Run something that cannot be interrupted in a thread that nobody has to wait for."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - a thread's top; the one who waits gets it
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


class Resolver:
    """Looks names up. A resolver that hangs for a minute costs one thread per name, not one per attempt."""

    def __init__(self, lookup: Callable[[str, int], list[Address]]) -> None:
        self._lookup = lookup
        self._lock = threading.Lock()
        self._flying: dict[tuple[str, int], Future[list[Address]]] = {}

    def __call__(self, host: str, port: int, deadline: Deadline) -> list[Address]:
        with stage("dns", f"looking up {host}"):
            addresses = deadline.result(self._join(host, port))
        if not addresses:
            raise ConnectionLost("dns", f"looking up {host}: no address")
        return addresses

    def _join(self, host: str, port: int) -> Future[list[Address]]:
        with self._lock:
            future = self._flying.get((host, port))
            if future is None or future.done():
                future = _aside(f"dns:{host}", lambda: self._lookup(host, port))
                self._flying[host, port] = future
            return future


def _getaddrinfo(host: str, port: int) -> list[Address]:
    try:
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except UnicodeError:  # a label that is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None


resolve = Resolver(_getaddrinfo)


# --- from the name to the socket ---------------------------------------------------------------------------------


def tcp(host: str, port: int, deadline: Deadline) -> tuple[socket.socket, float]:
    """Connect to the first address that answers; each gets its share of the time. Also says how long it took."""
    addresses = resolve(host, port, deadline)
    with stage("refused", f"connecting to {bracketed(host)}:{port}"):
        for left in range(len(addresses), 0, -1):
            family, kind, protocol, _, address = addresses[-left]
            sock = socket.socket(family, kind, protocol)
            start = time.monotonic()
            try:
                _connect(sock, address, deadline, start + deadline.left() / left)
                return sock, time.monotonic() - start
            except BaseException as error:  # whatever ends the attempt, its socket is closed; all but OSError goes on
                sock.close()
                if left == 1 or not isinstance(error, OSError):
                    raise
    raise AssertionError("the last address returns or raises")


def _connect(sock: socket.socket, address: tuple[object, ...], deadline: Deadline, end: float) -> None:
    _prepare(sock)
    try:
        sock.connect(address)
    except BlockingIOError:
        deadline.wait(sock, select.POLLOUT, end)
    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))


def _prepare(sock: socket.socket) -> None:
    sock.setblocking(False)
    for option in _TCP_OPTIONS:
        sock.setsockopt(*option)


# --- TLS -----------------------------------------------------------------------------------------------------------


@cache
def trust() -> ssl.SSLContext:
    """The machine's certificates (`SSL_CERT_FILE` counts), names checked, TLS 1.2 or newer."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def secure(sock: socket.socket, goal: Target, context: ssl.SSLContext, deadline: Deadline) -> ssl.SSLSocket:
    with stage("tls", f"TLS with {goal.host}"):
        safe = context.wrap_socket(sock, server_hostname=goal.host, do_handshake_on_connect=False)
        try:
            patiently(safe.do_handshake, safe, deadline)
        except BaseException:  # whatever ends the handshake, the plain socket is closed
            safe.close()
            raise
    return safe


def patiently(call: Callable[[], T], sock: socket.socket, deadline: Deadline) -> T:
    """Repeat a call on a non-blocking socket until it is done."""
    while True:
        try:
            return call()
        except ssl.SSLWantWriteError:
            deadline.wait(sock, select.POLLOUT)
        except (ssl.SSLWantReadError, BlockingIOError):
            deadline.wait(sock, select.POLLIN)


def send_all(sock: socket.socket, data: bytes, deadline: Deadline) -> None:
    """Send everything over a non-blocking socket."""
    rest = memoryview(data)
    while rest:
        rest = rest[patiently(lambda: sock.send(rest), sock, deadline) :]  # noqa: B023 - called before rest changes
