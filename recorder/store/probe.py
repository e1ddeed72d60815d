"""A look at the database the way the writer will come: the same connection, the same refusals, and nothing written.

Owns what `check --connect` says of a database. Never migrates, takes over no position and locks nothing.
"""

from __future__ import annotations

import psycopg

from recorder.errors import SinkUnavailable
from recorder.records import TABLES
from recorder.store.connection import Connector, SinkParked, Watchdog
from recorder.store.queries import queries
from recorder.store.reconcile import BOOKKEEPING
from recorder.store.schema import State, schema_version
from recorder.store.server import server


def probe(url: str, seconds: float) -> str:
    """What the database is, in one sentence; raises SinkUnavailable with why it cannot be used. An empty one can:
    `recorder run` makes its tables."""
    connector, watchdog = Connector(url, "recorder:check", deadline=seconds), Watchdog()
    try:
        session = connector.open(watchdog)
        try:
            with watchdog.guard(session.line, seconds):
                return _looked_at(session.conn, connector.where)
        finally:
            session.close()
    except SinkParked:
        if (sentence := _empty(url, connector.where)) is not None:
            return sentence
        raise
    except psycopg.Error as error:
        raise SinkUnavailable(f"the database ended the connection ({connector.where})") from error
    finally:
        watchdog.stop()


def _looked_at(conn: psycopg.Connection[tuple[object, ...]], where: str) -> str:
    """Server, edition, schema, and whether every table may be written."""
    closed = [name for (name,) in conn.execute(queries()["unwritable"], ([*TABLES, *BOOKKEEPING],))]
    if closed:
        raise SinkUnavailable(
            f"this database user may not write {', '.join(map(str, closed))} ({where}); "
            "run `recorder migrate` as the owner of the tables, or grant it the role recorder_write"
        )
    return f"{where}: {server(conn)}, schema {schema_version(conn).found}, writable, no pooler in transaction mode"


def _empty(url: str, where: str) -> str | None:
    """The sentence for a database without any table, if this is one and its user may make some."""
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=3) as conn:
            version = schema_version(conn)
            if version.state is not State.ABSENT or not version.empty:
                return None
            row = conn.execute(queries()["may_create"]).fetchone()
            return f"{where}: {server(conn)}, empty; `recorder run` makes the tables" if row and row[0] else None
    except psycopg.Error:
        return None
