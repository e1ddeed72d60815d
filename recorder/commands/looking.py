"""The commands that only look: the capability table, the recorder's status, the spool.

Owns how answers are laid out for people and as JSON. Takes no lock and changes nothing, so all of it works beside a
running recorder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer

from recorder.errors import Exit
from recorder.redact import clean, redact
from recorder.venues import Venue
from recorder.venues import venues as all_venues

if TYPE_CHECKING:
    from rich.table import Table


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


def show_venues(as_json: bool) -> int:
    """Every venue with its channels."""
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
