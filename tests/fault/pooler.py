"""A connection pooler before a PostgreSQL server, in session or in transaction mode; the latter without COPY.

Owns its server connections and a greeting of its own, with a process number of its own, as poolers have. Trust
authentication only.
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from types import TracebackType
from urllib.parse import urlsplit, urlunsplit

PROTOCOL = 196608


class Pooler:
    """`shared`: all clients that come take turns on one server connection, a transaction at a time. May be changed
    while it runs, as a pooler's configuration is."""

    def __init__(self, host: str, port: int, *, shared: bool) -> None:
        self._target = (host, port)
        self.shared = shared
        self._turn = threading.Lock()
        self._greeting = b""
        self._servers: list[socket.socket] = []
        self._clients: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))

    def url(self, url: str) -> str:
        """The database's URL, through the pooler."""
        parts = urlsplit(url)
        user = parts.netloc.rpartition("@")[0]
        netloc = f"{user}@127.0.0.1:{self._listener.getsockname()[1]}"
        return urlunsplit(parts._replace(netloc=netloc, query="sslmode=disable&gssencmode=disable"))

    def __enter__(self) -> Pooler:
        self._spawn(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for one in (self._listener, *self._clients, *self._servers):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join()

    def _spawn(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name="pooler")  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._clients.append(client)
                self._spawn(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError, struct.error):
            (size,) = struct.unpack("!I", client.recv(4, socket.MSG_WAITALL))
            startup = client.recv(size - 4, socket.MSG_WAITALL)
            shared = self.shared
            server, greeting = self._server(startup, shared)
            client.sendall(greeting)
            if shared:
                self._relay(client, server)
            else:
                self._spawn(_pass, server, client)
                _pass(client, server)

    def _server(self, startup: bytes, shared: bool) -> tuple[socket.socket, bytes]:
        """A server connection and what the client is told of it: all but its process number."""
        with self._turn:
            if shared and self._servers:
                return self._servers[0], self._greeting
            server = socket.create_connection(self._target)
            self._servers.append(server)
            server.sendall(struct.pack("!I", len(startup) + 4) + startup)
            told = b""
            while True:
                kind, body = _message(server)
                told += _packed(b"K", struct.pack("!II", 424242, 1)) if kind == b"K" else _packed(kind, body)
                if kind == b"Z":
                    self._greeting = told
                    return server, told

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        """Whole transactions of a client, one client at a time."""
        while True:
            kind, body = _message(client)
            if kind == b"X":
                return
            with self._turn:
                while self._exchange(client, server, kind, body) != b"I":
                    kind, body = _message(client)

    @staticmethod
    def _exchange(client: socket.socket, server: socket.socket, kind: bytes, body: bytes) -> bytes:
        """One request with all its answers; the transaction's state after it."""
        server.sendall(_packed(kind, body))
        if kind not in (b"Q", b"S"):
            return b"more"
        while True:
            kind, body = _message(server)
            client.sendall(_packed(kind, body))
            if kind == b"Z":
                return body


def _pass(source: socket.socket, target: socket.socket) -> None:
    """Bytes from one to the other, until either ends; then both do."""
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def _message(one: socket.socket) -> tuple[bytes, bytes]:
    head = one.recv(5, socket.MSG_WAITALL)
    (size,) = struct.unpack("!I", head[1:])
    return head[:1], one.recv(size - 4, socket.MSG_WAITALL) if size > 4 else b""


def _packed(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body
