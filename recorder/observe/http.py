"""The recorder's HTTP port: the status page, /metrics, /healthz, /readyz, /status, /events.

Owns the listening socket and the threads of its clients. Never changes anything, never waits for the pipeline,
and cannot be held up by clients: they have a deadline each, and when all slots are taken the oldest has to go,
so that a scrape always finds room. Listeners at /events stay as long as they read, and have places of their own.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer

from loguru import logger
from prometheus_client.exposition import choose_encoder

from recorder import __version__
from recorder.errors import ConfigError
from recorder.observe import page, stream
from recorder.observe.events import BadQuery, Events, TooMany
from recorder.observe.health import Beats, Clock
from recorder.observe.metrics import Metrics
from recorder.observe.report import Status

DEADLINE = 10.0  # seconds for a whole request; a scrape takes milliseconds
SLOTS = 32
PLAIN = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
PATHS = "/\n/metrics\n/healthz\n/readyz\n/status\n/events\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a path has to say."""

    body: bytes
    type: str = PLAIN
    status: HTTPStatus = HTTPStatus.OK
    headers: dict[str, str] = field(default_factory=dict)


class Pages:
    """What each path answers. Knows nothing of sockets. `events`: whom listeners listen to."""

    def __init__(
        self, metrics: Metrics, status: Status, beats: Beats, events: Events, stale_after: float = 30.0
    ) -> None:
        self._metrics = metrics
        self._status = status
        self._beats = beats
        self.events = events
        self._stale_after = stale_after

    def answer(self, path: str, accept: str = "") -> Answer:
        """The answer for a path; what is not there is said to be not there."""
        pages: dict[str, Callable[[], Answer]] = {
            "/": lambda: Answer(page.html(), HTML, headers={"Content-Security-Policy": page.policy()}),
            "/metrics": lambda: self._exposition(accept),
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/status": lambda: Answer(self._status.report().json(), "application/json"),
        }
        found = pages.get(path)
        return found() if found else Answer(b"there is only:\n" + PATHS.encode(), status=HTTPStatus.NOT_FOUND)

    def failed(self) -> Answer:
        """Called when a page raised: counted, said, and nobody else's business."""
        self._metrics.page_errors.inc()
        logger.bind(event="http.failed").exception("a page of the HTTP port failed")
        return Answer(b"internal error; the log says more\n", status=HTTPStatus.INTERNAL_SERVER_ERROR)

    def _exposition(self, accept: str) -> Answer:
        encode, content_type = choose_encoder(accept)
        return Answer(encode(self._metrics.registry), content_type)

    def _healthz(self) -> Answer:
        stale = self._beats.stale(self._stale_after)
        return _verdict([f"thread {name} has not moved for {age:.0f} s" for name, age in sorted(stale.items())])

    def _readyz(self) -> Answer:
        return _verdict(self._status.report().unready())


def _verdict(problems: list[str]) -> Answer:
    """`ok`, or 503 and a line per reason. Venues' words may be among them, so control characters are escaped."""
    if not problems:
        return Answer(b"ok\n")
    lines = ("".join(c if c.isprintable() else repr(c)[1:-1] for c in problem) for problem in problems)
    return Answer("".join(f"{line}\n" for line in lines).encode(), status=HTTPStatus.SERVICE_UNAVAILABLE)


class _Handler(BaseHTTPRequestHandler):
    """One request, one answer, no keep-alive (HTTP/1.0), nothing logged: the scraper comes every few seconds."""

    server: _Server
    server_version = f"recorder/{__version__}"
    sys_version = ""
    timeout = DEADLINE

    def do_GET(self) -> None:
        """Answer, or let the client listen; also HEAD, which wants the same without the body."""
        path, _, query = self.path.partition("?")
        try:
            if path != "/events":
                self._say(self.server.pages.answer(path, self.headers.get("Accept", "")))
            elif self.command == "HEAD":
                self._head(Answer(b"", stream.TYPE))
            else:
                self._listen(query)
        except OSError:
            raise  # the client has gone
        except Exception:  # noqa: BLE001 - the top of the client's thread
            self._say(self.server.pages.failed())

    do_HEAD = do_GET

    def _listen(self, query: str) -> None:
        events = self.server.pages.events
        try:
            listener = events.open(query)
        except BadQuery as wrong:
            self._say(Answer(f"{wrong}\n".encode(), status=HTTPStatus.BAD_REQUEST))
            return
        except TooMany as full:
            self._say(Answer(f"{full}\n".encode(), status=HTTPStatus.SERVICE_UNAVAILABLE))
            return
        try:
            self.server.keep(self.connection)
            self._head(Answer(b"", stream.TYPE, headers={"X-Accel-Buffering": "no"}))
            stream.serve(self.connection, events, listener)
        finally:
            events.leave(listener)

    def _say(self, answer: Answer) -> None:
        self._head(answer, len(answer.body))
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _head(self, answer: Answer, length: int | None = None) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.type)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class _Server(ThreadingHTTPServer):
    """The listening socket, and how long its clients may stay."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], pages: Pages, beat: Callable[[], None], clock: Clock) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.pages = pages
        self._beat = beat
        self._clock = clock
        self._lock = threading.Lock()
        self._clients: dict[socket.socket, float] = {}  # in order of arrival
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Without HTTPServer's look-up of our own name, which waits for DNS."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        """A new client; the oldest goes when there are too many."""
        with self._lock:
            if len(self._clients) >= SLOTS:
                oldest = next(iter(self._clients))
                del self._clients[oldest]
                _shut(oldest)
            self._clients[request] = self._clock()
        super().process_request(request, client_address)

    def keep(self, request: socket.socket) -> None:
        """This client listens: neither a deadline nor others' need of a slot ends it."""
        with self._lock:
            self._clients.pop(request, None)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        """A client is done."""
        with self._lock:
            self._clients.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Five times a second: whoever drips bytes longer than the deadline is cut off."""
        self._beat()
        limit = self._clock() - DEADLINE
        with self._lock:
            for request, since in self._clients.items():
                if since < limit:
                    _shut(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away or was cut off; nothing to say about it."""


def _shut(request: socket.socket) -> None:
    """Wake the client's thread with an end of file; it closes the socket itself."""
    try:
        request.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def parse_listen(listen: str) -> tuple[str, int]:
    """`127.0.0.1:9464`, `[::1]:9464`, `:9464` (every interface)."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ConfigError([f"recorder.listen: {listen!r} is not host:port, such as 127.0.0.1:9464"])
    return host.strip("[]"), int(port)


_BIND_ERRORS = {
    errno.EADDRINUSE: "is in use: another recorder or another program listens there; choose another port",
    errno.EACCES: "is not allowed to this user; ports below 1024 need privileges, choose a higher one",
    errno.EADDRNOTAVAIL: "is not an address of this machine",
}


class HttpServer:
    """The port and its thread, `http`. Bound when constructed, so that a taken port is known before anything runs."""

    NAME = "http"

    def __init__(self, listen: str, pages: Pages, beats: Beats, *, clock: Clock = time.monotonic) -> None:
        try:
            self._server = _Server(parse_listen(listen), pages, lambda: beats.beat(self.NAME), clock)
        except OSError as error:
            why = _BIND_ERRORS.get(error.errno or 0, f"cannot be listened on: {error.strerror or error}")
            raise ConfigError([f"recorder.listen: {listen} {why}"]) from None
        self._beats = beats
        self.thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name=self.NAME)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port as bound: the port is the real one where 0 was asked for."""
        return str(self._server.server_address[0]), int(self._server.server_address[1])

    def start(self) -> None:
        """Serve from now on."""
        self._beats.register(self.NAME)
        self.thread.start()

    def stop(self) -> None:
        """Stop serving and free the port."""
        self._server.pages.events.close()
        if self.thread.is_alive():
            self._server.shutdown()
            self.thread.join()
        self._server.server_close()
        self._beats.forget(self.NAME)
