"""OKEx v1's channels by their names, its weeks of delivery and its bars.

Owns the grammar. Never knows what is listed.

Documented: every name here; a contract is delivered on Friday at 16:00 in China, a quarterly one on the last Friday of
March, June, September and December. Our guess: bars open as those of OKX v5 do (six hours and longer in UTC+8, a week
on Monday); the quarterly contract that has less than two weeks left makes room for the next one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from recorder.simulator.okx.bars import UTC8, bar_span
from recorder.simulator.spans import DAY

WEEKS = ("this_week", "next_week", "quarter")
PERIODS = (
    {f"{n}min": f"{n}m" for n in (1, 3, 5, 15, 30)}
    | {f"{n}hour": f"{n}H" for n in (1, 2, 4, 6, 12)}
    | {"day": "1D", "3day": "3D", "week": "1W"}
)
TICKER, BOOK, TOP, TRADES, KLINE, INDEX, FORECAST = "ticker", "book", "top", "trades", "kline", "index", "forecast"
OWN = re.compile(r"ok_sub_(?:spot_[a-z0-9]+_[a-z0-9]+_(?:order|balance)|futureusd_(?:trades|userinfo|positions))")
FRIDAY, SETTLES = 4, 8  # o'clock, UTC

_PERIOD = "|".join(PERIODS)
_WEEK = "|".join(WEEKS)
_SPOT = re.compile(
    r"ok_sub_spot_(?P<symbol>[a-z0-9]+_[a-z0-9]+)_"
    rf"(?:(?P<plain>ticker|depth|deals)|depth_(?P<levels>5|10|20)|kline_(?P<period>{_PERIOD}))"
)
_FUTURES = re.compile(
    rf"ok_sub_futureusd_(?P<coin>[a-z0-9]+)_(?:(?P<plain>ticker|depth|trade|kline)_(?P<week>{_WEEK})"
    rf"(?:_(?P<levels>5|10|20)|_(?P<period>{_PERIOD}))?|(?P<index>index))"
)
_FORECAST = re.compile(r"(?P<coin>[a-z0-9]+)_forecast_price")
_KINDS = {"ticker": TICKER, "depth": BOOK, "deals": TRADES, "trade": TRADES}


@dataclass(frozen=True, slots=True)
class Channel:
    """What a name asks for. `symbol`: `btc_usdt`, `btc_usd_this_week`, or `btc_usd` for what is about a coin."""

    name: str
    kind: str
    symbol: str
    levels: int = 0  # of `top`
    period: str = ""  # of `kline`

    def span(self, at_ms: int) -> tuple[int, int]:
        """Open and close (ms) of the bar that holds this moment."""
        return bar_span(PERIODS[self.period], at_ms)


def parse(name: str) -> Channel | None:
    """The channel of a name, None where the grammar has no such name."""
    if found := _SPOT.fullmatch(name):
        return _channel(name, found["symbol"], found)
    if found := _FORECAST.fullmatch(name):
        return Channel(name, FORECAST, f"{found['coin']}_usd")
    found = _FUTURES.fullmatch(name)
    if found is None:
        return None
    if found["index"]:
        return Channel(name, INDEX, f"{found['coin']}_usd")
    fits = {"depth": not found["period"], "kline": bool(found["period"])}
    if not fits.get(found["plain"], not (found["levels"] or found["period"])):
        return None
    return _channel(name, future(found["coin"], found["week"]), found)


def _channel(name: str, symbol: str, found: re.Match[str]) -> Channel:
    if found["levels"]:
        return Channel(name, TOP, symbol, levels=int(found["levels"]))
    if found["period"]:
        return Channel(name, KLINE, symbol, period=found["period"])
    return Channel(name, _KINDS[found["plain"]], symbol)


def future(coin: str, week: str) -> str:
    """How the market calls the contract of a coin that is next in that rhythm."""
    return f"{coin}_usd_{week}"


def week_of(symbol: str) -> str:
    """The week of a contract, empty for a pair."""
    return next((week for week in WEEKS if symbol.endswith(f"_{week}")), "")


def coin_of(symbol: str) -> str:
    """btc of btc_usdt and of btc_usd_this_week."""
    return symbol.partition("_")[0]


def trades_name(symbol: str) -> str:
    """The channel of an instrument's trades."""
    week = week_of(symbol)
    return f"ok_sub_futureusd_{coin_of(symbol)}_trade_{week}" if week else f"ok_sub_spot_{symbol}_deals"


def delivery(week: str, at_ms: int) -> int:
    """When the contract of that rhythm is delivered (ms), seen from this moment."""
    now = datetime.fromtimestamp(at_ms / 1000, UTC)
    this = now.date() + timedelta(days=(FRIDAY - now.weekday()) % 7)
    if _settled(this) <= at_ms:
        this += timedelta(days=7)
    if week != "quarter":
        return _settled(this + timedelta(days=7 * WEEKS.index(week)))
    day = this + timedelta(days=14)
    while day.month % 3 or (day + timedelta(days=7)).month == day.month:
        day += timedelta(days=7)
    return _settled(day)


def contract_id(symbol: str, at_ms: int) -> int:
    """The day of delivery and three more digits: nobody has told what they mean; here they are coin and rhythm."""
    week = week_of(symbol)
    day = datetime.fromtimestamp(delivery(week, at_ms) / 1000, UTC).strftime("%Y%m%d")
    return int(f"{day}{sum(coin_of(symbol).encode()) % 100:02d}{WEEKS.index(week)}")


def midnight(at_ms: int) -> int:
    """When the day of this moment began in China (ms)."""
    return at_ms - (at_ms + UTC8) % DAY


def _settled(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, SETTLES, tzinfo=UTC).timestamp()) * 1000
