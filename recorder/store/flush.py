"""What one transaction carries: prepared once, tried until it is committed or the position says otherwise.

Owns the shape of a flush. Never touches a connection.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from recorder.records import Rows


@dataclass(frozen=True, slots=True)
class Position:
    """A row of `positions`: the next frame of a feed to commit, and who may do it."""

    feed: str
    run: str
    next: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Move:
    """The compare-and-set of one feed: from (run, next) to (new_run, new_next). `watermark`: the received_at (µs)
    up to which everything of this feed is committed; 0: as it was."""

    feed: str
    run: str
    next: int
    new_run: str
    new_next: int
    watermark: int


@dataclass(frozen=True, slots=True)
class Part:
    """The rows that one feed's frames put into one table; isolation needs to know whose they are."""

    feed: str
    run: str
    rows: Rows


Params = tuple[Any, ...]


@dataclass(slots=True)
class Flush:
    """One transaction: moves first, then COPY per table in `parts`' order, then `statements` (query name of
    queries.sql, parameters of each row), COMMIT."""

    moves: list[Move] = field(default_factory=list)
    parts: dict[str, list[Part]] = field(default_factory=dict)
    statements: list[tuple[str, list[Params]]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows COPY will carry."""
        return sum(part.rows.count for parts in self.parts.values() for part in parts)


# --- parameters -------------------------------------------------------------------------------------------------------

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(us: int) -> datetime:
    """Microseconds as a parameter of type timestamptz."""
    return EPOCH + timedelta(microseconds=us)


def clean(text: str) -> str:
    """A venue's words as PostgreSQL can hold them: no NUL, no lone surrogates."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")
