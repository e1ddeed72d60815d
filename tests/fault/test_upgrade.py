"""An upgrade is a stop and a start: how long nobody listens, and that `gaps` says exactly that (docs/operations.md)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.fault.process import until
from tests.fault.stage import LONG, SYMBOL, Oracle, staged


@pytest.fixture
def oracle(tmp_path: Path, database: str) -> Iterator[Oracle]:
    """2 000 numbered trades a second."""
    with staged(tmp_path / "recorder", database, database) as stage:
        yield stage


def restart(oracle: Oracle) -> dict[str, float]:
    """SIGTERM, exit, start, first message: the milliseconds of each."""
    before = oracle.connections()
    begin = time.monotonic()
    assert oracle.recorder.stop() == 0, oracle.recorder.tail()
    gone = time.monotonic()
    oracle.recorder.start()
    until(lambda: oracle.connections() > before, 30, "it connects again")
    connected = time.monotonic()
    return {"stop": 1e3 * (gone - begin), "connect": 1e3 * (connected - gone)}


def holes(oracle: Oracle) -> list[tuple[str, float]]:
    """Cause and milliseconds of every hole of the stream, in order."""
    with psycopg.connect(oracle.database) as conn:
        return [
            (str(cause), float(ms))
            for cause, ms in conn.execute(
                "SELECT cause, 1e3 * extract(epoch FROM to_time - from_time) FROM gaps WHERE symbol = %s ORDER BY id",
                (SYMBOL,),
            )
        ]


@pytest.mark.timeout(300)
def test_the_hole_of_an_upgrade_is_a_row_as_long_as_the_downtime(oracle: Oracle) -> None:
    """Each stop and start is one row, cause recorder_down, from the last trade before to the first one after: as long
    as nobody was connected, give or take a trade's distance and the burst that was on its way."""
    oracle.start()
    oracle.ready()
    times = []
    for _ in range(5 if LONG else 2):
        until(lambda: oracle.stored() > 0, 30, "something is stored")
        time.sleep(1.0)
        times.append(restart(oracle))
        oracle.ready()
    finding = oracle.settle()
    down = oracle.downtimes()[-len(times) :]
    found = holes(oracle)
    for each, venue, (cause, ms) in zip(times, down, found, strict=True):
        print(f"stop {each['stop']:.0f} ms, to the connection {each['connect']:.0f} ms, ", end="")
        print(f"nobody connected {1e3 * venue:.0f} ms, row {cause} {ms:.0f} ms")
        assert cause == "recorder_down"
        assert 1e3 * venue - 250 <= ms <= 1e3 * venue + 1000
    assert finding.gap_seconds == pytest.approx(sum(ms for _, ms in found) / 1e3)
