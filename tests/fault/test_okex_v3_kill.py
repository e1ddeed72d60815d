"""kill -9 at a venue of the older protocol, all of whose frames are compressed.

Every trade number is stored exactly once or inside exactly one gap; of the book each connection's updates are stored
from the whole book on, once, in order, all but what was on its way when the recorder died; and every stored book has
the checksum that the venue sent. Short by default; RECORDER_LONG=1 kills 20 times.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.fault.okexv3stage import BOOK, TRADE, VENUE, staged
from tests.fault.stage import LONG, RATE, SYMBOL, Oracle
from tests.integration.okexv3client import Reader

KILLS = 20 if LONG else 3
ON_ITS_WAY = 1_500  # ms: what came longer than that before the end of its connection is stored
BOOKS = """SELECT (extract(epoch FROM time) * 1000)::bigint, kind, bids[:][1:2]::text, asks[:][1:2]::text
           FROM books WHERE source = %s AND channel = %s AND symbol = %s ORDER BY time, received_at"""
HOLES = """SELECT cause, (extract(epoch FROM from_time) * 1000)::bigint, (extract(epoch FROM to_time) * 1000)::bigint
           FROM gaps WHERE source = %s AND channel = %s AND symbol = %s ORDER BY from_time"""
Row = tuple[int, str, str, str]


@pytest.fixture
def oracle(tmp_path: Path, database: str) -> Iterator[Oracle]:
    """2 000 numbered trades a second, and a book."""
    with staged(tmp_path / "recorder", database, {TRADE: [SYMBOL], BOOK: [SYMBOL]}) as stage:
        yield stage


@pytest.mark.timeout(900)
def test_killed_at_random_moments(oracle: Oracle) -> None:
    """kill -9 at random moments of 2 000 trades a second and a book (seed printed): the trades."""
    killed(oracle)
    oracle.start()
    assert oracle.check(KILLS).stored > RATE
    sent = oracle.simulator.call(oracle.simulator.venue.books)
    with psycopg.connect(oracle.database) as conn:
        stored = conn.execute(BOOKS.encode(), (VENUE, BOOK, SYMBOL)).fetchall()
        holes = conn.execute(HOLES.encode(), (VENUE, BOOK, SYMBOL)).fetchall()
    kept = chains(sent, stored)
    print(f"books: {len(stored)} rows of {len(kept)} connections, gaps {holes}")
    assert len(kept) > KILLS // 2
    assert [(cause, first, last) for cause, first, last in holes] == [
        ("recorder_down", before[-1][0], after[0][0]) for before, after in pairwise(kept)
    ]


def killed(oracle: Oracle) -> None:
    """Start and kill it, each time after a while."""
    seed = int(os.environ.get("RECORDER_SEED", random.randrange(2**32)))
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(KILLS):
        oracle.start()
        time.sleep(rng.uniform(0.5, 4.5 if LONG else 2.0))
        oracle.recorder.kill()


def chains(sent: list[tuple[int, list[dict[str, Any]]]], stored: list[Row]) -> list[list[Row]]:
    """The stored rows, cut at each whole book: each part must be how a connection began, up to what was on its way,
    and have the checksums that were sent. Connections of which nothing is stored ended at once."""
    starts = [n for n, row in enumerate(stored) if row[1] == "snapshot"]
    assert starts[:1] == [0]
    parts = [stored[a:b] for a, b in pairwise([*starts, len(stored)])]
    left = iter(parts)
    part = next(left, None)
    for end, messages in sent:
        rows = [row_of(message) for message in messages]
        if part is None or part[0] != rows[0]:
            assert not late(rows, end), "nothing is stored of a connection that lasted"
            continue
        assert part == rows[: len(part)]
        assert not late(rows[len(part) :], end)
        reader = Reader()
        assert all(reader.take(message) for message in messages[: len(part)])
        part = next(left, None)
    assert part is None, "a book is stored that was never sent"
    return parts


def late(rows: list[Row], end: int) -> list[Row]:
    """Those that are not stored though they came long before the end."""
    return [row for row in rows if end and row[0] < end - ON_ITS_WAY]


def row_of(message: dict[str, Any]) -> Row:
    """A message as the table has it: of a level, price and size."""
    (data,) = message["data"]
    at = round(datetime.fromisoformat(data["timestamp"]).timestamp() * 1000)
    kind = "snapshot" if message["action"] == "partial" else "update"
    bids, asks = ("{" + ",".join(f"{{{px},{qty}}}" for px, qty, *_ in data[side]) + "}" for side in ("bids", "asks"))
    return at, kind, bids, asks
