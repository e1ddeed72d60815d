"""The pipeline: which feeds there are, what is drained first, how old the oldest record is, and when room is made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder import pipeline as pipeline_module
from recorder.capture.feed import Feed
from recorder.config import SpoolConfig
from recorder.errors import SpoolFault
from recorder.pipeline import (
    LARGEST_SEGMENT,
    QUEUE_BYTES,
    SMALLEST_SEGMENT,
    SMALLEST_SHARE,
    STUCK_US,
    Pipeline,
    segment_bytes,
)
from recorder.records import Stream
from recorder.scope import Scope
from recorder.venues import Continuity as Kind
from recorder.venues import Subscription
from tests.unit.piperig import Plant, configuration, lane, plant, receive, source

FEED = "one/public/0"


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """A home for pipelines."""
    with plant(tmp_path / "home", monkeypatch) as found:
        yield found


def gauge(pipeline: Pipeline, name: str, **labels: str) -> float | None:
    return pipeline.metrics.registry.get_sample_value(name, labels)


# --- which feeds there are -------------------------------------------------------------------------------------------


def test_every_connection_is_a_feed(yard: Plant, tmp_path: Path) -> None:
    """A feed's name is its source's and its line's; with `only`, other sources are left alone."""
    config = configuration(tmp_path, source("one", 2), source("two"))
    assert [plan.feed for plan in Scope().planned(config.sources)] == ["one/public/0", "one/public/1", "two/public/0"]
    assert [plan.feed for plan in Scope(("two",)).planned(config.sources)] == ["two/public/0"]


@pytest.mark.parametrize(
    ("max_size", "expected"),
    [(20 << 30, LARGEST_SEGMENT), (4 << 30, 16 << 20), (64 << 20, SMALLEST_SEGMENT), (0, SMALLEST_SEGMENT)],
)
def test_a_segment_is_a_small_part_of_the_spool(max_size: int, expected: int) -> None:
    """Deleting the oldest frees a small part of the limit; neither tiny files nor huge ones."""
    assert segment_bytes(max_size) == expected


@given(st.integers(SMALLEST_SEGMENT * 256, 1 << 44))
def test_a_full_spool_has_many_segments(max_size: int) -> None:
    """At least 256, so that what is deleted as a whole never is much of it."""
    assert max_size // segment_bytes(max_size) >= 256


def test_the_queue_is_shared_fairly(yard: Plant) -> None:
    """Each feed may have its part of the queue's bytes, and no feed less than it takes to work; the part of those that
    there are gets smaller when others join."""
    pipeline = yard.build(source("one", 3))
    assert {one.state._share() for one in pipeline.feeds} == {QUEUE_BYTES // 3}
    joined = yard.build(source("two", 9)).feeds
    pipeline.feeds = [*pipeline.feeds, *joined]
    assert pipeline.feeds[0].state._share() == QUEUE_BYTES // 12
    many = QUEUE_BYTES // SMALLEST_SHARE + 1
    assert {one.state._share() for one in yard.build(source("three", many)).feeds} == {SMALLEST_SHARE}


def test_secrets_do_not_reach_the_spool(yard: Plant) -> None:
    """A segment's header holds the options that a decoder needs, never a credential."""
    pipeline = yard.build(source("one"))
    assert pipeline.feeds[0].spool.header.options == {"business": "crypto"}
    for path in yard.home.spool.rglob("*"):
        assert path.is_dir() or b"hunter2" not in path.read_bytes()


def test_a_stream_is_judged_as_its_venue_says(yard: Plant) -> None:
    """Table and proof come from the venue's channel; of a channel that it no longer knows, nothing is proven."""
    pipeline = yard.build(source("one"))
    known, strange = Stream("one", "books", "A"), Stream("one", "gone", "A")
    assert (pipeline._kind(known), pipeline._table(known)) == (Kind.CHAINED, "books")
    assert (pipeline._kind(strange), pipeline._table(strange)) == (Kind.NONE, "messages")


# --- feeds that only their spool knows -------------------------------------------------------------------------------


def test_the_feeds_of_a_removed_source_are_drained(yard: Plant) -> None:
    """What was received under the old name is stored under it: its spool gets a lane without a feed, and counters."""
    yard.leave("old/public/0", 1, 2)
    pipeline = yard.build(source("one"))
    assert [(one.feed, one.source, one.state is None) for one in pipeline.lanes] == [
        (FEED, "one", False),
        ("old/public/0", "old", True),
    ]
    assert lane(pipeline, FEED).waits_for == []
    assert gauge(pipeline, "recorder_gaps_total", source="old", cause="recorder_down") == 0


def test_a_feed_waits_for_what_its_source_had_before(yard: Plant) -> None:
    """Fewer connections than before: the streams moved to another feed, whose records come later."""
    yard.leave("one/public/1", 1)
    pipeline = yard.build(source("one"), source("two"))
    old = lane(pipeline, "one/public/1")
    assert (lane(pipeline, FEED).waits_for, lane(pipeline, "two/public/0").waits_for) == ([old], [])


def test_a_source_that_is_not_wanted_now_is_not_retired(yard: Plant) -> None:
    """`--only` leaves the others' spools for the next start."""
    yard.leave("two/public/0", 1)
    pipeline = yard.build(source("one"), source("two"), only=["one"])
    assert [one.feed for one in pipeline.lanes] == [FEED]


def test_a_spool_of_a_venue_that_is_gone_is_left_alone(yard: Plant) -> None:
    """Nobody can decode it; it stays as it is."""
    yard.leave("old/public/0", 1, venue="bygone")
    assert [one.feed for one in yard.build(source("one")).lanes] == [FEED]


def test_a_spool_that_is_not_ours_is_not_committed(yard: Plant) -> None:
    """Another recorder's frames are its own to commit, also where no feed of ours has that name: parked, and said."""
    yard.leave("old/public/0", 1, spool_id="3f0f9f0e-5c5c-4d55-8f5d-0d4d7f6f1a11")
    assert [one.feed for one in yard.build(source("one")).lanes] == [FEED]


# --- lag -------------------------------------------------------------------------------------------------------------


def test_lag_is_the_age_of_the_oldest_record_of_a_source(yard: Plant) -> None:
    """Of its feeds the worst counts; a source with nothing waiting says 0, and time passes while nobody writes."""
    pipeline = yard.build(source("one", 2), source("two"))
    assert pipeline.readings.lag() == {("one",): 0.0, ("two",): 0.0}
    receive(pipeline, "one/public/0", 1, yard.now - 2_000_000)
    receive(pipeline, "one/public/1", 1, yard.now - 5_000_000)
    receive(pipeline, "one/public/1", 2, yard.now)
    assert pipeline.readings.lag() == {("one",): 5.0, ("two",): 0.0}
    yard.now += 60_000_000
    assert gauge(pipeline, "recorder_lag_seconds", source="one") == 65.0


def test_a_feed_that_is_drained_has_a_lag(yard: Plant) -> None:
    """What waits in an old spool is not yet in the database either."""
    yard.leave("old/public/0", 1)
    pipeline = yard.build(source("one"))
    old = lane(pipeline, "old/public/0")
    old.seek(old.reader.runs()[0].run, 0)
    old.tell()
    yard.now += 7_000_000
    assert pipeline.readings.lag() == {("one",): 0.0, ("old",): 7.0}


# --- room ------------------------------------------------------------------------------------------------------------

SMALL = SpoolConfig(max_size=5000, min_free=0, keep=3600.0)


@pytest.fixture
def full(yard: Plant, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A feed with 40 trades in as many segments, more than the spool may have; the first half is committed."""
    monkeypatch.setattr(pipeline_module, "SMALLEST_SEGMENT", 1)
    pipeline = yard.build(source("one"), spool=SMALL)
    for n in range(40):
        receive(pipeline, FEED, n, yard.now)
        pipeline.feeds[0].spool.sync()
    one = pipeline.lanes[0]
    one.safe = (pipeline.feeds[0].spool.run, 20)
    assert pipeline.spool_bytes() > SMALL.max_size
    return pipeline


def held(pipeline: Pipeline) -> int:
    """The first frame that the spool holds."""
    return pipeline.lanes[0].reader.runs()[0].first


def sheds(pipeline: Pipeline) -> bool:
    """Whether the feed sheds after the spool was looked after."""
    pipeline._release(pipeline.lanes)
    return bool(pipeline.feeds[0].state.trouble)


def test_committed_segments_are_kept_as_an_archive(yard: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """For `keep`, against a restored database; then they go."""
    monkeypatch.setattr(pipeline_module, "SEGMENTS", 1 << 30)
    monkeypatch.setattr(pipeline_module, "SMALLEST_SEGMENT", 1)
    pipeline = yard.build(source("one"))
    for n in range(4):
        receive(pipeline, FEED, n, yard.now)
    pipeline.lanes[0].safe = (pipeline.feeds[0].spool.run, 2)
    yard.now += round(pipeline.config.spool.keep * 1e6)
    pipeline._release(pipeline.lanes)
    assert held(pipeline) == 0
    yard.now += 1
    pipeline._release(pipeline.lanes)
    assert held(pipeline) == 2


def test_a_full_spool_gives_committed_segments_first(full: Pipeline, yard: Plant) -> None:
    """Whatever `keep` says; what is not committed is never touched."""
    yard.now += 1
    full._release(full.lanes)
    assert held(full) == 20


def test_a_short_disk_counts_like_a_full_spool(yard: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database may live on the same disk: `min_free` is left to it."""
    monkeypatch.setattr(pipeline_module, "SMALLEST_SEGMENT", 1)
    pipeline = yard.build(source("one"), spool=SpoolConfig(max_size=256, min_free=1000))
    monkeypatch.setattr(pipeline, "spool_bytes", lambda: 0)
    for n in range(4):
        receive(pipeline, FEED, n, yard.now)
    pipeline.lanes[0].safe = (pipeline.feeds[0].spool.run, 2)
    yard.now += 1
    yard.free = 1000
    pipeline._release(pipeline.lanes)
    assert held(pipeline) == 0
    yard.free = 999
    pipeline._release(pipeline.lanes)
    assert held(pipeline) == 2


def test_a_disk_that_refuses_counts_like_a_full_spool(yard: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `min_free` is nothing, what is committed goes too; but whether the disk takes a burst is tried again with
    each, so that room which somebody else makes is noticed while the database is away."""
    monkeypatch.setattr(pipeline_module, "SMALLEST_SEGMENT", 1)
    pipeline = yard.build(source("one"), spool=SpoolConfig(max_size=256, min_free=0))
    monkeypatch.setattr(pipeline, "spool_bytes", lambda: 0)
    for n in range(4):
        receive(pipeline, FEED, n, yard.now)
    pipeline.lanes[0].safe = (pipeline.feeds[0].spool.run, 2)
    yard.now += STUCK_US + 1
    assert not pipeline._release(pipeline.lanes)
    assert held(pipeline) == 0
    pipeline.feeds[0].state.disk_full = "the spool's disk is full"
    assert pipeline._release(pipeline.lanes)
    assert held(pipeline) == 2
    assert not pipeline.feeds[0].state.shedding


def test_a_feed_sheds_only_where_the_database_does_not_follow(full: Pipeline, yard: Plant) -> None:
    """A spool that is too large although everything committed is deleted: a feed whose oldest record has waited for
    long sheds what comes in; one that is being written does not."""
    yard.now += STUCK_US
    assert not sheds(full)
    yard.now += 1
    assert sheds(full)
    full.feeds[0].state.uncommitted_at = None
    assert not sheds(full)


def test_shedding_ends_when_there_is_room(full: Pipeline, yard: Plant) -> None:
    """The database is back, segments go, and in the same look the feed may append again."""
    yard.now += STUCK_US + 1
    assert sheds(full)
    full.lanes[0].safe = (full.feeds[0].spool.run, 39)
    assert not sheds(full)
    assert full.spool_bytes() <= SMALL.max_size


# --- what ends the process -------------------------------------------------------------------------------------------


def test_a_fault_of_any_part_is_found(yard: Plant) -> None:
    """The first that was told, then the spools', then the threads'."""
    pipeline = yard.build(source("one"))
    disk = SpoolFault("the disk refused twice")
    faults: list[BaseException] = [ValueError("feed"), ValueError("writer"), disk, ValueError("told")]
    seen = [pipeline.fault]
    pipeline.feeds[0].fault = faults[0]
    seen.append(pipeline.fault)
    pipeline.writer.fault = faults[1]
    seen.append(pipeline.fault)
    pipeline.feeds[0].spool.fault = disk
    seen.append(pipeline.fault)
    pipeline.fail(faults[3])
    seen.append(pipeline.fault)
    assert seen == [None, *faults]


def test_a_thread_that_does_not_run_is_named(yard: Plant) -> None:
    """Whichever it is: a silent death is found by looking."""
    pipeline = yard.build(source("one"))
    threads = [pipeline.syncer, pipeline.heartbeats, pipeline.writer, *pipeline.feeds]
    seen = []
    for thread in threads:
        seen.append(pipeline.dead())
        thread.is_alive = lambda: True  # type: ignore[method-assign]
    assert (seen, pipeline.dead()) == ([thread.name for thread in threads], "")


# --- what the metrics ask --------------------------------------------------------------------------------------------


def test_states_are_told_when_somebody_asks(yard: Plant) -> None:
    """Connections, queue, spool and database as they are at the scrape."""
    pipeline = yard.build(source("one"))
    feed = pipeline.feeds[0]
    assert gauge(pipeline, "recorder_connected", source="one", feed=FEED) == 0
    feed.connected = feed.parked = True
    assert gauge(pipeline, "recorder_connected", source="one", feed=FEED) == 1
    assert gauge(pipeline, "recorder_parked", source="one", feed=FEED) == 1
    feed.state.live = True
    receive(pipeline, FEED, 1, yard.now - 3_000_000)
    assert gauge(pipeline, "recorder_queue_bytes") == feed.state.queued_bytes > 0
    assert gauge(pipeline, "recorder_spool_bytes", source="one") == pipeline.spool_bytes() > 0
    assert gauge(pipeline, "recorder_spool_oldest_age_seconds") == 3.0
    assert gauge(pipeline, "recorder_disk_free_bytes") == yard.free
    assert gauge(pipeline, "recorder_spool_max_bytes") == pipeline.config.spool.max_size
    assert gauge(pipeline, "recorder_database_up") == 0
    pipeline.writer.database = ""
    assert gauge(pipeline, "recorder_database_up") == 1
    assert gauge(pipeline, "recorder_scrape_errors_total", metric="recorder_lag_seconds") == 0


def test_what_is_not_known_is_absent(yard: Plant) -> None:
    """Null is not zero: no commit, no message, no round trip yet."""
    pipeline = yard.build(source("one"))
    assert gauge(pipeline, "recorder_committed_age_seconds") is None
    assert gauge(pipeline, "recorder_last_message_age_seconds", source="one", channel="trades") is None
    assert gauge(pipeline, "recorder_spool_oldest_age_seconds") is None


def test_a_channel_is_as_young_as_its_youngest_message(yard: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two feeds bring the same channel: one of them is enough."""
    pipeline = yard.build(source("one", 2))
    monkeypatch.setattr("recorder.pipeline.time.monotonic", lambda: 100.0)
    pipeline.feeds[0].last_data["trades"] = 40.0
    pipeline.feeds[1].last_data["trades"] = 97.0
    pipeline.writer.committed_at = 99.5
    assert gauge(pipeline, "recorder_last_message_age_seconds", source="one", channel="trades") == 3.0
    assert gauge(pipeline, "recorder_committed_age_seconds") == 0.5


def test_silent_streams_are_counted_by_channel(yard: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every channel that is asked for has its series; a stream that two feeds ask for counts once."""
    pipeline = yard.build(source("one", 2))
    assert gauge(pipeline, "recorder_silent_streams", source="one", channel="trades") == 0
    for feed in pipeline.feeds:
        monkeypatch.setattr(feed, "silent", lambda: [Subscription("trades", "S0")])
    assert gauge(pipeline, "recorder_silent_streams", source="one", channel="trades") == 1


def test_a_feed_that_only_begins_is_not_dead(yard: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks for dead threads while a feed is being started does not find it: a busy machine may take its time
    there, and the process would end."""
    pipeline = yard.build(source("one"))
    listed: list[list[str]] = []
    monkeypatch.setattr(Feed, "start", lambda feed: listed.append([each.feed for each in pipeline.feeds]))
    successor = pipeline.relieve(pipeline.feeds[0])
    assert successor is not None
    yard.close(successor)
    assert listed == [["one/public/0"]]
    assert [each.feed for each in pipeline.feeds] == ["one/public/0", "one/public/0b"]


def test_nobody_waits_for_a_slot_that_runs_again(yard: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart all feeds of a source wait for what a hand-over left in the other slot. When that slot is opened
    for the next hand-over it waits for the feed that it relieves, and no other feed waits for it any more."""
    monkeypatch.setattr(Feed, "start", lambda feed: None)
    yard.leave("one/public/0b", 1)
    pipeline = yard.build(source("one", 2))
    first, second, old = (lane(pipeline, f"one/public/{name}") for name in ("0", "1", "0b"))
    assert (first.waits_for, second.waits_for) == ([old], [old])
    successor = pipeline.relieve(pipeline.feeds[0])
    assert successor is not None
    yard.close(successor)
    pipeline.writer._change()
    assert (first.waits_for, second.waits_for, old.waits_for) == ([], [], [first])
    assert (old.state is successor.state, second.blocked, old.blocked) == (True, False, True)
    assert pipeline.relieve(pipeline.feeds[0]) is None, "one successor at a time"
