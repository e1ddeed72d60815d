"""Which segments are no longer needed, and their deletion.

Owns deletion. Never deletes the newest segment of a feed, the one that is being appended to, or another recorder's.
"""

from __future__ import annotations

import contextlib
from itertools import pairwise

from recorder.capture.catalog import Catalog, ordinal_of
from recorder.capture.files import Files
from recorder.capture.segments import COMPRESSED, FOOTER, HEAD_BYTES, SegmentName, parse_name
from recorder.records import Burst

_LONG_AGO = -(1 << 63)


class Disposal:
    """Deletes what a catalog knows. The times of segments' last bursts are remembered."""

    def __init__(self, catalog: Catalog, files: Files) -> None:
        self._catalog = catalog
        self._files = files
        self._last_times: dict[SegmentName, int] = {}

    def release(self, run: str, n: int, keep_after: int, active: tuple[int, int] | None) -> int:
        """See `SpoolReader.release`. `active`: (run ordinal, serial) of the segment that is being appended to.

        Where the disk refuses to delete, nothing after that is: it is tried again, and the spool's size shows it.
        """
        freed = 0
        for name in self._below(run, n):
            is_active = active is not None and (name.ordinal, name.serial) >= active
            if is_active or self._last_time(name) >= keep_after:
                break
            try:
                freed += self._delete(name)
            except OSError:
                break
        if freed:
            with contextlib.suppress(OSError):  # a power cut may bring segments back: below the position, unread
                self._files.sync_directory(self._catalog.directory)
        return freed

    def needed(self, run: str, n: int) -> int:
        """Bytes of the segments that hold, or will hold, something at or after frame `n` of `run`. By their names
        alone, so that it can be asked while a thread is stuck in the catalog."""
        sizes: dict[SegmentName, int] = {}
        for file in self._files.names(self._catalog.directory):
            if (parsed := parse_name(file)) is not None:
                with contextlib.suppress(OSError):  # deleted, or compressed, while we add up
                    sizes[parsed[0]] = sizes.get(parsed[0], 0) + self._files.file_size(self._catalog.directory / file)
        names, at = sorted(sizes), ordinal_of(run)
        passed = {
            name
            for name, following in pairwise(names)
            if name.ordinal < at or (name.ordinal == at == following.ordinal and following.first <= n)
        }
        return sum(size for name, size in sizes.items() if name not in passed)

    def _below(self, run: str, n: int) -> list[SegmentName]:
        """Segments of which nothing at or after frame `n` of `run` is left to read, oldest first."""
        info = self._catalog.run(run)
        if info is None:
            return []
        held = [name for other in self._catalog.runs for name in other.segments]
        below = []
        for name, following in pairwise(held):
            passed = following.ordinal == name.ordinal and following.first <= n
            if name.ordinal < info.ordinal or (name.ordinal == info.ordinal and passed):
                below.append(name)
        empty = [e.name for e in self._catalog.entries.values() if e.empty and below and e.name < below[-1]]
        return sorted(below + empty)

    def _delete(self, name: SegmentName) -> int:
        path = self._catalog.path(name)
        freed = 0
        for one in (path, path.with_name(path.name + COMPRESSED)):
            with contextlib.suppress(FileNotFoundError):
                size = self._files.file_size(one)
                self._files.unlink(one)
                freed += size
        self._last_times.pop(name, None)
        return freed

    def _last_time(self, name: SegmentName) -> int:
        """received_at of a segment's last burst; of one that holds none, long ago."""
        if name not in self._last_times:
            self._last_times[name] = self._find_last_time(name)
        return self._last_times[name]

    def _find_last_time(self, name: SegmentName) -> int:
        info = next((info for info in self._catalog.runs if name in info.segments), None)
        if info is None:
            return _LONG_AGO
        walker = self._catalog.walker(info, name)
        try:
            footer = walker.head(walker.window.limit - HEAD_BYTES)
            if footer is not None and footer.kind == FOOTER:
                return footer.received_at
            last = _LONG_AGO
            while (found := walker.step()) is not None:
                if isinstance(found, Burst):
                    last = found.received_at
            return last
        finally:
            walker.window.close()
