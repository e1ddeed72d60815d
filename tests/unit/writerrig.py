"""A writer with everything around it replaced but the spool: a database in memory that fails on request, a disk in
memory, one feed. Turns are taken by the test, so nothing happens unseen.

Frames are words: `CHANNEL FIRST LAST TIME`; the channel says how its stream proves itself.
"""

from __future__ import annotations

import queue
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from recorder.capture.feedstate import FeedState
from recorder.capture.segments import feed_directory
from recorder.capture.spool import Spool
from recorder.capture.spoolreader import SpoolReader
from recorder.config import Database
from recorder.errors import SinkUnavailable
from recorder.observe.health import Beats
from recorder.observe.metrics import Metrics
from recorder.quality.continuity import Continuity
from recorder.records import Burst, Control, Decoded, Header, Rows, Stream, Streams, decode_control, encode_control
from recorder.records import Kind as Frame
from recorder.store.flush import Flush, Params, Position
from recorder.store.isolate import Quarantined
from recorder.store.lane import Lane
from recorder.store.prepare import LastRecord, Preparer
from recorder.store.sink import Sink
from recorder.store.verdict import settle
from recorder.store.writer import Care, Writer
from recorder.venues import Continuity as Kind
from tests.unit.spoolcases import ROOT
from tests.unit.spooldisk import Disk

SECOND = 1_000_000
KINDS = {"trades": Kind.NUMBERED, "books": Kind.CHAINED, "candles": Kind.BARS, "tickers": Kind.NONE}
Record = tuple[str, int, int, int]  # channel, first, last, time


class Bank(Sink):
    """The database. `script`: what the next commits do: "away", "lost reply", or a call before one that succeeds."""

    def __init__(self) -> None:
        super().__init__("", "me", "boot", raw=lambda feed, run, n: None)
        self.held: dict[str, Position] = {}
        self.marks: dict[str, int] = {}
        self.stored: list[Record] = []
        self.gaps: list[tuple[Any, ...]] = []
        self.states: dict[str, tuple[str, str, int, bytes, bool]] = {}
        self.known: set[tuple[str, ...]] = set()
        self.said: list[tuple[str, Params]] = []
        self.script: deque[str | Callable[[], object]] = deque()

    def connect(self) -> None:
        """Always there."""

    def positions(self) -> dict[str, Position]:
        return dict(self.held)

    def release(self) -> None:
        """The end of this instance; nothing to remember here."""

    def take_over(self, starts: dict[str, tuple[str, int]]) -> dict[str, Position]:
        for feed, (run, n) in starts.items():
            self.held.setdefault(feed, Position(feed, run, n, 0))
        self.held = {feed: replace(at, epoch=at.epoch + 1) for feed, at in self.held.items()}
        self._epochs = {feed: at.epoch for feed, at in self.held.items()}
        return dict(self.held)

    def rows(self, query: str, params: Params = ()) -> list[tuple[Any, ...]]:
        return list(self.known) if query == "streams" else list(self.states.values())

    def commit(self, flush: Flush) -> list[Quarantined]:
        step = self.script.popleft() if self.script else ""
        if callable(step):
            step()
        if step == "away":
            raise SinkUnavailable("away")
        if any(self.held.get(m.feed) != Position(m.feed, m.run, m.next, self._epochs[m.feed]) for m in flush.moves):
            settle(flush.moves, self.held, self._epochs)
            return []
        self._apply(flush)
        if step == "lost reply":
            raise SinkUnavailable("reply lost")
        return []

    def _apply(self, flush: Flush) -> None:
        for move in flush.moves:
            self.held[move.feed] = Position(move.feed, move.new_run, move.new_next, self._epochs[move.feed])
            self.marks[move.feed] = move.watermark
        for parts in flush.parts.values():
            self.stored += [read(line) for part in parts for line in part.rows.data.splitlines()]
        for name, rows in flush.statements:
            for params in rows:
                self._say(name, params)

    def _say(self, name: str, params: Params) -> None:
        self.said.append((name, params))
        if name == "insert_gap":
            self.gaps.append(params)
        elif name == "delete_gap":
            self.gaps = [gap for gap in self.gaps if (*gap[:3], *gap[5:7]) != params]
        elif name == "upsert_checkpoint":
            at = self.held.get(params[1])
            if at is not None and (at.run, at.next) == params[2:4]:
                self.states[params[1]] = (params[1], params[2], params[3], params[4], False)
        elif name == "insert_stream":
            self.known.add(params[:3])

    # --- what continuity asks ---

    def _of(self, stream: Stream, time: int = -1) -> list[Record]:
        return [r for r in self.stored if r[0] == stream.channel and r[3] >= time]

    def last_record(self, stream: Stream) -> LastRecord | None:
        """As `Held`."""
        found = self._of(stream)
        if not found:
            return None
        _, _, last, time = max(found, key=lambda record: (record[3], record[2]))
        return LastRecord(time, last if KINDS[stream.channel] in (Kind.NUMBERED, Kind.CHAINED) else None, bool(last))

    def records_since(self, stream: Stream, time: int) -> list[tuple[int, int, int]] | None:
        """As `Held`."""
        if KINDS[stream.channel] is not Kind.NUMBERED:
            return None
        return sorted((first, last, at) for _, first, last, at in self._of(stream, time))

    def gaps_since(self, stream: Stream, time: int) -> set[tuple[int, int]]:
        """As `Held`."""
        return {(gap[5], gap[6]) for gap in self.gaps if gap[1] == stream.channel and gap[5] is not None}

    # --- what the tests ask ---

    def ids(self) -> list[int]:
        """Numbers of the stored trades."""
        return [n for channel, first, last, _ in self.stored if channel == "trades" for n in range(first, last + 1)]

    def holes(self, channel: str = "trades") -> list[tuple[str, int | None, int | None, int | None]]:
        """Cause, first and last missing, how many."""
        return [(gap[8], gap[5], gap[6], gap[7]) for gap in self.gaps if gap[1] == channel]


def read(line: bytes) -> Record:
    """A line as it was sent."""
    channel, first, last, time, *_ = line.decode().split()
    return channel, int(first), int(last), int(time)


class Words:
    """Decodes frames of words."""

    def __init__(self, header: Header, streams: Streams) -> None:
        self._header = header
        self._streams = streams

    def skim(self, burst: Burst) -> Decoded:
        """The writer never asks for it."""
        raise NotImplementedError

    def decode(self, burst: Burst) -> Decoded:
        """Never fails: the tests write no other frames."""
        out = Decoded(self._header.feed, self._header.run, burst.first, burst.next, burst.received_at)
        for n, frame in enumerate(burst.frames, burst.first):
            if burst.kind is Frame.CONTROL:
                out.control.append((n, decode_control(frame)))
                continue
            channel, first, last, time = read(frame)
            rows = out.tables.setdefault(channel, Rows(b"", [], [], [], [], []))
            rows.data += frame + (b"\tverified\tstream\n" if channel == "books" else b"\n")
            rows.streams.append(self._streams.number(Stream(self._header.source, channel, "x")))
            rows.seq_from.append(first if channel != "tickers" else None)
            rows.seq_to.append(last if channel != "tickers" else None)
            rows.times.append(time)
            rows.frames.append(n)
        return out


class Stage:
    """A feed, its spool and the writer. `restart` is a kill unless `clean`; the bank and the disk stay."""

    def __init__(self, feed: str = "f/0") -> None:
        self.feed = feed
        self.disk = Disk()
        self.bank = Bank()
        self.now = 1_700_000_000 * SECOND
        self.monotonic = 0.0  # of the beats only
        self.limits = Database(flush_age=0.001)
        self.duplicates: Counter[str] = Counter()
        self._open()

    def _open(self) -> None:
        self.streams = Streams()
        self.metrics = Metrics({"f": ["trades"]})
        self.beats = Beats(lambda: self.monotonic)
        self.items: queue.Queue[Decoded] = queue.Queue()
        self.header = Header("spool-id", self.feed, "f", "toy", "/", {})
        self.spool = Spool(ROOT, self.header, files=self.disk)
        self.decoder = Words(self.spool.header, self.streams)
        overflows = self.metrics.queue_overflows("f")
        self.state = FeedState(self.feed, "f", self.spool.run, self.items, lambda: 1 << 20, overflows)
        reader = SpoolReader(ROOT, self.feed, self.spool, self.disk)
        self.lane = Lane(self.feed, "f", reader, self.state, self.make_decoder)
        self.write_with([self.lane])

    def make_decoder(self, header: Header) -> Words:
        """Of a run."""
        return Words(header, self.streams)

    def write_with(self, lanes: list[Lane]) -> None:
        """A new writer for these lanes."""
        self.preparer = Preparer("me", self.streams, self._continuity, self.bank, self.metrics)
        care = Care(self.beats, lambda lanes: False, lambda: False)
        self.writer = Writer(lanes, self.items, self.bank, self.preparer, self.limits, care)

    def _continuity(self) -> Continuity:
        return Continuity(self.streams, lambda stream: KINDS[stream.channel])

    def restart(self, clean: bool = False) -> None:
        """The process ends and comes back."""
        if clean:
            self.spool.close()
        self.disk.kill()
        self._open()

    def receive(self, *frames: str, after: int = SECOND) -> None:
        """A burst of one channel's frames."""
        self._append(Frame.TEXT, [frame.encode() for frame in frames], after)

    def trades(self, *ids: int, after: int = SECOND) -> None:
        """A burst of trades; their time is when they came."""
        self.receive(*[f"trades {n} {n} {self.now + after}" for n in ids], after=after)

    def note(self, control: Control, after: int = SECOND) -> None:
        """A control record."""
        self._append(Frame.CONTROL, [encode_control(control)], after)

    def _append(self, kind: Frame, frames: list[bytes], after: int) -> None:
        self.now += after
        first = self.spool.append(kind, frames, self.now)
        self.state.offer(self.decoder.decode(Burst(first, self.now, kind, frames)))

    def settle(self, turns: int = 30) -> None:
        """Turn until the database has everything."""
        for _ in range(turns):
            self.writer.turn()
            if self.state.uncommitted_at is None and self.state.live:
                return
        raise AssertionError(f"not at head after {turns} turns: {self.lane.run}/{self.lane.next}")

    def damage(self, frame: str) -> None:
        """Turn a bit of a frame on the disk; what was read before is forgotten."""
        directory = feed_directory(ROOT, self.feed)
        for name, data in self.disk.files(directory).items():
            at = data.find(frame.encode())
            if at >= 0:
                self.disk.flip(directory / name, 8 * at)
                return
        raise AssertionError(f"{frame} is not on the disk")

    def at(self) -> tuple[str, int]:
        """The position in the database."""
        found = self.bank.held[self.feed]
        return found.run, found.next
