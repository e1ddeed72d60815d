"""One tracker per stream: what the stream proves about its own records.

Owns the rules of continuity (see `recorder.quality.continuity`; those of chains: `recorder.quality.chained`) and the
state of a stream as it stands in a checkpoint. Pure. Never knows a feed's breaks: whoever calls says why records may
be missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from recorder.records import Stream

GRACE = 2_000_000  # µs a missing id may still come late (another line, reordering) before its hole is reported
RESET_AFTER = 10_000_000  # µs: a lower id this much later than the stream's last record is a renumbering, not a repeat
BETWEEN = 64  # ranges between the last ids of an ordered stream: venues repeat up to 60 records
REMEMBERED = 256  # reported ranges a stream keeps, so that late records can take their ids out of a gap
NEVER = -1


class _Unset:
    """The expectation of a tracker that the hot path must not satisfy."""


UNSET: Any = _Unset()


@dataclass(frozen=True, slots=True)
class Hole:
    """Records that are missing from a stream: a row of `gaps`. Times in µs; `missing` None where nobody can know."""

    stream: int
    cause: str
    from_time: int
    to_time: int
    from_seq: int | None
    to_seq: int | None
    missing: int | None
    detected_at: int


@dataclass(frozen=True, slots=True)
class Refit:
    """A reported hole that a late record shrank, split or filled: `old` goes, `new` comes."""

    old: Hole
    new: tuple[Hole, ...]


class Missing(msgspec.Struct, frozen=True, array_like=True):
    """A range of ids that did not come. `deadline` 0: already reported."""

    first: int
    last: int
    from_time: int
    to_time: int
    cause: str
    deadline: int
    detected_at: int = 0


class TrackerState(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """A stream in a checkpoint. `cause`: an interruption since its last record, "" if none."""

    source: str
    channel: str
    symbol: str
    expected: int | None
    time: int
    last_from: int | None = None
    fresh: bool = False
    flag: bool = False
    cause: str = ""
    ranges: tuple[Missing, ...] = ()
    since: int | None = None
    ahead: int | None = None


class Checkpoint(msgspec.Struct, frozen=True, array_like=True):
    """A feed's `state` column. `run`: the last run that a burst was seen of; the position may stand at the beginning
    of the next one, whose first burst then still is an interruption."""

    run: str
    streams: list[TrackerState]


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """As it is stored."""
    return msgspec.msgpack.encode(checkpoint)


def decode_checkpoint(state: bytes) -> Checkpoint:
    """The streams of a checkpoint; raises `msgspec.MsgspecError` on a state that is none."""
    return msgspec.msgpack.decode(state, type=Checkpoint)


@dataclass(slots=True)
class Found:
    """What a record that does not simply follow on turned out to be. Without `proof` an interruption before it stays
    open: the record says nothing about what may be missing."""

    proof: bool = True
    drop: bool = False
    suspect: bool = False
    broken: bool = False
    holes: list[Hole] = field(default_factory=list)
    refits: list[Refit] = field(default_factory=list)


class Tracker:
    """What all kinds share. `expected`: what `seq_from` of the next record must be; `token`: the feed's last break
    that this stream has seen; `outstanding`: a cause carried over from a checkpoint or the database."""

    __slots__ = ("expected", "feed", "flag", "last_from", "number", "outstanding", "ranges", "time", "token")
    step = 0

    def __init__(self, number: int, feed: str, token: int) -> None:
        self.number = number
        self.feed = feed
        self.token = token
        self.expected: Any = UNSET
        self.time = NEVER
        self.last_from: int | None = None
        self.flag = False
        self.outstanding = ""
        self.ranges: list[Missing] = []

    @property
    def fresh(self) -> bool:
        """No record has come yet."""
        return self.time == NEVER

    @property
    def pending(self) -> list[Missing]:
        """Ranges whose grace has not passed."""
        return [m for m in self.ranges if m.deadline]

    def irregular(self, first: int | None, last: int | None, time: int, cause: str, received_at: int) -> Found:
        """Judge a record that the hot path could not; `cause` is "" where the feed was not interrupted."""
        raise NotImplementedError

    def holds(self, first: int | None, last: int | None, time: int) -> bool:
        """Whether a record that also came over another connection is nothing new. Where ids tell, `irregular` knows."""
        return time <= self.time

    def rebase(self, last: int | None, time: int, closed: bool) -> None:
        """Take the stream up from its last stored record."""
        raise NotImplementedError

    def report(self, missing: Missing, received_at: int) -> Hole:
        """The grace of a range has passed: remember it as reported and make its hole."""
        self.ranges.remove(missing)
        reported = msgspec.structs.replace(missing, deadline=0, detected_at=received_at)
        self.ranges.append(reported)
        done = [m for m in self.ranges if not m.deadline]
        if len(done) > REMEMBERED:
            self.ranges.remove(done[0])
        return self._hole_of(reported)

    def _hole_of(self, missing: Missing) -> Hole:
        return Hole(
            self.number,
            missing.cause,
            missing.from_time,
            missing.to_time,
            missing.first,
            missing.last,
            missing.last - missing.first + 1,
            missing.detected_at,
        )

    def _unknown(self, cause: str, time: int, received_at: int) -> Hole:
        return Hole(self.number, cause, self.time, time, None, None, None, received_at)

    def state(self, stream: Stream, cause: str) -> TrackerState:
        """The tracker as it goes into a checkpoint."""
        return TrackerState(
            source=stream.source,
            channel=stream.channel,
            symbol=stream.symbol,
            expected=None if self.expected is UNSET else self.expected,
            time=self.time,
            last_from=self.last_from,
            fresh=self.expected is UNSET,
            flag=self.flag,
            cause=cause,
            ranges=tuple(self.ranges),
        )

    def restore(self, state: TrackerState) -> None:
        """Become what the checkpoint says."""
        self.expected = UNSET if state.fresh else state.expected
        self.time = state.time
        self.last_from = state.last_from
        self.flag = state.flag
        self.outstanding = state.cause
        self.ranges = list(state.ranges)


class Plain(Tracker):
    """The venue offers no proof: an interruption is a hole from the last record before to the first after."""

    __slots__ = ()

    def irregular(self, first: int | None, last: int | None, time: int, cause: str, received_at: int) -> Found:
        found = Found()
        if cause and not self.fresh:
            found.holes.append(self._unknown(cause, time, received_at))
        self.expected, self.time = first, time
        return found

    def rebase(self, last: int | None, time: int, closed: bool) -> None:
        self.expected, self.time = None, time


class Numbered(Tracker):
    """Ids run on: first and last id of each record."""

    __slots__ = ()
    step = 1

    def holds(self, first: int | None, last: int | None, time: int) -> bool:
        proven = None not in (first, last, self.expected) and self.expected is not UNSET
        return not proven and time <= self.time

    def irregular(self, first: int | None, last: int | None, time: int, cause: str, received_at: int) -> Found:
        found = Found()
        if first is None or last is None or self.expected is UNSET or self.expected is None:
            if cause and not self.fresh:
                found.holes.append(self._unknown(cause, time, received_at))
            self._follow(None if last is None else last + 1, time)
        elif last < self.expected:
            self._old(first, last, time, received_at, found)
        else:
            if first > self.expected:
                deadline = received_at + GRACE
                lost = Missing(self.expected, first - 1, self.time, time, cause or "sequence", deadline)
                self.ranges.append(lost)
            self._follow(last + 1, time)
        return found

    def _follow(self, expected: int | None, time: int) -> None:
        self.expected, self.time = expected, time

    def _old(self, first: int, last: int, time: int, received_at: int, found: Found) -> None:
        """An id below the expected one: late, repeated, or the venue numbers anew."""
        hit = next((m for m in self.ranges if m.first <= last and first <= m.last), None)
        if hit is not None:
            self._fill(hit, first, last, time, found)
            found.proof = False
        elif self._renumbered(last, time):
            found.holes += [self.report(m, received_at) for m in self.pending]
            hole = self._unknown("reset", time, received_at)
            found.holes.append(replace(hole, from_seq=self.expected - 1, to_seq=first))
            self.ranges.clear()
            self._follow(last + 1, time)
        else:
            found.drop = True
            found.proof = last == self.expected - 1

    def _renumbered(self, last: int, time: int) -> bool:
        """Whether a lower id is the first of new numbers."""
        return time > self.time + RESET_AFTER

    def _fill(self, hit: Missing, first: int, last: int, time: int, found: Found) -> None:
        """A late record: what is left of the range stays missing, closer around the record."""
        at = min(max(time, hit.from_time), hit.to_time)
        left: list[Missing] = []
        if hit.first < first:
            left.append(msgspec.structs.replace(hit, last=first - 1, to_time=at))
        if last < hit.last:
            left.append(msgspec.structs.replace(hit, first=last + 1, from_time=at))
        place = self.ranges.index(hit)
        self.ranges[place : place + 1] = left
        if not hit.deadline:
            found.refits.append(Refit(self._hole_of(hit), tuple(self._hole_of(m) for m in left)))

    def rebase(self, last: int | None, time: int, closed: bool) -> None:
        self.expected, self.time = None if last is None else last + 1, time


class Ordered(Numbered):
    """Ids rise, but not one by one: what lies between two ids is remembered, so that a record which another connection
    brings later is news and one that comes again is not, but it is no hole. Where the venue gives its last records
    again after a break, the last of ours among them proves that nothing is missing. `last_from`: the first id of all,
    where the database held nothing before it."""

    __slots__ = ()

    def irregular(self, first: int | None, last: int | None, time: int, cause: str, received_at: int) -> Found:
        if first is None or last is None or self.expected is UNSET or self.expected is None or last < self.expected:
            before, found = self.expected, super().irregular(first, last, time, cause, received_at)
            if self.expected != before:  # the first of all, or of new numbers
                self.last_from = first
            return found
        found = Found()
        if cause:
            hole = self._unknown(cause, time, received_at)
            found.holes.append(replace(hole, from_seq=self.expected - 1, to_seq=first))
        if first > self.expected:
            self.ranges.append(Missing(self.expected, first - 1, self.time, time, "", 0))
            del self.ranges[:-BETWEEN]
        self._follow(last + 1, time)
        return found

    def _renumbered(self, last: int, time: int) -> bool:
        """A repeat may look like news by its time, which some venues send without the day; not by its id: it is none of
        those before the first, and a venue that numbers anew begins far below."""
        below = self.expected // 2 if self.last_from is None else max(self.last_from, self.expected // 2)
        return super()._renumbered(last, time) and last < below

    def _fill(self, hit: Missing, first: int, last: int, time: int, found: Found) -> None:
        super()._fill(hit, first, last, time, found)
        found.refits.clear()  # there was no hole that could have become smaller


class Bars(Tracker):
    """One record per interval, revised until it is closed. `seq_from` is the bar's length in µs (0 unknown), `seq_to`
    1 when closed; `flag`: the newest bar was seen closed. Never on the hot path: bars are few."""

    __slots__ = ()

    def holds(self, first: int | None, last: int | None, time: int) -> bool:
        return False  # a revision replaces what is stored of the same bar

    def irregular(self, first: int | None, last: int | None, time: int, cause: str, received_at: int) -> Found:
        found = Found()
        closed, length = bool(last), first or 0
        if time > self.time:
            if cause and not self.fresh:
                self._skipped(time, length, cause, received_at, found)
            self.time, self.flag = time, closed
        elif time == self.time:
            self.flag = self.flag or closed
        else:
            found.proof = False
        return found

    def _skipped(self, time: int, length: int, cause: str, received_at: int, found: Found) -> None:
        """Bars between the newest one and this; the interrupted one counts unless it was seen closed."""
        unseen = (time - self.time) // length - 1 if length else None
        if self.flag and unseen == 0:
            return
        missing = None if unseen is None else unseen + (not self.flag)
        found.holes.append(replace(self._unknown(cause, time, received_at), missing=missing))

    def rebase(self, last: int | None, time: int, closed: bool) -> None:
        self.time, self.flag = time, closed
