"""The spool's disk is full, or cannot be used at all: said, counted, survived, and every lost message is in a gap."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from recorder.errors import Exit
from tests.fault.process import RecorderProcess, okx_toml, until
from tests.fault.stage import LONG, Oracle, staged
from tests.fault.troubles import MIB, fill, small_disk
from tests.fixtures.server import PgServer

DISK = 12 * MIB
FEED = "okx/public/0"


@pytest.fixture
def oracle(tmp_path: Path, pg_server: PgServer) -> Iterator[Oracle]:
    """A recorder whose data directory is a file system of its own, small; 2 000 numbered trades a second."""
    home = tmp_path / "recorder"
    with small_disk(home / "data", DISK), staged(home, pg_server.writer_url, pg_server.url) as stage:
        yield stage


def shed(oracle: Oracle) -> float:
    """How many messages were shed so far."""
    return oracle.recorder.metric("recorder_shed_messages_total", source="okx", channel="trades") or 0.0


def said(oracle: Oracle, event: str) -> list[str]:
    """What the log says of it."""
    lines = [json.loads(line) for line in oracle.recorder.log.read_text().splitlines() if line.startswith("{")]
    return [line["message"] for line in lines if line.get("event") == event]


ONLY_LONG = pytest.mark.skipif(not LONG, reason="20 s, and max_size is shed by the same rule: RECORDER_LONG=1")
FULL = f"{FEED}: the spool's disk is full: what comes in is shed"
SHORT = (
    f"{FEED}: the spool's disk has less than spool.min_free left and the database takes nothing: what comes in is shed"
)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("min_free", "event", "sentence"),
    [("0B", "spool.full", FULL), pytest.param("4MiB", "spool.shedding", SHORT, marks=ONLY_LONG)],
)
def test_the_disk_fills_up_while_the_database_is_away(
    oracle: Oracle, pg_server: PgServer, min_free: str, event: str, sentence: str
) -> None:
    """With nothing in reserve, or before `min_free` is touched: what comes in is counted and shed, the connection
    stays; then what was spooled is stored, and exactly what was shed is in gaps."""
    recorder = oracle.recorder
    recorder.toml = recorder.toml.replace('min_free = "1MiB"', f'min_free = "{min_free}"')
    oracle.start()
    oracle.ready()
    pg_server.stop()
    spooled = recorder.metric("recorder_spool_bytes", source="okx") or 0.0
    until(lambda: (recorder.metric("recorder_spool_bytes", source="okx") or 0.0) > spooled + 100_000, 20, "it spools")
    ballast = fill(recorder.home / "data", leave=0 if min_free == "0B" else 3 * MIB)
    until(lambda: shed(oracle) > 0, 30, f"something is shed\n{recorder.tail()}")
    before = shed(oracle)
    until(lambda: shed(oracle) > before + 2000, 20, "more is shed")
    assert f"feed {sentence}" in recorder.get("/readyz").splitlines()
    assert sentence in said(oracle, event)
    assert recorder.connected()
    if min_free != "0B":
        assert shutil.disk_usage(recorder.home / "data").free > 2 * MIB
    pg_server.start()
    ballast.unlink()
    until(recorder.ready, 60, f"everything is recorded again\n{recorder.tail()}")
    lost = shed(oracle)
    finding = oracle.settle()
    assert {gap.cause for gap in finding.gaps} == {"shed"}
    assert sum(gap.last - gap.first + 1 for gap in finding.gaps) == lost
    print(f"stored {finding.stored}, shed {lost:.0f} in {len(finding.gaps)} gaps")


@pytest.mark.timeout(180)
def test_committed_segments_make_room_on_a_full_disk(oracle: Oracle) -> None:
    """Others fill the disk while the database follows: `keep` is given up, and recording goes on, even where `min_free`
    is nothing."""
    recorder = oracle.recorder
    recorder.toml = recorder.toml.replace('min_free = "1MiB"', 'min_free = "0B"')
    oracle.start()
    oracle.ready()
    # A dozen: what they free must last longer than the time between two looks at /readyz.
    until(lambda: len([*(recorder.home / "data").rglob("*.seg*")]) > 12, 60, "segments are sealed")
    ballast = fill(recorder.home / "data", leave=0)
    until(lambda: shed(oracle) > 0, 30, "the disk is full")
    until(recorder.ready, 30, f"segments made room\n{recorder.tail()}")
    ballast.unlink()  # or it would soon be full again
    lost = shed(oracle)
    finding = oracle.settle()
    assert {gap.cause for gap in finding.gaps} == {"shed"}
    assert sum(gap.last - gap.first + 1 for gap in finding.gaps) >= lost


# --- a directory that cannot be used ---------------------------------------------------------------------------------


Wrong = Callable[[Path], AbstractContextManager[str]]


@contextmanager
def a_file(data: Path) -> Iterator[str]:
    """Something else has its name."""
    data.write_text("")
    yield "File exists; that is no directory: choose another one"


@contextmanager
def read_only(data: Path) -> Iterator[str]:
    """A file system that takes nothing."""
    with small_disk(data, MIB):
        subprocess.run(["mount", "-o", "remount,ro", str(data)], check=True)
        yield f"Read-only file system ({data / 'lock'}); choose another one, or have it mounted for writing"


@contextmanager
def full(data: Path) -> Iterator[str]:
    """A file system without room for the first byte."""
    with small_disk(data, MIB):
        fill(data, leave=0)
        yield "No space left on device; make room, or choose another one"


@pytest.mark.parametrize(
    ("wrong", "code"), [(a_file, Exit.CONFIGURATION), (read_only, Exit.CONFIGURATION), (full, Exit.TEMPORARY)]
)
def test_a_data_directory_that_cannot_be_used(tmp_path: Path, wrong: Wrong, code: Exit) -> None:
    """The whole output is one sentence: the place, the reason, what to do; 78, or 75 where it may pass."""
    toml = okx_toml("postgresql://u@127.0.0.1:1/x", "ws://127.0.0.1:1", "http://127.0.0.1:1", {"trades": ["BTC-USDT"]})
    recorder = RecorderProcess(tmp_path, toml)
    data = tmp_path / "data"
    with wrong(data) as reason:
        recorder.start()
        assert recorder.wait(20) == code
    assert recorder.log.read_text() == f"data_dir {data} cannot be used: {reason}\n"


def test_a_data_directory_of_somebody_else(tmp_path: Path) -> None:
    """What a recorder started by hand as root would make unreadable for the service."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    toml = okx_toml("postgresql://u@127.0.0.1:1/x", "ws://127.0.0.1:1", "http://127.0.0.1:1", {"trades": ["BTC-USDT"]})
    recorder = RecorderProcess(tmp_path, toml)
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, 65534, 65534)
    recorder.start()
    assert recorder.wait(20) == Exit.CONFIGURATION
    assert recorder.log.read_text() == f"data_dir {data} belongs to uid 65534, not to uid 0: run it as its owner\n"
