"""What the simulated OKEx v1 lists: pairs, one of them so cheap that its prices are written with an exponent, and the
three contracts of two coins.

Owns the listings. Never moves a market. A contract is worth 100 dollars of bitcoin, 10 of any other coin: documented.
"""

from __future__ import annotations

from recorder.simulator.market import Listing
from recorder.simulator.okex_v1.names import WEEKS, coin_of, future, week_of

DEPTH = 200  # levels a side: documented of the first message of `depth`
PAIRS = (
    Listing("btc_usdt", "SPOT", 63_950_040, 4, 8, 50_000_000, spacing=2_400, weight=3),
    Listing("eth_usdt", "SPOT", 4_521_300, 4, 6, 5_000_000, spacing=300, weight=2),
    Listing("etc_usdt", "SPOT", 162_130, 4, 6, 50_000_000, spacing=30),
    Listing("bch_btc", "SPOT", 11_512_000, 8, 8, 500_000_000, spacing=2_000),
    Listing("soc_btc", "SPOT", 700, 9, 0, 90_000, spacing=1),  # 7E-7; a place finer than the venue's prices were
    Listing("btc_usd", "SPOT", 639_600, 2, 3, 9_000, spacing=24),  # OKCoin's
)
FUTURES = (("btc", 640_210, 2), ("etc", 16_250, 3))


def contract(coin: str) -> str:
    """Dollars in a contract."""
    return "100" if coin == "btc" else "10"


def listed(symbol: str, price: int, places: int, lots: int, spacing: int = 3) -> Listing:
    """A pair or a contract by its name."""
    if not week_of(symbol):
        return Listing(symbol, "SPOT", price, places, 0, lots, spacing=spacing)
    return Listing(symbol, "FUTURES", price, places, 0, lots, spacing=spacing, contract=contract(coin_of(symbol)))


LISTINGS = (
    *PAIRS,
    *(
        listed(future(coin, week), price + 100 * number, places, 4_000)
        for coin, price, places in FUTURES
        for number, week in enumerate(WEEKS)
    ),
)
