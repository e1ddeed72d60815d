"""What readers call: candles of trades, the last record of each stream, levels, floats; on every kind of server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import sql

from recorder.store.schema import Conn

D = Decimal
DAY = "2026-03-02"


@pytest.fixture(params=["plain_database", "database"])
def conn(request: pytest.FixtureRequest) -> Iterator[Conn]:
    """A session in a migrated database, once without and once with TimescaleDB."""
    with closing(psycopg.connect(request.getfixturevalue(request.param), autocommit=True)) as session:
        session.execute("set timezone to 'America/New_York'")  # no result may depend on the reader's zone
        yield session


def rows(conn: Conn, query: str, *params: object) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    return conn.execute(query.encode(), params or None).fetchall()


def utc(text: str) -> datetime:
    """A time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def trade(conn: Conn, at: str, price: str | None, size: str = "1", trade_id: str | None = None, **more: Any) -> None:
    """Store a trade; `at` is a time of DAY, or a whole one."""
    at = at if " " in at else f"{DAY} {at}"
    where = {"source": "okx", "channel": "trades", "symbol": "BTC-USDT"}
    row = {"time": f"{at}+00", "received_at": f"{at}+00", "price": price, "size": size, "trade_id": trade_id}
    put(conn, "trades", where | row | more)


def put(conn: Conn, table: str, row: dict[str, Any]) -> None:
    """Store a row."""
    conn.execute(
        sql.SQL("insert into {} ({}) values ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(sql.Placeholder() * len(row)),
        ),
        list(row.values()),
    )


def ohlcv(conn: Conn, interval: str = "1m", start: str = "00:00", end: str = "23:59", **more: str) -> list[Any]:
    """Candles of BTC-USDT at okx."""
    start, end = (t if " " in t else f"{DAY} {t}" for t in (start, end))
    return rows(
        conn,
        "select * from ohlcv('okx', 'BTC-USDT', %s, %s, %s, channel => %s)",
        *(interval, f"{start}+00", f"{end}+00", more.get("channel")),
    )


# --- ohlcv ---


def test_candles_have_the_values_of_their_trades(conn: Conn) -> None:
    """Open and close by time, high and low, sums; an interval without trades has no row; numbers stay exact."""
    trade(conn, "10:00:00", "100.10", "1")
    trade(conn, "10:00:30", "99.5", "0.25", turnover="24.875", count=3)
    trade(conn, "10:00:59.999999", "100.7", "2")
    trade(conn, "10:02:00", "101", "0.5")
    assert ohlcv(conn) == [
        (utc(f"{DAY} 10:00"), D("100.10"), D("100.7"), D("99.5"), D("100.7"), D("3.25"), D("24.875"), 5),
        (utc(f"{DAY} 10:02"), D("101"), D("101"), D("101"), D("101"), D("0.5"), None, 1),
    ]
    assert str(ohlcv(conn)[0][1]) == "100.10"


def test_the_range_is_half_open(conn: Conn) -> None:
    """`from` belongs to it, `to` does not."""
    for at in ("10:00:00", "10:01:00", "10:02:00"):
        trade(conn, at, "1")
    assert [row[0] for row in ohlcv(conn, start="10:00", end="10:02")] == [utc(f"{DAY} 10:00"), utc(f"{DAY} 10:01")]


def test_trades_of_one_instant_are_ordered_by_id(conn: Conn) -> None:
    """A sweep through several levels has one time: the id tells which came first, as a number, not as text."""
    for trade_id, price in (("10", "103"), ("9", "102"), ("8", "101"), ("11", "104")):
        trade(conn, "10:00:00", price, trade_id=trade_id)
    ((_, opened, _, _, closed, *_),) = ohlcv(conn)
    assert (opened, closed) == (D(101), D(104))


def test_a_trade_refilled_later_keeps_its_place(conn: Conn) -> None:
    """received_at decides only where neither id nor sequence does."""
    trade(conn, "10:00:00", "1", trade_id="5", received_at=f"{DAY} 18:00+00", origin="refill")
    trade(conn, "10:00:00", "2", trade_id="6")
    ((_, opened, _, _, closed, *_),) = ohlcv(conn)
    assert (opened, closed) == (D(1), D(2))


def test_trades_without_id_are_ordered_as_received(conn: Conn) -> None:
    """Some venues number nothing."""
    trade(conn, "10:00:00", "2", received_at=f"{DAY} 10:00:00.2+00")
    trade(conn, "10:00:00", "1", received_at=f"{DAY} 10:00:00.1+00")
    ((_, opened, _, _, closed, *_),) = ohlcv(conn)
    assert (opened, closed) == (D(1), D(2))


def test_channels_are_never_summed(conn: Conn) -> None:
    """Two channels carry the same trades twice: without a name the one recorded first is taken."""
    for channel in ("trades", "all"):
        trade(conn, "10:00:00", "1", "5", channel=channel)
    put(conn, "streams", {"source": "okx", "channel": "trades", "symbol": "BTC-USDT"})
    put(conn, "streams", {"source": "okx", "channel": "all", "symbol": "BTC-USDT"})
    trade(conn, "10:00:01", "2", "7", channel="all")
    assert [row[5] for row in ohlcv(conn)] == [D(5)]
    assert [row[5] for row in ohlcv(conn, channel="all")] == [D(12)]
    assert ohlcv(conn, channel="none") == []


def test_other_sources_and_symbols_stay_out(conn: Conn) -> None:
    """A candle is of one source and one symbol."""
    trade(conn, "10:00:00", "1")
    trade(conn, "10:00:00", "9", source="other")
    trade(conn, "10:00:00", "9", symbol="ETH-USDT")
    trade(conn, "10:00:00", None)
    assert [row[1:6] for row in ohlcv(conn)] == [(D(1), D(1), D(1), D(1), D(1))]


@pytest.mark.parametrize(
    ("interval", "bucket"),
    [
        ("1s", "2026-08-20 13:47:33"),
        ("5m", "2026-08-20 13:45"),
        ("15 minutes", "2026-08-20 13:45"),
        ("4h", "2026-08-20 12:00"),
        ("1d", "2026-08-20 00:00"),
        ("1w", "2026-08-17 00:00"),
        ("1mo", "2026-08-01 00:00"),
        ("3mo", "2026-07-01 00:00"),
        ("1y", "2026-01-01 00:00"),
    ],
)
def test_intervals_begin_where_they_do_for_everybody(conn: Conn, interval: str, bucket: str) -> None:
    """Days and months in UTC whatever the reader's time zone, weeks on Monday; candles' names and PostgreSQL's."""
    trade(conn, "2026-08-20 13:47:33.5", "1")
    found = ohlcv(conn, interval, "2026-01-01 00:00", "2027-01-01 00:00")
    assert [row[0] for row in found] == [utc(bucket)]


def test_interval_may_be_an_interval(conn: Conn) -> None:
    """Typed as PostgreSQL's own interval it is the same function."""
    trade(conn, "10:00:00", "1")
    found = rows(conn, "select time from ohlcv('okx', 'BTC-USDT', interval '1 hour', '2026-03-02', '2026-03-03')")
    assert found == [(utc(f"{DAY} 10:00"),)]


# --- latest ---


def test_latest_is_the_last_record_of_every_stream(conn: Conn) -> None:
    """One row for each stream of trades, quotes and tickers, however often and in whatever order it was written."""
    trade(conn, "10:00:05", "7", "2", trade_id="3")
    trade(conn, "10:00:05", "8", "2", trade_id="12")
    trade(conn, "10:00:01", "1")
    trade(conn, "09:00:00", "4", channel="all")
    trade(conn, "09:30:00", "5", symbol="ETH-USDT")
    where = {"source": "okx", "symbol": "BTC-USDT", "received_at": f"{DAY} 11:00+00"}
    put(conn, "quotes", {**where, "time": f"{DAY} 10:00+00", "channel": "bbo", "bid_price": "6", "ask_price": "7"})
    put(conn, "quotes", {**where, "time": f"{DAY} 09:00+00", "channel": "bbo", "bid_price": "1", "ask_price": "2"})
    put(conn, "tickers", {**where, "time": f"{DAY} 10:30+00", "channel": "tickers", "last_price": "6.5"})
    found = rows(conn, "select record, channel, symbol, price, bid_price from latest order by 1, 2, 3")
    assert found == [
        ("quotes", "bbo", "BTC-USDT", None, D(6)),
        ("tickers", "tickers", "BTC-USDT", D("6.5"), None),
        ("trades", "all", "BTC-USDT", D(4), None),
        ("trades", "trades", "BTC-USDT", D(8), None),
        ("trades", "trades", "ETH-USDT", D(5), None),
    ]


def test_latest_of_an_empty_database_is_empty(conn: Conn) -> None:
    """Nothing recorded, nothing shown."""
    assert rows(conn, "select * from latest") == []


def test_latest_costs_the_same_in_an_old_database(database: str, edition: str) -> None:
    """What it touches does not grow with the number of days recorded, while streams are written today."""
    if edition == "plain":
        pytest.skip("the server has no TimescaleDB")
    touched = "select count(*) from pg_locks where pid = pg_backend_pid() and relation::regclass::text ~ '_chunk'"
    fill = (
        "insert into tickers (time, received_at, source, channel, symbol) select now() - interval '1 day' * i, "
        "now(), 'okx', 'tickers', 'BTC-USDT' from generate_series(%s::int, %s::int) i"
    )
    counts = []
    with closing(psycopg.connect(database, autocommit=True)) as conn:
        for first, last in ((0, 19), (20, 199)):
            rows_before = conn.execute(fill.encode(), (first, last)).rowcount
            assert rows_before == last - first + 1
            with conn.transaction():
                assert len(rows(conn, "select * from latest")) == 1
                counts += rows(conn, touched)
    assert counts[0] == counts[1]


# --- floats and levels ---


def test_trades_f8_are_floats(conn: Conn) -> None:
    """The same trades for arithmetic: numbers as float8, all else as it is."""
    trade(conn, "10:00:00", "0.1", "3", trade_id="x1", side="buy", turnover="0.3")
    query = "select price, size, turnover, side, trade_id, pg_typeof(price)::text from trades_f8"
    assert rows(conn, query) == [(0.1, 3.0, 0.3, "buy", "x1", "double precision")]


def test_book_levels_are_rows(conn: Conn) -> None:
    """A row per level, best first, whatever a venue adds to price and size; an empty side has none."""
    book = {"received_at": f"{DAY} 10:00+00", "source": "okx", "channel": "books", "symbol": "BTC-USDT"}
    bids, asks = "{{100.5,1,0,4},{100,2.5,0,9}}", "{{101,3},{102,0},{103,7}}"
    put(conn, "books", {**book, "time": f"{DAY} 10:00+00", "kind": "snapshot", "seq": 7, "bids": bids, "asks": asks})
    put(conn, "books", {**book, "time": f"{DAY} 10:01+00", "kind": "update", "seq": 8, "bids": "{}", "asks": None})
    query = "select seq, kind, side, level, price, size, pg_typeof(price)::text from book_levels order by 3 desc, 4"
    assert rows(conn, query) == [
        (7, "snapshot", "bid", 1, 100.5, 1.0, "double precision"),
        (7, "snapshot", "bid", 2, 100.0, 2.5, "double precision"),
        (7, "snapshot", "ask", 1, 101.0, 3.0, "double precision"),
        (7, "snapshot", "ask", 2, 102.0, 0.0, "double precision"),
        (7, "snapshot", "ask", 3, 103.0, 7.0, "double precision"),
    ]
