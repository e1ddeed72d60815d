"""Infoway's messages as bytes: field names, their order, which numbers are strings and how these are padded.

Owns the spelling, which follows recorded frames: pushes list their fields by name, REST does not. Never decides what is
sent to whom. Where nothing was recorded (`common`) decimals have the places of the listing.
"""

from __future__ import annotations

import msgspec

from recorder.simulator.bars import Bar
from recorder.simulator.book import Level
from recorder.simulator.decimals import fixed, plain
from recorder.simulator.infoway.listings import NAMES, SIDED, is_index, levels
from recorder.simulator.market import Instrument, Listing, Trade
from recorder.simulator.spans import DAY, HOUR, MINUTE, MONDAY, months, span

KLINES = {  # the number and what the recorder calls it
    1: "kline_1m", 2: "kline_5m", 3: "kline_15m", 4: "kline_30m", 5: "kline_1h", 6: "kline_2h", 7: "kline_4h",
    8: "kline_1d", 9: "kline_1w", 10: "kline_1M", 11: "kline_1q", 12: "kline_1y",
}  # fmt: skip
LENGTHS = {1: MINUTE, 2: 5 * MINUTE, 3: 15 * MINUTE, 4: 30 * MINUTE, 5: HOUR, 6: 2 * HOUR, 7: 4 * HOUR, 8: DAY}
WEEK, MONTHS = 9, {10: 1, 11: 3, 12: 12}
DAILY = 8  # bars from here on show their turnover with all its places, shorter ones without trailing zeros
DEPTH_PLACES, KLINE_PLACES = 8, 5  # crypto's, whatever the tick is
CHANGE_PLACES = 3  # REST's, at least

GREETING = b"You have permission to subscribe to all market data"
WELCOME = b'{"code":200,"msg":"ws connect success"}'
FAILED = b"Subscribe fail: "

MESSAGES = {
    "500": "Server error",
    "501": "Request frequency exceed the limit",
    "502": "Request frequency for the day upper limit",
    "503": "Kline quantity exceeds the limit",
    "504": "Orderbook depth exceeds the limit",
    "505": "Single WS subscribe exceeds the limit",
    "506": "Param error",
    "507": "Param lost",
    "508": "The apikey has expired",
    "509": "The apikey is invalid",
    "510": "The apikey is empty",
    "511": "The apikey is in the blacklist",
    "512": "Websocket connections exceeds the limit",
    "513": "Websocket heartbeat timeout",
    "514": "The websocket url is wrong",
    "515": "Param not json",
    "516": "All products quantity exceeds the limit",
    "517": "The apikey is missing",
    "518": "The apikey does not exist",
    "519": "No permission",
    "520": "The product code does not match the market",
    "521": "The server has too many connections",
}


def kline_span(kind: int, at_ms: int) -> tuple[int, int]:
    """Open and close (ms) of the bar that holds this moment."""
    if kind in MONTHS:
        return months(at_ms, MONTHS[kind])
    return span(at_ms, 7 * DAY, MONDAY) if kind == WEEK else span(at_ms, LENGTHS[kind])


def ack(code: int, trace: str) -> bytes:
    """What answers a request that was accepted, whether it makes sense or not."""
    return b'{"code":%d,"trace":%b,"msg":"ok"}' % (code, msgspec.json.encode(trace))


def error(code: str, text: str, trace: str = "") -> bytes:
    """What answers one that was not; a code that is no number is the words' own."""
    number = code.encode() if code.isdigit() else b"500"
    return b'{"traceId":%b,"code":%b,"msg":%b}' % (msgspec.json.encode(trace), number, msgspec.json.encode(text))


def percent(change: int, before: int) -> str:
    """A change as a share of what was before: two places, and never -0.00."""
    return f"{fixed((20_000 * change + before) // (2 * before), 2)}%"


class Text:
    """The messages of one instrument."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self._levels = levels(listing)
        self._price, self._size = listing.price_places, listing.size_places
        crypto = listing.kind == "CRYPTO"
        self._depth = (DEPTH_PLACES, DEPTH_PLACES) if crypto else (self._price, self._size)
        self._kline = KLINE_PLACES if crypto else self._price
        self._padded = not crypto

    # --- pushes ---------------------------------------------------------------------------------------------------

    def trade(self, trade: Trade, *, typed: bool = False, code: int = 10002) -> bytes:
        """A trade, with its type (`ty`, whose values nobody has told: 0) for those who asked on an equity."""
        price, volume, worth, side = self._traded(trade)
        kind = '"ty":0,' if typed and self.listing.kind.startswith("STOCK") else ""
        return (
            f'{{"code":{code},"data":{{"p":"{price}","s":"{self.listing.symbol}","t":{trade.ts},"td":{side},{kind}'
            f'"v":"{volume}","vw":"{worth}"}}}}'
        ).encode()

    def depth(self, instrument: Instrument, ts: int) -> bytes:
        """The whole of what is shown of a book."""
        asks, bids = self._sides(instrument)
        return f'{{"code":10005,"data":{{"a":{asks},"b":{bids},"s":"{self.listing.symbol}","t":{ts}}}}}'.encode()

    def kline(self, kind: int, bar: Bar, before: int) -> bytes:
        """A bar as it is now; `before` is the price at which the one before it ended."""
        low, high, first, last = (self._at(price) for price in (bar.low, bar.high, bar.open, bar.close))
        volume, worth = self._volumes(kind, bar)
        change, places = bar.close - before, self._kline
        return (
            f'{{"code":10008,"data":{{"c":"{last}","h":"{high}","l":"{low}","o":"{first}",'
            f'"pca":"{self._padded_price(change, places)}","pfr":"{percent(change, before)}",'
            f'"s":"{self.listing.symbol}","t":"{bar.at // 1000}","ty":{kind},"v":"{volume}","vw":"{worth}"}}}}'
        ).encode()

    # --- REST -----------------------------------------------------------------------------------------------------

    def trade_row(self, trade: Trade) -> str:
        """A row of `batch_trade`."""
        price, volume, worth, side = self._traded(trade)
        return f'{{"s":"{self.listing.symbol}","t":{trade.ts},"p":"{price}","v":"{volume}","vw":"{worth}","td":{side}}}'

    def depth_row(self, instrument: Instrument, ts: int) -> str:
        """A row of `batch_depth`."""
        asks, bids = self._sides(instrument)
        return f'{{"s":"{self.listing.symbol}","t":{ts},"a":{asks},"b":{bids}}}'

    def kline_row(self, kind: int, bar: Bar, before: int) -> str:
        """A bar of `batch_kline`."""
        low, high, first, last = (self._at(price) for price in (bar.low, bar.high, bar.open, bar.close))
        volume, worth = self._volumes(kind, bar)
        change, places = bar.close - before, max(self._price, CHANGE_PLACES)
        return (
            f'{{"t":"{bar.at // 1000}","h":"{high}","o":"{first}","l":"{low}","c":"{last}","v":"{volume}",'
            f'"vw":"{worth}","pc":"{percent(change, before)}","pca":"{self._padded_price(change, places)}"}}'
        )

    def symbol_row(self) -> dict[str, object]:
        """A row of `basic/symbols`."""
        symbol = self.listing.symbol
        simplified, traditional, english = NAMES.get(symbol, (symbol, symbol, symbol))
        row: dict[str, object] = {"symbol": symbol, "name_cn": simplified, "name_hk": traditional, "name_en": english}
        return {**row, "index": is_index(self.listing)}

    # --- parts ----------------------------------------------------------------------------------------------------

    def _traded(self, trade: Trade) -> tuple[str, str, str, int]:
        price, volume = plain(trade.price, self._price), plain(trade.lots, self._size)
        worth = plain(trade.price * trade.lots, self._price + self._size)
        side = (1 if trade.buy else 2) if self.listing.kind in SIDED else 0
        return price, volume, worth, side

    def _sides(self, instrument: Instrument) -> tuple[str, str]:
        book, shown = instrument.book, self._levels
        if not shown:
            return "null", "null"
        return self._columns(book.asks.top(shown)), self._columns(book.bids.top(shown))

    def _columns(self, rows: list[Level]) -> str:
        price_places, size_places = self._depth
        prices = '","'.join(self._padded_price(price, price_places) for price, _, _ in rows)
        sizes = '","'.join(fixed(lots * 10 ** (size_places - self._size), size_places) for _, lots, _ in rows)
        return f'[["{prices}"],["{sizes}"]]'

    def _padded_price(self, ticks: int, places: int) -> str:
        return fixed(ticks * 10 ** (places - self._price), places)

    def _at(self, price: int) -> str:
        return self._padded_price(price, self._kline)

    def _volumes(self, kind: int, bar: Bar) -> tuple[str, str]:
        spell = fixed if self._padded or kind >= DAILY else plain
        return fixed(bar.lots, self._size), spell(bar.turnover, self._size + self._price)
