"""How a venue's decoder turns frames into COPY lines: the parts that every venue needs.

Owns the dispatch by kind of burst, and the checked path behind the fast one. Never knows a
venue's fields, and never opens a socket, file or database connection.

A burst is formatted in one go and proven by a few scans over its bytes; only if a proof fails is it taken half by
half, down to the frame at fault, which is read value by value; what still fails is poison. So a frame's
rows never depend on its neighbours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar, Generic, NamedTuple, TypeVar

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
from recorder.venues import Channel, Code

# --- the decoder every venue starts from ----------------------------------------------------------------------------

P = TypeVar("P")  # what the venue's JSON decoder makes of a frame

# A data message on its way into a table: frame number, route, the frame itself, and what the venue's typed decoder
# made of it.
Item = tuple[int, Route, bytes, P]
E = TypeVar("E")  # an element of a message


class Batch(NamedTuple, Generic[P]):
    """Data messages of one table, column by column: of each the frame number, the route, the frame, and what the
    venue's typed decoder made of it. Columns, for an object for each message costs more than decoding it."""

    frames: Sequence[int]
    routes: Sequence[Route]
    raws: Sequence[bytes]
    said: Sequence[P]

    @property
    def table(self) -> str:
        """Where all of them go."""
        return self.routes[0].table

    def parts(self, guilty: AbstractSet[int]) -> list[Batch[P]]:
        """In order: the frames that are guilty, each by itself, and those between them; where it is not known who is,
        the two halves."""
        marks = {i for i, frame in enumerate(self.frames) if frame in guilty}
        if not marks:
            ends = [len(self.frames) // 2, len(self.frames)]
        else:
            ends = sorted({*marks, *(i + 1 for i in marks), len(self.frames)} - {0})
        frames, routes, raws, said = self
        return [Batch(frames[a:b], routes[a:b], raws[a:b], said[a:b]) for a, b in pairwise([0, *ends])]


def flatten(batch: Batch[P], elements: Sequence[Sequence[E]]) -> tuple[Sequence[int], Sequence[Route], list[E]]:
    """Frame, route and element of every element of every message; almost always there is one in each."""
    if {1}.issuperset(map(len, elements)):
        return batch.frames, batch.routes, [each for (each,) in elements]
    rows = [
        (frame, route, each)
        for frame, route, some in zip(batch.frames, batch.routes, elements, strict=True)
        for each in some
    ]
    return [frame for frame, _, _ in rows], [route for _, route, _ in rows], [each for _, _, each in rows]


def by_start(first: int, raws: Sequence[bytes], past: int) -> list[tuple[bytes, Sequence[int], Sequence[bytes]]]:
    """Frames sorted by how they begin, up to the first quotation mark behind `past` bytes: beginning, numbers, frames.
    Mostly all begin alike. Raises ValueError where one holds no such mark."""
    start = raws[0][: raws[0].index(b'"', past) + 1]
    if False not in [raw.startswith(start) for raw in raws]:
        return [(start, range(first, first + len(raws)), raws)]
    groups: dict[bytes, list[int]] = {}
    for n, raw in enumerate(raws):
        groups.setdefault(raw[: raw.index(b'"', past) + 1], []).append(n)
    return [(start, [first + n for n in of], [raws[n] for n in of]) for start, of in groups.items()]


_ORIGINS = {Kind.REST: "rest"}


class BaseDecoder(ABC, Generic[P]):
    """Sorts the frames of a burst by table and writes each table in one go. A venue reads the usual messages of a
    burst together, and one frame at a time where one of them is anything else."""

    # Fields that a message is known to carry, by table; others are drift. Looked for in the last message of a burst
    # and table only, because looking costs as much as decoding.
    known: ClassVar[Mapping[str, AbstractSet[str]]] = {}
    intervals: ClassVar[Mapping[str, str]] = {}  # channel -> interval, for candles
    # How messages begin, up to the first quotation mark behind `past` bytes, that a feed need not read to follow the
    # venue: channel by beginning. None of chained channels, whose numbers it watches.
    passing: ClassVar[Mapping[bytes, str]] = {}
    past: ClassVar[int] = 0

    def __init__(self, header: Header, streams: Streams, channel: Callable[[str], Channel | None]) -> None:
        self._header = header
        self._streams = streams
        self._channel = channel
        self._stamps = Stamps()
        self.routes: dict[str, dict[str, Route]] = {}  # channel -> symbol -> route

    def glance(self, first: int, raws: Sequence[bytes]) -> list[Batch[P]]:
        """All messages of a burst, if each is a usual data message of a stream seen before; `first` numbers them.
        Raises anything of TROUBLE where one is not: then `read` takes them one by one."""
        raise Bad("wrong_type")

    @abstractmethod
    def read(self, frame: int, raw: bytes, out: Decoded) -> Item[P] | None:
        """What a frame is: a data message, or nothing after its replies and events went into `out`. May raise
        anything of TROUBLE; `Bad` says why."""

    @abstractmethod
    def read_answer(self, frame: int, raw: bytes, out: Decoded) -> Item[P] | None:
        """The same for a REST answer in the form of `rest_frame`."""

    @abstractmethod
    def write(self, lines: Lines, batch: Batch[P]) -> Rows:
        """The lines of data messages of one table. Must not touch anything else: it may be tried more than once."""

    def route(self, channel: str, symbol: str) -> Route:
        """Where the records of a stream go. A channel that the venue does not know goes into `messages`."""
        found = self.routes.get(channel, {}).get(symbol)
        if found is None:
            known = self._channel(channel)
            stream = Stream(self._header.source, channel, symbol)
            interval = self.intervals.get(channel, "")
            found = make_route(stream, known.table if known else "messages", self._streams, interval)
            self.routes.setdefault(channel, {})[symbol] = found
        return found

    def decode(self, burst: Burst) -> Decoded:
        """Never raises on venue data: a frame that cannot be decoded becomes `Decoded.poison`."""
        out = Decoded(self._header.feed, self._header.run, burst.first, burst.next, burst.received_at)
        if burst.kind is Kind.CONTROL:
            _controls(burst, out)
            return out
        for batch in self._read_all(burst, out):
            self._put(batch, out, _ORIGINS.get(burst.kind, "stream"))
            if burst.kind is not Kind.REST:
                self._count(batch, out)
        out.poison.sort(key=lambda poison: poison.frame)
        return out

    def skim(self, burst: Burst) -> Decoded:
        """What a feed must know of a burst whose records the writer takes from the spool: replies, the count of
        messages, and the records of chained channels. A tenth of the work. Numbers inside are not those of frames."""
        if not self.passing or burst.kind is not Kind.TEXT:
            return self.decode(burst)
        counts: Counter[str] = Counter()
        rest = []
        for raw in burst.frames:
            channel = self.passing.get(raw[: raw.find(b'"', self.past) + 1])
            if channel is None:
                rest.append(raw)
            else:
                counts[channel] += 1
        out = self.decode(Burst(burst.first, burst.received_at, burst.kind, rest))
        out.next = burst.next
        for channel, count in counts.items():
            out.messages[channel] = out.messages.get(channel, 0) + count
        return out

    def _read_all(self, burst: Burst, out: Decoded) -> list[Batch[P]]:
        read = self.read_answer
        if burst.kind is not Kind.REST:
            with suppress(*TROUBLE):
                return self.glance(burst.first, burst.frames)
            read = self.read
        tables: dict[str, list[Item[P]]] = {}
        for frame, raw in enumerate(burst.frames, burst.first):
            try:
                item = read(frame, raw, out)
            except TROUBLE as trouble:
                _poison(frame, raw, trouble, out)
                continue
            if item is not None:
                tables.setdefault(item[1].table, []).append(item)
        return [Batch(*zip(*items, strict=True)) for items in tables.values()]

    def _put(self, batch: Batch[P], out: Decoded, origin: str) -> None:
        rows = self._rows(batch, out, origin)
        if rows.count:
            before = out.tables.get(batch.table)
            out.tables[batch.table] = join_rows((before, rows)) if before else rows

    def _rows(self, batch: Batch[P], out: Decoded, origin: str) -> Rows:
        """In one go where everything is as usual. Else without those that are at fault, or half by half until they are
        found: one by one, a single bad one among ninety made all of them cost six times as much."""
        guilty: AbstractSet[int] = frozenset()
        try:
            return self.write(Lines(batch.table, out.received_at, self._stamps, False, origin), batch)
        except TROUBLE as trouble:
            guilty = trouble.frames if isinstance(trouble, Bad) else guilty
        if len(batch.frames) > 1:
            return join_rows([self._rows(part, out, origin) for part in batch.parts(guilty)])
        try:
            return self.write(Lines(batch.table, out.received_at, self._stamps, True, origin), batch)
        except TROUBLE as trouble:
            _poison(batch.frames[0], batch.raws[0], trouble, out)
        return Rows(b"", [], [], [], [], [])

    def _count(self, batch: Batch[P], out: Decoded) -> None:
        """Messages of the stream by channel, and whether the last one has new fields."""
        for channel, count in Counter([route.channel for route in batch.routes]).items():
            out.messages[channel] = out.messages.get(channel, 0) + count
        if batch.table in self.known and _fields(batch.raws[-1]) - self.known[batch.table]:
            count_drift(batch.routes[-1].channel, out)


class _Fields(msgspec.Struct):
    data: list[dict[str, msgspec.Raw]] | dict[str, msgspec.Raw] = []


_read_fields = msgspec.json.Decoder(_Fields)


def _fields(raw: bytes) -> frozenset[str]:
    """Names of the fields of `data`, as far as it is an object or a list of them."""
    try:
        data = _read_fields.decode(raw).data
        return frozenset(data) if isinstance(data, dict) else frozenset().union(*data)
    except TROUBLE:
        return frozenset()


def count_drift(channel: str, out: Decoded) -> None:
    """One more message of this channel that is not what we know."""
    out.drift[channel] = out.drift.get(channel, 0) + 1


def note(frame: int, code: str, reaction: Reaction, message: str, out: Decoded) -> None:
    """Keep what the venue said about itself."""
    out.events.append(Event(frame, plain(code)[:40], reaction.value, plain(message)))


def announce(frame: int, said: Refusal | Notice, table: Mapping[str, Code], out: Decoded) -> None:
    """A refusal or notice, to react to and to keep: with the reaction that the venue's table has for its code, and the
    meaning of that in front of the venue's own words, for those may mislead."""
    known = table.get(said.code)
    if known is not None:
        said = replace(said, reaction=known.reaction, message=known.explain(said.message))
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


_object, _array = msgspec.json.Decoder(dict[str, msgspec.Raw]), msgspec.json.Decoder(list[msgspec.Raw])


def texts(raw: bytes) -> dict[str, object]:
    """An object with its numbers as text as they are spelled, those in lists, too: for what is not as usual."""
    return {name: _texts(bytes(value)) for name, value in _object.decode(raw).items()}


def _texts(raw: bytes) -> object:
    if raw.startswith(b"["):
        return [_texts(bytes(each)) for each in _array.decode(raw)]
    return msgspec.json.decode(raw) if raw[:1] in b'"n' else raw.decode()


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
