"""Judges every stream in the order of its records: what is missing, what came twice, what cannot be trusted.

Owns the trackers of streams and the breaks of feeds. Pure: no clock, no socket, no database; equal sequences of
`Decoded` give equal verdicts, which is what makes replay from a checkpoint silent. Runs twice: in each feed, to
react (`Verdict.broken`), and in the writer, to record (holes, duplicates, suspect records). Never keeps a book, but
where a venue sends checksums of it; no checkpoint holds one, so after a restart ids alone decide until a snapshot.

How each kind of channel proves that nothing is missing (`recorder.venues.Continuity`):
numbered  ids run on; a jump is a range of missing ids, reported after GRACE unless late records fill it; an id the
          stream already holds is a duplicate (a venue may push the last trade again on every subscription).
ordered   ids rise: an id the stream already holds is a duplicate; a break is one hole of unknown size, unless the
          venue gives the stream's last record again after it.
chained   every record names the one before; anything else breaks the chain: one hole of unknown size, and the
          records are suspect until the next snapshot, of the stream or over REST.
bars      a break matters only when a bar was skipped, or the bar it interrupted was never seen closed.
none      a break of the connection is a hole from the last record before to the first after.

A line may be served by two connections for a while (`other_slot`), so that one can take over from the other. What the
stream holds already is dropped, and where both brought the stream at the same time there is no break.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from recorder.quality.book import Books, is_snapshot
from recorder.quality.chained import Chained
from recorder.quality.trackers import (
    GRACE,
    NEVER,
    UNSET,
    Bars,
    Checkpoint,
    Found,
    Hole,
    Missing,
    Numbered,
    Ordered,
    Plain,
    Refit,
    Tracker,
    decode_checkpoint,
    encode_checkpoint,
)
from recorder.records import Acknowledged, Closed, Control, Decoded, Rows, Shed, Stream, Streams
from recorder.venues import Continuity as Kind
from recorder.venues import other_slot

__all__ = ["GRACE", "Continuity", "Hole", "Missing", "Refit", "Verdict"]

# Which cause a hole gets when several things happened since the stream's last record: the first that applies.
PRIORITY = ("database_restored", "corrupt", "shed", "recorder_down", "rejected", "disconnect")

TRACKERS: dict[Kind, type[Tracker]] = {
    Kind.NUMBERED: Numbered,
    Kind.ORDERED: Ordered,
    Kind.CHAINED: Chained,
    Kind.BARS: Bars,
    Kind.NONE: Plain,
}


Record = tuple[int, int, int]  # first id, last id, time of a numbered record


@dataclass(slots=True)
class Verdict:
    """What one burst means for continuity. Lines are indexes into the table's `Rows`."""

    drop: dict[str, list[int]] = field(default_factory=dict)  # table -> duplicate lines
    suspect: dict[str, list[int]] = field(default_factory=dict)  # table -> lines of broken chains
    holes: list[Hole] = field(default_factory=list)
    refits: list[Refit] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)  # streams that need a (newer) snapshot since this burst


@dataclass(slots=True)
class Breaks:
    """The interruptions of one feed: `token` changes with each, `causes` says when each cause last struck."""

    run: str
    token: int
    causes: dict[str, int] = field(default_factory=dict)
    pending: set[int] = field(default_factory=set)  # streams with ranges in their grace
    accepted: dict[int, int] = field(default_factory=dict)  # stream -> received_at of the venue's agreement
    last_at: int = 0  # received_at of the last burst
    unbroken: int = NEVER  # the token until the last disconnection

    def cause(self, tracker: Tracker, feed: str) -> str:
        """Why records may be missing since the stream's last one; "" where nothing happened."""
        if tracker.token == self.token and tracker.feed == feed:
            return ""
        since = tracker.token if tracker.feed == feed else NEVER
        struck = {cause for cause, token in self.causes.items() if token > since} | {tracker.outstanding}
        return next((cause for cause in PRIORITY if cause in struck), "disconnect")


@dataclass(frozen=True, slots=True)
class _Look:
    """The rows under judgement and where the verdict goes."""

    table: str
    rows: Rows
    decoded: Decoded
    breaks: Breaks
    verdict: Verdict


class Continuity:
    """The trackers of all streams that one thread sees. `kind` tells how a stream proves itself."""

    def __init__(self, streams: Streams, kind: Callable[[Stream], Kind]) -> None:
        self._streams = streams
        self.kind = kind
        self._trackers: dict[int, Tracker] = {}
        self._feeds: dict[str, Breaks] = {}
        self._tokens = 0
        self._books = Books()

    # --- judging ---------------------------------------------------------------------------------------------------

    def observe(self, decoded: Decoded) -> Verdict:
        """Judge one burst. Must be called in the order of the spool, once for each burst of a feed."""
        breaks = self._feeds.get(decoded.feed)
        if breaks is None or breaks.run != decoded.run:
            breaks = self.interrupt(decoded.feed, decoded.run, "recorder_down")
        breaks.last_at = decoded.received_at
        verdict = Verdict()
        for table, rows in decoded.tables.items():
            look = _Look(table, rows, decoded, breaks, verdict)
            if rows.checks is not None:
                self._check(look, rows.checks)
                continue
            if self._books:
                self._books.forget(rows.streams)
            self._judge(look)
        for _, control in decoded.control:
            self._control(control, decoded, breaks)
        if breaks.pending:
            self._expire(breaks, decoded.received_at, verdict)
        return verdict

    def _control(self, control: Control, decoded: Decoded, breaks: Breaks) -> None:
        if isinstance(control, Shed):
            self.interrupt(decoded.feed, decoded.run, "shed")
        elif isinstance(control, Closed) and control.reason != "shutdown":
            unbroken = breaks.token
            self.interrupt(decoded.feed, decoded.run, "disconnect").unbroken = unbroken
        elif isinstance(control, Acknowledged):
            stream = Stream(decoded.feed.partition("/")[0], control.channel, control.symbol)
            breaks.accepted[self._streams.number(stream)] = decoded.received_at

    def _judge(self, look: _Look) -> None:
        """The hot loop: a record that follows on costs a look-up and two comparisons."""
        trackers, rows, feed, token = self._trackers, look.rows, look.decoded.feed, look.breaks.token
        seq_to, times = rows.seq_to, rows.times
        for i, (number, first) in enumerate(zip(rows.streams, rows.seq_from, strict=True)):
            tracker = trackers.get(number) or self._start(number, feed, token)
            if first == tracker.expected and tracker.token == token:
                last = seq_to[i]
                if last is not None:
                    tracker.expected = last + tracker.step
                tracker.time = times[i]
            else:
                self._irregular(tracker, i, look)

    def _check(self, look: _Look, checks: list[int]) -> None:
        """The same where a venue sends checksums of its books: each is verified, and one that is not the book's breaks
        the chain as a missing id does. A book that may lack something is forgotten, so that no alarm is false."""
        feed, token, rows = look.decoded.feed, look.breaks.token, look.rows
        lines = rows.data.split(b"\n")
        for i, number in enumerate(rows.streams):
            tracker = self._trackers.get(number) or self._start(number, feed, token)
            if not isinstance(tracker, Chained):
                self._irregular(tracker, i, look)
                continue
            interrupted, before = look.breaks.cause(tracker, feed), tracker.stands
            found = self._irregular(tracker, i, look)
            if found.drop:
                continue
            if (interrupted or found.suspect) and not is_snapshot(lines[i]):
                self._books.forget([number])
            elif self._books.agrees(number, lines[i], checks[i]) is False:
                self._note(tracker.refuted(before, look.decoded.received_at), tracker, i, look)

    def _irregular(self, tracker: Tracker, i: int, look: _Look) -> Found:
        rows, breaks = look.rows, look.breaks
        feed, received_at = look.decoded.feed, look.decoded.received_at
        cause = breaks.cause(tracker, feed)
        if tracker.feed == other_slot(feed) and not tracker.fresh:
            if tracker.holds(rows.seq_from[i], rows.seq_to[i], rows.times[i]):
                held = Found(proof=False, drop=True)
                self._note(held, tracker, i, look)
                return held
            cause = self._between(tracker, breaks, cause)
        found = tracker.irregular(rows.seq_from[i], rows.seq_to[i], rows.times[i], cause, received_at)
        if found.proof:
            tracker.token, tracker.feed, tracker.outstanding = breaks.token, feed, ""
        self._note(found, tracker, i, look)
        return found

    @staticmethod
    def _note(found: Found, tracker: Tracker, i: int, look: _Look) -> None:
        """Put what a record turned out to be into the verdict."""
        verdict, breaks = look.verdict, look.breaks
        if found.drop:
            verdict.drop.setdefault(look.table, []).append(i)
        if found.suspect:
            verdict.suspect.setdefault(look.table, []).append(i)
        if found.broken:
            verdict.broken.append(tracker.number)
        verdict.holes += found.holes
        verdict.refits += found.refits
        if tracker.pending:
            breaks.pending.add(tracker.number)

    def _between(self, tracker: Tracker, breaks: Breaks, cause: str) -> str:
        """Why records may be missing between two connections of a line; "" where both brought the stream at the same
        time: the venue had agreed to serve it on the second before the first one ended."""
        other, accepted = self._feeds.get(tracker.feed), breaks.accepted.get(tracker.number)
        if other is None or tracker.outstanding:
            return cause
        if accepted is not None and accepted <= other.last_at and tracker.token in (other.token, other.unbroken):
            return ""
        return other.cause(tracker, tracker.feed) or cause

    def _start(self, number: int, feed: str, token: int) -> Tracker:
        tracker = TRACKERS[self.kind(self._streams[number])](number, feed, token)
        self._trackers[number] = tracker
        self._books.forget([number])
        return tracker

    def _expire(self, breaks: Breaks, received_at: int, verdict: Verdict) -> None:
        for number in sorted(breaks.pending):
            tracker = self._trackers[number]
            verdict.holes += [tracker.report(m, received_at) for m in tracker.pending if m.deadline <= received_at]
            if not tracker.pending:
                breaks.pending.discard(number)

    def conclude(self, feed: str, now: int) -> list[Hole]:
        """Nothing more comes from this feed: the streams it brought last wait no longer for what is missing."""
        breaks = self._feeds.get(feed)
        waiting = sorted(breaks.pending) if breaks is not None else []
        mine = [tracker for number in waiting if (tracker := self._trackers[number]).feed == feed]
        return [tracker.report(missing, now) for tracker in mine for missing in tracker.pending]

    def interrupt(self, feed: str, run: str, cause: str) -> Breaks:
        """Something that may have cost records happened to a feed: every stream's next record is looked at twice."""
        breaks = self._feeds.setdefault(feed, Breaks(run, NEVER))
        breaks.run, breaks.token = run, self._next_token()
        breaks.causes[cause] = breaks.token
        breaks.accepted.clear()
        return breaks

    def suspect(self, number: int) -> bool:
        """Whether the chain of a stream is broken."""
        tracker = self._trackers.get(number)
        return isinstance(tracker, Chained) and tracker.flag

    def reject(self, number: int) -> int | None:
        """The venue no longer serves a stream: what follows its last record, if anything ever does, was refused to us.
        The time (µs) of that record; None where there is none."""
        tracker = self._trackers.get(number)
        if tracker is None or tracker.fresh:
            return None
        tracker.token, tracker.outstanding = self._next_token(), "rejected"  # what struck before is not to blame
        return tracker.time

    def known(self, number: int) -> bool:
        """Whether a stream ever had a record, as far as checkpoints tell; any thread may ask."""
        tracker = self._trackers.get(number)
        return tracker is not None and not tracker.fresh

    def refused(self, number: int) -> bool:
        """Whether a stream with records has brought none since the venue refused it."""
        tracker = self._trackers.get(number)
        return tracker is not None and tracker.outstanding == "rejected"

    # --- state -----------------------------------------------------------------------------------------------------

    def unknown(self, decoded: Decoded) -> list[int]:
        """The streams of a burst that no tracker knows yet."""
        seen = self._trackers
        return sorted({n for rows in decoded.tables.values() for n in rows.streams if n not in seen})

    def base(self, number: int, last: int | None, time: int, closed: bool = True) -> None:
        """Start a stream from what the database holds: its last record's id (None: no ids) and time."""
        tracker = self._start(number, "", NEVER)
        tracker.outstanding = "recorder_down"
        tracker.rebase(last, time, closed)

    def carried(self, feed: str) -> list[tuple[int, int]]:
        """The streams that a feed brought last, with the time (µs) up to which we know of every record."""
        mine = ((n, tracker) for n, tracker in sorted(self._trackers.items()) if tracker.feed == feed)
        return [(n, min([tracker.time, *(m.from_time for m in tracker.pending)])) for n, tracker in mine]

    def relearn(self, number: int, records: list[Record], reported: set[tuple[int, int]], now: int) -> None:
        """Records of a stream that the database holds and the spool does not give any more: seen, not judged. Ranges
        that are missing between them wait for their grace unless they are `reported` in the database already."""
        tracker = self._trackers[number]
        for first, last, time in records:
            late = any(m.first <= last and first <= m.last for m in tracker.pending)
            if late or tracker.expected is UNSET or last >= tracker.expected:
                tracker.irregular(first, last, time, "", now)
        for missing in tracker.pending:
            if (missing.first, missing.last) in reported:
                tracker.report(missing, now)
        breaks = self._feeds.get(tracker.feed)
        if breaks is not None and tracker.pending:
            breaks.pending.add(number)

    def dump(self, feed: str) -> bytes:
        """The state of every stream that this feed brought last; equal states give equal bytes."""
        breaks = self._feeds.get(feed)
        if breaks is None:
            return encode_checkpoint(Checkpoint("", []))
        mine = ((n, t) for n, t in sorted(self._trackers.items()) if t.feed == feed)
        states = [tracker.state(self._streams[n], breaks.cause(tracker, feed)) for n, tracker in mine]
        return encode_checkpoint(Checkpoint(breaks.run, states))

    def load(self, feed: str, state: bytes) -> None:
        """Take up a checkpoint. A stream that stands in two of them (it changed its feed) keeps the later state."""
        checkpoint = decode_checkpoint(state)
        breaks = self._feeds[feed] = Breaks(checkpoint.run, self._next_token())
        for item in checkpoint.streams:
            number = self._streams.number(Stream(item.source, item.channel, item.symbol))
            known = self._trackers.get(number)
            if known is None or known.time <= item.time:
                tracker = self._start(number, feed, NEVER if item.cause else breaks.token)
                tracker.restore(item)
                if tracker.pending:
                    breaks.pending.add(number)

    def _next_token(self) -> int:
        self._tokens += 1
        return self._tokens
