"""A venue on raw sockets that does exactly what a script says, well or badly.

Owns the listening socket, a thread per connection, and the WebSocket framing of its own side, written without the
recorder's code. Never judges: what a script raises is raised again in the test that owns the venue.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from types import TracebackType

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(payload: bytes, opcode: int = TEXT, fin: bool = True) -> bytes:
    """A frame as a server sends it."""
    head = bytes([(0x80 if fin else 0) | opcode])
    size = len(payload)
    if size < 126:
        return head + bytes([size]) + payload
    if size < 1 << 16:
        return head + b"\x7e" + struct.pack("!H", size) + payload
    return head + b"\x7f" + struct.pack("!Q", size) + payload


def close_frame(code: int, text: str = "") -> bytes:
    """A close frame."""
    return frame(struct.pack("!H", code) + text.encode(), CLOSE)


class Peer:
    """One connection as the venue sees it."""

    def __init__(self, sock: socket.socket, over: threading.Event) -> None:
        self.sock = sock
        self.over = over
        self.request = b""
        self._buffer = b""

    def accept(self, more: bytes = b"") -> None:
        """Read the request and agree; `more` follows in the same packet."""
        key = self.read_request()
        token = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        self.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + token + b"\r\n\r\n" + more
        )

    def read_request(self) -> bytes:
        """Read the request without answering; the key in it."""
        while b"\r\n\r\n" not in self.request:
            self.request += self._receive()
        lines = dict(line.split(b": ", 1) for line in self.request.split(b"\r\n")[1:] if b": " in line)
        return lines[b"Sec-WebSocket-Key"]

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.sock.sendall(data)

    def text(self, *payloads: bytes) -> None:
        """Send text messages in one packet."""
        self.send(b"".join(map(frame, payloads)))

    def read(self) -> tuple[int, bytes]:
        """The next frame of the client: opcode and unmasked payload. Its mask bit must be set."""
        first, size = self._exactly(2)
        assert size & 0x80, "a client must mask its frames"
        size &= 0x7F
        if size == 126:
            size = struct.unpack("!H", self._exactly(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", self._exactly(8))[0]
        mask = self._exactly(4)
        return first & 0x0F, bytes(b ^ mask[i % 4] for i, b in enumerate(self._exactly(size)))

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._buffer += self._receive()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _receive(self) -> bytes:
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionResetError("the client left")
        return data

    def hold(self) -> None:
        """Say nothing more, and keep the connection until the test is over."""
        self.over.wait()

    def reset(self) -> None:
        """End with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Script = Callable[[Peer], None]


class Venue:
    """Listens on loopback while the `with` block runs; every connection runs the script in its own thread."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._peers: list[Peer] = []
        self.failures: list[BaseException] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        """Where it serves; the name is `localhost`, as in its certificate."""
        return f"{'wss' if self._tls else 'ws'}://localhost:{self.port}"

    @property
    def peers(self) -> list[Peer]:
        """All connections so far."""
        return list(self._peers)

    def __enter__(self) -> Venue:
        self._start(self._serve, "venue")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()
        for peer in self._peers:
            peer.sock.close()
        if kind is None and self.failures:
            raise self.failures[0]

    def _start(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._start(lambda sock=sock: self._run(sock), "venue-peer")  # type: ignore[misc]

    def _run(self, sock: socket.socket) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock = self._tls.wrap_socket(sock, server_side=True) if self._tls else sock
            peer = Peer(sock, self._over)
            self._peers.append(peer)
            self._script(peer)
        except OSError:
            pass  # the client left: whether it should have is the test's question
        except BaseException as error:  # noqa: BLE001 - raised again in the test
            self.failures.append(error)
        finally:
            sock.close()
