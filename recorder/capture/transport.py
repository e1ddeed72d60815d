"""One WebSocket connection: bursts of messages out of it, requests into it.

Owns the socket from the handshake to the close. The library (websocket-client) makes the handshake and builds the
frames that we send; the receive loop is ours, because `run_forever` hangs for ever on a peer that goes silent in the
middle of a frame and costs 60 to 250 µs a message where this costs 1. Never blocks a thread that sends, never waits
longer than it was told to, and never looks inside a message.

Who may do what: one thread, the feed's, calls `read`, `ping`, `pongs` and `close`; any thread calls `send` and `abort`.
OpenSSL breaks when one thread receives while another sends on the same TLS connection, so both happen under `_lock`,
and neither waits there: waiting for bytes is done outside it, and what the socket does not take at once stands in
`_outbox` for whoever comes next.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from websocket import ABNF

from recorder.capture.dial import dial
from recorder.capture.frames import MAX_MESSAGE, FrameReader, Run
from recorder.capture.reach import Deadline, target
from recorder.errors import ConnectionLost
from recorder.venues import Line

BUFFER = 64 << 10  # received into again and again: recv(256 KiB) doubled the cost by allocating each time
BURST = 256 << 10  # bytes after which a read ends although there is more: a flat-out sender must not starve the rest
MAX_OUTBOX = 1000  # frames; a peer that lets so many wait does not read
_AGAIN = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclass(frozen=True, slots=True)
class Options:
    """How to connect and read. `coalesce`: seconds to wait for more after a short read."""

    connect_timeout: float = 10.0
    coalesce: float = 0.0
    max_message: int = MAX_MESSAGE
    proxy: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None


class Transport:
    """An open connection. `endpoint` is its URL without the query, `rtt_ms` the last known round trip. `empty_at`: when
    it was last seen (monotonic) that nothing was there to be read, before whatever the last `read` took."""

    def __init__(self, sock: socket.socket, endpoint: str = "", options: Options | None = None) -> None:
        options = options or Options()
        self.endpoint = endpoint
        self.rtt_ms: float | None = None
        self.received_bytes = 0
        self.received_frames = 0
        self.last_received = time.monotonic()  # of anything that came unasked, or as an answer to a message
        self.empty_at = self._drained_at = self.last_received
        self._heard = self.last_received  # of anything at all
        self._pongs: list[bytes] = []  # answers to our pings that nobody has asked for yet
        self._pinged = False
        self.sleep: Callable[[float], None] = time.sleep
        self._sock = sock
        self._tls = isinstance(sock, ssl.SSLSocket)
        self._coalesce = options.coalesce
        self._frames = FrameReader(options.max_message)
        self._buffer = memoryview(bytearray(BUFFER))
        self._lock = threading.Lock()
        self._outbox: deque[bytes | memoryview] = deque()
        self._drained = False  # False: more may be there that poll() cannot see, already decrypted or left behind
        self._lost: ConnectionLost | None = None  # found; raised when everything before it was delivered
        self._cause: ConnectionLost | None = None  # why we broke the connection ourselves
        self._ending = threading.Lock()  # close against abort: a number closed too early may be somebody else's file
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    @classmethod
    def connect(
        cls, endpoint: str, line: Line, options: Options | None = None, interrupted: Callable[[], bool] = lambda: False
    ) -> Transport:
        """Connect a line at an endpoint within the deadline. `interrupted` is asked at least every 0.25 s; when it
        says yes, the attempt ends with the reason `shutdown`."""
        options = options or Options()
        goal = target(endpoint, line.path, line.query, ("ws", "wss"))
        headers = [f"{name}: {value}" for name, value in line.headers.items()]
        if any("\r" in header or "\n" in header for header in headers):
            raise ConnectionLost("config", "a header must be one line")
        deadline = Deadline(options.connect_timeout, interrupted)
        sock, rtt = dial(goal, headers, deadline, options.proxy, options.tls)
        transport = cls(sock, goal.public, options)
        transport.rtt_ms = rtt * 1000
        return transport

    # --- receiving: the feed's thread ----------------------------------------------------------------------------

    def read(self, timeout: float) -> list[Run]:
        """Messages, in order, as soon as there are any; nothing after `timeout` seconds. Raises `ConnectionLost`
        once everything that came before the end was delivered."""
        if self._lost is None and self._readable(timeout):
            self._receive()
        runs = self._frames.take()
        for _, frames in runs:
            self.received_frames += len(frames)
        if self._lost is not None and not runs:
            raise self._lost
        return runs

    def _readable(self, timeout: float) -> bool:
        """Wait outside the lock. A socket that takes what the outbox holds wakes us up, too."""
        if not self._drained:
            return True
        self._poll.modify(self._sock, select.POLLIN | select.POLLOUT if self._outbox else select.POLLIN)
        self.empty_at = self._drained_at
        events = self._poll.poll(0)
        if not events:  # what comes now has not lain there while we did something else
            events = self._poll.poll(timeout * 1000)
            self.empty_at = self._drained_at = time.monotonic()
        if events and events[0][1] & select.POLLOUT:
            self._relay()
        return bool(events) and bool(events[0][1] & ~select.POLLOUT)

    def _receive(self) -> None:
        """One burst. Pausing pays only when it ends in draining: a pause before each read of a TLS record took the
        rate down to 800 messages a second."""
        with self._lock:
            room = self._drain(BURST)
        if self._coalesce and self._drained and 0 < room < BURST and self._lost is None:
            self.sleep(self._coalesce)
            with self._lock:
                self._drain(room)
        self._conclude()
        self._relay()

    def _drain(self, room: int) -> int:
        """Receive until nothing is left or the burst is full; the room that is left."""
        self._drained = False
        while room > 0 and not self._drained and self._lost is None and not self._frames.over:
            got = self._fill()
            if got:
                self._frames.feed(self._buffer[:got])
                self._heard = time.monotonic()
                # Whoever must be sent a heartbeat while nothing comes does not count answers to our pings.
                if not self._frames.pongs or sum(2 + len(one) for one in self._frames.pongs) < got:
                    self.last_received = self._heard
                self.received_bytes += got
                room -= got
        if self._drained:
            self._drained_at = time.monotonic()
        return room

    def _fill(self) -> int:
        """Fill the buffer; bytes got. TLS hands out a record at a time, often a single message."""
        got = 0
        try:
            while got < BUFFER:
                more = self._sock.recv_into(self._buffer[got:])
                got += more
                if not more:
                    self._lost = self._cause or ConnectionLost("eof", "the venue ended the connection without a word")
                    break
                if not self._tls:
                    self._drained = got < BUFFER
                    break
        except _AGAIN:
            self._drained = True
        except OSError as error:
            self._lost = self._cause or _broken(error)
        return got

    def _conclude(self) -> None:
        """Answer pings, and take leave where the stream of frames has ended."""
        frames = self._frames
        if frames.pings:
            self._post(ABNF.create_frame(frames.pings[-1], ABNF.OPCODE_PONG).format())
            frames.pings.clear()
        if frames.pongs:
            self._pongs += frames.pongs if self._pinged else ()
            frames.pongs.clear()
        if frames.violation:
            self._lost = ConnectionLost("reset", f"protocol violated: {frames.violation}")
            self._post(_close_frame(1002))
        elif frames.goodbye is not None:
            code = frames.goodbye.code
            self._lost = ConnectionLost("close", frames.goodbye.text, None if code is None else str(code))
            self._post(_close_frame(1000))

    # --- sending: any thread -------------------------------------------------------------------------------------

    def send(self, payload: bytes) -> None:
        """Send a text message: at once where the socket takes it, else as soon as it does. Never waits."""
        self._post(ABNF.create_frame(payload, ABNF.OPCODE_TEXT).format())
        self._relay()

    def ping(self, payload: bytes) -> None:
        """Send a WebSocket ping, like `send`."""
        self._pinged = True
        self._post(ABNF.create_frame(payload, ABNF.OPCODE_PING).format())
        self._relay()

    def pongs(self) -> list[bytes]:
        """The payloads of pings that were answered since the last call, in the order in which they came back."""
        pongs, self._pongs = self._pongs, []
        return pongs

    def _post(self, frame: bytes) -> None:
        self._outbox.append(frame)
        if len(self._outbox) > MAX_OUTBOX:
            self.abort("reset", "the venue does not read what it is sent")

    def _relay(self) -> None:
        """Flush, unless somebody else holds the lock: he does it when he lets go. So nothing is left behind: a frame
        is in the outbox before its sender finds the lock taken, and its holder looks there after letting go."""
        while self._outbox and self._lock.acquire(blocking=False):
            try:
                if not self._flush():
                    return
            finally:
                self._lock.release()

    def _flush(self) -> bool:
        """Send what the socket takes. TLS wants a refused frame again with the same bytes: it stays the first."""
        try:
            while self._outbox:
                frame = self._outbox[0]
                sent = self._sock.send(frame)
                if sent < len(frame):
                    self._outbox[0] = memoryview(frame)[sent:]
                else:
                    self._outbox.popleft()
        except _AGAIN:
            return False
        except OSError as error:
            self._outbox.clear()
            self._break(_broken(error))
            return False
        return True

    # --- the end -------------------------------------------------------------------------------------------------

    def heard_since(self, moment: float) -> bool:
        """Did anything come since then (monotonic)? Bytes that wait for a reader who is busy count."""
        return self._heard >= moment or self._unread()

    def _unread(self) -> bool:
        with self._ending:
            if self._sock.fileno() < 0:
                return False
            poll = select.poll()
            poll.register(self._sock, select.POLLIN)
            return any(mask & select.POLLIN for _, mask in poll.poll(0))

    def abort(self, reason: str, detail: str = "") -> None:
        """Break the connection, from any thread; `read` raises this reason after what came before."""
        self._break(ConnectionLost(reason, detail))

    def _break(self, cause: ConnectionLost) -> None:
        """Wake the reader up. SSLSocket.shutdown would make it receive in the clear: this goes past it."""
        with self._ending:
            self._cause = self._cause or cause
            try:
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
            except OSError:
                return  # closed already, by us or by the venue

    def close(self, code: int = 1000) -> None:
        """Take leave and close; what was received and not read is gone."""
        if self._lost is None and self._cause is None:
            self._post(_close_frame(code))
            self._relay()
        with self._lock, self._ending:
            self._sock.close()


def _close_frame(code: int) -> bytes:
    return ABNF.create_frame(code.to_bytes(2), ABNF.OPCODE_CLOSE).format()


def _broken(error: OSError) -> ConnectionLost:
    """The reason of a connection that broke by itself."""
    if isinstance(error, ssl.SSLError):
        return ConnectionLost("tls", f"TLS failed: {error.reason or 'unknown'}")
    return ConnectionLost("reset", error.strerror or type(error).__name__)
