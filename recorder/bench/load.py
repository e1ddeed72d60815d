"""The other process: starts the sender, gives it orders, reads its answers.

Owns the process. Never measures: the sender's own clock says how long it sent.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from recorder.errors import RecorderError


class Load:
    """A running sender. Orders are those of recorder/simulator/flatout.py."""

    def __init__(self, directory: Path) -> None:
        if importlib.util.find_spec("websockets") is None:
            raise RecorderError("the benchmark needs a venue to listen to: pip install 'recorder[simulator]'")
        command = [sys.executable, "-m", "recorder.simulator.flatout", str(directory)]
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        about = self._answer()
        self.port = int(about["port"])
        self.certificate = str(about["certificate"])

    def prepare(self, messages: int, mix: str) -> None:
        """Make messages ready; waits until the recorder has subscribed."""
        self._order({"prepare": messages, "mix": mix})

    def begin(self, frames_per_send: int) -> None:
        """Send what is ready, flat out. `end` waits for it."""
        self._say({"go": frames_per_send})

    def end(self) -> dict[str, Any]:
        """What the sender says of the order that `begin` gave."""
        return self._answer()

    def pace(self, rate: float, seconds: float, mix: str) -> dict[str, Any]:
        """Send at a steady rate; returns when all is sent."""
        return self._order({"pace": rate, "seconds": seconds, "mix": mix})

    def _order(self, order: dict[str, Any]) -> dict[str, Any]:
        self._say(order)
        return self._answer()

    def _say(self, order: dict[str, Any]) -> None:
        assert self._process.stdin is not None  # for mypy: Popen was given PIPE
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "it died"}
        if "error" in answer:
            raise RecorderError(f"the benchmark's sender has failed: {answer['error']}")
        return answer

    def __enter__(self) -> Load:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process as process:
            process.kill()  # it may stand in the middle of a send that nobody reads
