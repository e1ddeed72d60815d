"""How a venue's decoder turns frames into COPY lines: the parts that every venue needs.

Owns the building of lines, the checked path behind the fast one, and the dispatch by kind of burst. Never knows a
venue's fields, and never opens a socket, file or database connection.

A burst is formatted in one go and proven by a few scans over its bytes; only if a proof fails is it taken frame
by frame: each frame first the same way alone, then value by value, and what still fails is poison. So a frame's
rows never depend on its neighbours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import msgspec

from recorder.guards import (
    DAY_US,
    MILLIS,
    TROUBLE,
    Bad,
    Seconds,
    arrays,
    best_first,
    checked_array,
    moment,
    name,
    number,
    plain,
    prove_numbers,
    reason,
)
from recorder.records import (
    NULL,
    TABLES,
    Burst,
    Decoded,
    Event,
    Header,
    Kind,
    Poison,
    Reaction,
    Rows,
    Stream,
    Streams,
    decode_control,
    join_rows,
    stamp,
    text,
)

# Interval names of the `candles` table, and their length in µs where every bar is equally long.
BARS = {
    "1s": 1_000_000,
    **{f"{n}m": n * 60_000_000 for n in (1, 3, 5, 15, 30)},
    **{f"{n}h": n * 3_600_000_000 for n in (1, 2, 4, 6, 12)},
    **{f"{n}d": n * DAY_US for n in (1, 2, 3, 5)},
    "1w": 7 * DAY_US,
    "1mo": 0,
    "3mo": 0,
    "1y": 0,
}
_LONGEST = {"1mo": 31 * DAY_US, "3mo": 92 * DAY_US, "1y": 366 * DAY_US}


@dataclass(frozen=True, slots=True)
class Route:
    """Where the records of one stream go, and what is the same on all of its lines."""

    table: str
    channel: str
    number: int
    names: str  # source, channel and symbol, finished
    interval: str = ""
    bar: int = 0  # µs
    ahead: int = DAY_US  # how far beyond received_at a time may lie


def make_route(stream: Stream, table: str, streams: Streams, interval: str = "") -> Route:
    """The route of a stream; refuses names that no venue would use, before they get a number."""
    names = "\t".join((text(stream.source), name(stream.channel), name(stream.symbol)))
    bar = BARS.get(interval, 0)
    ahead = bar or _LONGEST.get(interval, DAY_US)
    return Route(table, stream.channel, streams.number(stream), names, interval, bar, ahead)


class Record(NamedTuple):
    """What one element of a message says. `lead`: columns before the numbers, each with its tab behind; `tail`:
    columns after them, each with its tab before. Both must be finished text; `numbers` are still the venue's."""

    milliseconds: str
    lead: str
    numbers: Sequence[str]
    tail: str
    seq_from: int | None = None
    seq_to: int | None = None


class Book(NamedTuple):
    """What one element of a book message says; sides are JSON as sent."""

    milliseconds: str
    kind: str
    seq: int | None
    prev_seq: int | None
    bids: bytes
    asks: bytes
    integrity: str
    origin: str


class Lines:
    """Lines of one table under construction. Unchecked ones are proven together by `done`."""

    __slots__ = ("_numbers", "_received", "_received_at", "_rows", "_seconds", "_sides", "_tabs", "_texts", "checked")

    def __init__(self, table: str, received_at: int, seconds: Seconds, checked: bool) -> None:
        self.checked = checked
        self._tabs = len(TABLES[table].columns) - 1
        self._received_at = received_at
        self._received = stamp(received_at)
        self._seconds = seconds
        self._texts: list[str] = []
        self._numbers: list[str] = []
        self._sides: list[tuple[str, Book]] = []
        self._rows = Rows(b"", [], [], [], [], [])

    def record(self, frame: int, route: Route, said: Record) -> None:
        """A line of plain columns."""
        milliseconds, lead, numbers, tail, seq_from, seq_to = said
        if self.checked:
            values = "\t".join([number(value) for value in numbers])
        else:
            self._numbers += numbers
            values = "\t".join([value or NULL for value in numbers] if "" in numbers else numbers)
        self._texts.append(f"{self._begin(frame, route, milliseconds, seq_from, seq_to)}{lead}{values}{tail}\n")

    def book(self, frame: int, route: Route, said: Book) -> None:
        """A line of `books`; snapshots get their best prices first."""
        begin = self._begin(frame, route, said.milliseconds, said.prev_seq, said.seq)
        if not self.checked:
            self._sides.append((begin, said))
            return
        snapshot = said.kind == "snapshot"
        bids = checked_array(said.bids, True if snapshot else None)
        asks = checked_array(said.asks, False if snapshot else None)
        self._texts.append(_book_line(begin, said, bids, asks))

    def _begin(self, frame: int, route: Route, milliseconds: str, seq_from: int | None, seq_to: int | None) -> str:
        """The five common columns; notes what goes beside the line."""
        if self.checked:
            us = moment(milliseconds, self._received_at, route.ahead)
            time = stamp(us)
        else:
            second, us = self._seconds[milliseconds[:-3]]
            us += MILLIS[milliseconds[-3:]]
            if us > self._received_at + route.ahead:
                raise Bad("absurd_time")
            time = f"{second}{milliseconds[-3:]}000+00"
        rows = self._rows
        rows.streams.append(route.number)
        rows.seq_from.append(seq_from)
        rows.seq_to.append(seq_to)
        rows.times.append(us)
        rows.frames.append(frame)
        return f"{time}\t{self._received}\t{route.names}\t"

    def _translate(self) -> None:
        """Sides of all books at once."""
        literals = arrays([side for _, book in self._sides for side in (book.bids, book.asks)])
        for (begin, book), bids, asks in zip(self._sides, literals[::2], literals[1::2], strict=True):
            if book.kind == "snapshot" and not (best_first(book.bids, True) and best_first(book.asks, False)):
                raise Bad("bad_levels")
            self._texts.append(_book_line(begin, book, bids, asks))

    def done(self) -> Rows:
        """The block, if every number is one and every line has its columns."""
        if self._sides:
            self._translate()
        if self._numbers:
            prove_numbers(self._numbers)
        data, count = "".join(self._texts).encode(), len(self._texts)
        if data.count(b"\n") != count or data.count(b"\t") != count * self._tabs:
            raise Bad("bad_text")
        self._rows.data = data
        return self._rows


def _book_line(begin: str, book: Book, bids: str, asks: str) -> str:
    seq = NULL if book.seq is None else book.seq
    prev = NULL if book.prev_seq is None else book.prev_seq
    return f"{begin}{book.kind}\t{seq}\t{prev}\t{bids}\t{asks}\t{book.integrity}\t{book.origin}\n"


# --- the decoder every venue starts from ----------------------------------------------------------------------------

P = TypeVar("P")  # what the venue's JSON decoder makes of a frame

# A data message on its way into a table: frame number, route, the frame itself, and what the venue's typed decoder
# made of it (None where it refused). A tuple, for one is made per message.
Item = tuple[int, Route, bytes, P | None]


class BaseDecoder(ABC, Generic[P]):
    """Sorts the frames of a burst by table and writes each table in one go. A venue reads one frame at a time."""

    def __init__(self, header: Header, streams: Streams) -> None:
        self.header = header
        self.streams = streams
        self._seconds = Seconds()

    @abstractmethod
    def read(self, frame: int, raw: bytes, out: Decoded) -> Item[P] | None:
        """What a frame is: a data message, or nothing after its replies and events went into `out`. May raise
        anything of TROUBLE; `Bad` says why."""

    @abstractmethod
    def read_answer(self, frame: int, raw: bytes, out: Decoded) -> Item[P] | None:
        """The same for a REST answer in the form of `rest_frame`."""

    @abstractmethod
    def write(self, lines: Lines, item: Item[P]) -> None:
        """The lines of a data message. Must not touch anything else: it may be tried more than once."""

    def names(self, item: Item[P]) -> frozenset[str]:
        """Field names in a message that the decoder does not know. Asked for the last message of a burst and table
        only, because looking costs as much as decoding."""
        return frozenset()

    def decode(self, burst: Burst) -> Decoded:
        """Never raises on venue data: a frame that cannot be decoded becomes `Decoded.poison`."""
        out = Decoded(self.header.feed, self.header.run, burst.first, burst.next, burst.received_at)
        if burst.kind is Kind.CONTROL:
            _controls(burst, out)
            return out
        read = self.read_answer if burst.kind is Kind.REST else self.read
        tables: dict[str, list[Item[P]]] = {}
        for frame, raw in enumerate(burst.frames, burst.first):
            try:
                item = read(frame, raw, out)
            except TROUBLE as trouble:
                _poison(frame, raw, trouble, out)
                continue
            if item is not None:
                tables.setdefault(item[1].table, []).append(item)
        for table, items in tables.items():
            self._put(table, items, out)
        out.poison.sort(key=lambda poison: poison.frame)
        return out

    def _put(self, table: str, items: Sequence[Item[P]], out: Decoded) -> None:
        """The rows of all items into `out`: in one go where everything is as usual, else one by one."""
        try:
            rows = self._rows(table, items, out, checked=False)
        except TROUBLE:
            rows = join_rows([self._alone(table, item, out) for item in items])
        if rows.count:
            out.tables[table] = rows
        for channel, count in Counter([item[1].channel for item in items]).items():
            out.messages[channel] = out.messages.get(channel, 0) + count
        try:
            drifted = bool(self.names(items[-1]))
        except TROUBLE:
            return
        if drifted:
            count_drift(items[-1][1].channel, out)

    def _rows(self, table: str, items: Sequence[Item[P]], out: Decoded, *, checked: bool) -> Rows:
        lines = Lines(table, out.received_at, self._seconds, checked)
        for item in items:
            self.write(lines, item)
        return lines.done()

    def _alone(self, table: str, item: Item[P], out: Decoded) -> Rows:
        try:
            return self._rows(table, (item,), out, checked=False)
        except TROUBLE:
            pass
        try:
            return self._rows(table, (item,), out, checked=True)
        except TROUBLE as trouble:
            _poison(item[0], item[2], trouble, out)
        return Rows(b"", [], [], [], [], [])


def count_drift(channel: str, out: Decoded) -> None:
    """One more message of this channel that is not what we know."""
    out.drift[channel] = out.drift.get(channel, 0) + 1


def note(frame: int, code: str, reaction: Reaction, message: str, out: Decoded) -> None:
    """Keep what the venue said about itself."""
    out.events.append(Event(frame, plain(code)[:40], reaction.value, plain(message)))


def _poison(frame: int, raw: bytes, trouble: Exception, out: Decoded) -> None:
    out.poison.append(Poison(frame, trouble.reason if isinstance(trouble, Bad) else reason(raw), raw))


def _controls(burst: Burst, out: Decoded) -> None:
    for frame, raw in enumerate(burst.frames, burst.first):
        try:
            out.control.append((frame, decode_control(raw)))
        except TROUBLE:
            out.poison.append(Poison(frame, "invalid_control", raw))


# --- REST answers in the spool --------------------------------------------------------------------------------------


class RestAnswer(msgspec.Struct, frozen=True):
    """What a frame of kind REST holds: the request, which stream it is about, and the venue's answer as it came."""

    url: str
    channel: str
    symbol: str
    body: msgspec.Raw


_answer = msgspec.json.Decoder(RestAnswer)


def rest_frame(url: str, channel: str, symbol: str, body: bytes) -> bytes:
    """A REST answer as it is spooled: `{"url":…,"channel":…,"symbol":…,"body":…}`, `body` being the answer itself,
    or, where that is no JSON, a string of it. `url` must carry no secret."""
    if reason(body) != "wrong_type":
        body = msgspec.json.encode(body.decode(errors="replace"))
    return msgspec.json.encode(RestAnswer(url, channel, symbol, msgspec.Raw(body)))


def parse_rest(raw: bytes) -> RestAnswer:
    """The parts of a spooled REST answer."""
    return _answer.decode(raw)
