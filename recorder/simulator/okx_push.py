"""What OKX pushes, and when: the market's events turned into frames for those who subscribed.

Owns the subscribers of each channel, the last message of those that repeat it, and the ledger. Never reads what a
client sends and never decides whether a subscription is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from recorder.simulator.book import Update
from recorder.simulator.connection import Connection
from recorder.simulator.faults import Faults
from recorder.simulator.market import Instrument, Trade
from recorder.simulator.okx_text import FUNDING, SECOND, Text, bar_span
from recorder.simulator.oracle import Connected, Range, extend
from recorder.simulator.wire import frame

Key = tuple[str, str]  # channel, symbol
CANDLE = "candle"
SHOWN = {"bbo-tbt": 1, "books5": 5, "tickers": 0}  # pushed when they changed; levels a side
EVERY_MS = {"mark-price": SECOND, "open-interest": 3 * SECOND, "funding-rate": 30 * SECOND}

BAD_FRAMES = (
    frame(b'{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"1",'),
    frame(b"\xff\xfe not UTF-8"),
    frame(b'{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"7","px":"NaN",'
          b'"sz":"1","side":"buy","ts":"1750000000000","count":"1","source":"0","seqId":7}]}'),
    frame(b'{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","sz":"1","side":"buy"}]}'),
    frame(b'{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":' + b"[" * 2_000 + b"]" * 2_000 + b"}"),
    frame(b"\x00\x01\x02", 0x2),
)  # fmt: skip


@dataclass(slots=True, eq=False)
class Subscriber:
    """A connection that data goes to, and its page of the ledger."""

    link: Connection
    page: Connected


class Pusher:
    """The listener of a market: formats an event only when somebody wants it."""

    def __init__(self, instruments: Mapping[str, Instrument], faults: Faults) -> None:
        self.texts = {symbol: Text(one.listing) for symbol, one in instruments.items()}
        self.skipped: dict[str, list[Range]] = {}
        self._instruments = instruments
        self._faults = faults
        self._wanted: dict[Key, dict[Connection, Subscriber]] = {}
        self._last_trade: dict[str, Trade] = {}
        self._shown: dict[Key, str] = {}  # what a channel showed last, without its stamp

    # --- who wants what -------------------------------------------------------------------------------------------

    def add(self, key: Key, subscriber: Subscriber) -> None:
        """Send a channel to a connection from now on."""
        self._wanted.setdefault(key, {})[subscriber.link] = subscriber

    def remove(self, key: Key, link: Connection) -> None:
        """Stop sending it."""
        self._wanted.get(key, {}).pop(link, None)

    def wanted(self, channel: str) -> dict[str, list[Connection]]:
        """Who wants a channel, by symbol."""
        return {symbol: list(links) for (name, symbol), links in self._wanted.items() if name == channel and links}

    def greet(self, key: Key, subscriber: Subscriber) -> None:
        """What comes first on a subscription: the last trade again, a snapshot of a book, the present state."""
        channel, symbol = key
        instrument = self._instruments.get(symbol)
        if instrument is None or subscriber.link.silent or self._faults.mutes(*key):
            return
        text, now = self.texts[symbol], instrument.now_us // 1000
        if channel == "trades" and symbol in self._last_trade:
            trade = self._last_trade[symbol]
            subscriber.page.add(symbol, trade.first, trade.last)
            subscriber.link.push(frame(text.trades(trade)))
        elif channel in ("books", "books-elp"):
            instrument.publish(self)  # else the chain of those who are here already would skip what is pending
            subscriber.link.push(frame(text.snapshot(channel, instrument, now)))
        elif (state := self._state(channel, instrument, now)) is not None:
            subscriber.link.push(frame(state))

    def _state(self, channel: str, instrument: Instrument, now: int) -> bytes | None:
        if channel in SHOWN:
            before, after = self._shape(channel, instrument)
            key = (channel, instrument.listing.symbol)
            if not self._wanted.get(key):
                self._shown[key] = before  # nobody else waits for a change to this
            return f'{before},"ts":"{now}"{after}'.encode()
        if channel.startswith(CANDLE):
            start, end = bar_span(channel.removeprefix(CANDLE), now)
            return self._candle(channel, instrument, start, end, closed=False)
        return self._slow(channel, instrument, now)

    # --- the market's events --------------------------------------------------------------------------------------

    def on_trade(self, instrument: Instrument, trade: Trade) -> None:
        """`trades`, and `trades-all` id by id."""
        symbol = instrument.listing.symbol
        if self._faults.skips(symbol):
            extend(self.skipped.setdefault(symbol, []), trade.first, trade.last)
            return
        self._last_trade[symbol] = trade
        text = self.texts[symbol]
        if wanted := self._wanted.get(("trades", symbol)):
            if not self._faults.mutes("trades", symbol):
                for one in wanted.values():
                    if not one.link.silent:
                        one.page.add(symbol, trade.first, trade.last)
            self._push(("trades", symbol), lambda: text.trades(trade))
        if self._wanted.get(("trades-all", symbol)):
            for number in range(trade.first, trade.last + 1):
                match = instrument.tape.match(number)
                self._push(("trades-all", symbol), lambda match=match: text.trades_all(match))  # type: ignore[misc]

    def on_top(self, instrument: Instrument) -> None:
        """`bbo-tbt`."""
        self._show("bbo-tbt", instrument)

    def on_book(self, instrument: Instrument, update: Update) -> None:
        """`books`; a minute without any change repeats the small ones too."""
        symbol, now = instrument.listing.symbol, instrument.now_us // 1000
        lost = self._faults.breaks(symbol)
        for channel in ("books", "books-elp"):
            if not lost:
                self._push((channel, symbol), lambda c=channel: self.texts[symbol].update(c, update, now))  # type: ignore[misc]
        if update.previous == update.seq and not (update.bids or update.asks):
            self._shown.pop(("books5", symbol), None)
            self._shown.pop(("bbo-tbt", symbol), None)
            self._show("bbo-tbt", instrument)

    def on_tenth(self, instrument: Instrument) -> None:
        """`books5` and `tickers`, when they changed."""
        self._show("books5", instrument)
        self._show("tickers", instrument)

    def on_second(self, instrument: Instrument, at_ms: int) -> None:
        """Candles: the one that ends here is closed first; and what comes every few seconds."""
        symbol = instrument.listing.symbol
        for (channel, owner), wanted in list(self._wanted.items()):
            if owner != symbol or not wanted:
                continue
            if channel.startswith(CANDLE):
                self._candles((channel, symbol), instrument, at_ms)
            elif at_ms % EVERY_MS.get(channel, 1 << 62) == 0:
                slow = self._slow(channel, instrument, at_ms)
                if slow is not None:
                    self._push((channel, symbol), lambda slow=slow: slow)  # type: ignore[misc]

    # --- parts ----------------------------------------------------------------------------------------------------

    def _shape(self, channel: str, instrument: Instrument) -> tuple[str, str]:
        """A message around its stamp; the first part is equal when nothing changed."""
        text = self.texts[instrument.listing.symbol]
        if channel == "tickers":
            return f'{{{text.arg("tickers")},"data":[{{{text.ticker(instrument)}', "}]}"
        return text.top(channel, instrument, SHOWN[channel])

    def _show(self, channel: str, instrument: Instrument) -> None:
        key = (channel, instrument.listing.symbol)
        if not self._wanted.get(key):
            return
        before, after = self._shape(channel, instrument)
        if before != self._shown.get(key):
            self._shown[key] = before
            self._push(key, lambda: f'{before},"ts":"{instrument.now_us // 1000}"{after}'.encode())

    def _candles(self, key: Key, instrument: Instrument, at_ms: int) -> None:
        channel = key[0]
        start, end = bar_span(channel.removeprefix(CANDLE), at_ms - 1)
        closed = end <= at_ms
        row = self._candle(channel, instrument, start, end, closed=closed)
        if row is not None and (closed or row.decode() != self._shown.get(key)):
            self._shown[key] = row.decode()
            self._push(key, lambda: row)

    def _candle(self, channel: str, instrument: Instrument, start: int, end: int, *, closed: bool) -> bytes | None:
        bars = instrument.seconds if channel == "candle1s" else instrument.minutes
        bar = bars.merge(start, end)
        if bar is None:
            return None
        text = self.texts[instrument.listing.symbol]
        return f'{{{text.arg(channel)},"data":[{text.candle(bar, closed=closed)}]}}'.encode()

    def _slow(self, channel: str, instrument: Instrument, now: int) -> bytes | None:
        text = self.texts[instrument.listing.symbol]
        fields = text.slow(channel, instrument, now - now % FUNDING + FUNDING)
        return f'{{{text.arg(channel)},"data":[{{{fields},"ts":"{now}"}}]}}'.encode() if fields else None

    def _push(self, key: Key, payload: Callable[[], bytes]) -> None:
        wanted = self._wanted.get(key)
        if not wanted or self._faults.mutes(*key):
            return
        data = frame(payload())
        faults = self._faults
        if faults.duplicate or faults.poison:
            data, twice, poison = faults.mangle(data, BAD_FRAMES)
            faults.duplicated += twice * len(wanted)
            faults.poisoned += poison * len(wanted)
        for one in wanted.values():
            if not one.link.silent:
                one.link.push(data)
