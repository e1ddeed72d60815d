"""Puts the parts together: feeds, spools, queue, writer.

Owns the order of starting and stopping. Never handles signals or decides about the process (that is the daemon).
"""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from loguru import logger

from recorder.capture.datadir import DataDir
from recorder.capture.feed import Feed, FeedParts
from recorder.capture.feedstate import FeedState
from recorder.capture.heartbeat import Heartbeats
from recorder.capture.prober import Means, Probers
from recorder.capture.spool import Spool
from recorder.capture.spoolreader import SpoolReader, spooled_feeds
from recorder.capture.syncer import Syncer
from recorder.config import Config, Source
from recorder.observe.events import Events
from recorder.observe.health import Beats
from recorder.observe.metrics import Metrics
from recorder.observe.recent import Recent
from recorder.quality.continuity import Continuity
from recorder.readings import Readings
from recorder.records import Decoded, Header, Stream, Streams, now_us
from recorder.scope import Planned, Scope, reconnects, spare
from recorder.store.ground import Ground
from recorder.store.lane import Lane
from recorder.store.last import Stored
from recorder.store.prepare import Preparer
from recorder.store.sink import Sink
from recorder.store.writer import Care, Writer
from recorder.venues import Continuity as Kind
from recorder.venues import Decoder, Venue, other_slot, venues

QUEUE_BYTES = 48 << 20  # of all feeds together, ~0.7 s of a saturated one; beyond it the spool carries the rest
STUCK_US = 5_000_000  # a feed whose oldest record waits for so long is not followed by the database
SMALLEST_SHARE = 256 << 10
LARGEST_SEGMENT = 32 << 20
SMALLEST_SEGMENT = 256 << 10
SEGMENTS = 256  # a full spool has at least so many, so that deleting the oldest frees a small part


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
        self.events = Events(self.streams, self.metrics, self._asked)
        self.feeds: list[Feed] = []
        self.lanes: list[Lane] = []
        self._plans: dict[str, Planned] = {}
        self.scope = scope
        self._slots = threading.Lock()  # one change at a time of which feeds there are
        self._ending = False
        self._venues: dict[str, Venue] = {s.name: venues()[s.venue] for s in config.sources}
        self._items: queue.Queue[Decoded] = queue.Queue()
        self._faults: list[BaseException] = []
        synced = self.metrics.spool_sync_seconds.observe
        self.syncer = Syncer(config.spool.sync, observe=synced, beat=lambda: beats.beat("spool-syncer"))
        self.heartbeats = Heartbeats(beats)
        self.probers = Probers(lambda source: venues()[source.venue], Means(beats))
        self._beats = beats
        for plan in scope.planned(config.sources):
            self._plans[plan.feed] = plan
            feed, lane = self._open(plan)
            self.feeds.append(feed)
            self.lanes.append(lane)
        self._retire(replace(scope, only=()).planned(config.sources))
        stored = Stored(sink, self._table, lambda stream: self._kind(stream).identified)
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
            endpoints=self.probers.of(source),
        )
        feed = Feed(plan.feed, source, plan.venue, plan.line, parts, self.fail)
        return feed, Lane(plan.feed, source.name, SpoolReader(root, plan.feed, spool), state, self._decoder)

    def _share(self) -> int:
        """Of the queue's bytes for each feed that there is: patterns make feeds of a source that began with none."""
        return max(QUEUE_BYTES // max(1, len(self.feeds)), SMALLEST_SHARE)

    # --- while it runs ---------------------------------------------------------------------------------------------

    def serve(self, source: Source, symbols: Sequence[str]) -> None:
        """Hold the patterns of a source against these symbols from now on. A source that is not, or no longer, as the
        configuration has it is left alone."""
        with self._slots:
            if source in self.config.sources:
                held = self._held(source.name)
                plans = {plan.feed: plan for plan in self.scope.replanned(source, symbols, held.values())}
                self._change({**self._plans, **dict.fromkeys(held), **plans}, frozenset())

    def reconfigure(self, config: Config) -> None:
        """Record what this configuration asks for; what stays the same is not touched. Where a spool cannot be opened
        it raises, and nothing has changed."""
        with self._slots:
            before = {source.name: source for source in self.config.sources}
            plans: dict[str, Planned | None] = dict.fromkeys(self._plans)
            for source in self.scope.wanted(config.sources):
                held = self._held(source.name)
                plans |= held
                if source != before.get(source.name):
                    self._venues[source.name] = venues()[source.venue]
                    self.metrics.declare(source)
                    found = self.scope.replanned(source, self.scope.listed(source), held.values())
                    plans |= {**dict.fromkeys(held), **{plan.feed: plan for plan in found}}
            anew = frozenset(s.name for s in config.sources if s.name in before and reconnects(before[s.name], s))
            self._change(plans, anew)
            self.config = config
            self.probers.keep(self.scope.wanted(config.sources))
            self.syncer.interval, self.writer.limits = config.spool.sync, config.database

    def _held(self, source: str) -> dict[str, Planned]:
        """The lines that a source has."""
        return {plan.feed: plan for plan in self._plans.values() if plan.source.name == source}

    def _change(self, plans: Mapping[str, Planned | None], anew: Collection[str]) -> None:
        """Have these lines, and no others. What may fail comes first. `anew`: sources whose connections cannot stay."""
        kept = {name: plan for name, plan in plans.items() if plan is not None}
        begun = self._open_all([plan for plan in kept.values() if plan.wanted and not self._on(plan.feed)])
        self._plans = kept
        for name in plans:
            plan, running = kept.get(name), [feed for feed in self._on(name) if not feed.leaving]
            if plan is None or not plan.wanted:
                for feed in running:
                    feed.leave()
                continue
            for feed in running:
                feed.serve(plan.line.subscriptions)
            if plan.source.name in anew and running:
                self._renew(plan, running)
        for feed, lane in begun:
            self._launch(feed, lane, self._former(feed))

    def _renew(self, plan: Planned, running: list[Feed]) -> None:
        """Other settings for a line. One that is just being taken over is taken over anew; where the venue does not
        allow two connections for each of the source's lines, the old one ends first."""
        held = self._held(plan.source.name).values()
        for feed in running[1:]:
            feed.renew(overlap=False)
        running[0].renew(overlap=spare(plan.source, plan.venue, held) >= sum(each.wanted for each in held))

    def _on(self, feed: str) -> list[Feed]:
        """The feeds on a line, in the order in which they began."""
        return [each for each in self.feeds if each.feed in (feed, other_slot(feed))]

    def _former(self, feed: Feed) -> list[str]:
        """Lanes of the same source that end, or have ended: their records come first."""
        ending = {each.feed for each in self.feeds if each.leaving}
        lanes = (lane for lane in self.lanes if lane.source == feed.source.name and lane.feed != feed.feed)
        return [lane.feed for lane in lanes if lane.state is None or lane.feed in ending]

    def _open_all(self, plans: list[Planned]) -> list[tuple[Feed, Lane]]:
        """All of these, or none."""
        opened: list[tuple[Feed, Lane]] = []
        try:
            for plan in plans:
                opened.append(self._open(plan))
        except BaseException:  # whatever it was, it goes on its way
            for feed, _ in opened:
                self.syncer.remove(feed.spool)
                feed.spool.close()
                self._beats.forget(feed.name)
            raise
        return opened

    def _launch(self, feed: Feed, lane: Lane, before: Sequence[str]) -> Feed:
        """A feed while others run. Its lane waits until the feeds before it are drained."""
        self.writer.change(lambda: self._join(lane, before))
        feed.start()
        self.feeds = [*self.feeds, feed]  # started first: to the supervisor, one in here that does not run has died
        return feed

    def _asked(self) -> dict[str, set[str]]:
        """Source → the channels that are asked of it."""
        sources = self.scope.wanted(self.config.sources)
        return {source.name: {channel for sub in source.subscribe for channel in sub.channels} for source in sources}

    # --- two feeds on one line -------------------------------------------------------------------------------------

    def relieve(self, feed: Feed) -> Feed | None:
        """A second feed on the line of this one. What it brings waits in its spool until the first one has ended and
        is drained; continuity then drops what both have brought."""
        other = other_slot(feed.feed)
        with self._slots:
            plan = self._plans.get(feed.feed) or self._plans.get(other)
            if plan is None or self._ending or any(each.feed == other for each in self.feeds):
                return None
            return self._launch(*self._open(replace(plan, feed=other)), (feed.feed,))

    def spare(self, feed: Feed) -> tuple[bool, bool]:
        """Whether the venue allows a source more connections than its lines need, and whether one of them is free."""
        with self._slots:
            held = self._held(feed.source.name)
            more = spare(feed.source, feed.venue, held.values())
            return more > 0, more > sum(len(self._on(name)) - plan.wanted for name, plan in held.items())

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
        """A feed has left its line, to the other one or for good. A line that is wanted still gets another, in the
        other slot: what was missed between the two is a disconnection, not a recorder that was down."""
        self.syncer.remove(feed.spool)
        feed.spool.close()  # its slot is taken until then; the others need not wait for the disk
        reader = SpoolReader(self.home.spool, feed.feed)
        with self._slots:
            self.feeds = [each for each in self.feeds if each is not feed]
            self.writer.change(lambda: self.writer.lanes[feed.feed].retire(reader))
            plan = self._plans.get(feed.feed) or self._plans.get(other_slot(feed.feed))
            if plan is not None and plan.wanted and not self._ending and not self._on(feed.feed):
                self._launch(*self._open(replace(plan, feed=other_slot(feed.feed))), (feed.feed,))

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
        self.probers.keep(self.scope.wanted(self.config.sources))
        self.writer.start()

    def stop(self, within: float) -> None:
        """Everything received is spooled, what fits into the time is committed."""
        end = time.monotonic() + within
        with self._slots:
            self._ending = True
        for feed in self.feeds:
            feed.stop()
        self.probers.stop()
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
        for feed in self.feeds:
            feed.spool.close()

    def fail(self, fault: BaseException) -> None:
        """Something the process cannot survive; the supervisor looks."""
        self._faults.append(fault)

    @property
    def fault(self) -> BaseException | None:
        """What ended a part that must not end."""
        faults: list[BaseException | None] = [*self._faults, *(feed.spool.fault for feed in self.feeds)]
        faults += [self.writer.fault, *(f.fault for f in self.feeds), *(p.fault for p in self.probers.threads())]
        return next((fault for fault in faults if fault is not None), None)

    def dead(self) -> str:
        """The name of a thread that ended without being told to."""
        own: list[threading.Thread] = [self.syncer, self.heartbeats, self.writer]
        return next((t.name for t in (*own, *self.feeds, *self.probers.threads()) if not t.is_alive()), "")

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
