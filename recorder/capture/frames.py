"""Cuts a stream of bytes from a WebSocket server into messages, many at a time.

Owns the bytes of the frame that is still incomplete, the message that is still fragmented, and the caps on both.
Never touches a socket or a clock, never looks inside a payload (UTF-8 is the decoder's business: the library's own
check costs 0.36 s for a message of 1 MB), and never raises: what is wrong with the stream is said in `violation`,
so that the messages in front of it are delivered first (a reader that raised on the close frame lost 620 messages
that stood in the same buffer).
"""

from __future__ import annotations

from dataclasses import dataclass

from recorder.records import Kind

MAX_MESSAGE = 4 << 20  # legal messages of venues reach 1 MB
MAX_FRAGMENTS = 16_384  # empty fragments would never reach a limit of bytes

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_FIN, _RSV, _OPCODE = 0x80, 0x70, 0x0F
_WHOLE_TEXT = _FIN | TEXT
_KINDS = {TEXT: Kind.TEXT, BINARY: Kind.BINARY}

Run = tuple[Kind, list[bytes]]


@dataclass(frozen=True, slots=True)
class Goodbye:
    """A close frame. `code` is None where the server gave none."""

    code: int | None
    text: str


class FrameReader:
    """One direction of one connection. `feed` takes what was received, `take` gives the messages in it.

    `max_message` is at least 64 KiB: frames with a short header are not compared with it.
    """

    def __init__(self, max_message: int = MAX_MESSAGE) -> None:
        self.violation = ""
        self.goodbye: Goodbye | None = None
        self.pings: list[bytes] = []  # payloads to be answered; the owner empties it
        self.pongs: list[bytes] = []  # payloads that came back; the owner empties it
        self._max = max_message
        self._runs: list[Run] = []
        self._rest = bytearray()  # of an incomplete frame; appending costs the same however much stands here
        self._need = 0  # bytes of `_rest` without which another look is pointless
        self._kind: Kind | None = None  # of an incomplete message, and its parts
        self._parts: list[bytes] = []
        self._parts_size = 0

    @property
    def over(self) -> bool:
        """Nothing that comes from now on will be looked at."""
        return self.goodbye is not None or bool(self.violation)

    def take(self) -> list[Run]:
        """The messages since the last call, in order; neighbours of one kind stand together."""
        runs, self._runs = self._runs, []
        return runs

    def feed(self, data: bytes | memoryview) -> None:
        """Cut what was received."""
        if self.over:
            return
        if self._rest:
            self._rest += data
            if len(self._rest) < self._need:
                return
            chunk, self._rest = bytes(self._rest), bytearray()
        else:
            chunk = bytes(data)
        used = self._cut(chunk)
        if used < len(chunk) and not self.over:
            self._rest += memoryview(chunk)[used:]

    def _cut(self, chunk: bytes) -> int:
        """Cut whole frames off; how many bytes they took. Text messages in one frame are the hot path."""
        texts: list[bytes] = []
        pos, end, need = 0, len(chunk), 2
        plain = self._plain()
        while end - pos >= need:
            first, size, body = chunk[pos], chunk[pos + 1], pos + 2
            if size == 126 and end - pos >= 4:
                size, body = chunk[pos + 2] << 8 | chunk[pos + 3], pos + 4
            elif size > 125:
                size, body, need = self._long(chunk, pos)
                if size < 0:
                    break
            stop = body + size
            if first != plain:
                self._emit(Kind.TEXT, texts)
                texts = []
                if not self._allowed(first, size):
                    break
            if stop > end:
                need = stop - pos
                break
            if first == plain:
                texts.append(chunk[body:stop])
            else:
                self._special(first, chunk[body:stop])
                plain = self._plain()
            pos, need = stop, 2
        self._need = need
        self._emit(Kind.TEXT, texts)
        return pos

    def _plain(self) -> int:
        """First byte of the frames that are messages by themselves; inside a fragmented message there are none."""
        if self.over:
            return -1
        return _WHOLE_TEXT if self._kind is None else -1

    def _long(self, chunk: bytes, pos: int) -> tuple[int, int, int]:
        """(size, start of the body, bytes needed) of a header that is longer than two bytes; size -1: not now."""
        mark = chunk[pos + 1]
        width = 4 if mark == 126 else 10
        if mark > 127:
            self.violation = "a masked frame from a server"
        elif len(chunk) - pos >= width:
            size = int.from_bytes(chunk[pos + 2 : pos + width])
            if size <= self._max:
                return size, pos + width, 2
            self.violation = f"a frame of {size} bytes announced, {self._max} allowed"
        return -1, 0, width

    def _allowed(self, first: int, size: int) -> bool:
        """Judge a frame by its header, before any of its body is kept."""
        opcode = first & _OPCODE
        if self.over:
            return False
        if first & _RSV:
            self.violation = "a frame with reserved bits (no extension was agreed on)"
        elif opcode in (CLOSE, PING, PONG):
            if size > 125 or not first & _FIN:
                self.violation = "a control frame that is fragmented or too long"
        elif opcode in (TEXT, BINARY):
            if self._kind is not None:
                self.violation = "a new message inside a fragmented one"
        elif opcode != CONTINUATION:
            self.violation = f"a frame of unknown kind {opcode}"
        elif self._kind is None:
            self.violation = "a continuation of nothing"
        elif self._parts_size + size > self._max or len(self._parts) >= MAX_FRAGMENTS:
            self.violation = f"a message of more than {self._max} bytes or {MAX_FRAGMENTS} fragments"
        return not self.violation

    def _special(self, first: int, body: bytes) -> None:
        """A whole frame that is not a message by itself, or not text."""
        opcode = first & _OPCODE
        if opcode == PING:
            self.pings.append(body)
        elif opcode == PONG:
            self.pongs.append(body)
        elif opcode == CLOSE:
            self._close(body)
        else:
            self._part(first, opcode, body)

    def _part(self, first: int, opcode: int, body: bytes) -> None:
        self._kind = _KINDS.get(opcode, self._kind)
        self._parts.append(body)
        self._parts_size += len(body)
        if first & _FIN and self._kind is not None:
            self._emit(self._kind, [b"".join(self._parts)])
            self._kind, self._parts, self._parts_size = None, [], 0

    def _close(self, body: bytes) -> None:
        if len(body) == 1:
            self.violation = "a close frame with half a code"
            return
        code = int.from_bytes(body[:2]) if body else None
        self.goodbye = Goodbye(code, body[2:].decode("utf-8", "replace"))

    def _emit(self, kind: Kind, frames: list[bytes]) -> None:
        if not frames:
            return
        if self._runs and self._runs[-1][0] is kind:
            self._runs[-1][1].extend(frames)
        else:
            self._runs.append((kind, frames))
