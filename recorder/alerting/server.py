"""The relay's HTTP port: a path for each messenger, /healthz, and / which says what is on.

Owns the socket, the threads of its clients and how large a notification may be. Alertmanager is the only client; it
retries by itself whatever is not answered with 2xx or 4xx.
"""

from __future__ import annotations

import errno
import socket
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer

from loguru import logger

from recorder import __version__
from recorder.alerting.relay import NAMES, Relay
from recorder.errors import ConfigError
from recorder.log import repeated
from recorder.redact import clean, redact

CAP = 16 << 20  # bytes of a notification: ten thousand alerts
DEADLINE = 10.0  # seconds between two bytes of a request
CLIENTS = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, a line of text, and seconds after which to come again."""

    status: HTTPStatus
    text: str
    wait: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)


class Paths:
    """What each path answers. Knows nothing of sockets."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def get(self, path: str) -> Answer:
        """Health, and the list."""
        if path == "/healthz":
            return Answer(HTTPStatus.OK, "ok\n")
        if path == "/":
            on = self._relay.on()
            return Answer(HTTPStatus.OK, "".join(f"{name}: {'on' if name in on else 'off'}\n" for name in NAMES))
        if path.removeprefix("/") in NAMES:
            return Answer(
                HTTPStatus.METHOD_NOT_ALLOWED, "this is where Alertmanager posts to\n", headers={"Allow": "POST"}
            )
        return _nowhere()

    def post(self, path: str, body: bytes) -> Answer:
        """A notification for a messenger."""
        name = path.removeprefix("/")
        if name not in NAMES:
            return _nowhere()
        try:
            verdict = self._relay.deliver(name, body)
        except ValueError as error:
            why = clean(redact(str(error)))
            if repeated(f"relay.request:{name}", 3600) is not None:
                logger.bind(event="relay.request").error("posted to /{}: {}", name, why)
            return Answer(HTTPStatus.BAD_REQUEST, f"{why}\n")
        return Answer(verdict.outcome.value, f"{verdict.why or 'ok'}\n", verdict.wait)


def _nowhere() -> Answer:
    return Answer(HTTPStatus.NOT_FOUND, f"there is only: / /healthz {' '.join('/' + name for name in NAMES)}\n")


class _Handler(BaseHTTPRequestHandler):
    """One request, one answer (HTTP/1.0)."""

    server: _Server
    server_version = f"recorder/{__version__}"
    sys_version = ""
    timeout = DEADLINE

    def do_GET(self) -> None:
        """A page."""
        self._answer(self.server.paths.get(self.path.partition("?")[0]))

    def do_POST(self) -> None:
        """A notification."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()):
            self._answer(Answer(HTTPStatus.LENGTH_REQUIRED, "a Content-Length is required\n"))
        elif int(length) > CAP:
            self._answer(Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {CAP} bytes\n"))
        elif len(body := self.rfile.read(int(length))) == int(length):
            self._answer(self._posted(body))

    def _posted(self, body: bytes) -> Answer:
        try:
            return self.server.paths.post(self.path.partition("?")[0], body)
        except Exception:  # noqa: BLE001 - the top of the client's thread
            logger.bind(event="relay.failed").exception("a notification could not be handed on")
            return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the log says more\n")

    def _answer(self, answer: Answer) -> None:
        body = answer.text.encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.wait:
            self.send_header("Retry-After", str(max(1, round(answer.wait))))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class _Server(ThreadingHTTPServer):
    """The socket; more than `CLIENTS` at once wait in its queue."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], paths: Paths) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.paths = paths
        self._room = threading.BoundedSemaphore(CLIENTS)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Without HTTPServer's look-up of our own name, which waits for DNS."""
        TCPServer.server_bind(self)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """In a thread, when there is room for one."""
        self._room.acquire()
        super().process_request(request, client_address)

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """The thread's work."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away; Alertmanager will be back."""


_BIND_ERRORS = {
    errno.EADDRINUSE: "is in use: another program listens there; choose another port",
    errno.EACCES: "is not allowed to this user; choose a port above 1023",
    errno.EADDRNOTAVAIL: "is not an address of this machine",
}


class RelayServer:
    """The port, bound when constructed, and its thread."""

    def __init__(self, listen: str, relay: Relay) -> None:
        host, _, port = listen.rpartition(":")
        try:
            self._server = _Server((host.strip("[]"), int(port)), Paths(relay))
        except OSError as error:
            why = _BIND_ERRORS.get(error.errno or 0, f"cannot be listened on: {error.strerror or error}")
            raise ConfigError([f"ALERT_LISTEN: {listen} {why}"]) from None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="relay")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port as bound."""
        return str(self._server.server_address[0]), int(self._server.server_address[1])

    def start(self) -> None:
        """Serve from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and free the port."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
