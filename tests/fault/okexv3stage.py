"""A whole recorder beside a simulated OKEx v3 that numbers its trades: the stage of its end-to-end tests.

Owns starting, and what the venue sent; the four properties of trades are judged by `ledger`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recorder.records import now_us
from recorder.simulator.connection import Connection
from recorder.simulator.decimals import plain
from recorder.simulator.okex_v3.venue import OkexV3Venue, Rules
from recorder.simulator.oracle import PRICE_PLACES, NumberedMarket, price_of, trade_of
from recorder.simulator.server import Simulator
from tests.fault.process import RecorderProcess, config_toml, source_toml
from tests.fault.stage import RATE, SYMBOL, Oracle

VENUE, TRADE, BOOK = "okex_v3", "spot/trade", "spot/depth_l2_tbt"


class Watched(OkexV3Venue):
    """The venue, which keeps what it sent, by connection."""

    def __init__(self, symbols: Sequence[str], rate: float, depth: int) -> None:
        market = NumberedMarket(symbols, now_us(), rate=rate, depth=depth)
        super().__init__(market, rules=Rules(operations_per_hour=0, connects_per_second=0))
        self.journals: dict[str, list[bytes]] = {}

    def opened(self, link: Connection, path: str) -> None:
        """As the venue does."""
        super().opened(link, path)
        session = self.sessions[link]
        session.subscriber.journal = self.journals[session.conn_id] = []

    def books(self) -> list[tuple[int, list[dict[str, Any]]]]:
        """When each connection ended (ms, 0: it stands), in their order, and its messages about the book."""
        pages = sorted(self.history.items(), key=lambda item: item[1].opened)
        of = {name: [json.loads(m) for m in sent if BOOK.encode() in m] for name, sent in self.journals.items()}
        return [(page.closed // 1000, of[name]) for name, page in pages if of.get(name)]


def spelled(number: int) -> tuple[str, str, str]:
    """Trade n as this venue writes it: without trailing zeros."""
    _, size, side = trade_of(number)
    return plain(price_of(number), PRICE_PLACES), size, side


@contextmanager
def staged(
    home: Path,
    database: str,
    wanted: dict[str, list[str]],
    *,
    symbols: Sequence[str] = (SYMBOL,),
    rate: float = RATE,
    depth: int = 60,
    environ: dict[str, str] | None = None,
) -> Iterator[Oracle]:
    """A venue at `rate` numbered trades a second on each symbol, and a recorder of what is wanted that does not run
    yet. `depth`: levels of a book; `environ`: the keys of its account."""
    with Simulator(Watched(symbols, rate, depth)) as simulator:
        options = {name: f"${{{name.upper()}}}" for name in environ or {}}
        where = simulator.ws_url, simulator.http_url
        source = source_toml(*where, wanted, name=VENUE, venue=VENUE, **options)
        given = {name.upper(): value for name, value in (environ or {}).items()}
        recorder = RecorderProcess(home, config_toml(database, source), environ=given)
        try:
            yield Oracle(recorder, simulator, database, VENUE, TRADE, spelled)
        finally:
            if recorder.process is not None and recorder.process.poll() is None:
                recorder.kill()
