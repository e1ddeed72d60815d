"""What every PromQL query of the dashboards has to answer, worked out in plain Python from the series that are known.

Owns the truth by the query's name: for each set of labels a number, or what it is so long after the start of all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

from tests.integration.knownscrapes import Known, Series, grouped, matching

PLANNED = ("handover", "line", "config")

Labels = tuple[tuple[str, str], ...]
Truth = Mapping[Labels, float | Callable[[float], float]]
Chosen = Mapping[str, str | tuple[str, ...]]
Answer = Callable[[Known, Chosen, int], Truth]  # the variables, and the interval in seconds


def _wanted(chosen: Chosen, *, unplanned: bool = False) -> Callable[[Mapping[str, str]], bool]:
    """Series of the job, and of the sources where there are any."""

    def where(labels: Mapping[str, str]) -> bool:
        mine = labels["job"] == chosen["job"] and labels.get("source", chosen["source"][0]) in chosen["source"]
        return mine and not (unplanned and labels["reason"] in PLANNED)

    return where


def _rate(name: str, *by: str) -> Answer:
    """A second."""

    def truth(known: Known, chosen: Chosen, interval: int) -> Truth:
        groups = grouped(matching(known, name, _wanted(chosen)), *by)
        return {labels: sum(one.slope for one in found) for labels, found in groups.items()}

    return truth


def _count(name: str, *by: str, seconds: int = 0, unplanned: bool = False) -> Answer:
    """In each interval, or in so many seconds."""

    def truth(known: Known, chosen: Chosen, interval: int) -> Truth:
        groups = grouped(matching(known, name, _wanted(chosen, unplanned=unplanned)), *by)
        return {labels: sum(one.slope for one in found) * (seconds or interval) for labels, found in groups.items()}

    return truth


def _gauge(name: str, *by: str, how: Callable[..., float] = max, positive: bool = False) -> Answer:
    """The largest, smallest, sum of a state."""

    def truth(known: Known, chosen: Chosen, interval: int) -> Truth:
        groups = grouped(matching(known, name, _wanted(chosen)), *by)
        found: dict[Labels, float | Callable[[float], float]] = {}
        for labels, series in groups.items():
            if not positive or how(one.value for one in series) > 0:
                found[labels] = _moving(series, how)
        return found

    return truth


def _moving(series: list[Series], how: Callable[..., float]) -> Callable[[float], float]:
    return lambda since: how(one.at(since) for one in series)


def _quantile(share: float, name: str, *by: str) -> Answer:
    """By the buckets of a histogram, as if what is in a bucket lay evenly in it."""

    def truth(known: Known, chosen: Chosen, interval: int) -> Truth:
        groups = grouped(matching(known, f"{name}_bucket", _wanted(chosen)), *by)
        return {labels: _in_buckets(share, found) for labels, found in groups.items()}

    return truth


def _in_buckets(share: float, series: list[Series]) -> float:
    counts: dict[float, float] = {0.0: 0.0}
    for one in series:
        limit = float(one.labels["le"])
        counts[limit] = counts.get(limit, 0) + one.slope
    wanted = share * counts[float("inf")]
    for (low, below), (high, until) in pairwise(sorted(counts.items())):
        if until >= wanted:
            return low + (high - low) * (wanted - below) / (until - below)
    raise AssertionError("no bucket holds it")


def _down(*by: str) -> Answer:
    """Connections that do not stand."""

    def truth(known: Known, chosen: Chosen, interval: int) -> Truth:
        groups = grouped(matching(known, "recorder_connected", _wanted(chosen)), *by)
        return {labels: sum(one.value == 0 for one in found) for labels, found in groups.items()}

    return truth


def _spike(known: Known, chosen: Chosen, interval: int) -> Truth:
    """Unplanned reconnects of ten minutes by connection."""
    ended = grouped(matching(known, "recorder_reconnects_total", _wanted(chosen, unplanned=True)), "source")
    stand = grouped(matching(known, "recorder_connected", _wanted(chosen)), "source")
    return {labels: sum(one.slope for one in found) * 600 / len(stand[labels]) for labels, found in ended.items()}


def _feeds(known: Known, chosen: Chosen, interval: int) -> Truth:
    """1 stands, 0 does not, -1 is parked."""
    stands = grouped(matching(known, "recorder_connected", _wanted(chosen)), "source", "feed")
    parked = grouped(matching(known, "recorder_parked", _wanted(chosen)), "source", "feed")
    return {labels: found[0].value - parked[labels][0].value for labels, found in stands.items()}


def _full(known: Known, chosen: Chosen, interval: int) -> Truth:
    """Seconds until there is no room, at the pace at which it shrinks."""
    (room,) = matching(known, "recorder_spool_room_bytes", _wanted(chosen))
    return {(): lambda since: room.at(since) / -room.slope}


def _age(known: Known, chosen: Chosen, interval: int) -> Truth:
    """Since the process was started."""
    groups = grouped(matching(known, "process_start_time_seconds", _wanted(chosen)), "instance")
    return {labels: lambda since, f=found: known.start + since - f[0].value for labels, found in groups.items()}  # type: ignore[misc]


LATENCY = "recorder_venue_latency_seconds"

TRUTH: Mapping[str, Answer] = {
    "recorder: annotation Reconnects": _count(
        "recorder_reconnects_total", "source", "reason", seconds=60, unplanned=True
    ),
    "recorder: Recorder A": _gauge("up", how=min),
    "recorder: Database A": _gauge("recorder_database_up", how=min),
    "recorder: Feeds down A": _down(),
    "recorder: Last commit A": _gauge("recorder_committed_age_seconds"),
    "recorder: Lag A": _gauge("recorder_lag_seconds"),
    "recorder: Room in the spool A": _gauge("recorder_spool_room_bytes", how=min),
    "recorder: Gaps A": _count("recorder_gaps_total", seconds=3600),
    "recorder: Messages A": _rate("recorder_messages_received_total"),
    "recorder: Messages received A": _rate("recorder_messages_received_total", "source", "channel"),
    "recorder: Rows stored A": _rate("recorder_rows_committed_total", "table"),
    "recorder: Age of the last message A": _gauge("recorder_last_message_age_seconds", "source", "channel"),
    "recorder: Bytes received A": _rate("recorder_received_bytes_total", "source"),
    "recorder: Until it is stored A": _gauge("recorder_lag_seconds", "source"),
    "recorder: Until it is stored B": _gauge("recorder_committed_age_seconds"),
    "recorder: Until it is here A": _quantile(0.5, LATENCY, "source"),
    "recorder: Until it is here B": _quantile(0.99, LATENCY, "source"),
    "recorder: Commit and disk A": _quantile(0.5, "recorder_commit_seconds"),
    "recorder: Commit and disk B": _quantile(0.99, "recorder_commit_seconds"),
    "recorder: Commit and disk C": _quantile(0.99, "recorder_spool_sync_seconds"),
    "recorder: Round trip A": _gauge("recorder_rtt_seconds", "source", "endpoint"),
    "recorder: Feeds A": _feeds,
    "recorder: Reconnects by reason A": _count("recorder_reconnects_total", "source", "reason"),
    "recorder: Reconnects per connection A": _spike,
    "recorder: Heartbeat timeouts A": _count("recorder_heartbeat_timeouts_total", "source"),
    "recorder: Venue errors by code A": _count("recorder_venue_errors_total", "source", "code"),
    "recorder: Spool A": _gauge("recorder_spool_bytes", "source", how=sum),
    "recorder: Spool B": _gauge("recorder_spool_max_bytes"),
    "recorder: Room A": _gauge("recorder_disk_free_bytes", how=min),
    "recorder: Room B": _gauge("recorder_spool_room_bytes", how=min),
    "recorder: Spool full in A": _full,
    "recorder: Queue A": _gauge("recorder_queue_bytes", how=sum),
    "recorder: Oldest frame A": _gauge("recorder_spool_oldest_age_seconds"),
    "recorder: Fell behind A": _count("recorder_queue_overflows_total", "source"),
    "recorder: Shed A": _count("recorder_shed_messages_total", "source", "channel"),
    "recorder: Quarantined A": _count("recorder_quarantined_total", "source", "reason"),
    "recorder: Gaps by cause A": _count("recorder_gaps_total", "source", "cause"),
    "recorder: Schema drift A": _count("recorder_schema_drift_total", "source", "channel"),
    "recorder: Books asked for again A": _count("recorder_book_resyncs_total", "source"),
    "recorder: Streams that do not come A": _gauge("recorder_silent_streams", "source", "channel", positive=True),
    "recorder: Streams that do not come B": _gauge("recorder_gaps_open", "source", positive=True),
    "recorder: Clock A": _gauge("recorder_clock_offset_seconds", "source"),
    "recorder: Chores that failed A": _count("recorder_chore_failures_total", "chore"),
    "recorder: Scrape errors A": _count("recorder_scrape_errors_total", "metric"),
    "recorder: CPU A": _rate("process_cpu_seconds_total", "instance"),
    "recorder: Memory A": _gauge("process_resident_memory_bytes", "instance"),
    "recorder: Open files A": _gauge("process_open_fds", "instance"),
    "recorder: Running for A": _age,
    "quality: Age of the last message A": _gauge("recorder_last_message_age_seconds", "source", "channel"),
    "quality: Duplicates left out A": _count("recorder_duplicates_total", "source", "channel"),
    "quality: Schema drift A": _count("recorder_schema_drift_total", "source", "channel"),
}
VARIABLES = {
    "recorder: variable job": {"recorder", "recorder-demo"},
    "recorder: variable source": {"alpha", "beta-2"},
    "quality: variable job": {"recorder", "recorder-demo"},
}
