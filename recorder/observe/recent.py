"""What happened lately, for people: gaps, words of venues, connections lost and made, streams refused.

Owns a bounded list of each, in memory, since the start of the process; the tables have all of it and for ever. Never
waits, never grows, and asks no database, so that it tells most just when that is away. What repeats itself, or strikes
many streams at once, is one entry with a count.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from recorder.records import (
    Acknowledged,
    Closed,
    Control,
    Ended,
    Event,
    Failed,
    Heard,
    Opened,
    Rejected,
    Shed,
    Silent,
    Stream,
)
from recorder.redact import redact

MOST = 50  # of each list: what a page can show; five times a screen
TOGETHER_US = 5_000_000  # gaps of a channel with one cause that are found so soon after each other are one entry
LONGEST = 300  # characters of a venue's words


@dataclass(frozen=True, slots=True)
class Hole:
    """Gaps of one channel with one cause, found together; `count` of them, of which `symbol` is one. Times in
    microseconds, `to_time` None while it goes on; `missing` None where that is not known of each."""

    source: str
    channel: str
    symbol: str
    cause: str
    from_time: int
    to_time: int | None
    missing: int | None
    detected_at: int
    count: int = 1

    def with_another(self, other: Hole) -> Hole:
        """Both as one entry."""
        known = self.missing is not None and other.missing is not None
        return replace(
            self,
            from_time=min(self.from_time, other.from_time),
            to_time=max(self.to_time or 0, other.to_time or 0),
            missing=(self.missing or 0) + (other.missing or 0) if known else None,
            detected_at=other.detected_at,
            count=self.count + other.count,
        )

    def without(self, other: Hole) -> Hole:
        """One that late records have filled, or made smaller, taken out again."""
        known = self.missing is not None and other.missing is not None
        missing = max(0, (self.missing or 0) - (other.missing or 0)) if known else self.missing
        return replace(self, missing=missing, count=self.count - 1)


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that a feed met with, `count` times in a row, last at `time` (µs). `code` is the venue's, or a reason
    as in `recorder_reconnects_total`; `kind` is one of venue, lost, failed, opened, refused, silent, heard, shed."""

    time: int
    source: str
    feed: str
    kind: str
    code: str
    message: str
    count: int = 1


class Recent:
    """Written by the feeds' threads and the writer's, read by whoever looks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holes: deque[Hole] = deque(maxlen=MOST)
        self._happenings: deque[Happening] = deque(maxlen=MOST)
        self._refused: dict[Stream, Hole] = {}

    # --- looking ---------------------------------------------------------------------------------------------------

    def holes(self) -> list[Hole]:
        """The last gaps that were recorded, the newest first."""
        with self._lock:
            return list(reversed(self._holes))

    def refused(self) -> list[Hole]:
        """Gaps that go on: streams that the venue refuses; the newest first, MOST of them."""
        with self._lock:
            return list(reversed(self._refused.values()))[:MOST]

    def happenings(self) -> list[Happening]:
        """What the feeds met with, the newest first."""
        with self._lock:
            return list(reversed(self._happenings))

    # --- writing ---------------------------------------------------------------------------------------------------

    def hole(self, hole: Hole) -> None:
        """A gap was recorded."""
        with self._lock:
            for i in range(len(self._holes) - 1, -1, -1):
                known = self._holes[i]
                if hole.detected_at - known.detected_at > TOGETHER_US:
                    break
                if _alike(known, hole):
                    self._holes[i] = known.with_another(hole)
                    return
            self._holes.append(hole)

    def filled(self, hole: Hole) -> None:
        """Late records have filled a recorded gap, or split it into smaller ones."""
        with self._lock:
            for i in range(len(self._holes) - 1, -1, -1):
                known = self._holes[i]
                if _alike(known, hole) and known.from_time <= hole.from_time:
                    rest = known.without(hole)
                    if rest.count:
                        self._holes[i] = rest
                    else:
                        del self._holes[i]
                    return

    def said(self, source: str, feed: str, at: int, events: Sequence[Event]) -> None:
        """A venue said something of itself; of many at once, the last ones."""
        for event in events[-3:]:
            self._happened(Happening(at, source, feed, "venue", event.code, event.message))

    def noted(self, source: str, feed: str, at: int, control: Control) -> None:
        """A feed has something to say of itself."""
        match control:
            case Acknowledged() | Ended():
                with self._lock:
                    self._refused.pop(Stream(source, control.channel, control.symbol), None)
            case Rejected():
                self._refuse(Stream(source, control.channel, control.symbol), at)
                message = f"{control.channel} {control.symbol}: {control.message}"
                self._happened(Happening(at, source, feed, "refused", control.code, message))
            case Opened():
                self._happened(Happening(at, source, feed, "opened", "", control.endpoint))
            case Closed() if control.reason != "shutdown":
                self._happened(Happening(at, source, feed, "lost", control.reason, control.message))
            case Failed():
                self._happened(Happening(at, source, feed, "failed", control.reason, control.message))
            case Silent():
                self._happened(Happening(at, source, feed, "silent", "", f"{control.channel} {control.symbol}"))
            case Heard():
                self._happened(Happening(at, source, feed, "heard", "", f"{control.channel} {control.symbol}"))
            case Shed():
                self._happened(Happening(at, source, feed, "shed", "", f"{control.frames}"))

    def _refuse(self, stream: Stream, at: int) -> None:
        with self._lock:
            since = self._refused.pop(stream).from_time if stream in self._refused else at
            self._refused[stream] = Hole(
                stream.source, stream.channel, stream.symbol, "rejected", since, None, None, at
            )

    def _happened(self, happening: Happening) -> None:
        happening = replace(happening, message=redact(happening.message)[:LONGEST])
        with self._lock:
            last = self._happenings[-1] if self._happenings else None
            if last is not None and _again(last, happening):
                self._happenings[-1] = replace(happening, count=last.count + 1)
            elif last is not None and happening.kind == "refused" and _tells(last, happening):
                self._happenings[-1] = happening
            else:
                self._happenings.append(happening)


def _again(last: Happening, now: Happening) -> bool:
    """The same once more; of streams that are refused, silent or heard of again one after the other, which one does
    not matter."""
    same = (last.feed, last.kind, last.code) == (now.feed, now.kind, now.code)
    return same and (last.message == now.message or now.kind in ("refused", "silent", "heard"))


def _tells(last: Happening, refused: Happening) -> bool:
    """Whether it is the venue's word for this refusal."""
    return (last.feed, last.kind, last.code) == (refused.feed, "venue", refused.code)


def _alike(one: Hole, other: Hole) -> bool:
    return (one.source, one.channel, one.cause) == (other.source, other.channel, other.cause)
