"""OKEx v3, the protocol before OKX v5: everything the recorder knows about this venue.

Owns its channels, limits, error codes, requests and the decoder of its frames. Never opens a socket, and keeps
nothing between bursts but the numbers of streams.

The venue gave it up in 2022, OKCoin in 2023; it lives on in recordings and in hosts that imitate it. Each frame is
compressed by the venue itself. Nothing has a sequence number: books are proven by their checksums, trades by their ids.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar, Generic, Literal, TypeVar

import msgspec

from recorder import shapes
from recorder.config import Source
from recorder.decoding import Batch, Item, announce, by_start, count_drift, flatten, note, texts
from recorder.guards import TROUBLE, Bad, name
from recorder.lines import At, Lines
from recorder.records import Ack, Decoded, Header, Pong, Reaction, Refusal, Rows, Streams
from recorder.spelling import Shape, spelled
from recorder.subscriptions import Key, OpVenue, members
from recorder.venues import Channel, Continuity, Heartbeat, Limits, Line, Subscription, codes, verified
from recorder.venues._deflate import Inflating
from recorder.venues._login import OPTIONS, credentials, missing
from recorder.venues._retired import doubts

# Trades of spot are counted without holes: all pairs of neighbours among the recorded frames, and all 89 that the same
# engine sent over v5 in 2021 and 2022. Those of derivatives were made of the time in 2018 and 2019: 2578238628528131,
# of 2019-03-31 23:59:59.388 UTC, is the milliseconds since 2018 began in UTC+8, times 65536, and a counter; all that is
# known of them later is that they rise.
_NONE, _PROVEN = Continuity.NONE, "proven by its checksum"
_KNOWN = (
    Channel("ticker", "tickers", _NONE, "ws"),
    Channel("trade", "trades", Continuity.ORDERED, "ws", "ids rise; until 2019 made of the time, with holes"),
    Channel("depth", "books", Continuity.CHAINED, "ws", f"400 levels (200 in 2019), every 100 ms; {_PROVEN}"),
    Channel("depth_l2_tbt", "books", Continuity.CHAINED, "ws", f"400 levels, every change; {_PROVEN}"),
    Channel("depth5", "books", _NONE, "ws", "5 levels in full, every 100 ms"),
    Channel("candle*", "candles", Continuity.BARS, "ws", "candle60s … candle604800s, never marked as closed"),
    Channel("mark_price", "reference_prices", _NONE, "ws"),
    Channel("price_range", "reference_prices", _NONE, "ws", "two rows: highest bid and lowest ask allowed", None),
    Channel("estimated_price", "reference_prices", _NONE, "ws", "in the hour before delivery", None),
    Channel("funding_rate", "funding_rates", _NONE, "ws", "without a time of its own", 200.0),
    Channel("liquidation", "liquidations", _NONE, "ws", "not the venue's: made of REST answers by others", None),
    Channel("instruments", "messages", _NONE, "ws", "", None),
    Channel("summary", "messages", _NONE, "ws", "greeks and volatilities of all options of an underlying", None),
    Channel("status", "messages", _NONE, "ws", "", None),
    Channel("spot/trade", "trades", Continuity.NUMBERED, "ws", "ids run on: one for each match"),
    Channel("index/ticker", "reference_prices", _NONE, "ws", "of an index, such as BTC-USD", 150.0),
)
_MARKET = "ticker trade depth depth_l2_tbt depth5 candle*"
_OFFERED = {
    "spot": _MARKET,
    "futures": f"{_MARKET} mark_price price_range estimated_price liquidation instruments",
    "swap": f"{_MARKET} mark_price price_range funding_rate liquidation",
    "option": f"{_MARKET} summary instruments",
    "index": "ticker candle*",
    "system": "status",
}
_WORDS = {each.name: each for each in _KNOWN}
_CHANNELS = tuple(
    replace(_WORDS.get(f"{kind}/{word}", _WORDS[word]), name=f"{kind}/{word}")
    for kind, words in _OFFERED.items()
    for word in words.split()
)
_BARS = {"1m": 60, "3m": 180, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "2h": 7200, "4h": 14400, "6h": 21600}
_BARS |= {"12h": 43200, "1d": 86400, "1w": 604800}
_INTERVALS = {f"{kind}/candle{n}s": bar for kind in _OFFERED if kind != "system" for bar, n in _BARS.items()}
_CAPTURED = (
    "spot/candle* futures/depth futures/depth_l2_tbt futures/liquidation futures/mark_price futures/ticker "
    "futures/trade option/depth option/depth_l2_tbt option/summary option/ticker option/trade swap/depth5 "
    "swap/depth_l2_tbt swap/funding_rate swap/mark_price swap/ticker swap/trade"
)
_PRIVATE = ("account", "margin_account", "position", "order", "order_algo")
_PAIR = r"[A-Z0-9]+-[A-Z0-9]+"
_KEYS = {
    "spot": Key("spot instrument", _PAIR, "BTC-USDT"),
    "futures": Key("futures instrument", rf"{_PAIR}-\d{{6}}", "BTC-USD-190628"),
    "swap": Key("swap instrument", rf"{_PAIR}-SWAP", "BTC-USD-SWAP"),
    "option": Key("option instrument", rf"{_PAIR}-\d{{6}}-[0-9.]+-[CP]", "BTC-USD-210604-30000-P"),
    "index": Key("index or underlying", _PAIR, "BTC-USD"),
}
# What v5 calls what v3 has, for whoever comes from there.
_V5 = {f"candle{bar if 'm' in bar else bar.upper()}": f"candle{seconds}s" for bar, seconds in _BARS.items()}
_V5 |= dict.fromkeys(("trades", "trades-all"), "trade") | dict.fromkeys(("books5", "bbo-tbt"), "depth5")
_V5 |= dict.fromkeys(("books-l2-tbt", "books50-l2-tbt"), "depth_l2_tbt") | {"books": "depth", "opt-summary": "summary"}
_V5 |= {"tickers": "ticker", "index-tickers": "ticker", "mark-price": "mark_price", "price-limit": "price_range"}
_V5 |= {"funding-rate": "funding_rate", "estimated-price": "estimated_price", "liquidation-orders": "liquidation"}

_REACTIONS = {
    Reaction.RETRY: {"30009, 30043": "an internal error of the venue"},
    Reaction.RESUBSCRIBE: {"30030, 30037": "this part of the venue is offline, or failed"},
    Reaction.DROP: {
        "30031, 30032, 30033, 30034, 30036": "no such token, pair or exchange, or no data of it",
        "30039": "the venue does not recognize the request",
        "30040": "no such channel or instrument (the signature has nothing to do with it)",
        "30041": "the channel wants a login",
    },
    Reaction.SLOW_DOWN: {"30014, 30026": "requests too frequent"},
    Reaction.PARK: {
        "30000, 30007": "there is no such address, or it takes something else",
        "30001, 30002, 30003, 30004": "the login lacks its key, signature, time or passphrase",
        "30005, 30008": "the time of the login is invalid or too old: is the clock of this machine right?",
        "30006, 30010, 30012, 30013, 30015, 30027, login": "the login is refused: key, signature or passphrase",
        "30011, 30038": "the account is no more, or may not be used from this address",
    },
    Reaction.NONE: {"30042": "logged in already"},
}
_CODES = {code.code: code for code in codes(_REACTIONS, {"config": "30000, 30007"})}


class Fill(shapes.Trade, gc=False):
    """An element of `trade`: `size` of spot and swap, `qty` of futures and options."""

    qty: str = ""

    def __post_init__(self) -> None:
        self.size = self.size or self.qty


class Candle(Shape, gc=False):
    """An element of `candle60s`: [open time, open, high, low, close, volume], and the volume in coins of a contract."""

    candle: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 6 <= len(self.candle) <= 7:
            raise Bad("wrong_type")
        self.time, self.candle = self.candle[0], (*self.candle[1:], "", "")[:7]


class Funding(shapes.Funding, gc=False):
    """An element of `funding_rate`."""

    def __post_init__(self) -> None:
        self.funding_time, self.next_funding_time = map(_milliseconds, (self.funding_time, self.next_funding_time))


class Liquidation(shapes.Liquidation, gc=False):
    """An element of `liquidation`. A long position is closed by selling."""

    def __post_init__(self) -> None:
        self.side, self.position_side = {"3": ("sell", "long"), "4": ("buy", "short")}.get(self.side, ("", ""))


Message: Any = msgspec.defstruct("Message", [("payload", bytes, b"")], bases=(Shape,), gc=False)  # of other channels
_ABOUT = "symbol=instrument_id time=timestamp"
_SIZES = f"{_ABOUT} bid_size=best_bid_size ask_size=best_ask_size last_size=last_qty"
_TICKER = "last_price=last open_24h bid_price=best_bid high_24h low_24h {} ask_price=best_ask {}"
_SPOT = _TICKER.format("volume_24h=base_volume_24h turnover_24h=quote_volume_24h", _SIZES)
_CONTRACT = _TICKER.format("volume_24h turnover_24h=volume_token_24h", f"open_interest {_SIZES}")
_PRICES = "index=last mark=mark_price estimated=settlement_price limit_up=highest limit_down=lowest"
_FUNDING = "next_rate=estimated_rate rate=funding_rate funding_time next_funding_time=settlement_time"
_SHAPES: dict[str, Any] = {
    "trades": spelled(Fill, f"side trade_id price size qty {_ABOUT}"),
    "tickers": spelled(shapes.Ticker, _CONTRACT, "open_utc0 open_utc8 base_volume_24h quote_volume_24h"),
    "spot/ticker": spelled(shapes.Ticker, _SPOT),
    "books": spelled(shapes.Book, "symbol=instrument_id asks bids time=timestamp checksum"),
    "candles": spelled(Candle, "candle symbol=instrument_id"),
    "reference_prices": spelled(shapes.Reference, f"{_PRICES} {_ABOUT}", also="high_24h low_24h open_24h"),
    "funding_rates": spelled(Funding, f"{_FUNDING} {_ABOUT}", also="interest_rate"),
    "liquidations": spelled(Liquidation, "size price time=created_at side=type symbol=instrument_id", "loss"),
}
E = TypeVar("E")


class Push(msgspec.Struct, Generic[E], gc=False):
    """A data message. Everything else has an `event`."""

    data: list[E]
    action: str = ""
    event: Literal[""] = ""


class Envelope(msgspec.Struct):
    """Any JSON object the venue has been seen to send."""

    table: str = ""
    data: msgspec.Raw = msgspec.Raw()
    action: str = ""
    event: str = ""
    channel: str = ""
    message: str = ""
    errorCode: int | str | None = None
    success: bool | str | None = None


_generic: Any = Push
_READ = {
    each: _SHAPES.get(channel.name) or _SHAPES[channel.table]
    for channel in _CHANNELS
    if channel.table in _SHAPES
    for each in members(channel, _INTERVALS)
}
# How usual messages begin, up to the channel's name: their channel, and how they are read.
_HEAD = b'{"table":"'
_USUAL = {
    b'%b%b"' % (_HEAD, channel.encode()): (channel, msgspec.json.Decoder(_generic[shape]).decode)
    for channel, shape in _READ.items()
}
_envelope = msgspec.json.Decoder(Envelope)
_list = msgspec.json.Decoder(list[msgspec.Raw])
_about = msgspec.json.Decoder(spelled(Shape, _ABOUT))
_KINDS = {"partial": "snapshot", "depth5": "snapshot"}  # `depth5` says no action
_QUOTED = (b'"]]', b"[]")  # how the sides of a book end that hold strings only, as since 2020
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z", re.ASCII)
_CULPRIT = re.compile(r"\b((?:spot|futures|swap|option|index|system)/\w+)(?::([\w-]+(?:\.\d[\w-]*)?))?")


@lru_cache(maxsize=4096)
def _milliseconds(iso: str) -> str:
    """2021-07-22T23:16:39.168Z in milliseconds since 1970, for `At`, which judges it. Records share milliseconds, so
    most times cost one look-up."""
    if iso and not _TIME.fullmatch(iso):
        raise Bad("bad_number")
    try:
        return f"{datetime.fromisoformat(iso).timestamp() * 1000:.0f}" if iso else ""
    except ValueError:
        raise Bad("bad_number") from None


def _element(shape: Any, raw: bytes) -> Any:
    """An element with numbers where strings are usual, as they are spelled: orders were counted in numbers in 2019."""
    if shape is None:
        about = Shape()
        with suppress(*TROUBLE):  # instrument and time, where it says them in the usual way
            found = _about.decode(raw)
            about = Shape(_milliseconds(found.time) and found.time, found.symbol)
        return Message(about.time, about.symbol, raw)
    said = {each: value for each, value in texts(raw).items() if value is not None}
    said |= {each: msgspec.Raw(msgspec.json.encode(said[each])) for each in ("asks", "bids") if each in said}
    return msgspec.convert(said, shape, strict=False)


# --- the decoder ----------------------------------------------------------------------------------------------------


class OkexV3Decoder(Inflating[Push[Any]]):
    """Frames of one feed's run."""

    known: ClassVar = {table: shape.sent for table, shape in _SHAPES.items()}
    intervals = _INTERVALS
    passing: ClassVar = {
        start: channel for start, (channel, _) in _USUAL.items() if not channel.endswith(("depth", "tbt"))
    }
    past = len(_HEAD)

    def glance(self, first: int, raws: Sequence[bytes]) -> list[Batch[Push[Any]]]:
        """The channel stands where it always stands."""
        return [self._usual(*group) for group in by_start(first, raws, len(_HEAD))]

    def _usual(self, start: bytes, frames: Sequence[int], raws: Sequence[bytes]) -> Batch[Push[Any]]:
        channel, decode = _USUAL[start]
        said, routes = list(map(decode, raws)), self.routes[channel]
        only = [each for (each,) in [push.data for push in said]]
        if "/depth" in channel and not all(bytes(s)[-3:] in _QUOTED for each in only for s in (each.asks, each.bids)):
            raise Bad("bad_levels")
        return Batch(frames, [routes[each.symbol] for each in only], raws, said)

    def read(self, frame: int, raw: bytes, out: Decoded) -> Item[Push[Any]] | None:
        """A reply, a data message, or poison."""
        if raw == b"pong":
            out.replies.append(Pong())
            return None
        said = _envelope.decode(raw)
        if said.event or not said.table:
            self._control(frame, raw, said, out)
            return None
        shape = _READ.get(said.table)
        elements = [_element(shape, bytes(each)) for each in _list.decode(said.data)]
        if not elements or (shape is not None and not all(each.symbol for each in elements)):
            raise Bad("missing_field")
        return frame, self.route(said.table, elements[0].symbol), raw, Push(elements, said.action)

    def read_answer(self, frame: int, raw: bytes, out: Decoded) -> Item[Push[Any]] | None:
        """None is ever needed: books are asked for over the stream."""
        raise Bad("wrong_type")

    @staticmethod
    def _control(frame: int, raw: bytes, said: Envelope, out: Decoded) -> None:
        """Replies to our requests. An error has no id, and names its channel in words, or not at all."""
        channel, _, symbol = said.channel.partition(":")
        if said.event in ("subscribe", "unsubscribe") and channel:
            out.replies.append(Ack(name(channel), name(symbol), said.event == "unsubscribe"))
        elif said.event == "error" or (said.event == "login" and said.success not in (True, "true")):
            culprit = _CULPRIT.search(f"{said.channel} {said.message}")
            channel, symbol = (culprit[1], culprit[2] or "") if culprit else ("", "")
            code = said.event if said.errorCode is None else str(said.errorCode)
            announce(frame, Refusal(code, said.message, channel=channel, symbol=symbol), _CODES, out)
        elif said.event != "login":
            count_drift("", out)
            note(frame, "unknown", Reaction.NONE, raw.decode(), out)

    def write(self, lines: Lines, batch: Batch[Push[Any]]) -> Rows:
        """The lines of data messages of one table."""
        frames, routes, found = flatten(batch, [push.data for push in batch.said])
        if len(found) > len(batch.said):  # elements may be of several instruments
            routes = [self.route(route.channel, each.symbol) for route, each in zip(routes, found, strict=True)]
        at = At(frames, routes, [_milliseconds(each.time) for each in found])
        if lines.table == "messages":
            return lines.messages(at, [each.payload for each in found])
        if lines.table == "candles":
            return shapes.candles(lines, at, [each.candle for each in found])
        if lines.table == "books":
            actions = [push.action for push in batch.said for _ in push.data]
            kinds = [_KINDS.get(a or r.channel.partition("/")[2], a) for a, r in zip(actions, routes, strict=True)]
            return shapes.books(lines, at, found, kinds)
        return shapes.WRITE[lines.table](lines, at, found)


# --- the venue ------------------------------------------------------------------------------------------------------


class OkexV3(OpVenue):
    """The venue contract for OKEx v3."""

    name = "okex_v3"
    title = "OKEx v3 (retired in 2022)"
    endpoints = ("wss://real.okex.com:8443",)
    rest = ""  # asked for nothing
    paths: Mapping[str, str] = {"ws": "/ws/v3"}
    channels = verified(_CHANNELS, "spot/depth spot/depth_l2_tbt spot/ticker spot/trade", _CAPTURED)
    families = frozenset(_INTERVALS)
    numbered = False
    private = frozenset(f"{kind}/{word}" for kind in _KEYS for word in _PRIVATE)
    always: Mapping[str, str] | None = {}
    codes = tuple(_CODES.values())
    facts = (
        "the venue gave the protocol up in 2022, OKCoin in 2023: no host of theirs answers it any more",
        "frames recorded from OKCoin's socket on 2021-07-22, books of 2019, single messages of 2019 to 2022",
        "the venue's v3 SDKs; its documentation and table of error codes as other programs quote them",
    )
    options = OPTIONS
    secrets = frozenset(OPTIONS)
    heartbeat = Heartbeat(b"ping", interval=15.0, reply_within=10.0, idle_only=True)  # closed after 30 s of silence
    limits = Limits(1, operations_per_hour=240, request_bytes=4096)

    def key(self, channel: str) -> Key | None:
        """What a channel is about."""
        kind, _, word = channel.partition("/")
        index = word == "summary" or channel == "option/instruments"
        return _KEYS["index"] if index else None if word == "instruments" else _KEYS.get(kind)

    def arg(self, subscription: Subscription) -> str:
        """An element of `args`."""
        return f"{subscription.channel}:{subscription.symbol}" if subscription.symbol else subscription.channel

    def lines(self, source: Source, held: Sequence[Line] = ()) -> list[Line]:
        """Each connection logs in where there is a key."""
        login = credentials(source.options)
        return [replace(line, login=login) for line in super().lines(source, held)]

    def warnings(self, source: Source) -> list[str]:
        """Hosts that do not answer."""
        return [*super().warnings(source), *doubts(source)]

    def _check_options(self, source: Source) -> Iterator[str]:
        return missing(source.options)

    def _check_channel(self, channel: str, symbols: Sequence[str]) -> str:
        """A name of v5, or one without its kind, is the channel of the kind that the symbols are."""
        if self.channel(channel) is None and "/" not in channel:
            fitting = [kind for kind, key in _KEYS.items() if symbols and not key.problem(symbols[0])]
            for kind in (*fitting, *_OFFERED):
                if self.channel(meant := f"{kind}/{_V5.get(channel, channel)}"):
                    return f'there is no channel "{channel}"; did you mean "{meant}"?'
        return super()._check_channel(channel, symbols)

    def decoder(self, header: Header, streams: Streams) -> OkexV3Decoder:
        """A decoder for the run that `header` describes."""
        return OkexV3Decoder(header, streams, self.channel)


venue = OkexV3()
