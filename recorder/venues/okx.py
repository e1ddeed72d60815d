"""OKX v5: everything the recorder knows about this venue.

Owns its channels, limits, error codes, requests and the decoder of its frames (protocol notes: OKX API v5 docs,
"WebSocket" chapters). Never opens a socket and never keeps anything but numbers of streams between bursts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

import msgspec

from recorder.config import Source
from recorder.decoding import BaseDecoder, Book, Item, Lines, Record, Route, count_drift, make_route, note, parse_rest
from recorder.guards import TROUBLE, Bad, levels, name, payload, whole
from recorder.records import NULL, Ack, Decoded, Header, Notice, Pong, Reaction, Refusal, Stream, Streams
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
_keys = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])

# What a message is known to carry beside what we take, by table; anything else is drift.
_KNOWN = {
    "trades": frozenset(("instId", "tradeId", "px", "sz", "side", "ts", "count", "source", "seqId")),
    "tickers": frozenset(Element.__struct_fields__[10:]) | {"ts", "instType", "instId", "sodUtc0", "sodUtc8"},
    "quotes": frozenset(("asks", "bids", "ts", "seqId", "prevSeqId", "instId", "checksum")),
}
_KNOWN["books"] = _KNOWN["quotes"]


# --- what an element of `data` says ---------------------------------------------------------------------------------

_SIDES = {"buy": "buy", "sell": "sell"}
_COUNTS = {"": 1} | {str(n): n for n in range(1, 1000)}


def _trade(item: Element) -> Record:
    if not (item.px and item.sz):
        raise Bad("missing_field")
    first = last = None
    trade, count = item.tradeId, item.count
    if trade.isdecimal() and trade.isascii() and len(trade) < 19:
        last = int(trade)
        first = last - (_COUNTS.get(count) or _count(count)) + 1
    else:
        trade, count = name(trade) or NULL, count and str(_count(count))
    seq = NULL if item.seqId is None else item.seqId
    tail = f"\t{_SIDES.get(item.side, NULL)}\t{trade}\t{count or NULL}\t{seq}\t\\N\tstream"
    return Record(item.ts, "", (item.px, item.sz), tail, first, last)


def _count(text: str) -> int:
    found = whole(text, 1 << 31)
    if not found:
        raise Bad("bad_number")
    return found


def _ticker(item: Element) -> Record:
    prices = (item.last, item.lastSz, item.bidPx, item.bidSz, item.askPx, item.askSz)
    day = (item.open24h, item.high24h, item.low24h, item.vol24h, item.volCcy24h)
    if not any(prices + day):
        raise Bad("missing_field")
    return Record(item.ts, "", prices + day, "\t\\N")


def _quote(item: Element) -> Record:
    if not (bytes(item.bids) and bytes(item.asks)):
        raise Bad("missing_field")
    best = [level for side in (item.bids, item.asks) for level in (levels(side) or [["", ""]])[0][:2]]
    if len(best) != 4:
        raise Bad("bad_levels")
    return Record(item.ts, "", best, f"\t{NULL if item.seqId is None else item.seqId}")


def _candle(item: list[str], route: Route) -> Record:
    """[open time, open, high, low, close, vol, volCcy, volCcyQuote, confirm], the last two since 2022."""
    if not route.interval or not 7 <= len(item) <= 9:
        raise Bad("wrong_type")
    if not (item[0] and item[1]):
        raise Bad("missing_field")
    turnover = item[7] if len(item) > 7 and item[7] else item[6]
    closed = {"1": "t", "0": "f"}.get(item[8], NULL) if len(item) > 8 else NULL
    tail = f"\t{closed}\tstream"
    return Record(item[0], f"{route.interval}\t", (*item[1:6], turnover), tail, route.bar, int(closed == "t"))


def _book(item: Element, kind: str, origin: str) -> Book:
    bids, asks, seq, prev = bytes(item.bids), bytes(item.asks), item.seqId, item.prevSeqId
    if not (bids and asks):
        raise Bad("missing_field")
    integrity = "unverifiable" if seq is None or prev is None else "verified"
    return Book(item.ts, kind, seq, prev, bids, asks, integrity, origin)


_RECORDS = {"trades": _trade, "tickers": _ticker, "quotes": _quote}


# --- the decoder ----------------------------------------------------------------------------------------------------

# "Wrong URL or channel:trades,instId:FOO doesn't exist."
_CULPRIT = re.compile(r"channel:([\w-]+)(?:,\w+:([\w-]+))?")


class OkxDecoder(BaseDecoder[Push]):
    """Frames of one feed's run."""

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
        return frame, self._route(arg.channel, arg.instId or arg.symbol), raw, push

    def _route(self, channel: str, symbol: str) -> Route:
        found = self._routes.get((channel, symbol))
        if found is None:
            known = venue.channel(channel)
            stream = Stream(self.header.source, channel, symbol)
            interval = _INTERVALS.get(channel, "")
            found = make_route(stream, known.table if known else "messages", self.streams, interval)
            self._routes[channel, symbol] = found
        return found

    def write(self, lines: Lines, item: Item[Push]) -> None:
        """The lines of a data message."""
        frame, route, raw, push = item
        if route.table == "messages":
            self._write_messages(lines, item)
            return
        said = push or _lax_push.decode(raw)
        if said.data is None:
            raise Bad("missing_field")
        # books5 is always whole and says no action; every other book says whether it is.
        kind = "snapshot" if route.channel == "books5" else said.action
        for element in said.data:
            if isinstance(element, list):
                lines.record(frame, route, _candle(element, route))
            elif route.table != "books":
                lines.record(frame, route, _RECORDS[route.table](element))
            elif kind in ("snapshot", "update"):
                lines.book(frame, route, _book(element, kind, said.event or "stream"))
            else:
                raise Bad("wrong_type" if kind else "missing_field")

    def _write_messages(self, lines: Lines, item: Item[Push]) -> None:
        """A row for each element of `data`, of whatever kind; without `data` the message itself."""
        frame, route, raw, _ = item
        said = _envelope.decode(raw)
        data = raw if said.data is None else bytes(said.data)
        arg = said.arg or Arg()
        for element in map(bytes, _list.decode(data)) if data.startswith(b"[") else (data,):
            about = _read_about(element)
            symbol = arg.instId or arg.sprdId or about.instId or about.sprdId
            to = self._route(route.channel, symbol) if symbol else route
            lines.record(frame, to, Record(about.ts if about.ts.isdecimal() else "", "", (), payload(element)))

    def names(self, item: Item[Push]) -> frozenset[str]:
        """New fields of the tables' channels."""
        known = _KNOWN.get(item[1].table)
        data = _envelope.decode(item[2]).data if known else None
        return frozenset().union(*_keys.decode(data)) - known if known and data else frozenset()

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

    def _control(self, frame: int, raw: bytes, said: Envelope, out: Decoded) -> None:
        arg = said.arg or Arg()
        code = next((str(each) for each in (said.code, said.error, said.errorCode) if each is not None), "unknown")
        message = said.msg or said.message
        if said.event in ("subscribe", "unsubscribe") and said.arg is not None:
            out.replies.append(Ack(name(arg.channel), name(arg.symbol), said.event == "unsubscribe"))
        elif said.event == "channel-conn-count-error":
            self._refuse(frame, said.event, f"channel:{said.channel} has {said.connCount} connections", said, out)
        elif said.event == "error" or said.error is not None:
            self._refuse(frame, code, message, said, out)
        elif said.event == "notice":
            reaction = _REACTION.get(code, Reaction.NONE)
            out.replies.append(Notice(code, message, reaction))
            note(frame, code, reaction, message, out)
        elif said.event not in ("login", "channel-conn-count"):
            count_drift(arg.channel, out)
            note(frame, "unknown", Reaction.NONE, raw.decode(), out)

    @staticmethod
    def _refuse(frame: int, code: str, message: str, said: Envelope, out: Decoded) -> None:
        """An error names its channel in `arg`, or in its message only, or not at all: then its id must do."""
        about, named, reaction = said.arg, _CULPRIT.search(message), _REACTION.get(code, Reaction.NONE)
        channel, symbol = (about.channel, about.symbol) if about else named.groups("") if named else ("", "")
        out.replies.append(Refusal(code, message, reaction, said.id, channel, symbol))
        note(frame, code, reaction, message, out)

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
        """An element of `args`."""
        channel, symbol, key = subscription.channel, subscription.symbol, self.key(subscription.channel)
        arg = {"channel": channel} | ({key.name: symbol} if key else {})
        if channel == "option-trades":
            arg["instType"] = "OPTION"
        if channel == "estimated-price":
            option, swap = symbol.endswith(("-C", "-P")), symbol.endswith("-SWAP")
            arg["instType"] = "OPTION" if option else "SWAP" if swap else "FUTURES"
        return arg

    def decoder(self, header: Header, streams: Streams) -> OkxDecoder:
        """A decoder for the run that `header` describes."""
        return OkxDecoder(header, streams)


venue = Okx()
