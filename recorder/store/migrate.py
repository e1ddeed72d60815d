"""Brings a database to the schema that this recorder expects: numbered migrations, forward only, then `reconcile`.

Owns the order of the steps, their bookkeeping, and the lock that lets one migration run at a time. Never goes back,
and never holds SQL of its own (that is in `migrations/`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import psycopg

from recorder.errors import SinkUnavailable
from recorder.redact import redact
from recorder.store.connection import refuse_transaction_pooling
from recorder.store.reconcile import Options, reconcile
from recorder.store.schema import (
    Conn,
    Migration,
    Patience,
    Say,
    SchemaVersion,
    State,
    applied,
    expected,
    migrations,
    schema_version,
    statements,
)
from recorder.store.sqlstate import classify, classify_connect

__all__ = ["Options", "Report", "SchemaVersion", "State", "expected", "migrate", "migrate_url", "schema_version"]

OTHER_MIGRATION_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Report:
    """What a migration did: steps applied, what `reconcile` changed, and what could not be done and why."""

    server: str
    number: int
    applied: tuple[str, ...]
    changed: tuple[str, ...]
    notes: tuple[str, ...]


def migrate(
    conn: Conn, options: Options | None = None, say: Say | None = None, patience: Patience | None = None
) -> Report:
    """Apply what is missing and reconcile the rest. `conn` is in autocommit and belongs to the tables' owner.

    A recorder may write all the while: no step waits for a lock longer than `patience` says before it lets go.
    """
    if not conn.autocommit:
        raise ValueError("migrate needs a connection in autocommit")
    options, say, patience = options or Options(), say or _silent, patience or Patience()
    _lock(conn)
    try:
        done = _apply(conn, say, patience)
        found, changed, notes = reconcile(conn, options, say, patience)
    finally:
        if not conn.broken and not conn.closed:
            conn.execute(statements("common")["unlock"])
    return Report(str(found), expected(), done, changed, notes)


def migrate_url(url: str, options: Options | None = None, say: Say | None = None) -> Report:
    """`migrate` over a connection of its own; raises SinkUnavailable with one sentence."""

    def connect() -> Conn:
        return psycopg.connect(url, autocommit=True, connect_timeout=10, application_name="recorder/migrate")

    try:
        conn = connect()
    except psycopg.Error as error:
        # Not "from error": what libpq says of a connection string can hold what stands in it.
        words = (str(error).strip().splitlines() or [""])[0]
        raise SinkUnavailable(redact(f"{classify_connect(error).sentence} ({words})")) from None
    try:
        with conn:
            info = conn.info
            refuse_transaction_pooling(conn, connect, f"{info.host}:{info.port}/{info.dbname}")
            return migrate(conn, options, say)
    except psycopg.Error as error:
        raise SinkUnavailable(redact(f"{classify(error).sentence} ({error.diag.message_primary or error})")) from error


def _silent(_: str) -> None:
    pass


def _lock(conn: Conn) -> None:
    conn.execute(statements("common")["session_lock_timeout"], (f"{OTHER_MIGRATION_SECONDS}s",))
    try:
        conn.execute(statements("common")["lock"])
    except psycopg.errors.LockNotAvailable as error:
        raise SinkUnavailable(
            f"another `recorder migrate` has been running in this database for {OTHER_MIGRATION_SECONDS // 60} minutes"
        ) from error


def _apply(conn: Conn, say: Say, patience: Patience) -> tuple[str, ...]:
    version = schema_version(conn)
    if version.state is State.NEWER:
        raise SinkUnavailable(version.sentence)
    there = set(applied(conn))
    done = []
    for step in (m for m in migrations() if m.number not in there):
        patience.run(conn, f"migration {step.number} ({step.name})", partial(_step, conn, step))
        done.append(f"{step.number:04d}_{step.name}")
        say(f"applied migration {done[-1]}")
    return tuple(done)


def _step(conn: Conn, step: Migration) -> None:
    conn.execute(step.path.read_bytes())
    conn.execute(statements("common")["record"], (step.number, step.name))
