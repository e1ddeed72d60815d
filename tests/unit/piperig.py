"""A pipeline of toy feeds on a real disk, not started: what the tests of pipeline and daemon share.

Owns the configuration, the toy venue's connections and what stands in for the database; states no rule itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from recorder import clockwatch as clockwatch_module
from recorder import following as following_module
from recorder import pipeline as pipeline_module
from recorder import readings as readings_module
from recorder import scope as scope_module
from recorder.capture.datadir import DataDir
from recorder.capture.feed import Feed
from recorder.capture.spool import Spool
from recorder.config import Config, Database, Recorder, Secret, Source, SpoolConfig, Subscribe
from recorder.observe import metrics as metrics_module
from recorder.observe.health import Beats
from recorder.pipeline import Pipeline
from recorder.records import Burst, Header, Kind
from recorder.scope import Scope
from recorder.store.ground import Ground
from recorder.store.lane import Lane
from recorder.store.sink import Sink
from recorder.venues import Limits, Line, Subscription
from tests.unit.feedrig import Toy
from tests.unit.storerig import trade

URL = "postgresql://writer:hunter2@127.0.0.1:1/recorder"


class Market(Toy):
    """A toy with a connection for each block of subscriptions, and a secret."""

    options: Mapping[str, str] = {"api_key": "your key", "business": "stock or crypto"}
    secrets = frozenset({"api_key"})

    def lines(self, source: Source, held: Sequence[Line] = ()) -> list[Line]:
        """One a block, named by its place."""
        blocks = [[Subscription(c, s) for c in b.channels for s in b.symbols] for b in source.subscribe]
        return [Line(f"public/{n}", "/ws", tuple(block)) for n, block in enumerate(blocks)]


def source(name: str, lines: int = 1, *, venue: str = "toy") -> Source:
    """A source with so many connections."""
    blocks = tuple(Subscribe(channels=("trades",), symbols=(f"S{n}",)) for n in range(lines))
    options: dict[str, str] = {"api_key": Secret("hunter2"), "business": "crypto"}
    return Source(name=name, venue=venue, endpoints=("wss://x.example",), rest="", options=options, subscribe=blocks)


def configuration(home: Path, *sources: Source, spool: SpoolConfig | None = None) -> Config:
    """All that a pipeline needs."""
    return Config(
        recorder=Recorder(data_dir=home, listen="127.0.0.1:0"),
        database=Database(url=Secret(URL)),
        spool=spool if spool is not None else SpoolConfig(min_free=0),
        sources=sources,
    )


class Plant:
    """Builds pipelines in one home, one after the other, as restarts of a process would; time stands still."""

    def __init__(self, home: Path, patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
        self.now = 1_700_000_000_000_000
        self.free = 1 << 40
        disk = SimpleNamespace(disk_usage=lambda path: SimpleNamespace(free=self.free))
        found = {"toy": Market(Limits())}
        changed = (pipeline_module, scope_module, metrics_module, following_module, clockwatch_module, readings_module)
        for module in changed:
            patch.setattr(module, "venues", lambda: found)
        for module in (pipeline_module, readings_module):
            patch.setattr(module, "now_us", lambda: self.now)
            patch.setattr(module, "shutil", disk)
        self.home = stack.enter_context(DataDir(home))
        self._stack = stack

    def build(self, *sources: Source, only: Sequence[str] = (), spool: SpoolConfig | None = None) -> Pipeline:
        """A pipeline that is not started."""
        config = configuration(self.home.home, *sources, spool=spool)
        ground = cast(Ground, SimpleNamespace(adopt=lambda: False))
        sink = cast(Sink, SimpleNamespace(deadline=60.0))
        pipeline = Pipeline(config, self.home, sink, ground, Beats(), Scope(tuple(only)))
        for feed in pipeline.feeds:
            self._stack.callback(feed.spool.close)
        return pipeline

    def close(self, feed: Feed) -> None:
        """Close the spool of a feed that was opened later, at the end."""
        self._stack.callback(feed.spool.close)

    def leave(self, feed: str, *trades: int, venue: str = "toy", spool_id: str = "") -> None:
        """A spool that an earlier process left."""
        name = feed.partition("/")[0]
        header = Header(spool_id or self.home.identity, feed, name, venue, "/ws", {})
        spool = Spool(self.home.spool, header)
        for n in trades:
            spool.append(Kind.TEXT, [trade(n).encode()], self.now)
        spool.close()


@contextmanager
def plant(home: Path, patch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """A plant whose files are closed in the end."""
    with ExitStack() as stack:
        yield Plant(home, patch, stack)


def lane(pipeline: Pipeline, feed: str) -> Lane:
    """The lane of a feed."""
    return next(one for one in pipeline.lanes if one.feed == feed)


def receive(pipeline: Pipeline, feed: str, n: int, at: int) -> None:
    """A trade comes in."""
    one = next(one for one in pipeline.feeds if one.feed == feed)
    decoder = lane(pipeline, feed).decoder(one.spool.header)
    raw = [trade(n).encode()]
    one.state.offer(decoder.decode(Burst(one.spool.append(Kind.TEXT, raw, at), at, Kind.TEXT, raw)))
