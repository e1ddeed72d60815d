"""An hour and a half of scrapes of which everything is known: every series that the recorder's own metrics have, each
with a value that follows from its name, its labels and the time.

Owns the values, and how they get into a real Prometheus as blocks, together with what the recording rules make of them.
"""

from __future__ import annotations

import subprocess
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from recorder.observe.metrics import COMMIT_BUCKETS, LATENCY_BUCKETS, SYNC_BUCKETS, Metrics
from tests.dashboards import SCRAPE
from tests.fixtures.prometheus import Prometheus, running
from tests.fixtures.tools import tool

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "recording.yml"
SOURCES = {"alpha": ("books", "trades"), "beta-2": ("trades",)}
CODES = {"alpha": ("60012", "64008"), "beta-2": ("513",)}
JOBS = {"recorder": 1.0, "recorder-demo": 7.0}  # by what the values of the other one are larger

GIB = float(1 << 30)
# What is asked for at a scrape: labels without their names -> value; one that moves says how fast.
GAUGES: dict[str, dict[tuple[str, ...], float]] = {
    "recorder_connected": {("alpha", "alpha/0"): 1, ("alpha", "alpha/1"): 0, ("beta-2", "beta-2/0"): 0},
    "recorder_parked": {("alpha", "alpha/0"): 0, ("alpha", "alpha/1"): 0, ("beta-2", "beta-2/0"): 1},
    "recorder_last_message_age_seconds": {("alpha", "books"): 0.5, ("alpha", "trades"): 2, ("beta-2", "trades"): 40},
    "recorder_silent_streams": {("alpha", "books"): 3, ("alpha", "trades"): 0, ("beta-2", "trades"): 1},
    "recorder_gaps_open": {("alpha",): 0, ("beta-2",): 2},
    "recorder_lag_seconds": {("alpha",): 0.25, ("beta-2",): 12},
    "recorder_committed_age_seconds": {(): 1.5},
    "recorder_database_up": {(): 1},
    "recorder_rtt_seconds": {("alpha", "wss://a"): 0.02, ("beta-2", "wss://b"): 0.3},
    "recorder_clock_offset_seconds": {("alpha",): -0.125, ("beta-2",): 0.5},
    "recorder_queue_bytes": {(): 123456},
    "recorder_spool_bytes": {("alpha",): 3 * GIB, ("beta-2",): GIB},
    "recorder_spool_max_bytes": {(): 20 * GIB},
    "recorder_spool_oldest_age_seconds": {(): 21600},
    "recorder_spool_room_bytes": {(): 40 * GIB},
    "recorder_disk_free_bytes": {(): 50 * GIB},
}
OTHERS = {"process_resident_memory_bytes": 2.5e8, "process_open_fds": 33.0}
MOVES = {"recorder_spool_room_bytes": -1e6}  # a second
# Observations a second, by their size: three in four are small.
OBSERVED = {0.004: 3.0, 0.3: 1.0}
BUCKETS = {
    "recorder_commit_seconds": COMMIT_BUCKETS,
    "recorder_spool_sync_seconds": SYNC_BUCKETS,
    "recorder_venue_latency_seconds": LATENCY_BUCKETS,
}


@dataclass(frozen=True, slots=True)
class Series:
    """One series: what it is at the start of all, and how fast it grows. Seconds."""

    name: str
    labels: Mapping[str, str]
    value: float
    slope: float = 0.0

    def at(self, since: float) -> float:
        """Its value so long after the start."""
        return self.value + self.slope * since


@dataclass
class Known:
    """All series between two moments, seconds since 1970."""

    start: float
    end: float
    series: list[Series] = field(init=False)

    def __post_init__(self) -> None:
        self.series = [one for job, factor in JOBS.items() for one in self._of(job, factor)]

    def _of(self, job: str, factor: float) -> Iterator[Series]:
        """The series of the recorder's own metrics, as a scrape shows them, and `up`."""
        target = {"job": job, "instance": f"{job}:9464"}
        metrics = Metrics(SOURCES, CODES)
        for name, values in GAUGES.items():
            metrics.watch(name, lambda values=values: values)  # type: ignore[misc]
        metrics.chore_failures("clock")
        metrics.page_errors.inc()
        for family in metrics.registry.collect():
            for sample in family.samples:
                yield self._one(sample.name, dict(sample.labels) | target, sample.value, factor)
        yield Series("up", target, 1)

    def _one(self, name: str, labels: dict[str, str], value: float, factor: float) -> Series:
        if name.endswith("_total"):
            return Series(name, labels, 0, factor * pace(name, labels))
        for histogram, buckets in BUCKETS.items():
            if name == f"{histogram}_bucket":
                limit = float(labels["le"])
                return Series(name, labels, 0, factor * sum(n for size, n in OBSERVED.items() if size <= limit))
            if name.startswith(histogram):
                return Series(name, labels, 0, factor * sum(OBSERVED.values()) * (buckets[0] if "sum" in name else 1))
        if name == "process_start_time_seconds":
            return Series(name, labels, self.start - 86_400 * factor)
        return Series(name, labels, OTHERS.get(name, value) * factor, MOVES.get(name, 0.0) * factor)

    # --- into a Prometheus ---------------------------------------------------------------------------------------

    def tell(self, server: Prometheus) -> None:
        """Put it into the database of a server that does not run, and what the recording rules make of it."""
        server.directory.mkdir(parents=True, exist_ok=True)
        file = server.directory / "scrapes.txt"
        with file.open("w") as out:
            out.writelines(self._lines())
        _promtool("openmetrics", str(file), str(server.data))
        with running(server):
            asked = [f"--start={self.start:.0f}", f"--end={self.end:.0f}", f"--eval-interval={SCRAPE}s"]
            _promtool("rules", *asked, f"--url={server.url}", f"--output-dir={server.data}", str(RULES))

    def _lines(self) -> Iterator[str]:
        times = range(int(self.start), int(self.end) + 1, SCRAPE)
        for one in self.series:
            labels = ",".join(f'{name}="{value}"' for name, value in one.labels.items())
            for at in times:
                yield f"{one.name}{{{labels}}} {one.at(at - self.start)!r} {at}\n"
        yield "# EOF\n"


def pace(name: str, labels: Mapping[str, str]) -> float:
    """How fast a counter grows in a second: never 0, and different for different ones."""
    key = name + "".join(f"{k}{v}" for k, v in sorted(labels.items()) if k not in ("job", "instance"))
    return (1 + zlib.crc32(key.encode()) % 97) / 64


def _promtool(*arguments: str) -> None:
    done = subprocess.run(
        [tool("promtool"), "tsdb", "create-blocks-from", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]


# --- looking at it ---------------------------------------------------------------------------------------------------

Values = dict[tuple[tuple[str, str], ...], list[Series]]


def matching(known: Known, name: str, where: Callable[[Mapping[str, str]], bool]) -> list[Series]:
    """Series of a name whose labels are wanted."""
    return [one for one in known.series if one.name == name and where(one.labels)]


def grouped(series: Iterable[Series], *by: str) -> Values:
    """Series by the values of labels."""
    found: Values = {}
    for one in series:
        found.setdefault(tuple((label, one.labels[label]) for label in sorted(by)), []).append(one)
    return found
