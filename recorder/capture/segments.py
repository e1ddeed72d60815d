"""The spool's format on disk, byte for byte, and the code that writes and reads its pieces.

Owns the format. Never opens a file, never decides what damage means.

A feed has one directory. Its files are segments, named

    <run: ordinal, 8 digits>-<run: 8 hex>-<first frame, 14 digits>-<serial in the run, 6 digits>.seg       plain
    ….seg.zst                                                                                              compressed

so that names sort by run, then frame, then age; a run's name is `<ordinal>-<hex>`. Where two segments of a run hold
the same frames (the first one could not be synced and they were written again), the one with the higher serial
counts: a segment is valid up to the first frame of the next one. All numbers are little endian; CRC is CRC-32 (zlib).

    segment  =  header  header  burst*  footer?

    header      0  magic       7   89 73 70 6f 6f 6c 0a ("\\x89spool\\n")
                7  version     1   the format's version; this layout of the header is the same in all of them
                8  crc         4   over version, length and text
               12  length      4   of the text
               16  text            JSON: {"header": {…records.Header…}, "first": …, "serial": …}
    The header stands twice: without it nothing after it could be decoded, and one flipped bit must not cost a
    segment. It is on the disk, and so is its name, before the first burst is written.

    burst       0  sync        4   f5 9a c3 16 (never valid UTF-8)
                4  head crc    4   over bytes 8 … 39, started with the CRC of the run's name, which is random: bytes
                                   of another run, or a record that a venue put into a frame, never pass
                8  payload crc 4   over the payload
               12  length      4   of the payload
               16  frames      4   how many
               20  kind        1   0 text, 1 binary, 2 control, 3 REST answer; 255 footer
               21  zero        3
               24  first       8   number of the first frame
               32  received_at 8   microseconds since 1970 UTC (signed)
               40  payload         length of each frame (4 bytes each), then the frames
    The head has a CRC of its own, so that a torn tail (a good head whose payload is cut short, or less than a head)
    can be told from damage to a record that was once whole (kill -9 and flipped bits look different).

    footer      a burst of kind 255 without payload: first = number after the last frame, received_at of the last
                burst. Written when a segment is sealed; a segment without one was left by a crash or a failed disk.

    compressed  =  block*       each block is two frames of the zstd format, so that `zstd -d` restores the segment

    block       0  magic       4   5d 2a 4d 18 (a skippable frame of zstd)
                4  size        4   24
                8  head crc    4   over bytes 12 … 31
               12  data crc    4   over the compressed bytes
               16  offset      8   of the block's first byte in the plain segment
               24  raw         4   bytes before compression, at most 1 MiB
               28  length      4   compressed bytes
               32  data            one zstd frame
    A flipped bit costs at most the bursts of one block.
"""

from __future__ import annotations

import re
import struct
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote
from zlib import crc32

import msgspec

from recorder.records import Burst, Header, Kind

MAGIC = b"\x89spool\n"
VERSION = 1
SYNC = b"\xf5\x9a\xc3\x16"
FOOTER = 255
BLOCK_BYTES = 1 << 20
COMPRESSED = ".zst"

_PREFIX = struct.Struct("<7sBII")
_FIELDS = struct.Struct("<IIIB3xQq")
_HEAD_CRC = struct.Struct("<I")
_BLOCK = struct.Struct("<IIIIQII")
_BLOCK_MAGIC = 0x184D2A5D
BLOCK_SYNC = _HEAD_CRC.pack(_BLOCK_MAGIC)
HEAD_BYTES = 8 + _FIELDS.size
BLOCK_HEAD_BYTES = _BLOCK.size
_NAME = re.compile(r"(\d{8,})-([0-9a-f]{8})-(\d{14,})-(\d{6,})\.seg(\.zst)?")


# --- names -----------------------------------------------------------------------------------------------------


def feed_directory(root: Path, feed: str) -> Path:
    """Where a feed's segments are: `source/public/0` → root/`source.public.0`; other characters are percent-encoded."""
    return root / quote(feed).replace(".", "%2E").replace("/", ".")


@dataclass(frozen=True, slots=True, order=True)
class SegmentName:
    """What a segment's name says; sorts in the order of writing."""

    ordinal: int
    token: str
    first: int
    serial: int

    def __str__(self) -> str:
        return f"{self.ordinal:08d}-{self.token}-{self.first:014d}-{self.serial:06d}.seg"

    @property
    def run(self) -> str:
        """The name of its run."""
        return f"{self.ordinal}-{self.token}"


def parse_name(name: str) -> tuple[SegmentName, bool] | None:
    """The segment that a file name stands for and whether it is compressed; None for other files."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return SegmentName(int(match[1]), match[2], int(match[3]), int(match[4])), match[5] is not None


# --- header ----------------------------------------------------------------------------------------------------


class SegmentHeader(msgspec.Struct, frozen=True):
    """The text of a segment's header."""

    header: Header
    first: int
    serial: int


class NewerVersion(Exception):
    """The segment was written by a newer recorder. `version` is its format's."""

    def __init__(self, version: int) -> None:
        super().__init__(version)
        self.version = version


def encode_header(header: SegmentHeader, version: int = VERSION) -> bytes:
    """Both copies of a segment's header."""
    text = msgspec.json.encode(header)
    crc = crc32(text, crc32(struct.pack("<BI", version, len(text))))
    return (_PREFIX.pack(MAGIC, version, crc, len(text)) + text) * 2


def decode_header(data: bytes) -> tuple[SegmentHeader, int] | None:
    """The header at the beginning of `data` from whichever copy is good, and where the bursts begin.

    None where both are damaged or cut short; `NewerVersion` where the header is good but not for us.
    """
    found = _header_at(data, 0)
    if found is not None:
        return found[0], 2 * found[1]
    at = data.find(MAGIC, 1)
    while at >= 0:
        found = _header_at(data, at)
        if found is not None:
            return found
        at = data.find(MAGIC, at + 1)
    return None


def _header_at(data: bytes, at: int) -> tuple[SegmentHeader, int] | None:
    if len(data) - at < _PREFIX.size:
        return None
    magic, version, crc, length = _PREFIX.unpack_from(data, at)
    text = data[at + _PREFIX.size : at + _PREFIX.size + length]
    if magic != MAGIC or len(text) < length or crc32(text, crc32(struct.pack("<BI", version, length))) != crc:
        return None
    if version > VERSION:
        raise NewerVersion(version)
    try:
        return msgspec.json.decode(text, type=SegmentHeader), at + _PREFIX.size + length
    except msgspec.MsgspecError:
        return None


# --- bursts ----------------------------------------------------------------------------------------------------


class Head(NamedTuple):
    """The fixed part of a burst's record."""

    payload_crc: int
    length: int
    frames: int
    kind: int
    first: int
    received_at: int

    @property
    def size(self) -> int:
        """Bytes of the whole record."""
        return HEAD_BYTES + self.length

    @property
    def next(self) -> int:
        """The number after the last frame."""
        return self.first + self.frames


def run_seed(run: str) -> int:
    """What every head's CRC of a run starts with."""
    return crc32(run.encode())


def encode_burst(seed: int, first: int, received_at: int, kind: int, frames: Sequence[bytes]) -> bytes:
    """One record."""
    lengths = array("I", map(len, frames))
    if sys.byteorder == "big":
        lengths.byteswap()
    payload = b"".join((lengths.tobytes(), *frames))
    fields = _FIELDS.pack(crc32(payload), len(payload), len(frames), kind, first, received_at)
    return b"".join((SYNC, _HEAD_CRC.pack(crc32(fields, seed)), fields, payload))


def encode_footer(seed: int, following: int, received_at: int) -> bytes:
    """The record that seals a segment."""
    return encode_burst(seed, following, received_at, FOOTER, ())


def decode_head(data: bytes, at: int, seed: int) -> Head | None:
    """The head at `at`, if there is a good one."""
    if len(data) - at < HEAD_BYTES or not data.startswith(SYNC, at):
        return None
    fields = data[at + 8 : at + HEAD_BYTES]
    if crc32(fields, seed) != _HEAD_CRC.unpack_from(data, at + 4)[0]:
        return None
    return Head._make(_FIELDS.unpack(fields))


def decode_burst(head: Head, payload: bytes) -> Burst | None:
    """The burst, if its payload is what was written."""
    if len(payload) != head.length or crc32(payload) != head.payload_crc:
        return None
    lengths = array("I", payload[: 4 * head.frames])
    if sys.byteorder == "big":
        lengths.byteswap()
    frames = [payload[a:b] for a, b in pairwise(accumulate(lengths, initial=4 * head.frames))]
    return Burst(head.first, head.received_at, Kind(head.kind), frames)


# --- blocks of a compressed segment ------------------------------------------------------------------------------


class Block(NamedTuple):
    """One block of a compressed segment: what its head says, and where its data begins in the file."""

    data_crc: int
    offset: int
    raw: int
    length: int
    at: int

    @property
    def end(self) -> int:
        """Offset after its last byte in the plain segment."""
        return self.offset + self.raw


def encode_block(offset: int, raw: int, data: bytes) -> bytes:
    """One block: its head and `data`, the compressed bytes."""
    fields = struct.pack("<IQII", crc32(data), offset, raw, len(data))
    return struct.pack("<III", _BLOCK_MAGIC, len(fields) + 4, crc32(fields)) + fields + data


def decode_block(data: bytes, at: int, base: int = 0) -> Block | None:
    """The block whose head is at `at` of `data`, which itself begins at `base` of the file."""
    if len(data) - at < BLOCK_HEAD_BYTES:
        return None
    magic, size, crc, data_crc, offset, raw, length = _BLOCK.unpack_from(data, at)
    if magic != _BLOCK_MAGIC or size != 24 or crc32(data[at + 12 : at + BLOCK_HEAD_BYTES]) != crc or raw > BLOCK_BYTES:
        return None
    return Block(data_crc, offset, raw, length, base + at + BLOCK_HEAD_BYTES)
