"""What OKX v5 derives from prices: marks, indices, limits, funding, open interest, settlement, options, auctions; and
how it lists instruments.

Owns the fields of these messages without their stamp `ts`. Never decides what is sent to whom or when. All of it
follows from the market and the time, so that REST and pushes agree; a funding rate from symbol and time alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from zlib import crc32

from recorder.simulator.decimals import fixed, plain
from recorder.simulator.market import Instrument, Listing, Match, Phase, Trade
from recorder.simulator.okx.bars import FUNDING, bar_span
from recorder.simulator.okx.text import decimal_of
from recorder.simulator.spans import SECOND

LIQUIDATED = 97  # every trade with an id that this divides was a liquidation


def names(listing: Listing) -> str:
    """Kind and symbol, with which most messages begin."""
    return f'"instType":"{listing.kind}","instId":"{listing.symbol}"'


def stamped(rows: Sequence[str], ts: int) -> str:
    """Rows of `data` with their stamp."""
    return ",".join(f'{{{row},"ts":"{ts}"}}' for row in rows)


# --- prices --------------------------------------------------------------------------------------------------------


def mark_price(one: Instrument, _: int) -> str:
    """`mark-price`."""
    return f'{names(one.listing)},"markPx":"{_price(one, one.mark)}"'


def price_limit(one: Instrument, _: int) -> str:
    """`price-limit`: two percent around the mark price."""
    high, low = one.mark * 102 // 100, one.mark * 98 // 100
    return (
        f'"instId":"{one.listing.symbol}","buyLmt":"{_price(one, high)}","sellLmt":"{_price(one, low)}","enabled":true'
    )


def index_ticker(index: str, leader: Instrument) -> str:
    """`index-tickers`: the mark price of the instrument that stands for the index."""
    day, now = leader.marks_day.bar(), leader.now_us // 1000
    starts = (bar_span(bar, now)[0] for bar in ("1Dutc", "1D"))
    utc0, utc8 = (_price(leader, leader.marks.opening(start)) for start in starts)
    return (
        f'"instId":"{index}","idxPx":"{_price(leader, leader.mark)}","high24h":"{_price(leader, day.high)}",'
        f'"low24h":"{_price(leader, day.low)}","open24h":"{_price(leader, day.open)}",'
        f'"sodUtc0":"{utc0}","sodUtc8":"{utc8}"'
    )


def estimated_price(one: Instrument, leader: Instrument) -> str:
    """`estimated-price`: what delivery or exercise would be settled with now."""
    kind = "exercise" if one.listing.kind == "OPTION" else "delivery"
    return f'{names(one.listing)},"settlePx":"{_price(leader, leader.mark)}","settleType":"{kind}"'


def auction(one: Instrument, now: int) -> str:
    """`call-auction-details`: before an instrument opens, and once when it has."""
    ends = one.listing.opens
    if now - ends >= SECOND:
        return ""
    state = "call_auction" if one.phase is Phase.PREOPEN else "continuous_trading"
    (_, bids, _), (_, asks, _) = one.book.bids.top(1)[0], one.book.asks.top(1)[0]
    matched, left = (fixed(size, one.listing.size_places) for size in (min(bids, asks), abs(bids - asks)))
    return (
        f'"instId":"{one.listing.symbol}","unmatchedSz":"{left}","eqPx":"{_price(one, one.mark)}",'
        f'"matchedSz":"{matched}","state":"{state}","auctionEndTime":"{ends}"'
    )


# --- derivatives ---------------------------------------------------------------------------------------------------


def funding_rate(one: Instrument, now: int) -> str:
    """`funding-rate`: the present period's rate is what the history will say."""
    settles = now - now % FUNDING + FUNDING
    symbol = one.listing.symbol
    return (
        f'{names(one.listing)},"method":"current_period","formulaType":"withRate",'
        f'"fundingRate":"{rate_at(symbol, settles)}","nextFundingRate":"",'
        f'"fundingTime":"{settles}","nextFundingTime":"{settles + FUNDING}",'
        f'"minFundingRate":"-0.00375","maxFundingRate":"0.00375","interestRate":"0.0001","impactValue":"20000",'
        f'"settState":"settled","settFundingRate":"{rate_at(symbol, settles - FUNDING)}",'
        f'"premium":"{rate_at(symbol, now // 60_000)}"'
    )


def settled_funding(one: Instrument, at: int) -> str:
    """A row of the funding history."""
    rate = rate_at(one.listing.symbol, at)
    return (
        f'{{{names(one.listing)},"method":"current_period","formulaType":"withRate","fundingRate":"{rate}",'
        f'"realizedRate":"{rate}","fundingTime":"{at}"}}'
    )


def rate_at(symbol: str, at: int) -> str:
    """A rate between -0.0001 and 0.0003."""
    value = crc32(f"{symbol}/{at}".encode()) % 400_000 - 100_000
    return f"-{plain(-value, 9)}" if value < 0 else plain(value, 9)


def open_interest(one: Instrument, _: int) -> str:
    """`open-interest`: contracts, coins, dollars; it moves with what was traded. Empty for spot."""
    listing = one.listing
    if not listing.contract:
        return ""
    contracts = listing.lots * 1_000 + one.tape.last % 1_000
    worth, places = decimal_of(listing.contract)
    coins = contracts * worth
    dollars = plain(coins * one.mark, listing.size_places + places + listing.price_places)
    return (
        f'{names(listing)},"oi":"{plain(contracts, listing.size_places)}",'
        f'"oiCcy":"{plain(coins, listing.size_places + places)}","oiUsd":"{dollars}"'
    )


def liquidation(one: Instrument, trade: Trade) -> str:
    """A row of `liquidation-orders`; empty where the trade was none. A buy ends a short position."""
    if one.listing.kind == "SPOT" or trade.last // LIQUIDATED * LIQUIDATED < trade.first:
        return ""
    listing = one.listing
    return (
        f'{{{names(listing)},"instFamily":"{listing.family}","uly":"{listing.family}",'
        f'"details":[{_liquidated(one, trade.price, trade.lots, trade.buy, trade.ts)}]}}'
    )


def liquidated(one: Instrument, match: Match) -> str:
    """An element of `details` as REST has it."""
    return _liquidated(one, match.price, match.lots, match.buy, match.ts)


def _liquidated(one: Instrument, price: int, lots: int, buy: bool, ts: int) -> str:
    side, held = ("buy", "short") if buy else ("sell", "long")
    return (
        f'{{"side":"{side}","posSide":"{held}","bkPx":"{_price(one, price)}",'
        f'"sz":"{fixed(lots, one.listing.size_places)}","bkLoss":"0","ccy":"","ts":"{ts}"}}'
    )


def adl_warning(kind: str, family: str, state: str) -> str:
    """`adl-warning`: the state of the insurance fund behind a family."""
    currency = family.rpartition("-")[2]
    return (
        f'"instType":"{kind}","instFamily":"{family}","ccy":"{currency}","state":"{state}","bal":"280784384.95",'
        f'"maxBal":"300784384.95","maxBalTs":"","adlType":"","adlBal":"0","adlRecBal":"8000.0","decRate":"0.07",'
        f'"adlRate":"0.3","adlRecRate":"0.25"'
    )


# --- options -------------------------------------------------------------------------------------------------------


def option_trade(one: Instrument, leader: Instrument, trade: Trade | Match) -> str:
    """A row of `option-trades`: the trade and what its underlying was worth."""
    listing, number = one.listing, trade.last if isinstance(trade, Trade) else trade.trade_id
    index = _price(leader, leader.mark)
    return (
        f'{{"instFamily":"{listing.family}","instId":"{listing.symbol}","tradeId":"{number}",'
        f'"px":"{_price(one, trade.price)}","sz":"{fixed(trade.lots, listing.size_places)}",'
        f'"side":"{"buy" if trade.buy else "sell"}","optType":"{listing.symbol[-1]}",'
        f'"fillVol":"0.{40 + trade.price % 60}","fwdPx":"{index}","idxPx":"{index}","markPx":"{_price(one, one.mark)}",'
        f'"ts":"{trade.ts}"}}'
    )


def option_summary(one: Instrument, leader: Instrument) -> str:
    """A row of `opt-summary`. A put's delta is its call's less one."""
    listing = one.listing
    delta = 2_000 + one.mark % 6_000
    shown = fixed(delta, 4) if listing.symbol.endswith("C") else f"-{fixed(10_000 - delta, 4)}"
    greeks = "".join(
        f'"delta{kind}":"{shown}","gamma{kind}":"0.0000123","theta{kind}":"-0.0012","vega{kind}":"0.0034",'
        for kind in ("", "BS")
    )
    return (
        f'{names(listing)},"uly":"{listing.family}",{greeks}"realVol":"0","volLv":"0.5","bidVol":"0.52","askVol":"0.55",'
        f'"markVol":"0.53","lever":"12.5","fwdPx":"{_price(leader, leader.mark)}"'
    )


# --- instruments ---------------------------------------------------------------------------------------------------


def instrument(one: Instrument) -> str:
    """A row of `public/instruments` and of the channel `instruments`, the fields of 2022 and instFamily."""
    listing = one.listing
    lot, state = fixed(1, listing.size_places), one.phase.value
    listed, expires = listing.opens or listing.listed, listing.expires or ""
    return (
        f'{{"alias":"{"quarter" if listing.kind == "FUTURES" else ""}",{_money(listing)},"category":"1",'
        f'"expTime":"{expires}","instId":"{listing.symbol}","instType":"{listing.kind}",'
        f'"lever":"{"" if listing.kind == "OPTION" else "10"}","listTime":"{listed}","lotSz":"{lot}",'
        f'"maxIcebergSz":"9999999999","maxLmtSz":"9999999999","maxMktSz":"1000000","maxStopSz":"1000000",'
        f'"maxTriggerSz":"9999999999","maxTwapSz":"9999999999","minSz":"{lot}",{_option(listing)},"state":"{state}",'
        f'"tickSz":"{fixed(1, listing.price_places)}"}}'
    )


def _money(listing: Listing) -> str:
    if not listing.contract:
        spot = f'"baseCcy":"{listing.base}","quoteCcy":"{listing.quote}","settleCcy":""'
        return f'{spot},"ctMult":"","ctType":"","ctVal":"","ctValCcy":"","instFamily":"","uly":""'
    option = listing.kind == "OPTION"
    value, times, kind = ("1", listing.contract, "") if option else (listing.contract, "1", "linear")
    settled = listing.base if option else listing.quote
    return (
        f'"baseCcy":"","quoteCcy":"","settleCcy":"{settled}","ctMult":"{times}","ctType":"{kind}","ctVal":"{value}",'
        f'"ctValCcy":"{listing.base}","instFamily":"{listing.family}","uly":"{listing.family}"'
    )


def _option(listing: Listing) -> str:
    strike, side = listing.symbol.split("-")[3:5] if listing.kind == "OPTION" else ("", "")
    return f'"optType":"{side}","stk":"{strike}"'


def _price(one: Instrument, ticks: int) -> str:
    return fixed(ticks, one.listing.price_places)


# --- when ----------------------------------------------------------------------------------------------------------

Fields = Callable[[Instrument, int], str]

# Channels about one instrument that are looked at every so often (ms) and pushed when they changed, and after so long
# even when they did not (0: never; as often as they are looked at: always).
BY_TIME: Mapping[str, tuple[int, int, Fields]] = {
    "mark-price": (200, 10_000, mark_price),
    "price-limit": (200, 0, price_limit),
    "funding-rate": (30_000, 30_000, funding_rate),
    "open-interest": (3_000, 3_000, open_interest),
    "call-auction-details": (1_000, 1_000, auction),
}
