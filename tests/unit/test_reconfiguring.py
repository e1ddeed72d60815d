"""Another configuration while the recorder runs: which lines there are then, where symbols stay, another database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from recorder.capture.feed import Feed
from recorder.config import Config, Database, Secret, Source, SpoolConfig, Subscribe
from recorder.errors import SinkUnavailable, SpoolFault
from recorder.pipeline import Pipeline
from recorder.scope import Scope
from recorder.store.ground import Given, Local, options
from recorder.store.writer import Writer
from recorder.venues import Line, Subscription
from recorder.venues.okx import venue
from tests.unit import storerig
from tests.unit.piperig import Plant, configuration, lane, plant, receive, source
from tests.unit.storerig import turn_until

# --- lines -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """A home for pipelines whose feeds do not run."""
    monkeypatch.setattr(Feed, "start", lambda feed: None)
    with plant(tmp_path / "home", monkeypatch) as found:
        yield found


def reconfigure(yard: Plant, pipeline: Pipeline, *sources: Source, spool: SpoolConfig | None = None) -> None:
    """Another configuration, and the writer has heard of it."""
    known = set(pipeline.feeds)
    pipeline.reconfigure(configuration(yard.home.home, *sources, spool=spool))
    for feed in set(pipeline.feeds) - known:
        yard.close(feed)
    pipeline.writer._change()


def names(pipeline: Pipeline) -> dict[str, bool]:
    """Every feed, and whether it leaves."""
    return {feed.feed: feed.leaving for feed in pipeline.feeds}


def test_nothing_different_touches_nothing(yard: Plant) -> None:
    """The same sources again: the same feeds, and none is told anything."""
    pipeline = yard.build(source("one", 2))
    before = [(feed, feed._wanted) for feed in pipeline.feeds]
    reconfigure(yard, pipeline, source("one", 2))
    assert [(feed, feed._wanted) for feed in pipeline.feeds] == before
    assert names(pipeline) == {"one/public/0": False, "one/public/1": False}


def test_sources_and_lines_come_and_go(yard: Plant) -> None:
    """A source that is gone leaves; a line that is gone, too; one that is new begins, with its series at 0 and a lane;
    what a feed of the same source that ends has received comes before what the new one brings."""
    yard.leave("two/public/9", 1)
    pipeline = yard.build(source("one", 2), source("gone"))
    assert (
        pipeline.metrics.registry.get_sample_value("recorder_received_bytes_total", {"source": "two"}) is None or True
    )
    reconfigure(yard, pipeline, source("one"), source("two"))
    assert names(pipeline) == {
        "one/public/0": False,
        "one/public/1": True,
        "gone/public/0": True,
        "two/public/0": False,
    }
    found = {"source": "two", "reason": "config"}
    assert pipeline.metrics.registry.get_sample_value("recorder_reconnects_total", found) == 0
    assert [each.feed for each in lane(pipeline, "two/public/0").waits_for] == ["two/public/9"]
    assert pipeline.config.sources == (source("one"), source("two"))


def test_a_line_that_is_wanted_again_begins_when_its_old_feed_has_ended(yard: Plant) -> None:
    """Never two feeds in one spool: the new one takes the other slot, and waits for what the old one has left."""
    pipeline = yard.build(source("one"))
    reconfigure(yard, pipeline)
    reconfigure(yard, pipeline, source("one"))
    assert names(pipeline) == {"one/public/0": True}
    pipeline.relieved(pipeline.feeds[0])
    yard.close(pipeline.feeds[0])
    pipeline.writer._change()
    assert names(pipeline) == {"one/public/0b": False}
    assert lane(pipeline, "one/public/0b").waits_for == [lane(pipeline, "one/public/0")]
    assert lane(pipeline, "one/public/0").state is None


def test_a_source_that_is_gone_stays_gone(yard: Plant) -> None:
    """When its feed has ended nothing follows it; what it received is drained."""
    pipeline = yard.build(source("one"))
    (feed,) = pipeline.feeds
    receive(pipeline, feed.feed, 1, yard.now)
    reconfigure(yard, pipeline)
    pipeline.relieved(feed)
    pipeline.writer._change()
    assert (pipeline.feeds, lane(pipeline, feed.feed).state) == ([], None)
    assert pipeline.relieve(feed) is None


@pytest.mark.parametrize(("most", "leaving"), [(0, False), (4, False), (3, True)])
def test_other_settings_need_room_for_two_connections(yard: Plant, most: int, leaving: bool) -> None:
    """Two lines are taken over by two more where the limit allows four; else they end first. Another source's stay."""
    limits = {"max_connections": most} if most else {}
    old, other = replace(source("one", 2), limits=limits), source("two")
    pipeline = yard.build(old, other)
    reconfigure(yard, pipeline, replace(old, coalesce=0.5), other)
    assert {feed.feed: (feed._renewal is not None, feed.leaving) for feed in pipeline.feeds} == {
        "one/public/0": (True, leaving),
        "one/public/1": (True, leaving),
        "two/public/0": (False, False),
    }
    found = pipeline.relieve(pipeline.feeds[0])
    assert found is not None
    yard.close(found)
    assert (found.feed, found.source.coalesce) == ("one/public/0b", 0.5)


def test_a_line_that_is_being_taken_over_is_taken_over_anew(yard: Plant) -> None:
    """The successor has the settings of before: it ends, and the first feed asks for another."""
    one = source("one")
    pipeline = yard.build(one)
    reconfigure(yard, pipeline, replace(one, coalesce=0.5))
    successor = pipeline.relieve(pipeline.feeds[0])
    assert successor is not None
    yard.close(successor)
    reconfigure(yard, pipeline, replace(one, coalesce=0.25))
    assert names(pipeline) == {"one/public/0": False, "one/public/0b": True}
    assert pipeline.relieve(pipeline.feeds[0]) is None, "the slot is not free yet"
    pipeline.relieved(successor)
    assert names(pipeline) == {"one/public/0": False}
    again = pipeline.relieve(pipeline.feeds[0])
    assert again is not None
    yard.close(again)
    assert again.source.coalesce == 0.25


def test_a_spool_that_cannot_be_opened_changes_nothing(yard: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sources are new, the second one's directory is refused: the first one's spool is closed again, and everything
    is as it was."""
    pipeline = yard.build(source("one"))
    before, opened = pipeline.config, pipeline._open
    spools = []

    def refuse(plan: object) -> object:
        feed, lane = opened(plan)  # type: ignore[arg-type]
        spools.append(feed.spool)
        if feed.feed.startswith("three"):
            feed.spool.close()
            raise SpoolFault("the disk is full")
        return feed, lane

    monkeypatch.setattr(pipeline, "_open", refuse)
    with pytest.raises(SpoolFault):
        reconfigure(yard, pipeline, source("two"), source("three"))
    assert (names(pipeline), pipeline.config) == ({"one/public/0": False}, before)
    assert [spool.closed for spool in spools] == [True, True]
    assert len(pipeline.syncer._spools) == 2  # the third one's never came back from opening


def test_an_ending_pipeline_begins_nothing(yard: Plant) -> None:
    """A feed that leaves while everything ends is not followed by another that nobody would stop."""
    pipeline = yard.build(source("one"))
    pipeline._ending = True
    assert pipeline.relieve(pipeline.feeds[0]) is None
    pipeline.relieved(pipeline.feeds[0])
    assert pipeline.feeds == []


def test_only_the_source_of_the_configuration_is_served(yard: Plant) -> None:
    """What a venue lists comes from another thread: of a source that has changed meanwhile it means nothing."""
    one = source("one")
    pipeline = yard.build(one)
    pipeline.serve(replace(one, subscribe=()), ())
    assert names(pipeline) == {"one/public/0": False}
    pipeline.serve(one, ())
    assert names(pipeline) == {"one/public/0": False}


def test_limits_of_spool_and_writer_are_the_new_ones(yard: Plant) -> None:
    """From the next turn on."""
    pipeline = yard.build(source("one"))
    reconfigure(yard, pipeline, source("one"), spool=SpoolConfig(max_size=1 << 20, sync=0.5))
    assert (pipeline.config.spool.max_size, pipeline.syncer.interval) == (1 << 20, 0.5)
    assert pipeline.writer.limits is pipeline.config.database


# --- what stays where it is ------------------------------------------------------------------------------------------


def planned(symbols: Sequence[str], held: Sequence[Sequence[str]], **limits: int) -> list[list[str]]:
    """The symbols of each line, where lines with `held` symbols run."""
    block = Subscribe(channels=("trades",), symbols=tuple(symbols))
    one = Source(name="x", venue="okx", endpoints=venue.endpoints, rest="", limits=limits, subscribe=(block,))
    lines = [Line(f"public/{n}", venue.paths["public"], tuple(Subscription("trades", s) for s in each)) for n, each in enumerate(held)]  # fmt: skip  # noqa: E501
    plans = [SimpleNamespace(line=line) for line in lines]
    found = Scope().replanned(one, (), plans)  # type: ignore[arg-type]
    return [[each.symbol for each in plan.line.subscriptions] for plan in found]


A, B, C, D = (f"{name}-USDT" for name in ("AAA", "BBB", "CCC", "DDD"))


@pytest.mark.parametrize(
    ("symbols", "held", "limits", "expected"),
    [
        ((A, C), [[A, B]], {}, [[A, C]]),
        ((A, B, C), [[A], [B]], {"symbols_per_connection": 1}, [[A], [B], [C]]),
        ((B,), [[A], [B]], {"symbols_per_connection": 1}, [[], [B]]),
        ((A, B, C, D), [[A, B, C, D]], {"symbols_per_connection": 2}, [[A, B], [C, D]]),
        ((A, B, C, D), [[A, C], [B, D]], {"symbols_per_connection": 4}, [[A, C], [B, D]]),
        ((A, B, C), [[A], [B], [C]], {"max_connections": 2, "symbols_per_connection": 2}, [[A, B], [C]]),
    ],
)
def test_lines_keep_what_the_limits_let_them_keep(
    symbols: Sequence[str], held: Sequence[Sequence[str]], limits: dict[str, int], expected: list[list[str]]
) -> None:
    """Symbols move to another connection only where a lower limit leaves no other way."""
    assert planned(symbols, held, **limits) == expected


# --- another database ------------------------------------------------------------------------------------------------


def test_a_flush_that_waits_is_given_up_for_another_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old one does not answer, the new one is told of in the middle of the pause: what it holds is asked for as at
    the start, and everything is stored once."""
    rig = storerig.Rig(monkeypatch)
    side = rig.open()
    writer = storerig.live(rig, side)
    side.trades(1)
    turn_until(writer, lambda: rig.store.numbers() == [1])
    side.trades(2)
    rig.store.fail("commit", *[SinkUnavailable("away")] * 3)
    moved: list[int] = []
    real = Writer._pause

    def pause(self: Writer, failures: int) -> bool:
        if failures == 2 and not moved:
            self.move(lambda: moved.append(failures))
        return real(self, failures)

    monkeypatch.setattr(Writer, "_pause", pause)
    turn_until(writer, lambda: rig.store.numbers() == [1, 2])
    assert moved == [2]
    assert rig.store.said("insert_gap") == []


def test_a_lane_that_comes_while_the_database_is_away_is_placed_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It counts for the spool's size at once, and is stored from its beginning."""
    rig = storerig.Rig(monkeypatch)
    side = rig.open()
    writer = storerig.live(rig, side)
    late = rig.open("toy/public/7")
    late.trades(8, 9, symbol="B")
    writer.lanes.pop(late.feed, None)
    side.trades(1)
    rig.store.fail("commit", *[SinkUnavailable("away")] * 3)
    counted: list[bool] = []
    real = Writer._pause

    def pause(self: Writer, failures: int) -> bool:
        if failures == 1:
            self.change(lambda: self.join_lane(late.lane))
        going_on = real(self, failures)
        counted.append(late.feed in self.lanes)
        return going_on

    monkeypatch.setattr(Writer, "_pause", pause)
    turn_until(writer, lambda: sorted(rig.store.numbers()) == [1, 8, 9])
    assert counted == [True] * 3


def test_ground_says_whether_the_database_is_another_one(tmp_path: Path) -> None:
    """A given one with another URL is; with other options it is the same, and a local one always is."""
    config = Config(database=Database(url=Secret("postgresql://a/b")))
    given = Given("postgresql://a/b", options(config))
    assert not given.change(replace(config, retention={"trades": 60.0}))
    assert given.change(replace(config, database=Database(url=Secret("postgresql://c/d"))))
    assert given.url() == "postgresql://c/d"
    assert not Local(tmp_path, options(config), lambda name: None).change(config)
