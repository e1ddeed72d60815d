"""The table of instruments: a row for every change, and nothing for none."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from recorder.listing import Instrument
from recorder.store.instruments import Register

AT = 1_780_000_000_000_000
Conn = psycopg.Connection[tuple[object, ...]]
ALL = {"type": "SWAP", "settle": "USDT", "tick_size": "0.10", "contract_value": "1e-2", "state": "live"}


@pytest.fixture
def conn(database: str) -> Iterator[Conn]:
    """A connection as a chore has it."""
    with psycopg.connect(database, autocommit=True) as one:
        yield one


def rows(conn: Conn) -> list[tuple[object, ...]]:
    columns = "symbol, state, tick_size::text, contract_value::text, listed_at IS NULL"
    return conn.execute(f"SELECT {columns} FROM instruments ORDER BY time, symbol").fetchall()


def test_a_row_for_every_change(conn: Conn) -> None:
    """The first sight, a change, and the end; another look at the same, even by another process, adds nothing."""
    register = Register()
    first = [Instrument(symbol="A", **ALL), Instrument(symbol="B", **ALL, listed_at="1700000000000")]
    assert register.keep(conn, "okx", first, AT) == 2
    assert register.keep(conn, "okx", first, AT + 1) == 0
    assert Register().keep(conn, "okx", first, AT + 2) == 0
    changed = [Instrument(symbol="A", **{**ALL, "tick_size": "0.01"}), first[1]]
    assert register.keep(conn, "okx", changed, AT + 3_000_000) == 1
    assert Register().keep(conn, "okx", changed[:1], AT + 6_000_000) == 1
    assert rows(conn) == [
        ("A", "live", "0.10", "0.01", True),
        ("B", "live", "0.10", "0.01", False),
        ("A", "live", "0.01", "0.01", True),
        ("B", None, "0.10", "0.01", False),
    ]
    assert Register().keep(conn, "okx", changed[:1], AT + 9_000_000) == 0
    assert Register().keep(conn, "okx", changed, AT + 12_000_000) == 1, "listed again"


def test_sources_have_rows_of_their_own(conn: Conn) -> None:
    """What one venue no longer lists, another one may."""
    register = Register()
    register.keep(conn, "okx", [Instrument(symbol="A", **ALL)], AT)
    assert register.keep(conn, "aws", [Instrument(symbol="B", **ALL)], AT) == 1
    assert len(rows(conn)) == 2


def test_a_value_that_cannot_be_held_is_left_out(conn: Conn) -> None:
    """The instrument is stored all the same."""
    odd = Instrument(symbol="A\0", **{**ALL, "tick_size": "NaN", "contract_value": "x'; --"}, listed_at="-1")
    assert Register().keep(conn, "okx", [odd], AT) == 1
    assert rows(conn) == [("A\N{REPLACEMENT CHARACTER}", "live", None, None, True)]
