"""Which segments and runs a feed's directory holds.

Owns the listing of a directory and what the segments' headers say. Never reads past a header, except to find the
last good frame of a run; never writes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from recorder.capture.files import Files
from recorder.capture.segments import (
    SYNC,
    VERSION,
    NewerVersion,
    SegmentHeader,
    SegmentName,
    parse_name,
    run_seed,
)
from recorder.capture.walk import Damage, Walker, read_header
from recorder.capture.window import FILLER, Window, open_source
from recorder.errors import ConfigError
from recorder.records import Header

_HEADER_AT_MOST = 64 << 10


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run as far as the directory holds it. `first`: the first frame held; `segments` in order of writing.

    `header` of a run whose own headers are all damaged, or whose segments are all missing although the next run
    names it, is borrowed from the next run (damaged: also from the one before).
    """

    run: str
    ordinal: int
    header: Header
    first: int
    segments: tuple[SegmentName, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One segment. `begin` is the offset to look for records from; `version` is set if it is newer than ours.

    `empty`: neither header nor record is in it, so nothing was ever acknowledged: a crash while it was made.
    """

    name: SegmentName
    plain: bool
    compressed: bool
    header: SegmentHeader | None = None
    begin: int = 0
    version: int | None = None
    empty: bool = False


class Catalog:
    """What a feed's directory holds, as of the last `refresh`. Segments of another recorder are left out."""

    def __init__(self, directory: Path, files: Files, spool_id: str | None = None) -> None:
        self.directory = directory
        self.entries: dict[SegmentName, Entry] = {}
        self.runs: list[RunInfo] = []
        self._files = files
        self._spool_id = spool_id

    def refresh(self) -> None:
        """Look again; headers that were read before are not read again."""
        found: dict[SegmentName, set[bool]] = {}
        for name in self._files.names(self.directory):
            parsed = parse_name(name)
            if parsed is not None:
                found.setdefault(parsed[0], set()).add(parsed[1])
        self.entries = {name: self._entry(name, forms) for name, forms in sorted(found.items())}
        self.runs = _missing_runs(_named_runs(self._groups()))

    def check(self) -> None:
        """Refuse what a newer recorder wrote; it is never touched."""
        for entry in self.entries.values():
            if entry.version is not None:
                raise ConfigError([newer_sentence(self.directory / str(entry.name), entry.version)])

    def run(self, run: str) -> RunInfo | None:
        """A run by its name."""
        return next((info for info in reversed(self.runs) if info.run == run), None)

    def after(self, info: RunInfo) -> RunInfo | None:
        """The run that follows."""
        return next((other for other in self.runs if other.ordinal > info.ordinal), None)

    def foreign(self) -> list[Entry]:
        """Segments that carry another spool's id than ours."""
        return [e for e in self.entries.values() if e.header is not None and not self._ours(e.header)]

    def spool_ids(self) -> set[str]:
        """Every spool id that segments of this directory carry."""
        return {e.header.header.spool_id for e in self.entries.values() if e.header is not None}

    def path(self, name: SegmentName) -> Path:
        """A segment's path in its plain form."""
        return self.directory / str(name)

    def walker(self, info: RunInfo, name: SegmentName, limit: int | None = None) -> Walker:
        """A place at the beginning of a segment; `limit` as for `Window`."""
        window = Window(open_source(self._files, self.path(name)), limit)
        return Walker(window, run_seed(info.run), self.entries[name].begin)

    def last_number(self, info: RunInfo) -> int:
        """The number after the last good frame of a run."""
        for name in reversed(info.segments):
            last = self._last_in(info, name)
            if last is not None:
                return last
        return info.first

    def _last_in(self, info: RunInfo, name: SegmentName) -> int | None:
        walker = self.walker(info, name)
        last: int | None = None
        try:
            while (found := walker.step()) is not None:
                if not isinstance(found, Damage):
                    last = found.next
        finally:
            walker.window.close()
        return last

    def _entry(self, name: SegmentName, forms: set[bool]) -> Entry:
        known = self.entries.get(name)
        entry = known if known is not None and not known.empty else self._read(name)
        return replace(entry, plain=False in forms, compressed=True in forms)

    def _read(self, name: SegmentName) -> Entry:
        try:
            source = open_source(self._files, self.path(name))
        except FileNotFoundError:  # released while we looked
            return Entry(name, plain=False, compressed=False, empty=True)
        try:
            header, begin = read_header(source)
            empty = header is None and _is_stillborn(Window(source))
        except NewerVersion as newer:
            return Entry(name, plain=False, compressed=False, version=newer.version)
        finally:
            source.close()
        return Entry(name, plain=False, compressed=False, header=header, begin=begin, empty=empty)

    def _ours(self, header: SegmentHeader) -> bool:
        if self._spool_id is None:
            self._spool_id = self._newest_spool_id()
        return header.header.spool_id == self._spool_id

    def _newest_spool_id(self) -> str:
        headers = [e.header for e in self.entries.values() if e.header is not None]
        return headers[-1].header.spool_id

    def _groups(self) -> dict[str, list[Entry]]:
        groups: dict[str, list[Entry]] = {}
        for entry in self.entries.values():
            ours = entry.header is None or self._ours(entry.header)
            if ours and not entry.empty and entry.version is None:
                groups.setdefault(entry.name.run, []).append(entry)
        return groups


def _is_stillborn(window: Window) -> bool:
    """Less than a header and no record: the process died while it made the segment."""
    return window.limit < _HEADER_AT_MOST and window.find(SYNC, 0) is None and window.find(FILLER * 64, 0) is None


def newer_sentence(path: Path, version: int) -> str:
    """Why a segment of a newer format is refused."""
    return (
        f"{path} has spool format {version}, this recorder reads up to {VERSION}: "
        f"install the newer recorder again, or let it drain its spool first; nothing was changed"
    )


def ordinal_of(run: str) -> int:
    """The count in a run's name; 0 in what is none."""
    digits = run.partition("-")[0]
    return int(digits) if digits.isdigit() else 0


def _named_runs(groups: dict[str, list[Entry]]) -> list[RunInfo]:
    """Runs, oldest first. One whose headers are all damaged borrows that of its neighbour."""
    headers = {
        run: next((e.header.header for e in found if e.header is not None), None) for run, found in groups.items()
    }
    known = [header for header in headers.values() if header is not None]
    runs: list[RunInfo] = []
    for run, entries in groups.items():
        ordinal = entries[0].name.ordinal
        header = headers[run]
        if header is None and known:
            nearest = next((h for h in known if h.run_ordinal > ordinal), known[-1])
            header = _borrowed(nearest, run)
        if header is not None:
            names = tuple(e.name for e in entries)
            runs.append(RunInfo(run, ordinal, header, names[0].first, names))
    return runs


def _borrowed(header: Header, run: str) -> Header:
    return replace(header, run=run, run_ordinal=ordinal_of(run), previous_run="", previous_next=0)


def _missing_runs(runs: list[RunInfo]) -> list[RunInfo]:
    """Put in runs that must have been between two others but have no segment left."""
    complete = runs[:1]
    for info in runs[1:]:
        missing = info.header.previous_run
        if complete[-1].ordinal < ordinal_of(missing) < info.ordinal:
            complete.append(RunInfo(missing, ordinal_of(missing), _borrowed(info.header, missing), 0, ()))
        complete.append(info)
    return complete
