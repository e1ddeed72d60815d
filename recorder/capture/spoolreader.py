"""Reads a feed's spool from any position, names what is missing, and deletes what is no longer needed.

Owns the cursor of sequential reading and the verdict about damage. The writer's thread reads; others may ask for
times and sizes, or release. Never appends; of a damaged range it keeps a copy in `corrupt/`, and the segment itself
until `release` passes it like any other.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from pathlib import Path

from recorder.capture.catalog import Catalog, RunInfo
from recorder.capture.disposal import Disposal
from recorder.capture.files import Files, OsFiles, put_file
from recorder.capture.segments import SegmentName, feed_directory
from recorder.capture.spool import Spool
from recorder.capture.walk import Damage, Walker
from recorder.records import Burst, Header

__all__ = ["Lost", "RunInfo", "Slice", "SpoolReader", "spooled_feeds"]

CORRUPT = "corrupt"
End = tuple[int, int, int]  # see `Spool.end`


@dataclass(frozen=True, slots=True)
class Lost:
    """Frames `first` … `next`-1 are gone. `next` == `first`: everything from there to the end of the run, and
    nothing tells how much that was. `reason`: `corrupt` (damaged bytes, copied to `set_aside`) or `missing`."""

    first: int
    next: int
    reason: str
    set_aside: Path | None = None


@dataclass(frozen=True, slots=True)
class Slice:
    """Bursts in order, and what is lost before, between and after them. `next`: the number to go on from.

    `end_of_run` is only said in a slice without bursts: nothing more will ever come in this run, go on with frame 0
    of `next_run` (None: this is the last run that there is).
    """

    header: Header
    bursts: list[Burst]
    next: int
    lost: list[Lost]
    end_of_run: bool = False
    next_run: str | None = None


@dataclass(slots=True)
class _Cursor:
    """A place in a segment that was reached by reading; `n` is the number expected there."""

    segment: SegmentName
    walker: Walker
    n: int


@dataclass(slots=True)
class _Draft:
    """A slice in the making."""

    info: RunInfo
    next: int
    room: int
    bursts: list[Burst] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)

    def slice(self, end_of_run: bool = False, next_run: str | None = None) -> Slice:
        return Slice(self.info.header, self.bursts, self.next, self.lost, end_of_run, next_run)

    def take(self, burst: Burst) -> None:
        """Add a burst; of one that began before, only the rest."""
        if burst.first < self.next:
            rest = burst.frames[self.next - burst.first :]
            burst = Burst(self.next, burst.received_at, burst.kind, rest)
        self.bursts.append(burst)
        self.next = burst.next
        self.room -= sum(map(len, burst.frames))


class SpoolReader:
    """One feed's spool. `spool`: the same feed open for appending, if it is; then nothing past its published end
    is read, and its active segment is never deleted."""

    def __init__(self, root: Path, feed: str, spool: Spool | None = None, files: Files | None = None) -> None:
        self.feed = feed
        self.directory = feed_directory(root, feed)
        self._files = files if files is not None else OsFiles()
        self._spool = spool
        spool_id = spool.header.spool_id if spool is not None else None
        self._catalog = Catalog(self.directory, self._files, spool_id)
        self._cursor: _Cursor | None = None
        self._look: _Cursor | None = None  # of single frames, so that they do not disturb sequential reading
        self._looked: tuple[str, Burst] | None = None
        self._disposal = Disposal(self._catalog, self._files)
        self._oldest: tuple[SegmentName, int] | None = None
        self._ended: tuple[str, int] | None = None
        self._lock = threading.RLock()
        self.refresh()

    def refresh(self) -> None:
        """Look at the directory again; reading does so by itself where it must."""
        self._catalog.refresh()
        self._catalog.check()

    # --- reading -----------------------------------------------------------------------------------------------

    def runs(self) -> list[RunInfo]:
        """Every run, oldest first."""
        with self._lock:
            self.refresh()
            return list(self._catalog.runs)

    def read(self, run: str, n: int, max_bytes: int) -> Slice:
        """What follows frame `n`, about `max_bytes` of it. Raises `LookupError` for a run that is not held."""
        with self._lock:
            return self._read(run, n, max_bytes)

    def at_end(self, run: str, n: int) -> bool:
        """Whether reading at frame `n` of `run` has answered that nothing follows, and that no run does."""
        return self._ended == (run, n)

    def received_at(self, run: str, n: int) -> int | None:
        """When the burst that holds frame `n` came."""
        with self._lock:
            burst = self._burst(run, n)
        return burst.received_at if burst is not None else None

    def frame(self, run: str, n: int) -> bytes | None:
        """One raw frame."""
        with self._lock:
            burst = self._burst(run, n)
        return burst.frames[n - burst.first] if burst is not None else None

    def close(self) -> None:
        """Close what is open."""
        with self._lock:
            cursors, self._cursor, self._look, self._looked = (self._cursor, self._look), None, None, None
            for cursor in cursors:
                if cursor is not None:
                    cursor.walker.window.close()

    # --- deleting ----------------------------------------------------------------------------------------------

    def release(self, run: str, n: int, keep_after: int) -> int:
        """Delete whole segments below frame `n` of `run` whose last burst came before `keep_after` (µs), oldest
        first, and return the bytes freed. The feed's newest segment always stays: the next run continues it."""
        with self._lock:
            self.refresh()
            freed = self._disposal.release(run, n, keep_after, self._active())
            if freed:
                self.refresh()
            return freed

    def size(self) -> int:
        """Bytes on disk."""
        total = 0
        for name in self._files.names(self.directory):
            with contextlib.suppress(OSError):  # removed while we add up, or the directory of what was set aside
                total += self._files.file_size(self.directory / name) if name != CORRUPT else 0
        return total

    def needed(self, run: str, n: int) -> int:
        """Bytes on disk of what `release` may not delete, whatever its age; takes no lock."""
        return self._disposal.needed(run, n)

    def oldest(self) -> int | None:
        """received_at of the oldest burst held; None for an empty spool."""
        for info in list(self._catalog.runs):
            for name in info.segments:
                known = self._oldest
                if known is not None and known[0] == name:
                    return known[1]
                first = self._first_time(info, name)
                if first is not None:
                    self._oldest = (name, first)
                    return first
        return None

    # --- how reading works -------------------------------------------------------------------------------------

    def _read(self, run: str, n: int, max_bytes: int) -> Slice:
        info, end = self._snapshot(run)
        draft = _Draft(info, n, max_bytes)
        names = _published(info, end)
        for index in range(_place(names, n), len(names)):
            following = names[index + 1].first if index + 1 < len(names) else None
            if not self._read_segment(draft, names[index], following, end):
                return draft.slice()
        return self._close_run(draft, active=end is not None)

    def _snapshot(self, run: str) -> tuple[RunInfo, End | None]:
        """The run's segments, and the published end if it is the one being appended to. The end is read last, so
        that a segment that is already there but not yet published can be told from a missing one."""
        info = self._catalog.run(run)
        if info is None:
            self.refresh()
            info = self._catalog.run(run)
        if info is None:
            raise LookupError(f"run {run} is not in {self.directory}")
        spool = self._spool
        if spool is None or spool.run != run:
            return info, None
        closed, end = spool.closed, spool.end
        for _ in range(3):
            if end[0] in (name.serial for name in info.segments):
                break
            self.refresh()
            info = self._catalog.run(run) or info
            closed, end = spool.closed, spool.end
        return info, None if closed else end

    def _read_segment(self, draft: _Draft, name: SegmentName, following: int | None, end: End | None) -> bool:
        """Read on in one segment, which is valid up to the first frame of the `following` one, or to the published
        end; False where the slice is full before that."""
        limit = end[1] if end is not None and name.serial == end[0] else None
        stop = end[2] if end is not None and following is None else following
        cursor = self._cursor_at(draft, name, limit)
        damage: Damage | None = None
        while draft.room > 0 or damage is not None:
            if stop is not None and draft.next >= stop:
                return True
            found = cursor.walker.step(draft.next)
            if found is None:
                self._segment_ended(draft, cursor, damage, stop)
                return True
            if isinstance(found, Damage):
                damage = found
                continue
            if stop is not None and found.first >= stop:
                self._lose(draft, name, damage, stop)
                return True
            self._lose(draft, name, damage, found.first)
            damage = None
            draft.take(found)
            cursor.n = draft.next
        return False

    def _cursor_at(self, draft: _Draft, name: SegmentName, limit: int | None) -> _Cursor:
        old, self._cursor = self._cursor, None
        self._cursor = self._moved(old, draft.info, name, draft.next, limit)
        return self._cursor

    def _moved(self, cursor: _Cursor | None, info: RunInfo, name: SegmentName, n: int, limit: int | None) -> _Cursor:
        """The cursor, where it can go on to frame `n` of this segment; else one at the segment's beginning."""
        if cursor is not None and cursor.segment == name and cursor.n <= n:
            cursor.walker.window.limit = limit if limit is not None else cursor.walker.window.source.size()
            return cursor
        if cursor is not None:
            cursor.walker.window.close()
        return _Cursor(name, self._catalog.walker(info, name, limit), name.first)

    def _segment_ended(self, draft: _Draft, cursor: _Cursor, damage: Damage | None, stop: int | None) -> None:
        """What came before `stop` and was not there is lost. In a run's last segment the footer and the next run
        know the end; where they do not, damage must tell."""
        if damage is not None:
            cursor.walker.at = damage.start  # more may follow in an active segment, or the verdict may have to wait
        known = stop if stop is not None else self._known_end(draft.info, cursor.walker)
        if known > draft.next:
            self._lose(draft, cursor.segment, damage, known)
        elif stop is None and damage is not None and not damage.torn and not draft.bursts:
            self._lose_tail(draft, cursor.segment, damage)

    def _known_end(self, info: RunInfo, walker: Walker) -> int:
        footer = walker.footer.first if walker.footer is not None else 0
        following = self._catalog.after(info)
        if following is None or following.header.previous_run != info.run:
            return footer
        return max(footer, following.header.previous_next)

    def _lose_tail(self, draft: _Draft, name: SegmentName, damage: Damage) -> None:
        """The last record of the run was once whole; its head, if that is good, knows how much it was."""
        head = damage.head
        upto = head.next if head is not None and head.first == draft.next else draft.next
        draft.lost.append(Lost(draft.next, upto, "corrupt", self._set_aside(name, damage)))
        draft.next = upto

    def _lose(self, draft: _Draft, name: SegmentName, damage: Damage | None, upto: int) -> None:
        """Name the frames from the expected one to `upto`, if there are any."""
        if upto <= draft.next:
            return
        kept = self._set_aside(name, damage) if damage is not None else None
        draft.lost.append(Lost(draft.next, upto, "missing" if damage is None else "corrupt", kept))
        draft.next = upto

    def _set_aside(self, name: SegmentName, damage: Damage) -> Path | None:
        """Keep a copy of damaged bytes for whoever wants to look; a disk that has no room for it keeps none."""
        cursor = self._cursor
        if cursor is None:
            return None
        path = self.directory / CORRUPT / f"{name}@{damage.start}-{damage.end}"
        try:
            self._files.make_directory(path.parent)
            put_file(self._files, path, cursor.walker.window.source.stored(damage.start, damage.end))
        except OSError:
            return None
        return path

    def _close_run(self, draft: _Draft, active: bool) -> Slice:
        if active or draft.bursts:
            return draft.slice()
        self.refresh()  # a run may have been opened since we looked
        following = self._catalog.after(draft.info)
        if not draft.info.segments and following is not None:
            upto = following.header.previous_next
            if following.header.previous_run == draft.info.run and upto > draft.next:
                draft.lost.append(Lost(draft.next, upto, "missing"))
                draft.next = upto
        if following is None:
            self._ended = (draft.info.run, draft.next)
        return draft.slice(True, following.run if following is not None else None)

    # --- how single frames are found ---------------------------------------------------------------------------

    def _burst(self, run: str, n: int) -> Burst | None:
        if self._looked is not None and self._looked[0] == run and self._looked[1].first <= n < self._looked[1].next:
            return self._looked[1]
        try:
            info, end = self._snapshot(run)
        except LookupError:
            return None
        names = _published(info, end)
        if not names or n < names[0].first or (end is not None and n >= end[2]):
            return None
        place = _place(names, n)
        limit = end[1] if end is not None and names[place].serial == end[0] else None
        return self._find(info, names[place], n, limit)

    def _find(self, info: RunInfo, name: SegmentName, n: int, limit: int | None) -> Burst | None:
        old, self._look = self._look, None
        self._look = self._moved(old, info, name, n, limit)
        while (found := self._look.walker.step(n)) is not None:
            if isinstance(found, Damage):
                continue
            self._look.n = found.next
            self._looked = (info.run, found)
            return found if found.first <= n else None
        return None

    def _active(self) -> tuple[int, int] | None:
        """Run ordinal and serial of the segment that is being appended to."""
        spool = self._spool
        if spool is None or spool.closed:
            return None
        return spool.header.run_ordinal, spool.end[0]

    def _first_time(self, info: RunInfo, name: SegmentName) -> int | None:
        try:
            walker = self._catalog.walker(info, name)
        except (FileNotFoundError, KeyError):  # released meanwhile
            return None
        try:
            while (found := walker.step()) is not None:
                if isinstance(found, Burst):
                    return found.received_at
            return None
        finally:
            walker.window.close()


def _published(info: RunInfo, end: End | None) -> list[SegmentName]:
    """The run's segments without one that is only being made."""
    return [name for name in info.segments if end is None or name.serial <= end[0]]


def _place(names: list[SegmentName], n: int) -> int:
    """Which segment holds frame `n`: the last one that begins at or before it."""
    place = 0
    for index, name in enumerate(names):
        if name.first <= n:
            place = index
    return place


def spooled_feeds(root: Path, files: Files | None = None) -> list[str]:
    """Every feed that has segments under `root`, by what their headers say."""
    disk = files if files is not None else OsFiles()
    feeds = set()
    for name in disk.names(root):
        catalog = Catalog(root / name, disk)
        catalog.refresh()
        feeds |= {info.header.feed for info in catalog.runs}
    return sorted(feeds)
