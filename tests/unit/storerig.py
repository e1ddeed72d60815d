"""What the tests of the writer's parts share: feeds with real spools on a disk in memory, a clock that moves when
somebody waits, and a database that holds positions and flushes, and fails on request.

Owns the fakes at the writer's seams; states no rule itself.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest

from recorder.capture.feedstate import FeedState
from recorder.capture.spool import Spool
from recorder.capture.spoolreader import Lost, SpoolReader
from recorder.config import Database
from recorder.observe.health import Beats
from recorder.observe.metrics import Metrics
from recorder.quality.continuity import Continuity
from recorder.records import Burst, Control, Decoded, Header, Kind, Stream, Streams, encode_control
from recorder.store import prepare as prepare_module
from recorder.store import writer as writer_module
from recorder.store.flush import Flush, Params, Position, moment
from recorder.store.isolate import Quarantined
from recorder.store.lane import Lane
from recorder.store.prepare import LastRecord, Preparation, Preparer, Tally
from recorder.store.sink import PositionMoved, Sink
from recorder.store.writer import Care, Writer
from recorder.venues import Continuity as Proof
from recorder.venues import Decoder, Limits
from tests.unit.feedrig import WALL, Toy
from tests.unit.spooldisk import Disk

ROOT = Path("/home/spool")
FEED = "toy/public/0"
SOURCE = "toy"
RECORDER = "6f1c8a5e-6f0e-4a55-9d3b-0a4c3f3f2b10"
TOY = Toy(Limits())
Event = Callable[[], object]


class Time:
    """The test's clock. Waiting for anything makes it pass; `at` says what happens on the way."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._events: list[tuple[float, int, Event]] = []

    def monotonic(self) -> float:
        return self.now

    def now_us(self) -> int:
        return WALL + round(self.now * 1e6)

    def at(self, after: float, event: Event) -> None:
        """Let something happen so many seconds from now."""
        self._events.append((self.now + after, len(self._events), event))
        self._events.sort(key=lambda one: one[:2])

    def due(self, until: float) -> bool:
        """Go on to the next event, or to `until` if there is none before it (False)."""
        if not self._events or self._events[0][0] > until:
            self.now = max(self.now, until)
            return False
        at, _, event = self._events.pop(0)
        self.now = max(self.now, at)
        event()
        return True

    def run(self, seconds: float) -> None:
        """Pass time with all that happens in it."""
        end = self.now + seconds
        while self.due(end):
            pass


class Items(queue.Queue[Decoded]):
    """The queue; waiting for an item passes the test's time."""

    def __init__(self, time: Time) -> None:
        super().__init__()
        self._time = time

    def get(self, block: bool = True, timeout: float | None = None) -> Decoded:
        end = self._time.now + (timeout or 0.0)
        while self.empty():
            if not block or not self._time.due(end):
                raise queue.Empty
        return super().get(block=False)


class Stopping:
    """The writer's stop event; waiting for it passes the test's time."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self._set = False
        self.waits = 0

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True

    def wait(self, timeout: float) -> bool:
        self.waits += 1
        end = self._time.now + timeout
        while not self._set and self._time.due(end):
            pass
        return self._set


class Store:
    """A database as the sink shows it: positions move by compare-and-set, flushes are kept. `trouble`: what the next
    calls of a method raise, one each; None lets one pass. `refused`: what the next commit says it set aside."""

    recorder_id = RECORDER
    deadline = 60.0

    def __init__(self) -> None:
        self.held: dict[str, Position] = {}
        self.checkpoints: dict[str, tuple[str, str, int, bytes, bool]] = {}
        self.streams: set[tuple[str, str, str]] = set()
        self.trouble: dict[str, deque[Exception | None]] = {}
        self.calls: list[str] = []
        self.attempts: list[Flush] = []
        self.flushes: list[Flush] = []
        self.refused: list[Quarantined] = []

    def fail(self, method: str, *errors: Exception | None) -> None:
        self.trouble.setdefault(method, deque()).extend(errors)

    def _call(self, method: str) -> None:
        self.calls.append(method)
        errors = self.trouble.get(method)
        error = errors.popleft() if errors else None
        if error is not None:
            raise error

    def connect(self) -> None:
        self._call("connect")

    def positions(self) -> dict[str, Position]:
        self._call("positions")
        return dict(self.held)

    def release(self) -> None:
        """The end of this instance; nothing to remember here."""

    def take_over(self, starts: dict[str, tuple[str, int]]) -> dict[str, Position]:
        self._call("take_over")
        for feed, (run, n) in starts.items():
            self.held.setdefault(feed, Position(feed, run, n, 0))
        self.held = {f: Position(f, p.run, p.next, p.epoch + 1) for f, p in self.held.items()}
        return dict(self.held)

    def rows(self, query: str, params: Params = ()) -> list[tuple[Any, ...]]:
        self._call(query)
        if query == "streams":
            return sorted(self.streams)
        assert (query, params) == ("checkpoints", (RECORDER,))
        return [self.checkpoints[feed] for feed in sorted(self.checkpoints)]

    def commit(self, flush: Flush) -> list[Quarantined]:
        self.attempts.append(flush)
        self._call("commit")
        for move in flush.moves:
            at = self.held[move.feed]
            if (at.run, at.next) != (move.run, move.next):
                raise PositionMoved(f"{move.feed} stands at {at}", dict(self.held), restored=False)
        for move in flush.moves:
            epoch = self.held[move.feed].epoch
            self.held[move.feed] = Position(move.feed, move.new_run, move.new_next, epoch)
        self.flushes.append(flush)
        for query, rows in flush.statements:
            for row in rows:
                self._say(query, row)
        refused, self.refused = self.refused, []
        return refused

    def _say(self, query: str, row: Params) -> None:
        if query == "upsert_checkpoint":
            _, feed, run, n, state = row
            self.checkpoints[feed] = (feed, run, n, state, False)
        elif query == "insert_stream":
            self.streams.add(row[:3])

    # --- what is in it -----------------------------------------------------------------------------------------------

    def lines(self, table: str = "trades") -> list[str]:
        """Every stored line, in the order of committing."""
        parts = (part for flush in self.flushes for part in flush.parts.get(table, ()))
        return [line.decode() for part in parts for line in part.rows.data.splitlines()]

    def numbers(self) -> list[int]:
        """The number of every stored trade."""
        return [int(line.split(" ")[4]) for line in self.lines()]

    def said(self, query: str) -> list[Params]:
        """The rows of every committed statement of this name."""
        return [row for flush in self.flushes for name, rows in flush.statements if name == query for row in rows]


class Past:
    """What the database holds of streams from before: nothing, unless a test says so."""

    def __init__(self) -> None:
        self.last: dict[Stream, LastRecord] = {}
        self.records: dict[Stream, list[tuple[int, int, int]]] = {}
        self.gaps: set[tuple[int, int]] = set()
        self.asked: list[tuple[str, Stream]] = []

    def last_record(self, stream: Stream) -> LastRecord | None:
        self.asked.append(("last", stream))
        return self.last.get(stream)

    def records_since(self, stream: Stream, time: int) -> list[tuple[int, int, int]] | None:
        self.asked.append(("since", stream))
        return self.records.get(stream)

    def gaps_since(self, stream: Stream, time: int) -> set[tuple[int, int]]:
        return self.gaps


def kind(stream: Stream) -> Proof:
    """How the toy's channels prove themselves."""
    channel = TOY.channel(stream.channel)
    return channel.continuity if channel is not None else Proof.NONE


def trade(n: int, symbol: str = "A") -> str:
    """A frame of the toy: trade number n."""
    return f"data trades {symbol} {n} {n}"


class Side:
    """One feed: its spool, what it shares with the writer, and its lane. A retired one has only its spool."""

    def __init__(self, rig: Rig, feed: str, *, retired: bool, share: int) -> None:
        self.rig = rig
        self.feed = feed
        header = Header("spool-id", feed, SOURCE, "toy", "/ws", {})
        self.spool = Spool(ROOT, header, files=rig.disk, segment_bytes=rig.segment_bytes)
        self.run = self.spool.run
        self.decoder = rig.decoder(self.spool.header)
        overflows = rig.metrics.queue_overflows(SOURCE)
        self.state = FeedState(feed, SOURCE, self.run, rig.items, lambda: share, overflows)
        reader = SpoolReader(ROOT, feed, None if retired else self.spool, rig.disk)
        self.lane = Lane(feed, SOURCE, reader, None if retired else self.state, rig.decoder)

    def append(self, *frames: str | Control) -> Decoded:
        """Spool a burst, without offering it yet."""
        control = not isinstance(frames[0], str)
        raw = [frame.encode() if isinstance(frame, str) else encode_control(frame) for frame in frames]
        code, at = Kind.CONTROL if control else Kind.TEXT, self.rig.time.now_us()
        return self.decoder.decode(Burst(self.spool.append(code, raw, at), at, code, raw))

    def receive(self, *frames: str | Control) -> Decoded:
        """Spool a burst and offer it, as a feed does."""
        decoded = self.append(*frames)
        self.state.offer(decoded)
        return decoded

    def trades(self, *numbers: int, symbol: str = "A") -> None:
        """A burst for each."""
        for n in numbers:
            self.receive(trade(n, symbol))

    def damage(self, frame: str, which: int = -1) -> None:
        """Flip a bit in the last (or the so-many-eth) segment that holds this frame."""
        found = [
            (name, data.index(frame.encode()))
            for name, data in sorted(self.rig.disk.files(self.spool.directory).items())
            if frame.encode() in data
        ]
        name, at = found[which]
        self.rig.disk.flip(self.spool.directory / name, 8 * at)


class Rig:
    """Feeds, queue, preparer and writer, with the test's clock in the writer's modules."""

    def __init__(self, patch: pytest.MonkeyPatch, **limits: Any) -> None:
        self.time = Time()
        patch.setattr(writer_module, "time", self.time)
        patch.setattr(writer_module, "now_us", self.time.now_us)
        patch.setattr(prepare_module, "now_us", self.time.now_us)
        self.limits = Database(**limits)
        self.disk = Disk()
        self.segment_bytes = 1 << 20
        self.items = Items(self.time)
        self.metrics = Metrics({SOURCE: ["trades", "books", "candles"]})
        self.store = Store()
        self.past = Past()
        self.beats = Beats(self.time.monotonic)
        self.released: list[float] = []
        self.short = False
        self.adopted = deque[bool]()
        self.sides: list[Side] = []
        self._renew()

    def _renew(self) -> None:
        self.streams = Streams()
        self.preparer = Preparer(
            RECORDER, self.streams, lambda: Continuity(self.streams, kind), self.past, self.metrics
        )

    def restart(self) -> None:
        """The process is killed and starts again: what it knew is forgotten, its feeds must be opened anew."""
        self.disk.kill()
        self.items = Items(self.time)
        self.sides = []
        self._renew()

    def decoder(self, header: Header) -> Decoder:
        return TOY.decoder(header, self.streams)

    def open(self, feed: str = FEED, *, retired: bool = False, share: int = 1 << 20) -> Side:
        side = Side(self, feed, retired=retired, share=share)
        self.sides.append(side)
        return side

    def retired(self, feed: str) -> Lane:
        """The lane of a feed that is no longer opened."""
        return Lane(feed, SOURCE, SpoolReader(ROOT, feed, None, self.disk), None, self.decoder)

    def writer(self, *more: Lane) -> Writer:
        """The writer of all feeds opened so far, not started: tests turn it by hand."""
        care = Care(self.beats, self._release, self._adopt)
        lanes = [*(side.lane for side in self.sides), *more]
        writer = Writer(lanes, self.items, cast(Sink, self.store), self.preparer, self.limits, care)
        writer._stopping = Stopping(self.time)  # type: ignore[assignment]
        return writer

    def _release(self, lanes: list[Lane]) -> bool:
        self.released.append(self.time.now)
        return self.short

    def _adopt(self) -> bool:
        return self.adopted.popleft() if self.adopted else False

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def live(rig: Rig, *sides: Side) -> Writer:
    """A writer that follows these feeds through the queue."""
    writer = rig.writer()
    writer.turn()
    assert all(side.state.live for side in sides)
    return writer


def turn_until(writer: Writer, done: Callable[[], bool], most: int = 200) -> None:
    """Turn until it is so."""
    for _ in range(most):
        if done():
            return
        writer.turn()
    raise AssertionError("it did not come about")


def new() -> Preparation:
    """A flush in the making."""
    return Preparation(Flush(), Tally())


def prepare(rig: Rig, *items: Decoded | Lost) -> Preparation:
    """One flush of these, of the rig's first feed."""
    to = new()
    rig.preparer.meet(to, [item for item in items if isinstance(item, Decoded)])
    for item in items:
        rig.preparer.add(to, rig.sides[0].lane, item)
    return to


def receive(rig: Rig, *frames: str | Control, after: float = 1.0) -> Decoded:
    """A burst of the rig's first feed, a while later."""
    rig.time.run(after)
    return rig.sides[0].append(*frames)


def at(decoded: Decoded) -> datetime:
    """When it came, as a parameter."""
    return moment(decoded.received_at)


def firsts(items: Sequence[Any]) -> list[int]:
    """Where bursts and lost ranges begin."""
    return [item.first for item in items]
