"""The simulator's two clocks: the wall clock that venues stamp with, the monotonic one that limits are measured on.

Owns nothing else; never sleeps.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where a simulated venue takes its time from."""

    def wall_us(self) -> int:
        """Microseconds since 1970 UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only ever grow."""
        ...


class SystemClock:
    """The machine's time."""

    def wall_us(self) -> int:
        """Microseconds since 1970 UTC."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Seconds that only ever grow."""
        return time.monotonic()


class ManualClock:
    """A time that moves only when told: a venue on it is moved by `Simulator.advance`, never by itself."""

    def __init__(self, start_us: int = 1_750_000_000_000_000) -> None:
        self._start_us = start_us
        self._passed_us = 0

    def wall_us(self) -> int:
        """Microseconds since 1970 UTC."""
        return self._start_us + self._passed_us

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return self._passed_us / 1e6

    def advance(self, seconds: float) -> None:
        """Let this much time pass."""
        self._passed_us += round(seconds * 1e6)
