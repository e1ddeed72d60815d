"""OKX v5's messages of one instrument as bytes: every number a string, except seqId, prevSeqId and checksum.

Owns the field names and their order. Never decides what is sent to whom, and leaves what is derived from prices (marks,
indices, funding, options) to `derived`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from zlib import crc32

from recorder.simulator.bars import Bar
from recorder.simulator.book import Level
from recorder.simulator.decimals import fixed, plain
from recorder.simulator.market import Instrument, Listing, Match, Trade
from recorder.simulator.okx.bars import bar_span
from recorder.simulator.okx.channels import arg_of

CHECKED = 25  # levels a side that the checksum covers


def checksum(bids: Sequence[Sequence[str]], asks: Sequence[Sequence[str]]) -> int:
    """The CRC32, signed, of the best 25 levels a side (price and size as they are written, best first): bid, ask, bid,
    ask …, where one side ends the other goes on. So in every frame recorded from 2019 to 2023."""
    pairs = zip_longest(bids[:CHECKED], asks[:CHECKED])
    found = crc32(":".join(f"{level[0]}:{level[1]}" for pair in pairs for level in pair if level).encode())
    return found - (1 << 32) if found >> 31 else found


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

    def message(self, channel: str, rows: str) -> bytes:
        """A message of a channel about this instrument."""
        return f'{{{arg_of((channel, self.listing.symbol))},"data":[{rows}]}}'.encode()

    def trades_all(self, match: Match) -> bytes:
        """Channel `trades-all`: one message an id."""
        return self.message("trades-all", self.match(match))

    def levels(self, levels: Iterable[Level], *, deep: bool = False) -> str:
        """An array of levels: price, size, (a deprecated zero,) number of orders."""
        price_places, size_places = self._price_places, self._size_places
        zero = "" if deep else '"0",'
        return ",".join(
            f'["{fixed(price, price_places)}","{fixed(lots, size_places) if lots else "0"}",{zero}"{orders}"]'
            for price, lots, orders in levels
        )

    def books(
        self, channel: str, action: str, sides: tuple[Iterable[Level], Iterable[Level]], ids: tuple[int, int, int]
    ) -> bytes:
        """A message of a `books` channel: action, bids and asks, (prevSeqId, seqId, ts). Its checksum is 0, as the
        venue's has been since June 2026."""
        previous, seq, ts = ids
        bids, asks = (self.levels(side) for side in sides)
        tail = f'"ts":"{ts}","checksum":0,"prevSeqId":{previous},"seqId":{seq}'
        key = (channel, self.listing.symbol)
        return f'{{{arg_of(key)},"action":"{action}","data":[{{"asks":[{asks}],"bids":[{bids}],{tail}}}]}}'.encode()

    def checked(self, message: bytes, bids: Iterable[Level], asks: Iterable[Level]) -> bytes:
        """The same with the checksum of the book that it leaves behind."""
        rows = ([self._level(level) for level in side] for side in (bids, asks))
        return message.replace(b'"checksum":0', f'"checksum":{checksum(*rows)}'.encode())

    def _level(self, level: Level) -> tuple[str, str]:
        return fixed(level[0], self._price_places), fixed(level[1], self._size_places)

    def top(self, channel: str, instrument: Instrument, depth: int) -> tuple[str, str]:
        """`books5` and `bbo-tbt`: everything before the stamp (equal when nothing changed), and the seqId's end."""
        book = instrument.book
        bids, asks = self.levels(book.bids.top(depth)), self.levels(book.asks.top(depth))
        inst = f',"instId":"{self.listing.symbol}"' if depth > 1 else ""
        arg = arg_of((channel, self.listing.symbol))
        return f'{{{arg},"data":[{{"asks":[{asks}],"bids":[{bids}]{inst}', f',"seqId":{book.seq}}}]}}'

    def ticker(self, instrument: Instrument) -> str:
        """The fields of a ticker before its stamp."""
        listing, book, day = self.listing, instrument.book, instrument.day.bar()
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

    def _opened(self, instrument: Instrument, bar: str) -> str:
        start, _ = bar_span(bar, instrument.now_us // 1000)
        return fixed(instrument.minutes.opening(start), self._price_places)

    def volumes(self, bar: Bar) -> tuple[str, str, str]:
        """vol, volCcy, volCcyQuote: base, quote, quote for spot; contracts, base, quote for derivatives."""
        size, turnover = self._size_places, self._size_places + self._price_places
        if not self.listing.contract:
            quote = plain(bar.turnover, turnover)
            return plain(bar.lots, size), quote, quote
        worth, places = decimal_of(self.listing.contract)
        base, quote = plain(bar.lots * worth, size + places), plain(bar.turnover * worth, turnover + places)
        return plain(bar.lots, size), base, quote

    def candle(self, bar: Bar, *, closed: bool, fields: int = 9) -> str:
        """One bar as the array that WebSocket and REST share: open time, four prices, three volumes, whether it is
        closed. Of 7 fields, as until 2022, it ends with the second volume; of 6 it has prices only."""
        places = self._price_places
        prices = [fixed(price, places) for price in (bar.open, bar.high, bar.low, bar.close)]
        volumes = self.volumes(bar) if fields > 6 else ()
        row = '","'.join([str(bar.at), *prices, *volumes, str(int(closed))][:fields])
        return f'["{row}"]'


def decimal_of(text: str) -> tuple[int, int]:
    """A decimal as an integer and its number of places."""
    whole, _, part = text.partition(".")
    return int(whole + part), len(part)
