"""Ways in which OKX v5 has been, or is announced to be, other than it is: switched on by request until cleared.

Owns the switches. Never acts on them: the pusher, REST and the sessions look.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from recorder.simulator.faults import Faults


class Start(Enum):
    """How a subscription to `books` begins."""

    SNAPSHOT = "snapshot"
    STALE = "stale"  # as announced for 2026: a snapshot comes, is to be ignored, and here would mislead
    NONE = "none"  # updates only


class Shape(Enum):
    """What an error frame looks like."""

    EVENT = "event"
    TEXT = "text"  # {"error":"60012"}, as old tutorials have it
    NUMBER = "number"  # { "error" : 30040 }, likewise


@dataclass(slots=True)
class Options:
    """What is switched on. `lag`: seconds that REST books are behind; 7 fields a candle as until 2022."""

    checksum: bool = False
    start: Start = Start.SNAPSHOT
    lag: float = 0.0
    candle_fields: int = 9
    shape: Shape = Shape.EVENT


@dataclass(slots=True)
class OkxFaults(Faults):
    """The faults of any venue, and these."""

    options: Options = field(default_factory=Options)

    def clear(self) -> None:
        """Switch everything off."""
        Faults.clear(self)
        self.options = Options()
