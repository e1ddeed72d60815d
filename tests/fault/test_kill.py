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
from pathlib import Path

import pytest

from recorder.failpoint import NAMES
from tests.fault.stage import LONG, RATE, Oracle, staged


@pytest.fixture
def oracle(tmp_path: Path, database: str) -> Iterator[Oracle]:
    """2 000 numbered trades a second."""
    with staged(tmp_path / "recorder", database, database) as stage:
        yield stage


@pytest.mark.timeout(900)
def test_killed_at_random_moments(oracle: Oracle) -> None:
    """kill -9 at random moments of a stream of 2 000 trades a second (seed printed)."""
    seed = int(os.environ.get("RECORDER_SEED", random.randrange(2**32)))
    print(f"seed {seed}")
    rng = random.Random(seed)
    kills = 20 if LONG else 4
    for _ in range(kills):
        oracle.start()
        time.sleep(rng.uniform(0.0, 4.5 if LONG else 2.0))
        oracle.recorder.kill()
    oracle.start()
    assert oracle.check(kills).stored > RATE


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
def test_killed_at_a_failpoint(oracle: Oracle, name: str) -> None:
    """kill -9 exactly there, at passages drawn at random."""
    rng = random.Random(name)
    kills = 5 if LONG else 1
    oracle.start()
    oracle.ready()
    oracle.recorder.kill()
    for _ in range(kills):
        passage = rng.randint(1, 2) if name in ("mid_rotation", "during_catch_up") else rng.randint(1, 12)
        oracle.start(f"{name}:{passage}")
        assert oracle.recorder.wait(40) == -9, oracle.recorder.tail()
    oracle.start()
    oracle.check(kills + 1)
