"""Control records: what a feed has to say of itself, spooled in order between the frames.

Owns their fields and their form in the spool. Never says what becomes of them: continuity and the writer do.
"""

from __future__ import annotations

import msgspec


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """A connection stands: everything after it came through `endpoint`."""

    endpoint: str


class Closed(msgspec.Struct, frozen=True, tag="closed"):
    """A connection ended; `reason` as in `recorder_reconnects_total`, or `shutdown`. `code` is the close code."""

    reason: str
    code: str | None = None
    message: str = ""
    endpoint: str = ""
    opened_at: int = 0
    frames: int = 0
    rtt_ms: float | None = None


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """A connection could not be made."""

    reason: str
    endpoint: str
    message: str = ""
    code: str | None = None


class Subscribed(msgspec.Struct, frozen=True, tag="subscribed"):
    """These (channel, symbol) pairs were asked for."""

    streams: tuple[tuple[str, str], ...]


class Acknowledged(msgspec.Struct, frozen=True, tag="acknowledged"):
    """The venue accepted a subscription."""

    channel: str
    symbol: str


class Silent(msgspec.Struct, frozen=True, tag="silent"):
    """The venue accepted a subscription and never brought anything."""

    channel: str
    symbol: str


class Heard(msgspec.Struct, frozen=True, tag="heard"):
    """A silent stream brings something after all."""

    channel: str
    symbol: str


class Rejected(msgspec.Struct, frozen=True, tag="rejected"):
    """The venue refused a subscription."""

    channel: str
    symbol: str
    code: str = ""
    message: str = ""


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """A subscription was given up by us."""

    channel: str
    symbol: str


class Shed(msgspec.Struct, frozen=True, tag="shed"):
    """So many frames before this one came while the spool had no room, and are gone."""

    frames: int


class Alive(msgspec.Struct, frozen=True, tag="alive"):
    """The feed's thread was running at this time; bounds what a crash can have cost."""


Control = Opened | Closed | Failed | Subscribed | Acknowledged | Silent | Heard | Rejected | Ended | Shed | Alive

_control_encoder = msgspec.json.Encoder()
_control_decoder: msgspec.json.Decoder[Control] = msgspec.json.Decoder(Control)


def encode_control(record: Control) -> bytes:
    """A control record as it stands in the spool."""
    return _control_encoder.encode(record)


def decode_control(raw: bytes) -> Control:
    """The control record of a spooled frame; raises `msgspec.MsgspecError` on bytes that are none."""
    return _control_decoder.decode(raw)
