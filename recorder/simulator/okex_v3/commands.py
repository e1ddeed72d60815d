"""What clients ask of OKEx v3, and what tests can ask of the simulated one besides the faults of any venue: errors, any
text, compression gone wrong.

Owns reading both (of the latter, names and fields are the control endpoint's JSON). Nothing here lasts.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from recorder.simulator import faults
from recorder.simulator.deflate import BINARY, BOMB_MIB, NOISE, bomb, deflated_frame, truncated
from recorder.simulator.faults import Fault, Link
from recorder.simulator.okex_v3.channels import words
from recorder.simulator.wire import frame

MAX_MIB = 4_096
GRANTED = b'{"event":"login","success":true}'


class Ask(msgspec.Struct):
    """A request of a client; one argument may stand without its array."""

    op: str = ""
    args: list[str] | str = msgspec.field(default_factory=list)


_ask = msgspec.json.Decoder(Ask)


def asked(message: bytes) -> Ask:
    """What a message asks; nothing, where it is no request."""
    try:
        return _ask.decode(message)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Ask()


class Garbled(Enum):
    """Ways in which a compressed frame can be none."""

    NOISE = "noise"  # bytes that are no stream
    TRUNCATED = "truncated"  # a stream that ends in the middle
    EMPTY = "empty"  # no bytes at all
    BOMB = "bomb"  # a kilobyte for each MiB that it becomes


class Say(Fault):
    """Send any text, compressed."""

    text: str

    def hit(self, link: Link) -> None:
        """Send it."""
        _send(link, deflated_frame(self.text.encode()))


class Error(Fault):
    """Send an error that nobody asked for. `message` empty: the venue's own words."""

    code: int = 30030
    message: str = ""

    def hit(self, link: Link) -> None:
        """Send it."""
        _send(link, deflated_frame(error(str(self.code), self.message or words(str(self.code)))))


class Garble(Fault):
    """Send one frame that cannot be inflated, or should not: `mib` is what a bomb becomes."""

    how: Garbled = Garbled.NOISE
    mib: int = BOMB_MIB

    def hit(self, link: Link) -> None:
        """Send it."""
        if not 0 < self.mib <= MAX_MIB:
            raise ValueError(f"mib {self.mib}: a bomb becomes 1 to {MAX_MIB} MiB")
        if self.how is Garbled.BOMB:
            data = bomb(self.mib)
        elif self.how is Garbled.TRUNCATED:
            data = truncated(b'{"table":"spot/trade","data":[]}')
        else:
            data = NOISE if self.how is Garbled.NOISE else b""
        _send(link, frame(data, BINARY))


def _send(link: Link, data: bytes) -> None:
    link.push(data)
    link.flush()


def error(code: str, message: str) -> bytes:
    """The venue's error message; its code is a number."""
    number = int(code) if code.isdigit() else code
    return msgspec.json.encode({"event": "error", "message": message, "errorCode": number})


Request = faults.Request | Say | Error | Garble


def decode(body: bytes) -> Request:
    """A control request's body; msgspec.ValidationError says what is wrong with it."""
    request: Request = msgspec.json.decode(body, type=Request)
    return request
