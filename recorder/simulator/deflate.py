"""Messages as venues compressed them themselves: raw DEFLATE (RFC 1951) without any header, in a binary frame.

Owns the compressing, one message at a time: nothing is remembered from one to the next; and how it can go wrong. The
WebSocket extension permessage-deflate is another thing.
"""

from __future__ import annotations

import zlib

from recorder.simulator.wire import frame

RAW = -15  # wbits: a window of 32 KiB, no header, no checksum
LEVEL = 1  # gives all 913 frames recorded from OKCoin in July 2021 byte for byte; no other level does
BINARY = 0x2
MIB = 1 << 20
BOMB_MIB = 65
NOISE = b"\xff\xfe no stream at all"  # begins with a block of the type that does not exist


def deflated(message: bytes) -> bytes:
    """The compressed bytes of a message, a finished stream."""
    stream = zlib.compressobj(LEVEL, zlib.DEFLATED, RAW)
    return stream.compress(message) + stream.flush()


def deflated_frame(message: bytes) -> bytes:
    """The same as a finished binary frame."""
    return frame(deflated(message), BINARY)


def bomb(mib: int = BOMB_MIB) -> bytes:
    """A valid stream of about a kilobyte for each MiB of spaces that it becomes."""
    stream = zlib.compressobj(9, zlib.DEFLATED, RAW)
    piece = stream.compress(b" " * MIB) + stream.flush(zlib.Z_FULL_FLUSH)  # refers to nothing before itself
    return piece * mib + stream.flush()


def truncated(message: bytes) -> bytes:
    """A stream that ends in the middle."""
    data = deflated(message)
    return data[: len(data) // 2]
