"""A connection that is lost again and again leaves one row per trade id."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from recorder.records import now_us
from recorder.simulator.faults import Drop, How
from recorder.simulator.okx.venue import OkxVenue, Rules
from recorder.simulator.oracle import NumberedMarket
from recorder.simulator.server import Simulator
from tests.fault.process import RecorderProcess, okx_toml, until

SYMBOL = "QUIET-USDT"
RECONNECTS = 100


@pytest.fixture
def quiet() -> Iterator[Simulator[OkxVenue]]:
    """A symbol that trades twice a second, at a venue that lets everybody in."""
    rules = Rules(operations_per_hour=0, connects_per_second=0)
    with Simulator(OkxVenue(NumberedMarket([SYMBOL], now_us(), rate=2.0, depth=5), rules=rules)) as simulator:
        yield simulator


@pytest.mark.timeout(300)
def test_a_hundred_reconnects_leave_one_row_per_trade(
    tmp_path: Path, database: str, quiet: Simulator[OkxVenue]
) -> None:
    """The venue pushes the last trade again on each of 100 subscriptions; the repeats are dropped and counted."""
    toml = okx_toml(database, quiet.ws_url, quiet.http_url, {"trades": [SYMBOL]})
    recorder = RecorderProcess(tmp_path / "recorder", toml)

    def connections() -> int:
        return quiet.call(lambda: len(quiet.venue.ledger().connections))

    def subscribed() -> bool:
        return quiet.call(lambda: any(c.sent and not c.closed for c in quiet.venue.ledger().connections.values()))

    recorder.start()
    try:
        until(recorder.ready, 30, recorder.tail() if recorder.log.exists() else "ready")
        for turn in range(RECONNECTS):
            until(subscribed, 20, f"subscription {turn}")
            seen = connections()
            how = (How.EOF, How.RST, How.CLOSE)[turn % 3]
            quiet.fault(Drop(how=how, code=1012))
            until(lambda seen=seen: connections() > seen, 20, f"reconnect {turn}\n{recorder.tail()}")  # type: ignore[misc]
        until(subscribed, 20, "the last subscription")
        time.sleep(2.5)
        reconnects = recorder.metric("recorder_reconnects_total", source="okx", reason="eof")
        duplicates = recorder.metric("recorder_duplicates_total", source="okx", channel="trades")
        assert recorder.stop() == 0
    finally:
        if recorder.running.poll() is None:
            recorder.kill()
    with psycopg.connect(database) as conn:
        rows = conn.execute("SELECT trade_id::bigint, count(*) FROM trades GROUP BY 1 ORDER BY 1").fetchall()
        missing = conn.execute("SELECT sum(missing)::bigint FROM gaps WHERE from_seq IS NOT NULL").fetchone()
    assert [n for _, n in rows] == [1] * len(rows)
    ids = [int(i) for i, _ in rows]
    lost = (missing[0] or 0) if missing else 0
    assert ids[-1] - ids[0] + 1 == len(ids) + lost
    print(f"{len(ids)} trades, {lost} in gaps, {duplicates:g} repeats dropped, {reconnects:g} ends of file")
    assert duplicates is not None
    assert duplicates >= 10
