"""Where bars open and close: intervals of a fixed length, and those that follow the calendar, in UTC.

Owns the arithmetic, in milliseconds since 1970. Never knows a venue's name for an interval.
"""

from __future__ import annotations

from datetime import UTC, datetime

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
MONDAY = 4 * DAY  # 1970-01-05, the first Monday


def span(at_ms: int, length: int, origin: int = 0) -> tuple[int, int]:
    """Open and close of the interval that holds this moment, where one of them opens at `origin`."""
    start = at_ms - (at_ms - origin) % length
    return start, start + length


def months(at_ms: int, count: int) -> tuple[int, int]:
    """The same for intervals of `count` months that divide a year."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    first = at.year * 12 + (at.month - 1) // count * count
    return _month(first), _month(first + count)


def _month(number: int) -> int:
    return int(datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1000
