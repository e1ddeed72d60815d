"""Recorders and simulated venues on one clock that a test moves: hours in seconds, and nothing is ever late.

Owns moving the clock and taking what /metrics says at equal intervals, with the time at which it was said. Judges
nothing. What happens inside a recorder's process is `steppedclock`'s.
"""

from __future__ import annotations

import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar

from recorder.simulator.clock import ManualClock
from recorder.simulator.server import Simulator, TickingVenue
from tests.fault.process import RecorderProcess
from tests.fixtures.history import Scrape

SCRAPED = 15.0  # as the shipped prometheus.yml has it
STEP = 0.5  # of the clock: a feed looks around as often
V = TypeVar("V", bound=TickingVenue)


@dataclass
class Run:
    """A recorder on the clock. `unseen`: threads that the clock does not wait for, because what they wait for will not
    come: those who ask a server that was frozen."""

    recorder: RecorderProcess
    listener: socket.socket
    unseen: Sequence[str] = ()
    commands: socket.socket | None = None
    answers: BinaryIO | None = None

    def start(self, now: float) -> None:
        """Start the recorder; its time begins."""
        path = str(self.listener.getsockname())
        self.recorder.through = (sys.executable, "-m", "tests.fault.steppedclock", path)
        self.recorder.start()
        self.commands, _ = self.listener.accept()
        self.commands.settimeout(120)
        self.answers = self.commands.makefile("rb")
        self.tell(now)

    def tell(self, now: float) -> None:
        """How late it is."""
        if self.commands is not None:
            self.commands.sendall(f"{now:.6f} {','.join(self.unseen)}\n".encode())

    def settled(self) -> None:
        """Wait until all its threads wait."""
        if self.answers is not None and not self.answers.readline():
            raise AssertionError(f"the recorder has ended\n{self.recorder.tail()}")

    def leave(self) -> None:
        """Let its time run by itself, so that it can end."""
        if self.commands is not None and self.answers is not None:
            self.answers.close()
            self.commands.close()
        self.commands = self.answers = None

    def kill(self) -> None:
        """kill -9."""
        self.leave()
        self.recorder.kill()


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens at its time, in seconds."""

    at: float
    do: Callable[[], object]


@dataclass
class Time:
    """The clock. Seconds since 1970."""

    now: float
    stack: ExitStack
    step: float = STEP
    # How often everybody has a turn at each moment. More than once: what is sent then is read and answered then, and
    # the recorders know how late it is before anything comes.
    rounds: int = 1
    simulators: list[Simulator[TickingVenue]] = field(default_factory=list)
    runs: dict[str, Run] = field(default_factory=dict)
    scrapes: list[Scrape] = field(default_factory=list)
    _scrape_at: float = 0.0

    def clock(self, ahead: float = 0.0) -> ManualClock:
        """A clock for a venue, so many seconds ahead of the recorders'."""
        return ManualClock(round((self.now + ahead) * 1e6))

    def serve(self, venue: V) -> Simulator[V]:
        """Serve a venue that has such a clock."""
        simulator: Simulator[V] = self.stack.enter_context(Simulator(venue))
        self.simulators.append(simulator)  # type: ignore[arg-type]
        return simulator

    def record(self, name: str, home: Path, toml: str) -> Run:
        """Start a recorder; `name` is its instance."""
        listener = self.stack.enter_context(socket.socket(socket.AF_UNIX))
        folder = self.stack.enter_context(tempfile.TemporaryDirectory())  # a socket's path may have 107 characters
        listener.bind(f"{folder}/clock")
        listener.listen()
        listener.settimeout(60)
        run = self.runs[name] = Run(RecorderProcess(home, toml, name=name), listener)
        self.stack.callback(self._end, run)
        run.start(self.now)
        return run

    def _end(self, run: Run) -> None:
        run.leave()
        if run.recorder.process is not None and run.recorder.process.poll() is None:
            run.recorder.kill()

    def go(self, seconds: float) -> None:
        """Let so much time pass, and scrape whenever it is due."""
        end = self.now + seconds
        while self.now < end - 1e-6:
            self._move(min(self.step, end - self.now))
            if self.now >= self._scrape_at:
                self._scrape_at = self.now + SCRAPED
                self._scrape()

    def _move(self, seconds: float) -> None:
        """The venues first: what they send is there when the recorders look."""
        self.now += seconds
        if self.rounds > 1:
            self._tell()
        for passing in (seconds, *[0.0] * (self.rounds - 1)):
            for moved in [simulator.advancing(passing) for simulator in self.simulators]:
                moved.result(60)
            self._tell()

    def _tell(self) -> None:
        for run in self.runs.values():
            run.tell(self.now)
        for run in self.runs.values():
            run.settled()

    def _scrape(self) -> None:
        for name, run in self.runs.items():
            text = run.recorder.get("/metrics") if run.commands is not None else ""
            self.scrapes.append(Scrape(self.now, text, instance=name))

    def play(self, events: Sequence[Event], start: float, seconds: float) -> None:
        """Let so much time pass, and whatever is due in it happen at its time (seconds after `start`)."""
        end = self.now + seconds
        for event in sorted(events, key=lambda event: event.at):
            if self.now <= start + event.at < end:
                self.go(start + event.at - self.now)
                event.do()
                self._move(0.0)  # whoever was sent something has read it
        self.go(end - self.now)

    def until(self, true: Callable[[], bool], seconds: float, what: str) -> None:
        """Let time pass until it is true, so many seconds at most."""
        end = self.now + seconds
        while not true():
            if self.now > end:
                tails = "\n".join(run.recorder.tail(10) for run in self.runs.values())
                raise AssertionError(f"not within {seconds:g} s: {what}\n{tails}")
            self.go(self.step)

    def ready(self) -> None:
        """Let time pass until every recorder is connected and writes."""
        self.until(lambda: all(run.recorder.ready() for run in self.runs.values()), 120, "all are ready")


@contextmanager
def stepping(back: float, step: float = STEP, rounds: int = 1) -> Iterator[Time]:
    """A clock that stands `back` seconds ago: databases have the real time, and nothing may come from their future."""
    with ExitStack() as stack:
        yield Time(float(int(time.time() - back)), stack, step, rounds)
