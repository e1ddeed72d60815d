"""A source with several addresses in the pipeline: what its feeds share, what a reload changes, what is shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from recorder.capture.prober import Prober
from recorder.config import Source
from recorder.pipeline import Pipeline
from tests.unit.piperig import Plant, configuration, plant, source
from tests.unit.ways import ONE, THREE, TWO


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """A home for pipelines; probers measure nothing."""
    monkeypatch.setattr(Prober, "turn", lambda self: None)
    with plant(tmp_path / "home", monkeypatch) as found:
        yield found


def two(lines: int = 1, **changed: object) -> Source:
    """A source with two addresses."""
    return replace(source("one", lines), **{"endpoints": (ONE, TWO), **changed})


def reconfigure(yard: Plant, pipeline: Pipeline, *sources: Source) -> None:
    pipeline.reconfigure(configuration(yard.home.home, *sources))


def test_feeds_of_a_source_know_the_same(yard: Plant) -> None:
    """Also the one that takes over."""
    pipeline = yard.build(two(2), source("two"))
    successor = pipeline.relieve(pipeline.feeds[0])
    assert successor is not None
    yard.close(successor)
    shared = {id(feed._endpoints) for feed in pipeline.feeds if feed.source.name == "one"}
    assert len(shared) == 1
    assert pipeline.feeds[-1]._endpoints is not pipeline.feeds[2]._endpoints
    pipeline.probers.stop()


@pytest.mark.parametrize(
    ("most", "first", "second"),
    [(0, (True, True), (True, True)), (2, (False, False), (False, False)), (3, (True, True), (True, False))],
)
def test_room_for_a_second_connection(
    yard: Plant, most: int, first: tuple[bool, bool], second: tuple[bool, bool]
) -> None:
    """Two lines: with two connections there is never any, with three for one line at a time."""
    pipeline = yard.build(two(2, limits={"max_connections": most} if most else {}), source("two"))
    assert pipeline.spare(pipeline.feeds[0]) == first
    successor = pipeline.relieve(pipeline.feeds[0])
    assert successor is not None
    yard.close(successor)
    assert pipeline.spare(pipeline.feeds[1]) == second
    pipeline.probers.stop()


def test_other_addresses_are_taken_up_by_a_reload(yard: Plant) -> None:
    """Whoever takes over knows the new ones and nothing of the old; one prober for each source with several, always."""
    pipeline = yard.build(two(), source("two"))
    reconfigure(yard, pipeline, two(), source("two"))
    [before] = pipeline.probers.threads()
    known = pipeline.feeds[0]._endpoints
    reconfigure(yard, pipeline, two(), source("two"), source("three"))
    assert pipeline.probers.threads() == [before]
    reconfigure(yard, pipeline, two(endpoints=(TWO, THREE)), source("two"))
    [after] = pipeline.probers.threads()
    assert not before.is_alive() and after.is_alive()
    assert pipeline.feeds[0]._endpoints is known, "it records on"
    successor = pipeline.relieve(pipeline.feeds[0])
    assert successor is not None
    yard.close(successor)
    assert successor._endpoints.addresses == (TWO, THREE)
    reconfigure(yard, pipeline, source("two"))
    assert pipeline.probers.threads() == [] and not after.is_alive()


def test_a_prober_that_died_is_noticed(yard: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """As every thread that ends without being told to."""
    monkeypatch.setattr(Prober, "_interval", lambda self, rounds: 1 // 0)
    pipeline = yard.build(two())
    pipeline.probers.keep([two()])
    [prober] = pipeline.probers.threads()
    prober.join(10)
    assert isinstance(pipeline.fault, ZeroDivisionError)
    for thread in (pipeline.syncer, pipeline.heartbeats, pipeline.writer, *pipeline.feeds):
        monkeypatch.setattr(thread, "is_alive", lambda: True)
    assert pipeline.dead() == "probe:one"


def test_every_address_has_a_round_trip(yard: Plant) -> None:
    """By ping where a connection stands, the slowest of several; by handshake elsewhere; none where nobody answers."""
    pipeline = yard.build(two(2, endpoints=(ONE, TWO, THREE)), source("two"))
    endpoints, now = pipeline.feeds[0]._endpoints, pipeline.probers._means.clock()
    endpoints.reached(ONE, 0.02, now)
    endpoints.reached(TWO, 0.03, now)
    endpoints.unreachable(THREE, now)
    for feed, trip in zip(pipeline.feeds, (0.05, 0.07, 0.01), strict=True):
        feed.connected, feed.rtt = True, ("wss://one.example/ws", trip)
        feed.address = ONE if feed.source.name == "one" else "wss://x.example"

    def shown() -> dict[tuple[str, str], float | None]:
        names = [("one", ONE), ("one", TWO), ("one", THREE), ("two", "wss://x.example")]
        read = pipeline.metrics.registry.get_sample_value
        return {name: read("recorder_rtt_seconds", {"source": name[0], "endpoint": name[1]}) for name in names}

    alone = {("one", THREE): None, ("two", "wss://x.example"): 0.01}
    assert shown() == {("one", ONE): 0.07, ("one", TWO): 0.03, **alone}
    for feed in pipeline.feeds[:2]:
        feed.connected = False
    assert shown() == {("one", ONE): 0.02, ("one", TWO): 0.03, **alone}
