"""A real proxy on loopback: HTTP CONNECT, SOCKS4 and SOCKS5, with and without a password, able to refuse in each way.

Owns the listening socket, a thread per connection and the proxy's side of the protocols, written without the recorder's
code. Passes bytes on unchanged once it has said yes. Never looks a name up but in its own table: whoever leaves names
to it shows that.
"""

from __future__ import annotations

import base64
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType

USER, PASSWORD = "user", "s3cret-pwd"
NAMES = {"localhost": "127.0.0.1", "venue.test": "127.0.0.1"}


class Refused(Exception):
    """The answer is given; hang up."""


@dataclass(slots=True)
class Manners:
    """How the proxy treats its clients. `refuse`: an HTTP status or SOCKS code instead of connecting. `says`: bytes
    instead of any protocol. `silent`: when to say nothing more: "greeting" or "request". `drip`: a byte at a time."""

    password: bool = False
    refuse: int | None = None
    says: bytes | None = None
    silent: str = ""
    drip: bool = False


@dataclass(slots=True)
class Gateway:
    """Listens while the `with` block runs. `asked`: host and port of every request, as the client wrote them."""

    scheme: str
    manners: Manners = field(default_factory=Manners)
    asked: list[tuple[str, int]] = field(default_factory=list)
    port: int = field(init=False)
    _listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    _over: threading.Event = field(default_factory=threading.Event)
    _sockets: list[socket.socket] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.port = self._listener.getsockname()[1]

    def url(self, login: str = "") -> str:
        """Its URL; with user and password where it wants them, or with `login`."""
        login = login or (f"{USER}:{PASSWORD}@" if self.manners.password else "")
        return f"{self.scheme}://{login}127.0.0.1:{self.port}"

    def __enter__(self) -> Gateway:
        self._start(self._serve)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        for one in [self._listener, *self._sockets]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for one in [self._listener, *self._sockets]:
            one.close()

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name="gateway", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        while not self._over.is_set():
            with suppress(OSError):
                client, _ = self._listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets.append(client)
                self._start(lambda client=client: self._attend(client))  # type: ignore[misc]

    def _attend(self, client: socket.socket) -> None:
        speak = {"http": self._http, "socks4": self._socks4}.get(self.scheme, self._socks5)
        try:
            if self.manners.silent == "greeting":
                self._over.wait()
            server = speak(client)
        except (OSError, Refused):
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            return
        self._start(lambda: _pass(client, server))
        _pass(server, client)

    # --- the protocols ---------------------------------------------------------------------------------------------

    def _http(self, client: socket.socket) -> socket.socket:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += _exactly(client, 1)
        line, _, rest = head.partition(b"\r\n")
        host, _, port = line.split(b" ")[1].decode().rpartition(":")
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode())
        if self.manners.password and b"Proxy-Authorization: Basic " + token not in rest:
            self._say(client, b"HTTP/1.1 407 Proxy Authentication Required\r\nX-Echo: s3cret-pwd\r\n\r\n", last=True)
        server, code = self._connect(host.strip("[]"), int(port), {"name": 502, "port": 503})
        if server is None:
            self._say(client, b"HTTP/1.1 %d No s3cret-pwd\r\n\r\n" % code, last=True)
            raise Refused
        self._say(client, b"HTTP/1.1 200 Connection established\r\nVia: gateway\r\n\r\n")
        return server

    def _socks5(self, client: socket.socket) -> socket.socket:
        version, count = _exactly(client, 2)
        methods = _exactly(client, count)
        wanted = 2 if self.manners.password else 0
        if version != 5 or wanted not in methods:
            self._say(client, b"\x05\xff", last=True)
        self._say(client, bytes([5, wanted]))
        if wanted:
            user = _exactly(client, _exactly(client, 2)[1])
            password = _exactly(client, _exactly(client, 1)[0])
            if (user, password) != (USER.encode(), PASSWORD.encode()):
                self._say(client, b"\x01\x01", last=True)
            self._say(client, b"\x01\x00")
        kind = _exactly(client, 4)[3]
        size = {1: 4, 4: 16}.get(kind) or _exactly(client, 1)[0]
        raw = _exactly(client, size)
        host = raw.decode() if kind == 3 else socket.inet_ntop(socket.AF_INET if kind == 1 else socket.AF_INET6, raw)
        server, code = self._connect(host, struct.unpack("!H", _exactly(client, 2))[0], {"name": 4, "port": 5})
        self._say(client, bytes([5, code, 0, 1, 0, 0, 0, 0, 0, 0]), last=server is None)
        assert server is not None
        return server

    def _socks4(self, client: socket.socket) -> socket.socket:
        _, _, port, address = struct.unpack("!BBH4s", _exactly(client, 8))
        while _exactly(client, 1) != b"\x00":
            pass
        server, code = self._connect(socket.inet_ntoa(address), port, {"name": 91, "port": 91})
        self._say(client, bytes([0, code or 90, 0, 0, 0, 0, 0, 0]), last=server is None)
        assert server is not None
        return server

    def _connect(self, host: str, port: int, codes: dict[str, int]) -> tuple[socket.socket | None, int]:
        """The venue's socket, or the code that says why there is none."""
        self.asked.append((host, port))
        if self.manners.silent == "request":
            self._over.wait()
        if self.manners.refuse is not None:
            return None, self.manners.refuse
        address = NAMES.get(host, host)
        try:
            socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
            server = socket.create_connection((address, port), 5)
        except OSError as error:
            return None, codes["port" if error.errno else "name"]
        server.settimeout(None)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets.append(server)
        return server, 0

    def _say(self, client: socket.socket, data: bytes, last: bool = False) -> None:
        if self.manners.says is not None:
            client.sendall(self.manners.says)
            raise Refused
        for piece in [data[i : i + 1] for i in range(len(data))] if self.manners.drip else [data]:
            client.sendall(piece)
        if last:
            raise Refused


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise Refused
        data += more
    return data


def _pass(source: socket.socket, sink: socket.socket) -> None:
    """Bytes one way until either side is done."""
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
