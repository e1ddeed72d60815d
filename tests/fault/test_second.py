"""A second recorder where one runs: with the same directory, and with a copy of it, here and on another machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recorder.errors import Exit
from tests.fault.ledger import judge
from tests.fault.process import RecorderProcess, until
from tests.fault.stage import SYMBOL, Oracle, staged

BOOT = "/proc/sys/kernel/random/boot_id"


@pytest.fixture
def first(tmp_path: Path, database: str) -> Iterator[Oracle]:
    """A recorder that runs and is ready, 2 000 numbered trades a second."""
    with staged(tmp_path / "first", database, database) as stage:
        stage.start()
        stage.ready()
        yield stage


@pytest.fixture
def another(first: Oracle, tmp_path: Path) -> Iterator[RecorderProcess]:
    """A recorder that is not started, with a copy of the first one's directory, made while that runs."""
    made = RecorderProcess(tmp_path / "second", first.recorder.toml)
    made.home.mkdir()
    shutil.copytree(first.recorder.home / "data", made.home / "data")
    yield made
    if made.process is not None and made.process.poll() is None:
        made.kill()


def undisturbed(first: Oracle, connections: int) -> None:
    """It has made no further connection, and everything it saw is stored, once, without a hole."""
    assert first.recorder.ready()
    finding = first.settle()
    assert finding.gaps == ()
    assert first.connections() == connections


@pytest.mark.timeout(120)
def test_the_same_directory(first: Oracle) -> None:
    """Exit 73 before anything is opened, with one sentence that says who holds it and what to do."""
    connections = first.connections()
    second = RecorderProcess(first.recorder.home, first.recorder.toml, name="second")
    second.start()
    assert second.wait(20) == Exit.LOCKED
    holder = f"recorder with pid {first.recorder.running.pid} on {socket.gethostname()}"
    advice = "stop it, or give this one a data_dir or instance of its own"
    assert second.log.read_text() == f"{holder} holds {first.recorder.home / 'data'}: {advice}\n"
    undisturbed(first, connections)


@pytest.mark.timeout(120)
def test_a_copy_on_another_machine(first: Oracle, another: RecorderProcess) -> None:
    """The database shows that the identity is in use elsewhere: exit 73, one sentence, nothing of it is stored."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False).returncode != 0:
        pytest.skip("another boot id can only be had in a mount namespace of one's own, as root")
    boot = another.home / "boot_id"
    boot.write_text("3f0f9f0e-5c5c-4d55-8f5d-0d4d7f6f1a11\n")
    mount = f'mount --bind {boot} {BOOT} && exec "$@"'
    another.through = ("unshare", "--mount", "sh", "-c", mount, "sh")
    another.start()
    assert another.wait(30) == Exit.LOCKED
    told = [line for line in another.tail().splitlines() if "from another machine" in line]
    assert len(told) == 1
    assert (
        "another recorder with this identity wrote okx/public/0 0 s ago from another machine; stop it, or " in told[0]
    )
    assert "Traceback" not in another.tail(400)
    assert first.recorder.ready()
    assert first.settle().gaps == ()


@pytest.mark.timeout(120)
def test_a_copy_on_the_same_machine(first: Oracle, another: RecorderProcess) -> None:
    """The last one started owns the positions: the first is fenced, says so, and goes on spooling; though both
    receive everything, nothing is stored twice. What only the first one had, before the second listened, is a gap."""
    another.start()
    until(another.ready, 30, f"the second one records\n{another.tail()}")
    until(lambda: "fenced: " in first.recorder.get("/readyz"), 30, f"the first one is fenced\n{first.recorder.tail()}")
    (reason,) = [line for line in first.recorder.get("/readyz").splitlines() if line.startswith("fenced: ")]
    assert "another recorder with this identity has taken over okx/public/0: stop one of the two; a second" in reason
    before = first.recorder.status()["feeds"][0]["head"]
    until(lambda: first.recorder.status()["feeds"][0]["head"] > before + 100, 10, "the first one goes on spooling")
    assert first.recorder.stop() == 0
    present = first.issued()
    until(lambda: first.stored() >= present, 60, f"the second one stores the present\n{another.tail()}")
    time.sleep(2.5)  # the grace of missing ids
    assert another.stop() == 0
    finding = judge(first.database, SYMBOL, first.issued())
    assert {gap.cause for gap in finding.gaps} <= {"recorder_down"}
    print(f"{reason}; stored {finding.stored}, gaps {finding.gaps}")
