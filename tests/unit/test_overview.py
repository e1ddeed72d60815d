"""What the status says beside the feeds: sources, channels, the spool's future, and what happened lately."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from recorder.daemon import Daemon
from recorder.observe.recent import Hole
from recorder.observe.report import ChannelReport
from recorder.records import Failed, Rejected
from tests.unit.piperig import Plant, configuration, plant, receive, source

FEED = "one/public/0"
GIB = 1 << 30


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """A home for daemons, on a disk of 100 GiB."""
    with plant(tmp_path / "home", monkeypatch) as found:
        monkeypatch.setattr("recorder.overview.now_us", lambda: found.now)
        disk = SimpleNamespace(disk_usage=lambda path: SimpleNamespace(free=found.free, total=100 * GIB))
        monkeypatch.setattr("recorder.overview.shutil", disk)
        found.free = 50 * GIB
        yield found


@pytest.fixture
def daemon(yard: Plant) -> Iterator[Daemon]:
    """One that is not started, with one source."""
    made = Daemon(configuration(yard.home.home, source("one")), yard.home)
    yield made
    made.http.stop()
    for feed in made.pipeline.feeds:
        feed.spool.close()


def test_channels_that_are_asked_for_are_there(daemon: Daemon) -> None:
    """Also before anything came; then with their counts and the age of the last message."""
    assert daemon.report().channels == (ChannelReport("one", "trades"),)
    daemon.metrics.messages_received("one", "trades").inc(7)
    (channel,) = daemon.report().channels
    assert (channel.messages, channel.last_message_age_seconds) == (7, None)


def test_a_source_has_its_sums(daemon: Daemon) -> None:
    """By reason and cause, and only what ever happened; never another source's."""
    daemon.metrics.add_source("two")
    daemon.metrics.reconnects("one", "eof").inc(2)
    daemon.metrics.reconnects("two", "eof").inc(9)
    daemon.metrics.gaps("one", "disconnect").inc()
    daemon.metrics.gap_seconds("one", "disconnect").inc(1.5)
    daemon.metrics.shed_messages("one", "trades").inc(4)
    (one,) = daemon.report().sources
    assert (one.source, one.reconnects, one.gaps, one.gap_seconds) == ("one", {"eof": 2}, {"disconnect": 1}, 1.5)
    assert one.shed_messages == 4


def test_when_the_spool_is_full(daemon: Daemon, yard: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told only while records wait for the database: what is committed makes room by itself. The nearer of the two
    limits counts."""
    monkeypatch.setattr(daemon.rates, "spool_growth", lambda: float(1 << 20))
    assert daemon.report().spool.full_in_seconds is None
    receive(daemon.pipeline, FEED, 1, yard.now)
    yard.now += 60_000_000
    spool = daemon.report().spool
    assert spool.full_in_seconds == pytest.approx(20 * 1024, rel=0.01)
    assert (spool.disk_free_bytes, spool.disk_total_bytes, spool.max_bytes) == (50 * GIB, 100 * GIB, 20 * GIB)
    yard.free = 1 * GIB
    assert daemon.report().spool.full_in_seconds == pytest.approx(1024, rel=0.01)
    monkeypatch.setattr(daemon.rates, "spool_growth", lambda: -1.0)
    assert daemon.report().spool.full_in_seconds is None


def test_what_happened_lately(daemon: Daemon, yard: Plant) -> None:
    """Gaps, refused streams and events with their times as ISO 8601 and their ages."""
    recent, now = daemon.pipeline.recent, yard.now
    recent.hole(Hole("one", "trades", "S0", "disconnect", now - 9_000_000, now - 4_000_000, 3, now - 3_000_000))
    recent.noted("one", FEED, now - 2_000_000, Rejected("trades", "S1", "60018", "no"))
    recent.noted("one", FEED, now - 1_000_000, Failed("dns", "wss://x", "no such host"))
    report = daemon.report()
    (gap,), (still,), (failed, refused) = report.gaps, report.open_gaps, report.events
    assert (gap.cause, gap.seconds, gap.missing, gap.age_seconds) == ("disconnect", 5.0, 3, 3.0)
    assert gap.from_time == "2023-11-14T22:13:11.000000Z"
    assert (still.symbol, still.to_time, still.seconds) == ("S1", None, 2.0)
    assert (failed.kind, failed.code, failed.message, failed.age_seconds) == ("failed", "dns", "no such host", 1.0)
    assert refused.kind == "refused"
