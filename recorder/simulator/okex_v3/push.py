"""What OKEx v3 pushes, and when: the market's events turned into compressed frames for those who subscribed.

Owns what each channel showed last and what `depth` has still to tell. Never reads what a client sends and never decides
whether a subscription is allowed.

Books: `depth_l2_tbt` is pushed as soon as the best bid or offer moves (looked at every 10 ms) and ten times a second,
`depth` ten times a second. Both hold the whole book and have no sequence numbers. An update in which nothing is left is
pushed with both sides empty, as was recorded. The rhythm of the other channels is that of OKX v5.
"""

from __future__ import annotations

from collections.abc import Mapping

from recorder.simulator.bars import Bar
from recorder.simulator.book import Level, Update
from recorder.simulator.connection import Connection
from recorder.simulator.deflate import BINARY, NOISE, bomb, deflated_frame, truncated
from recorder.simulator.fanout import Fanout, Key, Subscriber
from recorder.simulator.faults import Faults
from recorder.simulator.market import Instrument, Trade
from recorder.simulator.okex_v3.channels import CANDLE, CANDLES, INDEX, SUMMARY, driver, options
from recorder.simulator.okex_v3.text import BY_CHANNEL, Shape, Text, candle, index_ticker, stamped
from recorder.simulator.okx.bars import bar_span
from recorder.simulator.okx.channels import leader
from recorder.simulator.spans import HOUR
from recorder.simulator.wire import frame

DEPTH, TBT = "depth", "depth_l2_tbt"
TIMED = {  # looked at every so often (ms), pushed when changed, and after so long in any case (0: never)
    "ticker": (100, 0),
    "depth5": (100, 0),
    "mark_price": (200, 10_000),
    "price_range": (200, 0),
    "estimated_price": (200, 200),
    "funding_rate": (30_000, 30_000),
    "summary": (1_000, 1_000),
}
INDEX_REPEATED = 60_000
HEAD = b'{"table":"spot/trade","data":[{"side":"buy","trade_id":"7",'
TAIL = b'"instrument_id":"BTC-USDT","timestamp":"2021-07-22T23:16:03.082Z"}]}'

BAD_FRAMES = (
    frame(NOISE, BINARY),
    frame(b"", BINARY),
    frame(truncated(HEAD + b'"price":"1","size":"1",' + TAIL), BINARY),
    frame(bomb(), BINARY),
    deflated_frame(HEAD),
    deflated_frame(b"\xff\xfe not UTF-8"),
    deflated_frame(HEAD + b'"price":"NaN","size":"1",' + TAIL),
    deflated_frame(HEAD + TAIL),
    deflated_frame(b'{"table":"spot/trade","data":' + b"[" * 2_000 + b"]" * 2_000 + b"}"),
    frame(b'{"table":"spot/trade","data":[', 0x1),
)
Sides = tuple[dict[int, Level], dict[int, Level]]


class Pusher(Fanout):
    """The listener of a market: formats an event only when somebody wants it."""

    def __init__(self, instruments: Mapping[str, Instrument], faults: Faults) -> None:
        super().__init__(instruments, faults, BAD_FRAMES, deflated_frame)
        self._texts = {symbol: Text(one.listing) for symbol, one in instruments.items()}
        self._timed: dict[str, dict[Key, None]] = {}  # what is pushed by the time, by the instrument that drives it
        self._last_trade: dict[str, Trade] = {}
        self._shown: dict[Key, tuple[list[Shape], int]] = {}  # what a channel showed last, and when (ms)
        self._candles: dict[Key, bytes] = {}
        self._later: dict[str, Sides] = {}  # what `depth` has still to tell

    # --- who wants what -------------------------------------------------------------------------------------------

    def add(self, key: Key, subscriber: Subscriber) -> None:
        """Send a channel to a connection from now on."""
        super().add(key, subscriber)
        drives, channel = driver(key, self._instruments), key[0].partition("/")[2]
        if drives is not None and (channel in TIMED or channel in CANDLES):
            self._timed.setdefault(drives.listing.symbol, {})[key] = None

    def remove(self, key: Key, link: Connection) -> None:
        """Stop sending it."""
        super().remove(key, link)
        if not self._wanted.get(key):
            for keys in self._timed.values():
                keys.pop(key, None)
            self._shown.pop(key, None)
            self._candles.pop(key, None)

    def greet(self, key: Key, subscriber: Subscriber) -> None:
        """What comes first on a subscription: the last trade again, however old, a whole book, the present state."""
        table, symbol = key
        instrument, channel = driver(key, self._instruments), table.partition("/")[2]
        if instrument is None or subscriber.link.silent or self._faults.mutes(*key):
            return
        now = instrument.now_us // 1000
        if channel == "trade":
            self._again(symbol, instrument, subscriber)
        elif channel in (DEPTH, TBT):
            instrument.publish(self)  # else what is pending would reach those who have it already
            self._flush(instrument)
            subscriber.send(self._partial(table, instrument))
        elif channel in CANDLES:
            row = self._candle(key, instrument, *bar_span(CANDLES[channel], now))
            if row is not None:
                self._candles.setdefault(key, row)
                subscriber.send(row)
        else:
            shapes, _ = self._shown.setdefault(key, (self._shapes(key, instrument, now), now))
            for shape in shapes:
                subscriber.send(_message(shape, now))

    def _again(self, symbol: str, instrument: Instrument, subscriber: Subscriber) -> None:
        trade = self._last_trade.get(symbol)
        if trade is not None:
            subscriber.page.add(symbol, trade.last, trade.last)
            subscriber.send(self._texts[symbol].trade(instrument.tape.match(trade.last)))

    # --- the market's events --------------------------------------------------------------------------------------

    def on_trade(self, instrument: Instrument, trade: Trade) -> None:
        """`trade`, id by id."""
        symbol = instrument.listing.symbol
        if self.withheld(symbol, trade):
            return
        self._last_trade[symbol] = trade
        text = self._texts[symbol]
        key = (f"{text.group}/trade", symbol)
        self.record(key, trade)
        for number in range(trade.first, trade.last + 1):
            self.push(key, lambda n=number: text.trade(instrument.tape.match(n)))  # type: ignore[misc]

    def on_top(self, instrument: Instrument) -> None:
        """The book at once, for `depth_l2_tbt`."""
        if self._wants(TBT, instrument):
            instrument.publish(self)

    def on_book(self, instrument: Instrument, update: Update) -> None:
        """`depth_l2_tbt`; `depth` has it later. A minute without any change means nothing here."""
        symbol = instrument.listing.symbol
        if update.seq == update.previous or self._faults.breaks(symbol):
            return
        text = self._texts[symbol]
        table = f"{text.group}/{TBT}"
        self.push((table, symbol), lambda: text.book(table, "update", (update.bids, update.asks), instrument))
        if self._wants(DEPTH, instrument):
            for side, changes in zip(self._later.setdefault(symbol, ({}, {})), (update.bids, update.asks), strict=True):
                side.update((level[0], level) for level in changes)

    def on_tenth(self, instrument: Instrument) -> None:
        """`depth`, and what is looked at by the time."""
        self._flush(instrument)
        now = instrument.now_us // 1000
        for key in self._timed.get(instrument.listing.symbol, ()):
            self._by_time(key, instrument, now)

    def on_second(self, instrument: Instrument, at_ms: int) -> None:
        """Candles that changed; the one that ends here is told for the last time."""
        for key in self._timed.get(instrument.listing.symbol, ()):
            bar = CANDLES.get(key[0].partition("/")[2])
            row = self._candle(key, instrument, *bar_span(bar, at_ms - 1)) if bar else None
            if row is not None and row != self._candles.get(key):
                self._candles[key] = row
                self.push(key, lambda row=row: row)  # type: ignore[misc]

    # --- the venue's own ------------------------------------------------------------------------------------------

    def restart(self, instrument: Instrument) -> None:
        """Send everybody the whole book again."""
        instrument.publish(self)
        self._later.pop(instrument.listing.symbol, None)
        for channel in (DEPTH, TBT):
            table = f"{instrument.listing.kind.lower()}/{channel}"
            key = (table, instrument.listing.symbol)
            self.push(key, lambda t=table: self._partial(t, instrument))  # type: ignore[misc]

    # --- parts ----------------------------------------------------------------------------------------------------

    def _wants(self, channel: str, instrument: Instrument) -> bool:
        return bool(self._wanted.get((f"{instrument.listing.kind.lower()}/{channel}", instrument.listing.symbol)))

    def _partial(self, table: str, instrument: Instrument) -> bytes:
        book = instrument.book
        sides = book.bids.top(book.depth), book.asks.top(book.depth)
        return self._texts[instrument.listing.symbol].book(table, "partial", sides, instrument)

    def _flush(self, instrument: Instrument) -> None:
        symbol = instrument.listing.symbol
        if symbol not in self._later or instrument.book.touched:
            return  # its checksum would be that of another book
        bids, asks = self._later.pop(symbol)
        text = self._texts[symbol]
        table = f"{text.group}/{DEPTH}"
        best_first = [bids[price] for price in sorted(bids, reverse=True)], [asks[price] for price in sorted(asks)]
        self.push((table, symbol), lambda: text.book(table, "update", best_first, instrument))

    def _by_time(self, key: Key, instrument: Instrument, now: int) -> None:
        group, _, channel = key[0].partition("/")
        every, repeat = TIMED.get(channel, (0, 0))
        repeat = INDEX_REPEATED if group == INDEX else repeat
        if not every or now % every:
            return
        shapes, (shown, at) = self._shapes(key, instrument, now), self._shown.get(key, ([], 0))
        if shapes and (shapes != shown or every == repeat or (repeat and now - at >= repeat)):
            self._shown[key] = (shapes, now)
            for shape in shapes:
                self.push(key, lambda shape=shape: _message(shape, now))  # type: ignore[misc]

    def _shapes(self, key: Key, instrument: Instrument, now: int) -> list[Shape]:
        """What a channel that is pushed by the time has to say now."""
        table, subject = key
        group, _, channel = table.partition("/")
        if group == INDEX:
            return [index_ticker(subject, instrument)]
        if table == SUMMARY:
            return [self._texts[one.listing.symbol].summary(one) for one in options(subject, self._instruments)]
        text = self._texts[subject]
        if channel == "estimated_price":
            index = leader(instrument.listing.family, self._instruments)
            due = 0 < instrument.listing.expires - now <= HOUR
            return [text.estimated_price(index)] if due and index is not None else []
        return [BY_CHANNEL[channel](text, instrument)]

    def _candle(self, key: Key, instrument: Instrument, start: int, end: int) -> bytes | None:
        table, symbol = key
        index = table.startswith(f"{INDEX}/{CANDLE}")
        bar: Bar | None = (instrument.marks if index else instrument.minutes).merge(start, end)
        if bar is None:
            return None
        text = self._texts[instrument.listing.symbol]
        return candle(table, symbol, [*text.prices(bar), "0"], bar.at) if index else text.candle(table, bar)


def _message(shape: Shape, ms: int) -> bytes:
    """A message with its time, if it has one."""
    return stamped(shape, ms) if shape[1] else shape[0].encode()
