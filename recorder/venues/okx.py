"""OKX v5: everything the recorder knows about this venue.

Owns its channels, limits, error codes, requests and the decoder of its frames. Never opens a socket, and keeps
nothing between bursts but the numbers of streams.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Generic, Literal, TypeVar

import msgspec

from recorder import shapes
from recorder.decoding import BaseDecoder, Batch, Item, announce, by_start, count_drift, flatten, note, parse_rest
from recorder.guards import TROUBLE, Bad, name
from recorder.lines import At, Lines, Route
from recorder.listing import Ask, Instrument, Listing
from recorder.records import Ack, Decoded, Header, Notice, Pong, Reaction, Refusal, Rows, Streams
from recorder.shapes import WRITE
from recorder.spelling import spelled
from recorder.subscriptions import Key, OpVenue, members
from recorder.venues import Channel, Continuity, Heartbeat, Limits, Subscription, Timekeeper, codes, verified

_NUMBERED, _CHAINED, _BARRED, _NONE = Continuity.NUMBERED, Continuity.CHAINED, Continuity.BARS, Continuity.NONE
_VIP = "the venue wants a login with VIP tier, which this version does not have"
_UNTABLED = {
    "public": "opt-summary option-trades instruments adl-warning status call-auction-details event-contract-markets",
    "business": "sprd-public-trades sprd-bbo-tbt sprd-books5 sprd-books-l2-tbt "
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
    Channel("candle*", "candles", _BARRED, "business", "candle1s … candle3M; from 6H on also candle6Hutc"),
    Channel("mark-price-candle*", "candles", _BARRED, "business", "without volumes"),
    Channel("index-candle*", "candles", _BARRED, "business", "without volumes"),
    Channel("mark-price", "reference_prices", _NONE, "public"),
    Channel("index-tickers", "reference_prices", _NONE, "public", "of an index, such as BTC-USDT", 150.0),
    Channel("estimated-price", "reference_prices", _NONE, "public", "in the hour before delivery or settlement", None),
    Channel("price-limit", "reference_prices", _NONE, "public", "two rows; no price: the limit is off", None),
    Channel("funding-rate", "funding_rates", _NONE, "public", "every 30 to 90 s", 200.0),
    Channel("open-interest", "open_interest", _NONE, "public"),
    Channel("liquidation-orders", "liquidations", _NONE, "public", "of a whole type; not complete, not in order", None),
    *(Channel(each, "messages", _NONE, path, "", None) for path, names in _UNTABLED.items() for each in names.split()),
)
_CAPTURED = "books5 bbo-tbt index-tickers funding-rate open-interest liquidation-orders sprd-public-trades sprd-bbo-tbt"
_DEEP = frozenset(each.name for each in _CHANNELS if each.continuity is _CHAINED)
_LONG = "6H 12H 1D 2D 3D 5D 1W 1M 3M "  # without "utc" they open at midnight of UTC+8
_BARS = f"1s 1m 3m 5m 15m 30m 1H 2H 4H {_LONG}{_LONG.replace(' ', 'utc ')}".split()
_INTERVALS = {
    f"{kind}candle{bar}": bar.removesuffix("utc").replace("M", "mo").lower()
    for kind in ("", "mark-price-", "index-", "sprd-")
    for bar in _BARS
}

# What a channel is about, where that is no instrument; None: nothing.
_INSTRUMENT = Key("instId", r"[A-Z0-9]+(-[A-Z0-9_]+)+", "BTC-USDT or BTC-USDT-SWAP", listed=True)
_SPREAD = Key("sprdId", r"[A-Z0-9-]+_[A-Z0-9-]+", "BTC-USDT_BTC-USDT-SWAP")
_FAMILY = Key("instFamily", r"[A-Z0-9]+-[A-Z0-9_]+", "BTC-USD")
_TYPE = Key("instType", "SPOT|MARGIN|SWAP|FUTURES|OPTION", "SPOT, MARGIN, SWAP, FUTURES or OPTION")
_KEYS: dict[str, Key | None] = {
    **dict.fromkeys(("liquidation-orders", "adl-warning", "instruments"), _TYPE),
    **dict.fromkeys(("option-trades", "opt-summary"), _FAMILY),
    **dict.fromkeys(("status", "economic-calendar", "public-struc-block-trades"), None),
}

_REACTIONS = {
    Reaction.RETRY: {
        "60004, 60006, 63999": "the login failed for a reason that may pass",
        "close 4004": "no data in 30 s: no heartbeat reached the venue",
        "close 4005": "the venue's send buffer is full: we read too slowly",
        "close 4006": "abnormal disconnect",
    },
    Reaction.RESUBSCRIBE: {"64007": "the operation failed by an internal error of the venue"},
    Reaction.DROP: {
        "60008, 64001, 64002": "another path serves this channel",
        "60011, 60029, 64003": "the channel wants a login, a permission or a higher fee tier",
        "60012, 60013, 60019, 60027, 60028, 60033, 64000": "the request or a parameter is invalid",
        "60018": "wrong path, or no such channel or instrument",
        "30040": "no such channel or instrument (a code of the retired v3; the signature has nothing to do with it)",
        "60020, 60025": "too many subscriptions",
        "64004": "conflicts with books-l2-tbt of the same instrument",
        "channel-conn-count-error": "too many connections with this channel",
    },
    Reaction.SLOW_DOWN: {"60014, 60023": "requests or logins too frequent"},
    Reaction.PARK: {
        "60005, 60007, 60009, 60024, 60032": "the login is refused: key, signature or passphrase",
        "close 1009, close 4002": "a request was too large or invalid",
        "close 4001, close 4007": "the login failed, or the API key has changed",
        "close 4003, close 4008, close 4009": "more subscriptions than the venue allows",
    },
    Reaction.HAND_OVER: {"64008": "service upgrade: the venue closes this connection in about 60 s"},
    Reaction.NONE: {"60026, 60030, 60031": "logged in already, or in another way"},
}
_REASONS = {
    "heartbeat": "close 4004",
    "config": "close 1009, close 4002",
    "quota": "close 4003, close 4008, close 4009",
}
_CODES = {code.code: code for code in codes(_REACTIONS, _REASONS)}


# --- what frames look like ------------------------------------------------------------------------------------------


class Arg(msgspec.Struct, frozen=True, gc=False):
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


E = TypeVar("E")


class Push(msgspec.Struct, Generic[E], gc=False):
    """A data message. Everything else has an `event`."""

    data: list[E]
    arg: Arg = Arg()
    action: str = ""
    event: Literal[""] = ""


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


_Book = spelled(shapes.Book, "asks bids time=ts checksum prev_seq=prevSeqId seq=seqId", also="instId")
_Order = spelled(shapes.Liquidation, "side position_side=posSide price=bkPx size=sz time=ts")


class Liquidations(msgspec.Struct, gc=False):
    """An element of `liquidation-orders`."""

    instId: str
    details: list[_Order]  # type: ignore[valid-type]


_TICKER = (
    "last_price=last last_size=lastSz ask_price=askPx ask_size=askSz bid_price=bidPx bid_size=bidSz open_24h=open24h "
    "high_24h=high24h low_24h=low24h turnover_24h=volCcy24h volume_24h=vol24h time=ts"
)
_FUNDING = (
    "rate=fundingRate next_rate=nextFundingRate funding_time=fundingTime next_funding_time=nextFundingTime time=ts",
    "instId instType method formulaType minFundingRate maxFundingRate interestRate impactValue settState "
    "settFundingRate premium",
)
_SHAPES: dict[str, Any] = {
    "trades": spelled(shapes.Trade, "trade_id=tradeId price=px size=sz side time=ts count seq=seqId", "instId source"),
    "tickers": spelled(shapes.Ticker, _TICKER, also="instType instId sodUtc0 sodUtc8"),
    "quotes": _Book,
    "books": _Book,
    "candles": list[str],
    "reference_prices": spelled(
        shapes.Reference,
        "mark=markPx index=idxPx estimated=settlePx limit_up=buyLmt limit_down=sellLmt time=ts",
        also="instId instType high24h low24h open24h sodUtc0 sodUtc8 settleType enabled",
    ),
    "funding_rates": spelled(shapes.Funding, *_FUNDING),
    "open_interest": spelled(shapes.Interest, "contracts=oi amount=oiCcy value_usd=oiUsd time=ts", "instId instType"),
    "liquidations": Liquidations,
}
_generic: Any = Push
_PUSHES = {table: _generic[shape] for table, shape in _SHAPES.items()}
_LAX = {table: msgspec.json.Decoder(push, strict=False) for table, push in _PUSHES.items()}
_envelope, _about = msgspec.json.Decoder(Envelope), msgspec.json.Decoder(Arg)
_list, _strings = msgspec.json.Decoder(list[msgspec.Raw]), msgspec.json.Decoder(list[str])


# How usual messages begin, up to the channel's name: their channel, and how they are read.
_HEAD = b'{"arg":{"channel":"'
_USUAL = {
    b'%b%b"' % (_HEAD, each.encode()): (each, msgspec.json.Decoder(_PUSHES[channel.table]).decode)
    for channel in _CHANNELS
    if channel.table in _PUSHES
    for each in members(channel, _INTERVALS)
}


def _bar(bar: list[str], route: Route) -> list[str]:
    """[open time, open, high, low, close, vol, volCcy, volCcyQuote, confirm]; the last two came in 2022. Of marks and
    indices: [open time, open, high, low, close, confirm]."""
    if route.channel.startswith("candle"):
        if 7 <= len(bar) <= 9:
            *front, in_coins, in_quote, closed = [*bar, "", ""][:9]
            return [*front, in_quote or in_coins, closed]
    elif len(bar) == 6:
        return [*bar[:5], "", "", bar[5]]
    raise Bad("wrong_type")


def _books(lines: Lines, at: At, found: list[Any], batch: Batch[Push[Any]]) -> Rows:
    """`books5` is always whole and says no action; of the others only a snapshot follows nothing (-1)."""
    kinds = [push.action for push in batch.said for _ in push.data]
    if "" in kinds:
        wholes = [route.channel == "books5" or b.prev_seq == -1 for route, b in zip(at.routes, found, strict=True)]
        kinds = [kind or ("snapshot" if whole else "") for kind, whole in zip(kinds, wholes, strict=True)]
    return shapes.books(lines, at, found, kinds)


_LISTED = (
    "type=instType symbol=instId base=baseCcy quote=quoteCcy settle=settleCcy contract_value=ctVal "
    "listed_at=listTime expires_at=expTime tick_size=tickSz lot_size=lotSz state"
)


# --- the decoder ----------------------------------------------------------------------------------------------------

_CULPRIT = re.compile(r"channel:([\w-]+)(?:,\w+:([\w-]+))?")  # "Wrong URL or channel:books,instId:X doesn't exist."


class OkxDecoder(BaseDecoder[Push[Any]]):
    """Frames of one feed's run."""

    known: ClassVar = {table: shape.sent for table, shape in _SHAPES.items() if hasattr(shape, "sent")}
    intervals = _INTERVALS
    passing: ClassVar = {start: channel for start, (channel, _) in _USUAL.items() if channel not in _DEEP}
    past = len(_HEAD)

    def glance(self, first: int, raws: Sequence[bytes]) -> list[Batch[Push[Any]]]:
        """The channel stands where it always stands, so each message is decoded as what it is, and only once."""
        return [self._usual(*group) for group in by_start(first, raws, len(_HEAD))]

    def _usual(self, start: bytes, frames: Sequence[int], raws: Sequence[bytes]) -> Batch[Push[Any]]:
        channel, decode = _USUAL[start]
        said, routes = list(map(decode, raws)), self.routes[channel]
        return Batch(frames, [routes[push.arg.instId] for push in said], raws, said)

    def read(self, frame: int, raw: bytes, out: Decoded) -> Item[Push[Any]] | None:
        """A reply, a data message, or poison."""
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
        if route.table not in _LAX:
            return frame, route, raw, Push([])
        if not bytes(said.data):
            raise Bad("missing_field")
        return frame, route, raw, _LAX[route.table].decode(raw)

    def write(self, lines: Lines, batch: Batch[Push[Any]]) -> Rows:
        """The lines of data messages of one table."""
        if lines.table in ("messages", "liquidations"):
            return (self._messages if lines.table == "messages" else self._liquidations)(lines, batch)
        frames, routes, found = flatten(batch, [push.data for push in batch.said])
        if lines.table == "candles":
            bars = list(map(_bar, found, routes))
            return shapes.candles(lines, At(frames, routes, [bar[0] for bar in bars]), [bar[1:] for bar in bars])
        at = At(frames, routes, [each.time for each in found])
        return _books(lines, at, found, batch) if lines.table == "books" else WRITE[lines.table](lines, at, found)

    def _liquidations(self, lines: Lines, batch: Batch[Push[Any]]) -> Rows:
        """A message is about a whole type, its elements about an instrument each, with a row for each order."""
        frames, routes, found = flatten(batch, [push.data for push in batch.said])
        rows = [
            (frame, self.route(route.channel, each.instId), order)
            for frame, route, each in zip(frames, routes, found, strict=True)
            for order in each.details
        ]
        at = At.of((frame, route, order.time) for frame, route, order in rows)
        return WRITE[lines.table](lines, at, [order for _, _, order in rows])

    def _messages(self, lines: Lines, batch: Batch[Push[Any]]) -> Rows:
        """A row for each element of `data`, of whatever kind; without `data` the message itself."""
        rows: list[tuple[int, Route, str, bytes]] = []
        for frame, route, raw, _ in zip(*batch, strict=True):
            said = _envelope.decode(raw)
            data, arg = bytes(said.data) or raw, said.arg or Arg()
            for element in map(bytes, _list.decode(data)) if data.startswith(b"[") else (data,):
                about = Arg()
                with suppress(*TROUBLE):  # time and instrument, where it says them in the usual way
                    about = Arg(ts=_strings.decode(element)[0]) if element[:1] == b"[" else _about.decode(element)
                symbol = arg.instId or arg.sprdId or about.instId or about.sprdId
                to = self.route(route.channel, symbol) if symbol else route
                rows.append((frame, to, about.ts if about.ts.isdecimal() else "", element))
        return lines.messages(At.of(row[:3] for row in rows), [element for _, _, _, element in rows])

    @staticmethod
    def _control(frame: int, raw: bytes, said: Envelope, out: Decoded) -> None:
        """Replies to our requests, and what the venue says about itself. An error names its channel in `arg`, in its
        message, or not at all: then its id must do."""
        arg, codes = said.arg or Arg(), (said.code, said.error, said.event)
        code = next(str(each) for each in codes if each is not None)
        if said.event in ("subscribe", "unsubscribe") and said.arg is not None:
            out.replies.append(Ack(name(arg.channel), name(arg.symbol), said.event == "unsubscribe"))
        elif said.event == "notice":
            announce(frame, Notice(code, said.msg), _CODES, out)
        elif said.event in ("error", "channel-conn-count-error") or said.error is not None:
            named = None if arg.channel else _CULPRIT.search(said.msg)
            channel, symbol = (named[1], named[2] or "") if named else (arg.channel or said.channel, arg.symbol)
            error = Refusal(code, said.msg or said.connCount, Reaction.NONE, said.id, channel, symbol)
            announce(frame, error, _CODES, out)
        elif said.event not in ("login", "channel-conn-count"):
            count_drift(arg.channel, out)
            note(frame, "unknown", Reaction.NONE, raw.decode(), out)

    def read_answer(self, frame: int, raw: bytes, out: Decoded) -> Item[Push[Any]] | None:
        """A book: GET /api/v5/market/books."""
        answer = parse_rest(raw)
        said = _envelope.decode(answer.body)
        route = self.route(answer.channel, answer.symbol)
        if said.code != "0" or not bytes(said.data):
            note(frame, str(said.code), Reaction.NONE, said.msg, out)
            return None
        if route.table != "books":
            raise Bad("wrong_type")
        return frame, route, raw, _LAX["books"].decode(b'{"action":"snapshot","data":%b}' % bytes(said.data))


# --- the venue ------------------------------------------------------------------------------------------------------


class Okx(OpVenue):
    """The venue contract for OKX."""

    name = "okx"
    title = "OKX v5"
    endpoints = ("wss://ws.okx.com:8443", "wss://wsaws.okx.com:8443")
    rest = "https://www.okx.com"
    paths: Mapping[str, str] = {"public": "/ws/v5/public", "business": "/ws/v5/business"}
    channels = verified(_CHANNELS, "trades tickers books books-l2-tbt candle*", _CAPTURED)
    families = frozenset(_INTERVALS)
    conflicts = (("books-l2-tbt", "books"), ("books-l2-tbt", "books50-l2-tbt"))
    private = frozenset({"account", "positions", "balance_and_position", "orders", "orders-algo", "fills"})
    # The venue advises fewer than 30 channels of 50 or 400 levels on a connection.
    heavy = (_DEEP, 29)
    always: Mapping[str, str] | None = {}
    codes = tuple(_CODES.values())
    facts = ("OKX's v5 API documentation of August 2026", "frames recorded from its sockets from 2021 to 2023")
    # Idle connections are closed after 30 s. The venue allows 64 KB of arguments in a request.
    heartbeat = Heartbeat(b"ping", interval=15.0, reply_within=10.0, idle_only=True)
    limits = Limits(3, operations_per_hour=480, request_bytes=64_000, book_requests_per_second=20)
    listing = Listing(
        tuple(Ask("/api/v5/public/instruments", {"instType": each}) for each in ("SPOT", "SWAP", "FUTURES")),
        spelled(Instrument, _LISTED),
        live=frozenset({"live", "preopen"}),
    )
    time = Timekeeper("/api/v5/public/time", ("data", 0, "ts"))

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

    def book_request(self, subscription: Subscription) -> Ask | None:
        """GET /api/v5/market/books gives at most 400 levels of the book of all orders, with its `seqId`."""
        levels = {"books": "400", "books-l2-tbt": "400", "books50-l2-tbt": "50"}.get(subscription.channel)
        return Ask("/api/v5/market/books", {"instId": subscription.symbol, "sz": levels}) if levels else None

    def decoder(self, header: Header, streams: Streams) -> OkxDecoder:
        """A decoder for the run that `header` describes."""
        return OkxDecoder(header, streams, self.channel)


venue = Okx()
