"""OKX v5's public messages as bytes: every number a string, except seqId, prevSeqId and checksum.

Owns the field names and their order, the names of bars and where they open. Never decides what is sent to whom.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from recorder.simulator.bars import Bar
from recorder.simulator.book import Level, Update
from recorder.simulator.market import Instrument, Listing, Match, Trade

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
UTC8 = FUNDING = 8 * HOUR
MONDAY = 4 * DAY  # 1970-01-05, the first Monday

LENGTHS = (
    {"1s": SECOND, "1m": MINUTE, "3m": 3 * MINUTE, "5m": 5 * MINUTE, "15m": 15 * MINUTE, "30m": 30 * MINUTE}
    | {"1H": HOUR, "2H": 2 * HOUR, "4H": 4 * HOUR, "6H": 6 * HOUR, "12H": 12 * HOUR}
    | {"1D": DAY, "2D": 2 * DAY, "3D": 3 * DAY, "5D": 5 * DAY, "1W": 7 * DAY}
)
MONTHS = {"1M": 1, "3M": 3}
LONG = ("6H", "12H", "1D", "2D", "3D", "5D", "1W", "1M", "3M")  # these open on UTC+8 unless named …utc
BARS = frozenset((*LENGTHS, *MONTHS, *(f"{bar}utc" for bar in LONG)))


def bar_span(bar: str, at_ms: int) -> tuple[int, int]:
    """Open and close (ms) of the bar that holds this moment."""
    name = bar.removesuffix("utc")
    shift = UTC8 if name in LONG and name == bar else 0
    if name in MONTHS:
        start, end = _months(MONTHS[name], at_ms + shift)
        return start - shift, end - shift
    length = LENGTHS[name]
    shift -= MONDAY if name == "1W" else 0
    start = at_ms - (at_ms + shift) % length
    return start, start + length


def _months(count: int, at_ms: int) -> tuple[int, int]:
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    first = at.year * 12 + (at.month - 1) // count * count
    return _month(first), _month(first + count)


def _month(number: int) -> int:
    return int(datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1000


def fixed(value: int, places: int) -> str:
    """An integer of 10^-places as a decimal with all its places."""
    if not places:
        return str(value)
    digits = str(value).rjust(places + 1, "0")
    return f"{digits[:-places]}.{digits[-places:]}"


def plain(value: int, places: int) -> str:
    """The same without trailing zeros, as the venue writes volumes."""
    text = fixed(value, places)
    return text.rstrip("0").rstrip(".") if "." in text else text


class Text:
    """The messages of one instrument."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self._price_places = listing.price_places
        self._size_places = listing.size_places
        inst = listing.symbol
        self._trades = (
            f'{{"arg":{{"channel":"trades","instId":"{inst}"}},"data":[{{"instId":"{inst}","tradeId":"%d","px":"%s",'
            f'"sz":"%s","side":"%s","ts":"%d","count":"%d","source":"0","seqId":%d}}]}}'
        )
        self._match = (
            f'{{"instId":"{inst}","tradeId":"%d","px":"%s","sz":"%s","side":"%s","ts":"%d","source":"0"}}'  # one row
        )

    def arg(self, channel: str) -> str:
        """The `arg` of every message of a channel."""
        return f'"arg":{{"channel":"{channel}","instId":"{self.listing.symbol}"}}'

    def trades(self, trade: Trade) -> bytes:
        """Channel `trades`: a taker's fills at one price in one message, under the last of their ids."""
        _, last, price, lots, buy, ts, seq = trade
        side = "buy" if buy else "sell"
        fields = (last, fixed(price, self._price_places), fixed(lots, self._size_places), side, ts, trade.matches, seq)
        return (self._trades % fields).encode()

    def match(self, match: Match) -> str:
        """One trade id, as `trades-all` and REST show it."""
        number, price, lots, buy, ts = match
        side = "buy" if buy else "sell"
        return self._match % (number, fixed(price, self._price_places), fixed(lots, self._size_places), side, ts)

    def trades_all(self, match: Match) -> bytes:
        """Channel `trades-all`: one message an id."""
        return f'{{{self.arg("trades-all")},"data":[{self.match(match)}]}}'.encode()

    def levels(self, levels: Iterable[Level], *, deep: bool = False) -> str:
        """An array of levels: price, size, (a deprecated zero,) number of orders."""
        price_places, size_places = self._price_places, self._size_places
        zero = "" if deep else '"0",'
        return ",".join(
            f'["{fixed(price, price_places)}","{fixed(lots, size_places) if lots else "0"}",{zero}"{orders}"]'
            for price, lots, orders in levels
        )

    def snapshot(self, channel: str, instrument: Instrument, ts: int) -> bytes:
        """The first message of a `books` channel."""
        book = instrument.book
        bids, asks = self.levels(book.bids.top(book.depth)), self.levels(book.asks.top(book.depth))
        return self._books(channel, "snapshot", bids, asks, (-1, book.published, ts))

    def update(self, channel: str, update: Update, ts: int) -> bytes:
        """Every further message of a `books` channel."""
        ids = (update.previous, update.seq, ts)
        return self._books(channel, "update", self.levels(update.bids), self.levels(update.asks), ids)

    def _books(self, channel: str, action: str, bids: str, asks: str, ids: tuple[int, int, int]) -> bytes:
        previous, seq, ts = ids
        tail = f'"ts":"{ts}","checksum":0,"prevSeqId":{previous},"seqId":{seq}'
        return (
            f'{{{self.arg(channel)},"action":"{action}","data":[{{"asks":[{asks}],"bids":[{bids}],{tail}}}]}}'.encode()
        )

    def top(self, channel: str, instrument: Instrument, depth: int) -> tuple[str, str]:
        """`books5` and `bbo-tbt`: everything before the stamp (equal when nothing changed), and the seqId's end."""
        book = instrument.book
        bids, asks = self.levels(book.bids.top(depth)), self.levels(book.asks.top(depth))
        inst = f',"instId":"{self.listing.symbol}"' if depth > 1 else ""
        return f'{{{self.arg(channel)},"data":[{{"asks":[{asks}],"bids":[{bids}]{inst}', f',"seqId":{book.seq}}}]}}'

    def ticker(self, instrument: Instrument) -> str:
        """The fields of a ticker before its stamp."""
        listing, book, day = self.listing, instrument.book, instrument.day()
        price, size = self._price_places, self._size_places
        last = instrument.tape.match(instrument.tape.last) if instrument.tape.last else None
        bid, ask = book.bids.top(1)[0], book.asks.top(1)[0]
        volume, currency, _ = self.volumes(day)
        midnight, midnight8 = self._opened(instrument, "1Dutc"), self._opened(instrument, "1D")
        return (
            f'"instType":"{listing.kind}","instId":"{listing.symbol}","last":"{fixed(day.close, price)}",'
            f'"lastSz":"{fixed(last.lots, size) if last else ""}","askPx":"{fixed(ask[0], price)}",'
            f'"askSz":"{fixed(ask[1], size)}","bidPx":"{fixed(bid[0], price)}","bidSz":"{fixed(bid[1], size)}",'
            f'"open24h":"{fixed(day.open, price)}","high24h":"{fixed(day.high, price)}",'
            f'"low24h":"{fixed(day.low, price)}","volCcy24h":"{currency}","vol24h":"{volume}",'
            f'"sodUtc0":"{midnight}","sodUtc8":"{midnight8}"'
        )

    def slow(self, channel: str, instrument: Instrument, settles: int) -> str:
        """The fields of the slow channels before their stamp; empty where the instrument has none."""
        listing, price = self.listing, fixed(instrument.book.bids.best, self._price_places)
        names = f'"instType":"{listing.kind}","instId":"{listing.symbol}"'
        if channel == "mark-price":
            return f'{names},"markPx":"{price}"'
        if not listing.contract:
            return ""
        if channel == "open-interest":
            held = fixed(listing.lots * 1_000, self._size_places)
            worth, places = _decimal(listing.contract)
            coins = plain(listing.lots * 1_000 * worth, self._size_places + places)
            return f'{names},"oi":"{held}","oiCcy":"{coins}"'
        if channel == "funding-rate":
            rate = plain(100 + instrument.tape.last % 50, 6)
            times = f'"fundingTime":"{settles}","nextFundingTime":"{settles + FUNDING}"'
            return f'{names},"method":"current_period","fundingRate":"{rate}","nextFundingRate":"",{times}'
        return ""

    def instrument(self) -> str:
        """A row of `public/instruments`."""
        listing = self.listing
        swap = bool(listing.contract)
        base, quote = ("", "") if swap else (listing.base, listing.quote)
        family = f"{listing.base}-{listing.quote}" if swap else ""
        lot = fixed(1, self._size_places)
        return (
            f'{{"alias":"","baseCcy":"{base}","category":"1","ctMult":"{"1" if swap else ""}",'
            f'"ctType":"{"linear" if swap else ""}","ctVal":"{listing.contract}",'
            f'"ctValCcy":"{listing.base if swap else ""}","expTime":"","instFamily":"{family}",'
            f'"instId":"{listing.symbol}","instType":"{listing.kind}","lever":"10","listTime":"1606468572000",'
            f'"lotSz":"{lot}","minSz":"{lot}","optType":"","quoteCcy":"{quote}",'
            f'"settleCcy":"{listing.quote if swap else ""}","state":"live","stk":"",'
            f'"tickSz":"{fixed(1, self._price_places)}","uly":"{family}"}}'
        )

    def _opened(self, instrument: Instrument, bar: str) -> str:
        start, _ = bar_span(bar, instrument.now_us // 1000)
        return fixed(instrument.minutes.opening(start), self._price_places)

    def volumes(self, bar: Bar) -> tuple[str, str, str]:
        """vol, volCcy, volCcyQuote: base, quote, quote for spot; contracts, base, quote for derivatives."""
        size, turnover = self._size_places, self._size_places + self._price_places
        if not self.listing.contract:
            quote = plain(bar.turnover, turnover)
            return plain(bar.lots, size), quote, quote
        worth, places = _decimal(self.listing.contract)
        base, quote = plain(bar.lots * worth, size + places), plain(bar.turnover * worth, turnover + places)
        return plain(bar.lots, size), base, quote

    def candle(self, bar: Bar, *, closed: bool) -> str:
        """One bar as the array that WebSocket and REST share."""
        places = self._price_places
        prices = '","'.join(fixed(price, places) for price in (bar.open, bar.high, bar.low, bar.close))
        volumes = '","'.join(self.volumes(bar))
        return f'["{bar.at}","{prices}","{volumes}","{int(closed)}"]'


def _decimal(text: str) -> tuple[int, int]:
    whole, _, part = text.partition(".")
    return int(whole + part), len(part)
