"""Finds the frames that the database refuses and stores everything else, inside one transaction.

Owns the search (line number where the server names one, else halves) and the rows of `quarantine`. The unit of
poison is the frame: all its rows, in all tables, are withdrawn together. Never drops anything silently: what is not
stored is in the list that it returns.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg

from recorder.store.connection import Session
from recorder.store.flush import Flush, Params, Part
from recorder.store.load import load
from recorder.store.queries import queries
from recorder.store.sqlstate import Action, classify

RawFrame = Callable[[str, str, int], bytes | None]
Key = tuple[str, str, int]  # feed, run, frame

# Lines tried at once while searching: a flush that is all poison costs seconds, not minutes.
WINDOW = 512
RAW_PER_MINUTE = 1000  # the spool still holds the others
REASON_LENGTH = 2000

_LINE = re.compile(r"^COPY \S+, line (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A row that its frame took along."""

    table: str
    stream: int
    time: int
    seq_from: int | None
    seq_to: int | None


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A frame that was set aside. Of a statement that the database refused, `n` is -1 and `run` names the query."""

    feed: str
    run: str
    n: int
    reason: str
    rows: tuple[Withdrawn, ...] = ()

    @property
    def frame(self) -> str:
        """As in the column `quarantine.frame`."""
        return f"{self.run}/{self.n}" if self.n >= 0 else f"statement/{self.run}"


@dataclass(slots=True)
class Allowance:
    """How many raw copies may still be kept this minute."""

    per_minute: int = RAW_PER_MINUTE
    clock: Callable[[], float] = time.monotonic
    _since: float = float("-inf")
    _left: int = 0

    def take(self) -> bool:
        """One more?"""
        if self.clock() - self._since >= 60:
            self._since, self._left = self.clock(), self.per_minute
        self._left -= 1
        return self._left >= 0


@dataclass(frozen=True, slots=True)
class Unit:
    """Lines that stand or fall together: those of one frame in one table."""

    keys: frozenset[Key]
    data: bytes
    lines: int
    rows: tuple[Withdrawn, ...]


@dataclass(slots=True)
class Isolation:
    """One flush, frame by frame where it must be. `renew` is called whenever the server has answered: a long search
    is no dead server. `unknown`: treat errors that are in no table as a row's fault, too, unless every frame meets
    one: then it is not the rows."""

    session: Session
    flush: Flush
    renew: Callable[[], None]
    unknown: bool = False
    reasons: dict[Key, str] = field(default_factory=dict)
    refused: list[Quarantined] = field(default_factory=list)
    _loaded: set[Key] = field(default_factory=set)
    _again: bool = False
    _last: psycopg.Error | UnicodeError | None = None  # the last error that is in no table

    def run(self) -> list[Quarantined]:
        """Store what can be stored; the frames and statements that could not."""
        tables = {table: list(units(table, parts)) for table, parts in self.flush.parts.items()}
        self._rows(tables)
        for name, rows in self.flush.statements:
            for params in rows:
                self._statement(name, params)
        return self._frames(tables) + self.refused

    def _rows(self, tables: dict[str, list[Unit]]) -> None:
        """A frame found guilty after rows of it had been stored: once more, without it from the start."""
        self._again = True
        while self._again:
            self._again = False
            self._loaded.clear()
            known = len(self.reasons)
            with self.session.conn.transaction() as attempt:
                for table, wanted in tables.items():
                    self._table(table, [unit for unit in wanted if not unit.keys & self.reasons.keys()])
                if self._again:
                    raise psycopg.Rollback(attempt)
                if self._last is not None and not self._loaded and len(self.reasons) - known > 1:
                    raise self._last

    def _table(self, table: str, wanted: list[Unit]) -> None:
        todo = [(start, min(start + WINDOW, len(wanted))) for start in range(0, len(wanted), WINDOW)][::-1]
        while todo:
            start, end = todo.pop()
            error = self._try(table, wanted[start:end])
            if error is None:
                self._loaded.update(*(unit.keys for unit in wanted[start:end]))
            elif end - start == 1:
                self._condemn(wanted[start], error)
            else:
                todo += _split(wanted, start, end, error)

    def _try(self, table: str, wanted: Sequence[Unit]) -> psycopg.Error | UnicodeError | None:
        """Load these under a savepoint; the error if a row is at fault."""
        wanted = [unit for unit in wanted if not unit.keys & self.reasons.keys()]
        try:
            with self.session.conn.transaction():
                if wanted:
                    load(self.session, table, b"".join(unit.data for unit in wanted))
        except (psycopg.Error, UnicodeError) as error:
            if not self._guilty(error):
                raise
            return error
        finally:
            self.renew()
        return None

    def _guilty(self, error: psycopg.Error | UnicodeError) -> bool:
        action = classify(error).action
        return action is Action.ISOLATE or (self.unknown and action is Action.UNKNOWN)

    def _condemn(self, unit: Unit, error: psycopg.Error | UnicodeError) -> None:
        if classify(error).action is Action.UNKNOWN:
            self._last = error
        self._again = self._again or bool(unit.keys & self._loaded)
        for key in unit.keys:
            self.reasons[key] = reason(error)

    def _statement(self, name: str, params: Params) -> None:
        """A statement is nobody's frame: what the database cannot hold is kept as a row of quarantine."""
        try:
            with self.session.conn.transaction():
                self.session.run(name, params)
        except (psycopg.Error, UnicodeError) as error:
            if not self._guilty(error):
                raise
            feeds = [move.feed for move in self.flush.moves]
            feed = next((p for p in params if p in feeds), feeds[0] if feeds else "")
            self.refused.append(Quarantined(feed, name, -1, f"{reason(error)}: {params!r}"[:REASON_LENGTH]))
        finally:
            self.renew()

    def _frames(self, tables: dict[str, list[Unit]]) -> list[Quarantined]:
        lost: dict[Key, list[Withdrawn]] = {key: [] for key in self.reasons}
        for unit in (unit for wanted in tables.values() for unit in wanted):
            for key in unit.keys & lost.keys():
                lost[key] += unit.rows
        return [Quarantined(*key, self.reasons[key], tuple(rows)) for key, rows in lost.items()]


def _split(wanted: Sequence[Unit], start: int, end: int, error: psycopg.Error | UnicodeError) -> list[tuple[int, int]]:
    """Where to look next, the first part last: before the named line, its frame alone, after it; or two halves.

    The frame is tried alone because a wrong line number must not cost an innocent frame.
    """
    line = _line(error)
    if line is None:
        middle = (start + end) // 2
        return [(middle, end), (start, middle)]
    at = start
    while at < end - 1 and line > wanted[at].lines:
        line -= wanted[at].lines
        at += 1
    return [(a, b) for a, b in ((at + 1, end), (at, at + 1), (start, at)) if a < b]


def _line(error: psycopg.Error | UnicodeError) -> int | None:
    """The line of the COPY that the server names."""
    context = error.diag.context if isinstance(error, psycopg.Error) else None
    found = _LINE.search(context or "")
    return int(found[1]) if found else None


def reason(error: psycopg.Error | UnicodeError) -> str:
    """Why, in one line: the server's words, or Python's."""
    if isinstance(error, psycopg.Error) and error.sqlstate:
        return f"{error.sqlstate} {error.diag.message_primary}"
    return " ".join(str(error).split()) or type(error).__name__


def units(table: str, parts: Sequence[Part]) -> Iterator[Unit]:
    """The lines of a table by frame, in their order."""
    for part in parts:
        rows = part.rows
        lines = _lines(rows.data)
        if len(lines) != rows.count:  # nobody can tell which line is whose: the part stands or falls as a whole
            yield _unit(table, part, 0, rows.count, rows.data, len(lines))
            continue
        start = 0
        for end in range(1, rows.count + 1):
            if end == rows.count or rows.frames[end] != rows.frames[start]:
                yield _unit(table, part, start, end, b"".join(lines[start:end]), end - start)
                start = end


def _lines(data: bytes) -> list[bytes]:
    """Lines as COPY sees them: only a line feed ends one."""
    return [line + b"\n" for line in data.removesuffix(b"\n").split(b"\n")]


def _unit(table: str, part: Part, start: int, end: int, data: bytes, lines: int) -> Unit:
    rows = part.rows
    which = range(start, end)
    return Unit(
        frozenset((part.feed, part.run, rows.frames[i]) for i in which),
        data,
        lines,
        tuple(Withdrawn(table, rows.streams[i], rows.times[i], rows.seq_from[i], rows.seq_to[i]) for i in which),
    )


def store(session: Session, flush: Flush, aside: Sequence[Quarantined], raw: RawFrame, allowance: Allowance) -> None:
    """The rows of `quarantine` for these, in the same transaction."""
    lines = {
        key: unit.data for table, parts in flush.parts.items() for unit in units(table, parts) for key in unit.keys
    }
    with session.conn.cursor() as cursor:
        cursor.executemany(queries()["insert_quarantine"], [_row(found, lines, raw, allowance) for found in aside])


def _row(found: Quarantined, lines: dict[Key, bytes], raw: RawFrame, allowance: Allowance) -> tuple[Any, ...]:
    fields = lines.get((found.feed, found.run, found.n), b"").split(b"\t", 3)
    source = fields[2].decode("utf-8", "replace") if len(fields) == 4 else found.feed.partition("/")[0]
    content = raw(found.feed, found.run, found.n) if found.n >= 0 and allowance.take() else None
    why = found.reason.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
    return _received(fields), source.replace("\0", ""), found.feed, found.frame, why, content


def _received(fields: Sequence[bytes]) -> datetime:
    """When the frame came, as its row says; now, where the row does not say it."""
    try:
        return datetime.fromisoformat(fields[1].decode())
    except (IndexError, ValueError):
        return datetime.now(UTC)
