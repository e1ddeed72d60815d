"""kill -9 on the real disk: at every place where it could matter, and at random moments."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from recorder.capture.spool import Spool
from recorder.capture.spoolreader import SpoolReader
from recorder.records import Header

FEED = "okx/public/0"
HEADER = Header("spool-id", FEED, "okx", "okx", "/ws", {})
LONG = os.environ.get("RECORDER_LONG") == "1"
SEED = int(os.environ.get("RECORDER_SEED", random.SystemRandom().randrange(1 << 32)))

APPENDER = """
import os, sys
from pathlib import Path
from recorder.capture.spool import Spool
from recorder.capture.syncer import Syncer
from recorder.records import Header, Kind

spool = Spool(Path(sys.argv[1]), Header("spool-id", "okx/public/0", "okx", "okx", "/ws", {}), segment_bytes=20_000)
syncer = Syncer(0.002)
syncer.add(spool)
syncer.daemon = True
syncer.start()
number = 0
while True:
    frames = [b"%d:" % n + b"x" * (n % 97) for n in range(number, number + number % 13 + 1)]
    number = spool.append(Kind.TEXT, frames, number) + len(frames)
    os.write(1, b"%d\\n" % number)
"""


def kill_one(root: Path, failpoint: str = "", lines: int = 1 << 30) -> int:
    """Run an appender until it dies; returns how many frames it had appended."""
    environment = {**os.environ, "RECORDER_FAILPOINT": failpoint}
    with subprocess.Popen(
        [sys.executable, "-c", APPENDER, str(root)], stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        said = b"0"
        for count, line in enumerate(process.stdout):
            said = line
            if count >= lines:
                process.kill()
        assert process.wait(30) == -9
    return int(said)


def check(root: Path, told: list[int]) -> None:
    """Every run holds at least what its process had appended, and every frame is what it was."""
    spool = Spool(root, HEADER)
    reader = SpoolReader(root, FEED, spool)
    runs = reader.runs()[:-1]
    assert len(runs) == len(told)
    for info, appended in zip(runs, told, strict=True):
        n = 0
        while (piece := reader.read(info.run, n, 10_000)).bursts:
            assert piece.lost == []
            for burst in piece.bursts:
                assert burst.frames == [b"%d:" % k + b"x" * (k % 97) for k in range(burst.first, burst.next)]
            n = piece.next
        assert piece.end_of_run and n >= appended
    spool.close()
    reader.close()


@pytest.mark.parametrize("failpoint", ["after_append", "before_sync", "after_sync", "mid_rotation"])
def test_a_kill_at_a_failpoint_loses_nothing_that_was_appended(tmp_path: Path, failpoint: str) -> None:
    """Written bytes live in the kernel: what append returned for is read after kill -9."""
    told = [kill_one(tmp_path / "spool", f"{failpoint}:{passage}") for passage in (1, 2, 7)]
    check(tmp_path / "spool", told)


def test_kills_at_random_moments_lose_nothing_that_was_appended(tmp_path: Path) -> None:
    """The same anywhere, inside write() as well."""
    print(f"RECORDER_SEED={SEED}")
    chance = random.Random(SEED)
    told = [kill_one(tmp_path / "spool", lines=chance.randrange(1, 3000)) for _ in range(60 if LONG else 4)]
    check(tmp_path / "spool", told)
