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
from recorder.config import Config
from recorder.observe.metrics import Metrics, Reading
from recorder.records import now_us
from recorder.store.lane import Lane
from recorder.store.writer import Writer


class Watched(Protocol):
    """What is looked at."""

    @property
    def feeds(self) -> Sequence[Feed]: ...
    @property
    def lanes(self) -> Sequence[Lane]: ...
    @property
    def writer(self) -> Writer: ...
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
        watch("recorder_disk_free_bytes", lambda: shutil.disk_usage(self._of.home.spool).free)
        watch("recorder_database_up", lambda: 0.0 if self._of.writer.database else 1.0)
        watch("recorder_committed_age_seconds", self.committed_age)
        watch("recorder_connected", lambda: {(f.source.name, f.feed): float(f.connected) for f in self._of.feeds})
        watch("recorder_parked", lambda: {(f.source.name, f.feed): float(f.parked) for f in self._of.feeds})
        watch("recorder_last_message_age_seconds", self._message_ages)
        watch("recorder_silent_streams", self._silent_streams)
        watch("recorder_rtt_seconds", lambda: {(f.source.name, f.rtt[0]): f.rtt[1] for f in self._of.feeds if f.rtt})

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

    def _message_ages(self) -> Reading:
        now = time.monotonic()
        ages: dict[tuple[str, ...], float] = {}
        for feed in self._of.feeds:
            for channel, at in list(feed.last_data.items()):
                labels = (feed.source.name, channel)
                ages[labels] = min(now - at, ages.get(labels, float("inf")))
        return ages

    def _silent_streams(self) -> Reading:
        """Of every channel that is asked for; a stream counts once, whichever feeds ask for it."""
        counts: dict[tuple[str, ...], float] = {
            (each.name, channel): 0.0
            for each in self._of.config.sources
            for sub in each.subscribe
            for channel in sub.channels
        }
        for source, channel, _ in {(f.source.name, s.channel, s.symbol) for f in self._of.feeds for s in f.silent()}:
            counts[source, channel] = counts.get((source, channel), 0.0) + 1
        return counts
