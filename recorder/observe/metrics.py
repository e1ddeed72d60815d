"""Every metric of the recorder, declared once: what an operator may ask while the recorder runs.

Owns names, help texts, labels and buckets, and the counters themselves. Never measures anything: others count
(bound children, once a batch), and what is a state rather than a count is asked for when somebody scrapes, so
that it is right even while the thread that causes it is stuck. Never lets a venue's string become a label:
values outside the configured or closed sets are counted as `other`.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from recorder import __version__
from recorder.config import Config, Source
from recorder.guards import REASONS
from recorder.records import TABLES
from recorder.venues import venues

OTHER = "other"

RECONNECT_REASONS = (
    *("refused", "dns", "tls", "proxy", "handshake", "auth", "quota", "rate", "eof", "reset", "close"),
    *("heartbeat", "silence", "handover", "line", "config"),
)
GAP_CAUSES = (
    *("sequence", "disconnect", "silence", "recorder_down", "late", "rejected", "shed", "quarantined"),
    *("corrupt", "reset", "database_restored"),
)
QUARANTINE_REASONS = (*sorted(REASONS), "database")

RELOADS = ("done", "refused")
CHORES = ("retention", "instruments", "clock")

# A commit costs a few milliseconds when all is well; a deadline ends it after a minute.
COMMIT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# fdatasync measured 0.2–0.8 ms on a good disk, 7–46 ms at worst; a stalled disk takes seconds.
SYNC_BUCKETS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# received_at − venue time: single milliseconds next door, hundreds over the sea, more when a clock is wrong.
LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)

# Asked for at scrape time: name -> help, labels. `Metrics.watch` connects them to the parts that know.
GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "recorder_connected": ("1 while the feed's connection stands", ("source", "feed")),
    "recorder_parked": ("1 while the feed has given up on a refusal and only probes", ("source", "feed")),
    "recorder_last_message_age_seconds": ("Age of the last data message; absent before it", ("source", "channel")),
    "recorder_silent_streams": ("Streams accepted by the venue that never brought anything", ("source", "channel")),
    "recorder_market_open": ("1 while the market is surely open; absent where nobody knows its hours", ("source",)),
    "recorder_gaps_open": ("Holes that go on: streams that the venue refuses", ("source",)),
    "recorder_venue_code_info": ("What is done about a code of the venue; always 1", ("source", "code", "reaction")),
    "recorder_lag_seconds": ("Age of the oldest record not yet committed", ("source",)),
    "recorder_committed_age_seconds": ("Time since the last commit; absent before it", ()),
    "recorder_database_up": ("1 while the database can be written", ()),
    "recorder_rtt_seconds": ("Round trip to an address: ping where connected, else handshake", ("source", "endpoint")),
    "recorder_clock_offset_seconds": ("How far our clock is ahead of the venue's; absent if not told", ("source",)),
    "recorder_queue_bytes": ("Decoded records waiting for the writer", ()),
    "recorder_spool_bytes": ("Size of the spool on disk", ("source",)),
    "recorder_spool_max_bytes": ("Limit of the spool's size", ()),
    "recorder_spool_min_free_bytes": ("Free space that the spool leaves on its disk", ()),
    "recorder_spool_room_bytes": ("What the spool can still take while the database takes nothing", ()),
    "recorder_spool_oldest_age_seconds": ("Age of the oldest frame in the spool", ()),
    "recorder_disk_free_bytes": ("Free space where the spool lives", ()),
    "recorder_events_clients": ("Listeners at /events", ()),
    "recorder_build_info": ("Which recorder this is; always 1", ("version", "python")),
}

# Keys are tuples of label values; Any because Mapping is invariant in its keys and tuples differ in length.
Reading = float | None | Mapping[Any, float | None]
M = TypeVar("M", Counter, Histogram)


class Family(Generic[M]):
    """The children of one metric. Calling it gives a bound child: the hot path pays one dictionary look-up."""

    __slots__ = ("_children", "_metric", "_sources")

    def __init__(self, metric: M, sources: set[str]) -> None:
        self._metric: M = metric
        self._sources = sources
        self._children: dict[tuple[str, ...], M] = {}

    def create(self, *values: str) -> None:
        """Make this series exist, at 0."""
        self._children[values] = self._metric.labels(*values)

    def totals(self) -> dict[tuple[str, ...], float]:
        """What a counter stands at, by its labels' values; for whoever shows it."""
        samples = (sample for metric in self._metric.collect() for sample in metric.samples)
        return {tuple(s.labels.values()): s.value for s in samples if s.name.endswith("_total")}

    def __call__(self, *values: str) -> M:
        child = self._children.get(values)
        return child if child is not None else self._stranger(values)

    def _stranger(self, values: tuple[str, ...]) -> M:
        """What was not declared: its source is kept if we know it, the rest is `other`."""
        source = values[0] if values[0] in self._sources else OTHER
        return self._metric.labels(source, *[OTHER] * (len(values) - 1))


class ScrapeGauges(Collector):
    """Gauges that are asked for when somebody scrapes. A reading that fails costs its own series only."""

    def __init__(self, failures: Counter) -> None:
        self._failures = failures
        for name in GAUGES:
            failures.labels(name)  # exists, at 0: a rate would miss the first one otherwise
        self._reads: dict[str, list[Callable[[], Reading]]] = {name: [] for name in GAUGES}

    def watch(self, name: str, read: Callable[[], Reading]) -> None:
        """From now on `read` answers for (a part of) the gauge `name`."""
        self._reads[name].append(read)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """The names alone, so that registering asks nobody."""
        return [_gauge(name) for name in GAUGES]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """All gauges as they are now."""
        return [self._collect(name, reads) for name, reads in self._reads.items()]

    def _collect(self, name: str, reads: list[Callable[[], Reading]]) -> GaugeMetricFamily:
        family = _gauge(name)
        for read in reads:
            try:
                samples = _samples(name, read())
            except Exception:  # noqa: BLE001 - whatever is wrong there, the other metrics must still be readable
                self._failures.labels(name).inc()
                continue
            for labels, value in samples:
                family.add_metric(labels, value)
        return family


def _gauge(name: str) -> GaugeMetricFamily:
    text, labels = GAUGES[name]
    return GaugeMetricFamily(name, text, labels=labels)


def _samples(name: str, reading: Reading) -> list[tuple[tuple[str, ...], float]]:
    """The reading as samples; None means that there is nothing to say, which is not 0."""
    series = reading if isinstance(reading, Mapping) else {(): reading}
    samples = [(labels, float(value)) for labels, value in series.items() if value is not None]
    if any(len(labels) != len(GAUGES[name][1]) for labels, _ in samples):
        raise ValueError(f"{name} was read with the wrong labels")
    return samples


class Metrics:
    """All metrics of one recorder on a registry of their own. `sources`: source -> the channels it subscribes,
    `codes`: source -> the error codes its venue declares."""

    def __init__(
        self, sources: Mapping[str, Iterable[str]] | None = None, codes: Mapping[str, Iterable[str]] | None = None
    ) -> None:
        # `_created` series double the scrape and tell what recorder_build_info and the process start time tell.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._sources: set[str] = set()
        self._capture()
        self._store()
        self._quality()
        self.chore_failures = self._family("recorder_chore_failures", "Chores that failed and are tried again", "chore")
        for chore in CHORES:
            self.chore_failures.create(chore)
        self.reloads = self._family("recorder_reloads", "Times the configuration was read again", "outcome")
        for outcome in RELOADS:
            self.reloads.create(outcome)
        self._gauges = ScrapeGauges(self._counter("recorder_scrape_errors", "Gauges that could not be read", "metric"))
        self.registry.register(self._gauges)
        self.events_dropped = self._counter("recorder_events_dropped", "Listeners at /events that were too slow")
        self.page_errors = self._counter("recorder_http_errors", "Pages of the HTTP port that failed")
        self.watch("recorder_build_info", lambda: {(__version__, platform.python_version()): 1.0})
        for source, channels in (sources or {}).items():
            self.add_source(source, channels, (codes or {}).get(source, ()))

    @classmethod
    def from_config(cls, config: Config) -> Metrics:
        """The metrics of a configuration: every counter at 0 for each of its sources."""
        metrics = cls()
        for source in config.sources:
            metrics.declare(source)
        return metrics

    def declare(self, source: Source) -> None:
        """Make every series of a configured source exist, at 0; those that exist stay as they are."""
        venue = venues().get(source.venue)
        channels = sorted({channel for block in source.subscribe for channel in block.channels})
        self.add_source(source.name, channels, [code.code for code in venue.codes] if venue is not None else ())

    def add_source(self, source: str, channels: Iterable[str] = (), codes: Iterable[str] = ()) -> None:
        """Make all series of a source exist; also for one that is only being drained from the spool."""
        self._sources.add(source)
        for family, values in (
            (self.reconnects, RECONNECT_REASONS),
            (self.gaps, GAP_CAUSES),
            (self.gap_seconds, GAP_CAUSES),
            (self.quarantined, QUARANTINE_REASONS),
            (self.venue_errors, (*codes, OTHER)),
        ):
            for value in values:
                family.create(source, value)
        for family in (self.received_bytes, self.heartbeat_timeouts, self.queue_overflows, self.book_resyncs):
            family.create(source)
        for channel in channels:
            for family in (self.messages_received, self.duplicates, self.shed_messages, self.schema_drift):
                family.create(source, channel)
            self.venue_latency.create(source, channel)
        self.schema_drift.create(source, OTHER)  # a message of a kind that nobody knows belongs to no channel

    def messages(self) -> dict[tuple[str, str], float]:
        """Data messages so far, by source and channel."""
        return {(source, channel): n for (source, channel), n in self.messages_received.totals().items()}

    def watch(self, name: str, read: Callable[[], Reading]) -> None:
        """Let `read` answer for the gauge `name` at every scrape: a number, None for absent, or label values ->
        number. Several may answer for one gauge, each for its own series. It runs in the scraper's thread."""
        self._gauges.watch(name, read)

    def _capture(self) -> None:
        by, ch = "source", "channel"
        self.messages_received = self._family("recorder_messages_received", "Data messages received", by, ch)
        self.received_bytes = self._family("recorder_received_bytes", "Payload bytes received", by)
        self.reconnects = self._family("recorder_reconnects", "Connections lost or not made", by, "reason")
        self.heartbeat_timeouts = self._family("recorder_heartbeat_timeouts", "Heartbeats without reply in time", by)
        self.venue_errors = self._family("recorder_venue_errors", "Errors told by the venue", by, "code")
        self.queue_overflows = self._family("recorder_queue_overflows", "Times a feed fell behind the writer", by)
        self.shed_messages = self._family("recorder_shed_messages", "Messages the disk had no room for", by, ch)
        self.schema_drift = self._family("recorder_schema_drift", "Messages with fields or kinds unknown", by, ch)
        self.book_resyncs = self._family("recorder_book_resyncs", "Books asked for again after a broken chain", by)
        self.venue_latency = Family(
            self._histogram("recorder_venue_latency_seconds", "received_at − time", LATENCY_BUCKETS, by, ch),
            self._sources,
        )
        self.spool_sync_seconds = self._histogram("recorder_spool_sync_seconds", "One fdatasync", SYNC_BUCKETS)

    def _store(self) -> None:
        self.rows_committed = self._family("recorder_rows_committed", "Rows stored", "table")
        for table in TABLES:
            self.rows_committed.create(table)
        self.commit_seconds = self._histogram("recorder_commit_seconds", "One flush, BEGIN to COMMIT", COMMIT_BUCKETS)

    def _quality(self) -> None:
        self.duplicates = self._family("recorder_duplicates", "Records left out: stored before", "source", "channel")
        self.gaps = self._family("recorder_gaps", "Gaps found", "source", "cause")
        self.gap_seconds = self._family("recorder_gap_seconds", "Time inside gaps", "source", "cause")
        self.quarantined = self._family("recorder_quarantined", "Frames set aside", "source", "reason")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _family(self, name: str, text: str, *labels: str) -> Family[Counter]:
        return Family(self._counter(name, text, *labels), self._sources)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)
