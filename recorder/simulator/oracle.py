"""A market whose trades can be checked from their ids alone, a ledger of what was issued, sent and withheld, and a log
of the books as they were published.

Owns the numbering rule. Trade n of a symbol happens at start + n / rate, has id n, size n, a price that follows from n,
and is a buy when n is odd: whatever a recorder stored can be recomputed, and whatever it lacks is known by number.
A book is known by its sequence number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from recorder.simulator.book import Book, Level, Update
from recorder.simulator.market import Instrument, Listing, Market, Match, Tape, Trade, kind_of

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
        self.tape = NumberedTape(self.begins_us, rate)

    def _trades(self, ts: int) -> list[Trade]:
        return [self.issue(ts)]

    def issue(self, ts: int) -> Trade:
        """The next number."""
        n = self.tape.last + 1
        match = Match(n, price_of(n), n, n % 2 == 1, ts)
        self._record(match)
        return Trade(n, n, match.price, n, match.buy, ts, self.book.seq)


class NumberedMarket(Market):
    """`rate` numbered trades a second on each symbol. `calm`: their books cost little (see `Listing`)."""

    def __init__(
        self,
        symbols: Sequence[str],
        start_us: int,
        *,
        rate: float = 2_000.0,
        seed: int = 1,
        depth: int = 400,
        calm: bool = False,
    ) -> None:
        listings = [replace(self.listing(symbol), calm=calm) for symbol in symbols]
        super().__init__(listings, start_us, rate=rate, each=True, seed=seed, depth=depth)

    def listing(self, symbol: str) -> Listing:
        """Sizes are whole, prices have two places, whatever the instrument."""
        kind = kind_of(symbol)
        return Listing(symbol, kind, 105_000, PRICE_PLACES, 0, 50, contract="" if kind == "SPOT" else "1")

    def _make(self, listing: Listing, rate: float, start_us: int) -> Instrument:
        random = Random(f"{self._seed}/{listing.symbol}")  # noqa: S311 - a market, not a key
        return Numbered(listing, rate, random, start_us, depth=self._depth)


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


Sides = tuple[list[Level], list[Level]]


@dataclass(slots=True)
class _Chain:
    """One symbol's published book: what it was before the oldest update that is kept, and the updates since."""

    base: Update  # all levels, as if they had come in one update
    keep: int
    updates: deque[tuple[int, Update]] = field(default_factory=deque)  # with the time (ms)


class BookLog:
    """What the published books were: the newest `keep` published states of each symbol can be told, or more."""

    def __init__(self) -> None:
        self._chains: dict[str, _Chain] = {}

    def begin(self, symbol: str, book: Book, keep: int = 600) -> None:
        """A symbol's book as it is published now; what was before is forgotten."""
        bids, asks = tuple(book.bids.top(book.depth)), tuple(book.asks.top(book.depth))
        self._chains[symbol] = _Chain(Update(bids, asks, -1, book.published), keep)

    def note(self, symbol: str, at_ms: int, update: Update) -> None:
        """An update that is published."""
        chain = self._chains[symbol]
        if update.seq != update.previous:
            chain.updates.append((at_ms, update))
        if len(chain.updates) > 2 * chain.keep:
            chain.base = _applied(chain.base, [chain.updates.popleft()[1] for _ in range(chain.keep)])

    def at(self, symbol: str, seq: int) -> Sides | None:
        """Bids and asks, best first, as they were published under this number; None where that is not known."""
        chain = self._chains[symbol]
        for upto in range(len(chain.updates), 0, -1):  # the newest first: after a restart numbers come again
            if chain.updates[upto - 1][1].seq == seq:
                return _sides(chain, upto)
        return _sides(chain, 0) if seq == chain.base.seq else None

    def before(self, symbol: str, at_ms: int) -> tuple[int, Sides]:
        """Number and book as they were published at a moment, or the oldest ones that are kept."""
        chain = self._chains[symbol]
        upto = sum(1 for at, _ in chain.updates if at <= at_ms)
        seq = chain.updates[upto - 1][1].seq if upto else chain.base.seq
        return seq, _sides(chain, upto)


def _sides(chain: _Chain, upto: int) -> Sides:
    whole = _applied(chain.base, (update for _, update in list(chain.updates)[:upto]))
    return list(whole.bids), list(whole.asks)


def _applied(base: Update, updates: Iterable[Update]) -> Update:
    bids, asks = ({level[0]: level for level in side} for side in (base.bids, base.asks))
    seq = base.seq
    for update in updates:
        seq = update.seq
        for side, changes in ((bids, update.bids), (asks, update.asks)):
            side.update((level[0], level) for level in changes)
    best = sorted((level for level in bids.values() if level[1]), reverse=True)
    return Update(tuple(best), tuple(sorted(level for level in asks.values() if level[1])), -1, seq)


def extend(ranges: list[Range], first: int, last: int) -> None:
    """Add first … last to the ranges, joined with the newest one where they touch."""
    if ranges and ranges[-1][1] + 1 == first:
        ranges[-1] = (ranges[-1][0], last)
    else:
        ranges.append((first, last))
