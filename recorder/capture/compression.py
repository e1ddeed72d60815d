"""How a sealed segment becomes a compressed one.

Owns the temporary file and the change of places; one of the two forms exists at every moment. Never reads a
compressed segment (`window` does).
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import zstandard

from recorder.capture.files import Files, write_all
from recorder.capture.segments import BLOCK_BYTES, COMPRESSED, encode_block

LEVEL = 1


class Compression:
    """One segment on its way to its compressed form, a block a step, so that syncing never waits for it."""

    def __init__(self, files: Files, path: Path) -> None:
        self.path = path
        self._files = files
        self._goal = path.with_name(path.name + COMPRESSED)
        self._temporary = self._goal.with_name(self._goal.name + ".tmp")
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)
        self._offset = 0
        self._source = files.open(path)
        try:
            if self._temporary.name in files.names(path.parent):
                files.unlink(self._temporary)
            self._target = files.create(self._temporary)
        except OSError:
            files.close(self._source)
            raise

    def step(self) -> bool:
        """Do one block; True when the compressed segment has taken the plain one's place."""
        plain = self._files.read(self._source, BLOCK_BYTES, self._offset)
        if plain:
            block = encode_block(self._offset, len(plain), self._compressor.compress(plain))
            write_all(self._files, self._target, block)
            self._offset += len(plain)
            return False
        self._change_places()
        self._close()
        return True

    def abort(self) -> None:
        """Give up: the plain segment stays."""
        self._close()
        with contextlib.suppress(OSError):
            self._files.unlink(self._temporary)

    def _change_places(self) -> None:
        self._files.sync(self._target)
        self._files.rename(self._temporary, self._goal)
        self._files.sync_directory(self.path.parent)  # before the unlink: one of the two always exists
        try:
            self._files.unlink(self.path)
        except FileNotFoundError:  # released while we compressed: what took its place goes too
            with contextlib.suppress(FileNotFoundError):
                self._files.unlink(self._goal)

    def _close(self) -> None:
        self._files.close(self._source)
        self._files.close(self._target)
