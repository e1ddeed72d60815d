"""Gathers what `/status` and the status page say of a running pipeline.

Owns which fact comes from which part. Everything is in memory already: no database, no lock that a stuck thread may
hold. Never judges (the report does), and never changes anything.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from recorder.capture.feed import Feed
from recorder.capture.unheard import names
from recorder.config import Config
from recorder.observe.rates import Rates
from recorder.observe.recent import Happening, Hole, Recent
from recorder.observe.report import (
    ChannelReport,
    EventReport,
    FeedReport,
    GapReport,
    Report,
    SourceReport,
    SpoolReport,
)
from recorder.readings import Readings, Watched
from recorder.records import now_us, stamp
from recorder.store.lane import Lane

STUCK_SECONDS = 5.0  # a record that waits for so long says that the database does not follow


class Seen(Watched, Protocol):
    """What is looked at."""

    @property
    def readings(self) -> Readings: ...
    @property
    def recent(self) -> Recent: ...
    def spool_bytes(self) -> int: ...


class Overview:
    """`of` at any moment."""

    def __init__(self, of: Seen, rates: Rates) -> None:
        self._of = of
        self._rates = rates
        self._since = time.monotonic()

    def report(self, version: str, config: Config) -> Report:
        """Everything there is to say."""
        of, spool = self._of, self._spool(config)
        fenced = next((lane.parked for lane in of.lanes if lane.parked), "")
        channels = self._channels()
        return Report(
            version=version,
            recorder_id=of.home.identity,
            instance=config.recorder.instance,
            now=datetime.now(UTC).isoformat(timespec="milliseconds"),
            uptime_seconds=round(time.monotonic() - self._since, 1),
            database="" if fenced else of.writer.database,
            fenced=fenced,
            committed_age_seconds=of.readings.committed_age(),
            queue_bytes=sum(lane.state.queued_bytes for lane in of.lanes if lane.state),
            spool_bytes=spool.bytes,
            spool_max_bytes=spool.max_bytes,
            disk_free_bytes=spool.disk_free_bytes,
            feeds=tuple(self._feed(lane) for lane in of.lanes),
            sources=self._sources(channels),
            channels=channels,
            spool=spool,
            gaps=tuple(self._gap(hole) for hole in of.recent.holes()),
            open_gaps=tuple(self._gap(hole) for hole in of.recent.refused()),
            events=tuple(self._event(each) for each in of.recent.happenings()),
            problems=tuple(
                f"feed {feed.feed}: accepted, but nothing ever came: {names(silent)}"
                for feed in of.feeds
                if (silent := of.readings.never_heard(feed))
            ),
            notes=config.notes,
        )

    # --- feeds, channels, sources ----------------------------------------------------------------------------------

    def _feed(self, lane: Lane) -> FeedReport:
        feed = next((f for f in self._of.feeds if f.feed == lane.feed), None)
        at, state, position = lane.uncommitted_at, lane.state, lane.position
        report = FeedReport(
            feed=lane.feed,
            source=lane.source,
            connected=False,
            live=state is not None and state.live,
            draining=state is None,
            run=state.run if state is not None else lane.run,
            head=state.head if state is not None else lane.next,
            position_run=position.run if position is not None else None,
            position=position.next if position is not None else None,
            lag_seconds=0.0 if at is None else (now_us() - at) / 1e6,
            queued_bytes=state.queued_bytes if state is not None else 0,
            spool_bytes=lane.reader.size(),
            shedding=state.trouble if state is not None else "",
        )
        return report if feed is None else self._connected(report, feed)

    def _connected(self, report: FeedReport, feed: Feed) -> FeedReport:
        """With the side of a feed that its thread owns."""
        return replace(
            report,
            connected=feed.connected,
            parked=feed.parked,
            draining=report.draining or feed.leaving,
            last_message_age_seconds=feed.message_age(),
            silent_streams=len(self._of.readings.never_heard(feed)),
            endpoint=feed.endpoint,
            trouble=feed.trouble,
        )

    def _channels(self) -> tuple[ChannelReport, ...]:
        """Those that are asked for, and whatever else brought something."""
        readings, counted = self._of.readings, self._rates.messages()
        ages, silent = readings.message_ages(), readings.silent_streams()
        asked = {(source, channel) for source, channel in silent}
        return tuple(
            ChannelReport(
                *key,
                *_rate(counted.get(key, (0, 0.0))),
                last_message_age_seconds=ages.get(key),
                silent_streams=int(silent.get(key, 0)),
            )
            for key in sorted(asked | {key for key, (n, _) in counted.items() if n})
        )

    def _sources(self, channels: Sequence[ChannelReport]) -> tuple[SourceReport, ...]:
        metrics, lags, history = self._of.metrics, self._of.readings.lag(), self._rates.history()
        reconnects, gaps = metrics.reconnects.totals(), metrics.gaps.totals()
        seconds, shed = metrics.gap_seconds.totals(), metrics.shed_messages.totals()
        sources = dict.fromkeys([*(c.source for c in channels), *(lane.source for lane in self._of.lanes)])
        return tuple(
            SourceReport(
                source,
                lag_seconds=lags.get((source,), 0.0),
                messages_per_second=round(sum(c.messages_per_second for c in channels if c.source == source), 1),
                history=tuple(history.get(source, ())),
                reconnects=_of(source, reconnects),
                gaps=_of(source, gaps),
                gap_seconds=round(sum(n for (name, _), n in seconds.items() if name == source), 1),
                shed_messages=sum(_of(source, shed).values()),
            )
            for source in sources
        )

    # --- spool and disk --------------------------------------------------------------------------------------------

    def _spool(self, config: Config) -> SpoolReport:
        readings, limits, growth = self._of.readings, config.spool, self._rates.spool_growth()
        try:
            disk, room = shutil.disk_usage(self._of.home.spool), readings.room()
        except OSError:
            disk, room = None, None
        grows = growth is not None and growth > 0 and max(readings.lag().values(), default=0.0) > STUCK_SECONDS
        return SpoolReport(
            bytes=self._of.spool_bytes(),
            max_bytes=limits.max_size,
            growth=growth,
            full_in_seconds=room / growth if grows and growth and room is not None else None,
            disk_free_bytes=disk.free if disk is not None else None,
            disk_total_bytes=disk.total if disk is not None else None,
            min_free_bytes=limits.min_free,
        )

    # --- what happened ---------------------------------------------------------------------------------------------

    def _gap(self, hole: Hole) -> GapReport:
        now = now_us()
        until = now if hole.to_time is None else hole.to_time
        return GapReport(
            *(hole.source, hole.channel, hole.symbol, hole.cause),
            from_time=iso(hole.from_time),
            to_time=None if hole.to_time is None else iso(hole.to_time),
            seconds=max(0, until - hole.from_time) / 1e6,
            missing=hole.missing,
            count=hole.count,
            age_seconds=max(0, now - hole.detected_at) / 1e6,
        )

    def _event(self, happening: Happening) -> EventReport:
        age = max(0, now_us() - happening.time) / 1e6
        words = (happening.source, happening.feed, happening.kind, happening.code, happening.message)
        return EventReport(iso(happening.time), age, *words, happening.count)


def iso(us: int) -> str:
    """A time as JSON: `2026-11-21T09:30:00.123456Z`."""
    text = stamp(us)
    return f"{text[:10]}T{text[11:-3]}Z"


def _rate(counted: tuple[int, float]) -> tuple[int, float]:
    return counted[0], round(counted[1], 1)


def _of(source: str, totals: dict[tuple[str, ...], float]) -> dict[str, int]:
    """What was counted of a source, by the second label; what never happened is left out."""
    return {label: int(n) for (name, label), n in totals.items() if name == source and n}
