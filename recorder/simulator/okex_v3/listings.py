"""What the simulated OKEx v3 lists: the instruments of the simulated OKX and some that are margined in coins.

Owns the listings. Never moves a market.
"""

from __future__ import annotations

from dataclasses import replace

from recorder.simulator.market import Listing
from recorder.simulator.okx.listings import LISTINGS, RARE, dated

COINS = Listing("BTC-USD-SWAP", "SWAP", 649_900, 1, 0, 4_000, spacing=24, contract="0.001", weight=RARE, calm=True)


def listings(now_ms: int) -> tuple[Listing, ...]:
    """Spot pairs, perpetuals, and what expires on the Friday after next: futures and options."""
    expiring = dated(now_ms)
    future = next(one for one in expiring if one.kind == "FUTURES")
    coins = replace(future, symbol=future.symbol.replace("USDT", "USD"), price=650_500, size_places=0, contract="0.001")
    return (*LISTINGS, COINS, *expiring, coins)
