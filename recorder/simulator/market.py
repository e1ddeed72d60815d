"""Markets that move: trades, a book, bars and statistics of every instrument, as a function of seed and time.

Owns the instruments and their numbering, which goes on whether anybody listens or not. Knows no venue's format,
never reads a clock and never does I/O: `advance` is told the time and reports to a `Listener`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import NamedTuple, Protocol

from recorder.simulator.bars import Bars, Day
from recorder.simulator.book import Book, Update

TICK_US = 10_000  # best bid and offer are looked at 100 times a second, as the fastest channel pushes
TENTH_US = 100_000
SECOND_US = 1_000_000
MAKER_US = 50_000
HEARTBEAT_US = 60 * SECOND_US
CALM_DEPTH = 50
NEVER_US = 1 << 62
LISTED_MS = 1_606_468_572_000  # when what is older than the venue was listed


class Phase(Enum):
    """Where an instrument is in its life. Only a live one trades; of one that has ended nothing is heard any more."""

    PREOPEN = "preopen"
    LIVE = "live"
    SUSPENDED = "suspend"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Listing:
    """What an instrument is. One tick is 10^-price_places, one lot 10^-size_places; `price` is where it starts."""

    symbol: str
    kind: str  # SPOT, SWAP, FUTURES or OPTION
    price: int
    price_places: int
    size_places: int
    lots: int  # a large order
    spacing: int = 3  # at most so many ticks between two levels
    contract: str = ""  # base currency in one contract, derivatives only
    weight: float = 1.0  # its share of a rate that is given for all instruments together
    calm: bool = False  # looked at ten times a second, made once a second, 50 levels: hundreds cost little
    listed: int = LISTED_MS
    opens: int = 0  # ms; until then it is announced, has a book, and does not trade
    expires: int = 0  # ms; 0 never

    @property
    def base(self) -> str:
        """BTC of BTC-USDT-SWAP."""
        return self.symbol.split("-")[0]

    @property
    def quote(self) -> str:
        """USDT of BTC-USDT-SWAP."""
        return self.symbol.split("-")[1]

    @property
    def family(self) -> str:
        """BTC-USDT of BTC-USDT-SWAP: what a derivative is derived from."""
        return f"{self.base}-{self.quote}"


def kind_of(symbol: str) -> str:
    """SPOT of A-B, SWAP of A-B-SWAP, FUTURES of A-B-261225, OPTION of A-B-261225-65000-C."""
    parts = symbol.split("-")
    if len(parts) >= 5:
        return "OPTION"
    return "SPOT" if len(parts) < 3 else "SWAP" if parts[2] == "SWAP" else "FUTURES"


class Match(NamedTuple):
    """One trade id: what one maker order gave to one taker."""

    trade_id: int
    price: int
    lots: int
    buy: bool
    ts: int  # ms


class Trade(NamedTuple):
    """All matches of one taker order at one price: ids first … last without a hole."""

    first: int
    last: int
    price: int
    lots: int
    buy: bool
    ts: int
    seq: int

    @property
    def matches(self) -> int:
        """How many matches it aggregates."""
        return self.last - self.first + 1


class Listener(Protocol):
    """Who hears what happened, in the order in which it happened."""

    def on_trade(self, instrument: Instrument, trade: Trade) -> None:
        """A taker was filled."""
        ...

    def on_top(self, instrument: Instrument) -> None:
        """Best bid or offer differ from 10 ms ago."""
        ...

    def on_book(self, instrument: Instrument, update: Update) -> None:
        """What changed in the last 100 ms, or an empty update after a minute without any change."""
        ...

    def on_tenth(self, instrument: Instrument) -> None:
        """100 ms are over."""
        ...

    def on_second(self, instrument: Instrument, at_ms: int) -> None:
        """The second that ends here is over; trades at `at_ms` belong to the next one."""
        ...


class Tape:
    """Every match of an instrument, ids from 1 on; the oldest go when there are more than `keep`."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._rows: list[Match] = []
        self.first = 1
        self.last = 0

    def add(self, match: Match) -> None:
        """The next id."""
        self._rows.append(match)
        self.last = match.trade_id
        if len(self._rows) > 2 * self._keep:
            del self._rows[: -self._keep]
            self.first = self._rows[0].trade_id

    def match(self, trade_id: int) -> Match:
        """The match with this id, which must be held."""
        return self._rows[trade_id - self.first]

    def last_before(self, ts: int) -> int:
        """The highest id issued before this moment (ms), `first - 1` if none is held."""
        low, high = self.first - 1, self.last
        while low < high:
            middle = (low + high + 1) // 2
            if self.match(middle).ts < ts:
                low = middle
            else:
                high = middle - 1
        return low

    def newest(self, limit: int, above: int = 0, below: int | None = None) -> list[Match]:
        """At most `limit` matches with above < id < below, newest first."""
        top = self.last if below is None else min(self.last, below - 1)
        bottom = max(self.first, above + 1, top - limit + 1)
        return [self.match(n) for n in range(top, bottom - 1, -1)]


class Instrument:
    """One listing's market. Takers trade `rate` times a second, makers move 20 times a second while `rate` > 0."""

    def __init__(self, listing: Listing, rate: float, random: Random, start_us: int, *, depth: int, keep: int) -> None:
        self.listing = listing
        self.rate = rate
        self.tape: Tape = Tape(keep)
        depth = min(depth, CALM_DEPTH) if listing.calm else depth
        self.book = Book(listing.price, depth, (listing.lots, listing.spacing), random)
        start_us -= start_us % SECOND_US
        self.start_us = start_us
        self.now_us = start_us
        self.begins_us = max(start_us, listing.opens * 1000)  # where trades are counted from
        self.phase = Phase.PREOPEN if self.begins_us > start_us else Phase.LIVE
        self.seconds = Bars(1_000, start_us // 1000, listing.price, 7_200)
        self.minutes = Bars(60_000, start_us // 1000, listing.price, 60 * 24 * 31)
        self.mark = listing.price  # ticks: the middle between best bid and offer, taken every 100 ms
        self.marks = Bars(60_000, start_us // 1000, listing.price, 60 * 24 * 31)
        self.day, self.marks_day = Day(self.minutes), Day(self.marks)
        self._random = random
        self._orders = 0
        self._next_order = self._order_time(1)
        self._make_us = SECOND_US if listing.calm else MAKER_US
        self._next_make = start_us + self._make_us if rate else NEVER_US
        self._tick_us = TENTH_US if listing.calm else TICK_US
        self._next_tick = start_us + self._tick_us
        self._top: tuple[int, int, tuple[int, int], tuple[int, int]] | None = None
        self._changed_us = start_us

    @property
    def ended(self) -> bool:
        """Whether it is suspended or expired: its time stands still."""
        return self.phase in (Phase.SUSPENDED, Phase.EXPIRED)

    def advance(self, now_us: int, listener: Listener) -> None:
        """Let everything happen that is due. On a tie the grid comes first: bars end before trades at their end."""
        while not self.ended:
            due = min(self._next_tick, self._next_make, self._next_order)
            if due > now_us:
                break
            self.now_us = due
            if due == self._next_tick:
                self._next_tick += self._tick_us
                self._tick(due, listener)
            elif due == self._next_make:
                self._next_make += self._make_us
                self.book.make(self._lean())
            else:
                self._orders += 1
                self._next_order = self._order_time(self._orders + 1)
                for trade in self._trades(due // 1000):
                    listener.on_trade(self, trade)

    def publish(self, listener: Listener) -> None:
        """Publish what changed in the book now, the best level first, so that its published state is its state."""
        if self.book.touched:
            self._changed_us = self.now_us
            self._look(listener)
            listener.on_book(self, self.book.publish())

    def issued_before(self, us: int) -> int:
        """The highest trade id issued before this moment (µs)."""
        return self.tape.last_before(-(-us // 1000))

    def _order_time(self, order: int) -> int:
        return self.begins_us + int(order * 1e6 / self.rate) if self.rate else NEVER_US

    def _trades(self, ts: int) -> list[Trade]:
        """One taker: it eats the best level, or all of it and a part of the next one."""
        lean = self._lean()
        buy = self._random.random() < lean
        share = self._random.random() * 1.2
        trades = [self._fill(buy, share, ts)]
        if share > 1:
            trades.append(self._fill(buy, share - 1, ts))
            self.book.make(lean)  # else the spread of a busy market would only grow
        return [trade._replace(seq=self.book.seq) for trade in trades]

    def _fill(self, buy: bool, share: float, ts: int) -> Trade:
        price, matches = self.book.take(buy, share)
        first = self.tape.last + 1
        for number, lots in enumerate(matches, first):
            self._record(Match(number, price, lots, buy, ts))
        return Trade(first, self.tape.last, price, sum(matches), buy, ts, self.book.seq)

    def _record(self, match: Match) -> None:
        self.tape.add(match)
        self.seconds.add(match.ts, match.price, match.lots)
        self.minutes.add(match.ts, match.price, match.lots)

    def _lean(self) -> float:
        """How likely the next move is upwards: a walk that is drawn home from 2 % away."""
        away = (self.book.bids.best - self.listing.price) / (self.listing.price * 0.02)
        return 0.5 - 0.3 * max(-1.0, min(1.0, away))

    def _tick(self, at_us: int, listener: Listener) -> None:
        second = at_us % SECOND_US == 0
        if second:
            self._turn(at_us)
        self._look(listener)
        if at_us % TENTH_US == 0:
            if second or self.phase is Phase.LIVE:  # a book that waits for its opening is shown once a second
                self._show(at_us, listener)
            listener.on_tenth(self)
        if second:
            for bars in (self.seconds, self.minutes, self.marks):
                bars.roll(at_us // 1000)
            listener.on_second(self, at_us // 1000)

    def _turn(self, at_us: int) -> None:
        """Opening and expiry."""
        if self.phase is Phase.PREOPEN and at_us >= self.begins_us:
            self.phase = Phase.LIVE
        if self.listing.expires and at_us >= self.listing.expires * 1000:
            self.phase = Phase.EXPIRED

    def _look(self, listener: Listener) -> None:
        bids, asks = self.book.bids, self.book.asks
        top = (bids.best, asks.best, bids.levels[bids.best], asks.levels[asks.best])
        if top != self._top:
            self._top = top
            listener.on_top(self)

    def _show(self, at_us: int, listener: Listener) -> None:
        self.publish(listener)
        if at_us - self._changed_us >= HEARTBEAT_US:
            self._changed_us = at_us
            listener.on_book(self, self.book.publish())
        mark = (self.book.bids.best + self.book.asks.best) // 2
        if mark != self.mark:
            self.mark = mark
            self.marks.add(at_us // 1000, mark, 1)


class Market:
    """All instruments of a venue. `rate`: trades a second, shared by all of them by weight unless `each`."""

    def __init__(  # noqa: PLR0913 - all but two are how much of it, with defaults
        self,
        listings: Sequence[Listing],
        start_us: int,
        *,
        rate: float = 20.0,
        each: bool = False,
        seed: int = 1,
        depth: int = 400,
        keep: int = 500_000,
    ) -> None:
        self._seed = seed
        self._depth = depth
        self._keep = keep
        weights = sum(one.weight for one in listings)
        self.instruments = {
            one.symbol: self._make(one, rate if each else rate * one.weight / weights, start_us) for one in listings
        }

    def listing(self, symbol: str) -> Listing:
        """What an instrument that is known by its name alone is like. Derivatives: a contract is a hundredth coin."""
        kind = kind_of(symbol)
        contract = "" if kind == "SPOT" else "0.01"
        return Listing(symbol, kind, 100_000, 2, 2 if contract else 4, 50_000, contract=contract)

    def add(self, listing: Listing, now_us: int, rate: float) -> Instrument:
        """List one more, with so many trades a second. ValueError while one of that name lives."""
        before = self.instruments.get(listing.symbol)
        if before is not None and not before.ended:
            raise ValueError(f"{listing.symbol} is listed already")
        self.instruments[listing.symbol] = added = self._make(listing, rate, now_us)
        return added

    def advance(self, now_us: int, listener: Listener) -> None:
        """Bring every instrument to this moment."""
        for instrument in self.instruments.values():
            instrument.advance(now_us, listener)

    def _make(self, listing: Listing, rate: float, start_us: int) -> Instrument:
        random = Random(f"{self._seed}/{listing.symbol}")  # noqa: S311 - a market, not a key
        return Instrument(listing, rate, random, start_us, depth=self._depth, keep=self._keep)
