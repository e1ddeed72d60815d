"""kill -9 at a venue that numbers nothing: what is stored, what is lost, and that the loss has its row in `gaps`.

Twice by default; RECORDER_LONG=1 kills twelve times.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from recorder.records import now_us
from tests.fault.infowaystage import BTC, ETH, LONG, Rows, Stage, expected, staged
from tests.fault.process import until

KILLS = 12 if LONG else 2
TABLES = {"trade": "trades", "depth": "books"}
ON_ITS_WAY = 1000  # ms: what came longer than that before the kill is stored
GAPS = """SELECT cause, (extract(epoch FROM from_time) * 1000)::bigint, (extract(epoch FROM to_time) * 1000)::bigint
          FROM gaps WHERE channel = %s AND symbol = %s ORDER BY from_time"""


@pytest.mark.timeout(600)
def test_killed_in_the_middle(tmp_path: Path, database: str) -> None:
    """Every trade and every book once, of each connection all but what was on its way when the recorder died; each
    stream has a row for each time without a recorder, from its last record before to its first one after."""
    with staged(tmp_path / "recorder", database, {"crypto": {channel: [BTC, ETH] for channel in TABLES}}) as stage:
        ends = _killed(stage)
        stage.start()
        until(lambda: len({(m["code"], m["data"]["s"]) for m in stage.sent("crypto")[-1]}) == 4, 10, "every stream")
        stage.quiet()
        sent = [expected(messages) for messages in stage.sent("crypto")]
        stored = stage.settled("crypto", sent[-1])
        holes = {(channel, symbol): stage.rows(GAPS, channel, symbol) for channel in TABLES for symbol in (BTC, ETH)}
        assert stage.recorder.stop() == 0, stage.recorder.tail()
    assert len(sent) == KILLS + 1
    lost = [_lost(one, stored, end) for one, end in zip(sent, [*ends, 0], strict=True)]
    print(f"{sum(rows.total() for rows in stored.values())} rows; lost on their way: {lost}")
    assert lost[-1] == 0
    for (channel, symbol), found in holes.items():
        kept = [_times(one[TABLES[channel]] & stored[TABLES[channel]], symbol) for one in sent]
        assert found == [("recorder_down", before[-1], after[0]) for before, after in pairwise(kept)]


def _killed(stage: Stage) -> list[int]:
    """Start and kill it, each time after a while; when it was killed (ms)."""
    seed = int(os.environ.get("RECORDER_SEED", random.randrange(2**32)))
    print(f"seed {seed}")
    rng, ends = random.Random(seed), []
    for _ in range(KILLS):
        stage.start()
        time.sleep(rng.uniform(0.5, 3.0 if LONG else 1.5))
        ends.append(now_us() // 1000)
        stage.recorder.kill()
        until(lambda: not stage.served(), 10, "the venue sees it go")
    return ends


def _lost(sent: Rows, stored: Rows, end: int) -> int:
    """How many rows of a connection are not stored; these are its last ones, and came shortly before its end."""
    count = 0
    for table in TABLES.values():
        assert set(stored[table].values()) == {1}
        for symbol in (BTC, ETH):
            all_of_it, kept = _times(sent[table], symbol), _times(sent[table] & stored[table], symbol)
            assert all_of_it[: len(kept)] == kept
            assert not end or all(at > end - ON_ITS_WAY for at in all_of_it[len(kept) :])
            count += len(all_of_it) - len(kept)
    return count


def _times(rows: Counter[tuple[object, ...]], symbol: str) -> list[int]:
    """When these happened (ms), in order."""
    return sorted(int(str(row[1])) for row in rows.elements() if row[0] == symbol)
