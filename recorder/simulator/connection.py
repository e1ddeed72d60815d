"""One accepted TCP connection: HTTP first, a WebSocket once the client asks for it on a path that the venue serves.

Owns the transport and every way of treating it well or badly. Never knows what the messages mean: that is the venue.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Protocol

from recorder.errors import ConfigError
from recorder.simulator.way import Queue, Way
from recorder.simulator.wire import BadRequest, HttpRequest, HttpResponse, parse_request

if TYPE_CHECKING:
    from websockets.frames import Frame
    from websockets.server import ServerProtocol

CLOSE_SECONDS = 2.0  # for the client's half of the closing handshake
REQUEST_BYTES = 1 << 20
PAUSE_BYTES = 1 << 20  # unsent bytes at which senders that can wait do wait: with asyncio's 64 KiB they idle too often
WRITE_BYTES = 16 << 20  # unsent bytes at which a slow reader is thrown out


class SimulatedVenue(Protocol):
    """What the server needs from a venue. All of it is called on the server's thread."""

    name: str

    def admit(self, request: HttpRequest) -> tuple[float, HttpResponse | None]:
        """Seconds to wait before a handshake is answered, and the refusal if it is one."""
        ...

    def opened(self, link: Connection, path: str) -> None:
        """A WebSocket is open."""
        ...

    def received(self, link: Connection, message: bytes) -> None:
        """A text or binary message came."""
        ...

    def writable(self, link: Connection) -> None:
        """What was written has mostly left."""
        ...

    def closed(self, link: Connection) -> None:
        """A WebSocket is gone."""
        ...

    def rest(self, request: HttpRequest) -> HttpResponse:
        """Answer any other HTTP request."""
        ...


class Connection(asyncio.Protocol):
    """A client. `silent`: data pushed is thrown away; `swallowing`: heartbeats get no answer. `way`: what happens to
    what is sent to it."""

    def __init__(self, venue: SimulatedVenue, everybody: set[Connection], way: Way | None = None) -> None:
        self.silent = False
        self.swallowing = False
        self.paused = False
        self.open = False
        self.request: HttpRequest | None = None  # that asked for the WebSocket
        self._venue = venue
        self._everybody = everybody
        self._way = Queue(way or Way())
        self._transport: asyncio.Transport
        self._ws: ServerProtocol | None = None
        self._head = b""  # what came and is not used yet
        self._out: list[bytes] = []
        self._stalled = False
        self._accepted = False
        self._parts: list[bytes] = []
        self._messages: list[bytes] = []

    # --- what venues and faults use -------------------------------------------------------------------------------

    def push(self, data: bytes) -> None:
        """Finished frames, sent by the next `flush`."""
        self._out.append(data)

    def flush(self) -> bool:
        """Send what was pushed, in one piece, and say whether there was anything. A client that reads too slowly
        loses the connection."""
        if not self._out:
            return False
        data, self._out = b"".join(self._out), []
        self._write(data)
        return True

    def close(self, code: int, reason: str) -> None:
        """Close with a close frame."""
        self.flush()
        if self._ws is not None and self.open:
            self._gone()
            self._ws.send_close(code, reason)
            self._forward()
            self._later(CLOSE_SECONDS, self._hang_up)

    def reset(self) -> None:
        """Close with a TCP reset: linger 0 makes the kernel send RST instead of FIN."""
        sock: socket.socket = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._gone()
        self._transport.abort()

    def end(self) -> None:
        """Close the TCP connection in order, but without a close frame."""
        self.flush()
        self._gone()
        self._hang_up()

    def abort(self) -> None:
        """Drop it at once, with whatever is unsent."""
        self._transport.abort()

    def stall(self, data: bytes) -> None:
        """Send these bytes, then never anything again."""
        self._out.append(data)
        self.flush()
        self._stalled = True

    def deafen(self) -> None:
        """Read nothing any more: the client's writes pile up in the kernel."""
        self._transport.pause_reading()

    # --- what asyncio calls ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with HTTP."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._everybody.add(self)
        transport.set_write_buffer_limits(high=PAUSE_BYTES)
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        """Bytes of a WebSocket (to its end: the client's close frame comes after ours), or of HTTP requests."""
        if self._ws is not None and self._accepted:
            self._feed(data)
            return
        self._head += data
        if self._ws is None:
            self._requests()

    def eof_received(self) -> bool:
        """The client is done: so are we."""
        return False

    def pause_writing(self) -> None:
        """Too much is unsent."""
        self.paused = True

    def resume_writing(self) -> None:
        """It has left."""
        self.paused = False
        if self.open:
            self._venue.writable(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone, whoever's wish it was."""
        self._stalled = True
        self._everybody.discard(self)
        self._gone()

    # --- HTTP -----------------------------------------------------------------------------------------------------

    def _requests(self) -> None:
        try:
            while self._ws is None and (found := parse_request(self._head)) is not None:
                request, used = found
                head, self._head = self._head[:used], self._head[used:]
                if request.is_upgrade:
                    self._upgrade(request, head)
                else:
                    self._write(self._venue.rest(request).encode())
        except BadRequest as error:
            self._write(HttpResponse(400, str(error).encode()).encode())
            self._hang_up()

    def _upgrade(self, request: HttpRequest, head: bytes) -> None:
        delay, refusal = self._venue.admit(request)
        if refusal is not None:
            self._later(delay, lambda: self._write(refusal.encode()))
            return
        self.request = request
        self._ws = _protocol()
        self._ws.receive_data(head)
        self._later(delay, lambda: self._accept(request.path))

    def _accept(self, path: str) -> None:
        assert self._ws is not None
        if self._stalled:
            return  # the client did not wait for us
        for request in self._ws.events_received():
            self._ws.send_response(self._ws.accept(request))  # type: ignore[arg-type]  # the first event is the request
        self._accepted = True
        self.open = not self._ws.close_expected()
        self._forward()
        if self.open:
            self._venue.opened(self, path)
            data, self._head = self._head, b""
            self._feed(data)

    # --- WebSocket ------------------------------------------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        assert self._ws is not None
        if data:
            self._ws.receive_data(data)
        for frame in self._ws.events_received():
            self._gather(frame)  # type: ignore[arg-type]  # after the handshake every event is a frame
        messages, self._messages = self._messages, []
        for message in messages:
            if self.open:
                self._venue.received(self, message)
        self.flush()
        self._forward()
        if self._ws.state.name != "OPEN":
            self._gone()
            self._later(CLOSE_SECONDS, self._hang_up)

    def _gone(self) -> None:
        """Nothing may follow a close frame: the venue forgets this connection now, not when TCP is done."""
        if self.open:
            self.open = False
            self._out.clear()
            self._venue.closed(self)

    def _gather(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode <= opcode.BINARY:
            self._parts.append(bytes(frame.data))
            if frame.fin:
                self._messages.append(b"".join(self._parts))
                self._parts = []

    def _forward(self) -> None:
        """What the protocol itself has to say: handshake, pongs, close frames, end of stream."""
        assert self._ws is not None
        for data in self._ws.data_to_send():
            if not data:
                self._hang_up()
            elif not (self.swallowing and data[0] == 0x8A):  # 0x8A: a pong
                self._write(data)

    def _write(self, data: bytes) -> None:
        if self._stalled:
            return
        if self._way:
            self._way.then(lambda: self._send(data))
        else:
            self._send(data)

    def _hang_up(self) -> None:
        """Close when everything has been sent."""
        if self._way:
            self._way.then(self._transport.close)
        else:
            self._transport.close()

    def _send(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > WRITE_BYTES:
            # A close frame, whatever a venue's code for this, would only queue behind what the client does not read.
            self._transport.abort()

    def _later(self, seconds: float, action: _Action) -> None:
        asyncio.get_running_loop().call_later(seconds, action)


class _Action(Protocol):
    def __call__(self) -> None: ...


def _protocol() -> ServerProtocol:
    websockets()
    from websockets.server import ServerProtocol

    return ServerProtocol(max_size=REQUEST_BYTES)


def websockets() -> None:
    """Say in one sentence what is missing, if it is."""
    try:
        import websockets.server  # noqa: F401
    except ImportError as error:
        raise ConfigError(["the simulator needs the package websockets: pip install 'recorder[simulator]'"]) from error
