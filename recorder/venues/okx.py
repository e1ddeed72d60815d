"""OKX v5: everything the recorder knows about this venue.

Owns its channels, limits, error codes, requests and the decoder of its frames (protocol notes: OKX API v5 docs,
"WebSocket" chapters). Never opens a socket and never keeps anything but numbers of streams between bursts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from recorder.config import Source
from recorder.decoding import BaseDecoder, Item, count_drift, note, parse_rest
from recorder.guards import TROUBLE, Bad, levels, name, payload
from recorder.lines import At, Lines, Route, make_route
from recorder.records import Ack, Decoded, Header, Notice, Pong, Reaction, Refusal, Rows, Stream, Streams
from recorder.subscriptions import BaseVenue, Key, wanted
from recorder.venues import Channel, Code, Continuity, Heartbeat, Limits, Subscription

_VIP = "needs a login with VIP tier, which this version does not have: the venue refuses it"
_NUMBERED, _CHAINED, _NONE = Continuity.NUMBERED, Continuity.CHAINED, Continuity.NONE
_TABLED = (
    Channel("trades", "trades", _NUMBERED, "public", "fills of one taker order at one price, added up"),
    Channel("trades-all", "trades", _NUMBERED, "business", "every single fill"),
    Channel("tickers", "tickers", _NONE, "public"),
    Channel("books", "books", _CHAINED, "public", "400 levels, every 100 ms"),
    Channel("books-l2-tbt", "books", _CHAINED, "public", f"400 levels, every 10 ms; {_VIP}"),
    Channel("books50-l2-tbt", "books", _CHAINED, "public", f"50 levels, every 10 ms; {_VIP}"),
    Channel("books-elp", "books", _CHAINED, "public", "orders of enhanced liquidity providers only"),
    Channel("books5", "books", _NONE, "public", "5 levels in full, every 100 ms"),
    Channel("bbo-tbt", "quotes", _NONE, "public", "best bid and offer, every 10 ms"),
    Channel(
        "candle*", "candles", Continuity.BARS, "business", "candle1s … candle3M; 6H and longer also in UTC: candle6Hutc"
    ),
)
_UNTABLED = {
    "public": "mark-price index-tickers funding-rate open-interest price-limit estimated-price opt-summary "
    "option-trades instruments liquidation-orders adl-warning status call-auction-details event-contract-markets",
    "business": "mark-price-candle* index-candle* sprd-public-trades sprd-bbo-tbt sprd-books5 sprd-books-l2-tbt "
    "sprd-tickers sprd-candle* block-tickers public-block-trades public-struc-block-trades economic-calendar",
}
_CHANNELS = _TABLED + tuple(
    Channel(each, "messages", _NONE, path) for path, names in _UNTABLED.items() for each in names.split()
)
_BARS = "1s 1m 3m 5m 15m 30m 1H 2H 4H 6H 12H 1D 2D 3D 5D 1W 1M 3M "
_UTC = "6Hutc 12Hutc 1Dutc 2Dutc 3Dutc 5Dutc 1Wutc 1Mutc 3Mutc"
_INTERVALS = {f"candle{bar}": bar.removesuffix("utc").replace("M", "mo").lower() for bar in (_BARS + _UTC).split()}

# What names the instrument in a request where it is not `instId`, and how each kind of name looks.
_KEYS = {
    **dict.fromkeys(("liquidation-orders", "adl-warning", "instruments"), "instType"),
    **dict.fromkeys(("option-trades", "opt-summary"), "instFamily"),
    **dict.fromkeys(("status", "economic-calendar", "public-struc-block-trades"), ""),
}
_KEY = {
    "instId": Key("instId", r"[A-Z0-9]+(-[A-Z0-9_]+)+", "BTC-USDT or BTC-USDT-SWAP"),
    "sprdId": Key("sprdId", r"[A-Z0-9-]+_[A-Z0-9-]+", "BTC-USDT_BTC-USDT-SWAP"),
    "instFamily": Key("instFamily", r"[A-Z0-9]+-[A-Z0-9_]+", "BTC-USD"),
    "instType": Key("instType", "SPOT|MARGIN|SWAP|FUTURES|OPTION", "SPOT, MARGIN, SWAP, FUTURES or OPTION"),
}

_REACTIONS = {
    Reaction.RETRY: {
        "60004 60006": "the timestamp of a login is wrong or has expired",
        "63999": "internal error of the venue at login",
        "close 4004": "no data in 30 s: no heartbeat reached the venue",
        "close 4005": "the venue's send buffer is full: we read too slowly",
        "close 4006": "abnormal disconnect",
    },
    Reaction.RESUBSCRIBE: {"64007": "the operation failed by an internal error of the venue"},
    Reaction.DROP: {
        "60008 64002": "this path does not serve the channel",
        "60011 60029": "the channel wants a login or permission",
        "60012 60013 60019 60027 60028 60033 64000": "the request or a parameter is invalid",
        "60018": "wrong path, or no such channel or instrument",
        "60020 60025": "too many subscriptions",
        "64001": "the channel has moved to the business path",
        "64003": "the account's fee tier is too low for this channel",
        "64004": "conflicts with books-l2-tbt of the same instrument",
        "channel-conn-count-error": "too many connections with this channel",
    },
    Reaction.SLOW_DOWN: {"60014 60023": "requests or logins too frequent"},
    Reaction.PARK: {
        "60005 60007 60009 60024 60032": "the login is refused: key, signature or passphrase",
        "close 1009,close 4002": "the venue closed the connection over an invalid or too large request",
        "close 4001,close 4007": "the login failed, or the API key has changed",
        "close 4003,close 4008,close 4009": "more subscriptions than the venue allows",
    },
    Reaction.HAND_OVER: {"64008": "service upgrade: the venue closes this connection in about 60 s"},
    Reaction.NONE: {"60026 60030 60031": "logged in already, or in another way"},
}
_CODES = tuple(
    Code(code, meaning, reaction, code == "close 4004")
    for reaction, meanings in _REACTIONS.items()
    for codes, meaning in meanings.items()
    for code in (codes.split(",") if codes.startswith("close") else codes.split())
)
_REACTION = {code.code: code.reaction for code in _CODES}


# --- what frames look like ------------------------------------------------------------------------------------------

Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Arg(msgspec.Struct, gc=False):
    """What a message is about."""

    channel: str = ""
    instId: str = ""
    sprdId: str = ""
    instFamily: str = ""
    instType: str = ""
    ts: str = ""  # where an element of `data` is read for what it is about

    @property
    def symbol(self) -> str:
        """The symbol as it was subscribed."""
        return self.instId or self.sprdId or self.instFamily or self.instType


class Element(msgspec.Struct, gc=False):
    """An element of `data` of any channel with a table: decoding all at once is as fast as looking first which
    one it is (0.68 µs a trade either way, measured), and needs no second opinion about the frame."""

    ts: str = ""
    px: str = ""
    sz: str = ""
    side: str = ""
    tradeId: str = ""
    count: str = ""
    seqId: Int | None = None
    prevSeqId: Int | None = None
    bids: msgspec.Raw = msgspec.Raw()
    asks: msgspec.Raw = msgspec.Raw()
    last: str = ""
    lastSz: str = ""
    bidPx: str = ""
    bidSz: str = ""
    askPx: str = ""
    askSz: str = ""
    open24h: str = ""
    high24h: str = ""
    low24h: str = ""
    vol24h: str = ""
    volCcy24h: str = ""


class Push(msgspec.Struct, gc=False):
    """A data message. `event` is there in everything else; `rest` is our own word for an answer."""

    arg: Arg | None = None
    action: str = ""
    data: list[Element | list[str]] | None = None
    event: str = ""


class Envelope(msgspec.Struct):
    """Any JSON object the venue has been seen to send, now or years ago."""

    arg: Arg | None = None
    data: msgspec.Raw | None = None
    event: str = ""
    id: str = ""
    code: str | int | None = None
    msg: str = ""
    channel: str = ""
    connCount: str = ""
    error: str | int | None = None  # {"error":"60012"}, { "error" : 30040 }
    errorCode: str | int | None = None
    message: str = ""


_push = msgspec.json.Decoder(Push)
_lax_push = msgspec.json.Decoder(Push, strict=False)
_lax_elements = msgspec.json.Decoder(list[Element | list[str]], strict=False)
_envelope = msgspec.json.Decoder(Envelope)
_list = msgspec.json.Decoder(list[msgspec.Raw])
_about = msgspec.json.Decoder(Arg)
_strings = msgspec.json.Decoder(list[str])

_TICKER = [
    "last",
    "lastSz",
    "bidPx",
    "bidSz",
    "askPx",
    "askSz",
    "open24h",
    "high24h",
    "low24h",
    "vol24h",
    "volCcy24h",
]  # as in the table


# --- what an element of `data` says ---------------------------------------------------------------------------------


def _objects(items: Sequence[Item[Push]], checked: bool) -> tuple[At, list[Element]]:
    """All elements that are objects, and where they belong."""
    frames: list[int] = []
    routes: list[Route] = []
    found: list[Element] = []
    for frame, route, raw, push in items:
        for element in _elements(raw, push, checked):
            if isinstance(element, list):
                raise Bad("wrong_type")
            frames.append(frame)
            routes.append(route)
            found.append(element)
    return At(frames, routes, [element.ts for element in found]), found


def _elements(raw: bytes, push: Push | None, checked: bool) -> list[Element | list[str]]:
    if push is None and checked:
        push = _lax_push.decode(raw)
    if push is None or push.data is None:
        raise Bad("missing_field")
    return push.data


def _trades(lines: Lines, items: Sequence[Item[Push]]) -> Rows:
    at, found = _objects(items, lines.checked)
    return lines.trades(
        at,
        ([t.px for t in found], [t.sz for t in found]),
        [t.side for t in found],
        [t.tradeId for t in found],
        [t.count for t in found],
        [t.seqId for t in found],
    )


def _tickers(lines: Lines, items: Sequence[Item[Push]]) -> Rows:
    at, found = _objects(items, lines.checked)
    columns = [[getattr(t, field) for t in found] for field in _TICKER]
    if any(not any(row) for row in zip(*columns, strict=True)):
        raise Bad("missing_field")
    return lines.tickers(at, [*columns, [""] * len(found)])


def _quotes(lines: Lines, items: Sequence[Item[Push]]) -> Rows:
    """A best price that is not there is an empty side."""
    at, found = _objects(items, lines.checked)
    best = [[*_best(t.bids), *_best(t.asks)] for t in found]
    return lines.quotes(at, list(zip(*best, strict=True)), [t.seqId for t in found])


def _best(side: msgspec.Raw) -> list[str]:
    rows = levels(side) if bytes(side) else None
    if rows is None or (rows and len(rows[0]) < 2):
        raise Bad("missing_field")
    return rows[0][:2] if rows else ["", ""]


def _candles(lines: Lines, items: Sequence[Item[Push]]) -> Rows:
    """[open time, open, high, low, close, vol, volCcy, volCcyQuote, confirm]; the last two came in 2022."""
    found: list[tuple[int, Route, list[str]]] = []
    for frame, route, raw, push in items:
        for each in _elements(raw, push, lines.checked):
            if not isinstance(each, list) or not 7 <= len(each) <= 9:
                raise Bad("wrong_type")
            found.append((frame, route, each + [""] * (9 - len(each))))
    bars = [bar for _, _, bar in found]
    numbers = [*([bar[i] for bar in bars] for i in range(1, 6)), [bar[7] or bar[6] for bar in bars]]
    at = At([f for f, _, _ in found], [r for _, r, _ in found], [bar[0] for bar in bars])
    return lines.candles(at, numbers, [bar[8] for bar in bars])


def _books(lines: Lines, items: Sequence[Item[Push]]) -> Rows:
    """`books5` is always whole and says no action; every other book says whether it is."""
    at, found = _objects(items, lines.checked)
    kinds, origin = [], "stream"
    for _, route, raw, push in items:
        said = push or _lax_push.decode(raw)
        kind = "snapshot" if route.channel == "books5" else said.action
        if kind not in ("snapshot", "update"):
            raise Bad("wrong_type" if kind else "missing_field")
        kinds += [kind] * len(said.data or ())
        origin = said.event or origin
    sides = [(bytes(b.bids), bytes(b.asks)) for b in found]
    if any(not (bids and asks) for bids, asks in sides):
        raise Bad("missing_field")
    return lines.books(at, kinds, sides, [b.seqId for b in found], [b.prevSeqId for b in found], origin)


_WRITE = {"trades": _trades, "tickers": _tickers, "quotes": _quotes, "candles": _candles, "books": _books}


# --- the decoder ----------------------------------------------------------------------------------------------------

# "Wrong URL or channel:trades,instId:FOO doesn't exist."
_CULPRIT = re.compile(r"channel:([\w-]+)(?:,\w+:([\w-]+))?")


class OkxDecoder(BaseDecoder[Push]):
    """Frames of one feed's run."""

    known = {
        "trades": frozenset(["instId", "tradeId", "px", "sz", "side", "ts", "count", "source", "seqId"]),
        "tickers": frozenset([*_TICKER, *["ts", "instType", "instId", "sodUtc0", "sodUtc8"]]),
        **dict.fromkeys(
            ("quotes", "books"), frozenset(["asks", "bids", "ts", "seqId", "prevSeqId", "instId", "checksum"])
        ),
    }

    def __init__(self, header: Header, streams: Streams) -> None:
        super().__init__(header, streams)
        self._routes: dict[tuple[str, str], Route] = {}

    def read(self, frame: int, raw: bytes, out: Decoded) -> Item[Push] | None:
        """The usual data message with one typed decode, everything else with a closer look."""
        try:
            push = _push.decode(raw)
        except TROUBLE:
            return self._look(frame, raw, out)
        arg = push.arg
        if arg is None or push.data is None or push.event:
            return self._look(frame, raw, out)
        symbol = arg.instId or arg.symbol
        return frame, self._routes.get((arg.channel, symbol)) or self._route(arg.channel, symbol), raw, push

    def _route(self, channel: str, symbol: str) -> Route:
        found = self._routes.get((channel, symbol))
        if found is None:
            known = venue.channel(channel)
            stream = Stream(self.header.source, channel, symbol)
            interval = _INTERVALS.get(channel, "")
            found = make_route(stream, known.table if known else "messages", self.streams, interval)
            self._routes[channel, symbol] = found
        return found

    def write(self, lines: Lines, items: Sequence[Item[Push]]) -> Rows:
        """The lines of data messages of one table."""
        if not any(push is None or push.data for _, _, _, push in items):
            return Rows(b"", [], [], [], [], [])
        return self._messages(lines, items) if lines.table == "messages" else _WRITE[lines.table](lines, items)

    def _messages(self, lines: Lines, items: Sequence[Item[Push]]) -> Rows:
        """A row for each element of `data`, of whatever kind; without `data` the message itself."""
        rows: list[tuple[int, Route, str, str]] = []
        for frame, route, raw, _ in items:
            said = _envelope.decode(raw)
            data, arg = raw if said.data is None else bytes(said.data), said.arg or Arg()
            for element in map(bytes, _list.decode(data)) if data.startswith(b"[") else (data,):
                about = _read_about(element)
                symbol = arg.instId or arg.sprdId or about.instId or about.sprdId
                to = self._route(route.channel, symbol) if symbol else route
                rows.append((frame, to, about.ts if about.ts.isdecimal() else "", payload(element)))
        frames, routes, milliseconds, payloads = zip(*rows, strict=True)
        return lines.messages(At(frames, routes, milliseconds), payloads)

    def _look(self, frame: int, raw: bytes, out: Decoded) -> Item[Push] | None:
        """What is no usual data message: a reply, a data message for the checked path, or poison."""
        if raw == b"pong":
            out.replies.append(Pong())
            return None
        said = _envelope.decode(raw)
        if said.arg is None or said.event:
            self._control(frame, raw, said, out)
            return None
        if said.data is None:
            count_drift(said.arg.channel, out)
        return frame, self._route(said.arg.channel, said.arg.symbol), raw, None

    @staticmethod
    def _control(frame: int, raw: bytes, said: Envelope, out: Decoded) -> None:
        """Replies to our requests, and what the venue says about itself. An error names its channel in `arg`, in its
        message, or not at all: then its id must do."""
        arg, message, code = said.arg or Arg(), said.msg or said.message, "unknown"
        code = next((str(each) for each in (said.code, said.error, said.errorCode) if each is not None), code)
        reaction = _REACTION.get(code, Reaction.NONE)
        if said.event in ("subscribe", "unsubscribe") and said.arg is not None:
            out.replies.append(Ack(name(arg.channel), name(arg.symbol), said.event == "unsubscribe"))
        elif said.event == "notice":
            out.replies.append(Notice(code, message, reaction))
            note(frame, code, reaction, message, out)
        elif said.event == "channel-conn-count-error":
            out.replies.append(Refusal(said.event, said.connCount, Reaction.DROP, said.id, said.channel))
            note(frame, said.event, Reaction.DROP, f"{said.channel}: {said.connCount} connections", out)
        elif said.event == "error" or said.error is not None:
            named = _CULPRIT.search(message)
            channel, symbol = (named[1], named[2] or "") if named and said.arg is None else (arg.channel, arg.symbol)
            out.replies.append(Refusal(code, message, reaction, said.id, channel, symbol))
            note(frame, code, reaction, message, out)
        elif said.event not in ("login", "channel-conn-count"):
            count_drift(arg.channel, out)
            note(frame, "unknown", Reaction.NONE, raw.decode(), out)

    def read_answer(self, frame: int, raw: bytes, out: Decoded) -> Item[Push] | None:
        """A book: GET /api/v5/market/books."""
        answer = parse_rest(raw)
        said = _envelope.decode(answer.body)
        route = self._route(answer.channel, answer.symbol)
        if said.code != "0" or said.data is None:
            note(frame, str(said.code), Reaction.NONE, said.msg, out)
            return None
        if route.table != "books":
            raise Bad("wrong_type")
        return frame, route, raw, Push(None, "snapshot", _lax_elements.decode(said.data), "rest")


def _read_about(element: bytes) -> Arg:
    """Time and instrument of a payload, where it says them in the usual way."""
    try:
        return Arg(ts=_strings.decode(element)[0]) if element.startswith(b"[") else _about.decode(element)
    except TROUBLE:
        return Arg()


# --- the venue ------------------------------------------------------------------------------------------------------


class Okx(BaseVenue):
    """The venue contract for OKX."""

    name = "okx"
    title = "OKX v5"
    endpoints = ("wss://ws.okx.com:8443", "wss://wsaws.okx.com:8443")
    rest = "https://www.okx.com"
    paths: Mapping[str, str] = {"public": "/ws/v5/public", "business": "/ws/v5/business"}
    channels = _CHANNELS
    families = tuple(_INTERVALS)
    private = frozenset(
        ["account", "positions", "balance_and_position", "orders", "orders-algo", "algo-advance", "fills"]
    )
    # The venue advises fewer than 30 channels of 50 or 400 levels on a connection.
    heavy = (frozenset({"books", "books-l2-tbt", "books50-l2-tbt", "books-elp"}), 29)
    codes = _CODES
    close_reasons = {4004: "heartbeat", 1009: "config", 4002: "config", 4001: "auth", 4007: "auth"} | dict.fromkeys(
        (4003, 4008, 4009), "quota"
    )
    # Idle connections are closed after 30 s. The venue allows 64 KB of arguments in a request.
    heartbeat = Heartbeat(b"ping", interval=15.0, reply_within=10.0, idle_only=True)
    limits = Limits(connects_per_second=3, operations_per_hour=480, request_bytes=64_000)

    def channel(self, name: str) -> Channel | None:
        """The channel a name belongs to; candles only of lengths that exist."""
        found = super().channel(name)
        exists = found is None or "candle" not in name or name[name.index("candle") :] in _INTERVALS
        return found if exists else None

    def check(self, source: Source) -> list[str]:
        """Everything wrong with a source, one sentence each."""
        asked = wanted(source)
        return super().check(source) + [
            f'"{fast.symbol}" cannot have both books-l2-tbt and {slow}: the venue refuses one of them (64004)'
            for fast in asked
            for slow in ("books", "books50-l2-tbt")
            if fast.channel == "books-l2-tbt" and Subscription(slow, fast.symbol) in asked
        ]

    def key(self, channel: str) -> Key | None:
        """Most channels are about an instrument."""
        return _KEY.get(_KEYS.get(channel, "sprdId" if channel.startswith("sprd-") else "instId"))

    def arg(self, subscription: Subscription) -> dict[str, str]:
        """An element of `args`. Where the type must be told as well, it shows in the symbol."""
        channel, symbol, key = subscription.channel, subscription.symbol, self.key(subscription.channel)
        arg = {"channel": channel} | ({key.name: symbol} if key else {})
        if channel in ("option-trades", "estimated-price"):
            option = channel == "option-trades" or symbol.endswith(("-C", "-P"))
            arg["instType"] = "OPTION" if option else "SWAP" if symbol.endswith("-SWAP") else "FUTURES"
        return arg

    def decoder(self, header: Header, streams: Streams) -> OkxDecoder:
        """A decoder for the run that `header` describes."""
        return OkxDecoder(header, streams)


venue = Okx()
