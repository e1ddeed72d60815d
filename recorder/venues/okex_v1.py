"""OKEx v1, long retired: everything the recorder knows about it, for replays, emulators and hosts that lived on it.

Owns its channel names, limits, error codes, requests and the decoder of its frames. Never opens a socket, and keeps
nothing between bursts but the numbers of streams.

A channel is a whole name (`ok_sub_spot_btc_usdt_deals`), which says its symbol: `btc_usdt`, of futures
`btc_usd_quarter`. What the protocol leaves open:
- A trade has a time of day and no date: its day is that of the receipt. The clock is taken for UTC+8, on a hint only:
  an author quoted trades of 14:45:28 beside a book of 15:23:04 UTC+8. A trade older than a day cannot be dated.
- The first message of `depth` is the whole book, those after it are changes, and none says which it is. One with 20
  levels or more on both sides and no size of 0 is taken for the whole: no change is that large without a deletion. The
  first message of a thinner book is stored as an update.
- The sixth element of a futures trade (coins) fits no column of `trades`; price and contracts give it.
- `open` of a spot ticker may be that of 24 hours or of the day; nobody says which, so it is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import structs

from recorder import shapes
from recorder.config import Source, Subscribe
from recorder.decoding import Batch, Item, announce, count_drift, flatten, note, texts
from recorder.guards import TROUBLE, Bad, name, number, reason
from recorder.lines import At, Lines, Route, make_route
from recorder.records import Ack, Burst, Decoded, Header, Kind, Poison, Pong, Reaction, Refusal, Rows, Stream, Streams
from recorder.spelling import spelled
from recorder.subscriptions import BaseVenue, Key, wanted
from recorder.venues import Channel, Heartbeat, Limits, Line, Request, Subscription, codes
from recorder.venues._deflate import Inflating
from recorder.venues._login import KeyLogin
from recorder.venues._okex_v1_names import CHANNELS, Name, explain, parse, symbol_of
from recorder.venues._retired import doubts

# --- codes ----------------------------------------------------------------------------------------------------------

_REACTIONS = {
    Reaction.DROP: {
        "20116": "param not match: there is no channel of this name",
        "10015": "there is no such channel",
        "10012": "the venue has only btc_usd and ltc_usd here",
        "20028": "there is no such contract",
        "10216": "the interface is not open to everybody",
        "10000, 20006": "a required parameter is empty",
        "10001, 10008, 20007": "a parameter is wrong",
        "refused": "the venue refuses a subscription and gives no code",
    },
    Reaction.PARK: {
        "login": "the login is refused",
        "10002, 10005, 10017, 20020, 20024, 20026": "the login is refused: API key or signature",
        "10100, 20001, 20002": "the account is frozen, or there is none",
        "20019": "the API key is not allowed from this address",
        "20038": "the venue does not serve this region",
    },
    Reaction.SLOW_DOWN: {
        "20049": "requests too frequent",
        "http 403": "the venue blocks this address for a while: requests too frequent",
    },
    Reaction.RETRY: {"20014": "an internal error of the venue"},
    Reaction.NONE: {
        "10003, 10004": "about a user's own data: asked for already, or never",
        "10009": "of trading: there is no such order",
        "10010, 10016": "of trading: the balance is too small",
        "10014, 10049": "of trading: the price is out of range, or there are too many small orders",
    },
}
_CODES = {code.code: code for code in codes(_REACTIONS, {"rate": "http 403"})}


# --- what frames look like ------------------------------------------------------------------------------------------


class Envelope(msgspec.Struct):
    """An object of a message. `timestamp` stands here with forecast prices only."""

    channel: str = ""
    data: msgspec.Raw = msgspec.Raw()
    event: str = ""
    timestamp: str | int = ""


class Answer(msgspec.Struct):
    """`data` of an answer."""

    result: bool | str | None = None
    channel: str = ""
    error_code: str | int | None = None
    error_msg: str = ""


_message = msgspec.json.Decoder(list[Envelope] | Envelope)
_answer = msgspec.json.Decoder(Answer)
_Rows = list[list[str]]
_strings = msgspec.json.Decoder(_Rows)
_NAMES = "last_price=last bid_price=buy ask_price=sell high_24h=high low_24h=low volume_24h=vol"
_Ticker = spelled(shapes.Ticker, f"{_NAMES} open_interest=hold_amount time=timestamp")
_Index = spelled(shapes.Reference, "index=futureIndex time=timestamp")


def _value(raw: bytes) -> Any:
    """A value with its numbers as text as they are spelled."""
    return texts(b'{"":%b}' % raw)[""]


def _table(raw: bytes) -> _Rows:
    """Rows of numbers, sent as strings or as numbers."""
    try:
        return _strings.decode(raw)
    except msgspec.ValidationError:
        return msgspec.convert(_value(raw), _Rows)


def _fields(raw: bytes) -> dict[str, object]:
    """The fields of an object, without those that are null."""
    return {name: value for name, value in texts(raw).items() if value is not None}


def _ticker(data: bytes, said: Envelope, known: Name, received_at: int) -> list[shapes.Ticker]:
    """Of futures, `vol` and `hold_amount` count contracts."""
    return [msgspec.convert(_fields(data), _Ticker)]


def _reference(data: bytes, said: Envelope, known: Name, received_at: int) -> list[shapes.Reference]:
    """Of an index, or of a delivery: `data` is the price itself then."""
    if data.startswith(b"{"):
        return [msgspec.convert(_fields(data), _Index)]
    return [shapes.Reference(str(said.timestamp), estimated=msgspec.convert(_value(data), str | None))]


def _book(data: bytes, said: Envelope, known: Name, received_at: int) -> list[tuple[str, shapes.Book]]:
    """Kind and book. Of futures a level is price, contracts, coins, all coins up to here, all contracts up to here. A
    side that did not change may be left out."""
    fields = _fields(data)
    if fields.keys().isdisjoint(("asks", "bids")):
        raise Bad("missing_field")
    sides = [msgspec.convert(fields.get(side, []), _Rows) for side in ("bids", "asks")]
    bids, asks = (msgspec.Raw(msgspec.json.encode(side)) for side in sides)
    time = msgspec.convert(fields.get("timestamp", ""), str)
    return [("snapshot" if known.full or _whole(sides) else "update", shapes.Book(time, asks=asks, bids=bids))]


def _whole(sides: Sequence[_Rows]) -> bool:
    """Whether a book is taken for the whole."""
    return min(map(len, sides)) >= 20 and all(Decimal(number(level[1])) for side in sides for level in side)


_DAY, _ZONE, _SKEW = 86_400_000, 8 * 3_600_000, 300_000  # ms; clocks differ, and so may trades of one message
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d):([0-5]\d)", re.ASCII)
_TAKERS = {"bid": "buy", "ask": "sell"}


def dated(times: Sequence[str], received_at: int) -> list[str]:
    """Milliseconds since 1970 of times of day, the oldest first: each the latest that is not more than `_SKEW` after
    the receipt (µs), nor after the trade that follows. Nothing of nothing."""
    latest = received_at // 1000 + _SKEW
    found = []
    for time in reversed(times):
        match = _TIME.fullmatch(time)
        if match is None and time:
            raise Bad("absurd_time")
        if match is not None:
            hours, minutes, seconds = map(int, match.groups())
            of_day = ((hours * 60 + minutes) * 60 + seconds) * 1000 - _ZONE
            at = latest - (latest - of_day) % _DAY
            latest = min(latest, at + _SKEW)
        found.append(str(at) if match else "")
    return found[::-1]


def _trades(data: bytes, said: Envelope, known: Name, received_at: int) -> list[shapes.Trade]:
    """[id, price, size, time of day, taker's side]; of futures the size in contracts, and then in coins."""
    rows = [row[:5] for row in _table(data)]
    times = dated([row[3] for row in rows], received_at)
    return [
        shapes.Trade(time, trade_id=number_of, price=price, size=size, side=_TAKERS.get(side, ""))
        for time, (number_of, price, size, _, side) in zip(times, rows, strict=True)
    ]


_READ: Mapping[str, Callable[[bytes, Envelope, Name, int], list[Any]]] = {
    "tickers": _ticker,
    "trades": _trades,
    "books": _book,
    "candles": lambda data, *_: _table(data),
    "reference_prices": _reference,
}


# --- the decoder ----------------------------------------------------------------------------------------------------


class OkexV1Decoder(Inflating[list[Any]]):
    """Frames of one feed's run. A message is made of the records in it."""

    def route(self, channel: str, symbol: str) -> Route:
        """Where the records of a stream go; there is no end of names, so that no table of intervals could hold them."""
        found, known = self.routes.get(channel, {}).get(symbol), parse(channel)
        if found is None and known and known.interval:
            stream = Stream(self._header.source, channel, symbol)
            found = make_route(stream, known.family.table, self._streams, known.interval)
            self.routes.setdefault(channel, {})[symbol] = found
        return found or super().route(channel, symbol)

    def _read_all(self, burst: Burst, out: Decoded) -> list[Batch[list[Any]]]:
        """A message may hold objects of several channels."""
        if burst.kind is Kind.REST:
            return super()._read_all(burst, out)
        tables: dict[str, list[Item[list[Any]]]] = {}
        for frame, raw in enumerate(burst.frames, burst.first):
            try:
                items = list(self._objects(frame, raw, out))
            except TROUBLE as trouble:
                out.poison.append(Poison(frame, trouble.reason if isinstance(trouble, Bad) else reason(raw), raw))
                continue
            for item in items:
                tables.setdefault(item[1].table, []).append(item)
        return [Batch(*zip(*items, strict=True)) for items in tables.values()]

    def _objects(self, frame: int, raw: bytes, out: Decoded) -> Iterator[Item[list[Any]]]:
        """The data of a message. Of several objects none is taken unless all of them are right."""
        said = _message.decode(raw)
        objects = [said] if isinstance(said, Envelope) else said or [Envelope()]
        for each in objects:
            item = self._object(frame, raw, each, out)
            if item is not None:
                if len(objects) > 1:
                    alone = Batch([frame], [item[1]], [raw], [item[3]])
                    self.write(Lines(item[1].table, out.received_at, self._stamps, True), alone)
                yield item

    def read(self, frame: int, raw: bytes, out: Decoded) -> Item[list[Any]] | None:
        """A message of one object."""
        return next(self._objects(frame, raw, out), None)

    def _object(self, frame: int, raw: bytes, said: Envelope, out: Decoded) -> Item[list[Any]] | None:
        data = bytes(said.data)
        if said.event == "pong":
            out.replies.append(Pong())
        elif said.channel in ("addChannel", "removeChannel", "login") or (data[:1] == b"{" and b'"result"' in data):
            _answered(frame, said, _answer.decode(data or b"{}"), out)
        elif not said.channel or not data:
            count_drift("", out)
            note(frame, "unknown", Reaction.NONE, raw.decode(), out)
        else:
            known = parse(said.channel)
            route = self.route(said.channel, known.symbol if known else "")
            if known is None:
                count_drift(said.channel, out)
            return frame, route, raw, _READ[route.table](data, said, known, out.received_at) if known else [data]
        return None

    def read_answer(self, frame: int, raw: bytes, out: Decoded) -> Item[list[Any]] | None:
        """The venue is asked for nothing over REST."""
        raise Bad("wrong_type")

    def write(self, lines: Lines, batch: Batch[list[Any]]) -> Rows:
        """The lines of data messages of one table."""
        frames, routes, found = flatten(batch, batch.said)
        if lines.table == "messages":
            return lines.messages(At(frames, routes, [""] * len(found)), found)
        if lines.table == "candles":
            if not {6, 7}.issuperset(map(len, found)):
                raise Bad("wrong_type")
            bars = [[*bar[1:], *[""] * (8 - len(bar))] for bar in found]
            return shapes.candles(lines, At(frames, routes, [bar[0] for bar in found]), bars)
        if lines.table == "books":
            lines.checked = True  # the quick proof knows levels of four numbers only; here they have two or five
            books = [book for _, book in found]
            return shapes.books(lines, At(frames, routes, [b.time for b in books]), books, [kind for kind, _ in found])
        return shapes.WRITE[lines.table](lines, At(frames, routes, [each.time for each in found]), found)


def _answered(frame: int, said: Envelope, answer: Answer, out: Decoded) -> None:
    """What the venue says to a request. A refused login leaves nothing to do here, whatever its code."""
    channel, code = name(answer.channel or said.channel), answer.error_code
    if str(answer.result).lower() != "true":
        known = _CODES.get(str(code or "refused"))
        if said.channel == "login" and (known is None or known.reaction not in (Reaction.PARK, Reaction.RETRY)):
            code = "login"
        refusal = Refusal(str(code or "refused"), answer.error_msg, channel=channel, symbol=symbol_of(channel))
        announce(frame, refusal, _CODES, out)
    elif said.channel in ("addChannel", "removeChannel"):
        out.replies.append(Ack(channel, symbol_of(channel), said.channel == "removeChannel"))
    elif said.channel != "login":
        note(frame, "unknown", Reaction.NONE, f"{channel}: {answer.error_msg or 'result true'}", out)


# --- the venue ------------------------------------------------------------------------------------------------------


class OkexV1(BaseVenue):
    """The venue contract for OKEx v1."""

    name = "okex_v1"
    title = "OKEx v1 (retired)"
    endpoints = ("wss://real.okex.com:10441", "wss://real.okex.com:10440")
    rest = ""  # asked for nothing
    paths: Mapping[str, str] = {"ws": "/ws/v1"}
    channels = CHANNELS
    codes = tuple(_CODES.values())
    facts = (
        "retired: nobody can ask the venue any more",
        "OKEx's v1 API documentation of 2017 and 2018, spot and futures",
        "single messages of 2017 and 2018 that were quoted in public programs; no recording is known",
    )
    options: Mapping[str, str] = {
        "api_key": "of your account, if it must log in",
        "secret_key": "that belongs to it",
        "path": "where the host serves the protocol, if not at /ws/v1: /websocket, /websocket/okcoinapi",
    }
    secrets = frozenset({"api_key", "secret_key"})
    always: Mapping[str, str] | None = {}
    # The venue closes connections that are idle for some minutes; it asked for a heartbeat every 30 s.
    heartbeat = Heartbeat(b'{"event":"ping"}', interval=30.0, reply_within=10.0, idle_only=False)
    limits = Limits(connects_per_second=1, request_bytes=4096)  # none are documented: so as not to be blocked (403)

    def key(self, channel: str) -> Key | None:
        """Names hold their symbols."""
        return None

    def channel(self, name: str) -> Channel | None:
        """The form of a name."""
        known = parse(name)
        return known.family if known else None

    def _check_addresses(self, source: Source) -> Iterator[str]:
        for n, url in enumerate(source.endpoints):
            base, plain, rest = url.partition("/websocket")
            if plain:
                yield f'endpoints[{n}]: "{url}" holds a path; did you mean "{base}", and path = "{plain}{rest}"?'
        yield from super()._check_addresses(source)

    def _check_options(self, source: Source) -> Iterator[str]:
        for option in self.secrets - source.options.keys() if self.secrets & source.options.keys() else ():
            yield f"{option}: is missing; a login takes api_key and secret_key"
        if not re.fullmatch(r"(/[\w.-]+)+", path := source.options.get("path", self.paths["ws"])):
            yield f'path: "{path}" is none; did you mean "/{path.strip("/")}"?'

    def _check_channel(self, channel: str, symbols: Sequence[str]) -> str:
        if problem := explain(channel):
            return problem
        return f'"{channel}" holds its symbol; leave out symbols' if symbols else ""

    def _check_symbol(self, symbol: str, channels: Sequence[str]) -> str:
        return ""  # said of the channel

    def warnings(self, source: Source) -> list[str]:
        """Hosts that do not answer."""
        return [*super().warnings(source), *doubts(source)]

    def lines(self, source: Source, held: Sequence[Line] = ()) -> list[Line]:
        """Each name with the symbol that it holds, which its rows have."""
        names = dict.fromkeys(each.channel for each in wanted(source))
        pairs = tuple(Subscribe(channels=(each,), symbols=(symbol_of(each),)) for each in names)
        key, secret, path = (source.options.get(option, "") for option in self.options)
        login = KeyLogin(key, secret) if key and secret else None
        usual = [replace(line, path=self.paths["ws"]) for line in held]
        lines = super().lines(structs.replace(source, subscribe=pairs), usual)
        return [replace(line, login=login, path=path or line.path) for line in lines]

    def subscribe(self, subscriptions: Sequence[Subscription]) -> list[Request]:
        """Requests for these."""
        return _requests("addChannel", subscriptions, self.limits.request_bytes)

    def unsubscribe(self, subscriptions: Sequence[Subscription]) -> list[Request]:
        """Requests to end these."""
        return _requests("removeChannel", subscriptions, self.limits.request_bytes)

    def decoder(self, header: Header, streams: Streams) -> OkexV1Decoder:
        """A decoder for the run that `header` describes."""
        return OkexV1Decoder(header, streams, self.channel)


def _requests(event: str, subscriptions: Sequence[Subscription], limit: int) -> list[Request]:
    """One object, or lists of several, each of at most `limit` bytes."""
    asked = [msgspec.json.encode({"event": event, "channel": each.channel}) for each in subscriptions]
    size = max(1, limit // (max(map(len, asked), default=0) + 1) - 1)
    return [
        Request(b"[%b]" % b",".join(some) if len(some) > 1 else some[0], tuple(subscriptions[n : n + size]))
        for n in range(0, len(asked), size)
        for some in [asked[n : n + size]]
    ]


venue = OkexV1()
