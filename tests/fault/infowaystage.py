"""A whole recorder beside a simulated Infoway: the stage of every end-to-end test of that venue.

Owns starting, what the venue sent and heard, and what is stored, both as text that can be compared; judges nothing.
Nothing has a number at this venue, but the volume of a numbered trade is it: no two trades are alike.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg

from recorder.records import now_us
from recorder.simulator.connection import Connection
from recorder.simulator.faults import Silence
from recorder.simulator.infoway.oracle import numbered
from recorder.simulator.infoway.text import KLINES
from recorder.simulator.infoway.venue import InfowayVenue, Rules
from recorder.simulator.market import Market
from recorder.simulator.server import Simulator
from recorder.simulator.wire import HttpRequest, HttpResponse
from tests.fault.process import RecorderProcess, config_toml, source_toml, until

LONG = os.environ.get("RECORDER_LONG") == "1"
KEY = "k3y-that-n0body-may-see"
BTC, ETH, OIL, APPLE = "BTCUSDT", "ETHUSDT", "USOIL", "AAPL.US"
PLAN = Rules()
SIDES = {0: None, 1: "buy", 2: "sell"}
NUMBERS = ("o", "h", "l", "c", "v", "vw")  # of a bar, in the order of CANDLES
Row = tuple[Any, ...]
Rows = dict[str, Counter[Row]]  # by table
Wanted = Mapping[str, list[str]]  # channel -> symbols

TRADES = """SELECT symbol, (extract(epoch FROM time) * 1000)::bigint, price::text, size::text, turnover::text, side
            FROM trades WHERE source = %s"""
BOOKS = """SELECT symbol, (extract(epoch FROM time) * 1000)::bigint, bids::text, asks::text
           FROM books WHERE source = %s AND kind = 'snapshot'"""
CANDLES = """SELECT channel, symbol, extract(epoch FROM time)::bigint, open::text, high::text, low::text, close::text,
             volume::text, turnover::text FROM candles WHERE source = %s"""
QUERIES = {"trades": TRADES, "books": BOOKS, "candles": CANDLES}


class Watched(InfowayVenue):
    """The venue, which notes whoever knocks (when, key, status; 101 is let in) and what each connection asks (when)."""

    def __init__(self, market: Market, rules: Rules, keys: tuple[str, ...]) -> None:
        super().__init__(market, rules=rules, keys=keys, journal=True)
        self.knocks: list[tuple[float, str, int]] = []
        self.heard: dict[str, list[tuple[float, dict[str, Any]]]] = {}

    def admit(self, request: HttpRequest) -> tuple[float, HttpResponse | None]:
        """As the venue does."""
        delay, refusal = super().admit(request)
        status = refusal.status if refusal is not None else 101
        self.knocks.append((self.clock.monotonic(), request.query.get("apikey", ""), status))
        return delay, refusal

    def received(self, link: Connection, message: bytes) -> None:
        """As the venue does."""
        asked = self.heard.setdefault(self.sessions[link].conn_id, [])
        asked.append((self.clock.monotonic(), json.loads(message)))
        super().received(link, message)


@dataclass
class Stage:
    """A recorder, its venue, and the database. Sources are named after their business."""

    recorder: RecorderProcess
    simulator: Simulator[Watched]
    database: str
    businesses: tuple[str, ...] = field(default=())

    # --- the venue --------------------------------------------------------------------------------------------------

    def sent(self, business: str) -> list[list[dict[str, Any]]]:
        """The data messages of each connection of a business, in the order in which these were opened."""

        def copy() -> list[tuple[int, list[bytes]]]:
            venue = self.simulator.venue
            mine = [(page.opened, n) for n, page in venue.history.items() if page.path.endswith(f"business={business}")]
            return [(opened, list(venue.journals[n])) for opened, n in sorted(mine)]

        return [[json.loads(text) for text in texts] for _, texts in self.simulator.call(copy)]

    def connections(self) -> int:
        """How many connections there were."""
        return self.simulator.call(lambda: len(self.simulator.venue.history))

    def served(self) -> bool:
        """Whether every business has a connection that stands, and data goes out on it."""

        def look() -> set[str]:
            venue = self.simulator.venue
            return {one.business for one in venue.sessions.values() if venue.journals[one.conn_id]}

        return self.simulator.call(look) == set(self.businesses)

    # --- the recorder -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, and wait until it is served and writes."""
        self.recorder.start()
        until(self.served, 30, "every business is served")
        until(self.recorder.ready, 30, f"ready\n{self.recorder.tail()}")

    def quiet(self) -> None:
        """The venue says nothing more: what it has sent until now is all there is."""
        self.simulator.fault(Silence(later=True))

    def threads(self) -> int:
        """How many it has; the fewest of some looks, for each request of ours has one while it lasts."""
        process = psutil.Process(self.recorder.running.pid)
        looks: list[int] = []
        for _ in range(20):
            looks.append(int(process.num_threads()))
            time.sleep(0.02)
        return min(looks)

    def metric(self, name: str, **labels: str) -> float:
        """A series that must be there."""
        found = self.recorder.metric(name, **labels)
        assert found is not None, f"no {name} {labels}"
        return found

    # --- the database -----------------------------------------------------------------------------------------------

    def rows(self, query: str, *parameters: object) -> list[Row]:
        """Rows of a query."""
        with psycopg.connect(self.database) as conn:
            return conn.execute(query.encode(), parameters).fetchall()

    def stored(self, business: str) -> Rows:
        """The rows of a business, by table."""
        return {table: Counter(self.rows(query, business)) for table, query in QUERIES.items()}

    def settled(self, business: str, wanted: Rows) -> Rows:
        """The rows of a business, once all that are wanted are there."""

        def there() -> bool:
            found.update(self.stored(business))
            return all(rows <= found[table] for table, rows in wanted.items())

        found: Rows = {}
        until(there, 30, f"all is stored\n{self.recorder.tail()}")
        return found

    def agree(self, business: str) -> dict[str, int]:
        """Wait until what is stored of a business is what was sent, row by row; how many rows there are of each table.
        The venue must be quiet. Says what is too much."""
        wanted = expected([m for one in self.sent(business) for m in one])
        found = self.settled(business, wanted)
        for table, rows in wanted.items():
            assert found[table] == rows, f"{business} {table}: too many {list(found[table] - rows)[:3]}"
        return {table: rows.total() for table, rows in wanted.items()}


def expected(messages: list[dict[str, Any]]) -> Rows:
    """The rows that data messages make, by table: every trade and every book once, of every bar its last revision."""
    of: dict[int, list[dict[str, Any]]] = {10002: [], 10005: [], 10008: []}
    for message in messages:
        of[message["code"]].append(message["data"])
    bars = {(KLINES[k["ty"]], k["s"], int(k["t"])): tuple(k[name] for name in NUMBERS) for k in of[10008]}
    return {
        "trades": Counter(trade_row(d) for d in of[10002]),
        "books": Counter((d["s"], d["t"], _side(d["b"]), _side(d["a"])) for d in of[10005]),
        "candles": Counter(key + values for key, values in bars.items()),
    }


def trade_row(data: dict[str, Any]) -> Row:
    """The row of a trade, without when it was received."""
    return data["s"], data["t"], data["p"], data["v"], data["vw"], SIDES[data["td"]]


def _side(columns: list[list[str]]) -> str:
    """Prices and quantities as the table has them: a row a level."""
    return "{" + ",".join(f"{{{price},{size}}}" for price, size in zip(*columns, strict=True)) + "}"


@contextmanager
def staged(
    home: Path,
    database: str,
    wanted: Mapping[str, Wanted],
    *,
    rules: Rules = PLAN,
    rate: float = 200.0,
    unlisted: str = "",
    keys: tuple[str, ...] = (),
) -> Iterator[Stage]:
    """A venue with so many numbered trades a second on each symbol, and a recorder of it that does not run yet.
    `wanted`: what is recorded of each business; `unlisted`: a symbol that the venue does not have; `keys`: those that
    it knows, all if there are none."""
    symbols = {symbol for asked in wanted.values() for some in asked.values() for symbol in some} - {unlisted}
    venue = Watched(numbered(sorted(symbols), now_us(), rate=rate, depth=12), rules, keys=keys)
    with Simulator(venue) as simulator:
        where = simulator.ws_url, simulator.http_url
        sources = [
            source_toml(*where, dict(asked), name=name, venue="infoway", business=name, api_key="${INFOWAY_API_KEY}")
            for name, asked in wanted.items()
        ]
        recorder = RecorderProcess(home, config_toml(database, *sources), environ={"INFOWAY_API_KEY": KEY})
        try:
            yield Stage(recorder, simulator, database, tuple(wanted))
        finally:
            if recorder.process is not None and recorder.process.poll() is None:
                recorder.kill()
