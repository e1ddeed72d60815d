"""Migrations and the reconcile step on a real server, plain and with TimescaleDB."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from recorder.errors import SinkUnavailable
from recorder.records import TABLES
from recorder.store.migrate import Options, State, expected, migrate, migrate_url, schema_version
from recorder.store.reconcile import BOOKKEEPING
from recorder.store.schema import LOCK_TIMEOUT, Conn, Patience, migrations
from tests.fixtures.server import PgServer

PLAIN = Options(extension=False)
BOTH = pytest.mark.parametrize("options", [PLAIN, Options()], ids=["plain", "timescale"])
NO_TIMESCALEDB = "TimescaleDB is not installed on this server: tables stay plain"
CANARY = "canary-7Qx"

# Column names and order are a contract: dashboards, COPY and people's queries rely on them.
BOOKKEEPING_COLUMNS = {
    "instruments": "time received_at source channel symbol type base quote settle tick_size lot_size contract_value "
    "state listed_at expires_at",
    "sessions": "source symbol opens_at closes_at",
    "streams": "id source channel symbol first_time",
    "connections": "feed endpoint opened_at closed_at reason code frames rtt_ms",
    "subscriptions": "source channel symbol from_time to_time outcome feed",  # feed: ours, beyond the contract
    "gaps": "id source channel symbol from_time to_time from_seq to_seq missing cause state detected_at closed_at "
    "refilled_rows",
    "venue_events": "time source feed code action message",
    "quarantine": "received_at source feed frame reason raw",
    "positions": "recorder_id feed run next epoch instance committed_at watermark",
    "checkpoints": "recorder_id feed run next state stale",
}


def connect(url: str) -> closing[Conn]:
    """A session in autocommit."""
    return closing(psycopg.connect(url, autocommit=True))


def rows(conn: Conn, query: str, *params: object) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    return conn.execute(query.encode(), params or None).fetchall()


def store(conn: Conn, count: int, table: str = "trades", first: int = 0) -> None:
    """Rows an hour apart from 2026-03-01 on."""
    conn.execute(
        sql.SQL(
            "insert into {} (time, received_at, source, channel, symbol) select timestamptz '2026-03-01' + "
            "interval '1 hour' * i, now(), 'okx', 'c', 'S' || i from generate_series(%s::int, %s::int) i"
        ).format(sql.Identifier(table)),
        (first, first + count - 1),
    )


# --- from nothing ---


@BOTH
def test_from_empty_everything_is_applied_once(empty_database: str, options: Options) -> None:
    """An empty database gets every migration in order; a second run changes nothing at all."""
    said: list[str] = []
    first = migrate_url(empty_database, options, said.append)
    assert list(first.applied) == [f"{m.number:04d}_{m.name}" for m in migrations()]
    assert len(said) == len(first.applied) + len(first.changed) + len(first.notes)
    second = migrate_url(empty_database, options)
    assert (second.applied, second.changed) == ((), ())
    assert second.notes == first.notes
    assert set(second.notes) <= {NO_TIMESCALEDB}


@BOTH
def test_data_tables_have_the_columns_of_records(empty_database: str, options: Options) -> None:
    """COPY names columns in the order of records.TABLES: the tables have exactly those, in that order."""
    migrate_url(empty_database, options)
    query = "select column_name from information_schema.columns where table_name = %s order by ordinal_position"
    with connect(empty_database) as conn:
        for table in TABLES.values():
            assert tuple(name for (name,) in rows(conn, query, table.name)) == table.columns
        for name, columns in BOOKKEEPING_COLUMNS.items():
            assert [column for (column,) in rows(conn, query, name)] == columns.split()
    assert set(BOOKKEEPING_COLUMNS) == set(BOOKKEEPING)


def test_numbers_are_numeric_and_times_have_zones(database: str) -> None:
    """What venues send as numbers stays exactly that; only counts and ids are integers."""
    query = "select distinct data_type from information_schema.columns where table_name = any (%s)"
    with connect(database) as conn:
        types = {kind for (kind,) in rows(conn, query, list(TABLES))}
    assert types == {"timestamp with time zone", "text", "numeric", "integer", "bigint", "boolean", "ARRAY", "jsonb"}


def test_hypertables_have_one_index_and_chunks_of_a_day(database: str, edition: str) -> None:
    """Every data table is a hypertable by time; hot tables carry one index, candles their key as well."""
    if edition == "plain":
        pytest.skip("the server has no TimescaleDB")
    with connect(database) as conn:
        found = rows(
            conn, "select hypertable_name, time_interval::text from timescaledb_information.dimensions order by 1"
        )
        indexes = rows(conn, "select tablename, indexname from pg_indexes where tablename = any (%s)", list(TABLES))
    assert found == [(name, "1 day") for name in sorted(TABLES)]
    assert set(indexes) == {(name, f"{name}_symbol_time") for name in TABLES} | {("candles", "candles_key")}


# --- upgrades ---


def test_plain_to_timescale_keeps_every_row(plain_database: str, edition: str) -> None:
    """Where the extension becomes available later, tables become hypertables with the rows they had."""
    if edition == "plain":
        pytest.skip("the server has no TimescaleDB")
    with connect(plain_database) as conn:
        for table in TABLES:
            if table != "candles":
                store(conn, 100, table)
        before = {t: rows(conn, f"select md5(array_agg(x order by x.symbol)::text) from {t} x") for t in TABLES}
        report = migrate(conn)
        assert [line for line in report.changed if "hypertable" in line] == [f"made {t} a hypertable" for t in TABLES]
        after = {t: rows(conn, f"select md5(array_agg(x order by x.symbol)::text) from {t} x") for t in TABLES}
        assert after == before
        assert rows(conn, "select count(*) from only trades") == [(0,)]
        assert rows(conn, "select count(*) from show_chunks('trades')") == [(5,)]
        assert migrate(conn).changed == ()


def test_time_bucket_is_found_on_a_plain_server_and_gives_way(plain_database: str, edition: str) -> None:
    """A plain server has its own time_bucket out of CREATE EXTENSION's way; the extension's takes its place."""
    query = "select time_bucket('2 hours', timestamptz '2026-03-01 05:30+00')::text"
    with connect(plain_database) as conn:
        assert rows(conn, query) == [("2026-03-01 04:00:00+00",)]
        if edition != "plain":
            migrate(conn)
    with connect(plain_database) as conn:
        assert rows(conn, query) == [("2026-03-01 04:00:00+00",)]
        left = rows(conn, "select count(*) from pg_namespace where nspname = 'recorder_plain'")
        assert left == [(0 if edition != "plain" else 1,)]


@BOTH
def test_a_lost_index_is_made_again(empty_database: str, options: Options) -> None:
    """Reconcile repairs what somebody dropped or an interrupted build left invalid."""
    migrate_url(empty_database, options)
    with connect(empty_database) as conn:
        store(conn, 50)
        conn.execute("drop index trades_symbol_time")
        assert "created index trades_symbol_time" in migrate(conn).changed
        assert migrate(conn).changed == ()


# --- versions ---


def test_versions_are_told_apart(empty_database: str) -> None:
    """Absent, older, current and newer are different answers; an empty database is told from a foreign one."""
    with connect(empty_database) as conn:
        found = schema_version(conn)
        assert (found.state, found.empty) == (State.ABSENT, True)
        conn.execute("create table theirs (x int)")
        assert not schema_version(conn).empty
        assert "recorder migrate" in schema_version(conn).sentence
        migrate(conn)
        assert (schema_version(conn).state, schema_version(conn).sentence) == (State.CURRENT, "")
        conn.execute("delete from schema_migrations where number = %s", (expected(),))
        found = schema_version(conn)
        assert (found.state, found.found) == (State.OLDER, expected() - 1)
        assert "recorder migrate" in found.sentence


def test_a_newer_schema_is_refused_with_a_sentence(database: str) -> None:
    """An old recorder leaves a newer schema alone and says which numbers differ."""
    with connect(database) as conn:
        conn.execute("insert into schema_migrations values (9999, 'from_the_future')")
        assert schema_version(conn).state is State.NEWER
        with pytest.raises(SinkUnavailable, match=f"9999, newer than the {expected()} "):
            migrate(conn)


def test_a_failing_step_leaves_nothing_and_says_what(empty_database: str) -> None:
    """A migration is all or nothing, and the sentence names it."""
    with connect(empty_database) as conn:
        conn.execute("create table streams (id int)")
        with pytest.raises(SinkUnavailable, match=r"migration 2 \(bookkeeping\).*already exists"):
            migrate(conn)
        assert schema_version(conn).found == 1
        assert rows(conn, "select to_regclass('sessions') is null") == [(True,)]
        conn.execute("drop table streams")
        assert migrate(conn).applied[0] == "0002_bookkeeping"


def test_an_absent_server_is_a_sentence_without_the_password() -> None:
    """No secret of the URL appears in what is said about it."""
    with pytest.raises(SinkUnavailable) as caught:
        migrate_url(f"postgresql://u:{CANARY}@127.0.0.1:1/market")
    assert CANARY not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


# --- beside others ---


def test_two_at_once_apply_every_step_once(empty_database: str) -> None:
    """The advisory lock lets one run at a time: the second finds nothing to do."""
    reports: list[tuple[str, ...]] = []
    threads = [threading.Thread(target=lambda: reports.append(migrate_url(empty_database).applied)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(len, reports)) == [0, 0, len(migrations())]


def test_a_held_lock_is_waited_for_in_small_bites(plain_database: str, edition: str) -> None:
    """A step gives up its place in the queue after lock_timeout and comes again until the other is done."""
    if edition == "plain":
        pytest.skip("the server has no TimescaleDB")
    pauses: list[float] = []
    with connect(plain_database) as conn, closing(psycopg.connect(plain_database)) as other:
        other.execute("select count(*) from trades")

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 2:
                other.rollback()

        migrate(conn, patience=Patience(lock_timeout=0.05, sleep=pause))
    assert len(pauses) == 2


def test_a_lock_that_is_never_given_ends_in_a_sentence(plain_database: str, edition: str) -> None:
    """Patience ends; what was done stays done, and the next run goes on from there."""
    if edition == "plain":
        pytest.skip("the server has no TimescaleDB")
    few = Patience(lock_timeout=0.02, attempts=3, sleep=lambda _: None)
    with connect(plain_database) as conn:
        with closing(psycopg.connect(plain_database)) as other:
            other.execute("select count(*) from books")
            with pytest.raises(SinkUnavailable, match="made books a hypertable: others held the lock"):
                migrate(conn, patience=few)
        assert migrate(conn).changed[0] == "made books a hypertable"


def test_writers_go_on_while_it_runs(plain_database: str, edition: str) -> None:
    """A session that inserts all the while loses no row, and never waits longer than lock_timeout."""
    if edition == "plain":
        pytest.skip("the server has no TimescaleDB")
    stop, waits = threading.Event(), [0.0]

    def write() -> None:
        with connect(plain_database) as conn:
            while not stop.is_set():
                began = time.monotonic()
                store(conn, 1, first=len(waits) - 1)
                waits.append(time.monotonic() - began)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with connect(plain_database) as conn:
            before = len(waits)
            migrate(conn)
    finally:
        stop.set()
        writer.join()
    with connect(plain_database) as conn:
        stored = rows(conn, "select count(*), count(distinct symbol) from trades")
    assert len(waits) > before
    assert stored == [(len(waits) - 1, len(waits) - 1)]
    assert max(waits) < LOCK_TIMEOUT


# --- roles ---


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("recorder_write", "drop table trades"),
        ("recorder_write", "truncate trades"),
        ("recorder_write", "alter table trades drop column price"),
        ("recorder_write", "delete from schema_migrations"),
        ("recorder_read", "insert into streams (source, channel, symbol) values ('a', 'b', 'c')"),
        ("recorder_read", "delete from gaps"),
    ],
)
def test_roles_may_not(database: str, role: str, statement: str) -> None:
    """The recorder cannot drop, empty or change tables; a reader cannot write."""
    with connect(database) as conn:
        conn.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(statement.encode())


def test_roles_may(database: str) -> None:
    """The recorder writes every table but the bookkeeping of migrations; a reader reads tables and views."""
    with connect(database) as conn:
        conn.execute("set role recorder_write")
        store(conn, 48)
        conn.execute("insert into streams (source, channel, symbol) values ('a', 'b', 'c')")
        conn.execute("delete from trades where symbol = 'S1'")
        assert schema_version(conn).state is State.CURRENT
        conn.execute("reset role")
        conn.execute("set role recorder_read")
        for name in (*TABLES, *BOOKKEEPING, "latest", "trades_f8", "book_levels"):
            conn.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(name)))


def test_where_roles_may_not_be_made_it_is_noted(pg_server: PgServer) -> None:
    """On a server that gives us no right to make roles everything else is done, and the lack is said."""
    admin = pg_server.local.url_of("postgres", "postgres")
    with connect(pg_server.url) as conn:
        for role in ("recorder_write", "recorder_read"):
            conn.execute(sql.SQL("drop owned by {0}; drop role {0}").format(sql.Identifier(role)))
    with connect(admin) as conn:
        conn.execute("create role modest login")
        conn.execute("create database small owner modest")
    report = migrate_url(pg_server.local.url_of("modest", "small"))
    assert len(report.applied) == len(migrations())
    (note,) = [note for note in report.notes if note != NO_TIMESCALEDB]
    assert note.startswith("no group roles: ")


def test_migrate_wants_autocommit(database: str) -> None:
    """Its steps are transactions of their own."""
    with closing(psycopg.connect(database)) as conn, pytest.raises(ValueError, match="autocommit"):
        migrate(conn)


def test_templates_are_fresh(database: str, ask: Callable[..., list[tuple[object, ...]]]) -> None:
    """Every test gets a database of its own, without rows."""
    assert urlsplit(database).path != "/postgres"
    assert ask("select count(*) from trades") == [(0,)]
