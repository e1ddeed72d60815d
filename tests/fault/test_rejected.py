"""A subscription that the venue refuses costs only itself, and says so for as long as it lasts."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from recorder.records import now_us
from recorder.simulator.faults import Drop, How
from recorder.simulator.okx import commands as okx_commands
from recorder.simulator.okx.venue import NO_LIMITS, OkxVenue
from recorder.simulator.oracle import NumberedMarket
from recorder.simulator.server import Simulator
from tests.fault.process import RecorderProcess, okx_toml, until

KNOWN, UNKNOWN = "BTC-USDT", "NEW-USDT-SWAP"


@pytest.mark.timeout(120)
def test_a_refused_symbol(tmp_path: Path, database: str) -> None:
    """An open gap `rejected` from the refusal on, until the venue lists the symbol and serves it; the other stream is
    untouched."""
    with Simulator(OkxVenue(NumberedMarket([KNOWN], now_us(), rate=50.0, depth=5), rules=NO_LIMITS)) as simulator:
        toml = okx_toml(database, simulator.ws_url, simulator.http_url, {"trades": [KNOWN, UNKNOWN]})
        recorder = RecorderProcess(tmp_path / "recorder", toml)
        recorder.start()
        try:
            until(lambda: _gaps(database) == [(UNKNOWN, "rejected", True)], 30, f"the hole is open\n{recorder.tail()}")
            assert recorder.metric("recorder_gaps_total", source="okx", cause="rejected") == 1
            assert recorder.metric("recorder_venue_errors_total", source="okx", code="60018") == 1
            assert len(simulator.call(simulator.venue.ledger).connections) == 1
            simulator.fault(okx_commands.List(symbol=UNKNOWN, rate=10))
            simulator.fault(Drop(how=How.EOF))
            until(lambda: (UNKNOWN, "rejected", False) in _gaps(database), 30, f"it has ended\n{recorder.tail()}")
            until(lambda: _stored(database, UNKNOWN) > 5, 30, "and is recorded")
            assert recorder.stop() == 0, recorder.tail()
        finally:
            if recorder.running.poll() is None:
                recorder.kill()
    with psycopg.connect(database) as conn:
        query = "SELECT outcome FROM subscriptions WHERE symbol = %s ORDER BY from_time"
        rows = conn.execute(query, (UNKNOWN,)).fetchall()
    assert [row[0] for row in rows] == ["rejected", "ended"]


def _gaps(url: str) -> list[tuple[str, str, bool]]:
    with psycopg.connect(url) as conn:
        rows = conn.execute("SELECT symbol, cause, to_time IS NULL FROM gaps WHERE cause = 'rejected'").fetchall()
    return [(str(symbol), str(cause), bool(still)) for symbol, cause, still in rows]


def _stored(url: str, symbol: str) -> int:
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT count(*) FROM trades WHERE symbol = %s", (symbol,)).fetchone()
    return int(row[0]) if row else 0
