"""The oracle: a venue numbers trades and goes on numbering while nobody is connected; the recorder is killed.

Every number is in `trades` exactly once or inside exactly one gap row, no stored number lies inside a gap, payloads
are what the number implies, and gap time is at most the measured downtime plus one second a restart.
Short by default; RECORDER_LONG=1 kills 20 times at random and five times at each failpoint.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from recorder.failpoint import NAMES
from recorder.records import now_us
from recorder.simulator.okx import OkxVenue, Rules
from recorder.simulator.oracle import NumberedMarket
from recorder.simulator.server import Simulator
from tests.fault.ledger import Finding, judge
from tests.fault.process import RecorderProcess, okx_toml, until

LONG = os.environ.get("RECORDER_LONG") == "1"
SYMBOL = "BTC-USDT"
RATE = 2000.0
RULES = Rules(operations_per_hour=0, connects_per_second=0)


@dataclass
class Oracle:
    """A recorder, its venue, and when the venue had nobody listening."""

    recorder: RecorderProcess
    simulator: Simulator[OkxVenue]
    database: str
    downtimes: list[float] = field(default_factory=list)

    def connections(self) -> int:
        return self.simulator.call(lambda: len(self.simulator.venue.ledger().connections))

    def start(self, failpoint: str = "") -> None:
        """Start it and, unless it may die before, wait until the venue has it."""
        before = self.connections()
        self.recorder.start(failpoint=failpoint)
        if not failpoint:
            until(lambda: self.connections() > before, 20, "the recorder connects")

    def settle(self) -> Finding:
        """Wait until the present is stored, stop, judge."""
        until(self.recorder.ready, 30, f"ready\n{self.recorder.tail()}")
        time.sleep(2.5)  # the grace of missing ids, in the recorder's own time
        assert self.recorder.stop() == 0, self.recorder.tail()
        issued = self.simulator.call(lambda: self.simulator.venue.ledger().issued[SYMBOL])
        return judge(self.database, SYMBOL, issued)

    def downtime(self) -> float:
        """Seconds between the end of each connection and the subscription on the next, as the venue saw them."""
        history = self.simulator.call(lambda: list(self.simulator.venue.ledger().connections.values()))
        history.sort(key=lambda c: c.opened)
        pairs = zip(history, history[1:], strict=False)
        return sum(max(0, later.opened - (earlier.closed or later.opened)) for earlier, later in pairs) / 1e6

    def check(self, restarts: int) -> None:
        finding = self.settle()
        down = self.downtime()
        print(
            f"stored {finding.stored}, numbers {finding.first}…{finding.last}, gaps {len(finding.gaps)}: "
            f"{finding.gap_seconds:.2f} s; downtime {down:.2f} s, {restarts} restarts"
        )
        assert finding.stored > RATE
        assert {gap.cause for gap in finding.gaps} <= {"recorder_down", "disconnect"}
        assert finding.gap_seconds <= down + restarts


@pytest.fixture
def oracle(tmp_path: Path, database: str) -> Iterator[Oracle]:
    """A venue at 2 000 numbered trades a second, and a recorder of it that is not running yet."""
    venue = OkxVenue(NumberedMarket([SYMBOL], now_us(), rate=RATE, depth=5), rules=RULES)
    with Simulator(venue) as simulator:
        toml = okx_toml(database, simulator.ws_url, simulator.http_url, {"trades": [SYMBOL]})
        recorder = RecorderProcess(tmp_path / "recorder", toml)
        try:
            yield Oracle(recorder, simulator, database)
        finally:
            if recorder.process is not None and recorder.process.poll() is None:
                recorder.kill()


@pytest.mark.timeout(900)
def test_killed_at_random_moments(oracle: Oracle) -> None:
    """kill -9 at random moments of a stream of 2 000 trades a second (seed printed)."""
    seed = int(os.environ.get("RECORDER_SEED", random.randrange(2**32)))
    print(f"seed {seed}")
    rng = random.Random(seed)
    kills = 20 if LONG else 4
    for _ in range(kills):
        oracle.start()
        time.sleep(rng.uniform(0.0, 3.0 if LONG else 2.0))
        oracle.recorder.kill()
    oracle.start()
    oracle.check(kills)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
def test_killed_at_a_failpoint(oracle: Oracle, name: str) -> None:
    """kill -9 exactly there, at passages drawn at random."""
    rng = random.Random(name)
    kills = 5 if LONG else 1
    oracle.start()
    until(oracle.recorder.ready, 30, f"ready\n{oracle.recorder.tail()}")
    oracle.recorder.kill()
    for _ in range(kills):
        passage = rng.randint(1, 2) if name in ("mid_rotation", "during_catch_up") else rng.randint(1, 12)
        oracle.start(f"{name}:{passage}")
        assert oracle.recorder.wait(40) == -9, oracle.recorder.tail()
    oracle.start()
    oracle.check(kills + 1)
