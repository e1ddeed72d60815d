"""Recorded frames, played through the simulator into a database by a whole recorder, give exactly the rows that the
naive decoder finds in them."""

from __future__ import annotations

import json
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from recorder import configfile
from recorder.capture.datadir import DataDir
from recorder.daemon import Daemon
from recorder.records import TABLES
from recorder.simulator.replay import Replay
from recorder.simulator.server import DIALECTS, Simulator
from recorder.store.flush import EPOCH
from tests import naive, samples
from tests.contract.test_samples import EXPECTED, RECORDINGS, checksum, received
from tests.fault.process import okx_toml, until

UNTIMED = -1  # received_at of the naive decoder: a row without a venue time bears ours


# What a source of each venue asks for to begin a replay.
SOURCES = {
    "okx": 'channels = ["trades"]\nsymbols = ["BTC-USDT"]',
    "infoway": 'channels = ["trade"]\nsymbols = ["BTCUSDT"]',
    "okex_v1": 'channels = ["ok_sub_spot_btc_usdt_deals"]',
    "okex_v3": 'channels = ["spot/trade"]\nsymbols = ["BTC-USDT"]',
}
OPTIONS = {"infoway": 'business = "crypto"\napi_key = "sesame-open"'}


def play(venue: str, name: str, home: Path, database: str) -> None:
    """Record the whole file, once."""
    frames = len(received(venue, name))
    replay = Replay([samples.need(EXPECTED[venue][0]) / name], dialect=DIALECTS[venue], once=True)
    with Simulator(replay) as simulator:
        toml = okx_toml(database, simulator.ws_url, simulator.http_url, {})
        toml = toml.replace('venue = "okx"', f'venue = "{venue}"\n{OPTIONS.get(venue, "")}')
        toml = f"{toml}[[source.subscribe]]\n{SOURCES[venue]}\n".replace('name = "okx"', f'name = "{venue}"')
        head = f'[recorder]\ndata_dir = "{home}"\nlisten = "127.0.0.1:0"\n'
        config = configfile.parse(head + toml, {}, home)
        with DataDir(config.home) as directory:
            daemon = Daemon(config, directory)
            daemon.start()
            try:
                assert replay.played.wait(30)
                until(lambda: _arrived(daemon, frames), 30, "all frames were received")
            finally:
                daemon.stop()
            assert daemon.trouble() is None or "ended" in str(daemon.trouble())


def _arrived(daemon: Daemon, frames: int) -> bool:
    """Every frame of the file is spooled; the recorder's own notes are frames too."""
    time.sleep(0.2)
    return sum(feed.spool.next for feed in daemon.pipeline.feeds) > frames


def stored(database: str) -> dict[str, Counter[str]]:
    """What the data tables hold, row by row."""
    found: dict[str, Counter[str]] = {}
    with psycopg.connect(database) as conn:
        for table, about in TABLES.items():
            columns = ", ".join(f'"{column}"' for column in about.columns)
            rows = conn.execute(f"SELECT {columns} FROM {table}".encode()).fetchall()
            if rows:
                found[table] = Counter(spelled(dict(zip(about.columns, row, strict=True))) for row in rows)
    return found


def receipt(database: str) -> int:
    """When a trade was received (µs): of a trade without a date that decides about its day."""
    with psycopg.connect(database) as conn:
        row = conn.execute("SELECT received_at FROM trades ORDER BY received_at LIMIT 1").fetchone()
    return UNTIMED if row is None else round((row[0] - EPOCH).total_seconds() * 1e6)


def spelled(row: dict[str, Any]) -> str:
    """A row as text; a time that is our own receive time, and that time itself, are named, not spelled."""
    received = row.pop("received_at")
    values = {column: _value(value) for column, value in row.items()}
    if row["time"] == received:
        values["time"] = "received"
    return repr(sorted(values.items()))


def _value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, list):
        return [_value(each) for each in value]
    if isinstance(value, dict):
        return sorted((key, _value(each)) for key, each in value.items())
    if hasattr(value, "tzinfo"):
        return round((value - EPOCH).total_seconds() * 1e6)
    return value


def expected(venue: str, name: str, received_at: int) -> dict[str, Counter[str]]:
    """What the naive decoder finds. Of a candle the last revision is kept, closed before open; of a numbered trade
    that the venue sent twice, one; an update whose predecessor never came is suspect, and so is all that follows the
    snapshot of an excerpt that was shortened by hand: its checksum is that of the whole book."""
    found: dict[str, Counter[str]] = {}
    candles: dict[tuple[Any, ...], dict[str, Any]] = {}
    trades: set[tuple[Any, ...]] = set()
    chains: dict[tuple[Any, ...], int | None] = {}
    short: dict[tuple[Any, ...], bool] = {}
    for raw in received(venue, name):
        for table, row in naive.decode(venue, raw, received_at, venue):
            if table == "candles":
                key = (row["channel"], row["symbol"], row["time"])
                if not (key in candles and candles[key]["closed"] and not row["closed"]):
                    candles[key] = row
                continue
            identity = (row["channel"], row["symbol"], row.get("trade_id"))
            if table == "trades" and row["trade_id"] is not None and identity in trades:
                continue
            trades.add(identity)
            if table == "books" and row["prev_seq"] is not None and row["prev_seq"] not in (-1, chains.get(identity)):
                row["integrity"] = "suspect"
            elif table == "books":
                chains[identity] = row["seq"]
                if row["kind"] == "snapshot":
                    short[identity] = shortened(raw, row)
                if short.get(identity):
                    row["integrity"] = "suspect"
            found.setdefault(table, Counter())[spelled(row)] += 1
    for row in candles.values():
        found.setdefault("candles", Counter())[spelled(row)] += 1
    return found


def shortened(raw: bytes, row: dict[str, Any]) -> bool:
    """Whether a snapshot has a checksum of another book."""
    data = json.loads(raw)["data"]
    sent = data[0].get("checksum", 0) if isinstance(data, list) else 0
    return bool(sent) and checksum(row["bids"], row["asks"]) != sent


# What the stream tells twice, and so is stored once: revisions of a running candle.
CANDLES = {"cryptofeed_okcoin_2023-05_v5_candles_books.jsonl": 4, "docs_examples_okx.jsonl": 2, "crypto_kline.jsonl": 1}
CANDLES["docs_examples.jsonl"] = 1


@pytest.mark.parametrize(("venue", "name"), [each for each in RECORDINGS if each[1] != "rest_responses.jsonl"])
def test_recorded_frames_become_exactly_these_rows(venue: str, name: str, tmp_path: Path, database: str) -> None:
    """Counts and contents, table by table."""
    play(venue, name, tmp_path / "data", database)
    wanted = expected(venue, name, receipt(database))
    found = stored(database)
    counts = EXPECTED[venue][1][name].rows
    if "candles" in counts:
        counts = {**counts, "candles": CANDLES.get(name, counts["candles"])}
    assert {table: rows.total() for table, rows in wanted.items()} == counts
    assert found == wanted
