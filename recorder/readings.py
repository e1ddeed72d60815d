"""What the metrics and the status ask of a running pipeline.

Owns the arithmetic over feeds and lanes at the moment when somebody scrapes, so that it is right even while the thread
that causes a state is stuck. Never changes anything.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from typing import Protocol

from recorder.capture.datadir import DataDir
from recorder.capture.feed import Feed
from recorder.capture.prober import Probers
from recorder.config import Config
from recorder.observe.metrics import OTHER, Metrics, Reading
from recorder.records import Stream, Streams, now_us
from recorder.store.lane import Lane
from recorder.store.prepare import Preparer
from recorder.store.writer import Writer
from recorder.venues import Subscription, venues

UNKNOWN = "unknown"  # the reaction to a code that no venue has declared


class Watched(Protocol):
    """What is looked at."""

    @property
    def feeds(self) -> Sequence[Feed]: ...
    @property
    def lanes(self) -> Sequence[Lane]: ...
    @property
    def writer(self) -> Writer: ...
    @property
    def preparer(self) -> Preparer: ...
    @property
    def streams(self) -> Streams: ...
    @property
    def probers(self) -> Probers: ...
    @property
    def metrics(self) -> Metrics: ...
    @property
    def config(self) -> Config: ...
    @property
    def home(self) -> DataDir: ...


class Readings:
    """Connects the gauges to what they show."""

    def __init__(self, of: Watched) -> None:
        self._of = of
        self._watch()

    def lag(self) -> dict[tuple[str, ...], float]:
        """Per source: age of the oldest record that is not committed. The clock is read here, so that a stuck
        writer makes it grow."""
        now = now_us()
        lags: dict[tuple[str, ...], float] = {(lane.source,): 0.0 for lane in self._of.lanes}
        for lane in self._of.lanes:
            at = None if lane.waiting else lane.uncommitted_at
            if at is not None:
                lags[(lane.source,)] = max(lags[(lane.source,)], (now - at) / 1e6)
        return lags

    def _watch(self) -> None:
        watch = self._of.metrics.watch
        watch("recorder_lag_seconds", self.lag)
        watch("recorder_queue_bytes", lambda: sum(lane.state.queued_bytes for lane in self._of.lanes if lane.state))
        watch("recorder_spool_bytes", self._spool_by_source)
        watch("recorder_spool_max_bytes", lambda: self._of.config.spool.max_size)
        watch("recorder_spool_oldest_age_seconds", self._oldest_age)
        watch("recorder_spool_min_free_bytes", lambda: self._of.config.spool.min_free)
        watch("recorder_spool_room_bytes", self.room)
        watch("recorder_disk_free_bytes", lambda: shutil.disk_usage(self._of.home.spool).free)
        watch("recorder_database_up", lambda: 0.0 if self._of.writer.database else 1.0)
        watch("recorder_committed_age_seconds", self.committed_age)
        watch("recorder_connected", self._connected)
        watch("recorder_parked", lambda: {(f.source.name, f.feed): float(f.parked) for f in self._of.feeds})
        watch("recorder_last_message_age_seconds", self.message_ages)
        watch("recorder_silent_streams", self.silent_streams)
        watch("recorder_market_open", self._open_markets)
        watch("recorder_gaps_open", self._open_gaps)
        watch("recorder_venue_code_info", self._codes)
        watch("recorder_rtt_seconds", self._trips)

    def _trips(self) -> Reading:
        """Of every address of a source: by ping where connections stand (of several the slowest), else by handshake."""
        found: dict[tuple[str, str], float] = {}
        for feed in self._of.feeds:
            if feed.connected and feed.rtt is not None:
                key, trip = (feed.source.name, feed.address), feed.rtt[1]
                found[key] = max(trip, found.get(key, 0.0))
        return self._of.probers.trips() | found

    def room(self) -> float:
        """Bytes that can still be spooled while the database takes nothing: what is committed makes room first."""
        limits, lanes = self._of.config.spool, self._of.lanes
        waiting = sum(lane.needed() for lane in lanes)
        kept = sum(lane.reader.size() for lane in lanes) - waiting
        free = shutil.disk_usage(self._of.home.spool).free
        return max(0, min(limits.max_size - waiting, free - limits.min_free + kept))

    def never_heard(self, feed: Feed) -> list[Subscription]:
        """Of the streams that are silent on a feed's connection, those that no record was ever stored of. The others
        belong to a market that sleeps."""
        known = self._of.preparer.continuity.known
        return [s for s in feed.silent() if not known(self._of.streams.number(Stream(feed.source.name, *_pair(s))))]

    def _connected(self) -> Reading:
        """Of every feed that has something to ask for."""
        return {(f.source.name, f.feed): float(f.connected) for f in self._of.feeds if not f.idle}

    def _open_markets(self) -> Reading:
        known = venues()
        return {(s.name,): 1.0 for s in self._of.config.sources if known[s.venue].always_open(s)}

    def _open_gaps(self) -> Reading:
        counts: dict[tuple[str, ...], float] = {(lane.source,): 0.0 for lane in self._of.lanes}
        for stream in self._of.preparer.refused():
            counts[(stream.source,)] = counts.get((stream.source,), 0.0) + 1
        return counts

    def _codes(self) -> Reading:
        """So that alerts can speak of reactions instead of any venue's numbers."""
        known = venues()
        told = {(s.name, c.code, c.reaction.value): 1.0 for s in self._of.config.sources for c in known[s.venue].codes}
        return told | {(source.name, OTHER, UNKNOWN): 1.0 for source in self._of.config.sources}

    def _spool_by_source(self) -> Reading:
        sizes: dict[tuple[str, ...], float] = {}
        for lane in self._of.lanes:
            sizes[(lane.source,)] = sizes.get((lane.source,), 0.0) + lane.reader.size()
        return sizes

    def _oldest_age(self) -> float | None:
        held = [at for lane in self._of.lanes if (at := lane.reader.oldest()) is not None]
        return (now_us() - min(held)) / 1e6 if held else None

    def committed_age(self) -> float | None:
        """Seconds since the last commit; None before it."""
        at = self._of.writer.committed_at
        return None if at is None else time.monotonic() - at

    def message_ages(self) -> dict[tuple[str, ...], float]:
        """By source and channel: seconds since the last data message."""
        now = time.monotonic()
        ages: dict[tuple[str, ...], float] = {}
        for feed in self._of.feeds:
            for channel, at in list(feed.last_data.items()):
                labels = (feed.source.name, channel)
                ages[labels] = min(now - at, ages.get(labels, float("inf")))
        return ages

    def silent_streams(self) -> dict[tuple[str, ...], float]:
        """Of every channel that is asked for; a stream counts once, whichever feeds ask for it."""
        counts: dict[tuple[str, ...], float] = {
            (each.name, channel): 0.0
            for each in self._of.config.sources
            for sub in each.subscribe
            for channel in sub.channels
        }
        silent = {(f.source.name, *_pair(s)) for f in self._of.feeds for s in self.never_heard(f)}
        for source, channel, _ in silent:
            counts[source, channel] = counts.get((source, channel), 0.0) + 1
        return counts


def _pair(subscription: Subscription) -> tuple[str, str]:
    return subscription.channel, subscription.symbol
