"""Turns decoded bursts into a flush: continuity judges, duplicates go, suspect lines are marked, control records
become statements.

Owns the continuity of record and what is counted once a flush is committed. Never touches the database: what it
must know of it (`base`) is asked through a function it is given. A flush is prepared once; its retries change nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from recorder.capture.spoolreader import Lost
from recorder.observe.metrics import Metrics
from recorder.observe.recent import Hole as Known
from recorder.observe.recent import Recent
from recorder.quality.continuity import Continuity, Hole, Verdict
from recorder.quality.trackers import decode_checkpoint
from recorder.records import Decoded, Rows, Stream, Streams, now_us
from recorder.store.chronicle import Chronicle
from recorder.store.flush import Flush, Params, Part, clean, moment
from recorder.store.isolate import Quarantined
from recorder.store.lane import Lane
from recorder.venues import Continuity as Kind

QUARANTINE_PER_BURST = 1000  # raw copies; the spool holds the rest


@dataclass(slots=True)
class Tally:
    """What the metrics, and whoever looks at recent gaps, get when the flush is committed, not before."""

    rows: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[tuple[str, str]] = field(default_factory=Counter)
    gaps: Counter[tuple[str, str]] = field(default_factory=Counter)
    gap_seconds: Counter[tuple[str, str]] = field(default_factory=Counter)
    quarantined: Counter[tuple[str, str]] = field(default_factory=Counter)
    holes: list[tuple[bool, Known]] = field(default_factory=list)  # recorded, or (False) filled

    def aside(self, source: str, frame: Quarantined) -> None:
        """A frame that the database refused: its rows are not stored."""
        self.quarantined[source, "database"] += 1
        for row in frame.rows:
            self.rows[row.table] -= 1
            self.gaps[source, "quarantined"] += 1

    def publish(self, metrics: Metrics, recent: Recent) -> None:
        """Count it, and show it."""
        for recorded, hole in self.holes:
            (recent.hole if recorded else recent.filled)(hole)
        for table, n in self.rows.items():
            metrics.rows_committed(table).inc(n)
        for family, counts in (
            (metrics.duplicates, self.duplicates),
            (metrics.gaps, self.gaps),
            (metrics.gap_seconds, self.gap_seconds),
            (metrics.quarantined, self.quarantined),
        ):
            for labels, n in counts.items():
                family(*labels).inc(n)


class Preparation:
    """One flush in the making."""

    def __init__(self, flush: Flush, tally: Tally) -> None:
        self.flush = flush
        self.tally = tally
        self.bytes = 0
        self.met = False  # a stream came that no checkpoint knows: what it still waits for would be forgotten

    def say(self, query: str, *params: Any) -> None:
        """Add a row to a statement; equal neighbours are sent together."""
        statements = self.flush.statements
        if statements and statements[-1][0] == query:
            statements[-1][1].append(params)
        else:
            rows: list[Params] = [params]
            statements.append((query, rows))


@dataclass(frozen=True, slots=True)
class LastRecord:
    """What the database holds of a stream: its newest record. `last`: its last id, None where there are none."""

    time: int
    last: int | None
    closed: bool


class Held(Protocol):
    """What the database holds of a stream. Asked only where no checkpoint can tell: a new data directory, a stale
    checkpoint, a spool that lost committed frames."""

    def last_record(self, stream: Stream) -> LastRecord | None:
        """Its newest record."""
        ...

    def records_since(self, stream: Stream, time: int) -> list[tuple[int, int, int]] | None:
        """First id, last id and time of its numbered records from `time` on; None for a stream without numbers."""
        ...

    def gaps_since(self, stream: Stream, time: int) -> set[tuple[int, int]]:
        """The ranges of ids that its gap rows name, from `time` on."""
        ...


class Preparer:
    """Prepares flushes in the committed order."""

    def __init__(
        self,
        recorder_id: str,
        streams: Streams,
        make_continuity: Callable[[], Continuity],
        database: Held,
        metrics: Metrics,
        recent: Recent | None = None,
    ) -> None:
        self.metrics = metrics
        self.recent = Recent() if recent is None else recent
        self.streams = streams
        self.continuity = make_continuity()
        self._recorder_id = recorder_id
        self._make_continuity = make_continuity
        self._database = database
        self._stored: set[Stream] = set()
        self._met: set[Stream] = set()
        self._chronicle = Chronicle(streams)

    def refused(self) -> set[Stream]:
        """The streams that the venue refuses; any thread may ask."""
        return self._chronicle.refused.copy()

    def aside(self, frames: list[Quarantined]) -> list[tuple[str, list[Params]]]:
        """Gap rows for records that the database refused: continuity took them for stored."""
        rows: list[Params] = []
        now = moment(now_us())
        for row in (row for frame in frames for row in frame.rows):
            stream = self.streams[row.stream]
            numbered = self.continuity.kind(stream) is Kind.NUMBERED
            first, last = (row.seq_from, row.seq_to) if numbered else (None, None)
            missing = last - first + 1 if first is not None and last is not None else None
            at = moment(row.time)
            key = (stream.source, stream.channel, stream.symbol)
            rows.append((*key, at, at, first, last, missing, "quarantined", "open", now, now))
        return [("insert_gap", rows)] if rows else []

    def forget(self) -> None:
        """Start anew: the database is not where we left it."""
        self.continuity = self._make_continuity()
        self._stored, self._met = set(), set()

    def know(self, streams: set[Stream]) -> None:
        """The streams that the database has rows of."""
        self._stored |= streams

    def rebase(self, state: bytes) -> None:
        """A stale checkpoint tells which streams there are; where they stand, the database knows."""
        for item in decode_checkpoint(state).streams:
            stream = Stream(item.source, item.channel, item.symbol)
            if stream in self._stored:
                self._base(stream)

    def checkpoint(self, to: Preparation, lane: Lane) -> None:
        """Put the continuity of a feed into the flush that moves its position to the cursor."""
        state = self.continuity.dump(lane.feed)
        to.say("upsert_checkpoint", self._recorder_id, lane.feed, lane.run, lane.next, state)
        lane.checkpointed = (lane.run, lane.next)

    def conclude(self, to: Preparation, lane: Lane) -> None:
        """A feed without a thread is drained: what it left open ends. Nothing moves here, so the flush may come twice
        and every statement must bear that."""
        now = now_us()
        for hole in self.continuity.conclude(lane.feed, now):
            self._refit(to, hole, (hole,), counted=True)
        at = moment(lane.reader.received_at(lane.run, lane.next - 1) or now)
        to.say("abandon_connections", at, lane.feed)
        to.say("end_feed_subscriptions", at, lane.source, lane.feed)
        self.checkpoint(to, lane)

    def _lost(self, to: Preparation, lane: Lane, lost: Lost) -> None:
        """Frames that the spool can no longer give: an event, and the cause of the holes that follow."""
        self.continuity.interrupt(lane.feed, lane.reading, "corrupt")
        at = moment(lane.watermark or now_us())
        upto = f"to {lost.next - 1}" if lost.next > lost.first else "to the end"
        message = f"frames {lost.first} {upto} of run {lane.reading}: {lost.reason}"
        to.say("insert_event", at, lane.source, lane.feed, "spool", "corrupt", clean(message))

    def replay(self, decoded: Decoded) -> None:
        """A burst that is committed already: continuity must know it, nobody else."""
        self.continuity.observe(decoded)

    def meet(self, to: Preparation, bursts: list[Decoded]) -> None:
        """Streams that nobody here knows: from the database, or new. Reads the database, so it may be tried again."""
        for decoded in bursts:
            for number in self.continuity.unknown(decoded):
                self._meet(to, self.streams[number], decoded)

    def _meet(self, to: Preparation, stream: Stream, decoded: Decoded) -> None:
        if stream in self._met:
            return
        if stream in self._stored:
            self._base(stream)
        else:
            mine = self.streams.number(stream)
            found = (pair for rows in decoded.tables.values() for pair in zip(rows.streams, rows.times, strict=True))
            first = min(time for number, time in found if number == mine)
            to.say("insert_stream", stream.source, stream.channel, stream.symbol, moment(first))
        self._met.add(stream)
        to.met = True

    def add(self, to: Preparation, lane: Lane, item: Decoded | Lost) -> None:
        """Put a burst into the flush, or the fact that one is lost."""
        if isinstance(item, Decoded):
            self._add(to, lane.source, item)
        else:
            self._lost(to, lane, item)

    def _add(self, to: Preparation, source: str, decoded: Decoded) -> None:
        verdict = self.continuity.observe(decoded)
        for table, rows in decoded.tables.items():
            self._rows(to, table, amend(table, rows, verdict), decoded)
        self._count_duplicates(to, decoded, verdict)
        for hole in verdict.holes:
            self._hole(to, hole)
        for refit in verdict.refits:
            self._refit(to, refit.old, refit.new)
        for stream in self._chronicle.write(to, self.continuity, source, decoded):
            to.tally.gaps[stream.source, "rejected"] += 1
        self._poison(to, source, decoded)

    def relearn(self, feed: str) -> None:
        """Between checkpoint and position the spool has a hole: what was committed there, the database tells."""
        for number, time in self.continuity.carried(feed):
            stream = self.streams[number]
            records = self._database.records_since(stream, time)
            if records is None:
                self._base(stream)
            else:
                self.continuity.relearn(number, records, self._database.gaps_since(stream, time), now_us())

    def _base(self, stream: Stream) -> None:
        last = self._database.last_record(stream)
        if last is not None:
            self.continuity.base(self.streams.number(stream), last.last, last.time, last.closed)

    def _rows(self, to: Preparation, table: str, rows: Rows, decoded: Decoded) -> None:
        if rows.count:
            to.flush.parts.setdefault(table, []).append(Part(decoded.feed, decoded.run, rows))
            to.tally.rows[table] += rows.count
            to.bytes += len(rows.data)

    def _count_duplicates(self, to: Preparation, decoded: Decoded, verdict: Verdict) -> None:
        for table, lines in verdict.drop.items():
            for i in lines:
                stream = self.streams[decoded.tables[table].streams[i]]
                to.tally.duplicates[stream.source, stream.channel] += 1

    def _hole(self, to: Preparation, hole: Hole, *, counted: bool = True) -> None:
        stream = self.streams[hole.stream]
        to.say(
            "insert_gap",
            *(stream.source, stream.channel, stream.symbol, moment(hole.from_time), moment(hole.to_time)),
            *(hole.from_seq, hole.to_seq, hole.missing, hole.cause, "open", moment(hole.detected_at)),
            moment(hole.detected_at),
        )
        to.tally.holes.append((True, known(stream, hole)))
        if counted:
            to.tally.gaps[stream.source, hole.cause] += 1
            seconds = max(0, hole.to_time - hole.from_time) / 1e6
            to.tally.gap_seconds[stream.source, hole.cause] += seconds  # type: ignore[assignment]

    def _refit(self, to: Preparation, old: Hole, new: tuple[Hole, ...], *, counted: bool = False) -> None:
        stream = self.streams[old.stream]
        to.say("delete_gap", stream.source, stream.channel, stream.symbol, old.from_seq, old.to_seq)
        to.tally.holes.append((False, known(stream, old)))
        for hole in new:
            self._hole(to, hole, counted=counted)

    def _poison(self, to: Preparation, source: str, decoded: Decoded) -> None:
        at = moment(decoded.received_at)
        for poison in decoded.poison[:QUARANTINE_PER_BURST]:
            frame = f"{decoded.run}/{poison.frame}"
            to.say("insert_quarantine", at, source, decoded.feed, frame, poison.reason, poison.raw)
        for poison in decoded.poison:
            to.tally.quarantined[source, poison.reason] += 1


def known(stream: Stream, hole: Hole) -> Known:
    """A hole as people are shown it."""
    times = (hole.from_time, hole.to_time)
    return Known(stream.source, stream.channel, stream.symbol, hole.cause, *times, hole.missing, hole.detected_at)


def amend(table: str, rows: Rows, verdict: Verdict) -> Rows:
    """The rows without duplicates, lines of broken chains marked. Rare: most bursts pass through untouched."""
    drop, suspect = set(verdict.drop.get(table, ())), set(verdict.suspect.get(table, ()))
    if not drop and not suspect:
        return rows
    lines = rows.data.split(b"\n")
    keep = [i for i in range(rows.count) if i not in drop]
    kept = [_suspect(lines[i]) if i in suspect else lines[i] for i in keep]
    return Rows(
        b"".join(line + b"\n" for line in kept),
        [rows.streams[i] for i in keep],
        [rows.seq_from[i] for i in keep],
        [rows.seq_to[i] for i in keep],
        [rows.times[i] for i in keep],
        [rows.frames[i] for i in keep],
    )


def _suspect(line: bytes) -> bytes:
    """`integrity` is the last column but one of books."""
    head, _, origin = line.rsplit(b"\t", 2)
    return head + b"\tsuspect\t" + origin
