"""The recorder under load: a whole daemon in this process, fed by the sender in another one.

Owns the daemon, its data directory and the measuring of one round. Never decides how many rounds there are.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from recorder.bench.latency import Latency, latency
from recorder.bench.load import Load
from recorder.bench.server import Scratch, backend_cpu
from recorder.bench.stages import Commits, Point, Stopwatch
from recorder.capture.datadir import DataDir
from recorder.capture.feedstate import FeedState
from recorder.capture.intake import Intake
from recorder.capture.reach import trust
from recorder.capture.spool import Spool
from recorder.capture.transport import Transport
from recorder.config import Config, Database, Recorder, Secret, Source, SpoolConfig, Subscribe
from recorder.daemon import Daemon
from recorder.decoding import BaseDecoder
from recorder.errors import RecorderError
from recorder.quality.continuity import Continuity
from recorder.simulator.flatout import MIXES, SYMBOLS, VENUE, Traffic, stored
from recorder.store.prepare import Preparer
from recorder.store.sink import Sink

FRAMES_PER_SEND = 64
PATIENCE = 60.0  # seconds beyond what is measured before a round counts as failed


@dataclass(frozen=True, slots=True)
class Round:
    """One flat-out round. CPU in µs a message: `python` of this whole process, `backend` of the server's process
    that serves the writer (None where it runs elsewhere), `stages` of the parts. `overflows`: how often the feed
    fell behind the writer, so that the spool had to give what the queue did not hold."""

    messages: int
    seconds: float
    flushes: int
    overflows: int
    python_us: float
    backend_us: float | None
    stages_us: dict[str, float]

    @property
    def rate(self) -> float:
        """Messages a second, from the first that was sent to the commit of the last."""
        return self.messages / self.seconds


# In the order in which a message meets them; `counting` is what is left of `take` without append, decode and queue.
STAGES = (
    Point("receive, TLS, frames", Transport, "read"),
    Point("spool append", Spool, "append"),
    Point("decode", BaseDecoder, "decode"),
    Point("counting", Intake, "take"),
    Point("queue", FeedState, "offer"),
    Point("continuity", Continuity, "observe"),
    Point("prepare", Preparer, "add"),
    Point("COPY and commit", Sink, "commit"),
)


def config(directory: Path, url: str, load: Load, mix: str, flush_age: float) -> Config:
    """What a user would write, but for the port and the venue's address."""
    channels = tuple(Traffic().channels(mix))
    source = Source(
        name="bench",
        venue=VENUE,
        endpoints=(f"wss://127.0.0.1:{load.port}",),
        rest="",  # the sender takes one connection, and it is the feed's
        subscribe=(Subscribe(channels=channels, symbols=SYMBOLS),),
    )
    return Config(
        recorder=Recorder(data_dir=directory, listen="127.0.0.1:0"),
        database=Database(url=Secret(url), flush_age=flush_age),
        spool=SpoolConfig(min_free=64 << 20, keep=0.0),
        sources=(source,),
    )


class Pipeline:
    """A running recorder."""

    def __init__(self, daemon: Daemon, load: Load, scratch: Scratch, mix: str) -> None:
        self._daemon = daemon
        self._load = load
        self.scratch = scratch
        self._mix = mix

    def flat_out(self, messages: int, watch: Sequence[Point] = ()) -> Round:
        """Everything at once: until the last message is committed. `watch` measures the stages on top."""
        self._load.prepare(messages, self._mix)
        self.scratch.empty()
        pid = self.scratch.writer_backend()
        overflows, python, backend = self._overflows(), time.process_time(), backend_cpu(pid)
        with Commits().of(Sink) as commits, Stopwatch().over(watch) as stopwatch:
            started = time.perf_counter()
            self._load.begin(FRAMES_PER_SEND)
            self._await(commits, stored(self._mix, messages))
            seconds = time.perf_counter() - started
        self._load.end()
        spent_in = stopwatch.seconds()
        spent, served = time.process_time() - python, backend_cpu(pid)
        return Round(
            messages,
            seconds,
            commits.flushes,
            int(self._overflows() - overflows),
            spent / messages * 1e6,
            None if backend is None or served is None else (served - backend) / messages * 1e6,
            {point.stage: spent_in.get(point.stage, 0.0) / messages * 1e6 for point in watch},
        )

    def paced(self, rate: float, seconds: float) -> tuple[Latency, float]:
        """A steady rate: the latencies, and the worst delay of the sender itself in milliseconds."""
        with Commits(keep=True).of(Sink) as commits:
            sent = self._load.pace(rate, seconds, self._mix)
            self._await(commits, stored(self._mix, int(sent["sent"])))
        found = latency(commits.kept)
        if found is None:
            raise RecorderError("a paced round was too short to say anything about latency")
        return found, float(sent["late"]) * 1000

    def _await(self, commits: Commits, rows: int) -> None:
        end = time.monotonic() + PATIENCE + rows / 2000
        while not commits.wait(rows, 1.0):
            trouble = self._daemon.trouble()
            if trouble is not None:
                raise trouble
            if time.monotonic() > end:
                raise RecorderError(f"only {commits.rows:,} of {rows:,} messages were stored in time: {self._state()}")

    def _state(self) -> str:
        report = self._daemon.report()
        feeds = [f"{f.feed} at {f.position} of {f.head}, {'live' if f.live else 'behind'}" for f in report.feeds]
        return "; ".join([*report.unready(), *feeds])

    def _overflows(self) -> float:
        name = "recorder_queue_overflows_total"
        return self._daemon.metrics.registry.get_sample_value(name, {"source": "bench"}) or 0.0


@contextmanager
def running(settings: Config, load: Load, scratch: Scratch, mix: str) -> Iterator[Pipeline]:
    """A recorder from start to stop. It trusts the sender's certificate for as long."""
    if mix not in MIXES:
        raise ValueError(f"no such mix: {mix}")
    before = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = load.certificate
    trust.cache_clear()  # what this process trusted so far
    home = DataDir(settings.home)
    with ExitStack() as stack:
        stack.callback(trust.cache_clear)
        stack.callback(_restore, "SSL_CERT_FILE", before)
        home.acquire()
        stack.callback(home.release)
        daemon = Daemon(settings, home)
        daemon.start()
        stack.callback(daemon.stop)
        yield Pipeline(daemon, load, scratch, mix)


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
