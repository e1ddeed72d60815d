"""What the simulated OKX lists: a few instruments of every kind, and hundreds on request.

Owns the listings. Never moves a market.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from recorder.simulator.market import Listing

LISTINGS = (
    Listing("BTC-USDT", "SPOT", 650_000, 1, 8, 50_000_000, spacing=24),
    Listing("ETH-USDT", "SPOT", 320_000, 2, 6, 5_000_000, spacing=12),
    Listing("SOL-USDT", "SPOT", 15_000, 2, 6, 80_000_000),
    Listing("BTC-USDT-SWAP", "SWAP", 650_100, 1, 2, 40_000, spacing=24, contract="0.01"),
    Listing("ETH-USDT-SWAP", "SWAP", 320_050, 2, 2, 60_000, spacing=12, contract="0.1"),
)
SETTLES = 8  # o'clock, UTC
FRIDAY = 4
RARE = 0.05  # the weight of what trades rarely


def dated(now_ms: int) -> tuple[Listing, ...]:
    """A future and two options that expire on the Friday after next: what every channel needs to have something to say.

    Options are quoted in coins of their underlying; their strikes are where BTC-USDT starts.
    """
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    day = now.date() + timedelta(days=(FRIDAY - now.weekday()) % 7 + 7)
    expires = int(datetime(day.year, day.month, day.day, SETTLES, tzinfo=UTC).timestamp()) * 1000
    name = day.strftime("%y%m%d")
    options = (
        Listing(f"BTC-USD-{name}-65000-{side}", "OPTION", price, 4, 0, 200, contract="0.01", weight=RARE, calm=True)
        for side, price in (("C", 450), ("P", 430))
    )
    future = Listing(f"BTC-USDT-{name}", "FUTURES", 651_000, 1, 2, 40_000, contract="0.01", weight=RARE, calm=True)
    return tuple(replace(one, expires=expires) for one in (future, *options))


def crowd(count: int) -> list[str]:
    """So many perpetuals by name: C000-USDT-SWAP and so on."""
    return [f"C{number:03d}-USDT-SWAP" for number in range(count)]
