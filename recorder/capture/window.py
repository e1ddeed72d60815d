"""A segment's bytes by their offset in the plain segment, whether it is compressed or not.

Owns open segments for reading. Bytes that the disk or a damaged block no longer
gives back are replaced by filler, so that everything after them keeps its offset; the records' CRCs notice. Never
interprets a record.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Protocol
from zlib import crc32

import zstandard

from recorder.capture.files import Files
from recorder.capture.segments import (
    BLOCK_BYTES,
    BLOCK_HEAD_BYTES,
    BLOCK_SYNC,
    COMPRESSED,
    Block,
    decode_block,
)

CHUNK = 1 << 20
PAGE = 4096
FILLER = b"\xff"
UNKNOWN = 1024


class Source(Protocol):
    """Where a window's bytes come from."""

    def size(self) -> int:
        """Bytes of the plain segment."""
        ...

    def read(self, at: int, size: int) -> bytes:
        """`size` bytes from `at`, fewer only at the end."""
        ...

    def stored(self, start: int, end: int) -> bytes:
        """What the disk holds for this range, as it is: to be set aside."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class PlainSource:
    """A segment as it was written."""

    def __init__(self, files: Files, fd: int) -> None:
        self._files = files
        self._fd = fd

    def size(self) -> int:
        return self._files.size(self._fd)

    def read(self, at: int, size: int) -> bytes:
        try:
            return self._files.read(self._fd, size, at)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
        return b"".join(self._page(page, min(PAGE, at + size - page)) for page in range(at, at + size, PAGE))

    def _page(self, at: int, size: int) -> bytes:
        """A page, or filler where the disk cannot read it: one bad sector must not hide the others."""
        try:
            return self._files.read(self._fd, size, at)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return FILLER * size

    def stored(self, start: int, end: int) -> bytes:
        return self.read(start, end - start)

    def close(self) -> None:
        self._files.close(self._fd)


class CompressedSource:
    """A compressed segment; its blocks are found one after the other as they are needed."""

    def __init__(self, files: Files, fd: int) -> None:
        self._files = files
        self._fd = fd
        self._blocks: list[Block] = []
        self._at = 0
        self._file_size = files.size(fd)
        self._decompressor = zstandard.ZstdDecompressor()
        self._last: tuple[int, bytes] = (-1, b"")

    def size(self) -> int:
        while self._discover():
            pass
        known = self._blocks[-1].end if self._blocks else 0
        # Bytes after the last good block are damage of unknown length: filler, and enough of it to be no torn head.
        return known + (UNKNOWN if self._at < self._file_size else 0)

    def read(self, at: int, size: int) -> bytes:
        parts = []
        end = min(at + size, self.size()) if not self._covers(at + size) else at + size
        while at < end:
            part = self._part(at)[: end - at]
            parts.append(part)
            at += len(part)
        return b"".join(parts)

    def stored(self, start: int, end: int) -> bytes:
        found = [b for b in self._blocks if b.offset < end and b.end > start]
        first = found[0].at - BLOCK_HEAD_BYTES if found else self._at
        last = found[-1].at + found[-1].length if found and end <= found[-1].end else self._file_size
        return self._files.read(self._fd, last - first, first)

    def close(self) -> None:
        self._files.close(self._fd)

    def _covers(self, end: int) -> bool:
        while not self._blocks or self._blocks[-1].end < end:
            if not self._discover():
                return False
        return True

    def _discover(self) -> bool:
        """Find one more block."""
        head = self._files.read(self._fd, BLOCK_HEAD_BYTES, self._at)
        block = decode_block(head, 0, self._at) or self._search()
        if block is None or block.at + block.length > self._file_size:
            return False
        self._blocks.append(block)
        self._at = block.at + block.length
        return True

    def _search(self) -> Block | None:
        """The next good block after a damaged head."""
        base = self._at
        rest = self._files.read(self._fd, self._file_size - base, base)
        at = rest.find(BLOCK_SYNC, 1)
        while at >= 0:
            block = decode_block(rest, at, base)
            if block is not None:
                return block
            at = rest.find(BLOCK_SYNC, at + 1)
        return None

    def _part(self, at: int) -> bytes:
        """What follows `at`: the rest of its block, or filler up to the next block."""
        for block in reversed(self._blocks):
            if block.offset <= at < block.end:
                return self._plain(block)[at - block.offset :]
        following = [b.offset for b in self._blocks if b.offset > at]
        return FILLER * (min(following) - at if following else UNKNOWN)

    def _plain(self, block: Block) -> bytes:
        if self._last[0] != block.at:
            self._last = (block.at, self._decompressed(block))
        return self._last[1]

    def _decompressed(self, block: Block) -> bytes:
        data = self._files.read(self._fd, block.length, block.at)
        if crc32(data) == block.data_crc:
            plain = self._decompressor.decompress(data, max_output_size=BLOCK_BYTES)
            if len(plain) == block.raw:
                return plain
        return FILLER * block.raw


def open_source(files: Files, path: Path) -> Source:
    """Open a segment by its plain path, compressed or not: the two change places while we look."""
    for _ in range(3):
        try:
            return PlainSource(files, files.open(path))
        except FileNotFoundError:
            pass
        try:
            return CompressedSource(files, files.open(path.with_name(path.name + COMPRESSED)))
        except FileNotFoundError:
            continue
    raise FileNotFoundError(errno.ENOENT, "no such segment", str(path))


class Window:
    """One buffer that moves over a source. `limit`: nothing from there on exists."""

    def __init__(self, source: Source, limit: int | None = None) -> None:
        self.source = source
        self.limit = source.size() if limit is None else limit
        self.data = b""
        self._start = 0

    def locate(self, at: int, size: int) -> int | None:
        """Where in `data` the byte `at` is, with `size` bytes from there on; None where that passes the limit."""
        if at + size > self.limit:
            return None
        index = at - self._start
        if index < 0 or index + size > len(self.data):
            self.data = self.source.read(at, min(max(size, CHUNK), self.limit - at))
            self._start = at
            index = 0
        return index if index + size <= len(self.data) else None

    def view(self, at: int, size: int) -> bytes:
        """Up to `size` bytes from `at`, fewer only at the limit."""
        size = max(0, min(size, self.limit - at))
        index = self.locate(at, size)
        return b"" if index is None else self.data[index : index + size]

    def find(self, pattern: bytes, at: int) -> int | None:
        """The first place of `pattern` at or after `at`."""
        while True:
            index = self.locate(at, len(pattern))
            if index is None:
                return None
            found = self.data.find(pattern, index)
            if found >= 0:
                return self._start + found
            at = self._start + len(self.data) - len(pattern) + 1

    def close(self) -> None:
        """Close the source."""
        self.source.close()
