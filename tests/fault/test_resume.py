"""Where a recorder begins when its spool, its data directory or its database is not what it left (design 2.4)."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.fault.ledger import judge
from tests.fault.process import okx_toml, until
from tests.fault.stage import LONG, RATE, SYMBOL, Oracle, staged
from tests.fixtures.server import PgServer

UNCOMMITTED = 600.0 if LONG else 8.0  # how long the database is away before what is tested


@pytest.fixture
def oracle(tmp_path: Path, pg_server: PgServer) -> Iterator[Oracle]:
    """A recorder that writes to a server of its own, 2 000 numbered trades a second."""
    with staged(tmp_path / "recorder", pg_server.writer_url, pg_server.url) as stage:
        yield stage


def segments(oracle: Oracle) -> list[Path]:
    """The segments of the feed, oldest first."""
    return sorted(path for path in (oracle.recorder.home / "data" / "spool").rglob("*") if ".seg" in path.name)


def lose_tail(oracle: Oracle) -> None:
    """A power cut: the last 40 KB or more are gone, whole segments if they are smaller."""
    *_, (last, size) = ((path, path.stat().st_size) for path in segments(oracle) if path.stat().st_size > 60_000)
    for newer in (path for path in segments(oracle) if path > last):
        newer.unlink()
    with last.open("r+b") as file:
        file.truncate(size - 40_000)


def record_for(oracle: Oracle, seconds: float) -> None:
    """Start, record, and be committed."""
    oracle.start()
    oracle.ready()
    time.sleep(seconds)


def record_without_database(oracle: Oracle, server: PgServer) -> None:
    """Some seconds committed, then UNCOMMITTED seconds that only the spool has; the recorder is stopped."""
    record_for(oracle, 2.0)
    server.stop()
    time.sleep(UNCOMMITTED)
    assert oracle.recorder.stop() == 0
    server.start()


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("renamed", [True, False])
def test_a_source_is_renamed_or_removed_with_frames_uncommitted(
    oracle: Oracle, pg_server: PgServer, renamed: bool
) -> None:
    """Its feeds are drained before they are forgotten: every number it had received is stored under its old name."""
    record_without_database(oracle, pg_server)
    last = oracle.issued()
    ws, rest = oracle.simulator.ws_url, oracle.simulator.http_url
    channel = "trades" if renamed else "tickers"
    oracle.recorder.toml = okx_toml(pg_server.writer_url, ws, rest, {channel: [SYMBOL]}, name="other")
    oracle.start()
    oracle.ready()
    until(lambda: not any(f["draining"] and f["lag_seconds"] for f in feeds(oracle)), 120, "the old feed is drained")
    assert oracle.recorder.stop() == 0
    finding = judge(pg_server.url, SYMBOL, last)
    assert finding.gaps == ()
    assert finding.stored > RATE * UNCOMMITTED
    if renamed:
        assert judge(pg_server.url, SYMBOL, oracle.issued(), source="other").first > finding.last


def feeds(oracle: Oracle) -> list[dict[str, object]]:
    """What /status says of the feeds."""
    found: list[dict[str, object]] = oracle.recorder.status()["feeds"]
    return found


@pytest.mark.timeout(300)
def test_the_spool_lost_a_tail_that_was_stored(oracle: Oracle, pg_server: PgServer) -> None:
    """A power cut took frames that the database already has: nothing is stored twice, only downtime is a gap."""
    record_for(oracle, 3.0)
    oracle.recorder.kill()
    stored = judge(pg_server.url, SYMBOL, oracle.issued()).last
    lose_tail(oracle)
    oracle.start()
    finding = oracle.check(1)
    assert [gap.cause for gap in finding.gaps] == ["recorder_down"]
    assert finding.gaps[0].first >= stored + 1


@pytest.mark.timeout(1500)
def test_the_spool_lost_a_tail_that_was_not_stored(oracle: Oracle, pg_server: PgServer) -> None:
    """Frames that only the spool had are gone: they are inside the gap of that restart."""
    record_without_database(oracle, pg_server)
    lose_tail(oracle)
    oracle.start()
    finding = oracle.settle()
    assert [gap.cause for gap in finding.gaps] == ["recorder_down"]
    assert finding.gaps[0].last - finding.gaps[0].first > 100


@pytest.mark.timeout(300)
def test_the_data_directory_is_replaced(oracle: Oracle, pg_server: PgServer) -> None:
    """A new identity begins its own positions, goes on from what the database holds, and names what it missed."""
    record_for(oracle, 2.0)
    assert oracle.recorder.stop() == 0
    shutil.rmtree(oracle.recorder.home / "data")
    oracle.start()
    finding = oracle.check(1)
    assert [gap.cause for gap in finding.gaps] == ["recorder_down"]
    with psycopg.connect(pg_server.url) as conn:
        assert conn.execute("SELECT count(*) FROM positions").fetchone() == (2,)


@pytest.mark.timeout(300)
def test_the_spool_is_emptied_but_not_its_identity(oracle: Oracle, pg_server: PgServer) -> None:
    """The run of the position is unknown though the spool is ours: the oldest frame held, gap recorder_down."""
    record_for(oracle, 2.0)
    assert oracle.recorder.stop() == 0
    shutil.rmtree(oracle.recorder.home / "data" / "spool")
    oracle.start()
    finding = oracle.check(1)
    assert [gap.cause for gap in finding.gaps] == ["recorder_down"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("running", [True, False])
def test_an_older_database_is_restored(oracle: Oracle, pg_server: PgServer, tmp_path: Path, running: bool) -> None:
    """What was committed after the backup is taken from the spool again, whether the recorder runs meanwhile or not."""
    record_for(oracle, 2.0)
    pg_server.stop()
    backup(pg_server, tmp_path / "backup")
    pg_server.start()
    until(lambda: not oracle.recorder.status()["database"], 60, "writing again")
    time.sleep(3.0)
    if not running:
        assert oracle.recorder.stop() == 0
    restore(pg_server, tmp_path / "backup")
    if not running:
        oracle.start()
    finding = oracle.settle()
    assert [gap.cause for gap in finding.gaps] == ([] if running else ["recorder_down"])


@pytest.mark.timeout(300)
def test_an_older_database_is_restored_than_the_spool_reaches_back(
    oracle: Oracle, pg_server: PgServer, tmp_path: Path
) -> None:
    """The backup is older than `keep`: what the spool no longer has is one gap, cause database_restored."""
    record_for(oracle, 2.0)
    pg_server.stop()
    backup(pg_server, tmp_path / "backup")
    pg_server.start()
    until(lambda: not oracle.recorder.status()["database"], 60, "writing again")
    time.sleep(2.0)
    assert oracle.recorder.stop() == 0
    for segment in segments(oracle)[:-1]:
        segment.unlink()
    restore(pg_server, tmp_path / "backup")
    oracle.start()
    finding = oracle.settle()
    assert [gap.cause for gap in finding.gaps] == ["database_restored", "recorder_down"]


def backup(server: PgServer, where: Path) -> None:
    """A cold copy of the stopped server."""
    shutil.copytree(server.local.data, where, symlinks=True)


def restore(server: PgServer, where: Path) -> None:
    """Put the cold copy back, as if the time since had not been."""
    server.stop()
    shutil.rmtree(server.local.data)
    shutil.copytree(where, server.local.data, symlinks=True)
    for path in (server.local.data, *server.local.data.rglob("*")):
        server.local.account.own(path)
    server.start()


@pytest.mark.timeout(1500)
def test_a_borrowed_spool_is_not_committed(oracle: Oracle, pg_server: PgServer) -> None:
    """A spool that carries another identity is refused in a sentence; none of its frames is stored."""
    record_without_database(oracle, pg_server)
    before = judge(pg_server.url, SYMBOL, oracle.issued()).stored
    (oracle.recorder.home / "data" / "identity").write_text("3f0f9f0e-5c5c-4d55-8f5d-0d4d7f6f1a11\n")
    oracle.recorder.start()
    assert oracle.recorder.wait(20) == 78
    assert "another recorder's spool" in oracle.recorder.tail()
    assert judge(pg_server.url, SYMBOL, oracle.issued()).stored == before


@pytest.mark.timeout(120)
def test_a_clean_stop_lets_another_machine_take_over_at_once(oracle: Oracle, pg_server: PgServer) -> None:
    """After exit 0 no position names an instance any more: a reboot or a move need not wait for a minute."""
    record_for(oracle, 1.0)
    assert oracle.recorder.stop() == 0
    with psycopg.connect(pg_server.url) as conn:
        assert conn.execute("SELECT DISTINCT instance FROM positions").fetchall() == [("",)]
