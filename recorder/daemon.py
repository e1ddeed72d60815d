"""The process: data directory, database, HTTP port, signals, supervision, systemd.

Owns the order in which the process begins and ends, and its exit code. Never touches a market's data.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import psycopg
import schedule
from loguru import logger

from recorder import __version__, configfile, reload
from recorder.capture.backoff import Window
from recorder.capture.datadir import DataDir, unusable
from recorder.capture.rest import Rest, client
from recorder.clockwatch import EVERY_SECONDS, ClockWatch
from recorder.config import Config, Source
from recorder.errors import ConfigError, Exit, RecorderError, SinkUnavailable
from recorder.following import Following, remembered
from recorder.observe.health import Beats, Watchdog, notify
from recorder.observe.http import HttpServer, Pages
from recorder.observe.metrics import Metrics
from recorder.observe.rates import Rates
from recorder.observe.report import Report
from recorder.overview import Overview
from recorder.pipeline import Pipeline
from recorder.scope import Scope
from recorder.store.ground import ground
from recorder.store.retention import retain
from recorder.store.sink import Sink

STOP_SECONDS = 7.0  # the promise is 10 s from SIGTERM to exit, a local database's end included
LOOK_SECONDS = 0.2
STUCK_SECONDS = 30.0  # a thread that has not turned its loop for so long is stuck
RETAIN_SECONDS = 600
PACE = Window(10, 2.0)  # the chores' requests in seconds, to all venues; half of what the strictest one allows
CHORE_SECONDS = 0.5  # that the end waits for a chore in the middle of a request
FOLLOW_TURN_SECONDS = 1  # a look at whose turn it is


class Daemon:
    """A recorder without its signals: the demo and the benchmark run one inside their own process."""

    def __init__(self, config: Config, home: DataDir, only: tuple[str, ...] = ()) -> None:
        self.config = config
        self.home = home
        self.started_at = datetime.now(UTC)
        self.stopping = False
        self.verdict: reload.Verdict | None = None  # on the file, when it was last read again
        self.beats = Beats()
        self.ground = ground(config, self.beats.beat)
        self.sink = Sink(
            self.ground.url,
            home.identity,
            instance(),
            raw=self._raw,
            aside=lambda frames: self.pipeline.preparer.aside(frames),
        )
        scope = Scope(only, lambda source: remembered(config.home, source.name))
        self.pipeline = Pipeline(config, home, self.sink, self.ground, self.beats, scope)
        self.metrics = self.pipeline.metrics
        self.rates = Rates(self.metrics.messages, self.pipeline.spool_bytes)
        self.overview = Overview(self.pipeline, self.rates)
        pages = Pages(self.metrics, self, self.beats, self.pipeline.events)
        self.http = HttpServer(config.recorder.listen, pages, self.beats)
        sources = scope.wanted(config.sources)
        self.following = Following(sources, config.home, self.pipeline.serve, self._database, self._rest)
        self.clocks = ClockWatch(sources, self._rest)
        self.metrics.watch("recorder_clock_offset_seconds", lambda: dict(self.clocks.offsets))
        self.chores = Chores(self.beats, self.metrics)
        self.chores.add("retention", RETAIN_SECONDS, self._retain)
        self.chores.add("instruments", FOLLOW_TURN_SECONDS, self.following.turn)
        self.chores.add("clock", EVERY_SECONDS, self.clocks.turn)

    def start(self) -> None:
        """The HTTP port first: if it is taken, nothing else was begun."""
        self.http.start()
        self.ground.start()
        self.pipeline.start()
        self.chores.start()
        self.rates.start()

    def stop(self, within: float = STOP_SECONDS) -> None:
        """Spool what was received, commit what fits, end every thread."""
        self.stopping = True
        self.chores.stop()
        self.rates.stop()
        self.pipeline.stop(within)
        if self.chores.is_alive():
            self.chores.join(CHORE_SECONDS)
        self.following.close()
        self.clocks.close()
        self.sink.close()
        self.ground.stop()
        self.http.stop()

    def take_up(self, file: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Read a configuration while this runs, and change what is different. What has changed, and what has to wait
        for more than that. Where the file is wrong, or a spool cannot be opened, it raises and nothing has changed."""
        found = configfile.load(file)
        names, scope = [source.name for source in found.sources], self.pipeline.scope
        if gone := [name for name in scope.only if name not in names]:
            raise ConfigError([f"{file}: there is no source {name}, but --only asks for it" for name in gone])
        config, waiting = reload.merged(self.config, found)
        changes = reload.differences(self.config, config)
        self.pipeline.reconfigure(config)
        self.config = config
        if self.ground.change(config):
            self.pipeline.writer.move(self.sink.move)
        sources = scope.wanted(config.sources)
        self.following.change(sources)
        self.clocks.change(sources)
        return changes, waiting

    def reload(self, file: Path) -> None:
        """The same, with a verdict for everybody who wants to know."""
        verdict = self.verdict = reload.judge(file, self.take_up)
        log = logger.bind(event="reload.done" if verdict.done else "reload.refused", file=str(file))
        for problem in verdict.problems:
            log.error("nothing has changed: {}", problem)
        for sentence in (*verdict.changes, *verdict.waiting):
            log.info("{}", sentence)
        if verdict.done and not verdict.changes and not verdict.waiting:
            log.info("nothing is different")
        self.metrics.reloads("done" if verdict.done else "refused").inc()
        try:
            reload.keep(self.home.home, verdict)
        except OSError as error:
            log.warning("the verdict could not be left for `recorder reload`: {}", error)

    def trouble(self) -> BaseException | None:
        """What the process cannot go on with."""
        fault = self.pipeline.fault
        others = next(
            (thread.name for thread in (self.http.thread, self.chores, self.rates) if not thread.is_alive()), ""
        )
        if fault is None and (name := self.pipeline.dead() or others):
            return RecorderError(f"thread {name} ended unexpectedly")
        return fault

    def _retain(self) -> None:
        """Where the server has no policies, old rows go by our own hand, on a connection of its own."""
        if any(self.config.retention.values()) and not self.pipeline.writer.database:
            with self._database() as conn:
                retain(conn, self.config.retention)

    def _rest(self, source: Source) -> Rest:
        """A client of a venue for the chores: it gives up when we stop."""
        return client(source, pace=PACE, interrupted=lambda: self.stopping)

    def _database(self) -> psycopg.Connection[tuple[object, ...]]:
        """A connection for a chore. Where the writer has none, a chore need not try."""
        if self.pipeline.writer.database:
            raise SinkUnavailable(self.pipeline.writer.database)
        return psycopg.connect(self.ground.url(), autocommit=True, connect_timeout=10)

    def _raw(self, feed: str, run: str, n: int) -> bytes | None:
        lane = self.pipeline.writer.lanes.get(feed)
        return lane.reader.frame(run, n) if lane is not None else None

    # --- what the HTTP port asks -----------------------------------------------------------------------------------

    def report(self) -> Report:
        """The recorder as it is now."""
        overview = self.overview.report(__version__, self.config)
        verdict = self.verdict.notes if self.verdict is not None else ()
        return replace(
            overview,
            started_at=self.started_at.isoformat(timespec="seconds"),
            stopping=self.stopping,
            notes=(*overview.notes, *verdict),
        )


class Chores(threading.Thread):
    """Thread `chores`: slow work on the wall clock (`schedule`). A chore that fails is counted and tried again."""

    def __init__(self, beats: Beats, metrics: Metrics) -> None:
        super().__init__(name="chores", daemon=True)  # a chore in the database must not delay the end
        self._beats = beats
        self._metrics = metrics
        self._stopping = threading.Event()
        self._jobs = schedule.Scheduler()

    def add(self, name: str, seconds: int, chore: Callable[[], object]) -> None:
        """A chore to do every so many seconds, the first time at once."""
        self._jobs.every(seconds).seconds.do(self.perform, name, chore).next_run = datetime.now()  # noqa: DTZ005 - its clock

    def run(self) -> None:
        """Until stopped."""
        self._beats.register(self.name)
        while not self._stopping.wait(1.0):
            self._beats.beat(self.name)
            self._jobs.run_pending()
        self._beats.forget(self.name)

    def stop(self) -> None:
        """End after the chore in hand."""
        self._stopping.set()

    def perform(self, name: str, chore: Callable[[], object]) -> None:
        """Do a chore; it may take its time."""
        self._beats.forget(self.name)  # deleting a month of rows takes minutes, and nobody waits for it
        try:
            chore()
        except Exception as error:  # noqa: BLE001 - a chore: counted, said, tried again
            self._metrics.chore_failures(name).inc()
            logger.bind(event="chore.failed").warning("{}: {}", name, error)
        finally:
            self._beats.register(self.name)


def instance() -> str:
    """This boot of this machine: a container's host name says nothing, a boot id does."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.is_file() else "unknown"


@dataclass(frozen=True, slots=True)
class Asked:
    """What signals ask for. `file` is read again when they ask for that."""

    file: Path
    stop: threading.Event = field(default_factory=threading.Event)
    reload: threading.Event = field(default_factory=threading.Event)

    def listen(self) -> None:
        """To SIGTERM and SIGINT: stop; to SIGHUP: reload."""
        for number, event in ((signal.SIGTERM, self.stop), (signal.SIGINT, self.stop), (signal.SIGHUP, self.reload)):
            signal.signal(number, _setter(event))


def _setter(event: threading.Event) -> Callable[[int, FrameType | None], None]:
    def received(number: int, frame: FrameType | None) -> None:
        event.set()

    return received


def run(config: Config, file: Path, only: tuple[str, ...] = ()) -> int:
    """Record until SIGTERM or SIGINT. The exit code; 0 after a clean stop. `file`: where the configuration is from."""
    asked = Asked(file)
    asked.listen()  # before the lock says who we are: whoever finds it may send signals
    _make_room(config)
    with DataDir(config.home) as home:
        daemon = Daemon(config, home, only)
        daemon.start()
        notify("READY=1")
        logger.bind(event="daemon.started").info("recording with {} feeds", len(daemon.pipeline.feeds))
        try:
            return _supervise(daemon, asked)
        finally:
            notify("STOPPING=1")
            daemon.stop()
            logger.bind(event="daemon.stopped").info("stopped")


def _make_room(config: Config) -> None:
    """The directories above the recorder's own; its own is `DataDir`'s, which also looks whose it is."""
    try:
        config.home.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unusable(f"data_dir {config.home} cannot be made", error) from error


def _supervise(daemon: Daemon, asked: Asked) -> int:
    watchdog = Watchdog(daemon.beats, STUCK_SECONDS)
    while not asked.stop.wait(LOOK_SECONDS):
        watchdog.turn()
        if asked.reload.is_set():
            asked.reload.clear()  # before: who asks from now on wants the file of then
            notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
            daemon.reload(asked.file)
            notify("READY=1")
        trouble = daemon.trouble()
        if trouble is not None:
            logger.bind(event="daemon.fault").critical("{}", trouble)
            return trouble.exit_code if isinstance(trouble, RecorderError) else Exit.INTERNAL
    return Exit.OK
