"""The files under `migrations/`, and what a database's schema is against them.

Owns finding and naming migrations and the reconcile step's statements, the answer to "older, newer or none?", and how
a schema change waits for locks. Never holds SQL of its own and never decides what to change.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from recorder.errors import RecorderError, SinkUnavailable
from recorder.redact import redact
from recorder.store.queries import Queries, Statement

Say = Callable[[str], None]
Conn = psycopg.Connection[Any]

# Whoever waits for a table lock makes everybody behind it wait too: two seconds, then the writer goes first.
LOCK_TIMEOUT = 2.0
ATTEMPTS = 30
# lock not available, deadlock, serialisation; XX000 is what "tuple concurrently updated" comes as
_AGAIN = frozenset({"55P03", "40P01", "40001", "XX000"})


class State(Enum):
    """What the database's schema is to this recorder."""

    ABSENT = "absent"
    OLDER = "older"
    CURRENT = "current"
    NEWER = "newer"


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """The schema found against the one expected. `empty`: there is no table at all, so nobody minds our migrating."""

    state: State
    found: int
    expected: int
    empty: bool = False

    @property
    def sentence(self) -> str:
        """What it means and what to do; empty when all is well."""
        if self.state is State.NEWER:
            return (
                f"the database's schema is number {self.found}, newer than the {self.expected} that this recorder "
                "knows: install the recorder that made it, or a later one"
            )
        if self.state is State.OLDER:
            return (
                f"the database's schema is number {self.found}, older than the {self.expected} that this recorder "
                "needs: run `recorder migrate`"
            )
        if self.state is State.ABSENT:
            return "the database has no tables of the recorder: run `recorder migrate`"
        return ""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step: `0001_data_tables.sql`."""

    number: int
    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Patience:
    """How changes wait for locks, and with whose clock."""

    lock_timeout: float = LOCK_TIMEOUT
    attempts: int = ATTEMPTS
    sleep: Callable[[float], None] = time.sleep

    def run(self, conn: Conn, what: str, step: Callable[[], object]) -> None:
        """Do `step` in a transaction, again while others hold what it needs; raises SinkUnavailable in the end."""
        for attempt in range(1, self.attempts + 1):
            try:
                with conn.transaction():
                    conn.execute(statements("common")["lock_timeout"], (f"{round(self.lock_timeout * 1000)}ms",))
                    step()
                return
            except psycopg.Error as error:
                if error.sqlstate not in _AGAIN or attempt == self.attempts:
                    raise refusal(what, error) from error
            self.sleep(random.uniform(0.2, 1.0))  # noqa: S311 - jitter, so that two of them part


def refusal(what: str, error: psycopg.Error) -> SinkUnavailable:
    """The sentence for a change that the database refused."""
    words = f"{error.sqlstate}: {error.diag.message_primary}" if error.sqlstate else str(error).strip()
    if error.sqlstate in _AGAIN:
        return SinkUnavailable(f"{what}: others held the lock for too long ({words}); run `recorder migrate` again")
    if error.sqlstate == "42501":
        return SinkUnavailable(f"{what}: this database user may not ({words}); run `recorder migrate` as the owner")
    return SinkUnavailable(redact(f"{what}: failed ({words})"))


def folder() -> Path:
    """Where the migrations are: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parent.parent
    for place in (package / "migrations", package.parent / "migrations"):
        if place.is_dir():
            return place
    raise RecorderError("the recorder's migrations are missing from this installation; install it again")


@cache
def migrations() -> tuple[Migration, ...]:
    """Every numbered migration, in order; numbers run from 1 without a hole."""
    found = sorted(path for path in folder().iterdir() if re.fullmatch(r"\d{4}_[a-z0-9_]+\.sql", path.name))
    steps = tuple(Migration(int(path.name[:4]), path.stem[5:], path) for path in found)
    if not steps or [step.number for step in steps] != list(range(1, len(steps) + 1)):
        raise RecorderError("the recorder's migrations are not numbered from 1 without a hole; install it again")
    return steps


@cache
def statements(name: str) -> Queries:
    """The named statements of `migrations/reconcile/<name>.sql`."""
    return Queries((folder() / "reconcile" / f"{name}.sql").read_text(encoding="utf-8"))


def fill(statement: Statement, **parts: str | sql.Composable) -> sql.Composed:
    """A statement with parts put in: a string is quoted as an identifier. Values travel as parameters, never here."""
    template = sql.SQL(statement.decode())
    return template.format(
        **{key: sql.Identifier(part) if isinstance(part, str) else part for key, part in parts.items()}
    )


def one(conn: Conn, statement: Statement | sql.Composed, params: Any = None) -> tuple[Any, ...]:
    """The only row of a statement."""
    row = conn.execute(statement, params).fetchone()
    assert row is not None
    return tuple(row)


def expected() -> int:
    """The number of the schema that this recorder was written for."""
    return migrations()[-1].number


def applied(conn: Conn) -> list[int]:
    """Numbers of the migrations that a database has; nothing where there is no bookkeeping."""
    there, _ = one(conn, statements("common")["has_bookkeeping"])
    return [number for (number,) in conn.execute(statements("common")["applied"])] if there else []


def schema_version(conn: Conn) -> SchemaVersion:
    """What the database has against what this recorder expects. Reads only; works inside a transaction too."""
    done = applied(conn)
    if not done:
        _, others = one(conn, statements("common")["has_bookkeeping"])
        return SchemaVersion(State.ABSENT, 0, expected(), empty=others == 0)
    found = max(done)
    if found > expected():
        return SchemaVersion(State.NEWER, found, expected())
    return SchemaVersion(State.CURRENT if len(done) == expected() else State.OLDER, found, expected())
