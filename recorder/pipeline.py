"""Puts the parts together: feeds, spools, queue, writer.

Owns the order of starting and stopping. Never handles signals or decides about the process (that is the daemon).
"""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from loguru import logger

from recorder.capture.datadir import DataDir
from recorder.capture.feed import Feed, FeedParts
from recorder.capture.feedstate import FeedState
from recorder.capture.heartbeat import Heartbeats
from recorder.capture.spool import Spool
from recorder.capture.spoolreader import SpoolReader, spooled_feeds
from recorder.capture.syncer import Syncer
from recorder.config import Config, Source
from recorder.listing import resolve
from recorder.observe.events import Events
from recorder.observe.health import Beats
from recorder.observe.metrics import Metrics
from recorder.observe.recent import Recent
from recorder.quality.continuity import Continuity
from recorder.readings import Readings
from recorder.records import Decoded, Header, Stream, Streams, now_us
from recorder.store.ground import Ground
from recorder.store.lane import Lane
from recorder.store.last import Stored
from recorder.store.prepare import Preparer
from recorder.store.sink import Sink
from recorder.store.writer import Care, Writer
from recorder.venues import Continuity as Kind
from recorder.venues import Decoder, Line, Venue, other_slot, venues

QUEUE_BYTES = 48 << 20  # of all feeds together, ~0.7 s of a saturated one; beyond it the spool carries the rest
STUCK_US = 5_000_000  # a feed whose oldest record waits for so long is not followed by the database
SMALLEST_SHARE = 256 << 10
LARGEST_SEGMENT = 32 << 20
SMALLEST_SEGMENT = 256 << 10
SEGMENTS = 256  # a full spool has at least so many, so that deleting the oldest frees a small part


@dataclass(frozen=True, slots=True)
class Planned:
    """One feed that the configuration asks for."""

    feed: str
    source: Source
    venue: Venue
    line: Line


Known = Callable[[Source], Sequence[str]]


def _nothing(source: Source) -> Sequence[str]:
    """Nobody has asked a venue what it lists."""
    return ()


@dataclass(frozen=True, slots=True)
class Scope:
    """What is to be recorded: with `only`, these sources. `listed`: the symbols that a source's patterns are held
    against, as far as they are known."""

    only: tuple[str, ...] = ()
    listed: Known = _nothing

    def planned(self, sources: Iterable[Source]) -> list[Planned]:
        """Every connection to make."""
        return [
            Planned(f"{source.name}/{line.name}", source, venues()[source.venue], line)
            for source in sources
            if not self.only or source.name in self.only
            for line in venues()[source.venue].lines(resolve(source, self.listed(source)))
        ]


def segment_bytes(max_size: int) -> int:
    """A segment is a small part of the spool's limit: it is deleted as a whole."""
    return min(LARGEST_SEGMENT, max(SMALLEST_SEGMENT, max_size // SEGMENTS))


class Pipeline:
    """Everything between the venues' sockets and the database. `on_fault` is called, from any thread, with what the
    process cannot survive."""

    def __init__(
        self,
        config: Config,
        home: DataDir,
        sink: Sink,
        ground: Ground,
        beats: Beats,
        scope: Scope,
    ) -> None:
        self.config = config
        self.home = home
        self.sink = sink
        self.metrics = Metrics.from_config(config)
        self.streams = Streams()
        self.recent = Recent()
        self.events = Events(self.streams, self.metrics, lambda: self._asked(scope))
        self.feeds: list[Feed] = []
        self.lanes: list[Lane] = []
        self._plans: dict[str, Planned] = {}
        self._slots = threading.Lock()  # feeds relieve each other one at a time
        self._venues: dict[str, Venue] = {s.name: venues()[s.venue] for s in config.sources}
        self._items: queue.Queue[Decoded] = queue.Queue()
        self._faults: list[BaseException] = []
        synced = self.metrics.spool_sync_seconds.observe
        self.syncer = Syncer(config.spool.sync, observe=synced, beat=lambda: beats.beat("spool-syncer"))
        self.heartbeats = Heartbeats(beats)
        self._beats = beats
        for plan in scope.planned(config.sources):
            self._plans[plan.feed] = plan
            feed, lane = self._open(plan)
            self.feeds.append(feed)
            self.lanes.append(lane)
        self._retire(replace(scope, only=()).planned(config.sources))
        stored = Stored(sink, self._table, lambda stream: self._kind(stream) is Kind.NUMBERED)
        self.preparer = Preparer(home.identity, self.streams, self._continuity, stored, self.metrics, self.recent)
        self.writer = Writer(
            self.lanes, self._items, sink, self.preparer, config.database, Care(beats, self._release, ground.adopt)
        )
        self.readings = Readings(self)

    # --- building --------------------------------------------------------------------------------------------------

    def _open(self, plan: Planned) -> tuple[Feed, Lane]:
        """Open a feed's spool; its feed, and the lane that stores it."""
        source = plan.source
        public = {k: v for k, v in source.options.items() if k not in plan.venue.secrets}
        header = Header(self.home.identity, plan.feed, source.name, plan.venue.name, plan.line.path, public)
        root = self.home.spool
        spool = Spool(root, header, segment_bytes=segment_bytes(self.config.spool.max_size))
        overflows = self.metrics.queue_overflows(source.name)
        state = FeedState(plan.feed, source.name, spool.run, self._items, self._share, overflows)
        self.syncer.add(spool)
        parts = FeedParts(
            spool=spool,
            state=state,
            decoder=plan.venue.decoder(spool.header, self.streams),
            streams=self.streams,
            continuity=self._continuity(),
            heartbeats=self.heartbeats,
            metrics=self.metrics,
            beats=self._beats,
            recent=self.recent,
            tap=self.events,
            relief=self,
        )
        feed = Feed(plan.feed, source, plan.venue, plan.line, parts, self.fail)
        return feed, Lane(plan.feed, source.name, SpoolReader(root, plan.feed, spool), state, self._decoder)

    def _share(self) -> int:
        """Of the queue's bytes for each feed that there is: patterns make feeds of a source that began with none."""
        return max(QUEUE_BYTES // max(1, len(self.feeds)), SMALLEST_SHARE)

    def serve(self, source: Source) -> None:
        """Record what this source asks for now, and nothing else of it; what stays the same is not touched."""
        venue = venues()[source.venue]
        with self._slots:
            held = [plan.line for plan in self._plans.values() if plan.source.name == source.name]
            for line in venue.lines(source, held):
                plan = Planned(f"{source.name}/{line.name}", source, venue, line)
                known = plan.feed in self._plans
                self._plans[plan.feed] = plan
                if not known:
                    self._begin(plan, ())
                for feed in self.feeds:
                    if feed.feed in (plan.feed, other_slot(plan.feed)):
                        feed.serve(line.subscriptions)

    def _begin(self, plan: Planned, before: Sequence[str]) -> Feed:
        """A feed while others run. Its lane waits until the feeds before it are drained."""
        feed, lane = self._open(plan)
        self.writer.change(lambda: self._join(lane, before))
        self.feeds = [*self.feeds, feed]
        feed.start()
        return feed

    def _asked(self, scope: Scope) -> dict[str, set[str]]:
        """Source → the channels that are asked of it."""
        sources = [source for source in self.config.sources if not scope.only or source.name in scope.only]
        return {source.name: {channel for sub in source.subscribe for channel in sub.channels} for source in sources}

    # --- two feeds on one line -------------------------------------------------------------------------------------

    def relieve(self, feed: Feed) -> Feed | None:
        """A second feed on the line of this one. What it brings waits in its spool until the first one has ended and
        is drained; continuity then drops what both have brought."""
        other = other_slot(feed.feed)
        with self._slots:
            plan = self._plans.get(feed.feed) or self._plans[other]
            if any(each.feed == other for each in self.feeds):
                return None
            return self._begin(replace(plan, feed=other), (feed.feed,))

    def _join(self, lane: Lane, before: Sequence[str]) -> None:
        """In the writer's thread: the lane of a new feed, or of one that has run before."""
        known, first = self.writer.lanes.get(lane.feed), [self.writer.lanes[name] for name in before]
        for each in self.writer.lanes.values():  # who waited for its end would wait for ever: it runs again
            each.waits_for = [other for other in each.waits_for if other is not known]
        lane.waits_for = first
        if known is None:
            self.lanes.append(lane)
            self.writer.join_lane(lane)
        elif lane.state is not None:
            known.revive(lane.reader, lane.state)
            known.waits_for = first

    def relieved(self, feed: Feed) -> None:
        """A feed has left its line to the other one."""
        with self._slots:
            self.feeds = [each for each in self.feeds if each is not feed]
        self.syncer.remove(feed.spool)
        feed.spool.close()
        reader = SpoolReader(self.home.spool, feed.feed)
        self.writer.change(lambda: self.writer.lanes[feed.feed].retire(reader))

    def _retire(self, configured: list[Planned]) -> None:
        """Feeds that only their spool still knows: a source was renamed or removed. They are drained, and a feed of
        the same source waits for that, because its records come later. Another recorder's are not ours to commit."""
        names = {plan.feed for plan in configured}
        foreign = [feed for feed in self.home.foreign_feeds() if feed not in names]
        for feed in foreign:
            what = "its spool is another recorder's, it is left alone: move it to that one's data_dir, or delete it"
            logger.bind(event="spool.foreign", feed=feed).warning("{}: {}", feed, what)
        for feed in spooled_feeds(self.home.spool):
            if feed in names or feed in foreign:
                continue
            reader = SpoolReader(self.home.spool, feed)
            runs = reader.runs()
            if runs and runs[-1].header.venue in venues():
                header = runs[-1].header
                self._venues.setdefault(header.source, venues()[header.venue])
                self.metrics.add_source(header.source)
                lane = Lane(feed, header.source, reader, None, self._decoder)
                for other in self.lanes:
                    if other.source == lane.source and other.state is not None:
                        other.waits_for.append(lane)
                self.lanes.append(lane)

    def _decoder(self, header: Header) -> Decoder:
        return venues()[header.venue].decoder(header, self.streams)

    def _continuity(self) -> Continuity:
        return Continuity(self.streams, self._kind)

    def _kind(self, stream: Stream) -> Kind:
        channel = self._venues[stream.source].channel(stream.channel)
        return channel.continuity if channel is not None else Kind.NONE

    def _table(self, stream: Stream) -> str:
        channel = self._venues[stream.source].channel(stream.channel)
        return channel.table if channel is not None else "messages"

    # --- running ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Capture first: nothing here waits for the database."""
        self._beats.register(self.syncer.name)
        self.syncer.start()
        self.heartbeats.start()
        for feed in self.feeds:
            feed.start()
        self.writer.start()

    def stop(self, within: float) -> None:
        """Everything received is spooled, what fits into the time is committed."""
        end = time.monotonic() + within
        for feed in self.feeds:
            feed.stop()
        for feed in self.feeds:
            feed.join(max(0.0, end - time.monotonic()))
        self.heartbeats.stop()
        self.writer.stop(max(0.5, end - time.monotonic() - 1.0))
        self.writer.join(max(0.5, end - time.monotonic() - 0.5))
        if self.writer.is_alive():
            self.sink.interrupt()
            self.writer.join(1.0)
        self._beats.forget(self.syncer.name)
        self.syncer.stop()
        self.syncer.join(2.0)
        for spool in self._spools():
            spool.close()

    def _spools(self) -> Iterator[Spool]:
        return (feed.spool for feed in self.feeds)

    def fail(self, fault: BaseException) -> None:
        """Something the process cannot survive; the supervisor looks."""
        self._faults.append(fault)

    @property
    def fault(self) -> BaseException | None:
        """What ended a part that must not end."""
        spools = [spool.fault for spool in self._spools() if spool.fault is not None]
        threads: list[BaseException | None] = [self.writer.fault, *(feed.fault for feed in self.feeds)]
        return next(iter([*self._faults, *spools, *(f for f in threads if f is not None)]), None)

    def dead(self) -> str:
        """The name of a thread that ended without being told to."""
        running = [self.syncer, self.heartbeats, self.writer, *self.feeds]
        return next((thread.name for thread in running if not thread.is_alive()), "")

    def _release(self, lanes: list[Lane]) -> bool:
        """Delete committed segments older than `keep`; any committed ones while the spool is too large or the disk
        short. Where that is not enough, feeds that the database does not follow shed what comes in."""
        short = self._short()
        full = any(lane.state.disk_full for lane in lanes if lane.state is not None)  # the feed sheds until it is not
        keep = 0.0 if short or full else self.config.spool.keep
        for lane in lanes:
            lane.release(now_us() - int(keep * 1e6))
        short = short and self._short()
        for lane in lanes:
            if lane.state is not None:
                at = lane.state.uncommitted_at
                self._shed(lane.state, short if at is not None and now_us() - at > STUCK_US else "")
        return full or bool(short)

    @staticmethod
    def _shed(state: FeedState, reason: str) -> None:
        if bool(state.shedding) != bool(reason):
            state.shedding = reason
            word = state.trouble or "the spool has room again"
            logger.bind(event="spool.shedding", feed=state.feed).warning("{}: {}", state.feed, word)

    def _short(self) -> str:
        """Why there is no room, empty if there is."""
        limits = self.config.spool
        if self.spool_bytes() > limits.max_size:
            return "the spool has reached spool.max_size and the database takes nothing"
        if shutil.disk_usage(self.home.spool).free < limits.min_free:
            return "the spool's disk has less than spool.min_free left and the database takes nothing"
        return ""

    # --- what the metrics ask --------------------------------------------------------------------------------------

    def spool_bytes(self) -> int:
        """Size of all segments."""
        return sum(lane.reader.size() for lane in self.lanes)
