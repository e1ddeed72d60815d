"""Trade ids as OKEx v1 has them, and numbered trades under such ids.

Owns the rule that makes an id of a number. Captured ids of one pair rise by 2, 39, 2, 29 …: they seem to come from a
counter that orders and all instruments share. So here: ids of all instruments differ, neighbours are 2 apart or many.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from recorder.simulator.market import Listing
from recorder.simulator.okex_v1.listings import listed
from recorder.simulator.oracle import PRICE_PLACES, NumberedMarket

FIRST = 425_965_200
SLOTS = 16  # at least: so many that a pair of neighbours is followed by a hole


class Ids:
    """The ids of a venue that lists these, in this order."""

    def __init__(self, symbols: Iterable[str]) -> None:
        self._slots = {symbol: slot for slot, symbol in enumerate(symbols)}
        self._width = 4 * max(SLOTS, len(self._slots))

    def of(self, symbol: str, number: int) -> int:
        """The id of an instrument's nth trade."""
        return FIRST + number // 2 * self._width + 4 * self._slots[symbol] + number % 2 * 2

    def number(self, symbol: str, trade_id: int) -> int:
        """Which of the instrument's trades this is. ValueError if none of it is."""
        pair, rest = divmod(trade_id - FIRST - 4 * self._slots[symbol], self._width)
        if rest not in (0, 2):
            raise ValueError(f"{trade_id} is no id of {symbol}")
        return 2 * pair + rest // 2


class _Numbered(NumberedMarket):
    def listing(self, symbol: str) -> Listing:
        """Sizes are whole, prices have two places, whatever the instrument."""
        return listed(symbol, 105_000, PRICE_PLACES, 50)


def numbered(
    symbols: Sequence[str], start_us: int, *, rate: float = 2_000.0, depth: int = 200, calm: bool = False
) -> NumberedMarket:
    """A market with so many numbered trades a second on each symbol (`btc_usdt`, `btc_usd_this_week`).
    `calm`: their books cost little (see `Listing`)."""
    return _Numbered(symbols, start_us, rate=rate, depth=depth, calm=calm)
