"""An order book that takers eat and makers refill, and that remembers which levels changed.

Owns one instrument's levels and its sequence number. Knows no venue's format and no clock.

Prices are ticks and sizes are lots: integers, so that what is added up always agrees.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from random import Random

Level = tuple[int, int, int]  # price, lots, orders; 0 lots: the level is gone


@dataclass(frozen=True, slots=True)
class Update:
    """What changed between two published states of a book; best first on both sides."""

    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    previous: int
    seq: int


class Side:
    """The bids or the asks: `sign` is +1 where a higher price is better (bids), -1 where a lower one is."""

    __slots__ = ("changed", "levels", "prices", "sign")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.levels: dict[int, tuple[int, int]] = {}
        self.prices: list[int] = []  # ascending
        self.changed: dict[int, tuple[int, int] | None] = {}  # what a level was at the last publication

    @property
    def best(self) -> int:
        """The price nearest to the other side."""
        return self.prices[-1] if self.sign > 0 else self.prices[0]

    @property
    def worst(self) -> int:
        """The price farthest from the other side."""
        return self.prices[0] if self.sign > 0 else self.prices[-1]

    def put(self, price: int, lots: int, orders: int) -> None:
        """Insert a level or change it."""
        before = self.levels.get(price)
        if before is None:
            insort(self.prices, price)
        self.changed.setdefault(price, before)
        self.levels[price] = (lots, orders)

    def drop(self, price: int) -> None:
        """Remove a level."""
        self.changed.setdefault(price, self.levels.pop(price))
        del self.prices[bisect_left(self.prices, price)]

    def near(self, rank: int) -> int:
        """The price of the level `rank` steps behind the best."""
        return self.prices[-1 - rank] if self.sign > 0 else self.prices[rank]

    def top(self, depth: int) -> list[Level]:
        """The best `depth` levels, best first."""
        prices = self.prices[: -depth - 1 : -1] if self.sign > 0 else self.prices[:depth]
        return [(price, *self.levels[price]) for price in prices]

    def changes(self) -> tuple[Level, ...]:
        """The levels that differ from the last publication, best first; the present ones are then the published ones.
        A level that came and went in between was never there."""
        before, self.changed = self.changed, {}
        prices = sorted(before, reverse=self.sign > 0)
        now = self.levels.get
        return tuple((price, *now(price, (0, 0))) for price in prices if now(price) != before[price])


class Book:
    """Two sides of `depth` levels each. Never crossed, never thinner or deeper than `depth`.

    `scale`: lots of a large order, and most ticks between two levels.
    """

    def __init__(self, middle: int, depth: int, scale: tuple[int, int], random: Random) -> None:
        self.depth = depth
        self.seq = random.randrange(1_000, 100_000)
        self.published = self.seq
        self._lots, self._spacing = scale
        self._random = random
        self.bids = Side(+1)
        self.asks = Side(-1)
        self.bids.put(middle - 1, *self._order())
        self.asks.put(middle, *self._order())
        self._fit()
        self.bids.changed.clear()
        self.asks.changed.clear()

    def take(self, buy: bool, share: float) -> tuple[int, list[int]]:
        """A taker eats `share` of the best level (1 and more: all of it): its price and the lots of every match."""
        side = self.asks if buy else self.bids
        price = side.best
        lots, orders = side.levels[price]
        taken = lots if share >= 1 else max(1, int(lots * share))
        matches = self._split(taken, min(orders, 1 + int(self._random.random() * 3)))
        if taken == lots:
            side.drop(price)
        else:
            side.put(price, lots - taken, max(1, orders - len(matches) + 1))
        self._step()
        return price, matches

    def make(self, lean: float) -> None:
        """Makers move: the spread narrows (upwards more often the higher `lean`, 0…1), orders change behind it."""
        draw = self._random.random
        gap = self.asks.best - self.bids.best
        if gap > 1:
            step = 1 + int(draw() * min(gap - 1, self._spacing))
            up = draw() < lean
            side, price = (self.bids, self.bids.best + step) if up else (self.asks, self.asks.best - step)
            if self.bids.best < price < self.asks.best:
                side.put(price, *self._order())
        for side in (self.bids, self.asks):
            side.put(side.near(int(draw() ** 3 * self.depth)), *self._order())
            if draw() < 0.3:
                side.drop(side.near(1 + int(draw() * (self.depth - 1))))
        self._step()

    def restart(self) -> None:
        """Number on from a smaller id, as after a venue's maintenance."""
        self.seq = self._random.randrange(1, 500)

    @property
    def touched(self) -> bool:
        """Whether anything changed since the last publication."""
        return bool(self.bids.changed or self.asks.changed) or self.seq != self.published

    def publish(self) -> Update:
        """What changed since the last publication; this state is then the published one."""
        update = Update(self.bids.changes(), self.asks.changes(), self.published, self.seq)
        self.published = self.seq
        return update

    def _order(self) -> tuple[int, int]:
        draw = self._random.random()
        return 1 + int(draw * draw * self._lots), 1 + int(self._random.random() * 9)

    def _split(self, lots: int, parts: int) -> list[int]:
        matches = []
        for left in range(parts, 1, -1):
            part = max(1, lots // left)
            if lots - part < left - 1:
                break
            matches.append(part)
            lots -= part
        return [*matches, lots]

    def _step(self) -> None:
        self._fit()
        self.seq += 1 + int(self._random.random() * 9)

    def _fit(self) -> None:
        for side in (self.bids, self.asks):
            while len(side.prices) > self.depth:
                side.drop(side.worst)
            while len(side.prices) < self.depth:
                side.put(side.worst - side.sign * (1 + int(self._random.random() * self._spacing)), *self._order())
