"""A venue's REST interface: one request, one answer, within a deadline, a size and the venue's limits.

Owns the connections to one base URL, kept for the next request, and what their failures are called: the same words as
for a WebSocket, since name, proxy, TCP and TLS are the same code. httpcore speaks HTTP. Never follows a redirect,
never reads a proxy from the environment, never tries again by itself once a request may have been heard, and never
lets a query, a header or a proxy's password into a message.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from http import HTTPStatus
from typing import Any

import httpcore
import msgspec

from recorder import __version__
from recorder.capture.backoff import Window
from recorder.capture.reach import SLICE, Deadline, Target, target, trust
from recorder.capture.streams import Attempt, Backend, carried
from recorder.config import Source
from recorder.errors import ConnectionLost

CONNECTIONS = 4  # of one client; more threads than that wait for each other
KEPT = 15.0  # seconds that an unused connection is kept: load balancers end them after 60 or more
REFUSALS = {401: "auth", 403: "auth", 429: "rate"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a venue answered. `status`: 2xx, or a 4xx that speaks of this request. `url`: without the query. `rtt`:
    seconds from the last byte sent to the first received, without making the connection. `received_at`: our clock
    at that first byte, in µs."""

    status: int
    body: bytes = field(repr=False)
    url: str
    rtt: float
    received_at: int

    def ahead_of(self, venue_ms: int) -> float:
        """Seconds that our clock is ahead of a venue whose time, in milliseconds, is in this answer: it read its own
        half a round trip before the answer came."""
        return self.received_at / 1e6 - self.rtt / 2 - venue_ms / 1e3


def client(source: Source, **more: Any) -> Rest:
    """A client of a source's venue, through its proxy. `more`: what else a client takes."""
    return Rest(source.rest, None if source.proxy is None else str.__str__(source.proxy), **more)


@dataclass(slots=True, eq=False)
class Rest:
    """Asks one venue. Any thread may; each request has `deadline` seconds from its turn to its last byte.

    `headers` go with every request and may hold a key. `cap`: bytes of an answer. `pace`: how often the venue may be
    asked; a request waits for its turn. `interrupted` is asked at least every 0.25 s; when it says yes, whatever
    waits ends with the reason `shutdown`.

    >>> Rest("https://www.example.com", None, pace=Window(20, 2.0)).get("/api/v5/public/time")  # doctest: +SKIP
    """

    base: str
    proxy: str | None = field(default=None, repr=False)
    _: KW_ONLY
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    deadline: float = 10.0
    cap: int = 16 << 20
    pace: Window | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    interrupted: Callable[[], bool] = field(default=lambda: False, repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)  # of the pace; a deadline is always real
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    _pool: httpcore.ConnectionPool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=self.tls or trust(),
            max_connections=CONNECTIONS,
            keepalive_expiry=KEPT,
            network_backend=Backend(self.proxy),
        )

    def get(self, path: str, params: Mapping[str, str] | None = None) -> Answer:
        """Ask. Raises `ConnectionLost` with a reason of `recorder_reconnects_total`: `rate`, `auth` and `handshake`
        for what HTTP says (429; 401 and 403; everything else that is no answer), and the rest as for a WebSocket."""
        goal = target(self.base, path, params or {}, ("http", "https"))
        self._wait_for_turn()
        attempt = Attempt(goal, Deadline(self.deadline, self.interrupted))
        try:
            return self._ask(attempt, "GET", None)
        except ConnectionLost as lost:
            # A connection that the venue ended while it lay unused: it never heard the question.
            if attempt.fresh or attempt.heard is not None or lost.reason not in ("eof", "reset"):
                raise
        return self._ask(Attempt(goal, attempt.deadline), "GET", None)

    def post(self, path: str, json: object) -> Answer:
        """Send JSON; raises like `get`."""
        goal = target(self.base, path, {}, ("http", "https"))
        self._wait_for_turn()
        return self._ask(Attempt(goal, Deadline(self.deadline, self.interrupted)), "POST", msgspec.json.encode(json))

    def close(self) -> None:
        """Close the connections; a later request opens others."""
        self._pool.close()

    def _wait_for_turn(self) -> None:
        if self.pace is None:
            return
        now = self.clock()
        end = now + self.pace.reserve(1, now)
        while (left := end - self.clock()) > 0:
            if self.interrupted():
                raise ConnectionLost("shutdown", "given up while waiting for a turn")
            self.sleep(min(left, SLICE))

    def _ask(self, attempt: Attempt, method: str, content: bytes | None) -> Answer:
        public = attempt.goal.public
        with carried(attempt):
            response = self._pool.handle_request(self._request(attempt.goal, method, content))
            try:
                _judge(response, public)
                body = self._read(response, public)
            finally:
                response.close()
        return Answer(
            response.status, body, public, (attempt.heard or attempt.sent) - attempt.sent, attempt.received_at
        )

    def _request(self, goal: Target, method: str, content: bytes | None) -> httpcore.Request:
        asked = goal.url[goal.url.index("/", len("https://")) :]
        headers = {
            "Host": goal.name,
            "User-Agent": f"recorder/{__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # what is packed has no size before it is unpacked
            **self.headers,
        }
        if content is not None:
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
        scheme, host = "https" if goal.tls else "http", goal.host.encode("idna")
        url = httpcore.URL(scheme=scheme, host=host, port=goal.port, target=asked)
        timeout = {"timeout": {"pool": self.deadline}}
        return httpcore.Request(method, url, headers=list(headers.items()), content=content, extensions=timeout)

    def _read(self, response: httpcore.Response, public: str) -> bytes:
        body = bytearray()
        for chunk in response.iter_stream():
            body += chunk
            if len(body) > self.cap:
                raise ConnectionLost("handshake", f"{public}: an answer of more than {self.cap} bytes")
        return bytes(body)


def _judge(response: httpcore.Response, public: str) -> None:
    """Raise for what is no answer to the question."""
    status = response.status
    code = str(status)
    if status in REFUSALS:
        raise ConnectionLost(REFUSALS[status], f"{public}: HTTP {status}", code)
    if 300 <= status < 400:
        raise ConnectionLost("handshake", f"{public}: HTTP {status}: redirects are not followed", code)
    if not 200 <= status < 500:
        raise ConnectionLost("handshake", f"{public}: HTTP {status}{_phrase(status)}", code)
    packed = [value for name, value in response.headers if name.lower() == b"content-encoding"]
    if any(value.lower() != b"identity" for value in packed):
        raise ConnectionLost("handshake", f"{public}: a packed answer, though none was asked for")


def _phrase(status: int) -> str:
    return f" ({HTTPStatus(status).phrase})" if status in HTTPStatus.__members__.values() else ""
