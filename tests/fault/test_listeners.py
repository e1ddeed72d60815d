"""`GET /events` of a real recorder: whoever reads gets every record exactly, whoever does not changes nothing.

Short by default; RECORDER_LONG=1 lets the silent client be silent for a minute.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from recorder.simulator.oracle import trade_of
from tests.fault.process import RecorderProcess, until
from tests.fault.stage import LONG, SYMBOL, Oracle, staged
from tests.fixtures.server import PgServer

OTHER = "ETH-USDT"
SILENCE = 60.0 if LONG else 12.0
LOOK = 5.0  # seconds that the time before is measured


def connect(recorder: RecorderProcess, query: str, *, buffer: int = 0) -> socket.socket:
    """A client that has asked for events. `buffer`: bytes that its kernel reads for it."""
    sock = socket.socket()
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.settimeout(30)
    sock.connect(("127.0.0.1", recorder.port))
    sock.sendall(f"GET /events?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return sock


@dataclass
class Reader:
    """A client that reads all it gets in a thread of its own."""

    sock: socket.socket
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    head: str = ""

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        with suppress(ConnectionResetError), self.sock, self.sock.makefile("rb") as file:  # reset: `close` left first
            self.head = b"".join(iter(file.readline, b"\r\n")).decode()
            fields: dict[str, str] = {}
            for line in file:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                elif "data" in fields:
                    self.ids.append(fields.get("id", ""))
                    self.events.append((fields["event"], json.loads(fields["data"])))
                    fields = {}

    def records(self) -> list[dict[str, Any]]:
        """What came of trades."""
        return [data for event, data in list(self.events) if event == "trades"]

    def close(self) -> None:
        """Leave."""
        self.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join()


@pytest.fixture
def oracle(tmp_path: Path, pg_server: PgServer) -> Iterator[Oracle]:
    """A recorder of 2 000 numbered trades a second on each of two symbols."""
    with staged(tmp_path / "recorder", pg_server.writer_url, pg_server.url, symbols=(SYMBOL, OTHER)) as stage:
        stage.start()
        stage.ready()
        until(lambda: all(feed["live"] for feed in stage.recorder.status()["feeds"]), 30, "the queue carries it")
        yield stage


def stored(url: str, first: int, last: int, symbol: str) -> list[dict[str, Any]]:
    """Rows of the database, as JSON with every number as text."""
    with psycopg.connect(url) as conn:
        conn.execute("SET TIME ZONE 'UTC'")
        columns = (
            "time, received_at, source, channel, symbol, price, size, side, trade_id, count, seq, turnover, origin"
        )
        rows = conn.execute(
            "SELECT " + ", ".join(f"{column}::text" for column in columns.split(", ")) + " FROM trades"
            " WHERE symbol = %s AND trade_id::bigint BETWEEN %s AND %s ORDER BY trade_id::bigint",
            (symbol, first, last),
        ).fetchall()
    return [dict(zip(columns.split(", "), row, strict=True)) for row in rows]


def as_text(record: dict[str, Any]) -> dict[str, Any]:
    """A record with its times as the database writes them: without zeros at the end."""
    times = {}
    for name in ("time", "received_at"):
        whole, _, rest = record[name].removesuffix("Z").replace("T", " ").partition(".")
        times[name] = (f"{whole}.{rest.rstrip('0')}" if rest.strip("0") else whole) + "+00"
    return {**record, **times}


@pytest.mark.timeout(180)
def test_who_reads_gets_everything_exactly(oracle: Oracle) -> None:
    """From the first record on each one of the stream that was asked for, none of another, with the values that the
    database has, character by character; its id is where it stands in the spool."""
    reader = Reader(connect(oracle.recorder, f"source=okx&channel=trades&symbol={SYMBOL}"))
    until(lambda: len(reader.events) > 10_000, 60, f"ten thousand records\n{oracle.recorder.tail()}")
    reader.close()
    assert "200 OK" in reader.head
    assert "text/event-stream" in reader.head
    assert {event for event, _ in reader.events} == {"trades"}
    found = {int(each["trade_id"]): each for each in reader.records()}
    first, last = min(found), max(found)
    until(lambda: oracle.stored() >= last, 60, "they are stored")
    rows = stored(oracle.database, first, last, SYMBOL)
    assert len(found) == len(reader.events) == last - first + 1
    assert [as_text(found[n]) for n in sorted(found)] == rows
    assert all((each["price"], each["size"], each["side"]) == trade_of(n) for n, each in found.items())
    (run,) = {each.partition("/")[0] for each in reader.ids}
    frames = [int(each.partition("/")[2]) for each in reader.ids]
    assert (run, frames) == (oracle.recorder.status()["feeds"][0]["run"], sorted(frames))


@dataclass
class Watch:
    """What the recorder does meanwhile."""

    rate: float = 0.0
    lag: float = 0.0
    rss: int = 0


def watch(recorder: RecorderProcess, seconds: float) -> Watch:
    """Rows committed a second, the longest lag, the most memory."""

    def rows() -> float:
        return recorder.metric("recorder_rows_committed_total", table="trades") or 0.0

    found, began, before = Watch(), time.monotonic(), rows()
    while (passed := time.monotonic() - began) < seconds:
        found.lag = max(found.lag, recorder.metric("recorder_lag_seconds", source="okx") or 0.0)
        found.rss = max(found.rss, recorder.rss())
        time.sleep(0.2)
    found.rate = (rows() - before) / passed
    return found


def dropped(recorder: RecorderProcess) -> float:
    """How many listeners were too slow."""
    return recorder.metric("recorder_events_dropped_total") or 0.0


@pytest.mark.timeout(300)
def test_who_stops_reading_changes_nothing(oracle: Oracle) -> None:
    """A client that asks for all of 4 000 trades a second and never reads: rows, lag and memory stay what they were,
    it is dropped and counted, another client misses nothing, and no frame was lost or stored twice."""
    recorder = oracle.recorder
    reader = Reader(connect(recorder, f"symbol={OTHER}"))
    until(lambda: bool(reader.events), 30, "the reader reads")
    before = watch(recorder, LOOK)
    silent = connect(recorder, "source=okx", buffer=16 << 10)
    until(lambda: recorder.metric("recorder_events_clients") == 2, 30, "both listen")
    during = watch(recorder, SILENCE)
    until(lambda: dropped(recorder) == 1, 30, f"it is dropped\n{recorder.tail()}")
    assert recorder.metric("recorder_events_clients") == 1
    print(f"before {before}\nduring {during}")
    assert during.rate > 0.85 * before.rate
    assert during.lag < max(2.0, 5 * before.lag)
    assert during.rss < before.rss + (48 << 20)
    silent.close()
    reader.close()
    ids = sorted(int(each["trade_id"]) for each in reader.records())
    assert ids == list(range(ids[0], ids[-1] + 1))
    assert oracle.settle().gaps == ()


@pytest.mark.timeout(180)
def test_behind_is_said(oracle: Oracle, pg_server: PgServer) -> None:
    """While the database is away no record passes, and the client knows since when, and when they pass again; what it
    missed is in the database."""
    reader = Reader(connect(oracle.recorder, f"symbol={SYMBOL}"))
    until(lambda: len(reader.events) > 100, 30, "the reader reads")
    pg_server.stop()
    until(lambda: ("behind", {"source": "okx", "feed": "okx/public/0"}) in reader.events, 60, "it is behind")
    time.sleep(1.0)
    pg_server.start()
    until(lambda: reader.events[-1][0] == "trades" and "live" in {e for e, _ in reader.events}, 90, "it is live again")
    reader.close()
    kinds = [event for event, _ in reader.events]
    behind, live = kinds.index("behind"), len(kinds) - 1 - kinds[::-1].index("live")
    assert behind < live
    missed = int(reader.events[behind - 1][1]["trade_id"]) + 1, int(reader.events[live + 1][1]["trade_id"]) - 1
    assert missed[1] - missed[0] > 1000
    until(lambda: oracle.stored() > missed[1], 60, "all is stored")
    assert len(stored(oracle.database, *missed, SYMBOL)) == missed[1] - missed[0] + 1


def test_what_is_asked_wrongly_is_a_sentence(oracle: Oracle) -> None:
    """400 with what there is; nothing is listened to."""
    assert oracle.recorder.get("/events?source=nasdaq") == "unknown source 'nasdaq': there is okx\n"
    assert oracle.recorder.get("/events?channel=books") == "unknown channel 'books': there is trades\n"
    assert oracle.recorder.metric("recorder_events_clients") == 0
