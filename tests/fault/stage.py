"""A recorder beside a venue that numbers its trades: the stage of every test that takes something away from it.

Owns starting, settling and the arithmetic of downtime; the four properties are judged by `ledger`.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from recorder.records import now_us
from recorder.simulator.okx.venue import OkxVenue, Rules
from recorder.simulator.oracle import NumberedMarket, trade_of
from recorder.simulator.server import Simulator
from tests.fault.ledger import Finding, judge
from tests.fault.process import RecorderProcess, okx_toml, until

LONG = os.environ.get("RECORDER_LONG") == "1"
SYMBOL = "BTC-USDT"
RATE = 2000.0
RULES = Rules(operations_per_hour=0, connects_per_second=0)


@dataclass
class Oracle:
    """A recorder, its venue, and the database as the judge reaches it. `spelled`: how the venue writes trade n."""

    recorder: RecorderProcess
    simulator: Simulator[Any]
    database: str
    source: str = "okx"
    channel: str = "trades"
    spelled: Callable[[int], tuple[str, str, str]] = trade_of

    def connections(self) -> int:
        """How many connections the venue has seen."""
        return int(self.simulator.call(lambda: len(self.simulator.venue.ledger().connections)))

    def issued(self, symbol: str = SYMBOL) -> int:
        """The highest number that exists."""
        return int(self.simulator.call(lambda: self.simulator.venue.ledger().issued[symbol]))

    def start(self, failpoint: str = "") -> None:
        """Start it and, unless it may die before, wait until the venue has it."""
        before = self.connections()
        self.recorder.start(failpoint=failpoint)
        if not failpoint:
            until(lambda: self.connections() > before, 20, "the recorder connects")

    def ready(self) -> None:
        """Wait until it is connected and writes."""
        until(self.recorder.ready, 30, f"ready\n{self.recorder.tail()}")

    def stored(self) -> int:
        """The highest number in the database."""
        with psycopg.connect(self.database) as conn:
            row = conn.execute("SELECT max(trade_id::bigint) FROM trades WHERE symbol = %s", (SYMBOL,)).fetchone()
        return int(row[0]) if row and row[0] is not None else 0

    def settle(self) -> Finding:
        """Wait until the present is stored, stop, judge."""
        self.ready()
        present = self.issued()
        until(lambda: self.stored() >= present, 120, f"the present is stored\n{self.recorder.tail()}")
        time.sleep(2.5)  # the grace of missing ids, in the recorder's own time
        assert self.recorder.stop() == 0, self.recorder.tail()
        about = {"source": self.source, "channel": self.channel}
        return judge(self.database, SYMBOL, self.issued(), spelled=self.spelled, **about)

    def downtimes(self) -> list[float]:
        """Seconds between the end of each connection and the beginning of the next, as the venue saw them."""
        history = self.simulator.call(lambda: list(self.simulator.venue.ledger().connections.values()))
        history.sort(key=lambda c: c.opened)
        pairs = itertools.pairwise(history)
        return [max(0, later.opened - (earlier.closed or later.opened)) / 1e6 for earlier, later in pairs]

    def downtime(self) -> float:
        """All of them together."""
        return sum(self.downtimes())

    def check(self, restarts: int) -> Finding:
        """Settle, and hold gap time against the measured downtime."""
        finding = self.settle()
        down = self.downtime()
        print(
            f"stored {finding.stored}, numbers {finding.first}…{finding.last}, gaps {len(finding.gaps)}: "
            f"{finding.gap_seconds:.2f} s; downtime {down:.2f} s, {restarts} restarts"
        )
        assert {gap.cause for gap in finding.gaps} <= {"recorder_down", "disconnect"}
        assert finding.gap_seconds <= down + restarts
        return finding


@contextmanager
def staged(
    home: Path, url: str, judged: str, symbols: tuple[str, ...] = (SYMBOL,), rate: float = RATE
) -> Iterator[Oracle]:
    """A venue at `rate` numbered trades a second, and a recorder of it that writes to `url` and does not run yet."""
    venue = OkxVenue(NumberedMarket(symbols, now_us(), rate=rate, depth=5), rules=RULES)
    with Simulator(venue) as simulator:
        toml = okx_toml(url, simulator.ws_url, simulator.http_url, {"trades": list(symbols)})
        recorder = RecorderProcess(home, toml)
        try:
            yield Oracle(recorder, simulator, judged)
        finally:
            if recorder.process is not None and recorder.process.poll() is None:
                recorder.kill()
