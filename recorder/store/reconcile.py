"""What differs between the kinds of server, brought up to date at every `recorder migrate`; twice changes nothing.

Owns hypertables, missing indexes, columnstore, policies, group roles and the helper objects of each edition. Never
touches a table's columns (migrations do), and never deletes a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg
from psycopg import sql

from recorder.errors import SinkUnavailable
from recorder.records import TABLES
from recorder.store.schema import Conn, Patience, Say, fill, one, refusal, statements
from recorder.store.server import OLDEST, Edition, Server, server

WRITE, READ = "recorder_write", "recorder_read"
BOOKKEEPING = (
    *("instruments", "sessions", "streams", "connections", "subscriptions", "gaps", "venue_events", "quarantine"),
    *("positions", "checkpoints"),
)
_LACKING = {"read": "unreadable", "write": "unwritable"}
_SHOWN = ("schema_migrations", "latest", "trades_f8", "book_levels")


@dataclass(frozen=True, slots=True)
class Options:
    """What the configuration decides about a database. Seconds; 0 is off. `extension` False leaves a database plain
    where TimescaleDB could be had."""

    compression_after: float = 0.0
    retention: Mapping[str, float] = field(default_factory=dict)
    extension: bool = True


def reconcile(
    conn: Conn, options: Options, say: Say, patience: Patience
) -> tuple[Server, tuple[str, ...], tuple[str, ...]]:
    """Give the database what its edition allows. Answers the server, what changed, and what could not be done."""
    run = _Run(conn, options, say, patience)
    if run.server.number < OLDEST:
        raise SinkUnavailable(f"PostgreSQL {run.server.number // 10000} is too old: the recorder needs 15 or later")
    _extension(run)
    if run.server.edition is Edition.PLAIN:
        _plain(run)
    else:
        _timescale(run)
    _indexes(run)
    _roles(run)
    if run.server.edition is Edition.COMMUNITY:
        _columnstore(run)
        _policies(run)
    return run.server, tuple(run.changed), tuple(run.notes)


class _Run:
    """One run over one database: what it is, what was changed, what could not be done."""

    def __init__(self, conn: Conn, options: Options, say: Say, patience: Patience) -> None:
        self.conn = conn
        self.options = options
        self.patience = patience
        self.changed: list[str] = []
        self.notes: list[str] = []
        self.server = server(conn)
        self._say = say

    def note(self, sentence: str) -> None:
        """Something stays undone, and why."""
        self.notes.append(sentence)
        self._say(sentence)

    def did(self, what: str) -> None:
        """Something was done."""
        self.changed.append(what)
        self._say(what)

    def execute(
        self, kind: str, name: str, params: Sequence[Any] | Mapping[str, Any] | None = None, **parts: Any
    ) -> psycopg.Cursor[Any]:
        """A statement of reconcile/<kind>.sql, names filled in."""
        statement = statements(kind)[name]
        return self.conn.execute(fill(statement, **parts) if parts else statement, params)

    def change(
        self, what: str, kind: str, name: str, params: Sequence[Any] | Mapping[str, Any] | None = None, **parts: Any
    ) -> None:
        """Execute a statement in a transaction of its own, patiently."""
        self.patience.run(self.conn, what, partial(self.execute, kind, name, params, **parts))
        self.did(what)

    def try_change(self, what: str, kind: str, name: str, **parts: Any) -> bool:
        """The same where it is no misfortune that we may not."""
        try:
            self.change(what, kind, name, **parts)
        except SinkUnavailable as error:
            self.note(str(error))
            return False
        return True

    def names(self, kind: str, name: str, params: Sequence[Any] | Mapping[str, Any]) -> list[str]:
        """The first column of a statement's rows."""
        return [str(row[0]) for row in self.execute(kind, name, params)]

    def holds(self, kind: str, name: str, params: Sequence[Any] = ()) -> bool:
        """A statement that answers yes or no."""
        return bool(one(self.conn, statements(kind)[name], params or None)[0])


def _extension(run: _Run) -> None:
    if run.server.extension or not run.options.extension:
        return
    if not run.server.available:
        run.note("TimescaleDB is not installed on this server: tables stay plain")
    elif not run.server.loaded:
        # CREATE EXTENSION would end the session: the library has to be there when the server starts.
        run.note("TimescaleDB is installed but not in shared_preload_libraries: tables stay plain")
    elif run.try_change("created the extension timescaledb", "timescale", "create_extension"):
        run.server = server(run.conn)


def _plain(run: _Run) -> None:
    schema = run.server.schema
    if not run.holds("plain", "is_current"):
        run.change("made the objects of a plain server", "plain", "objects", schema=schema)
    if run.holds("plain", "search_path_is_ours_to_set"):
        what = "put recorder_plain on the database's search_path"
        run.try_change(what, "plain", "set_search_path", database=run.conn.info.dbname, schema=schema)


def _timescale(run: _Run) -> None:
    for table in run.names("timescale", "plain_tables", (list(TABLES),)):
        run.change(f"made {table} a hypertable", "timescale", "create_hypertable", (table,))
    if not run.holds("timescale", "is_current"):
        schemas = {"schema": run.server.schema, "extension_schema": run.server.extension_schema}
        run.change("made the objects of TimescaleDB", "timescale", "objects", **schemas)
    if run.holds("timescale", "has_our_search_path"):
        what = "took recorder_plain off the database's search_path"
        run.try_change(what, "timescale", "reset_search_path", database=run.conn.info.dbname)


def _indexes(run: _Run) -> None:
    for table in run.names("common", "missing_indexes", (list(TABLES),)):
        index = f"{table}_symbol_time"
        run.change(f"dropped what was left of index {index}", "common", "drop_index", index=index)
        if run.server.edition is Edition.PLAIN:
            run.change(f"created index {index}", "common", "create_index", index=index, table=table)
        else:
            _index_by_chunk(run, table, index)


def _index_by_chunk(run: _Run, table: str, index: str) -> None:
    """One transaction a chunk works only outside of a transaction, and what it leaves when it fails is invalid."""
    what = f"created index {index}"
    try:
        run.execute("timescale", "create_index", index=index, table=table)
    except psycopg.Error as error:
        raise refusal(what, error) from error
    run.did(what)


def _roles(run: _Run) -> None:
    for role in run.names("common", "missing_roles", ([WRITE, READ],)):
        try:
            run.patience.run(run.conn, f"role {role}", partial(_create_role, run, role))
        except SinkUnavailable as error:
            run.note(f"no group roles: {error}")
            return
        run.did(f"created role {role}")
    for role in (READ, WRITE):
        if not run.holds("common", "has_schema_usage", (role,)):
            what = f"granted usage of the schema to {role}"
            run.try_change(what, "common", "grant_schema", schema=run.server.schema, role=role)
        _grant(run, role, "read", [*TABLES, *BOOKKEEPING, *_SHOWN])
    _grant(run, WRITE, "write", [*TABLES, *BOOKKEEPING])
    if run.server.edition is not Edition.PLAIN and not run.holds("timescale", "may_drop_chunks", (WRITE,)):
        run.change(f"let {WRITE} drop old chunks", "timescale", "grant_drop_chunks", role=WRITE)


def _create_role(run: _Run, role: str) -> None:
    # Roles belong to the whole server: somebody who migrates another database of it may have been quicker.
    quicker = suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation)
    with quicker, run.conn.transaction():
        run.execute("common", "create_role", role=role)


def _grant(run: _Run, role: str, what: str, tables: list[str]) -> None:
    lacking = run.names("common", _LACKING[what], {"role": role, "tables": tables})
    for table in lacking:
        step = partial(run.execute, "common", f"grant_{what}", table=table, role=role)
        run.patience.run(run.conn, f"grant on {table}", step)
    # Whoever has a right but may not pass it on is only warned by the server, and nothing is granted.
    if still := run.names("common", _LACKING[what], {"role": role, "tables": lacking}) if lacking else []:
        raise SinkUnavailable(f"grant on {still[0]}: this database user may not; run `recorder migrate` as the owner")
    if lacking:
        run.did(f"let {role} {what} {len(lacking)} tables")


def _columnstore(run: _Run) -> None:
    for table in run.names("community", "rowstore_tables", (list(TABLES),)):
        # The interval is part of the candles' key: left out, every check of the key decompresses more.
        order = sql.Literal("time, interval" if table == "candles" else "time")
        run.change(
            f"enabled the columnstore of {table}", "community", "enable_columnstore", table=table, order_by=order
        )


def _policies(run: _Run) -> None:
    """Compression first: a retention policy drops chunks the moment it is created, so nothing may come after it."""
    after = run.options.compression_after
    _policy(run, "compression", "compress_after", dict.fromkeys(TABLES, after) if after > 0 else {})
    _policy(run, "retention", "drop_after", {t: keep for t, keep in run.options.retention.items() if keep > 0})


def _policy(run: _Run, kind: str, key: str, wanted: Mapping[str, float]) -> None:
    rows = run.execute("community", "policies", {"kind": f"policy_{kind}", "key": key})
    there = {table: seconds for table, seconds in rows if table in TABLES}
    for table in sorted(t for t in there if there[t] != wanted.get(t)):
        run.change(f"removed the {kind} policy of {table}", "community", f"remove_{kind}", (table,))
    for table in sorted(t for t in wanted if there.get(t) != wanted[t]):
        what = f"set {kind} of {table} to {wanted[table]:g} s"
        run.change(what, "community", f"add_{kind}", (table, wanted[table]))
