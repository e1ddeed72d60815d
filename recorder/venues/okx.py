"""OKX v5: everything the recorder knows about this venue.

Owns its channels, limits, error codes, requests and the decoder of its frames. Never opens a socket, and keeps
nothing between bursts but the numbers of streams.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from recorder.decoding import BaseDecoder, Item, announce, count_drift, flatten, note, parse_rest
from recorder.guards import TROUBLE, Bad, levels, name
from recorder.lines import At, Lines, Route
from recorder.records import Ack, Decoded, Header, Notice, Pong, Reaction, Refusal, Rows, Streams
from recorder.subscriptions import BaseVenue, Key
from recorder.venues import Channel, Code, Continuity, Heartbeat, Limits, Subscription

_NUMBERED, _CHAINED, _NONE = Continuity.NUMBERED, Continuity.CHAINED, Continuity.NONE
_VIP = "the venue wants a login with VIP tier, which this version does not have"
_UNTABLED = {
    "public": "mark-price index-tickers funding-rate open-interest price-limit estimated-price opt-summary "
    "option-trades instruments liquidation-orders adl-warning status call-auction-details event-contract-markets",
    "business": "mark-price-candle* index-candle* sprd-public-trades sprd-bbo-tbt sprd-books5 sprd-books-l2-tbt "
    "sprd-tickers sprd-candle* block-tickers public-block-trades public-struc-block-trades economic-calendar",
}
_CHANNELS = (
    Channel("trades", "trades", _NUMBERED, "public", "fills of one taker order at one price, added up"),
    Channel("trades-all", "trades", _NUMBERED, "business", "every single fill"),
    Channel("tickers", "tickers", _NONE, "public"),
    Channel("books", "books", _CHAINED, "public", "400 levels, every 100 ms"),
    Channel("books-l2-tbt", "books", _CHAINED, "public", f"400 levels, every 10 ms; {_VIP}"),
    Channel("books50-l2-tbt", "books", _CHAINED, "public", f"50 levels, every 10 ms; {_VIP}"),
    Channel("books-elp", "books", _CHAINED, "public", "orders of enhanced liquidity providers only"),
    Channel("books5", "books", _NONE, "public", "5 levels in full, every 100 ms"),
    Channel("bbo-tbt", "quotes", _NONE, "public", "best bid and offer, every 10 ms"),
    Channel("candle*", "candles", Continuity.BARS, "business", "candle1s … candle3M; from 6H on also candle6Hutc"),
    *(Channel(each, "messages", _NONE, path) for path, names in _UNTABLED.items() for each in names.split()),
)
_LONG = "6H 12H 1D 2D 3D 5D 1W 1M 3M "  # without "utc" they open at midnight of UTC+8
_BARS = f"1s 1m 3m 5m 15m 30m 1H 2H 4H {_LONG}{_LONG.replace(' ', 'utc ')}".split()
_INTERVALS = {f"candle{bar}": bar.removesuffix("utc").replace("M", "mo").lower() for bar in _BARS}
_FAMILIES = {f"{kind}{candle}" for kind in ("", "mark-price-", "index-", "sprd-") for candle in _INTERVALS}

# What a channel is about, where that is no instrument; None: nothing.
_INSTRUMENT = Key("instId", r"[A-Z0-9]+(-[A-Z0-9_]+)+", "BTC-USDT or BTC-USDT-SWAP")
_SPREAD = Key("sprdId", r"[A-Z0-9-]+_[A-Z0-9-]+", "BTC-USDT_BTC-USDT-SWAP")
_FAMILY = Key("instFamily", r"[A-Z0-9]+-[A-Z0-9_]+", "BTC-USD")
_TYPE = Key("instType", "SPOT|MARGIN|SWAP|FUTURES|OPTION", "SPOT, MARGIN, SWAP, FUTURES or OPTION")
_KEYS: dict[str, Key | None] = {
    **dict.fromkeys(("liquidation-orders", "adl-warning", "instruments"), _TYPE),
    **dict.fromkeys(("option-trades", "opt-summary"), _FAMILY),
    **dict.fromkeys(("status", "economic-calendar", "public-struc-block-trades"), None),
}

# Codes in frames have five digits, of close frames four.
_REACTIONS = {
    Reaction.RETRY: {
        "60004 60006 63999": "the login failed for a reason that may pass",
        "4004": "no data in 30 s: no heartbeat reached the venue",
        "4005": "the venue's send buffer is full: we read too slowly",
        "4006": "abnormal disconnect",
    },
    Reaction.RESUBSCRIBE: {"64007": "the operation failed by an internal error of the venue"},
    Reaction.DROP: {
        "60008 64001 64002": "another path serves this channel",
        "60011 60029 64003": "the channel wants a login, a permission or a higher fee tier",
        "60012 60013 60019 60027 60028 60033 64000": "the request or a parameter is invalid",
        "60018": "wrong path, or no such channel or instrument",
        "60020 60025": "too many subscriptions",
        "64004": "conflicts with books-l2-tbt of the same instrument",
        "channel-conn-count-error": "too many connections with this channel",
    },
    Reaction.SLOW_DOWN: {"60014 60023": "requests or logins too frequent"},
    Reaction.PARK: {
        "60005 60007 60009 60024 60032": "the login is refused: key, signature or passphrase",
        "1009 4002": "a request was too large or invalid",
        "4001 4007": "the login failed, or the API key has changed",
        "4003 4008 4009": "more subscriptions than the venue allows",
    },
    Reaction.HAND_OVER: {"64008": "service upgrade: the venue closes this connection in about 60 s"},
    Reaction.NONE: {"60026 60030 60031": "logged in already, or in another way"},
}
_CODES = tuple(
    Code(f"close {code}" if len(code) == 4 else code, meaning, reaction, code == "4004")
    for reaction, meanings in _REACTIONS.items()
    for codes, meaning in meanings.items()
    for code in codes.split()
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
    """An element of `data` of any channel with a table; to look first which one it is would not be faster."""

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
    data: msgspec.Raw = msgspec.Raw()
    event: str = ""
    id: str = ""
    code: str | int | None = None
    msg: str = ""
    channel: str = ""
    connCount: str = ""
    error: str | int | None = None  # {"error":"60012"}, { "error" : 30040 }


_push, _lax_push = msgspec.json.Decoder(Push), msgspec.json.Decoder(Push, strict=False)
_envelope, _about = msgspec.json.Decoder(Envelope), msgspec.json.Decoder(Arg)
_list, _strings = msgspec.json.Decoder(list[msgspec.Raw]), msgspec.json.Decoder(list[str])

# Fields of a ticker in the order of the table, and what else messages are known to carry.
_TICKER = Element.__struct_fields__[10:]
_KNOWN = {
    "trades": frozenset({"instId", "tradeId", "px", "sz", "side", "ts", "count", "source", "seqId"}),
    "tickers": frozenset({*_TICKER, "ts", "instType", "instId", "sodUtc0", "sodUtc8"}),
    **{table: {"asks", "bids", "ts", "seqId", "prevSeqId", "instId", "checksum"} for table in ("quotes", "books")},
}


# --- what an element of `data` says ---------------------------------------------------------------------------------


def _elements(items: Sequence[Item[Push]]) -> list[list[Element | list[str]]]:
    return [push.data if push and push.data else [] for _, _, _, push in items]


def _objects(items: Sequence[Item[Push]]) -> tuple[At, list[Element]]:
    frames, routes, flat = flatten(items, _elements(items))
    found = [each for each in flat if isinstance(each, Element)]
    if len(found) != len(flat):
        raise Bad("wrong_type")
    return At(frames, routes, [each.ts for each in found]), found


def _trades(lines: Lines, items: Sequence[Item[Push]]) -> Rows:
    at, found = _objects(items)
    numbers, sides = ([t.px for t in found], [t.sz for t in found]), [t.side for t in found]
    ids, counts, seqs = [t.tradeId for t in found], [t.count for t in found], [t.seqId for t in found]
    return lines.trades(at, numbers, sides, ids, counts, seqs)


def _tickers(lines: Lines, items: Sequence[Item[Push]]) -> Rows:
    at, found = _objects(items)
    columns = [[getattr(t, field) for t in found] for field in _TICKER]
    return lines.tickers(at, [*columns, [""] * len(found)])


def _quotes(lines: Lines, items: Sequence[Item[Push]]) -> Rows:
    """A best price that is not there is an empty side."""
    at, found = _objects(items)
    best = [[*_best(t.bids), *_best(t.asks)] for t in found]
    return lines.quotes(at, list(zip(*best, strict=True)), [t.seqId for t in found])


def _best(side: msgspec.Raw) -> list[str]:
    rows = levels(side) if bytes(side) else None
    if rows is None or (rows and len(rows[0]) < 2):
        raise Bad("missing_field")
    return rows[0][:2] if rows else ["", ""]


def _candles(lines: Lines, items: Sequence[Item[Push]]) -> Rows:
    """[open time, open, high, low, close, vol, volCcy, volCcyQuote, confirm]; the last two came in 2022."""
    frames, routes, flat = flatten(items, _elements(items))
    bars = [[*bar, "", ""] for bar in flat if isinstance(bar, list) and 7 <= len(bar) <= 9]
    if len(bars) != len(flat):
        raise Bad("wrong_type")
    numbers = [*([bar[i] for bar in bars] for i in range(1, 6)), [bar[7] or bar[6] for bar in bars]]
    return lines.candles(At(frames, routes, [bar[0] for bar in bars]), numbers, [bar[8] for bar in bars])


def _books(lines: Lines, items: Sequence[Item[Push]]) -> Rows:
    """`books5` is always whole and says no action; of the others only a snapshot follows nothing (-1)."""
    at, found = _objects(items)
    kinds = [p.action for _, _, _, p in items if p for _ in p.data or ()]
    if "" in kinds:
        wholes = [route.channel == "books5" or b.prevSeqId == -1 for route, b in zip(at.routes, found, strict=True)]
        kinds = [kind or ("snapshot" if whole else "") for kind, whole in zip(kinds, wholes, strict=True)]
    if not {"snapshot", "update"}.issuperset(kinds):
        raise Bad("missing_field" if "" in kinds else "wrong_type")
    sides = [(bytes(b.bids), bytes(b.asks)) for b in found]
    if any(not (bids and asks) for bids, asks in sides):
        raise Bad("missing_field")
    origin = "rest" if items[0][3] is not None and items[0][3].event else "stream"
    return lines.books(at, kinds, sides, [b.seqId for b in found], [b.prevSeqId for b in found], origin)


_WRITE = {"trades": _trades, "tickers": _tickers, "quotes": _quotes, "candles": _candles, "books": _books}


# --- the decoder ----------------------------------------------------------------------------------------------------

_CULPRIT = re.compile(r"channel:([\w-]+)(?:,\w+:([\w-]+))?")  # "Wrong URL or channel:books,instId:X doesn't exist."


class OkxDecoder(BaseDecoder[Push]):
    """Frames of one feed's run."""

    known = _KNOWN
    intervals = _INTERVALS

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
        return frame, self.routes.get((arg.channel, symbol)) or self.route(arg.channel, symbol), raw, push

    def write(self, lines: Lines, items: Sequence[Item[Push]]) -> Rows:
        """The lines of data messages of one table."""
        return self._messages(lines, items) if lines.table == "messages" else _WRITE[lines.table](lines, items)

    def _messages(self, lines: Lines, items: Sequence[Item[Push]]) -> Rows:
        """A row for each element of `data`, of whatever kind; without `data` the message itself."""
        rows: list[tuple[int, Route, str, bytes]] = []
        for frame, route, raw, _ in items:
            said = _envelope.decode(raw)
            data, arg = bytes(said.data) or raw, said.arg or Arg()
            for element in map(bytes, _list.decode(data)) if data.startswith(b"[") else (data,):
                about = _read_about(element)
                symbol = arg.instId or arg.sprdId or about.instId or about.sprdId
                to = self.route(route.channel, symbol) if symbol else route
                rows.append((frame, to, about.ts if about.ts.isdecimal() else "", element))
        at = At([frame for frame, _, _, _ in rows], [to for _, to, _, _ in rows], [ts for _, _, ts, _ in rows])
        return lines.messages(at, [element for _, _, _, element in rows])

    def _look(self, frame: int, raw: bytes, out: Decoded) -> Item[Push] | None:
        """What is no usual data message: a reply, a data message for the checked path, or poison."""
        if raw == b"pong":
            out.replies.append(Pong())
            return None
        said = _envelope.decode(raw)
        if said.arg is None or said.event:
            self._control(frame, raw, said, out)
            return None
        if not bytes(said.data):
            count_drift(said.arg.channel, out)
        route = self.route(said.arg.channel, said.arg.symbol)
        push = None if route.table == "messages" else _lax_push.decode(raw)
        if push is not None and push.data is None:
            raise Bad("missing_field")
        return frame, route, raw, push

    @staticmethod
    def _control(frame: int, raw: bytes, said: Envelope, out: Decoded) -> None:
        """Replies to our requests, and what the venue says about itself. An error names its channel in `arg`, in its
        message, or not at all: then its id must do."""
        arg, codes = said.arg or Arg(), (said.code, said.error, said.event)
        code = next(str(each) for each in codes if each is not None)
        reaction = _REACTION.get(code, Reaction.NONE)
        if said.event in ("subscribe", "unsubscribe") and said.arg is not None:
            out.replies.append(Ack(name(arg.channel), name(arg.symbol), said.event == "unsubscribe"))
        elif said.event == "notice":
            announce(frame, Notice(code, said.msg, reaction), out)
        elif said.event in ("error", "channel-conn-count-error") or said.error is not None:
            named = None if arg.channel else _CULPRIT.search(said.msg)
            channel, symbol = (named[1], named[2] or "") if named else (arg.channel or said.channel, arg.symbol)
            announce(frame, Refusal(code, said.msg or said.connCount, reaction, said.id, channel, symbol), out)
        elif said.event not in ("login", "channel-conn-count"):
            count_drift(arg.channel, out)
            note(frame, "unknown", Reaction.NONE, raw.decode(), out)

    def read_answer(self, frame: int, raw: bytes, out: Decoded) -> Item[Push] | None:
        """A book: GET /api/v5/market/books."""
        answer = parse_rest(raw)
        said = _envelope.decode(answer.body)
        route = self.route(answer.channel, answer.symbol)
        if said.code != "0" or not bytes(said.data):
            note(frame, str(said.code), Reaction.NONE, said.msg, out)
            return None
        if route.table != "books":
            raise Bad("wrong_type")
        elements = _lax_push.decode(b'{"data":%b}' % bytes(said.data)).data
        return frame, route, raw, Push(None, "snapshot", elements, "rest")


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
    families = _FAMILIES
    conflicts = (("books-l2-tbt", "books"), ("books-l2-tbt", "books50-l2-tbt"))
    private = frozenset({"account", "positions", "balance_and_position", "orders", "orders-algo", "fills"})
    # The venue advises fewer than 30 channels of 50 or 400 levels on a connection.
    heavy = (frozenset({"books", "books-l2-tbt", "books50-l2-tbt", "books-elp"}), 29)
    codes = _CODES
    close_reasons: Mapping[int, str] = {
        4004: "heartbeat",
        1009: "config",
        4002: "config",
        4001: "auth",
        4007: "auth",
        **dict.fromkeys((4003, 4008, 4009), "quota"),
    }
    # Idle connections are closed after 30 s. The venue allows 64 KB of arguments in a request.
    heartbeat = Heartbeat(b"ping", interval=15.0, reply_within=10.0, idle_only=True)
    limits = Limits(connects_per_second=3, operations_per_hour=480, request_bytes=64_000)

    def key(self, channel: str) -> Key | None:
        """What a channel is about."""
        return _KEYS.get(channel, _SPREAD if channel.startswith("sprd-") else _INSTRUMENT)

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
        return OkxDecoder(header, streams, self.channel)


venue = Okx()
