"""Frames that a venue compressed itself: raw DEFLATE in binary frames, as OKEx had it (`/ws/v1`, `/ws/v3`).

Owns the way from such a frame to its text, and how long that may be. Never knows what the text says. The extension of
the WebSocket standard that compresses frames is another thing, and no venue's business.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import TypeVar

from recorder.decoding import BaseDecoder
from recorder.guards import Bad
from recorder.records import Burst, Decoded, Kind, Poison

MOST = (
    4 << 20
)  # bytes of text: as long as a message may be that is not compressed; of 913 recorded ones the longest has 25 KB
FLUSHED = b"\x00\x00\xff\xff"  # how a sender ends a message who keeps the stream open (RFC 7692, section 7.2.1)

P = TypeVar("P")


def inflate(raw: bytes) -> bytes:
    """The text of a frame. Raises `Bad` on one that is cut short or no DEFLATE, and on a bomb, of which no more than
    `MOST` bytes are ever made."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        text = unpacker.decompress(raw, MOST)
    except zlib.error:
        raise Bad("bad_deflate") from None
    whole = unpacker.eof or (not unpacker.unconsumed_tail and raw.endswith(FLUSHED))
    if not whole or unpacker.unused_data:
        raise Bad("bad_deflate")
    return text


class Inflating(BaseDecoder[P]):
    """A decoder of binary frames as well: read as their text, quarantined as they came. A binary frame that holds plain
    JSON is read, too: nobody recorded whether `/ws/v1` ever sent any."""

    def decode(self, burst: Burst) -> Decoded:
        if burst.kind is not Kind.BINARY:
            return super().decode(burst)
        plain, odd = _texts(burst)
        out = super().decode(plain)
        out.poison = [
            Poison(
                each.frame, "bad_deflate" if each.frame in odd else each.reason, burst.frames[each.frame - burst.first]
            )
            for each in out.poison
        ]
        return out

    def skim(self, burst: Burst) -> Decoded:
        return super().skim(_texts(burst)[0] if burst.kind is Kind.BINARY else burst)


def _texts(burst: Burst) -> tuple[Burst, set[int]]:
    """The burst as text, and which of its frames are no DEFLATE."""
    texts, odd = [], set()
    for frame, raw in enumerate(burst.frames, burst.first):
        try:
            texts.append(inflate(raw))
        except Bad:
            odd.add(frame)
            texts.append(raw if raw[:1] in (b"[", b"{") else b"")  # nothing is no message of any venue
    return replace(burst, kind=Kind.TEXT, frames=texts), odd
