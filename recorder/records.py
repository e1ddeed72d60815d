"""What a record of each table is, and how it becomes a COPY line.

Owns the data tables' column order, the text form of times and strings, the numbers of streams, and `Decoded`,
the one object that travels through the queue. Never opens a socket, a file or a database connection.

Times are microseconds since 1970 UTC (`int`) everywhere inside the process; PostgreSQL keeps no more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, IntEnum
from functools import lru_cache

# Control records are imported from here, too: they travel in `Decoded`.
from recorder.control import Acknowledged as Acknowledged
from recorder.control import Alive as Alive
from recorder.control import Closed as Closed
from recorder.control import Control as Control
from recorder.control import Ended as Ended
from recorder.control import Failed as Failed
from recorder.control import Heard as Heard
from recorder.control import Opened as Opened
from recorder.control import Rejected as Rejected
from recorder.control import Shed as Shed
from recorder.control import Silent as Silent
from recorder.control import Subscribed as Subscribed
from recorder.control import decode_control as decode_control
from recorder.control import encode_control as encode_control

NULL = r"\N"


@dataclass(frozen=True, slots=True)
class Table:
    """A data table: its columns in COPY order. Every one begins with the five common columns."""

    name: str
    columns: tuple[str, ...]


COMMON = ("time", "received_at", "source", "channel", "symbol")


def _table(name: str, *columns: str) -> Table:
    return Table(name, COMMON + columns)


TABLES: dict[str, Table] = {
    t.name: t
    for t in (
        _table("trades", "price", "size", "side", "trade_id", "count", "seq", "turnover", "origin"),
        _table("quotes", "bid_price", "bid_size", "ask_price", "ask_size", "seq"),
        _table(
            "tickers",
            *("last_price", "last_size", "bid_price", "bid_size", "ask_price", "ask_size", "open_24h"),
            *("high_24h", "low_24h", "volume_24h", "turnover_24h", "open_interest"),
        ),
        _table("books", "kind", "seq", "prev_seq", "bids", "asks", "integrity", "origin"),
        _table("candles", "interval", "open", "high", "low", "close", "volume", "turnover", "closed", "origin"),
        _table("funding_rates", "rate", "next_rate", "funding_time", "next_funding_time"),
        _table("open_interest", "contracts", "amount", "value_usd"),
        _table("reference_prices", "kind", "price"),
        _table("liquidations", "side", "position_side", "price", "size"),
        _table("messages", "payload"),
    )
}


# --- text ------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    """`YYYY-MM-DD HH:MM:SS.` of a second; neighbours share it, so a cache makes a stamp cost 0.2 µs."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S.")


def stamp(us: int) -> str:
    """Text of a time in microseconds, as PostgreSQL reads it: `2026-11-21 09:30:00.123456+00`."""
    seconds, rest = divmod(us, 1_000_000)
    return f"{_second(seconds)}{rest:06d}+00"


_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def text(value: str) -> str:
    """A string as one COPY field. NUL must have been refused before: PostgreSQL cannot store it."""
    return value.translate(_ESCAPES)


def now_us() -> int:
    """The wall clock in microseconds."""
    return time.time_ns() // 1000


# --- streams ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class Stream:
    """One kind of data of one instrument at one source: the unit of continuity, gaps and coverage."""

    source: str
    channel: str
    symbol: str


class Streams:
    """Numbers streams, so that lines carry an `int` instead of three strings. Shared by all threads; never forgets."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: dict[Stream, int] = {}
        self._streams: list[Stream] = []

    def number(self, stream: Stream) -> int:
        """The stream's number; a new one gets the next."""
        found = self._numbers.get(stream)
        if found is not None:
            return found
        with self._lock:
            if stream not in self._numbers:
                self._streams.append(stream)
                self._numbers[stream] = len(self._streams) - 1
            return self._numbers[stream]

    def __getitem__(self, number: int) -> Stream:
        return self._streams[number]

    def __len__(self) -> int:
        return len(self._streams)


# --- what the spool holds ------------------------------------------------------------------------------------------


class Kind(IntEnum):
    """What the frames of one burst are. A burst holds frames of one kind only; numbers stand in the spool's format."""

    TEXT = 0
    BINARY = 1
    CONTROL = 2
    REST = 3


@dataclass(frozen=True, slots=True)
class Header:
    """What every segment of a run says about itself; all that a decoder needs beside the frames.

    `options` are the source's venue options without secrets. `run` is `<ordinal>-<random hex>`; `previous_run` is
    empty in the first run, `previous_next` is the number after the last good frame of the previous run as found
    when this run was opened.
    """

    spool_id: str
    feed: str
    source: str
    venue: str
    path: str
    options: dict[str, str]
    run: str = ""
    run_ordinal: int = 0
    previous_run: str = ""
    previous_next: int = 0


@dataclass(frozen=True, slots=True)
class Burst:
    """Frames that were read in one go: numbers `first` … `first + len(frames) - 1`, one `received_at`."""

    first: int
    received_at: int
    kind: Kind
    frames: list[bytes]

    @property
    def next(self) -> int:
        """The number after the last frame."""
        return self.first + len(self.frames)


# --- what a venue answers --------------------------------------------------------------------------------------------


class Reaction(Enum):
    """What an error code of a venue makes the feed do (design: "Venue reactions"). Every code has exactly one."""

    NONE = "none"  # counted, stored, harmless
    RETRY = "retry"  # leave the connection and come back after the backoff
    RESUBSCRIBE = "resubscribe"  # ask again on the same connection, after a pause
    DROP = "drop"  # give this subscription up and say so
    SLOW_DOWN = "slow_down"  # keep the connection, send less
    PARK = "park"  # bad key or quota: three attempts in the first minute, then one probe in 15 minutes
    HAND_OVER = "hand_over"  # open the next connection before this one is closed


@dataclass(frozen=True, slots=True)
class Ack:
    """The venue accepted a subscription (or, `ended`, its end). `request`: our id, where the venue echoes that instead
    of naming what was asked for; then it accepted all of the request."""

    channel: str = ""
    symbol: str = ""
    ended: bool = False
    request: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The venue answered with an error. `request` is our id where the venue echoes it; channel and symbol if told."""

    code: str
    message: str
    reaction: Reaction = Reaction.NONE
    request: str = ""
    channel: str = ""
    symbol: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """The venue announced something (maintenance, hand-over)."""

    code: str
    message: str
    reaction: Reaction = Reaction.NONE


@dataclass(frozen=True, slots=True)
class Pong:
    """The reply to our heartbeat."""


Reply = Ack | Refusal | Notice | Pong


# --- the object that travels -------------------------------------------------------------------------------------


SNAPSHOT = -1  # previous id of a whole book that came over the stream
ANSWER = -2  # of one that was asked for over REST: it stands beside the chain


@dataclass(slots=True)
class Rows:
    """Finished COPY lines of one table, and per line what continuity, isolation and gaps need to know.

    What `seq_from` and `seq_to` mean depends on the channel's `Continuity` (recorder.venues):
    numbered: first and last id of the record; chained: previous and own id, with SNAPSHOT or ANSWER for the previous
    one of a whole book; bars: length of the bar in microseconds (0 unknown) and 1 when closed, else 0. `None` where
    the venue sent nothing of the kind.
    """

    data: bytes
    streams: list[int]
    seq_from: list[int | None]
    seq_to: list[int | None]
    times: list[int]
    frames: list[int]
    checks: list[int] | None = None  # checksums of the book after each line, 0 for none; None where the venue sent none

    @property
    def count(self) -> int:
        """How many lines `data` holds."""
        return len(self.streams)


@dataclass(frozen=True, slots=True)
class Poison:
    """A frame that could not become rows."""

    frame: int
    reason: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Event:
    """Something the venue said about itself: an error, a notice, a status. Becomes a row of `venue_events`."""

    frame: int
    code: str
    action: str
    message: str


@dataclass(slots=True)
class Decoded:
    """Everything one burst of one feed has to say: frames `first` … `next`-1 of `run`; positions stand on these."""

    feed: str
    run: str
    first: int
    next: int
    received_at: int
    tables: dict[str, Rows] = field(default_factory=dict)
    control: list[tuple[int, Control]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    poison: list[Poison] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    messages: dict[str, int] = field(default_factory=dict)  # channel -> data messages in this burst
    drift: dict[str, int] = field(default_factory=dict)  # channel -> messages with unknown fields or kinds

    @property
    def rows(self) -> int:
        """How many rows the burst will store."""
        return sum(t.count for t in self.tables.values())

    @property
    def size(self) -> int:
        """Bytes to account for in the queue: the lines, and ~160 bytes of lists and numbers a row (measured)."""
        return (
            400 + sum(len(t.data) + 160 * t.count for t in self.tables.values()) + sum(len(p.raw) for p in self.poison)
        )


def join_rows(parts: Iterable[Rows]) -> Rows:
    """One `Rows` of several, in order."""
    merged = Rows(b"", [], [], [], [], [])
    data: list[bytes] = []
    for part in parts:
        data.append(part.data)
        merged.streams += part.streams
        merged.seq_from += part.seq_from
        merged.seq_to += part.seq_to
        merged.times += part.times
        merged.frames += part.frames
        if part.checks is not None or merged.checks is not None:
            before = merged.checks if merged.checks is not None else [0] * (merged.count - part.count)
            merged.checks = before + (part.checks if part.checks is not None else [0] * part.count)
    merged.data = b"".join(data)
    return merged
