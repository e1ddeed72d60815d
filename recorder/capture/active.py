"""The file that a spool appends to.

Owns the rule that a record is written whole or not at all. Never syncs and never chooses a name.
"""

from __future__ import annotations

from recorder.capture.files import Files, write_all
from recorder.capture.segments import SegmentName


class ActiveSegment:
    """The file that is being appended to. `size` is the offset after its last good record."""

    def __init__(self, files: Files, name: SegmentName, fd: int) -> None:
        self.name = name
        self.fd = fd
        self.size = 0
        self.broken = False
        self._files = files

    def append(self, record: bytes) -> None:
        """Write all of the record, or leave nothing of it (`broken`: something of it may be left)."""
        try:
            write_all(self._files, self.fd, record)
        except OSError:
            try:
                self._files.truncate(self.fd, self.size)
            except OSError:
                self.broken = True
            raise
        self.size += len(record)
