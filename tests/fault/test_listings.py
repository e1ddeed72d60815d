"""All of a kind in one line: what a venue lists is recorded, what it lists newly soon after."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from recorder.records import now_us
from recorder.simulator.okx import commands as okx_commands
from recorder.simulator.okx.listings import crowd
from recorder.simulator.okx.venue import OkxVenue
from recorder.simulator.oracle import NumberedMarket
from recorder.simulator.server import Simulator
from tests.fault.process import RecorderProcess, okx_toml, until

SYMBOLS = 300
CHANNELS = ("trades", "books")
NEW, OLD = "NEW-USDT-SWAP", "C007-USDT-SWAP"
WITHIN = 60.0


@pytest.mark.timeout(300)
def test_three_hundred_symbols_by_one_pattern(tmp_path: Path, database: str) -> None:
    """Subscribed within the venue's limits, which are on; a new listing is recorded within a minute, a delisted one is
    ended, and nobody else notices: no reconnection, no gap."""
    market = NumberedMarket([*crowd(SYMBOLS), "BTC-USDT"], now_us(), rate=0.5, calm=True)
    with Simulator(OkxVenue(market)) as simulator:
        subscribe = {channel: ["*-USDT-SWAP"] for channel in CHANNELS}
        recorder = RecorderProcess(
            tmp_path / "recorder", okx_toml(database, simulator.ws_url, simulator.http_url, subscribe)
        )
        recorder.start()
        try:
            until(lambda: _symbols(database) >= SYMBOLS, 60, f"all symbols are stored\n{recorder.tail()}")
            before = simulator.call(lambda: len(simulator.venue.ledger().connections))
            simulator.fault(okx_commands.List(symbol=NEW, rate=10))
            simulator.fault(okx_commands.Delist(symbol=OLD))
            began = time.monotonic()
            until(lambda: _count(database, NEW) > 0, WITHIN, f"the new listing is stored\n{recorder.tail()}")
            took = time.monotonic() - began
            until(lambda: ("ended",) in _outcomes(database, OLD), 30, "the delisted one is ended")
            after = simulator.call(lambda: len(simulator.venue.ledger().connections))
            assert recorder.stop() == 0, recorder.tail()
        finally:
            if recorder.running.poll() is None:
                recorder.kill()
    print(f"{before} connections for {SYMBOLS} symbols; a new listing after {took:.1f} s")
    assert after == before
    with psycopg.connect(database) as conn:
        assert conn.execute("SELECT symbol, cause FROM gaps").fetchall() == []
        assert conn.execute("SELECT symbol FROM subscriptions WHERE outcome = 'rejected'").fetchall() == []
        assert conn.execute("SELECT count(*) FROM trades WHERE symbol = 'BTC-USDT'").fetchone() == (0,)
        rows = conn.execute("SELECT state FROM instruments WHERE symbol = %s ORDER BY time", (OLD,)).fetchall()
        assert [row[0] for row in rows][:2] == ["live", "suspend"]
        query = "SELECT type, tick_size > 0, contract_value > 0 FROM instruments WHERE symbol = %s"
        assert conn.execute(query, (NEW,)).fetchone() == ("SWAP", True, True)


def _one(url: str, query: str, *parameters: str) -> Any:
    with psycopg.connect(url) as conn:
        return conn.execute(query, parameters).fetchall()


def _symbols(url: str) -> int:
    rows = _one(url, "SELECT least(count(DISTINCT t.symbol), (SELECT count(DISTINCT symbol) FROM books)) FROM trades t")
    return int(rows[0][0])


def _count(url: str, symbol: str) -> int:
    return int(_one(url, "SELECT count(*) FROM trades WHERE symbol = %s", symbol)[0][0])


def _outcomes(url: str, symbol: str) -> list[tuple[str]]:
    return list(_one(url, "SELECT DISTINCT outcome FROM subscriptions WHERE symbol = %s", symbol))
