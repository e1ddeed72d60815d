"""What is older than the configuration keeps goes, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from typing import Any

import psycopg
import pytest

from recorder.store import retention
from recorder.store.migrate import Options, migrate, migrate_url
from recorder.store.retention import retain
from recorder.store.schema import Conn

Ask = Callable[..., list[tuple[Any, ...]]]
DAY = 86_400
NOW = int(datetime.fromisoformat("2026-03-20T12:00:00+00:00").timestamp() * 1e6)


def fill(conn: Conn) -> None:
    """Ten days of trades and tickers before NOW, a record an hour, of three symbols."""
    for table in (b"trades", b"tickers"):
        conn.execute(
            b"insert into "
            + table
            + b" (time, received_at, source, channel, symbol) select timestamptz '2026-03-20 12:00+00' - "
            b"interval '1 hour' * i, now(), 'okx', 'c', 'S' || i % 3 from generate_series(1, 240) i"
        )


def oldest(conn: Conn, table: bytes) -> tuple[Any, ...]:
    """Age of the oldest record in hours, and how many there are."""
    row = conn.execute(
        b"select extract(epoch from timestamptz '2026-03-20 12:00+00' - min(time))::int / 3600, count(*) from " + table
    ).fetchone()
    assert row is not None
    return tuple(row)


def test_a_plain_server_deletes_what_is_older(plain_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches, to the hour, by the role that may only write; tables that keep for ever are left alone."""
    monkeypatch.setattr(retention, "BATCH", 7)
    with closing(psycopg.connect(plain_database, autocommit=True)) as conn:
        fill(conn)
        conn.execute("set role recorder_write")
        assert retain(conn, {"trades": 3 * DAY, "tickers": 0, "books": DAY}, now=NOW) == {"books": 0, "trades": 168}
        assert oldest(conn, b"trades") == (72, 72)
        assert oldest(conn, b"tickers") == (240, 240)
        assert retain(conn, {"trades": 3 * DAY}, now=NOW) == {"trades": 0}


def test_chunks_are_dropped_whole(database: str, edition: str) -> None:
    """With TimescaleDB a chunk goes when all of it is older, by the role that owns no table."""
    if edition == "plain":
        pytest.skip("the server has no TimescaleDB")
    with closing(psycopg.connect(database, autocommit=True)) as conn:
        fill(conn)
        conn.execute("set role recorder_write")
        assert retain(conn, {"trades": 3 * DAY, "tickers": 0}, now=NOW) == {"trades": 7}
        assert oldest(conn, b"trades") == (84, 84)  # the chunk of 17 March holds younger records, too
        assert oldest(conn, b"tickers") == (240, 240)


def test_only_chunks_of_data_tables_can_be_dropped(database: str, edition: str) -> None:
    """The function that drops chunks with its owner's rights takes no other table."""
    if edition == "plain":
        pytest.skip("the server has no TimescaleDB")
    with closing(psycopg.connect(database, autocommit=True)) as conn:
        conn.execute("set role recorder_write")
        with pytest.raises(psycopg.errors.RaiseException, match="no data table"):
            conn.execute("select recorder_drop_chunks('gaps', now())")
        conn.execute("reset role")
        conn.execute("set role recorder_read")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("select recorder_drop_chunks('trades', now())")


def test_a_wrong_table_is_refused_before_anything_goes(database: str) -> None:
    """A mistake in a table's name must not cost the others their rows."""
    with closing(psycopg.connect(database, autocommit=True)) as conn:
        fill(conn)
        with pytest.raises(ValueError, match="trade"):
            retain(conn, {"trades": 1, "trade": 1}, now=NOW)
        assert oldest(conn, b"trades") == (240, 240)


@pytest.mark.community
def test_policies_follow_the_configuration(empty_database: str) -> None:
    """On the Community edition columnstore and retention are the server's own; changed settings change them."""
    options = Options(compression_after=3600.0, retention={"trades": 7.0 * DAY})
    changed = migrate_url(empty_database, options).changed
    assert "enabled the columnstore of books" in changed
    assert changed[-1] == "set retention of trades to 604800 s"
    assert migrate_url(empty_database, options).changed == ()
    with closing(psycopg.connect(empty_database, autocommit=True)) as conn:
        assert retain(conn, {"trades": 7.0 * DAY}, now=NOW) == {}
        report = migrate(conn, Options(compression_after=7200.0))
        assert "removed the retention policy of trades" in report.changed
        assert "set compression of trades to 7200 s" in report.changed
