"""OKEx v3's messages of one instrument as bytes: numbers are strings without trailing zeros, times are ISO-8601.

Owns the field names and their order, those of the newest recorded message of each channel. Never decides what is sent
to whom. Recorded or captured: trades, tickers, books, spot candles, mark prices, funding rates, summaries of options.
From programs that read them: price ranges, estimated prices, indices, and that a candle of a contract ends with coins.
Of a spot book on `depth` a level ends with its number of orders as an integer, as in 2019; elsewhere it has four
strings. A contract is worth so many coins, whatever its margin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from recorder.simulator.bars import Bar
from recorder.simulator.book import Level
from recorder.simulator.decimals import plain
from recorder.simulator.market import Instrument, Listing, Match
from recorder.simulator.okx.bars import FUNDING, bar_span
from recorder.simulator.okx.derived import rate_at
from recorder.simulator.okx.text import CHECKED, checksum, decimal_of

Shape = tuple[str, str]  # a message before and after its time; the two are equal when nothing has changed
LEVELS = 5  # of `depth5`
SHORT = ("spot/depth", "spot/depth5")


def iso(ms: int) -> str:
    """2021-07-22T23:16:03.082Z."""
    return f"{_second(ms // 1000)}.{ms % 1000:03d}Z"


@lru_cache(1_000)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def stamped(shape: Shape, ms: int) -> bytes:
    """A message with its time."""
    return f"{shape[0]}{iso(ms)}{shape[1]}".encode()


class Text:
    """The messages of one instrument."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.group = listing.kind.lower()
        self._name = f'"instrument_id":"{listing.symbol}"'
        size = "qty" if self.group in ("futures", "option") else "size"
        self._trade = (
            f'{{"table":"{self.group}/trade","data":[{{"side":"%s","trade_id":"%d","price":"%s","{size}":"%s",'
            f'{self._name},"timestamp":"%s"}}]}}'
        )

    def price(self, ticks: int) -> str:
        """A price."""
        return plain(ticks, self.listing.price_places)

    def size(self, lots: int) -> str:
        """A size."""
        return plain(lots, self.listing.size_places)

    def trade(self, match: Match) -> bytes:
        """Channel `trade`: every id is a message of its own."""
        number, price, lots, buy, ts = match
        fields = ("buy" if buy else "sell", number, self.price(price), self.size(lots), iso(ts))
        return (self._trade % fields).encode()

    # --- books ----------------------------------------------------------------------------------------------------

    def levels(self, table: str, levels: Iterable[Level]) -> str:
        """An array of levels: price, size (0: gone), and the number of orders."""
        form = '["%s","%s",%d]' if table in SHORT else '["%s","%s","0","%d"]'
        return ",".join(form % (self.price(price), self.size(lots), orders) for price, lots, orders in levels)

    def book(self, table: str, action: str, sides: tuple[Iterable[Level], Iterable[Level]], after: Instrument) -> bytes:
        """A `partial` or an `update`, bids and asks, and the checksum of the book `after` it."""
        bids, asks = (self.levels(table, side) for side in sides)
        best = (self._checked(side.top(CHECKED)) for side in (after.book.bids, after.book.asks))
        return (
            f'{{"table":"{table}","action":"{action}","data":[{{{self._name},"asks":[{asks}],"bids":[{bids}],'
            f'"timestamp":"{iso(after.now_us // 1000)}","checksum":{checksum(*best)}}}]}}'
        ).encode()

    def top(self, instrument: Instrument) -> Shape:
        """Channel `depth5`: neither an action nor a checksum."""
        table, book = f"{self.group}/depth5", instrument.book
        asks, bids = (self.levels(table, side.top(LEVELS)) for side in (book.asks, book.bids))
        return f'{{"table":"{table}","data":[{{"asks":[{asks}],"bids":[{bids}],{self._name},"timestamp":"', '"}]}'

    def _checked(self, levels: Sequence[Level]) -> list[tuple[str, str]]:
        return [(self.price(price), self.size(lots)) for price, lots, _ in levels]

    # --- statistics -----------------------------------------------------------------------------------------------

    def ticker(self, one: Instrument) -> Shape:
        """Channel `ticker`."""
        book, day = one.book, one.day.bar()
        last = self.size(one.tape.match(one.tape.last).lots) if one.tape.last else "0"
        bid, ask = book.bids.top(1)[0], book.asks.top(1)[0]
        return (
            f'{{"table":"{self.group}/ticker","data":[{{"last":"{self.price(day.close)}",'
            f'"open_24h":"{self.price(day.open)}","best_bid":"{self.price(bid[0])}","high_24h":"{self.price(day.high)}",'
            f'"low_24h":"{self.price(day.low)}",{self._volumes(one, day)},"best_ask":"{self.price(ask[0])}",'
            f'{self._interest(one)}{self._name},"timestamp":"',
            f'","best_bid_size":"{self.size(bid[1])}","best_ask_size":"{self.size(ask[1])}","last_qty":"{last}"}}]}}',
        )

    def _volumes(self, one: Instrument, day: Bar) -> str:
        first, second = self.volumes(day)
        if self.group != "spot":
            return f'"volume_24h":"{first}","volume_token_24h":"{second}"'
        opened = (one.minutes.opening(bar_span(bar, one.now_us // 1000)[0]) for bar in ("1Dutc", "1D"))
        utc0, utc8 = map(self.price, opened)
        return f'"open_utc0":"{utc0}","open_utc8":"{utc8}","base_volume_24h":"{first}","quote_volume_24h":"{second}"'

    def _interest(self, one: Instrument) -> str:
        return "" if self.group == "spot" else f'"open_interest":"{interest(one)}",'

    def volumes(self, bar: Bar) -> tuple[str, str]:
        """Base and quote currency of spot; contracts and coins of a contract."""
        if self.group == "spot":
            return self.size(bar.lots), plain(bar.turnover, self.listing.size_places + self.listing.price_places)
        worth, places = decimal_of(self.listing.contract)
        return self.size(bar.lots), plain(bar.lots * worth, self.listing.size_places + places)

    def candle(self, table: str, bar: Bar) -> bytes:
        """A candle; of spot it ends with the volume in base currency, of a contract with contracts and coins."""
        volumes = self.volumes(bar)[: 1 if self.group == "spot" else 2]
        return candle(table, self.listing.symbol, [*self.prices(bar), *volumes], bar.at)

    def prices(self, bar: Bar) -> list[str]:
        """Open, high, low, close."""
        return [self.price(ticks) for ticks in (bar.open, bar.high, bar.low, bar.close)]

    # --- contracts ------------------------------------------------------------------------------------------------

    def mark_price(self, one: Instrument) -> Shape:
        """Channel `mark_price`."""
        return self._about("mark_price", f'{self._name},"mark_price":"{self.price(one.mark)}"')

    def price_range(self, one: Instrument) -> Shape:
        """Channel `price_range`: two percent around the mark price."""
        high, low = self.price(one.mark * 102 // 100), self.price(one.mark * 98 // 100)
        return self._about("price_range", f'"highest":"{high}","lowest":"{low}",{self._name}')

    def estimated_price(self, index: Instrument) -> Shape:
        """Channel `estimated_price`: what delivery would be settled with now."""
        price = plain(index.mark, index.listing.price_places)
        return self._about("estimated_price", f'{self._name},"settlement_price":"{price}"')

    def funding_rate(self, one: Instrument) -> Shape:
        """Channel `funding_rate`: no time of its own, but that of the next settlement, when this rate is paid."""
        at = one.now_us // 1000 // FUNDING * FUNDING + FUNDING
        symbol = self.listing.symbol
        return (
            f'{{"table":"{self.group}/funding_rate","data":[{{"estimated_rate":"{rate_at(symbol, at + FUNDING)}",'
            f'"funding_rate":"{rate_at(symbol, at)}","funding_time":"{iso(at)}",{self._name},"interest_rate":"0",'
            f'"settlement_time":"{iso(at + FUNDING)}"}}]}}',
            "",
        )

    def summary(self, one: Instrument) -> Shape:
        """Channel `option/summary`, one message an option. A put's delta is its call's less one."""
        book, day, mark = one.book, one.day.bar(), self.price(one.mark)
        bid, ask = book.bids.top(1)[0], book.asks.top(1)[0]
        delta = 2_000 + one.mark % 6_000
        shown = plain(delta, 4) if self.listing.symbol.endswith("C") else f"-{plain(10_000 - delta, 4)}"
        high, low = self.price(one.mark * 2), self.price(max(1, one.mark // 2))
        return self._about(
            "summary",
            f'{self._name},"underlying":"{self.listing.family}","best_ask":"{self.price(ask[0])}",'
            f'"best_bid":"{self.price(bid[0])}","best_ask_size":"{self.size(ask[1])}",'
            f'"best_bid_size":"{self.size(bid[1])}","change_rate":"0","delta":"{shown}","gamma":"1.2345678901",'
            f'"high_24h":"{self.price(day.high)}","highest_buy":"{high}","realized_vol":"0","bid_vol":"0.52",'
            f'"ask_vol":"0.55","mark_vol":"0.53","last":"{self.price(day.close)}","leverage":"12.5",'
            f'"low_24h":"{self.price(day.low)}","lowest_sell":"{low}","mark_price":"{mark}","theta":"-0.0012",'
            f'"vega":"0.0034","volume_24h":"{self.volumes(day)[0]}","open_interest":"{interest(one)}",'
            f'"estimated_price":"0"',
        )

    def _about(self, channel: str, row: str) -> Shape:
        return f'{{"table":"{self.group}/{channel}","data":[{{{row},"timestamp":"', '"}]}'


def interest(one: Instrument) -> str:
    """Contracts that are open; it moves with what was traded."""
    return plain(one.listing.lots * 1_000 + one.tape.last % 1_000, one.listing.size_places)


def candle(table: str, symbol: str, values: Sequence[str], at: int) -> bytes:
    """A candle's message: open time and values in one array."""
    row = '","'.join((iso(at), *values))
    return f'{{"table":"{table}","data":[{{"candle":["{row}"],"instrument_id":"{symbol}"}}]}}'.encode()


def index_ticker(symbol: str, leader: Instrument) -> Shape:
    """Channel `index/ticker`: the mark price of the instrument that stands for the index."""
    places, day = leader.listing.price_places, leader.marks_day.bar()
    last, opened, high, low = (plain(ticks, places) for ticks in (leader.mark, day.open, day.high, day.low))
    return (
        f'{{"table":"index/ticker","data":[{{"last":"{last}","open_24h":"{opened}","high_24h":"{high}",'
        f'"low_24h":"{low}","instrument_id":"{symbol}","timestamp":"',
        '"}]}',
    )


BY_CHANNEL: Mapping[str, Callable[[Text, Instrument], Shape]] = {  # what follows from the instrument alone
    "ticker": Text.ticker,
    "depth5": Text.top,
    "mark_price": Text.mark_price,
    "price_range": Text.price_range,
    "funding_rate": Text.funding_rate,
}
