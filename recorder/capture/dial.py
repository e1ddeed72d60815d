"""Makes connections: name, proxy, TCP, TLS with the certificate checked, WebSocket handshake, all in one deadline.

Owns an attempt from the URL to a socket that speaks WebSocket; what goes wrong becomes `ConnectionLost` with one of
the reasons of `recorder_reconnects_total`. Never waits longer than a slice without asking whether it is still
wanted, and never lets a query, a header or a proxy's password into a message: what libraries say of the handshake
holds all of them, so nothing of it is passed on.
"""

from __future__ import annotations

import os
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.cookies import CookieError
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import websocket
from python_socks import ProxyError
from python_socks.sync import Proxy

from recorder import __version__
from recorder.errors import ConnectionLost
from recorder.venues import Line

SLICE = 0.25  # seconds between two looks at whether anybody still wants this connection
MAX_ANSWER = 64 << 10  # of an HTTP answer to the handshake
PORTS = {"ws": 80, "wss": 443}
REFUSALS = {401: "auth", 403: "auth", 429: "rate"}

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


def target(endpoint: str, line: Line) -> Target:
    """The URL of a line at an endpoint."""
    parts = urlsplit(endpoint)
    try:
        port = parts.port or PORTS[parts.scheme]
    except (KeyError, ValueError):
        raise ConnectionLost("config", "an endpoint must be ws://host[:port] or wss://host[:port]") from None
    host = parts.hostname or ""
    name = f"[{host}]" if ":" in host else host
    path = parts.path.rstrip("/") + line.path
    public = f"{parts.scheme}://{name}:{port}{path}"
    query = "&".join(q for q in (parts.query, urlencode(line.query)) if q)
    return Target(f"{public}?{query}" if query else public, public, host, port, parts.scheme == "wss")


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
def _stage(reason: str, what: str) -> Iterator[None]:
    """Everything that fails in here is `reason`; the sentence says what failed and names no secret."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        hint = "; is this machine's clock right?" if error.verify_code in (9, 10) else ""
        raise ConnectionLost("tls", f"{what}: {error.verify_message}{hint}") from None
    except ssl.SSLError as error:
        raise ConnectionLost(reason, f"{what}: {error.reason or 'TLS failed'}") from None
    except TimeoutError:
        raise ConnectionLost(reason, f"{what}: no answer in time") from None
    except OSError as error:
        raise ConnectionLost(reason, f"{what}: {error.strerror or type(error).__name__}") from None


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
        with _stage("dns", f"looking up {host}"):
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


def _tcp(goal: Target, deadline: Deadline) -> tuple[socket.socket, float]:
    """Connect to the first address that answers; each gets its share of the time. Also says how long it took."""
    addresses = resolve(goal.host, goal.port, deadline)
    with _stage("refused", f"connecting to {goal.host}:{goal.port}"):
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


def _proxied(goal: Target, proxy: str, deadline: Deadline) -> tuple[socket.socket, float]:
    """Connect through a proxy. `socks5h` leaves the name to the proxy, `socks5` looks it up here."""
    scheme, _, rest = proxy.partition("://")
    start, seconds = time.monotonic(), deadline.left()

    def work() -> socket.socket:
        by_name = {"rdns": True} if scheme == "socks5h" else {}
        way = Proxy.from_url(f"{'socks5' if scheme == 'socks5h' else scheme}://{rest}", **by_name)
        sock: socket.socket = way.connect(goal.host, goal.port, timeout=seconds)
        return sock

    with _stage("proxy", f"reaching {goal.host}:{goal.port} through the proxy"):
        future = _aside(f"proxy:{goal.host}", work)
        try:
            sock = deadline.result(future)
        except (ProxyError, ValueError) as error:
            code = getattr(error, "error_code", None)
            raise ConnectionLost("proxy", "the proxy refused", None if code is None else str(code)) from None
        except BaseException:  # interrupted or out of time: a socket that still comes has to be closed
            future.add_done_callback(_discard)
            raise
    _prepare(sock)
    return sock, time.monotonic() - start


def _discard(future: Future[socket.socket]) -> None:
    """Close a connection that came too late."""
    if future.exception() is None:
        future.result().close()


# --- from the socket to WebSocket --------------------------------------------------------------------------------


@cache
def trust() -> ssl.SSLContext:
    """The machine's certificates (`SSL_CERT_FILE` counts), names checked, TLS 1.2 or newer."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _secure(sock: socket.socket, goal: Target, context: ssl.SSLContext, deadline: Deadline) -> ssl.SSLSocket:
    with _stage("tls", f"TLS with {goal.host}"):
        secure = context.wrap_socket(sock, server_hostname=goal.host, do_handshake_on_connect=False)
        try:
            _patiently(secure.do_handshake, secure, deadline)
        except BaseException:  # whatever ends the handshake, the plain socket is closed
            secure.close()
            raise
    return secure


def _patiently(call: Callable[[], T], sock: socket.socket, deadline: Deadline) -> T:
    """Repeat a call on a non-blocking socket until it is done."""
    while True:
        try:
            return call()
        except ssl.SSLWantWriteError:
            deadline.wait(sock, select.POLLOUT)
        except (ssl.SSLWantReadError, BlockingIOError):
            deadline.wait(sock, select.POLLIN)


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
        data = self._patiently(lambda: self._sock.recv(size))
        self._answer += data
        if len(self._answer) > MAX_ANSWER:
            self.problem = "an answer without end"
            raise OSError(self.problem)
        return data

    def send(self, data: bytes) -> int:
        """All of the request."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._patiently(lambda: self._sock.send(rest)) :]  # noqa: B023 - called before rest changes
        return len(data)

    def _patiently(self, call: Callable[[], T]) -> T:
        try:
            return _patiently(call, self._sock, self._deadline)
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
    sock, rtt = _proxied(goal, proxy, deadline) if proxy else _tcp(goal, deadline)
    try:
        if goal.tls:
            sock = _secure(sock, goal, tls or trust(), deadline)
        _handshake(sock, goal, [f"User-Agent: recorder/{__version__}", *headers], deadline)
    except BaseException:  # whatever ends the attempt, its socket is closed
        sock.close()
        raise
    return sock, rtt
