"""A book whose chain the venue breaks, recorded by a whole recorder: mended over REST, beside a stream that goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg

from recorder import configfile
from recorder.capture.datadir import DataDir
from recorder.daemon import Daemon
from recorder.simulator import faults
from recorder.simulator.clock import SystemClock
from recorder.simulator.market import Market
from recorder.simulator.okx import LISTINGS, OkxVenue
from recorder.simulator.server import Simulator
from tests.fault.process import okx_toml, until

BTC = "BTC-USDT"


def books(database: str) -> list[tuple[Any, ...]]:
    """What is stored of the book, in the order of arrival: kind, seq, prev_seq, integrity, origin."""
    with psycopg.connect(database) as conn:
        return conn.execute(
            "SELECT kind, seq, prev_seq, integrity, origin FROM books ORDER BY received_at, seq"
        ).fetchall()


def mended(database: str) -> bool:
    """After an answer over REST, an update that is not suspect came."""
    rows = books(database)
    first = next((n for n, row in enumerate(rows) if row[4] == "rest"), len(rows))
    return any(row[3] == "verified" for row in rows[first:])


def test_a_broken_chain_is_mended_over_rest(tmp_path: Path, database: str) -> None:
    """One update is lost: a gap, suspect updates, a snapshot of origin `rest`, and verified updates again, all of it
    without a second snapshot of the stream, and no update is lost by it."""
    clock = SystemClock()
    with Simulator(OkxVenue(Market(LISTINGS, clock.wall_us(), rate=50.0), clock=clock)) as simulator:
        toml = okx_toml(database, simulator.ws_url, simulator.http_url, {"books": [BTC]})
        head = f'[recorder]\ndata_dir = "{tmp_path / "data"}"\nlisten = "127.0.0.1:0"\n'
        config = configfile.parse(head + toml, {}, tmp_path)
        with DataDir(config.home) as directory:
            daemon = Daemon(config, directory)
            daemon.start()
            try:
                until(lambda: len(books(database)) > 3, 30, "the book comes in")
                simulator.fault(faults.Breakbook(symbol=BTC, count=1))
                until(lambda: mended(database), 30, "the book is mended")
            finally:
                daemon.stop()
    rows = books(database)
    assert [row[4] for row in rows if row[0] == "snapshot"] == ["stream", "rest"]
    integrity = [row[3] for row in rows if row[4] == "stream"]
    first, last = integrity.index("suspect"), len(integrity) - integrity[::-1].index("suspect")
    assert set(integrity[:first]) == set(integrity[last:]) == {"verified"}
    assert set(integrity[first:last]) == {"suspect"}
    with psycopg.connect(database) as conn:
        gaps = conn.execute("SELECT cause, from_seq, to_seq, missing FROM gaps").fetchall()
    before, broken = (row for row in [r for r in rows if r[4] == "stream"][first - 1 : first + 1])
    assert gaps == [("sequence", before[1], broken[1], None)]
