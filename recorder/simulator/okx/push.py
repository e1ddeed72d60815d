"""What OKX pushes, and when: the market's events turned into frames for those who subscribed.

Owns the last message of the channels that repeat it, and the log of books. Never
reads what a client sends and never decides whether a subscription is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

from recorder.simulator.book import Level, Update
from recorder.simulator.connection import Connection
from recorder.simulator.fanout import Fanout, Key, Subscriber
from recorder.simulator.market import Instrument, Phase, Trade
from recorder.simulator.okx import derived as derived
from recorder.simulator.okx.bars import bar_span
from recorder.simulator.okx.channels import CANDLE, INDEX_CANDLE, MARK_CANDLE, arg_of, leader
from recorder.simulator.okx.options import OkxFaults, Start
from recorder.simulator.okx.text import CHECKED, Text
from recorder.simulator.oracle import BookLog
from recorder.simulator.spans import HOUR
from recorder.simulator.wire import frame

SHOWN = {"bbo-tbt": 1, "books5": 5, "tickers": 0}  # pushed when they changed; levels a side
TIMED = {  # looked at every so often (ms), pushed when changed, and after so long in any case (0: never)
    "index-tickers": (100, 60_000),
    "opt-summary": (1_000, 1_000),
    **{channel: (every, repeat) for channel, (every, repeat, _) in derived.BY_TIME.items()},
}
ESTIMATED = 200  # ms between two estimated prices in the hour before an instrument expires
CANDLES = (CANDLE, MARK_CANDLE, INDEX_CANDLE)
BOOKS = ("books", "books-elp")
ELP = 3  # of the book's prices every third one has orders of enhanced liquidity providers, and only those
CALM_LOG = 60  # published states of a calm instrument that are kept

BAD_FRAMES = (
    frame(b'{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"1",'),
    frame(b"\xff\xfe not UTF-8"),
    frame(b'{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"7","px":"NaN",'
          b'"sz":"1","side":"buy","ts":"1750000000000","count":"1","source":"0","seqId":7}]}'),
    frame(b'{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","sz":"1","side":"buy"}]}'),
    frame(b'{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":' + b"[" * 2_000 + b"]" * 2_000 + b"}"),
    frame(b"\x00\x01\x02", 0x2),
)  # fmt: skip


class Pusher(Fanout):
    """The listener of a market: formats an event only when somebody wants it."""

    def __init__(self, instruments: Mapping[str, Instrument], faults: OkxFaults) -> None:
        super().__init__(instruments, faults, BAD_FRAMES)
        self.log = BookLog()
        self._faults: OkxFaults = faults
        self._texts: dict[str, Text] = {}
        self._timed: dict[str, dict[Key, None]] = {}  # what is pushed by the time, by the instrument that drives it
        self._last_trade: dict[str, Trade] = {}
        self._shown: dict[Key, str] = {}  # what a channel showed last, without its stamp
        self._told: dict[Key, tuple[list[str], int]] = {}  # the same of what is pushed by the time, and when
        self._phases: dict[str, Phase] = {}
        self._status = ""
        self._adl: dict[str, str] = {}  # state by kind and family
        for instrument in instruments.values():
            self.begin(instrument)

    # --- who wants what -------------------------------------------------------------------------------------------

    def text(self, symbol: str) -> Text:
        """How an instrument's messages are written."""
        return self._texts[symbol]

    def begin(self, instrument: Instrument) -> None:
        """An instrument is listed: forget what had its name before."""
        listing = instrument.listing
        self._texts[listing.symbol] = Text(listing)
        self._phases[listing.symbol] = instrument.phase
        self._last_trade.pop(listing.symbol, None)
        self.log.begin(listing.symbol, instrument.book, *([CALM_LOG] if listing.calm else []))

    def add(self, key: Key, subscriber: Subscriber) -> None:
        """Send a channel to a connection from now on."""
        self._wanted.setdefault(key, {})[subscriber.link] = subscriber
        self._drive(key)

    def remove(self, key: Key, link: Connection) -> None:
        """Stop sending it."""
        super().remove(key, link)
        if not self._wanted.get(key):
            for keys in self._timed.values():
                keys.pop(key, None)

    def greet(self, key: Key, subscriber: Subscriber) -> None:
        """What comes first on a subscription: the last trade again, a snapshot of a book, the present state."""
        channel, symbol = key
        instrument = self._driver(key)
        if subscriber.link.silent or self._faults.mutes(*key):
            return
        if channel == "status" and self._status:
            subscriber.send(_message(key, self._status))
        if instrument is None:
            return
        if channel == "trades" and symbol in self._last_trade:
            trade = self._last_trade[symbol]
            subscriber.page.add(symbol, trade.first, trade.last)
            subscriber.send(self._texts[symbol].trades(trade))
        elif channel in BOOKS:
            instrument.publish(self)  # else the chain of those who are here already would skip what is pending
            if self._faults.options.start is not Start.NONE:
                subscriber.send(self._snapshot(channel, instrument))
        elif (state := self._state(key, instrument, instrument.now_us // 1000)) is not None:
            subscriber.send(state)

    def _drive(self, key: Key) -> None:
        driver = self._driver(key)
        if driver is not None and (key[0] in TIMED or key[0].startswith(CANDLES)):
            self._timed.setdefault(driver.listing.symbol, {})[key] = None

    def _driver(self, key: Key) -> Instrument | None:
        """The instrument whose time a channel runs on."""
        channel, subject = key
        if channel == "index-tickers" or channel.startswith(INDEX_CANDLE):
            return leader(subject, self._instruments)
        if channel == "opt-summary":
            return next(iter(self._options(subject)), None)
        found = self._instruments.get(subject)
        return found if found is not None and not found.ended else None

    def _options(self, family: str) -> list[Instrument]:
        found = (one for one in self._instruments.values() if one.listing.kind == "OPTION" and not one.ended)
        return [one for one in found if one.listing.family == family]

    def _snapshot(self, channel: str, instrument: Instrument) -> bytes:
        book, text = instrument.book, self._texts[instrument.listing.symbol]
        bids, asks = (_of(channel, side.top(book.depth)) for side in (book.bids, book.asks))
        if self._faults.options.start is Start.STALE:
            bids, asks = bids[::2], asks[::2]
        message = text.books(channel, "snapshot", (bids, asks), (-1, book.published, instrument.now_us // 1000))
        return text.checked(message, bids, asks) if self._faults.options.checksum else message

    def _state(self, key: Key, instrument: Instrument, now: int) -> bytes | None:
        channel = key[0]
        alone = not self._wanted.get(key)  # nobody else waits for a change to this
        if channel in SHOWN:
            before, after = self._shape(channel, instrument)
            if alone:
                self._shown[key] = before
            return f'{before},"ts":"{now}"{after}'.encode()
        if channel.startswith(CANDLES):
            return self._candle(key, instrument, *bar_span(_bar(channel), now), closed=False)
        rows = self._rows(key, instrument, now)
        if rows and alone:
            self._told[key] = (rows, now)
        return _message(key, derived.stamped(rows, now)) if rows else None

    # --- the market's events --------------------------------------------------------------------------------------

    def on_trade(self, instrument: Instrument, trade: Trade) -> None:
        """`trades`, and `trades-all` id by id; of derivatives what else a trade can be."""
        symbol = instrument.listing.symbol
        if self.withheld(symbol, trade):
            return
        self._last_trade[symbol] = trade
        text = self._texts[symbol]
        self.record(("trades", symbol), trade)
        self.push(("trades", symbol), lambda: text.trades(trade))
        if self._wanted.get(("trades-all", symbol)):
            for number in range(trade.first, trade.last + 1):
                match = instrument.tape.match(number)
                self.push(("trades-all", symbol), lambda match=match: text.trades_all(match))  # type: ignore[misc]
        if instrument.listing.contract:
            self._derivative(instrument, trade)

    def _derivative(self, instrument: Instrument, trade: Trade) -> None:
        listing = instrument.listing
        if self._wanted.get(("liquidation-orders", listing.kind)):
            self._tell("liquidation-orders", listing.kind, derived.liquidation(instrument, trade))
        index = leader(listing.family, self._instruments) if listing.kind == "OPTION" else None
        if index is not None:
            row = derived.option_trade(instrument, index, trade)
            for inner in (listing.symbol, listing.family):
                self._tell("option-trades", f"OPTION/{inner}", row)

    def on_top(self, instrument: Instrument) -> None:
        """`bbo-tbt`."""
        self._show("bbo-tbt", instrument)

    def on_book(self, instrument: Instrument, update: Update) -> None:
        """`books`; a minute without any change repeats the small ones too, in the order that the venue keeps."""
        symbol, now = instrument.listing.symbol, instrument.now_us // 1000
        self.log.note(symbol, now, update)
        if update.previous == update.seq and not (update.bids or update.asks):
            self._shown.pop(("books5", symbol), None)
            self._shown.pop(("bbo-tbt", symbol), None)
            self._show("bbo-tbt", instrument)
        if not self._faults.breaks(symbol):
            for channel in BOOKS:
                self.push((channel, symbol), lambda c=channel: self._update(c, instrument, update))  # type: ignore[misc]

    def _update(self, channel: str, instrument: Instrument, update: Update) -> bytes:
        text = self._texts[instrument.listing.symbol]
        sides = (_of(channel, update.bids), _of(channel, update.asks))
        message = text.books(channel, "update", sides, (update.previous, update.seq, instrument.now_us // 1000))
        if not self._faults.options.checksum:
            return message
        book = instrument.book  # as it is published now
        best = (islice(_of(channel, side.top(book.depth)), CHECKED) for side in (book.bids, book.asks))
        return text.checked(message, *best)

    def on_tenth(self, instrument: Instrument) -> None:
        """`books5` and `tickers`, when they changed; what is looked at by the time; and openings and expiries."""
        listing, now = instrument.listing, instrument.now_us // 1000
        self._show("books5", instrument)
        self._show("tickers", instrument)
        for key in self._timed.get(listing.symbol, ()):
            self._by_time(key, instrument, now)
        if 0 < listing.expires - now <= HOUR and now % ESTIMATED == 0:
            self._estimate(instrument, now)
        if instrument.phase is not self._phases[listing.symbol]:
            self.changed(instrument)

    def on_second(self, instrument: Instrument, at_ms: int) -> None:
        """Candles: the one that ends here is closed first; and warnings while they last."""
        for key in self._timed.get(instrument.listing.symbol, ()):
            if key[0].startswith(CANDLES):
                self._candles(key, instrument, at_ms)
        for subject, state in self._adl.items():
            kind, _, family = subject.partition("/")
            if self._first(kind, family) is instrument:
                row = derived.stamped([derived.adl_warning(kind, family, state)], at_ms)
                for each in (kind, subject):
                    self._tell("adl-warning", each, row)

    # --- the venue's own ------------------------------------------------------------------------------------------

    def changed(self, instrument: Instrument) -> None:
        """An instrument was listed, has opened, or has ended: then others lead its indices and families."""
        symbol = instrument.listing.symbol
        self._phases[symbol] = instrument.phase
        self._timed.clear()
        for key, wanted in self._wanted.items():
            if wanted:
                self._drive(key)
        self._tell("instruments", instrument.listing.kind, derived.instrument(instrument))

    def status(self, row: str, *, over: bool) -> None:
        """Maintenance is announced, goes on, or is over."""
        self._status = "" if over else row
        self._tell("status", "", row)

    def warn(self, kind: str, family: str, state: str) -> None:
        """Warn once a second from now on; `normal`: no longer."""
        self._adl[f"{kind}/{family}"] = state
        if state == "normal":
            del self._adl[f"{kind}/{family}"]

    # --- parts ----------------------------------------------------------------------------------------------------

    def _first(self, kind: str, family: str) -> Instrument | None:
        fits = (one for one in self._instruments.values() if one.listing.kind == kind and not one.ended)
        return next((one for one in fits if one.listing.family == family), None)

    def _estimate(self, instrument: Instrument, now: int) -> None:
        listing = instrument.listing
        index = leader(listing.family, self._instruments)
        if index is not None:
            row = derived.stamped([derived.estimated_price(instrument, index)], now)
            for inner in (listing.symbol, listing.family):
                self._tell("estimated-price", f"{listing.kind}/{inner}", row)

    def _tell(self, channel: str, subject: str, row: str) -> None:
        if row:
            key = (channel, subject)
            self.push(key, lambda: _message(key, row))

    def _rows(self, key: Key, instrument: Instrument, now: int) -> list[str]:
        channel, subject = key
        if channel == "index-tickers":
            return [derived.index_ticker(subject, instrument)]
        if channel == "opt-summary":
            index = leader(subject, self._instruments)
            return [derived.option_summary(one, index) for one in self._options(subject)] if index is not None else []
        fields = derived.BY_TIME[channel][2](instrument, now) if channel in derived.BY_TIME else ""
        return [fields] if fields else []

    def _by_time(self, key: Key, instrument: Instrument, now: int) -> None:
        every, repeat = TIMED.get(key[0], (0, 0))
        if not every or now % every:
            return
        rows, (told, at) = self._rows(key, instrument, now), self._told.get(key, ([], 0))
        if rows and (rows != told or every == repeat or (repeat and now - at >= repeat)):
            self._told[key] = (rows, now)
            self.push(key, lambda: _message(key, derived.stamped(rows, now)))

    def _shape(self, channel: str, instrument: Instrument) -> tuple[str, str]:
        """A message around its stamp; the first part is equal when nothing changed."""
        text = self._texts[instrument.listing.symbol]
        if channel == "tickers":
            return f'{{{arg_of((channel, instrument.listing.symbol))},"data":[{{{text.ticker(instrument)}', "}]}"
        return text.top(channel, instrument, SHOWN[channel])

    def _show(self, channel: str, instrument: Instrument) -> None:
        key = (channel, instrument.listing.symbol)
        if not self._wanted.get(key):
            return
        before, after = self._shape(channel, instrument)
        if before != self._shown.get(key):
            self._shown[key] = before
            self.push(key, lambda: f'{before},"ts":"{instrument.now_us // 1000}"{after}'.encode())

    def _candles(self, key: Key, instrument: Instrument, at_ms: int) -> None:
        start, end = bar_span(_bar(key[0]), at_ms - 1)
        closed = end <= at_ms
        row = self._candle(key, instrument, start, end, closed=closed)
        if row is not None and (closed or row.decode() != self._shown.get(key)):
            self._shown[key] = row.decode()
            self.push(key, lambda: row)

    def _candle(self, key: Key, instrument: Instrument, start: int, end: int, *, closed: bool) -> bytes | None:
        traded = key[0].startswith(CANDLE)
        bars = instrument.minutes if traded else instrument.marks
        bar = (instrument.seconds if key[0] == "candle1s" else bars).merge(start, end)
        if bar is None:
            return None
        text = self._texts[instrument.listing.symbol]
        fields = self._faults.options.candle_fields if traded else 6
        return _message(key, text.candle(bar, closed=closed, fields=fields))


def _message(key: Key, rows: str) -> bytes:
    return f'{{{arg_of(key)},"data":[{rows}]}}'.encode()


def _bar(channel: str) -> str:
    return channel.rpartition(CANDLE)[2]


def _of(channel: str, levels: Iterable[Level]) -> list[Level]:
    """The levels that a channel shows."""
    return [level for level in levels if level[0] % ELP == 0] if channel == "books-elp" else list(levels)
