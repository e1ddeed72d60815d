"""The spool of one feed, open for appending.

Owns the active segment: bursts are appended by the feed's thread, made durable by the syncer's (`syncer`). The
format is in `segments`. Never reads what it wrote and never deletes a segment (`spoolreader` does).

What is acknowledged is what `sync` has returned for. A failed write leaves nothing behind: the segment is cut back
to its last good record, or left for a new one. A failed fdatasync is never tried again on the same file (the kernel
marks the pages clean and the second call succeeds without having written them): the records since the last good
sync, kept in memory for this, are written again into a new segment.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from recorder.capture.active import ActiveSegment
from recorder.capture.catalog import Catalog
from recorder.capture.files import Files, OsFiles
from recorder.capture.segments import (
    COMPRESSED,
    SegmentHeader,
    SegmentName,
    encode_burst,
    encode_footer,
    encode_header,
    feed_directory,
    run_seed,
)
from recorder.errors import ConfigError, SpoolFault
from recorder.failpoint import fail_point
from recorder.records import Header, Kind

UNSYNCED_BYTES = 32 << 20  # kept in memory at most; beyond it append waits for the sync
# What the user mends, in contrast to what may pass by itself.
REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EEXIST})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class SpoolFull(SpoolFault):
    """The disk took none of this burst: the feed counts and names `frames` lost frames and goes on receiving."""

    def __init__(self, frames: int, cause: OSError) -> None:
        super().__init__(f"the spool's disk is full, {frames} frames are lost: {cause.strerror or cause}")
        self.frames = frames


class Spool:
    """One feed, open for appending; opening it starts a new run and a new segment.

    `end` is (serial of the active segment, offset after its last record, number after the last frame): what is
    published to `SpoolReader`, by one assignment. `fault` is set when the disk has refused twice. `durable` is the
    number after the last frame that is known to be on the disk. `sealed` are segments waiting for compression.
    `token` is the random part of the run's name, drawn if it is not given.
    """

    def __init__(
        self, root: Path, header: Header, *, segment_bytes: int = 32 << 20, files: Files | None = None, token: str = ""
    ) -> None:
        self.files = files if files is not None else OsFiles()
        self._segment_bytes = segment_bytes
        self.directory = feed_directory(root, header.feed)
        self._prepare_directory(root)
        catalog = self._survey(header)
        self._token = token or secrets.token_hex(4)
        self.header = _next_run(header, catalog, self._token)
        self.run = self.header.run
        self.fault: SpoolFault | None = None
        self.closed = False
        self.durable = 0
        self.sealed = deque(str(e.name) for e in catalog.entries.values() if e.plain and not e.empty)
        self._seed = run_seed(self.run)
        self._sync_lock = threading.Lock()  # always taken before _lock; held during fdatasync, append never is
        self._lock = threading.Lock()
        self._unsynced: list[bytes] = []
        self._unsynced_bytes = 0
        self._retired: list[ActiveSegment] = []  # left after a failed write, not yet synced
        self._serial = -1
        self._next = 0
        self._last_at = 0
        self._segment: ActiveSegment | None = self._first_segment()
        self.end: tuple[int, int, int] = (self._serial, self._segment.size, 0)

    @property
    def next(self) -> int:
        """The number that the next frame will get."""
        return self._next

    def append(self, kind: Kind, frames: Sequence[bytes], received_at: int) -> int:
        """Append one burst; returns the number of its first frame. Raises `SpoolFull` where the burst is lost,
        `SpoolFault` where the disk has refused twice."""
        if not frames:
            return self._next
        self._make_way()
        with self._lock:
            self._refuse_after_fault()
            first = self._next
            record = encode_burst(self._seed, first, received_at, kind, frames)
            self._write(record, len(frames))
            self._next = first + len(frames)
            self._last_at = received_at
            self._unsynced.append(record)
            self._unsynced_bytes += len(record)
            self._publish()
        fail_point("after_append")
        return first

    def sync(self) -> None:
        """Make everything appended so far durable, while appending goes on. A failure ends up in `fault`."""
        with self._sync_lock:
            with self._lock:
                retired, active = list(self._retired), self._segment
                records, reached = len(self._unsynced), self._next
            if self.fault is not None or not (records or retired):
                return
            fail_point("before_sync")
            try:
                self._sync_files([*retired, active] if active is not None else retired)
            except OSError as error:
                with self._lock:
                    self._rewrite(error)
            else:
                with self._lock:
                    self._settle(records, reached, retired)
            fail_point("after_sync")

    def close(self) -> None:
        """Sync and seal. Never raises: what goes wrong is in `fault`, and `durable` says how far it came."""
        with self._sync_lock, self._lock:
            if self.closed:
                return
            if self.fault is None:
                self._seal()
            for segment in self._open_segments():
                self.files.close(segment.fd)
            self._segment, self._retired = None, []
            self.closed = True

    # --- opening ---

    def _prepare_directory(self, root: Path) -> None:
        try:
            for directory in (root, self.directory):
                self.files.make_directory(directory)
                self.files.sync_directory(directory.parent)
            for name in self.files.names(self.directory):
                if name.endswith(f"{COMPRESSED}.tmp"):
                    self.files.unlink(self.directory / name)
        except OSError as error:
            if error.errno in REFUSED:
                raise ConfigError([f"the spool {self.directory} cannot be used: {error.strerror}"]) from error
            raise SpoolFault(f"the spool {self.directory} cannot be opened: {error.strerror or error}") from error

    def _survey(self, header: Header) -> Catalog:
        catalog = Catalog(self.directory, self.files, header.spool_id)
        catalog.refresh()
        catalog.check()
        if catalog.foreign():
            raise ConfigError(
                [f"{self.directory} holds segments of another recorder's spool: move them away, nothing was changed"]
            )
        self._sync_plain(catalog)
        return catalog

    def _sync_plain(self, catalog: Catalog) -> None:
        """What a killed process wrote is in the kernel only, and nobody else will ever sync it. Where the disk
        refuses, it is no worse than before."""
        for entry in catalog.entries.values():
            if entry.plain:
                with contextlib.suppress(OSError):
                    fd = self.files.open(catalog.path(entry.name))
                    try:
                        self.files.sync(fd)
                    finally:
                        self.files.close(fd)

    def _first_segment(self) -> ActiveSegment:
        try:
            return self._create(0)
        except OSError as error:
            raise SpoolFault(f"no segment can be made in {self.directory}: {error.strerror or error}") from error

    def _create(self, first: int) -> ActiveSegment:
        """A new segment. Its header and its name are durable before anything is appended to it."""
        self._serial += 1
        name = SegmentName(self.header.run_ordinal, self._token, first, self._serial)
        path = self.directory / str(name)
        segment = ActiveSegment(self.files, name, self.files.create(path))
        try:
            segment.append(encode_header(SegmentHeader(self.header, first, self._serial)))
            self.files.sync(segment.fd)
            self.files.sync_directory(self.directory)
        except OSError:
            self.files.close(segment.fd)
            with contextlib.suppress(OSError):
                self.files.unlink(path)
            raise
        return segment

    # --- appending: _lock is held ---

    def _refuse_after_fault(self) -> None:
        if self.fault is not None:
            raise self.fault
        if self.closed:
            raise SpoolFault(f"the spool {self.directory} is closed")

    def _write(self, record: bytes, frames: int) -> None:
        """One write; after an error that is not a full disk, one more in a new segment."""
        try:
            try:
                self._put(record)
            except OSError as error:
                if error.errno in _FULL:
                    raise
                self._retire()
                self._put(record)
        except OSError as error:
            if error.errno in _FULL:
                raise SpoolFull(frames, error) from error
            self.fault = SpoolFault(f"{self.directory} cannot be written: {error.strerror or error}")
            raise self.fault from error

    def _put(self, record: bytes) -> None:
        segment = self._ensure_segment()
        try:
            segment.append(record)
        except OSError:
            if segment.broken:
                self._retire()
            raise

    def _ensure_segment(self) -> ActiveSegment:
        if self._segment is None:
            self._segment = self._create(self._next)
        return self._segment

    def _retire(self) -> None:
        """Leave the active segment: the next record begins a new one. It stays open until it is synced."""
        if self._segment is not None:
            self._retired.append(self._segment)
            self._segment = None

    def _publish(self) -> None:
        if self._segment is not None:
            self.end = (self._segment.name.serial, self._segment.size, self._next)

    def _make_way(self) -> None:
        """Rotate a full segment, and wait for the disk where too much depends on memory."""
        segment = self._segment
        if segment is not None and segment.size >= self._segment_bytes and segment.name.first < self._next:
            self._rotate()
        if self._unsynced_bytes > UNSYNCED_BYTES:
            self.sync()

    def _rotate(self) -> None:
        with self._sync_lock, self._lock:
            if self._segment is None or self.fault is not None:
                return
            self._seal()
            fail_point("mid_rotation")
            with contextlib.suppress(OSError):  # append tries again, and says so
                self._ensure_segment()

    def _seal(self) -> None:
        """Write the footer, sync, close: there is no active segment then, unless the records had to be rewritten."""
        if self._segment is not None:
            with contextlib.suppress(OSError):  # a segment without a footer is read just as well
                self._segment.append(encode_footer(self._seed, self._next, self._last_at))
        self._retire()
        try:
            self._sync_files(self._retired)
        except OSError as error:
            self._rewrite(error)
        else:
            self._settle(len(self._unsynced), self._next, self._retired)

    # --- syncing: _sync_lock is held ---

    def _open_segments(self) -> list[ActiveSegment]:
        return self._retired + ([self._segment] if self._segment is not None else [])

    def _sync_files(self, segments: list[ActiveSegment]) -> None:
        for segment in segments:
            self.files.sync(segment.fd)

    def _settle(self, records: int, reached: int, retired: list[ActiveSegment]) -> None:
        """The first `records` unsynced records are durable, and nothing more will be asked of `retired`."""
        self._unsynced_bytes -= sum(map(len, self._unsynced[:records]))
        del self._unsynced[:records]
        self.durable = reached
        self._retired = [segment for segment in self._retired if segment not in retired]
        for segment in retired:
            self.files.close(segment.fd)
            self.sealed.append(str(segment.name))

    def _rewrite(self, cause: OSError) -> None:
        """The disk did not keep what it took: write it again into a new segment. Failing that, give up."""
        self._retire()
        try:
            self._segment = self._create(self.durable)
            for record in self._unsynced:
                self._segment.append(record)
            self.files.sync(self._segment.fd)
        except OSError as error:
            self.fault = SpoolFault(f"{self.directory} cannot be synced: {cause.strerror or cause}, then {error}")
            self._withdraw()
            return
        self._settle(len(self._unsynced), self._next, self._retired)
        self._publish()

    def _withdraw(self) -> None:
        """Remove a half rewritten segment: the files it should have replaced may still hold all of it."""
        if self._segment is not None:
            with contextlib.suppress(OSError):
                self.files.unlink(self.directory / str(self._segment.name))
            self._retire()


def _next_run(header: Header, catalog: Catalog, token: str) -> Header:
    """The header of the run that is being opened."""
    ordinal = max((name.ordinal for name in catalog.entries), default=0) + 1
    run = f"{ordinal}-{token}"
    if not catalog.runs:
        return replace(header, run=run, run_ordinal=ordinal, previous_run="", previous_next=0)
    last = catalog.runs[-1]
    return replace(header, run=run, run_ordinal=ordinal, previous_run=last.run, previous_next=catalog.last_number(last))
