"""OKX v5's bars: their names and where they open.

Owns the two. Never makes a bar.
"""

from __future__ import annotations

from datetime import UTC, datetime

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
