"""A TCP proxy before a PostgreSQL server that misbehaves on request.

Owns the connections that go through it and nothing of what they say, but for one message: the server's word that a
COMMIT is done. Never touches the server itself.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

# CommandComplete ('C'), its length, the tag "COMMIT".
COMMITTED = b"C" + struct.pack("!I", 4 + len(b"COMMIT\0")) + b"COMMIT\0"
CHUNK = 1 << 16


class Proxy:
    """Listens on a port of its own and passes bytes to `host:port`. All faults act on running connections, too."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._lock = threading.Condition()
        self._listener: socket.socket | None = None
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._flowing = True
        self._deaf = False
        self._swallow = False
        self._discard = False
        self._left: int | None = None
        self._at_zero = "cut"
        self._stopped = False
        self.port = 0
        self.swallowed = threading.Event()
        self.spent = threading.Event()  # the bytes of cut_after or stall_after have passed

    # --- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._stopped = False
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._spawn(self._accept, listener)

    def stop(self) -> None:
        """Listen no more, and end every connection: the next one is refused."""
        with self._lock:
            self._stopped = True
            listener, self._listener = self._listener, None
            self._lock.notify_all()
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.reset()
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def url(self, url: str) -> str:
        """The database's URL, through the proxy, without TLS: what is encrypted cannot be swallowed in part."""
        parts = urlsplit(url)
        user = parts.netloc.rpartition("@")[0]
        netloc = f"{user}@127.0.0.1:{self.port}" if user else f"127.0.0.1:{self.port}"
        query = "&".join(filter(None, (parts.query, "sslmode=disable&gssencmode=disable")))
        return urlunsplit(parts._replace(netloc=netloc, query=query))

    # --- faults ----------------------------------------------------------------------------------------------------

    def deaf(self) -> None:
        """Accept connections and never say anything on them."""
        self._deaf = True

    def stall(self) -> None:
        """Pass nothing on, in either direction; what was read waits."""
        with self._lock:
            self._flowing = False

    def black_hole(self) -> None:
        """Go on reading from both sides and pass nothing on: what was sent is gone."""
        self._discard = True

    def resume(self) -> None:
        """Be an honest proxy again, for what waits and for what comes."""
        with self._lock:
            self._flowing, self._deaf, self._discard, self._left = True, False, False, None
            self._lock.notify_all()

    def reset(self) -> None:
        """End every connection with RST."""
        with self._lock:
            sockets = list(self._sockets)
        for one in sockets:
            _reset(one)

    def cut_after(self, n: int) -> None:
        """End the connection after so many more bytes from the client."""
        self._spend(n, "cut")

    def stall_after(self, n: int) -> None:
        """Stall after so many more bytes from the client."""
        self._spend(n, "stall")

    def swallow_commit_reply(self) -> None:
        """Let the next COMMIT happen, keep the server's reply, and end that connection."""
        self.swallowed.clear()
        self._swallow = True

    def _spend(self, n: int, then: str) -> None:
        with self._lock:
            self.spent.clear()
            self._left, self._at_zero = n, then

    # --- passing bytes ---------------------------------------------------------------------------------------------

    def _spawn(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name="proxy")  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._keep(client)
            if not self._deaf:
                self._join(client)

    def _join(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target)
        except OSError:
            _reset(client)
            return
        self._keep(server)
        self._spawn(self._upstream, client, server)
        self._spawn(self._downstream, server, client)

    def _keep(self, one: socket.socket) -> None:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._sockets.add(one)

    def _upstream(self, client: socket.socket, server: socket.socket) -> None:
        with self._ending(client, server):
            while (data := client.recv(CHUNK)) and self._may_pass():
                passing, end = self._count(data)
                if passing and not self._discard:
                    server.sendall(passing)
                if end == "cut":
                    return
                if end == "stall" and self._may_pass():
                    server.sendall(data[len(passing) :])

    def _downstream(self, server: socket.socket, client: socket.socket) -> None:
        with self._ending(server, client):
            tail = b""
            while (data := server.recv(CHUNK)) and self._may_pass():
                if self._swallow and COMMITTED in tail + data:
                    self._swallow = False
                    self.swallowed.set()
                    return
                tail = (tail + data)[-len(COMMITTED) :]
                if not self._discard:
                    client.sendall(data)

    def _may_pass(self) -> bool:
        with self._lock:
            self._lock.wait_for(lambda: self._flowing or self._stopped)
            return not self._stopped

    def _count(self, data: bytes) -> tuple[bytes, str]:
        """What may pass of these bytes, and what happens then."""
        with self._lock:
            if self._left is None or len(data) < self._left:
                self._left = None if self._left is None else self._left - len(data)
                return data, ""
            passing, self._left = data[: self._left], None
            if self._at_zero == "stall":
                self._flowing = False
            self.spent.set()
            return passing, self._at_zero

    @contextmanager
    def _ending(self, *both: socket.socket) -> Iterator[None]:
        """Whatever ends one direction ends the connection."""
        try:
            with suppress(OSError):
                yield
        finally:
            with self._lock:
                self._sockets.difference_update(both)
            for one in both:
                _close(one)


def _close(one: socket.socket) -> None:
    """Close it; the thread that reads from it wakes up."""
    with suppress(OSError):
        one.shutdown(socket.SHUT_RD)
    one.close()


def _reset(one: socket.socket) -> None:
    """RST instead of FIN."""
    with suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    _close(one)


@contextmanager
def proxied(host: str, port: int) -> Iterator[Proxy]:
    """A running proxy before a server."""
    proxy = Proxy(host, port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
