"""A recorder whose database cannot be written: one sentence that says why, everywhere; it spools, and goes on by itself
when the cause is gone, with nothing lost and nothing twice.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recorder.errors import Exit
from tests.fault.process import ROOT, until
from tests.fault.stage import Oracle, staged
from tests.fault.troubles import TROUBLES, WRONG, Given, Maker, Trouble
from tests.fixtures.server import PgServer


@pytest.fixture(params=TROUBLES, ids=[maker.__name__ for maker in TROUBLES])
def trouble(request: pytest.FixtureRequest, server_url: str, tmp_path: Path) -> Iterator[Trouble]:
    """Each of them, made for this test alone."""

    def private() -> PgServer:
        server: PgServer = request.getfixturevalue("pg_server")
        return server

    maker: Maker = request.param
    with maker(Given(server_url, private, tmp_path)) as made:
        yield made


def command(stage: Oracle, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the recorder, beside the one that runs."""
    return subprocess.run(
        [sys.executable, "-m", "recorder", *arguments, "--config", str(stage.recorder.config)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def unready(stage: Oracle) -> list[str]:
    """What /readyz says of the database."""
    return [line for line in stage.recorder.get("/readyz").splitlines() if line.startswith("database: ")]


def logged(stage: Oracle) -> list[str]:
    """What the log says of the database, oldest first."""
    lines = [json.loads(line) for line in stage.recorder.log.read_text().splitlines() if line.startswith("{")]
    return [line["message"] for line in lines if line.get("event") == "database.unavailable"]


def said_everywhere(stage: Oracle, trouble: Trouble) -> None:
    """The same sentence in log, /readyz, /status and `recorder status`; `recorder migrate` ends with 69 and its own."""
    words = f"database: {trouble.words}"
    (sentence,) = unready(stage)
    assert sentence.startswith(words)
    assert logged(stage)[-1] == sentence
    assert f"database: {stage.recorder.status()['database']}" == sentence
    asked = [("status",), ("migrate",)] if trouble.migrate else [("status",)]
    with ThreadPoolExecutor() as pool:
        status, *migrates = pool.map(lambda arguments: command(stage, *arguments), asked)
    assert status.returncode == Exit.NEGATIVE
    assert f"recorder: {sentence}" in status.stdout.splitlines()
    if trouble.shut:
        (own,) = [line for line in status.stdout.splitlines() if line.startswith("database: ")]
        assert own.startswith(words.rpartition("(")[0])
    for migrate in migrates:
        assert migrate.returncode == Exit.DATABASE_UNAVAILABLE, migrate.stderr
        assert migrate.stderr.splitlines()[-1].startswith(trouble.migrate)
    outputs = [text for done in (status, *migrates) for text in (done.stdout, done.stderr)]
    for text in (*outputs, stage.recorder.log.read_text()):
        assert "Traceback" not in text
        assert WRONG not in text


@pytest.mark.timeout(180)
def test_one_sentence_and_then_everything_is_stored(tmp_path: Path, trouble: Trouble) -> None:
    """Whatever keeps it from writing: see the module's docstring."""
    with staged(tmp_path / "recorder", trouble.url, trouble.judge) as stage:
        stage.start()
        if trouble.begin is not None:
            stage.ready()
            trouble.begin()
        until(lambda: any(trouble.words in line for line in unready(stage)), 30, f"said\n{stage.recorder.tail()}")
        said_everywhere(stage, trouble)
        before = spooled(stage)
        until(lambda: spooled(stage) > before + 100, 10, f"it goes on spooling\n{stage.recorder.tail()}")
        assert stage.recorder.metric("recorder_database_up") == 0.0
        received = stage.issued()
        mended(stage, trouble)
        finding = stage.settle()
    assert finding.gaps == ()
    assert finding.first < received
    print(f"stored {finding.stored}, numbers {finding.first}…{finding.last}")


def spooled(stage: Oracle) -> int:
    """How many frames the feed has spooled."""
    (feed,) = stage.recorder.status()["feeds"]
    return int(feed["head"])


def mended(stage: Oracle, trouble: Trouble) -> None:
    """By hand, or by the command that the sentence names."""
    if trouble.mend is None:
        done = command(stage, "migrate")
        assert done.returncode == 0, done.stderr
    else:
        trouble.mend()
