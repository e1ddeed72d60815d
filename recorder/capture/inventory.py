"""What a spool holds, segment by segment, for people: `recorder spool ls` and `recorder spool verify`.

Owns nothing on disk and changes nothing there; works beside the recorder that is appending.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from recorder.capture.catalog import Catalog, Entry, RunInfo, newer_sentence
from recorder.capture.files import Files, OsFiles
from recorder.capture.segments import COMPRESSED, FOOTER, HEAD_BYTES, SegmentName
from recorder.capture.walk import Damage, Walker
from recorder.records import Burst


@dataclass(slots=True)
class SegmentReport:
    """One segment. Times are µs, None where there is no burst; `stored_bytes` is what the disk holds. A segment
    without problems whose `sealed` is False was left by a crash, or is being appended to."""

    feed: str
    run: str
    file: str
    first: int = 0
    next: int = 0
    frames: int = 0
    plain_bytes: int = 0
    stored_bytes: int = 0
    from_time: int | None = None
    to_time: int | None = None
    compressed: bool = False
    sealed: bool = False
    problems: list[str] = field(default_factory=list)


def ls(root: Path, files: Files | None = None) -> Iterator[SegmentReport]:
    """Every segment of every feed, from names, headers, first bursts and footers."""
    return _inspect(root, files if files is not None else OsFiles(), thorough=False)


def verify(root: Path, files: Files | None = None) -> Iterator[SegmentReport]:
    """The same, after reading every record and checking it."""
    return _inspect(root, files if files is not None else OsFiles(), thorough=True)


def _inspect(root: Path, files: Files, thorough: bool) -> Iterator[SegmentReport]:
    for name in sorted(files.names(root)):
        catalog = Catalog(root / name, files)
        catalog.refresh()
        for info in catalog.runs:
            yield from _run(catalog, files, info, thorough)
        yield from _outsiders(catalog, name)


def _run(catalog: Catalog, files: Files, info: RunInfo, thorough: bool) -> Iterator[SegmentReport]:
    following = catalog.after(info)
    expected = info.first
    for index, name in enumerate(info.segments):
        is_last = index + 1 == len(info.segments)
        stop = None if is_last else info.segments[index + 1].first
        with suppress(FileNotFoundError):  # released while we looked
            report = _segment(catalog, files, info, name, thorough)
            if name.first > expected:
                report.problems.append(f"frames {expected} to {name.first - 1} are missing before it")
            expected = max(expected, report.next) if stop is None else stop
            end = report.next if stop is None else stop
            if is_last and following is not None and following.header.previous_run == info.run:
                end = following.header.previous_next
            if end > max(report.next, name.first):
                report.problems.append(f"frames {report.next} to {end - 1} are missing after it")
            yield report


def _segment(catalog: Catalog, files: Files, info: RunInfo, name: SegmentName, thorough: bool) -> SegmentReport:
    report = _blank(info.header.feed, info.run, catalog.entries[name], name)
    report.stored_bytes = _stored(files, catalog.path(name))
    walker = catalog.walker(info, name)
    try:
        report.plain_bytes = walker.window.limit
        if catalog.entries[name].header is None:
            report.problems.append("its header is damaged")
        if thorough or not _from_footer(report, walker):
            _from_records(report, walker)
    finally:
        walker.window.close()
    return report


def _blank(feed: str, run: str, entry: Entry, name: SegmentName) -> SegmentReport:
    file = str(name) if entry.plain else f"{name}{COMPRESSED}"
    return SegmentReport(feed, run, file, name.first, name.first, compressed=not entry.plain)


def _stored(files: Files, path: Path) -> int:
    total = 0
    for form in (path, path.with_name(path.name + COMPRESSED)):
        with suppress(FileNotFoundError):
            total += files.file_size(form)
    return total


def _from_footer(report: SegmentReport, walker: Walker) -> bool:
    """A sealed segment says in its last bytes what it holds."""
    footer = walker.head(walker.window.limit - HEAD_BYTES)
    first = walker.head(walker.at)
    if footer is None or first is None or footer.kind != FOOTER:
        return False
    report.sealed, report.next, report.frames = True, footer.first, footer.first - report.first
    if report.frames:
        report.from_time, report.to_time = first.received_at, footer.received_at
    return True


def _from_records(report: SegmentReport, walker: Walker) -> None:
    damage: Damage | None = None
    while (found := walker.step()) is not None:
        if isinstance(found, Damage):
            damage = found
            continue
        _judge(report, damage, found.first)
        damage = None
        _count(report, found)
    report.sealed = walker.footer is not None
    if walker.footer is not None:
        _judge(report, damage, walker.footer.first)
    elif damage is not None and not damage.torn:
        report.problems.append(f"bytes {damage.start} to {damage.end - 1} are damaged")


def _count(report: SegmentReport, burst: Burst) -> None:
    report.frames += len(burst.frames)
    report.next = burst.next
    report.from_time = burst.received_at if report.from_time is None else report.from_time
    report.to_time = burst.received_at


def _judge(report: SegmentReport, damage: Damage | None, upto: int) -> None:
    """Say what lies between the last good frame and `upto`."""
    cost = f"frames {report.next} to {upto - 1}" if upto > report.next else "no frame"
    if damage is not None:
        report.problems.append(f"bytes {damage.start} to {damage.end - 1} are damaged: {cost} lost")
    elif upto > report.next:
        report.problems.append(f"{cost} are missing in it")
    report.next = max(report.next, upto)


def _outsiders(catalog: Catalog, directory: str) -> Iterator[SegmentReport]:
    """Segments that no run of ours holds."""
    foreign = {e.name for e in catalog.foreign()}
    held = {name for info in catalog.runs for name in info.segments}
    for name, entry in catalog.entries.items():
        if name in held or entry.empty:
            continue
        header = entry.header.header if entry.header is not None else None
        report = _blank(header.feed if header else directory, name.run, entry, name)
        if entry.version is not None:
            report.problems.append(newer_sentence(catalog.path(name), entry.version))
        elif name in foreign:
            report.problems.append("it belongs to another recorder's spool")
        else:
            report.problems.append("its header is damaged, and no other segment tells what it holds")
        yield report
