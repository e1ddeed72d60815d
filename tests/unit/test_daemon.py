"""The daemon: what it says of itself, what it cannot go on with, and its slow work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recorder.config import Config
from recorder.daemon import Chores, Daemon, instance
from recorder.errors import ConfigError, Exit, RecorderError
from recorder.observe.health import Beats
from recorder.observe.metrics import Metrics
from recorder.store.flush import Position
from tests.unit.piperig import Plant, configuration, lane, plant, receive, source

FEED = "one/public/0"


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """A home for daemons."""
    with plant(tmp_path / "home", monkeypatch) as found:
        monkeypatch.setattr("recorder.overview.now_us", lambda: found.now)
        yield found


@pytest.fixture
def daemon(yard: Plant) -> Iterator[Daemon]:
    """One that is not started, with one source and an old feed to drain."""
    yard.leave("old/public/0", 1, 2, 3)
    made = Daemon(configuration(yard.home.home, source("one")), yard.home)
    yield made
    made.http.stop()
    for feed in made.pipeline.feeds:
        feed.spool.close()


def test_the_report_tells_every_feed(daemon: Daemon, yard: Plant) -> None:
    """Configured feeds with their connection, old ones that are only drained, each with position, head and lag."""
    receive(daemon.pipeline, FEED, 1, yard.now - 4_000_000)
    one, old = lane(daemon.pipeline, FEED), lane(daemon.pipeline, "old/public/0")
    one.position = Position(FEED, one.reader.runs()[0].run, 0, 1)
    daemon.pipeline.feeds[0].connected = True
    old.seek(old.reader.runs()[0].run, 1)
    old.tell()
    yard.now += 1_000_000
    new, drained = daemon.report().feeds
    assert (new.feed, new.source, new.connected, new.draining, new.live) == (FEED, "one", True, False, False)
    assert (new.run, new.head) == (daemon.pipeline.feeds[0].spool.run, 1)
    assert (new.position_run, new.position, new.lag_seconds) == (new.run, 0, 5.0)
    assert (drained.feed, drained.connected, drained.draining) == ("old/public/0", False, True)
    assert (drained.run, drained.head, drained.position) == (old.run, 1, None)
    assert (drained.lag_seconds, drained.spool_bytes > 0) == (1.0, True)


def test_the_report_tells_the_whole(daemon: Daemon, yard: Plant) -> None:
    """Identity, sizes, and in a sentence why nothing is written; never a credential."""
    report = daemon.report()
    assert report.recorder_id == yard.home.identity
    assert report.database == "not connected yet"
    assert (report.fenced, report.stopping, report.committed_age_seconds) == ("", False, None)
    assert report.spool_bytes == daemon.pipeline.spool_bytes() > 0
    assert report.spool_max_bytes == daemon.config.spool.max_size
    assert b"hunter2" not in report.json()


def test_a_fenced_recorder_says_so_once(daemon: Daemon) -> None:
    """Being fenced is no trouble of the database: the sentence stands in its own place."""
    daemon.pipeline.writer._park("another recorder with this identity has taken over")
    report = daemon.report()
    assert (report.database, report.fenced) == ("", "another recorder with this identity has taken over")
    assert [reason for reason in report.unready() if "taken over" in reason] == [f"fenced: {report.fenced}"]


def test_trouble_is_a_fault_or_a_dead_thread(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part's own fault decides the exit code; a thread that is just gone is an internal error with its name."""
    monkeypatch.setattr(daemon.pipeline, "dead", lambda: "writer")
    trouble = daemon.trouble()
    assert isinstance(trouble, RecorderError)
    assert (str(trouble), trouble.exit_code) == ("thread writer ended unexpectedly", Exit.INTERNAL)
    fault = ConfigError(["the disk is somebody else's"])
    daemon.pipeline.fail(fault)
    assert daemon.trouble() is fault


def test_quarantine_asks_the_feeds_own_spool(daemon: Daemon) -> None:
    """The raw frame behind a refused row; nothing where the spool does not hold it, or nobody knows the feed."""
    run = lane(daemon.pipeline, "old/public/0").reader.runs()[0].run
    assert daemon._raw("old/public/0", run, 1) == b"data trades A 2 2"
    assert daemon._raw("old/public/0", run, 9) is None
    assert daemon._raw("strange/0", run, 0) is None


def test_an_instance_is_this_boot() -> None:
    """The same for every process of a boot: what tells another machine's recorder from an earlier one of ours."""
    assert instance() == instance() != ""


@pytest.mark.parametrize(
    ("retention", "database", "asked"),
    [({"trades": 60.0}, "", 1), ({"trades": 60.0}, "away", 0), ({"trades": 0.0}, "", 0), ({}, "", 0)],
)
def test_retention_needs_a_limit_and_a_database(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, retention: dict[str, float], database: str, asked: int
) -> None:
    """Old rows go by our own hand only where some table has a limit, and not while the database is away."""
    connected: list[str] = []

    class Refused(Exception):
        """The test stops here."""

    def connect(url: str, **more: object) -> None:
        connected.append(url)
        raise Refused

    monkeypatch.setattr("recorder.daemon.psycopg.connect", connect)
    daemon.config = Config(database=daemon.config.database, retention=retention)
    daemon.pipeline.writer.database = database
    if asked:
        with pytest.raises(Refused):
            daemon._retain()
    else:
        daemon._retain()
    assert len(connected) == asked


def test_a_chore_that_fails_is_counted_and_tried_again() -> None:
    """Slow work may fail: it is said, counted, and its turn comes again."""
    metrics, done = Metrics(), []

    def retention() -> None:
        done.append(1)
        if len(done) == 1:
            raise OSError("the database is away")

    chores = Chores(Beats(), metrics)
    chores.add("retention", 600, retention)
    chores._jobs.run_all()
    chores._jobs.run_all()
    assert len(done) == 2
    assert metrics.registry.get_sample_value("recorder_chore_failures_total", {"chore": "retention"}) == 1
    assert len(chores._jobs.get_jobs()) == 1
