"""Bars of a fixed length, made of trades; an interval without trades is a flat bar at the last price.

Owns the running bar and those kept behind it. Never knows an interval's name or the clock.
"""

from __future__ import annotations

from dataclasses import dataclass

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Bar:
    """Open time (ms), prices in ticks, volume in lots, turnover in ticks x lots."""

    at: int
    open: int
    high: int
    low: int
    close: int
    lots: int
    turnover: int


class Bars:
    """Every bar of one length from the start on; the oldest go when there are more than `keep`."""

    __slots__ = ("_rows", "first", "keep", "step")

    def __init__(self, step_ms: int, at_ms: int, price: int, keep: int) -> None:
        self.step = step_ms
        self.keep = keep
        self.first = at_ms - at_ms % step_ms
        self._rows: list[list[int]] = [[price, price, price, price, 0, 0]]

    @property
    def running(self) -> int:
        """Open time of the newest bar."""
        return self.first + (len(self._rows) - 1) * self.step

    def roll(self, at_ms: int) -> None:
        """Make the newest bar the one that holds this moment."""
        rows = self._rows
        while self.running + self.step <= at_ms:
            close = rows[-1][3]
            rows.append([close, close, close, close, 0, 0])
        if len(rows) > 2 * self.keep:
            gone = len(rows) - self.keep
            del rows[:gone]
            self.first += gone * self.step

    def add(self, at_ms: int, price: int, lots: int) -> None:
        """Count a trade in."""
        if self.running + self.step <= at_ms:
            self.roll(at_ms)
        row = self._rows[-1]
        if row[4] == 0:
            row[0] = row[1] = row[2] = price
        elif price > row[1]:
            row[1] = price
        elif price < row[2]:
            row[2] = price
        row[3] = price
        row[4] += lots
        row[5] += price * lots

    def opening(self, start: int) -> int:
        """The first price traded from this moment on; the last one before it where nothing was traded since."""
        rows = self._rows[max(0, (start - self.first) // self.step) :]
        return next((row[0] for row in rows if row[4]), self._rows[-1][3])

    def close_before(self, start: int) -> int:
        """The last price before this moment; the first one held where nothing older is."""
        before = min((start - self.first) // self.step, len(self._rows)) - 1
        return self._rows[before][3] if before >= 0 else self._rows[0][0]

    def merge(self, start: int, end: int) -> Bar | None:
        """One bar over [start, end), None where nothing is held of it."""
        low = max(0, (start - self.first) // self.step)
        rows = self._rows[low : max(0, (end - self.first) // self.step)]
        if not rows:
            return None
        traded = [row for row in rows if row[4]] or rows
        return Bar(
            at=start,
            open=traded[0][0],
            high=max(row[1] for row in traded),
            low=min(row[2] for row in traded),
            close=rows[-1][3],
            lots=sum(row[4] for row in rows),
            turnover=sum(row[5] for row in rows),
        )


class Day:
    """The last 24 hours of minutes as one bar: they are added up once a minute, in between only brought up to date."""

    __slots__ = ("_minutes", "_past")

    def __init__(self, minutes: Bars) -> None:
        self._minutes = minutes
        self._past: tuple[int, Bar | None] = (-1, None)

    def bar(self) -> Bar:
        """The bar that ends with the running minute."""
        minutes = self._minutes
        running, end = minutes.running, minutes.running + minutes.step
        if self._past[0] != running:
            self._past = (running, minutes.merge(end - DAY_MS, running))
        past, now = self._past[1], minutes.merge(running, end)
        assert now is not None
        if past is None or not past.lots:
            return now
        return _joined(past, now) if now.lots else past


def _joined(past: Bar, now: Bar) -> Bar:
    return Bar(
        past.at,
        past.open,
        max(past.high, now.high),
        min(past.low, now.low),
        now.close,
        past.lots + now.lots,
        past.turnover + now.turnover,
    )
