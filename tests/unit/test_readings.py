"""What the alerts ask beside counters: silence that is none, room in the spool, refused streams, venues' codes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recorder.config import SpoolConfig
from recorder.pipeline import Pipeline
from recorder.records import Stream
from recorder.venues import Subscription
from tests.unit.piperig import Plant, lane, plant, receive, source

FEED = "one/public/0"


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """A home for pipelines."""
    with plant(tmp_path / "home", monkeypatch) as found:
        yield found


def gauge(pipeline: Pipeline, name: str, **labels: str) -> float | None:
    return pipeline.metrics.registry.get_sample_value(name, labels)


def test_a_stream_that_had_records_once_is_not_silent(yard: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its market sleeps: after a reconnect at night all of its streams are accepted and bring nothing."""
    pipeline = yard.build(source("one", 2))
    for n, feed in enumerate(pipeline.feeds):
        monkeypatch.setattr(feed, "silent", lambda n=n: [Subscription("trades", f"S{n}")])
    assert gauge(pipeline, "recorder_silent_streams", source="one", channel="trades") == 2
    pipeline.preparer.continuity.base(pipeline.streams.number(Stream("one", "trades", "S1")), 1, 1)
    assert gauge(pipeline, "recorder_silent_streams", source="one", channel="trades") == 1
    assert pipeline.readings.never_heard(pipeline.feeds[1]) == []


def test_a_feed_that_is_asked_for_nothing_need_not_be_connected(yard: Plant) -> None:
    """Its patterns fit nothing any more: that is no connection that is missing."""
    pipeline = yard.build(source("one"))
    pipeline.feeds[0].serve(())
    assert gauge(pipeline, "recorder_connected", source="one", feed=FEED) is None


def test_the_room_in_the_spool_is_what_is_not_needed(yard: Plant) -> None:
    """Of the limit or of the disk, whichever ends first; what is committed is room."""
    small = SpoolConfig(max_size=1 << 20, min_free=4096)
    pipeline = yard.build(source("one"), spool=small)
    receive(pipeline, FEED, 1, yard.now)
    size = pipeline.spool_bytes()
    assert gauge(pipeline, "recorder_spool_min_free_bytes") == 4096
    assert gauge(pipeline, "recorder_spool_room_bytes") == (1 << 20) - size
    yard.free = 10_000
    assert gauge(pipeline, "recorder_spool_room_bytes") == 10_000 - 4096
    yard.leave("gone/public/0", 1)
    restarted = yard.build(source("one"), spool=small)
    gone = lane(restarted, "gone/public/0")
    assert gone.needed() == gone.reader.size() > 0
    yard.free = 1
    assert gauge(pipeline, "recorder_spool_room_bytes") == 0


def test_what_rules_must_know_of_a_venue_is_told(yard: Plant) -> None:
    """Which markets never close, and what is done about each code; a code that nobody declared is unknown."""
    day = source("day")
    day.options["business"] = "stock"
    pipeline = yard.build(source("one"), day)
    assert gauge(pipeline, "recorder_market_open", source="one") == 1
    assert gauge(pipeline, "recorder_market_open", source="day") is None
    for code, reaction in (("drop", "drop"), ("other", "unknown")):
        assert gauge(pipeline, "recorder_venue_code_info", source="day", code=code, reaction=reaction) == 1


def test_refused_streams_have_a_hole_that_goes_on(yard: Plant) -> None:
    """Counted by source; every source has its series."""
    pipeline = yard.build(source("one"), source("two"))
    assert gauge(pipeline, "recorder_gaps_open", source="two") == 0
    pipeline.preparer._chronicle.refused |= {Stream("one", "trades", s) for s in ("A", "B")}
    assert gauge(pipeline, "recorder_gaps_open", source="one") == 2
    assert gauge(pipeline, "recorder_gaps_open", source="two") == 0
