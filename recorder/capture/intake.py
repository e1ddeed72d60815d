"""What a feed has received on its way into the recorder: spooled first, then decoded, then offered to the writer.

Owns the order (everything appended is offered, in the order of its numbers) and the counters of what came. Never
reads a socket and never reacts: what the venue answered is handed back to whoever asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from loguru import logger

from recorder.capture.feedstate import FeedState
from recorder.capture.spool import SpoolFull
from recorder.observe.metrics import Metrics
from recorder.observe.recent import Recent
from recorder.records import Alive, Burst, Control, Decoded, Kind, Rows, Shed, Streams, encode_control, now_us
from recorder.venues import Channel, Continuity, Decoder

ALIVE_EVERY = 10.0


class Appending(Protocol):
    """What is needed of a spool."""

    @property
    def next(self) -> int:
        """The number that the next frame will get."""

    def append(self, kind: Kind, frames: Sequence[bytes], received_at: int) -> int:
        """Append a burst; the number of its first frame."""


class Tap(Protocol):
    """Whoever wants to see bursts go by. With nobody there a burst costs a look at `wanted`."""

    wanted: bool

    def passed(self, decoded: Decoded, live: bool) -> None:
        """A burst was offered whole and the writer follows (`live`), or was left to the spool. Must not wait, and must
        not change it."""


class Nobody:
    """A tap that nobody has put a pipe to."""

    wanted = False

    def passed(self, decoded: Decoded, live: bool) -> None:
        """Never called."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The two clocks of a feed: `monotonic` for durations, `now_us` for received_at and nothing else."""

    monotonic: Callable[[], float] = time.monotonic
    now_us: Callable[[], int] = now_us


@dataclass(frozen=True, slots=True)
class Outlet:
    """Where a feed's bursts go, who counts them, and who looks on."""

    spool: Appending
    decoder: Decoder
    state: FeedState
    streams: Streams
    metrics: Metrics
    recent: Recent = field(default_factory=Recent)
    tap: Tap = field(default_factory=Nobody)


class Intake:
    """One feed's way in. `lost`: frames that the disk had no room for since the last burst that it took;
    `last_data`: channel -> when its last data message came (monotonic)."""

    def __init__(self, outlet: Outlet, channel: Callable[[str], Channel | None], clock: Clock) -> None:
        self._spool, self._decoder, self._state = outlet.spool, outlet.decoder, outlet.state
        self._streams = outlet.streams
        self._metrics = outlet.metrics
        self._recent, self._tap = outlet.recent, outlet.tap
        self._channel = channel
        self._clock = clock
        self._source = outlet.state.source
        self._bytes = outlet.metrics.received_bytes(self._source)
        self._latency: dict[int, Callable[[float], None]] = {}
        self._alive_at = clock.monotonic()
        self.last_data: dict[str, float] = {}
        self.lost = 0

    def take(self, kind: Kind, frames: list[bytes], at: int, whole: bool = True) -> Decoded:
        """A burst from the venue. Decoded even if the disk has no room for it, for the answers in it; while the writer
        takes it from the spool, only as far as the feed must know it, unless somebody wants it `whole`."""
        self._bytes.inc(sum(map(len, frames)))
        decoded, live = self._take(kind, frames, at, whole)
        if decoded.events:
            self._recent.said(self._source, self._state.feed, at, decoded.events)
        if self._tap.wanted:
            self._tap.passed(decoded, live)
        return decoded

    def _take(self, kind: Kind, frames: list[bytes], at: int, whole: bool) -> tuple[Decoded, bool]:
        """And whether it went whole into the queue."""
        if self._state.shedding or not self._own_up():
            return self._shed(Burst(self._spool.next, at, kind, frames)), False
        try:
            first = self._spool.append(kind, frames, at)
        except SpoolFull:
            self._tell("the spool's disk is full")
            return self._shed(Burst(self._spool.next, at, kind, frames)), False
        self._tell("")
        burst = Burst(first, at, kind, frames)
        if not whole and not self._state.live:
            decoded = self._decoder.skim(burst)
            if self._state.pass_by(decoded):
                self._count(decoded)
                return decoded, False
        decoded = self._decoder.decode(burst)
        self._state.offer(decoded)
        self._count(decoded)
        return decoded, self._state.live

    def _own_up(self) -> bool:
        """There is room again, or none was missing: what was lost is noted before the next burst, so that it becomes
        gaps. False where there is still no room."""
        if self.lost and self.note(Shed(self.lost)):
            self.lost = 0
        return not self.lost

    def _tell(self, full: str) -> None:
        """Say that the disk takes nothing, or something again; once each."""
        if self._state.disk_full != full:
            self._state.disk_full = full
            word = self._state.trouble or "the spool's disk has room again"
            logger.bind(event="spool.full", feed=self._state.feed).warning("{}: {}", self._state.feed, word)

    def _shed(self, burst: Burst) -> Decoded:
        """What could not be kept is counted by channel, and becomes a gap: see `_own_up`."""
        decoded = self._decoder.decode(burst)
        self.lost += len(burst.frames)
        for channel, count in decoded.messages.items():
            self._metrics.messages_received(self._source, channel).inc(count)
            self._metrics.shed_messages(self._source, channel).inc(count)
        decoded.tables.clear()
        return decoded

    def _count(self, decoded: Decoded) -> None:
        now = self._clock.monotonic()
        for channel, count in decoded.messages.items():
            self._metrics.messages_received(self._source, channel).inc(count)
            self.last_data[channel] = now
        for channel, count in decoded.drift.items():
            self._metrics.schema_drift(self._source, channel).inc(count)
        for rows in decoded.tables.values() if decoded.messages else ():  # an answer over REST is no delay of a stream
            self._delay(rows, decoded.received_at)

    def _delay(self, rows: Rows, received_at: int) -> None:
        """How old the newest record of a burst was; one sample for each table, for a histogram costs 1 µs."""
        if not rows.times:
            return
        number = rows.streams[-1]
        observe = self._latency.get(number)
        if observe is None:
            observe = self._latency[number] = self._observer(number)
        observe((received_at - rows.times[-1]) / 1e6)

    def _observer(self, number: int) -> Callable[[float], None]:
        stream = self._streams[number]
        channel = self._channel(stream.channel)
        if channel is None or channel.continuity is Continuity.BARS:
            return _ignore  # a bar's time is when it opened: that says nothing about its way here
        observe: Callable[[float], None] = self._metrics.venue_latency(stream.source, stream.channel).observe
        return observe

    # --- what the feed itself has to say ---------------------------------------------------------------------------

    def note(self, record: Control) -> bool:
        """A control record, in order with the frames. Where the disk has no room even for that, it is dropped
        (False): the reason for it is in the metrics, and the next connection is noted again."""
        raw, at = encode_control(record), self._clock.now_us()
        self._recent.noted(self._source, self._state.feed, at, record)
        try:
            first = self._spool.append(Kind.CONTROL, [raw], at)
        except SpoolFull:
            return False
        self._state.offer(self._decoder.decode(Burst(first, at, Kind.CONTROL, [raw])))
        return True

    def alive(self) -> None:
        """The feed's thread is running: noted every 10 s, whatever else it does."""
        now = self._clock.monotonic()
        if now >= self._alive_at:
            self._alive_at = now + ALIVE_EVERY
            self.note(Alive())


def _ignore(_: float) -> None:
    """Not worth a sample."""
