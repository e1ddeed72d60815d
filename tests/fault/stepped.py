"""A recorder and its simulated venues on one clock that a test moves: hours in seconds, and nothing is ever late.

Owns moving the clock and taking what /metrics says at equal intervals, with the time at which it was said. Judges
nothing. What happens inside the recorder's process is `steppedclock`'s.
"""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recorder.simulator.server import Simulator
from tests.fault.process import RecorderProcess

SCRAPE = 15.0  # as the shipped prometheus.yml has it
_SERIES = re.compile(r"^(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")


@dataclass
class Stepped:
    """`recorder` on the clock of `simulators`. Seconds; `step` is how finely time passes."""

    recorder: RecorderProcess
    simulators: Sequence[Simulator[Any]]
    now: float
    step: float = 0.5
    scraped: list[tuple[float, str]] = field(default_factory=list)
    _commands: socket.socket | None = None
    _answers: Any = None
    _scrape_at: float = 0.0

    def start(self, listener: socket.socket) -> None:
        """Start the recorder; its time begins."""
        path = str(listener.getsockname())
        self.recorder.through = (sys.executable, "-m", "tests.fault.steppedclock", path)
        self.recorder.start()
        listener.settimeout(60)
        self._commands, _ = listener.accept()
        self._commands.settimeout(120)
        self._answers = self._commands.makefile("rb")
        self._tell()

    def _tell(self) -> None:
        assert self._commands is not None
        self._commands.sendall(b"%.6f\n" % self.now)

    def pass_(self, seconds: float) -> None:
        """Let so much time pass, and scrape whenever it is due."""
        end = self.now + seconds
        while self.now < end - 1e-6:
            self.now += self.step
            for simulator in self.simulators:
                simulator.advance(self.step)
            self._tell()
            if not self._answers.readline():
                raise AssertionError(f"the recorder has ended\n{self.recorder.tail()}")
            if self.now >= self._scrape_at:
                self._scrape_at = self.now + SCRAPE
                self.scraped.append((self.now, self.recorder.get("/metrics")))

    def until(self, true: Callable[[], bool], seconds: float, what: str) -> None:
        """Let time pass until it is true, so many seconds at most."""
        end = self.now + seconds
        while not true():
            if self.now > end:
                raise AssertionError(f"not within {seconds:g} s: {what}\n{self.recorder.tail()}")
            self.pass_(self.step)

    def leave(self) -> None:
        """Let its time run by itself, so that it can end."""
        if self._commands is not None:
            self._answers.close()
            self._commands.close()


@contextmanager
def stepping(
    home: Path, toml: str, simulators: Sequence[Simulator[Any]], now: float, step: float = 0.5
) -> Iterator[Stepped]:
    """A recorder that has been started on the clock; its simulators run already and have clocks that are at `now`."""
    home.mkdir(parents=True, exist_ok=True)
    recorder = RecorderProcess(home, toml)
    stepped = Stepped(recorder, simulators, now, step)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home / "clock"))
        listener.listen()
        try:
            stepped.start(listener)
            yield stepped
        finally:
            stepped.leave()
            if recorder.process is not None and recorder.process.poll() is None:
                recorder.kill()
