"""A thousand messages that nobody can store, in the middle of a stream: each costs only itself."""

from __future__ import annotations

import base64
import json
import random
from collections import Counter
from pathlib import Path

import psycopg
import pytest

from recorder.capture.spoolreader import SpoolReader
from recorder.records import now_us
from recorder.simulator import faults
from recorder.simulator.okx.venue import OkxVenue, Rules
from recorder.simulator.oracle import NumberedMarket
from recorder.simulator.server import Simulator
from recorder.simulator.wire import frame
from tests.fault.ledger import judge
from tests.fault.process import RecorderProcess, okx_toml, until

SYMBOL = "BTC-USDT"
COUNT = 1000
FEED = "okx/public/0"
ARG = {"channel": "trades", "instId": SYMBOL}
TRADE = {"tradeId": "1", "px": "1", "sz": "1", "side": "buy", "ts": "1750000000000", "count": "1", "seqId": 1}


def message(**fields: object) -> bytes:
    """A trade with some fields of its own."""
    return json.dumps({"arg": ARG, "data": [{**TRADE, **fields}]}, separators=(",", ":")).encode()


def bad(n: int, rng: random.Random) -> tuple[bytes, str]:
    """Bad message number `n`, no two alike, and the reason that quarantine must give."""
    whole, mark = message(px=f"{n}.5"), f"{n}".encode()
    kinds: list[tuple[bytes, str]] = [
        (whole.replace(b".5", b".\xff5"), "invalid_utf8"),
        (whole[: rng.randrange(40, len(whole) - 1)] + mark, "invalid_json"),
        (message(px={"value": n}), "wrong_type"),
        (message(seqId=f"{n}x"), "wrong_type"),
        (message(tradeId=n, px=None), "wrong_type"),
        (message(px="NaN", sz=f"{n}"), "bad_number"),
        (message(px="Infinity", sz=f"{n}"), "bad_number"),
        (whole.replace(b'"seqId":1', b'"seqId":NaN'), "invalid_json"),
        (message(sz=f"{n}\\N"), "bad_number"),
        (b'{"arg":{"channel":"trades","n":%b,"deep":' % mark + b"[" * 5000 + b"]" * 5000 + b"}}", "too_deep"),
        (whole.replace(b'"side":"buy"', b'"side":"\\ud800"'), "invalid_json"),
        (message(ts="1000", sz=f"{n}"), "absurd_time"),
        (message(ts="99999999999999", sz=f"{n}"), "absurd_time"),
        (message(px="", sz=f"{n}"), "missing_field"),
        (json.dumps({"arg": {"channel": "status"}, "data": [{"n": n, "nul": "\0"}]}).encode(), "bad_text"),
    ]
    return kinds[n % len(kinds)]


LARGE = json.dumps({"arg": {"channel": "status"}, "data": [{"title": "x" * 1_000_000}]}, separators=(",", ":")).encode()


@pytest.mark.timeout(300)
def test_a_thousand_bad_messages_cost_only_themselves(tmp_path: Path, database: str) -> None:
    """Every good message is stored, a legal one of 1 MB too; each bad one is a row of quarantine with its bytes, its
    reason and its place in the spool; the connection is never dropped."""
    rng = random.Random(20261126)
    messages = [bad(n, rng) for n in range(COUNT)]
    assert len({raw for raw, _ in messages}) == COUNT
    rules = Rules(operations_per_hour=0, connects_per_second=0)
    home = tmp_path / "recorder"
    with Simulator(OkxVenue(NumberedMarket([SYMBOL], now_us(), rate=500.0, depth=5), rules=rules)) as simulator:
        toml = okx_toml(database, simulator.ws_url, simulator.http_url, {"trades": [SYMBOL]})
        recorder = RecorderProcess(home, toml)
        recorder.start()
        try:
            until(recorder.ready, 30, "ready")
            for n in range(0, COUNT, 20):
                burst = b"".join(frame(raw) for raw, _ in messages[n : n + 20])
                simulator.fault(faults.Raw(b64=base64.b64encode(burst).decode()))
            simulator.fault(faults.Raw(b64=base64.b64encode(frame(LARGE)).decode()))
            issued = simulator.call(lambda: simulator.venue.ledger().issued[SYMBOL])
            until(lambda: _stored(database) >= issued, 60, f"the present is stored\n{recorder.tail()}")
            until(lambda: _quarantined(database) >= COUNT, 30, "all bad ones are set aside")
            counted = sum(
                recorder.metric("recorder_quarantined_total", source="okx", reason=reason) or 0
                for reason in {reason for _, reason in messages}
            )
            assert recorder.stop() == 0, recorder.tail()
        finally:
            if recorder.running.poll() is None:
                recorder.kill()
        connections = len(simulator.venue.ledger().connections)
    assert connections == 1
    assert counted == COUNT
    assert judge(database, SYMBOL, issued + 10_000).gaps == ()
    with psycopg.connect(database) as conn:
        rows = conn.execute("SELECT raw, reason, frame FROM quarantine").fetchall()
        large = conn.execute("SELECT max(length(payload->>'title')) FROM messages").fetchone()
    assert large == (1_000_000,)
    assert Counter((bytes(raw), reason) for raw, reason, _ in rows) == Counter(messages)
    reader = SpoolReader(home / "data" / "spool", FEED)
    for raw, _, place in rows:
        run, _, n = place.rpartition("/")
        assert reader.frame(run, int(n)) == bytes(raw)
    reader.close()


def _stored(url: str) -> int:
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT max(trade_id::bigint) FROM trades").fetchone()
    return int(row[0]) if row and row[0] is not None else 0


def _quarantined(url: str) -> int:
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT count(*) FROM quarantine").fetchone()
    return int(row[0]) if row else 0
