"""Three hundred symbols by one pattern while the database is away: memory stays bounded, then and while it drains.

Short by default; RECORDER_LONG=1 takes the database away for ten minutes.
"""

from __future__ import annotations

import time
from pathlib import Path

import psycopg
import pytest

from recorder.pipeline import QUEUE_BYTES
from recorder.records import now_us
from recorder.simulator.okx.listings import crowd
from recorder.simulator.okx.venue import OkxVenue
from recorder.simulator.oracle import NumberedMarket
from recorder.simulator.server import Simulator
from tests.fault.ledger import judge
from tests.fault.process import RecorderProcess, okx_toml, until
from tests.fault.stage import LONG
from tests.fixtures.server import PgServer

SYMBOLS = 300
CHANNELS = ("trades", "books", "tickers")
TRADES = 3.0  # a second on each symbol; every one of them moves a book and a ticker
MESSAGES = 1500.0  # a second at least, of all channels together: what makes it a test
OUTAGE = 600.0 if LONG else 15.0
MOST = 400 << 20


def peak(recorder: RecorderProcess) -> int:
    """The most resident bytes that the process ever had, as the kernel counts them."""
    status = Path(f"/proc/{recorder.running.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) << 10


def messages(recorder: RecorderProcess) -> float:
    """Received so far, of all channels."""
    return sum(recorder.metric("recorder_messages_received_total", channel=each) or 0.0 for each in CHANNELS)


def lag(recorder: RecorderProcess) -> float:
    """Seconds that the oldest record waits."""
    return recorder.metric("recorder_lag_seconds", source="okx") or 0.0


@pytest.mark.timeout(1800)
def test_a_long_outage_with_three_hundred_symbols(tmp_path: Path, pg_server: PgServer) -> None:
    """At some 2 000 messages a second the process never has more than 400 MiB, from its start to the end of the
    backlog; afterwards everything is stored, with no gap."""
    market = NumberedMarket(crowd(SYMBOLS), now_us(), rate=TRADES, calm=True)
    with Simulator(OkxVenue(market)) as simulator:
        subscribe = {channel: ["*-USDT-SWAP"] for channel in CHANNELS}
        toml = okx_toml(pg_server.writer_url, simulator.ws_url, simulator.http_url, subscribe)
        recorder = RecorderProcess(tmp_path / "recorder", toml.replace('"64MiB"', '"4GiB"'))
        recorder.start()
        try:
            until(lambda: _symbols(pg_server.url) == SYMBOLS, 60, f"all symbols are stored\n{recorder.tail()}")
            before = peak(recorder)
            pg_server.stop()
            received, began = messages(recorder), time.monotonic()
            time.sleep(OUTAGE)
            rate = (messages(recorder) - received) / (time.monotonic() - began)
            during, behind, queued = peak(recorder), lag(recorder), recorder.metric("recorder_queue_bytes") or 0.0
            pg_server.start()
            until(lambda: recorder.ready() and lag(recorder) < 1.0, 2 * OUTAGE + 60, f"drained\n{recorder.tail()}")
            drained = peak(recorder)
            time.sleep(2.5)  # the grace of missing ids
            assert recorder.stop() == 0, recorder.tail()
        finally:
            if recorder.running.poll() is None:
                recorder.kill()
        issued = simulator.call(lambda: dict(simulator.venue.ledger().issued))
    print(
        f"{rate:.0f} messages/s, {behind:.0f} s behind; peak RSS {before >> 20} MiB before, {during >> 20} MiB during, "
        f"{drained >> 20} MiB after the outage"
    )
    assert rate > MESSAGES
    assert drained < MOST
    assert queued <= QUEUE_BYTES  # of all feeds, though a pattern has made them from a source that began with none
    with psycopg.connect(pg_server.url) as conn:
        assert conn.execute("SELECT symbol, channel, cause FROM gaps").fetchall() == []
    for symbol in crowd(SYMBOLS)[::50]:
        assert judge(pg_server.url, symbol, issued[symbol]).gaps == ()


def _symbols(url: str) -> int:
    """How many symbols have records in each of the tables."""
    with psycopg.connect(url) as conn:
        query = "SELECT count(*) FROM (SELECT symbol FROM streams GROUP BY symbol HAVING count(*) = %s) AS whole"
        row = conn.execute(query, (len(CHANNELS),)).fetchone()
    return int(row[0]) if row else 0
