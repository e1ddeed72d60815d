"""A day of which everything is known: rows of every table that the dashboards read, of two sources and two symbols.

Owns the rows, as plain values, and how they get into a database. One symbol is as unfriendly as a venue could make it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from psycopg import sql

from recorder.store.schema import Conn

D = Decimal
Row = dict[str, Any]
Tables = dict[str, list[Row]]

START = datetime(2025, 3, 4, 10, tzinfo=UTC)  # of the hour in which most of it happens
END = START + timedelta(hours=1)
SOURCES = ("alpha", "beta-2")
SYMBOLS = ("BTC-USDT", "it's; --")
BORN = START - timedelta(days=3)


def at(seconds: float) -> datetime:
    """A moment, from the start of the hour."""
    return START + timedelta(seconds=seconds)


def _streams() -> Iterator[tuple[str, str, int]]:
    """Source, symbol, and a number that makes their values differ."""
    for n, source in enumerate(SOURCES):
        for m, symbol in enumerate(SYMBOLS):
            yield source, symbol, 100 * (1 + n) + 10 * m


def _common(source: str, channel: str, symbol: str, seconds: float) -> Row:
    moment = at(seconds)
    received = moment + timedelta(milliseconds=30)
    return {"time": moment, "received_at": received, "source": source, "channel": channel, "symbol": symbol}


# --- the market ------------------------------------------------------------------------------------------------------


def trades() -> Iterator[Row]:
    """Every 20 s; `trades-all` carries the same ones again. A third of them does not say who took."""
    for source, symbol, base in _streams():
        for n, seconds in enumerate(range(-600, 4200, 20)):
            row = {
                "price": D(base) + D((n * 7) % 50) / 10,
                "size": D(1 + n % 4) / 2,
                "side": ("buy", "sell", None)[n % 3],
                "trade_id": str(n),
                "seq": n,
            }
            yield _common(source, "trades", symbol, seconds) | row
            yield _common(source, "trades-all", symbol, seconds) | row


def quotes() -> Iterator[Row]:
    """Every 30 s; sometimes a side is empty."""
    for source, symbol, base in _streams():
        for n, seconds in enumerate(range(-300, 3900, 30)):
            ask = D(base) + D(2 + n % 3) / 10 if n % 10 else None
            row = {"bid_price": D(base), "bid_size": D(1), "ask_price": ask, "ask_size": D(2), "seq": n}
            yield _common(source, "bbo", symbol, seconds) | row


def tickers() -> Iterator[Row]:
    """Every minute."""
    for source, symbol, base in _streams():
        for n, seconds in enumerate(range(-300, 3900, 60)):
            row = {"last_price": D(base) + n % 5, "bid_price": D(base), "ask_price": D(base) + D("0.5")}
            yield _common(source, "tickers", symbol, seconds) | row


def books() -> Iterator[Row]:
    """Small whole books every minute; a deep one with changes since 10:40; a deeper one over REST, which stands beside
    the chain; one before the hour; changes that came before the deep one, and whose chain was broken."""
    for source, symbol, base in _streams():
        for n, seconds in enumerate(range(-300, 3900, 60)):
            small = {"kind": "snapshot", "seq": n, "origin": "stream", "integrity": "unverifiable"}
            bids, asks = [[D(base), D(5)]], [[D(base) + D("0.4"), D(6)]]
            yield _common(source, "books5", symbol, seconds) | small | {"bids": bids, "asks": asks}
        deep = [[D(base - n), D(10 + n)] for n in range(4)], [[D(base + 1 + n), D(20 + n)] for n in range(4)]
        huge = [[D(base - n), D(1)] for n in range(9)], [[D(base + 1 + n), D(1)] for n in range(9)]
        for seconds, seq, kind, origin, (bids, asks) in (
            (-5400, 5, "snapshot", "stream", huge),
            (2390, 98, "update", "stream", ([[D(base - 1), D(99)]], [])),
            (2400, 99, "update", "stream", ([[D(base - 2), D(98)]], [])),
            (2400, 100, "snapshot", "stream", deep),
            (2400, 101, "update", "stream", ([[D(base - 1), D("7.5")]], [[D(base + 2), D(0)]])),
            (2430, 102, "update", "stream", ([[D(base - 1), D("8.5")], [D(base - 9), D(1)]], [])),
            (2460, 103, "update", "stream", ([[D(base - 3), D(0)]], [[D(base) + D("0.5"), D(3)]])),
            (2500, 104, "snapshot", "rest", huge),
            (3900, 105, "update", "stream", ([[D(base), D(77)]], [])),
        ):
            row = {"kind": kind, "seq": seq, "origin": origin, "bids": bids, "asks": asks}
            suspect = "suspect" if kind == "update" and seq < 103 else "verified"
            yield _common(source, "books", symbol, seconds) | row | {"integrity": suspect}


def derivatives() -> Tables:
    """Funding, open interest, mark and index prices, liquidations."""
    found: Tables = {"funding_rates": [], "open_interest": [], "reference_prices": [], "liquidations": []}
    for source, symbol, base in _streams():
        for n, seconds in enumerate(range(-300, 3900, 40)):
            funding = {"rate": D(n - base) / 10000, "next_rate": D(n + base) / 10000}
            found["funding_rates"].append(_common(source, "funding", symbol, seconds) | funding)
            interest = {"contracts": D(n), "amount": D(base + n), "value_usd": D(base + n) * 100}
            found["open_interest"].append(_common(source, "oi", symbol, seconds) | interest)
            for kind in ("mark", "index"):
                price = {"kind": kind, "price": D(base) + n % 7 + (D("0.5") if kind == "mark" else 0)}
                found["reference_prices"].append(_common(source, kind, symbol, seconds) | price)
            forced = {"side": ("buy", "sell")[n % 2], "price": D(base), "size": D(n + 1)}
            found["liquidations"].append(_common(source, "liquidations", symbol, seconds) | forced)
    return found


# --- what is known about it ------------------------------------------------------------------------------------------


def gaps() -> Iterator[Row]:
    """Of every stream of trades: one that ids prove, one that overlaps it, one over midnight, a refilled one, one that
    is over before anybody looks, one of no length; of the unfriendly symbol one that still goes on."""
    for source, symbol, base in _streams():
        for cause, since, until, missing, state in (
            ("sequence", 600, 660, 7 + base, "open"),
            ("disconnect", 630, 750, None, "partial"),
            ("recorder_down", -10 * 3600 - 1800, -10 * 3600 + 900, None, "unfillable"),
            ("silence", 1200, 1800, 50, "refilled"),
            ("shed", -50 * 3600, -49 * 3600, 1000, "unfillable"),
            ("sequence", 3000, 3000, 1, "open"),
            *([("rejected", 3300, None, None, "open")] if symbol == SYMBOLS[1] else []),
        ):
            yield {
                "source": source,
                "channel": "trades",
                "symbol": symbol,
                "from_time": at(since),
                "to_time": None if until is None else at(until),
                "missing": missing,
                "cause": cause,
                "state": state,
            }


def connections() -> Iterator[Row]:
    """One that stands, and those that ended: unplanned, planned, by a kill."""
    for source in SOURCES:
        for feed, since, until, reason, code in (
            ("public/0", -7200, 600, "close", "1006"),
            ("public/0", 602, 1200, "handover", None),
            ("public/0", 1200, 1260, "heartbeat", "4004"),
            ("public/0", 1262, None, None, None),
            ("business/0", -90000, -80000, "recorder_down", None),
            ("business/0", -79000, 3000, "shutdown", None),
            ("business/0", -400000, -300000, "eof", None),
        ):
            yield {
                "feed": f"{source}/{feed}",
                "endpoint": "wss://example",
                "opened_at": at(since),
                "closed_at": None if until is None else at(until),
                "reason": reason,
                "code": code,
                "frames": 12345,
                "rtt_ms": 2.5,
            }


def subscriptions() -> Iterator[Row]:
    """What was asked for again and again: only the last answer counts."""
    for source, symbol, base in _streams():
        for channel, answers in (
            ("trades", ("rejected", "accepted")),
            ("bbo", ("accepted", "silent")),
            ("tickers", ("silent", "rejected")),
            ("oi", ("accepted", "pending")),
        ):
            for n, outcome in enumerate(answers):
                over = n == 0 or outcome == "rejected"
                yield {
                    "source": source,
                    "channel": channel,
                    "symbol": symbol,
                    "from_time": at(60 * n + base),
                    "to_time": at(60 * n + base + 30) if over else None,
                    "outcome": outcome,
                    "feed": f"{source}/public/0",
                }


def told() -> Tables:
    """What venues said, and what nobody could read; one of each too early."""
    found: Tables = {"venue_events": [], "quarantine": []}
    for source in SOURCES:
        for n, seconds in enumerate((-400000, 300, 900)):
            common = {"source": source, "feed": f"{source}/public/0"}
            event = {"time": at(seconds), "code": f"6001{n}", "action": "retry", "message": f"no, {n}"}
            found["venue_events"].append(common | event)
            frame = {
                "received_at": at(seconds + 1),
                "frame": f"1-ab/{n}",
                "reason": "absurd_time",
                "raw": b"{\x00\xff" * n,
            }
            found["quarantine"].append(common | frame)
    return found


def everything() -> Tables:
    """All rows by table; `streams` in the order in which they were first seen."""
    found: Tables = {"trades": [*trades()], "quotes": [*quotes()], "tickers": [*tickers()], "books": [*books()]}
    found |= derivatives()
    data = [row for rows in found.values() for row in rows]
    streams = dict.fromkeys((row["source"], row["channel"], row["symbol"]) for row in data)
    found["streams"] = [
        {"source": source, "channel": channel, "symbol": symbol, "first_time": at(0) if channel == "oi" else BORN}
        for source, channel, symbol in streams
    ]
    found |= {"gaps": [*gaps()], "connections": [*connections()], "subscriptions": [*subscriptions()]}
    return found | told()


def fill(conn: Conn, tables: Tables) -> None:
    """COPY it into a migrated database."""
    for table, rows in tables.items():
        columns = list(rows[0])
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        statement = sql.SQL("copy {} ({}) from stdin").format(sql.Identifier(table), names)
        with conn.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row([row[column] for column in columns])
