"""How a venue's decoder turns frames into COPY lines: the parts that every venue needs.

Owns the dispatch by kind of burst, and the checked path behind the fast one. Never knows a
venue's fields, and never opens a socket, file or database connection.

A burst is formatted in one go and proven by a few scans over its bytes; only if a proof fails is it taken frame
by frame: each frame first the same way alone, then value by value, and what still fails is poison. So a frame's
rows never depend on its neighbours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import ClassVar, Generic, TypeVar

import msgspec

from recorder.guards import TROUBLE, Bad, Stamps, plain, reason
from recorder.lines import Lines, Route, make_route
from recorder.records import (
    Burst,
    Decoded,
    Event,
    Header,
    Kind,
    Notice,
    Poison,
    Reaction,
    Refusal,
    Rows,
    Stream,
    Streams,
    decode_control,
    join_rows,
)
from recorder.venues import Channel

# --- the decoder every venue starts from ----------------------------------------------------------------------------

P = TypeVar("P")  # what the venue's JSON decoder makes of a frame

# A data message on its way into a table: frame number, route, the frame itself, and what the venue's typed decoder
# made of it (None where it needed none). A tuple, for one is made per message.
Item = tuple[int, Route, bytes, P | None]


E = TypeVar("E")  # an element of a message


def flatten(items: Sequence[Item[P]], elements: Sequence[Sequence[E]]) -> tuple[list[int], list[Route], list[E]]:
    """Frame, route and element of every element of every message; almost always there is one in each."""
    if {1}.issuperset(map(len, elements)):
        return [frame for frame, _, _, _ in items], [route for _, route, _, _ in items], [each for (each,) in elements]
    pairs = [(item, each) for item, some in zip(items, elements, strict=True) for each in some]
    return [item[0] for item, _ in pairs], [item[1] for item, _ in pairs], [each for _, each in pairs]


class BaseDecoder(ABC, Generic[P]):
    """Sorts the frames of a burst by table and writes each table in one go. A venue reads one frame at a time."""

    # Fields that a message is known to carry, by table; others are drift. Looked for in the last message of a burst
    # and table only, because looking costs as much as decoding.
    known: ClassVar[Mapping[str, AbstractSet[str]]] = {}
    intervals: ClassVar[Mapping[str, str]] = {}  # channel -> interval, for candles

    def __init__(self, header: Header, streams: Streams, channel: Callable[[str], Channel | None]) -> None:
        self._header = header
        self._streams = streams
        self._channel = channel
        self._stamps = Stamps()
        self.routes: dict[tuple[str, str], Route] = {}

    @abstractmethod
    def read(self, frame: int, raw: bytes, out: Decoded) -> Item[P] | None:
        """What a frame is: a data message, or nothing after its replies and events went into `out`. May raise
        anything of TROUBLE; `Bad` says why."""

    @abstractmethod
    def read_answer(self, frame: int, raw: bytes, out: Decoded) -> Item[P] | None:
        """The same for a REST answer in the form of `rest_frame`."""

    @abstractmethod
    def write(self, lines: Lines, items: Sequence[Item[P]]) -> Rows:
        """The lines of data messages of one table. Must not touch anything else: it may be tried more than once."""

    def route(self, channel: str, symbol: str) -> Route:
        """Where the records of a stream go. A channel that the venue does not know goes into `messages`."""
        found = self.routes.get((channel, symbol))
        if found is None:
            known = self._channel(channel)
            stream = Stream(self._header.source, channel, symbol)
            interval = self.intervals.get(channel, "")
            found = make_route(stream, known.table if known else "messages", self._streams, interval)
            self.routes[channel, symbol] = found
        return found

    def decode(self, burst: Burst) -> Decoded:
        """Never raises on venue data: a frame that cannot be decoded becomes `Decoded.poison`."""
        out = Decoded(self._header.feed, self._header.run, burst.first, burst.next, burst.received_at)
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
                items = tables.get(item[1].table)
                if items is None:
                    items = tables[item[1].table] = []
                items.append(item)
        for table, items in tables.items():
            self._put(table, items, out)
            if burst.kind is not Kind.REST:
                self._count(table, items, out)
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

    def _count(self, table: str, items: Sequence[Item[P]], out: Decoded) -> None:
        """Messages of the stream by channel, and whether the last one has new fields."""
        for channel, count in Counter([route.channel for _, route, _, _ in items]).items():
            out.messages[channel] = out.messages.get(channel, 0) + count
        _, route, raw, _ = items[-1]
        if table in self.known and _fields(raw) - self.known[table]:
            count_drift(route.channel, out)

    def _rows(self, table: str, items: Sequence[Item[P]], out: Decoded, *, checked: bool) -> Rows:
        return self.write(Lines(table, out.received_at, self._stamps, checked), items)

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


class _Fields(msgspec.Struct):
    data: list[dict[str, msgspec.Raw]] = []


_read_fields = msgspec.json.Decoder(_Fields)


def _fields(raw: bytes) -> frozenset[str]:
    """Names of the fields of `data`, as far as it is a list of objects."""
    try:
        return frozenset().union(*_read_fields.decode(raw).data)
    except TROUBLE:
        return frozenset()


def count_drift(channel: str, out: Decoded) -> None:
    """One more message of this channel that is not what we know."""
    out.drift[channel] = out.drift.get(channel, 0) + 1


def note(frame: int, code: str, reaction: Reaction, message: str, out: Decoded) -> None:
    """Keep what the venue said about itself."""
    out.events.append(Event(frame, plain(code)[:40], reaction.value, plain(message)))


def announce(frame: int, said: Refusal | Notice, out: Decoded) -> None:
    """A refusal or notice, to react to and to keep."""
    out.replies.append(said)
    note(frame, said.code, said.reaction, said.message, out)


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
