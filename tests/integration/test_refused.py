"""A record that only the database can refuse costs its own frame: quarantine, a gap row, and everything else stored."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg

from recorder import configfile
from recorder.capture.datadir import DataDir
from recorder.daemon import Daemon
from recorder.simulator.replay import Replay
from recorder.simulator.server import Simulator
from tests.fault.process import okx_toml, until


def book(seq: int, price: str) -> str:
    """One update of a chained book."""
    levels = {"asks": [[price, "1", "0", "1"]], "bids": [], "ts": str(1_700_000_000_000 + seq), "checksum": 0}
    data = [{**levels, "prevSeqId": seq - 1 if seq > 1 else -1, "seqId": seq}]
    action = "update" if seq > 1 else "snapshot"
    message = {"arg": {"channel": "books", "instId": "BTC-USDT"}, "action": action, "data": data}
    return json.dumps(message, separators=(",", ":"))  # as the venue writes: the fast path takes nothing else


def test_a_level_that_is_no_number(tmp_path: Path, database: str) -> None:
    """`1.2.3` is made of digits and points, so the decoder lets it pass; PostgreSQL does not. 19 of 20 are stored."""
    frames = [book(seq, "1.2.3" if seq == 13 else f"100.{seq}") for seq in range(1, 21)]
    recording = tmp_path / "frames.jsonl"
    recording.write_text("".join(json.dumps({"t": None, "dir": "recv", "raw": raw}) + "\n" for raw in frames))
    with Simulator(Replay([recording], once=True)) as simulator:
        toml = okx_toml(database, simulator.ws_url, simulator.http_url, {"books": ["BTC-USDT"]})
        head = f'[recorder]\ndata_dir = "{tmp_path / "data"}"\nlisten = "127.0.0.1:0"\n'
        config = configfile.parse(head + toml, {}, tmp_path)
        with DataDir(config.home) as home:
            daemon = Daemon(config, home)
            daemon.start()
            try:
                until(lambda: daemon.metrics.rows_committed("books")._value.get() == 19, 30, "19 rows are committed")
            finally:
                daemon.stop()
            refused = daemon.metrics.quarantined("okx", "database")._value.get()
    with psycopg.connect(database) as conn:
        assert conn.execute("SELECT count(*) FROM books").fetchone() == (19,)
        [(frame, reason, raw)] = conn.execute("SELECT frame, reason, raw FROM quarantine").fetchall()
        [(cause, count)] = conn.execute("SELECT cause, count(*) FROM gaps GROUP BY 1").fetchall()
    assert refused == 1
    assert bytes(raw).decode() == frames[12]
    assert "/" in frame
    assert "1.2.3" in reason or "numeric" in reason
    assert (cause, count) == ("quarantined", 1)
