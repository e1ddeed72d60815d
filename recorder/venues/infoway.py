"""Infoway: everything the recorder knows about this venue.

Owns its businesses, channels, limits, error codes, requests and the decoder of its frames. Never opens a socket, and
keeps nothing between bursts but the numbers of streams.

A connection serves one business. Nothing has an id or a number: what a break of the connection cost, only its length
can tell. The venue acknowledges what it does not have and stays silent: `warnings` says what looks like that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal
from zlib import crc32

import msgspec

from recorder.config import Source
from recorder.decoding import BaseDecoder, Batch, Item, announce, by_start, count_drift, note, texts
from recorder.guards import TROUBLE, Bad, Columns
from recorder.lines import At, Lines
from recorder.records import Ack, Decoded, Header, Pong, Reaction, Refusal, Rows, Streams
from recorder.subscriptions import BaseVenue, Key, wanted
from recorder.venues import Channel, Continuity, Heartbeat, Limits, Line, Request, Subscription, codes, verified

# Which markets a business lists, by the suffix of their symbols; what is no share has none.
_SUFFIXES = {"stock": "US HK SH SZ", "japan": "JP", "india": "IN", "korea": "KS", "taiwan": "TW"}
_HOMES = {suffix: business for business, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
BUSINESSES = ("stock", "crypto", "common", "japan", "india", "korea", "taiwan")

# The venue's interval names are those of its SDK; `type` numbers run from 1.
_INTERVALS = ("1m", "5m", "15m", "30m", "1h", "2h", "4h", "1d", "1w", "1mo", "1q", "1y")
_TYPES = {f"kline_{interval}": number for number, interval in enumerate(_INTERVALS, 1)}
_KLINES: dict[int | str, str] = {key: name for name, n in _TYPES.items() for key in (n, str(n))}
_CHANNELS = (
    Channel("trade", "trades", Continuity.NONE, "ws", "single trades, without ids; side is null where td is 0"),
    Channel("depth", "books", Continuity.NONE, "ws", "whole books, every 100 ms: 5 levels, Hong Kong 10, US 1"),
    *(
        Channel(name, "candles", Continuity.BARS, "ws", f"type {number}, every second; never marked as closed")
        for name, number in _TYPES.items()
    ),
)

_REACTIONS = {
    Reaction.RETRY: {
        "499": "a proxy on the way gave up",
        "500": "an internal error of the venue",
        "513": "no heartbeat reached the venue within a minute",
        "524": "the venue did not answer its own gateway in time",
        "http 499, http 500, http 502, http 503, http 504, http 524": "the venue's gateway is out of order",
    },
    # What the connection before had counts for some seconds after its end: asked for again, more and more slowly.
    Reaction.RESUBSCRIBE: {"516": "more symbols than the account may have, or the last connection's still count"},
    Reaction.DROP: {
        "503": "more klines than the plan allows",
        "504": "a deeper book than the plan allows",
        "505": "more symbols than a connection may have; limits = { symbols_per_connection = … } spreads them",
        "506": "a parameter is wrong",
        "507": "a parameter is missing",
        "515": "the venue could not read a request as JSON",
        "Subscribe fail": "the gateway refuses a subscription, in words",
        "520": "the symbol belongs to another business than this connection",
    },
    Reaction.SLOW_DOWN: {
        "429": "requests more frequent than the plan allows",
        "501": "more than 60 frames in a minute",
        "http 429": "connections more frequent than the plan allows",
    },
    Reaction.PARK: {
        "401, http 401": "the API key is missing or wrong",
        "404, http 404, 514": "there is no such address: endpoint or business is wrong",
        "427, http 427, 512": "more connections than the plan allows",
        "502": "the requests that the plan allows in a day are used up",
        "508": "the API key has expired",
        "509, 510, 517, 518": "the API key is missing or invalid",
        "511": "the API key is on the venue's black list",
        "519": "the API key has no permission for this",
        "521": "the venue takes no more connections",
    },
}
_REASONS = {
    "heartbeat": "513",
    "config": "404, http 404, 514",
    "quota": "427, http 427, 512, 502, 521",
    "rate": "http 429",
}
_CODES = {code.code: code for code in codes(_REACTIONS, _REASONS)}

_SUBSCRIBE = {"trade": 10000, "depth": 10003, "kline": 10006}
_UNSUBSCRIBE = {"trade": 11000, "depth": 11001, "kline": 11002}
_MOST_CODES = 600  # in one request: "Single WS subscribe exceeds the limit 600"


# --- what frames look like ------------------------------------------------------------------------------------------


class Trade(msgspec.Struct, gc=False):
    """`data` of a trade. Fields in the order of the wire: so they are found at once."""

    p: str = ""
    s: str = ""
    t: int | str = ""  # ms
    td: int | str = ""  # 0 unknown, 1 buy, 2 sell
    v: str = ""
    vw: str = ""  # turnover: p·v
    ty: int | str = ""  # kind of trade, for equities


class Depth(msgspec.Struct, gc=False):
    """`data` of a book: columns of prices and quantities, null for nothing."""

    a: list[list[str]] | None
    b: list[list[str]] | None
    s: str = ""
    t: int | str = ""  # ms


class Kline(msgspec.Struct, gc=False):
    """`data` of a kline."""

    c: str = ""
    h: str = ""
    l: str = ""  # noqa: E741 - the venue's name
    o: str = ""
    pca: str = ""
    pfr: str = ""
    s: str = ""
    t: int | str = ""  # s, when it opens
    ty: int | str = ""  # interval
    v: str = ""
    vw: str = ""  # turnover


class Envelope(msgspec.Struct):
    """Any JSON object the venue has been seen to send. Errors say `traceId` where answers say `trace`."""

    code: int | str | None = None
    msg: str = ""
    trace: str = ""
    traceId: str = ""
    data: msgspec.Raw = msgspec.Raw()


_SHAPES: dict[str, type[Any]] = {"10002": Trade, "10005": Depth, "10008": Kline}
# A tutorial prints pushes with the code of their request; such a frame is taken for what it holds.
_AS_IF = {"10000": "10002", "10003": "10005", "10006": "10008"}
_ACKS = {"10001": False, "10004": False, "10007": False, "11010": True}
_FIXED = {"10002": "trade", "10005": "depth"}  # the channel of a kline is in its `ty`
_HEAD = b'{"code":'


def _reader(code: str, shape: type[Any]) -> tuple[str, Callable[[bytes], Any]]:
    """How usual pushes of a code are read: as nothing else."""
    push = msgspec.defstruct("Push", [("code", Literal[int(code)]), ("data", shape)], gc=False)
    return code, msgspec.json.Decoder(push).decode


_USUAL = {b'%b%b,"' % (_HEAD, code.encode()): _reader(code, shape) for code, shape in _SHAPES.items()}
_envelope = msgspec.json.Decoder(Envelope)
_SIDES = {1: "buy", 2: "sell", "1": "buy", "2": "sell"}


def _trades(lines: Lines, batch: Batch[Any]) -> Rows:
    said: Sequence[Trade] = batch.said
    at = At(batch.frames, batch.routes, [str(t.t) for t in said])
    numbers = [t.p for t in said], [t.v for t in said], [t.vw for t in said]
    return lines.anonymous_trades(at, numbers, [_SIDES.get(t.td, "") for t in said])


def _books(lines: Lines, batch: Batch[Any]) -> Rows:
    said: Sequence[Depth] = batch.said
    nothing: Columns = ()
    at = At(batch.frames, batch.routes, [str(d.t) for d in said])
    return lines.whole_books(at, [(d.b or nothing, d.a or nothing) for d in said])


def _candles(lines: Lines, batch: Batch[Any]) -> Rows:
    said: Sequence[Kline] = batch.said
    at = At(batch.frames, batch.routes, [f"{k.t}000" for k in said])
    columns = ([k.o for k in said], [k.h for k in said], [k.l for k in said], [k.c for k in said])
    return lines.candles(at, (*columns, [k.v for k in said], [k.vw for k in said]), [""] * len(said))


_WRITE = {"trades": _trades, "books": _books, "candles": _candles}


# --- the decoder ----------------------------------------------------------------------------------------------------


class InfowayDecoder(BaseDecoder[Any]):
    """Frames of one feed's run. A message is its `data`."""

    known: ClassVar = {
        table: frozenset(shape.__struct_fields__)
        for table, shape in (("trades", Trade), ("books", Depth), ("candles", Kline))
    }
    intervals: ClassVar = {name: {"1q": "3mo"}.get(name[6:], name[6:]) for name in _TYPES}

    def glance(self, first: int, raws: Sequence[bytes]) -> list[Batch[Any]]:
        """The code stands where it always stands."""
        return [self._usual(*group) for group in by_start(first, raws, len(_HEAD))]

    def _usual(self, start: bytes, frames: Sequence[int], raws: Sequence[bytes]) -> Batch[Any]:
        code, decode = _USUAL[start]
        said = [push.data for push in map(decode, raws)]
        if code not in _FIXED:
            return Batch(frames, [self.routes[_KLINES[each.ty]][each.s] for each in said], raws, said)
        routes = self.routes[_FIXED[code]]
        return Batch(frames, [routes[each.s] for each in said], raws, said)

    def read(self, frame: int, raw: bytes, out: Decoded) -> Item[Any] | None:
        """A push, an answer, or words: the gateway of `stock` greets in plain text, and puts words before errors."""
        start = raw.find(b"{")
        try:
            said = _envelope.decode(raw[start:] if start > 0 else raw)
        except TROUBLE:
            if start == 0:
                raise
            self._words(frame, raw.decode(), out)
            return None
        code, data = str(said.code), bytes(said.data)
        if code in _SHAPES or (code in _AS_IF and b'"s"' in data):
            return self._push(frame, raw, code, data, out)
        self._answer(frame, code, said, raw, out)
        return None

    def _push(self, frame: int, raw: bytes, code: str, data: bytes, out: Decoded) -> Item[Any]:
        fields, kind = texts(data).items(), _AS_IF.get(code, code)
        present = {name: value for name, value in fields if value is not None or name in ("a", "b")}
        said = msgspec.convert(present, _SHAPES[kind])
        if not said.s:
            raise Bad("missing_field")
        route = self.route(_FIXED.get(kind) or _KLINES[said.ty], said.s)
        if kind != code:
            count_drift(route.channel, out)
        return frame, route, raw, said

    @staticmethod
    def _words(frame: int, said: str, out: Decoded) -> None:
        """Not JSON: a refusal, or only a notice."""
        code = "515" if said.startswith("Param not json") else said[:14]
        if code not in _CODES:
            note(frame, "text", Reaction.NONE, said, out)
            return
        announce(frame, Refusal(code, said), _CODES, out)

    @staticmethod
    def _answer(frame: int, code: str, said: Envelope, raw: bytes, out: Decoded) -> None:
        """Replies to our requests, and errors. Any number that we do not know is taken for an error."""
        request = said.trace or said.traceId
        if code in _ACKS:
            out.replies.append(Ack(ended=_ACKS[code], request=request))
        elif code == "10011":
            out.replies.append(Pong())
        elif said.code is None or bytes(said.data):
            count_drift("", out)
            note(frame, "unknown", Reaction.NONE, raw.decode(), out)
        elif code != "200":
            announce(frame, Refusal(code, said.msg, request=request), _CODES, out)

    def read_answer(self, frame: int, raw: bytes, out: Decoded) -> Item[Any] | None:
        """None is ever needed: books come whole."""
        raise Bad("wrong_type")

    def write(self, lines: Lines, batch: Batch[Any]) -> Rows:
        """The lines of data messages of one table."""
        return _WRITE[lines.table](lines, batch)


# --- requests -------------------------------------------------------------------------------------------------------


def _request(code: int, subscriptions: Sequence[Subscription], data: Mapping[str, object]) -> Request:
    """A frame whose trace follows from its content, so that equal requests are equal frames."""
    encoded = msgspec.json.encode(data)
    trace = f"r{code}{crc32(encoded):08x}"
    return Request(b'{"code":%d,"trace":"%b","data":%b}' % (code, trace.encode(), encoded), tuple(subscriptions), trace)


def _kinds(subscriptions: Iterable[Subscription]) -> Iterable[tuple[str, list[Subscription]]]:
    """What can share a request: by kind of channel, at most `_MOST_CODES` each."""
    split: dict[str, list[Subscription]] = {}
    for each in subscriptions:
        split.setdefault("kline" if each.channel in _TYPES else each.channel, []).append(each)
    for kind, some in split.items():
        for n in range(0, len(some), _MOST_CODES):
            yield kind, some[n : n + _MOST_CODES]


def _by_type(subscriptions: Iterable[Subscription]) -> dict[int, list[Subscription]]:
    """Klines by their interval."""
    split: dict[int, list[Subscription]] = {}
    for each in subscriptions:
        split.setdefault(_TYPES[each.channel], []).append(each)
    return split


def _codes_of(subscriptions: Iterable[Subscription]) -> str:
    """All symbols in one string: the venue counts frames."""
    return ",".join(each.symbol for each in subscriptions)


# --- the venue ------------------------------------------------------------------------------------------------------


class Infoway(BaseVenue):
    """The venue contract for Infoway."""

    name = "infoway"
    title = "Infoway"
    endpoints = ("wss://data.infoway.io",)
    rest = "https://data.infoway.io"
    paths: Mapping[str, str] = {"ws": "/ws"}
    channels = verified(_CHANNELS, recorded="trade depth kline_1m")
    codes = tuple(_CODES.values())
    facts = (
        "Infoway's documentation (docs.infoway.io) of August 2026",
        "Infoway's SDKs: Python 0.4.1, Java and Go; where they differ, the newest",
        "frames recorded from its gateway on 2026-08-15: crypto, stock while it was closed; nobody has recorded others",
    )
    options: Mapping[str, str] = {
        "business": f"what the connections serve: {', '.join(BUSINESSES)}",
        "api_key": "the key of your account",
    }
    secrets = frozenset({"api_key"})
    required: Mapping[str, Sequence[str]] = {"business": BUSINESSES, "api_key": ()}
    always: Mapping[str, str] | None = {"business": "crypto"}
    # The venue closes a connection that sent no heartbeat for a minute, and never answers one.
    heartbeat = Heartbeat(b'{"code":10010,"trace":"heartbeat"}', interval=30.0, reply_within=None, idle_only=False)
    # Plans differ (Free: 1 connection with 10 symbols, Pro: 10 with 500) and sources differ about them, so none is
    # assumed: a wrong guess would refuse what somebody pays for. The venue refuses by name what is too much (505, 512).
    limits = Limits(frames_per_minute=60, symbols_per_connection=_MOST_CODES)

    def key(self, channel: str) -> Key | None:
        """Every channel is about a symbol."""
        return Key("symbol", r"[^\s,]+", "BTCUSDT, AAPL.US or USOIL")

    def warnings(self, source: Source) -> list[str]:
        """Symbols that the venue will hardly have; more of them than its Free plan allows."""
        found, symbols = super().warnings(source), {each.symbol for each in wanted(source)}
        if len(symbols) > 10 and not source.limits.get("symbols_per_connection"):
            found.append(
                f"limits: {len(symbols)} symbols are more than the Free plan allows (10 on 1 connection); tell what "
                "yours allows: limits = { max_connections = …, symbols_per_connection = … }"
            )
        return found

    def doubt(self, symbol: str, source: Source) -> str:
        """Only a list of the venue could know for sure."""
        doubt = _doubt(symbol, source.options.get("business", ""))
        return f"{doubt}; the venue accepts what it does not have, and stays silent" if doubt else ""

    def lines(self, source: Source, held: Sequence[Line] = ()) -> list[Line]:
        """Connections named after the business. The key travels in the query, which is never shown."""
        business = source.options.get("business", "")
        query = {"business": business, "apikey": source.options.get("api_key", "")}
        plain = super().lines(source, held)
        return [replace(line, name=f"{business or 'ws'}/{n}", query=query) for n, line in enumerate(plain)]

    def subscribe(self, subscriptions: Sequence[Subscription]) -> list[Request]:
        """All symbols of a kind in one request; klines of all intervals together."""
        found = []
        for kind, some in _kinds(subscriptions):
            data: dict[str, object] = {"codes": _codes_of(some)}
            if kind == "kline":
                data = {"arr": [{"type": n, "codes": _codes_of(of)} for n, of in _by_type(some).items()]}
            found.append(_request(_SUBSCRIBE[kind], some, data))
        return found

    def unsubscribe(self, subscriptions: Sequence[Subscription]) -> list[Request]:
        """A request for each interval of klines: it ends all its intervals for all its symbols."""
        found = []
        for kind, some in _kinds(subscriptions):
            for n, of in (_by_type(some) if kind == "kline" else {0: some}).items():
                types = {"klineTypes": str(n)} if n else {}
                found.append(_request(_UNSUBSCRIBE[kind], of, {"codes": _codes_of(of), **types}))
        return found

    def decoder(self, header: Header, streams: Streams) -> InfowayDecoder:
        """A decoder for the run that `header` describes."""
        return InfowayDecoder(header, streams, self.channel)


def _doubt(symbol: str, business: str) -> str:
    name, _, suffix = symbol.rpartition(".")
    home = _HOMES.get(suffix) if name else "crypto" if re.search(r"USD[TC]$", symbol) else ""
    if symbol != symbol.upper() or re.search(r"[-/_]", symbol):
        return "is not spelled as the venue does it (BTCUSDT, AAPL.US, USOIL)"
    if home is None:
        return "is of no market that this venue is known to list"
    if home and home != business:
        return f"is of business {home}, not {business}"
    if not home and business in _SUFFIXES:
        return f"lacks the suffix of its market ({', '.join(_SUFFIXES[business].split())})"
    return ""


venue = Infoway()
