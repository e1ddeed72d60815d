"""Books that begin without a snapshot, or whose chain breaks, recorded by a whole recorder: mended over REST, beside a
stream that goes on, and equal to the venue's own book in the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psycopg
import pytest

from recorder import configfile
from recorder.capture.datadir import DataDir
from recorder.daemon import Daemon
from recorder.simulator import faults
from recorder.simulator.clock import SystemClock
from recorder.simulator.market import Market
from recorder.simulator.okx.commands import Manners
from recorder.simulator.okx.options import Start
from recorder.simulator.okx.venue import LISTINGS, OkxVenue
from recorder.simulator.server import Simulator
from tests.fault.process import okx_toml, until

BTC = "BTC-USDT"


class Row(NamedTuple):
    """A stored record of the book."""

    kind: str
    seq: int
    prev_seq: int | None
    bids: list[list[Decimal]]
    asks: list[list[Decimal]]
    integrity: str
    origin: str


class Stage:
    """A simulated venue, and what a recorder has stored of its one book."""

    def __init__(self, simulator: Simulator[OkxVenue], database: str) -> None:
        self.simulator = simulator
        self.database = database

    def rows(self) -> list[Row]:
        """In the order of arrival."""
        with psycopg.connect(self.database) as conn:
            found = conn.execute(
                "SELECT kind, seq, prev_seq, bids, asks, integrity, origin FROM books ORDER BY received_at, seq"
            ).fetchall()
        return [Row(*row) for row in found]

    def gaps(self) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database) as conn:
            return conn.execute("SELECT cause, from_seq, to_seq, missing FROM gaps ORDER BY id").fetchall()

    def mended(self) -> bool:
        """After an answer over REST, ten updates that are not suspect came."""
        rows = self.rows()
        first = next((n for n, row in enumerate(rows) if row.origin == "rest"), len(rows))
        return sum(row.integrity == "verified" for row in rows[first:]) >= 10

    def published(self, seq: int) -> list[dict[Decimal, Decimal]]:
        """The venue's own book under a number."""
        url = f"{self.simulator.http_url}/_control/book"
        answer = httpx.get(url, params={"instId": BTC, "seqId": seq}).json()
        return [{Decimal(level[0]): Decimal(level[1]) for level in answer[side]} for side in ("bids", "asks")]


@contextmanager
def recording(home: Path, database: str, *manners: Manners) -> Iterator[Stage]:
    """A recorder of one book of a venue with these manners."""
    clock = SystemClock()
    with Simulator(OkxVenue(Market(LISTINGS, clock.wall_us(), rate=50.0), clock=clock)) as simulator:
        for each in manners:
            simulator.fault(each)
        toml = okx_toml(database, simulator.ws_url, simulator.http_url, {"books": [BTC]})
        head = f'[recorder]\ndata_dir = "{home}"\nlisten = "127.0.0.1:0"\n'
        config = configfile.parse(head + toml, {}, home)
        with DataDir(config.home) as directory:
            daemon = Daemon(config, directory)
            daemon.start()
            try:
                yield Stage(simulator, database)
            finally:
                daemon.stop()


def rebuilt(rows: list[Row]) -> tuple[int, list[dict[Decimal, Decimal]]]:
    """The book as a reader builds it: the last whole book over REST, and every update that leads beyond it."""
    whole = next(row for row in reversed(rows) if row.origin == "rest")
    seq, sides = whole.seq, [{level[0]: level[1] for level in side} for side in (whole.bids, whole.asks)]
    for row in rows:
        if row.kind == "update" and row.seq > seq:
            assert row.prev_seq is not None and row.prev_seq <= seq
            for side, changes in zip(sides, (row.bids, row.asks), strict=True):
                side.update({level[0]: level[1] for level in changes})
            seq = row.seq
    return seq, [{price: size for price, size in side.items() if size} for side in sides]


@pytest.mark.parametrize(
    "manners",
    [Manners(start=Start.NONE), Manners(start=Start.NONE, lag=0.7)],
    ids=["no snapshot", "REST that lags"],
)
def test_a_book_begins_over_rest(manners: Manners, tmp_path: Path, database: str) -> None:
    """The announced way to start: updates without a snapshot, joined with REST's book, however late that is. All are
    kept; they are suspect until they can be applied, and never again after; the book that can be built from what is
    stored is the venue's, and nothing was missing."""
    with recording(tmp_path / "data", database, manners) as stage:
        until(stage.mended, 30, "the book is mended")
        rows = stage.rows()
        seq, book = rebuilt(rows)
        assert book == stage.published(seq)
    updates = [row.integrity for row in rows if row.kind == "update"]
    last = len(updates) - updates[::-1].index("suspect")
    assert set(updates[:last]) == {"suspect"}
    assert set(updates[last:]) == {"verified"}
    chain = [row for row in rows if row.kind == "update"]
    assert all(b.prev_seq == a.seq for a, b in pairwise(chain))
    assert stage.gaps() == []


@pytest.mark.parametrize("checked", [False, True])
def test_a_broken_chain_is_mended_over_rest(checked: bool, tmp_path: Path, database: str) -> None:
    """One update is lost: a gap, suspect updates, a snapshot of origin `rest`, and verified updates again, all of it
    without a second snapshot of the stream, and no update is lost by it; whether the venue sends checksums or not."""
    with recording(tmp_path / "data", database, Manners(checksum=checked)) as stage:
        until(lambda: len(stage.rows()) > 3, 30, "the book comes in")
        stage.simulator.fault(faults.Breakbook(symbol=BTC, count=1))
        until(stage.mended, 30, "the book is mended")
        rows = stage.rows()
        seq, book = rebuilt(rows)
        assert book == stage.published(seq)
    assert [row.origin for row in rows if row.kind == "snapshot"] == ["stream", "rest"]
    streamed = [row for row in rows if row.origin == "stream"]
    integrity = [row.integrity for row in streamed]
    first, last = integrity.index("suspect"), len(integrity) - integrity[::-1].index("suspect")
    assert set(integrity[:first]) == set(integrity[last:]) == {"verified"}
    assert set(integrity[first:last]) == {"suspect"}
    assert stage.gaps() == [("sequence", streamed[first - 1].seq, streamed[first].seq, None)]


def test_checksums_of_a_healthy_stream_raise_no_alarm(tmp_path: Path, database: str) -> None:
    """Every message has one, through the writer as through the feed."""
    with recording(tmp_path / "data", database, Manners(checksum=True)) as stage:
        until(lambda: len(stage.rows()) > 30, 30, "the book comes in")
        assert {row.integrity for row in stage.rows()} == {"verified"}
        assert {row.origin for row in stage.rows()} == {"stream"}
    assert stage.gaps() == []
