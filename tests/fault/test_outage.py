"""The database goes away in the middle of a stream: nothing is lost or doubled, memory stays bounded, lag is right.

Short by default; RECORDER_LONG=1 takes a minute for each outage and ten for the backlog.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.fault.process import source_toml, until
from tests.fault.proxy import Proxy, proxied
from tests.fault.stage import LONG, SYMBOL, Oracle, staged
from tests.fixtures.server import PgServer

OUTAGE = 60.0 if LONG else 6.0
MIB = 1 << 20


def lag(oracle: Oracle, source: str = "okx") -> float:
    """recorder_lag_seconds as it is scraped."""
    value = oracle.recorder.metric("recorder_lag_seconds", source=source)
    assert value is not None, "no lag"
    return value


@contextmanager
def outage(oracle: Oracle, away: Callable[[], None], back: Callable[[], None], seconds: float) -> Iterator[None]:
    """Take the database away; hold the lag against the truth at every scrape, and memory against its value 10 s in
    (or half way, where the outage is shorter)."""
    oracle.start()
    oracle.ready()
    time.sleep(2.0)
    began = time.monotonic()
    away()
    settled, top = 0, 0
    while (passed := time.monotonic() - began) < seconds:
        assert abs(lag(oracle) - passed) < 1.0, f"lag {lag(oracle):.2f} s, {passed:.2f} s into the outage"
        rss = oracle.recorder.rss()
        if passed >= min(10.0, seconds / 2):
            settled = settled or rss
            top = max(top, rss)
        time.sleep(0.2)
    print(f"RSS {settled / MIB:.0f} MiB, at most {(top - settled) / MIB:+.1f} MiB later; lag {lag(oracle):.2f} s")
    assert top - settled <= 64 * MIB
    back()
    yield
    until(lambda: lag(oracle) < 1.0, 60, f"the lag is gone\n{oracle.recorder.tail()}")
    finding = oracle.settle()
    assert finding.gaps == ()
    print(f"stored {finding.stored}, numbers {finding.first}…{finding.last}")


@pytest.fixture
def oracle(tmp_path: Path, pg_server: PgServer) -> Iterator[Oracle]:
    """A recorder that writes to a server of its own, 2 000 numbered trades a second."""
    with staged(tmp_path / "recorder", pg_server.writer_url, pg_server.url) as stage:
        yield stage


@pytest.fixture
def proxy(database: str) -> Iterator[Proxy]:
    """A proxy before the run's server."""
    parts = urlsplit(database)
    with proxied(parts.hostname or "", parts.port or 0) as between:
        yield between


@pytest.fixture
def behind_proxy(tmp_path: Path, database: str, proxy: Proxy) -> Iterator[Oracle]:
    """A recorder that reaches its database through the proxy."""
    with staged(tmp_path / "recorder", proxy.url(database), database) as stage:
        yield stage


@pytest.mark.timeout(400)
def test_the_server_stands_still(oracle: Oracle, pg_server: PgServer) -> None:
    """SIGSTOP to every process of the server, then on again."""
    with outage(oracle, pg_server.pause, pg_server.resume, OUTAGE):
        pass


@pytest.mark.timeout(400)
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_the_server_is_restarted(oracle: Oracle, pg_server: PgServer, mode: str) -> None:
    """Stopped fast or at once, and started again later."""
    with outage(oracle, lambda: pg_server.stop(mode), pg_server.start, OUTAGE):
        pass


@pytest.mark.timeout(400)
def test_the_reply_to_commit_is_lost(behind_proxy: Oracle, proxy: Proxy) -> None:
    """Ten times the server commits and the recorder does not hear of it."""
    behind_proxy.start()
    behind_proxy.ready()
    for _ in range(10):
        proxy.swallow_commit_reply()
        time.sleep(0.5)
    finding = behind_proxy.settle()
    assert finding.gaps == ()
    print(f"stored {finding.stored}, numbers {finding.first}…{finding.last}")


@pytest.mark.timeout(400)
def test_the_route_is_lost_mid_copy(behind_proxy: Oracle, proxy: Proxy) -> None:
    """In the middle of a COPY nothing passes any more, in neither direction; later the route is back."""

    def away() -> None:
        proxy.stall_after(20_000)

    with outage(behind_proxy, away, proxy.resume, OUTAGE):
        pass


@pytest.mark.timeout(400)
def test_the_spool_is_full_before_the_database_is_back(oracle: Oracle, pg_server: PgServer) -> None:
    """Beyond max_size what comes in is shed and counted, the socket is read on, and the hole has a row."""
    oracle.recorder.toml = oracle.recorder.toml.replace('max_size = "64MiB"', 'max_size = "1MiB"')
    oracle.start()
    oracle.ready()
    pg_server.stop()
    until(lambda: bool(oracle.recorder.metric("recorder_shed_messages_total", source="okx")), 150, "something is shed")
    time.sleep(4.0)
    assert (oracle.recorder.metric("recorder_spool_bytes", source="okx") or 0.0) < 2 * MIB
    assert oracle.recorder.connected()
    pg_server.start()
    finding = oracle.settle()
    assert {gap.cause for gap in finding.gaps} == {"shed"}
    assert sum(gap.last - gap.first for gap in finding.gaps) > 1000


@pytest.mark.timeout(1500)
def test_a_backlog_drains_beside_a_live_feed(tmp_path: Path, pg_server: PgServer) -> None:
    """After a long outage one feed's backlog drains at 5 times the live rate or more, while another feed of the same
    writer, whose own backlog is small, lags less than 2 s."""
    backlog = 600.0 if LONG else 20.0
    with (
        staged(tmp_path / "recorder", pg_server.writer_url, pg_server.url) as busy,
        staged(tmp_path / "other", "", "", ("ETH-USDT",), 20.0) as quiet,
    ):
        ws, rest = quiet.simulator.ws_url, quiet.simulator.http_url
        busy.recorder.toml += source_toml(ws, rest, {"trades": ["ETH-USDT"]}, name="quiet")
        busy.start()
        busy.ready()
        pg_server.stop()
        time.sleep(backlog)
        pg_server.start()
        until(lambda: bool(busy.recorder.metric("recorder_database_up")), 60, "the database is back")
        began, behind = time.monotonic(), lag(busy)
        worst = 0.0
        until(lambda: lag(busy, "quiet") < 2.0, 20, "the quiet feed is live again")
        while lag(busy) > 1.0:
            worst = max(worst, lag(busy, "quiet"))
            assert time.monotonic() - began < backlog, "drains slower than it came"
        seconds = time.monotonic() - began
        print(f"{behind:.0f} s of backlog in {seconds:.1f} s: {behind / seconds:.1f} × live; quiet lag {worst:.2f} s")
        assert worst < 2.0
        assert behind / seconds >= 5.0
        assert busy.settle().gaps == ()
        assert SYMBOL
