"""kill -9 at a venue whose trade ids rise with holes, and which tells its last trades again after each subscription.

Every trade that was sent is stored once, but for what was on its way when the recorder died; whatever is not stored
lies between two ids that a row of `gaps` names. Short by default; RECORDER_LONG=1 kills twelve times.
"""

from __future__ import annotations

import os
import random
import time
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from recorder.records import now_us
from recorder.simulator.faults import Silence
from recorder.simulator.okex_v1.oracle import Ids, numbered
from recorder.simulator.oracle import trade_of
from tests.fault.okexv1stage import VENUE, rows, staged
from tests.fault.process import until
from tests.fault.stage import LONG, Oracle

PAIR, CONTRACT = "btc_usdt", "btc_usd_quarter"
DEALS, TRADE = f"ok_sub_spot_{PAIR}_deals", "ok_sub_futureusd_btc_trade_quarter"
SYMBOLS = {DEALS: PAIR, TRADE: CONTRACT}
ON_ITS_WAY = 1_000  # ms: what was sent longer than that before the kill is stored
ROWS = """SELECT trade_id::bigint, price, size, side, extract(epoch FROM time)::bigint FROM trades
          WHERE source = %s AND channel = %s AND symbol = %s ORDER BY 1"""
GAPS = """SELECT from_seq, to_seq, cause, extract(epoch FROM to_time - from_time)::float8 FROM gaps
          WHERE source = %s AND channel = %s AND symbol = %s ORDER BY from_seq"""


def stored(stage: Oracle, channel: str) -> list[int]:
    """The numbers of the trades that are stored, in order; every row is the one that its number
    implies, to the second."""
    ids, found = Ids(SYMBOLS.values()), []
    tape = stage.simulator.venue.market.instruments[SYMBOLS[channel]].tape
    for trade_id, price, size, side, seconds in rows(stage, ROWS, VENUE, channel, SYMBOLS[channel]):
        number = ids.number(SYMBOLS[channel], int(trade_id))
        found.append(number)
        wanted = trade_of(number)
        assert (price, size, side) == (Decimal(wanted[0]), Decimal(wanted[1]), wanted[2])
        assert seconds == tape.match(number).ts // 1000
    return found


def killed(stage: Oracle, kills: int) -> list[tuple[int, int]]:
    """Start and kill it, each time after a while; when it was killed, and when the venue knew (ms)."""
    seed = int(os.environ.get("RECORDER_SEED", random.randrange(2**32)))
    print(f"seed {seed}")
    rng, ends = random.Random(seed), list[tuple[int, int]]()
    for _ in range(kills):
        stage.start()
        stage.ready()
        time.sleep(rng.uniform(0.3, 3.0 if LONG else 1.5))
        before = now_us() // 1000
        stage.recorder.kill()
        until(lambda: not stage.simulator.call(lambda: len(stage.simulator.venue.sessions)), 10, "the venue sees it go")
        ends.append((before, now_us() // 1000))
    return ends


def settled(stage: Oracle) -> dict[str, set[int]]:
    """Start it for the last time, silence the venue, wait until the last of what was sent is stored, stop it; the
    numbers that were sent, on whatever connection."""
    stage.start()
    stage.ready()
    time.sleep(0.5)
    stage.simulator.fault(Silence(later=True))
    pages = stage.simulator.call(lambda: list(stage.simulator.venue.ledger().connections.values()))
    sent = {
        channel: {n for page in pages for first, last in page.sent.get(symbol, []) for n in range(first, last + 1)}
        for channel, symbol in SYMBOLS.items()
    }
    for channel in SYMBOLS:
        until(lambda c=channel: max(stored(stage, c), default=0) == max(sent[c]), 60, stage.recorder.tail())  # type: ignore[misc]
    assert stage.recorder.stop() == 0, stage.recorder.tail()
    return sent


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("rate", "torn"), [(500.0, True), (2.0, False)])
def test_killed_at_random_moments(tmp_path: Path, database: str, rate: float, torn: bool) -> None:
    """kill -9 at random moments (seed printed), at a pace at which the venue's last sixty trades close no hole, and at
    one at which they close every hole: then nothing at all is missing."""
    market = numbered(list(SYMBOLS.values()), now_us(), rate=rate, depth=5)
    with staged(tmp_path / "recorder", database, market, *SYMBOLS) as stage:
        ends = killed(stage, 12 if LONG else 3)
        sent = settled(stage)
        for channel, symbol in SYMBOLS.items():
            found = _judged(stage, channel, sent[channel], ends)
            holes = [pair for pair in pairwise(found) if pair[1] > pair[0] + 1]
            assert bool(holes) == torn, f"{symbol}: {holes}"
            assert torn or found == list(range(found[0], max(sent[channel]) + 1))


def _judged(stage: Oracle, channel: str, sent: set[int], ends: list[tuple[int, int]]) -> list[int]:
    """The numbers that are stored, after a look at what is not: on its way at a kill, and named by a gap of its own."""
    symbol, ids, found = SYMBOLS[channel], Ids(SYMBOLS.values()), stored(stage, channel)
    assert len(found) == len(set(found))
    assert set(found) <= sent
    tape = stage.simulator.venue.market.instruments[symbol].tape
    lost = sorted(sent - set(found))
    assert all(any(killed_at - ON_ITS_WAY < tape.match(n).ts <= gone for killed_at, gone in ends) for n in lost)
    gaps = rows(stage, GAPS, VENUE, channel, symbol)
    named = [(ids.number(symbol, int(a)), ids.number(symbol, int(b))) for a, b, _, _ in gaps]
    seconds, down = sum(float(gap[3]) for gap in gaps), stage.downtime()
    print(f"{symbol}: {len(found)} stored, {len(lost)} lost; gaps {named}, {seconds:.2f} s; down {down:.2f} s")
    assert [(a, b) for a, b in named if b > a + 1] == [(a, b) for a, b in pairwise(found) if b > a + 1]
    assert {gap[2] for gap in gaps} <= {"recorder_down"}
    assert seconds <= down + 2 * len(ends)
    return found
