"""The schema changes under a running recorder, or is not the one that it knows: it goes on spooling, and says so."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from recorder.store.migrate import expected, migrate_url
from tests.fault.process import ROOT, until
from tests.fault.stage import Oracle, staged


@pytest.fixture
def oracle(tmp_path: Path, database: str) -> Iterator[Oracle]:
    """2 000 numbered trades a second."""
    with staged(tmp_path / "recorder", database, database) as stage:
        yield stage


def pretend_newer(database: str) -> None:
    """The database was migrated by a later recorder."""
    with psycopg.connect(database) as conn:
        conn.execute(
            "INSERT INTO schema_migrations (number, name, applied_at) VALUES (%s, 'later', now())", (expected() + 1,)
        )


@pytest.mark.timeout(120)
def test_old_code_on_a_newer_schema_keeps_spooling_and_says_so(oracle: Oracle, database: str) -> None:
    """Nothing is written, nothing is lost: /readyz and status say why, and what to do; with the schema it knows it
    goes on by itself, without a gap."""
    pretend_newer(database)
    oracle.start()
    until(lambda: "newer than" in oracle.recorder.get("/readyz"), 20, "readyz says why")
    assert "install the recorder that made it" in oracle.recorder.status()["database"]
    assert oracle.recorder.metric("recorder_database_up") == 0.0
    spooled = oracle.recorder.metric("recorder_spool_bytes", source="okx") or 0.0
    time.sleep(2.0)
    assert (oracle.recorder.metric("recorder_spool_bytes", source="okx") or 0.0) > spooled
    with psycopg.connect(database) as conn:
        assert conn.execute("SELECT count(*) FROM trades").fetchone() == (0,)
        conn.execute("DELETE FROM schema_migrations WHERE number > %s", (expected(),))
    finding = oracle.settle()
    assert finding.gaps == ()


@pytest.mark.timeout(120)
def test_migrate_under_load_loses_nothing(oracle: Oracle, database: str) -> None:
    """`recorder migrate` again and again beside a recorder that writes 2 000 trades a second: no gap, no failure."""
    oracle.start()
    oracle.ready()
    failures: list[str] = []

    def migrate() -> None:
        for _ in range(5):
            done = subprocess.run(
                [sys.executable, "-m", "recorder", "migrate", "--config", str(oracle.recorder.config)],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                failures.append(done.stderr)

    thread = threading.Thread(target=migrate)
    thread.start()
    thread.join()
    assert failures == []
    assert oracle.settle().gaps == ()


@pytest.mark.timeout(120)
def test_an_empty_database_is_migrated_by_the_recorder(tmp_path: Path, empty_database: str) -> None:
    """Where there is nothing at all, `run` makes its tables itself; a database with tables of others is left alone."""
    with staged(tmp_path / "recorder", empty_database, empty_database) as stage:
        stage.start()
        assert stage.settle().gaps == ()


@pytest.mark.timeout(120)
def test_a_database_with_tables_of_others_is_not_touched(tmp_path: Path, empty_database: str) -> None:
    """`recorder migrate` is named instead, and does it."""
    with psycopg.connect(empty_database) as conn:
        conn.execute("CREATE TABLE theirs (id int)")
    with staged(tmp_path / "recorder", empty_database, empty_database) as stage:
        stage.start()
        until(lambda: "recorder migrate" in stage.recorder.get("/readyz"), 20, "readyz names the command")
        migrate_url(empty_database)
        assert stage.settle().gaps == ()
