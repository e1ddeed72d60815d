"""A venue that announces the end of a connection (64008) costs nothing: another takes over before it comes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psycopg
import pytest

from recorder.records import now_us
from recorder.simulator.faults import Notice
from recorder.simulator.okx.venue import OkxVenue, Rules
from recorder.simulator.oracle import NumberedMarket
from recorder.simulator.server import Simulator
from tests.fault.ledger import judge
from tests.fault.process import RecorderProcess, okx_toml, until

SYMBOL = "BTC-USDT"
CHANNELS = ("trades", "books", "tickers", "bbo-tbt", "books5")
TURNS = 6 if os.environ.get("RECORDER_LONG") == "1" else 3
LEFT_WITHIN = 40.0  # of the 60 that the venue gives; takes 1 to 3 on a machine at rest


@pytest.mark.timeout(300)
def test_an_announced_end_leaves_no_hole(tmp_path: Path, database: str) -> None:
    """Hand-overs under 500 trades a second: numbers and book chains run on, nothing is stored twice, and no stream
    has a gap, also of those channels that cannot prove it."""
    rules = Rules(operations_per_hour=0, connects_per_second=0)
    with Simulator(OkxVenue(NumberedMarket([SYMBOL], now_us(), rate=500.0, depth=10), rules=rules)) as simulator:
        subscribe = {channel: [SYMBOL] for channel in CHANNELS}
        recorder = RecorderProcess(
            tmp_path / "recorder", okx_toml(database, simulator.ws_url, simulator.http_url, subscribe)
        )
        recorder.start()
        try:
            until(recorder.ready, 30, "ready")
            for turn in range(1, TURNS + 1):
                _hand_over(simulator, turn, recorder)
            issued = simulator.call(lambda: simulator.venue.ledger().issued[SYMBOL])
            until(lambda: _stored(database) >= issued, 60, f"the present is stored\n{recorder.tail()}")
            planned = recorder.metric("recorder_reconnects_total", source="okx", reason="handover")
            assert recorder.stop() == 0, recorder.tail()
        finally:
            if recorder.running.poll() is None:
                recorder.kill()
    assert planned == TURNS
    finding = judge(database, SYMBOL, simulator.venue.ledger().issued[SYMBOL])
    assert finding.gaps == ()
    with psycopg.connect(database) as conn:
        _nothing_missing(conn)
        _nothing_twice(conn)
        _chain_runs_on(conn)


def _hand_over(simulator: Simulator[OkxVenue], turn: int, recorder: RecorderProcess) -> None:
    """Announce the end; both connections stand for a while, then the old one is left before the venue ends it."""

    def standing() -> list[int]:
        connections = simulator.call(lambda: list(simulator.venue.ledger().connections.values()))
        return [n for n, each in enumerate(connections) if not each.closed]

    assert standing() == [turn - 1], recorder.tail()
    simulator.fault(Notice(after=60.0))
    try:
        until(lambda: standing() == [turn], LEFT_WITHIN, f"hand-over {turn}")
    except AssertionError as late:
        raise AssertionError(f"{late}: {standing()} stand\n{recorder.get('/status')}\n{recorder.tail()}") from None


def _stored(url: str) -> int:
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT max(trade_id::bigint) FROM trades").fetchone()
    return int(row[0]) if row and row[0] is not None else 0


def _nothing_missing(conn: psycopg.Connection[tuple[object, ...]]) -> None:
    assert conn.execute("SELECT channel, cause, from_time, to_time FROM gaps").fetchall() == []


def _nothing_twice(conn: psycopg.Connection[tuple[object, ...]]) -> None:
    """What has no id is told by its time at the venue: a best price is pushed once a moment."""
    for query in (
        "SELECT time, count(*) FROM tickers GROUP BY 1 HAVING count(*) > 1",
        "SELECT seq, count(*) FROM quotes GROUP BY 1 HAVING count(*) > 1",
        "SELECT channel, seq, count(*) FROM books GROUP BY 1, 2 HAVING count(*) > 1",
    ):
        assert conn.execute(query).fetchall() == [], query


def _chain_runs_on(conn: psycopg.Connection[tuple[object, ...]]) -> None:
    rows = conn.execute(
        "SELECT kind, prev_seq, seq, integrity FROM books WHERE channel = 'books' ORDER BY received_at, seq"
    ).fetchall()
    assert len(rows) > 20
    assert [row[0] for row in rows] == ["snapshot"] + ["update"] * (len(rows) - 1)
    assert {row[3] for row in rows} == {"verified"}
    assert [row[1] for row in rows[1:]] == [row[2] for row in rows[:-1]]


@pytest.mark.timeout(300)
def test_an_end_without_time_to_take_over_is_a_hole_of_its_own_length(tmp_path: Path, database: str) -> None:
    """The venue ends the connection together with its announcement: what nobody received lies in one gap row a stream,
    and the second connection goes on."""
    rules = Rules(operations_per_hour=0, connects_per_second=0)
    with Simulator(OkxVenue(NumberedMarket([SYMBOL], now_us(), rate=500.0, depth=10), rules=rules)) as simulator:
        subscribe = {channel: [SYMBOL] for channel in ("trades", "tickers")}
        recorder = RecorderProcess(
            tmp_path / "recorder", okx_toml(database, simulator.ws_url, simulator.http_url, subscribe)
        )
        recorder.start()
        try:
            until(recorder.ready, 30, "ready")
            simulator.fault(Notice(after=0.0))
            until(lambda: len(simulator.call(simulator.venue.ledger).connections) == 2, 20, recorder.tail())
            until(recorder.ready, 30, "ready again")
            issued = simulator.call(lambda: simulator.venue.ledger().issued[SYMBOL])
            until(lambda: _stored(database) >= issued, 60, f"the present is stored\n{recorder.tail()}")
            time.sleep(2.5)  # the grace of missing ids, in the recorder's own time
            assert recorder.stop() == 0, recorder.tail()
        finally:
            if recorder.running.poll() is None:
                recorder.kill()
    finding = judge(database, SYMBOL, simulator.venue.ledger().issued[SYMBOL])
    assert len(finding.gaps) <= 1
    with psycopg.connect(database) as conn:
        rows = conn.execute("SELECT channel, cause FROM gaps WHERE channel = 'tickers'").fetchall()
    assert rows == [("tickers", "disconnect")]
