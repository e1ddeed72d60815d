"""What OKEx v1 pushes, and when: trades ten times a second, several in a message; books, tickers and indices when they
changed; bars every second.

Owns the last trades of every instrument and what each channel showed last. Never reads what a client sends, never
decides whether a subscription is allowed.

Documented: ticker and depth only when they changed, trades that were new since the last push, the whole book first and
then its changes, the estimated price of delivery unasked in the last hour before it. Captured: a first message of deals
with the trades of the last 20 seconds. Our guess: that it is up to 60 of them (as many as REST gave) on every
subscription; the present state at once on the others; ten pushes a second, one of bars and indices; that a bar's last
revision and the first of the next one share a message, as two bars do in the documents' example.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from recorder.simulator.book import Level, Update
from recorder.simulator.deflate import BINARY, NOISE, bomb, deflated_frame, truncated
from recorder.simulator.fanout import Fanout, Key, Subscriber
from recorder.simulator.market import Instrument, Match, Trade
from recorder.simulator.okex_v1.names import (
    BOOK,
    FORECAST,
    INDEX,
    KLINE,
    TICKER,
    TOP,
    TRADES,
    Channel,
    coin_of,
    delivery,
    future,
    parse,
    trades_name,
    week_of,
)
from recorder.simulator.okex_v1.options import Switched
from recorder.simulator.okex_v1.oracle import Ids
from recorder.simulator.okex_v1.text import Text, enveloped, forecast, index, pushed
from recorder.simulator.spans import HOUR
from recorder.simulator.wire import frame

AGAIN = 60  # trades that come on subscribing
BAD_FRAMES = (
    frame(b'[{"binary":0,"channel":"ok_sub_spot_btc_usdt_deals","data":[["1","'),
    frame(b'[{"binary":0,"channel":"ok_sub_spot_btc_usdt_deals","data":[["x",{},[],null,"up"]]}]'),
    frame(b'[{"binary":0,"channel":"ok_sub_spot_btc_usdt_depth","data":{"asks":1,"bids":[["1"]],"timestamp":"x"}}]'),
    frame(b'[{"binary":0,"channel":"x","data":' + b"[" * 2_000 + b"]" * 2_000 + b"}]"),
    frame(b"\x00\x01\x02", BINARY),
)


GOOD = b'[{"binary":1,"channel":"ok_sub_spot_btc_usdt_deals","data":[["1","1","1","00:00:00","bid"]]}]'
BAD_PACKED = (
    frame(bomb(), BINARY),
    frame(NOISE, BINARY),
    frame(truncated(GOOD), BINARY),
    deflated_frame(GOOD[:-9]),
    deflated_frame(GOOD.replace(b"00:00:00", b"24:61")),
)


class Manner(NamedTuple):
    """How a subscription's messages come: compressed or not, and what `binary` says of them."""

    packed: bool
    binary: int

    def frame(self, message: bytes) -> bytes:
        """A finished frame."""
        return deflated_frame(message) if self.packed else frame(message)


PLAIN = Manner(packed=False, binary=0)


@dataclass(slots=True, eq=False)
class Reader(Subscriber):
    """A subscriber, and in which manner it wants to be told."""

    manner: Manner = PLAIN


class Pusher(Fanout):
    """The listener of a market: formats an event only when somebody wants it. A key is a channel's name, and the symbol
    that it is about."""

    def __init__(self, instruments: Mapping[str, Instrument], switched: Switched) -> None:
        super().__init__(instruments, switched, BAD_FRAMES)
        self.ids = Ids(instruments)
        self.texts = {symbol: Text(one.listing, switched) for symbol, one in instruments.items()}
        self._switched = switched
        self._new: dict[str, list[Trade]] = {}
        self._last: dict[str, deque[Match]] = {symbol: deque(maxlen=AGAIN) for symbol in instruments}
        self._driven: dict[str, dict[Key, Channel]] = {}  # what is wanted, by the instrument that drives it
        self._shown: dict[Key, str] = {}

    # --- who wants what -----------------------------------------------------------------------------------------------

    def driver(self, channel: Channel) -> Instrument | None:
        """The instrument whose time and price a channel runs on, None where nothing like that is listed."""
        if channel.kind not in (INDEX, FORECAST):
            return self._instruments.get(channel.symbol)
        coin = coin_of(channel.symbol)
        if future(coin, "this_week") not in self._instruments:
            return None
        pair = f"{coin}_usdt" if channel.kind == INDEX else ""
        return self._instruments.get(pair) or self._instruments[future(coin, "this_week")]

    def add(self, key: Key, subscriber: Subscriber) -> None:
        """Send a channel to a connection from now on."""
        super().add(key, subscriber)
        channel = parse(key[0])
        driver = self.driver(channel) if channel is not None else None
        if channel is not None and driver is not None:
            self._driven.setdefault(driver.listing.symbol, {})[key] = channel

    def greet(self, channel: Channel, reader: Reader) -> None:
        """What comes first on a subscription: the last trades again, the whole book, the present state."""
        key, instrument = (channel.name, channel.symbol), self.driver(channel)
        if instrument is None or channel.kind == FORECAST or reader.link.silent or self._faults.mutes(*key):
            return
        if channel.kind == TRADES:
            self._again(channel, reader)
            return
        if channel.kind == BOOK:
            instrument.publish(self)  # else those who are here already would miss what is pending
            book = instrument.book
            sides = book.bids.top(book.depth), book.asks.top(book.depth)
            self._tell([reader], self._book(channel.name, instrument, sides))
            return
        mark, data = self._state(channel, instrument, instrument.now_us // 1000)
        if not self._wanted.get(key):
            self._shown[key] = mark
        self._tell([reader], pushed(channel.name, data))

    def _again(self, channel: Channel, reader: Reader) -> None:
        rows = self._last[channel.symbol]
        for match in rows:
            reader.page.add(channel.symbol, match.trade_id, match.trade_id)
        if rows:
            self._tell([reader], pushed(channel.name, self._trades(channel.symbol, rows)))

    # --- the market's events ------------------------------------------------------------------------------------------

    def on_trade(self, instrument: Instrument, trade: Trade) -> None:
        """It waits for the next push."""
        symbol = instrument.listing.symbol
        if not self.withheld(symbol, trade):
            self._new.setdefault(symbol, []).append(trade)

    def on_top(self, instrument: Instrument) -> None:
        """Nothing is pushed that fast."""

    def on_book(self, instrument: Instrument, update: Update) -> None:
        """Changes of `depth`; a minute without any brings nothing."""
        symbol = instrument.listing.symbol
        keys = [key for key, channel in self._driven.get(symbol, {}).items() if channel.kind == BOOK]
        if keys and (update.bids or update.asks) and not self._faults.breaks(symbol):
            for key in keys:
                self.push(key, partial(self._book, key[0], instrument, (update.bids, update.asks)))

    def on_tenth(self, instrument: Instrument) -> None:
        """New trades, and what changed of tickers and small books."""
        symbol = instrument.listing.symbol
        self._push_trades(instrument, self._new.pop(symbol, []))
        self._look(instrument, instrument.now_us // 1000, (TICKER, TOP))

    def on_second(self, instrument: Instrument, at_ms: int) -> None:
        """Bars and indices, and the estimate of what is delivered soon."""
        self._look(instrument, at_ms, (KLINE, INDEX))
        symbol = instrument.listing.symbol
        if week_of(symbol) == "this_week" and delivery("this_week", at_ms) - at_ms <= HOUR:
            self._estimate(instrument, at_ms)

    # --- sending ------------------------------------------------------------------------------------------------------

    def send(self, subscribers: Collection[Subscriber], message: bytes) -> None:
        """Send a message, here without its envelope, to these, each in its own manner."""
        self._tell(subscribers, message)

    def _tell(self, subscribers: Iterable[Subscriber], body: bytes, *, marked: bool = True) -> None:
        groups: dict[Manner, list[Subscriber]] = {}
        for one in subscribers:
            assert isinstance(one, Reader)
            groups.setdefault(one.manner, []).append(one)
        for manner, readers in groups.items():
            message = enveloped(body, manner.binary if marked else None, self._switched.manners)
            bad = BAD_PACKED if manner.packed else BAD_FRAMES
            self.deliver(readers, message, manner.frame(message), bad)

    def _push_trades(self, instrument: Instrument, trades: Sequence[Trade]) -> None:
        if not trades:
            return
        symbol, tape = instrument.listing.symbol, instrument.tape
        key = (trades_name(symbol), symbol)
        waiting = self.waiting(key)
        rows = [tape.match(n) for one in trades for n in range(one.first, one.last + 1)]
        self._last[symbol].extend(rows)
        if waiting:
            for trade in trades:
                self.record(key, trade)
            self._tell(waiting, pushed(key[0], self._trades(symbol, rows)))

    def _trades(self, symbol: str, rows: Iterable[Match]) -> str:
        return self.texts[symbol].trades((self.ids.of(symbol, match.trade_id), match) for match in rows)

    def _look(self, instrument: Instrument, at_ms: int, kinds: tuple[str, ...]) -> None:
        """Push what is driven by this instrument and shows something else than last time."""
        for key, channel in self._driven.get(instrument.listing.symbol, {}).items():
            if channel.kind not in kinds or not self.waiting(key):
                continue
            mark, data = self._state(channel, instrument, at_ms)
            if mark != self._shown.get(key):
                self._shown[key] = mark
                self.push(key, partial(pushed, channel.name, data))

    def _state(self, channel: Channel, instrument: Instrument, at_ms: int) -> tuple[str, str]:
        """What a channel shows now, without its stamp and as data."""
        text = self.texts[instrument.listing.symbol]
        if channel.kind == TICKER:
            fields = text.ticker(instrument)
            return fields, text.stamped(fields, at_ms)
        if channel.kind == TOP:
            book = instrument.book
            sides = book.bids.top(channel.levels), book.asks.top(channel.levels)
            return str(sides), text.book(instrument, sides, at_ms)
        if channel.kind == INDEX:
            return index(instrument.mark, instrument.listing.price_places, at_ms)
        rows = self._bars(channel, instrument, at_ms)
        return rows[-1], f"[{','.join(rows)}]"

    def _bars(self, channel: Channel, instrument: Instrument, at_ms: int) -> list[str]:
        """The running bar, after the one that ends now, if one does."""
        spans = dict.fromkeys((channel.span(at_ms - 1), channel.span(at_ms)))
        bars = (instrument.minutes.merge(start, end) for start, end in spans)
        return [self.texts[instrument.listing.symbol].bar(bar) for bar in bars if bar is not None]

    def _book(self, name: str, instrument: Instrument, sides: tuple[Sequence[Level], Sequence[Level]]) -> bytes:
        text = self.texts[instrument.listing.symbol]
        return pushed(name, text.book(instrument, sides, instrument.now_us // 1000))

    def _estimate(self, instrument: Instrument, at_ms: int) -> None:
        """Unasked, to whoever wants anything of this coin's contracts."""
        coin = coin_of(instrument.listing.symbol)
        name = f"{coin}_forecast_price"
        beginnings = (f"ok_sub_futureusd_{coin}_", name)
        wanted = {
            link: one
            for (channel, _), readers in self._wanted.items()
            if channel.startswith(beginnings)
            for link, one in readers.items()
        }
        if wanted and not self._faults.mutes(name, f"{coin}_usd"):
            price, _ = index(instrument.mark, instrument.listing.price_places, at_ms)
            self._tell(wanted.values(), forecast(name, price, at_ms), marked=False)
