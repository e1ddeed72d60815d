"""OKX v5's bars: their names and where they open.

Owns the two. Never makes a bar.
"""

from __future__ import annotations

from recorder.simulator.spans import DAY, HOUR, MINUTE, MONDAY, SECOND, months, span

UTC8 = FUNDING = 8 * HOUR

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
        start, end = months(at_ms + shift, MONTHS[name])
        return start - shift, end - shift
    return span(at_ms, LENGTHS[name], (MONDAY if name == "1W" else 0) - shift)
