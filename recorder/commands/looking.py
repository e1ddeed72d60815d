"""The commands that only look: the capability table, the recorder's status, the spool.

Owns how answers are laid out for people and as JSON. Takes no lock and changes nothing, so all of it works beside a
running recorder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from recorder import configfile
from recorder.errors import Exit, RecorderError
from recorder.redact import clean, redact
from recorder.settings.units import show_bytes
from recorder.venues import Venue
from recorder.venues import venues as all_venues

if TYPE_CHECKING:
    from rich.table import Table

    from recorder.capture.inventory import SegmentReport
    from recorder.commands.status import Answer


class Nothing(RecorderError):
    """There is nothing to look at."""

    exit_code = Exit.NEGATIVE


def answer(value: object) -> None:
    """JSON on stdout."""
    typer.echo(redact(json.dumps(value, indent=2, ensure_ascii=False)))


def table(columns: Iterable[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout: as wide as the terminal, or as wide as it is where there is none."""
    from rich.console import Console

    made = _empty(columns)
    for row in rows:
        made.add_row(*("" if cell is None else clean(redact(str(cell))) for cell in row))
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console = Console(markup=False, highlight=False, emoji=False, width=400)
    console.print(made)


def _empty(columns: Iterable[str]) -> Table:
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def _venue(venue: Venue) -> dict[str, object]:
    return {
        "name": venue.name,
        "title": venue.title,
        "endpoints": list(venue.endpoints),
        "rest": venue.rest,
        "keys": dict(venue.options),
        "channels": [
            {
                "name": channel.name,
                "table": channel.table,
                "continuity": channel.continuity.value,
                "path": channel.path,
                "note": channel.note,
            }
            for channel in venue.channels
        ],
    }


def show_venues(as_json: bool, as_markdown: bool = False) -> int:
    """Every venue with its channels; as Markdown with all that is known of it (docs/venues.md)."""
    if as_markdown:
        from recorder.commands.venuepage import page

        typer.echo(page(), nl=False)
        return Exit.OK
    if as_json:
        answer([_venue(venue) for venue in all_venues().values()])
        return Exit.OK
    for venue in all_venues().values():
        typer.echo(f"{venue.name}: {venue.title} ({', '.join(venue.endpoints)})")
        for key, meaning in venue.options.items():
            typer.echo(f"  {key}: {meaning}")
        rows = [(c.name, c.table, c.continuity.value, c.path, c.note) for c in venue.channels]
        table(("channel", "table", "continuity", "path", "note"), rows)
    return Exit.OK


# --- spool -----------------------------------------------------------------------------------------------------------


def spool_ls(path: Path | None, as_json: bool) -> int:
    """Every segment, from names, headers and footers."""
    from recorder.capture.inventory import ls

    root = _spool(path)
    segments = list(ls(root))
    if as_json:
        answer([_segment(segment) for segment in segments])
        return Exit.OK
    columns = ("feed", "run", "segment", "from", "to", "frames", "bytes", "on disk", "sealed", "problems")
    table(columns, (_row(segment) for segment in segments))
    stored = sum(segment.stored_bytes for segment in segments)
    typer.echo(f"{len(segments)} segments, {show_bytes(stored)} in {root}")
    return Exit.OK


def spool_verify(path: Path | None, as_json: bool) -> int:
    """Every record read and checked."""
    from recorder.capture.inventory import verify

    checked: list[SegmentReport] = []
    for segment in verify(_spool(path)):
        checked.append(segment)
        if not as_json and segment.problems:
            for problem in segment.problems:
                typer.echo(clean(f"{segment.feed} {segment.file}: {problem}"))
    damaged = [segment for segment in checked if segment.problems]
    frames = sum(segment.frames for segment in checked)
    if as_json:
        answer({"ok": not damaged, "frames": frames, "segments": [_segment(segment) for segment in checked]})
    else:
        typer.echo(f"{len(checked)} segments with {frames} frames checked, {len(damaged)} of them with problems")
    return Exit.NEGATIVE if damaged else Exit.OK


def _spool(path: Path | None) -> Path:
    from recorder.capture.datadir import DataDir

    config = configfile.load(path)
    root = DataDir(config.home).spool
    if not root.is_dir():
        raise Nothing(f"there is no spool at {root}: nothing was recorded with this data_dir yet")
    return root


def _segment(segment: SegmentReport) -> dict[str, Any]:
    """A segment with its times as text."""
    from recorder.records import stamp

    found = asdict(segment)
    for key in ("from_time", "to_time"):
        found[key] = None if found[key] is None else stamp(found[key])
    return found


def _row(segment: SegmentReport) -> tuple[object, ...]:
    found = _segment(segment)
    times = (str(found[key] or "").partition(".")[0] for key in ("from_time", "to_time"))
    sizes = (show_bytes(segment.plain_bytes), show_bytes(segment.stored_bytes))
    sealed = "yes" if segment.sealed else "no"
    return (
        segment.feed,
        segment.run,
        segment.file,
        *times,
        segment.frames,
        *sizes,
        sealed,
        "; ".join(segment.problems),
    )


# --- status ----------------------------------------------------------------------------------------------------------


def status(path: Path | None, as_json: bool) -> int:
    """Recorder, database and spool, and whatever could not be asked."""
    from recorder.commands.status import collect

    found = collect(configfile.load(path))
    if as_json:
        answer(found.as_dict())
    else:
        _show_status(found)
    return Exit.OK if found.ready else Exit.NEGATIVE


def _show_status(found: Answer) -> None:
    if found.recorder is not None:
        _show_feeds(found.recorder)
    if found.database is not None and (found.database["positions"] or found.database["gaps"]):
        _show_database(found.database)
    if found.spool is not None:
        held = f"{show_bytes(found.spool['bytes'])} of {len(found.spool['feeds'])} feeds"
        typer.echo(clean(f"spool: {held} in {found.spool['directory']}"))
    for problem in found.problems:
        typer.echo(clean(redact(problem)))
    typer.echo("everything configured is being recorded" if found.ready else "not everything is being recorded")


_FEED = (
    "feed",
    "connected",
    "live",
    "lag_seconds",
    "last_message_age_seconds",
    "silent_streams",
    "position",
    "head",
    "spool_bytes",
    "trouble",
)


def _show_feeds(recorder: dict[str, Any]) -> None:
    typer.echo(clean(f"recorder {recorder.get('version', '')} since {recorder.get('started_at', '')}"))
    rows = ([_cell(key, feed.get(key)) for key in _FEED] for feed in recorder.get("feeds", ()))
    table((key.removesuffix("_seconds").replace("_", " ") for key in _FEED), rows)


def _show_database(database: dict[str, Any]) -> None:
    positions, gaps = database["positions"], database["gaps"]
    keys = ("feed", "run", "next", "epoch", "committed_age_seconds", "watermark_age_seconds")
    columns = (key.removesuffix("_seconds").replace("_", " ") for key in keys)
    table(columns, ([_cell(key, position[key]) for key in keys] for position in positions))
    if gaps:
        table(("source", "cause", "gaps", "going on", "last found"), (tuple(gap.values()) for gap in gaps))


def _cell(key: str, value: object) -> object:
    """A value for people: seconds and bytes with their unit, yes and no in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key.endswith("_seconds") and isinstance(value, int | float):
        return f"{value:.1f} s"
    return show_bytes(value) if key.endswith("_bytes") and isinstance(value, int) else value
