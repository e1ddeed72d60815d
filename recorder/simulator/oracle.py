"""A market whose trades can be checked from their ids alone, and a ledger of what was issued, sent and withheld.

Owns the numbering rule. Trade n of a symbol happens at start + n / rate, has id n, size n, a price that follows from n,
and is a buy when n is odd: whatever a recorder stored can be recomputed, and whatever it lacks is known by number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from recorder.simulator.market import Instrument, Listing, Market, Match, Tape, Trade

PRICE_PLACES = 2
Range = tuple[int, int]


def price_of(trade_id: int) -> int:
    """The price in ticks of 0.01: 1000.00 … 1099.72, prime period, so that neighbours and swaps show."""
    return 100_000 + trade_id % 9_973


def trade_of(trade_id: int) -> tuple[str, str, str]:
    """Price, size and side of a numbered trade as the venue writes them."""
    price = price_of(trade_id)
    return f"{price // 100}.{price % 100:02d}", str(trade_id), "buy" if trade_id % 2 else "sell"


class NumberedTape(Tape):
    """Holds nothing: a match follows from its id."""

    def __init__(self, start_us: int, rate: float) -> None:
        super().__init__(0)
        self._start_us = start_us
        self._rate = rate

    def add(self, match: Match) -> None:
        """The next id."""
        self.last = match.trade_id

    def match(self, trade_id: int) -> Match:
        """The match with this id."""
        at = (self._start_us + int(trade_id * 1e6 / self._rate)) // 1000
        return Match(trade_id, price_of(trade_id), trade_id, trade_id % 2 == 1, at)


class Numbered(Instrument):
    """An instrument with numbered trades; its book moves by its makers alone."""

    def __init__(self, listing: Listing, rate: float, random: Random, start_us: int, *, depth: int) -> None:
        super().__init__(listing, rate, random, start_us, depth=depth, keep=0)
        self.tape = NumberedTape(self.start_us, rate)

    def _trades(self, ts: int) -> list[Trade]:
        return [self.issue(ts)]

    def issue(self, ts: int) -> Trade:
        """The next number."""
        n = self.tape.last + 1
        match = Match(n, price_of(n), n, n % 2 == 1, ts)
        self._record(match)
        return Trade(n, n, match.price, n, match.buy, ts, self.book.seq)


class NumberedMarket(Market):
    """`rate` numbered trades a second on each symbol."""

    def __init__(
        self, symbols: Sequence[str], start_us: int, *, rate: float = 2_000.0, seed: int = 1, depth: int = 400
    ) -> None:
        self.instruments = {
            symbol: Numbered(
                Listing(symbol, "SPOT", 105_000, PRICE_PLACES, 0, 50),
                rate,
                Random(f"{seed}/{symbol}"),  # noqa: S311 - a market, not a key
                start_us,
                depth=depth,
            )
            for symbol in symbols
        }


@dataclass(slots=True)
class Connected:
    """One connection: when it opened and closed (µs, wall clock; 0 still open) and which ids went out on it."""

    path: str
    opened: int
    closed: int = 0
    sent: dict[str, list[Range]] = field(default_factory=dict)

    def add(self, symbol: str, first: int, last: int) -> None:
        """Count ids as sent; neighbours grow the range."""
        extend(self.sent.setdefault(symbol, []), first, last)


@dataclass(slots=True)
class Ledger:
    """What a test compares a recorder with: ids issued, ids withheld on purpose, ids sent to whom."""

    issued: dict[str, int]
    skipped: dict[str, list[Range]]
    connections: dict[str, Connected]


def extend(ranges: list[Range], first: int, last: int) -> None:
    """Add first … last to the ranges, joined with the newest one where they touch."""
    if ranges and ranges[-1][1] + 1 == first:
        ranges[-1] = (ranges[-1][0], last)
    else:
        ranges.append((first, last))
