"""The drills of docs/operations.md: a database lost and restored from a backup that was made while the recorder ran.

What was committed after the backup is in the spool (`spool.keep`), and is stored again.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from recorder.store import programs
from recorder.store.local import OWNER
from tests.fault.process import okx_toml, until
from tests.fault.stage import SYMBOL, Oracle, staged
from tests.fixtures.server import PgServer

RESTORED = "restored"


@pytest.fixture
def oracle(tmp_path: Path, pg_server: PgServer) -> Iterator[Oracle]:
    """A recorder that writes to a server of its own, 2 000 numbered trades a second."""
    with staged(tmp_path / "recorder", pg_server.writer_url, pg_server.url) as stage:
        yield stage


def tool(server: PgServer, name: str, *arguments: str) -> None:
    """Run a program that came with the server; what it says is shown where it fails."""
    found = programs.find(server.local.directory, server.local.account, lambda _: None, None)
    ran = subprocess.run([str(found.bin / name), *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr


def record_until(oracle: Oracle, trades: int) -> None:
    """Record so many more trades."""
    wanted = oracle.stored() + trades
    until(lambda: oracle.stored() >= wanted, 60, "recorded\n" + oracle.recorder.tail())


@pytest.mark.timeout(300)
def test_a_dump_is_restored_and_the_spool_brings_the_rest(oracle: Oracle, pg_server: PgServer, tmp_path: Path) -> None:
    """pg_dump beside the recorder; the database goes; the dump into a new one, in the documented order; the recorder
    started on it stores what came after the dump, and only the time that it was stopped is a hole."""
    oracle.start()
    oracle.ready()
    record_until(oracle, 2000)
    dump = tmp_path / "market.dump"
    tool(pg_server, "pg_dump", "--format=custom", f"--file={dump}", pg_server.url)
    at_dump = oracle.stored()
    record_until(oracle, 4000)
    assert oracle.recorder.stop() == 0
    with psycopg.connect(pg_server.local.url_of(OWNER, "postgres"), autocommit=True) as conn:
        conn.execute("DROP DATABASE market WITH (FORCE)")
        conn.execute(f"CREATE DATABASE {RESTORED}")
    url = pg_server.local.url_of(OWNER, RESTORED)
    extended = pg_server.local.kind is programs.Kind.DEBIAN
    if extended:
        run(url, "CREATE EXTENSION timescaledb", "SELECT timescaledb_pre_restore()")
    tool(pg_server, "pg_restore", f"--dbname={url}", str(dump))
    if extended:
        run(url, "SELECT timescaledb_post_restore()")
    oracle.database = url
    assert 0 < oracle.stored() <= at_dump
    ws, rest = oracle.simulator.ws_url, oracle.simulator.http_url
    oracle.recorder.toml = okx_toml(pg_server.local.url_of("recorder", RESTORED), ws, rest, {"trades": [SYMBOL]})
    oracle.start()
    finding = oracle.settle()
    assert [gap.cause for gap in finding.gaps] == ["recorder_down"]
    assert finding.gaps[0].first > at_dump + 3000


@pytest.mark.timeout(300)
def test_a_base_backup_is_restored_under_a_running_recorder(
    oracle: Oracle, pg_server: PgServer, tmp_path: Path
) -> None:
    """pg_basebackup beside the recorder; later the server's directory is replaced by it while the recorder goes on:
    it takes over the older database, stores from the spool what that lacks, and there is no hole at all."""
    oracle.start()
    oracle.ready()
    record_until(oracle, 2000)
    copy = tmp_path / "base"
    owner = pg_server.local.url_of(OWNER, "postgres")
    tool(
        pg_server, "pg_basebackup", f"--pgdata={copy}", "--checkpoint=fast", "--wal-method=stream", f"--dbname={owner}"
    )
    at_backup = oracle.stored()
    record_until(oracle, 4000)
    pg_server.stop()
    shutil.rmtree(pg_server.local.data)
    shutil.copytree(copy, pg_server.local.data)
    for path in (pg_server.local.data, *pg_server.local.data.rglob("*")):
        pg_server.local.account.own(path)
    pg_server.start()
    assert oracle.stored() > 0
    finding = oracle.settle()
    assert finding.gaps == ()
    assert finding.last > at_backup + 4000


def run(url: str, *statements: str) -> None:
    """Statements, each in a transaction of its own."""
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())
