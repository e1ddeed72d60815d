"""The dashboard *Market*: one symbol of one source, as a trader looks at it, and all others' prices beside it.

Owns what is shown of it; the statements stand in `queries/market.sql`.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard, timeseries
from grafana_foundation_sdk.models import common as look
from grafana_foundation_sdk.models import dashboard as model

from deploy.grafana import panels as p
from deploy.grafana.panels import Section, Sql

ASKED = p.statements("market")


def price() -> Section:
    """The candles, and where everything stands."""
    bars = "Bars made of recorded trades, and their volume in the venue's unit. Shaded: holes in the data."
    every = "The last price of every symbol of the source, and how long ago it came."
    prices = p.rows("Latest prices", every, Sql(ASKED["latest"]), price="none", bid="none", ask="none")
    prices = prices.override_by_name("time", p.unit_of("dateTimeFromNow"))
    return Section(
        "Price",
        [
            p.candles("$symbol", bars, Sql(ASKED["candles"])).span(16).height(14),
            prices.span(8).height(14),
        ],
    )


def book() -> Section:
    """What stands in the way."""
    depth = "Sizes summed up from the best price outwards at the end of the range: the deepest book that was recorded "
    depth += "whole in the hour before, with all changes since."
    curve = p.curve("Order book", depth, Sql(ASKED["depth"]), "price")
    # A price takes what stands at it and at every better one: bids step to the left, asks to the right.
    curve = curve.line_interpolation(look.LineInterpolation.STEP_AFTER)
    left = model.DynamicConfigValue("custom.lineInterpolation", look.LineInterpolation.STEP_BEFORE)
    curve = curve.override_by_name("bids", [*p.color_of(p.BOUGHT), left])
    curve = curve.override_by_name("asks", p.color_of(p.SOLD))
    far = "Distance of the best offer from the best bid in basis points of the price, by the channel that tells it."
    return Section(
        "Order book",
        [
            curve,
            p.lines("Spread", far, "suffix: bp", Sql(ASKED["spread"], series=True)),
        ],
    )


def trades() -> Section:
    """What was done."""
    taken = "What takers bought and sold, in the venue's unit."
    last = "The last hundred of the range. Two channels that carry the same trades both stand here."
    table = p.rows("Trades", last, Sql(ASKED["trades"]), price="none", size="none")
    return Section(
        "Trades",
        [
            sides(p.bars("Volume", taken, "short", Sql(ASKED["volume"], series=True), width="1s").height(9)),
            table.override_by_name("time", p.unit_of("dateTimeAsIso")),
        ],
    )


def derivatives() -> Section:
    """What only perpetuals and futures have."""
    paid = "What longs pay to shorts at the next settlement, and at the one after it where the venue tells."
    opened = "In the base currency, and in dollars on the right."
    fair = "Mark and index prices, and limits where the venue sets them."
    forced = "Orders by which the venue closed positions: bought ones close shorts, sold ones longs."
    right = [*p.unit_of("currencyUSD"), model.DynamicConfigValue("custom.axisPlacement", "right")]
    interest = p.lines("Open interest", opened, "short", Sql(ASKED["open_interest"], series=True), signed=True)
    closed = p.bars("Liquidations", forced, "short", Sql(ASKED["liquidations"], series=True))
    rates = p.lines("Funding rate", paid, "percentunit", Sql(ASKED["funding"], series=True), signed=True)
    return Section(
        "Derivatives",
        [
            rates.decimals(4),
            interest.override_by_name("value", right),
            p.lines("Reference prices", fair, "none", Sql(ASKED["reference"], series=True), signed=True),
            sides(closed),
        ],
    )


def sides(panel: timeseries.Panel) -> timeseries.Panel:
    """Buyers and sellers in their colours."""
    bought = panel.override_by_name("buy", p.color_of(p.BOUGHT)).override_by_name("sell", p.color_of(p.SOLD))
    return bought.override_by_name("unknown", p.color_of("gray"))


def build() -> model.Dashboard:
    """The dashboard."""
    made = p.board("Market", "market", "One symbol of one source: prices, book, trades, and what derivatives have.")
    made = made.time("now-1h", "now").refresh("10s").with_variable(p.choose_database())
    made = made.with_variable(p.column("source", "Source", ASKED["sources"]))
    made = made.with_variable(p.column("symbol", "Symbol", ASKED["symbols"]))
    # No months: to PostgreSQL 1M is a minute.
    width = dashboard.IntervalVariable("candle").label("Candles").values("1s,5s,15s,1m,5m,15m,30m,1h,4h,12h,1d,1w")
    width = width.auto(True).step_count(120).min_interval("1s")
    made = made.with_variable(width.current(model.VariableOption(True, "auto", "$__auto")))
    made = made.annotation(p.marks("Gaps", p.BAD, Sql(ASKED["gaps_marked"])))
    made = made.annotation(p.marks("Reconnects", p.WORRY, Sql(ASKED["reconnects_marked"])))
    board = made.build()
    board.panels = list(p.place((price(), book(), trades(), derivatives())))
    return board
