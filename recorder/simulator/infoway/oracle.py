"""Numbered trades as Infoway has them: no number is sent, but the volume is it.

Owns which kind of instrument a symbol is. The rule itself is the oracle's.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from recorder.simulator.infoway.listings import LISTINGS
from recorder.simulator.market import Listing
from recorder.simulator.oracle import PRICE_PLACES, Numbered, NumberedMarket

KINDS = {one.symbol: one.kind for one in LISTINGS}


def numbered(
    symbols: Sequence[str],
    start_us: int,
    *,
    rate: float = 2_000.0,
    seed: int = 1,
    depth: int = 30,
    calm: bool = False,
) -> NumberedMarket:
    """A market with so many numbered trades a second on each symbol; a symbol that is not listed is of crypto.
    `calm`: their books cost little (see `Listing`)."""
    market = NumberedMarket([], start_us, rate=rate)
    for symbol in symbols:
        listing = Listing(symbol, KINDS.get(symbol, "CRYPTO"), 105_000, PRICE_PLACES, 0, 50, calm=calm)
        random = Random(f"{seed}/{symbol}")  # noqa: S311 - a market, not a key
        market.instruments[symbol] = Numbered(listing, rate, random, start_us, depth=depth)
    return market
