"""The simulated OKEx v1's books, tickers, bars, indices and estimates, as a client of another make sees them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from recorder.simulator.market import Instrument
from recorder.simulator.okex_v1.commands import Manners
from recorder.simulator.okex_v1.names import delivery
from tests.integration.okexv1client import MIDNIGHT, PACKED, SPOT, Client, Message, Venue, pushes, venue

BTC, CHEAP, WEEK = "btc_usdt", "soc_btc", "btc_usd_this_week"
DEPTH, FUTURE_DEPTH = f"ok_sub_spot_{BTC}_depth", "ok_sub_futureusd_btc_depth_this_week"
TICKER, FUTURE_TICKER = f"ok_sub_spot_{BTC}_ticker", "ok_sub_futureusd_btc_ticker_this_week"
INDEX, FORECAST = "ok_sub_futureusd_btc_index", "btc_forecast_price"
FIELDS = frozenset(
    ("high", "vol", "last", "low", "buy", "change", "sell", "dayLow", "close", "dayHigh", "open", "timestamp")
)
HOUR = 3600
Side = dict[Decimal, Decimal]


@pytest.fixture
def simulator() -> Iterator[Venue]:
    """A venue with 50 trades a second on each instrument."""
    with venue() as one:
        yield one


@pytest.fixture
def client(simulator: Venue) -> Iterator[Client]:
    """A reader of the compressed path."""
    with Client(simulator) as one:
        yield one


def instrument(simulator: Venue, symbol: str) -> Instrument:
    """One of the market."""
    return simulator.venue.market.instruments[symbol]


# --- books -----------------------------------------------------------------------------------------------------------


def applied(messages: list[Message], channel: str) -> tuple[Side, Side, int]:
    """Bids and asks after the full message and its changes, as the documents say it is done, and how many are gone."""
    sides: tuple[Side, Side] = ({}, {})
    gone = 0
    for data in pushes(messages, channel):
        for side, levels in zip(sides, (data["bids"], data["asks"]), strict=True):
            for level in levels:
                price, amount = Decimal(str(level[0])), Decimal(str(level[1]))
                gone += amount == 0
                side[price] = amount
                if not amount:
                    del side[price]
    return *sides, gone


def market_book(one: Instrument) -> tuple[Side, Side]:
    """The same of the market itself."""
    places = one.listing.price_places, one.listing.size_places
    bids, asks = (
        {Decimal(p).scaleb(-places[0]): Decimal(lots).scaleb(-places[1]) for p, lots, _ in side.top(1_000)}
        for side in (one.book.bids, one.book.asks)
    )
    return bids, asks


@pytest.mark.parametrize("channel", [DEPTH, FUTURE_DEPTH, f"ok_sub_spot_{CHEAP}_depth"])
@pytest.mark.parametrize("numbers", [False, True])
def test_books(simulator: Venue, client: Client, channel: str, numbers: bool) -> None:
    """First the whole book, 200 levels a side, highest price first on both; then its changes, 0 for what is gone: what
    comes of them is the market's book. For who is there already and for who comes later."""
    simulator.fault(Manners(numbers=numbers))
    simulator.advance(1.05)
    found = client.add(channel)
    (whole,) = pushes(found, channel)
    assert {len(whole[side]) for side in ("asks", "bids")} == {200}
    for side in ("asks", "bids"):
        prices = [Decimal(str(level[0])) for level in whole[side]]
        assert prices == sorted(prices, reverse=True)
    assert isinstance(whole["timestamp"], str if numbers else int)
    simulator.advance(3.05)
    with Client(simulator, SPOT) as late:
        second = late.add(channel)
        simulator.advance(2.05)
        instrument_ = instrument(simulator, {DEPTH: BTC, FUTURE_DEPTH: WEEK}.get(channel, CHEAP))
        simulator.call(lambda: instrument_.publish(simulator.venue.pusher))
        simulator.call(lambda: [link.flush() for link in simulator.venue.sessions])
        bids, asks, gone = applied(found + client.drain(), channel)
        assert (bids, asks) == market_book(instrument_)
        assert gone > 0
        assert applied(second + late.drain(), channel)[:2] == (bids, asks)


def test_small_prices_have_exponents(simulator: Venue, client: Client) -> None:
    """Below a millionth prices of books and of trades have an exponent, those of a ticker have not."""
    names = [f"ok_sub_spot_{CHEAP}_{kind}" for kind in ("depth", "depth_5", "deals", "ticker")]
    found = client.add(*names)
    simulator.advance(1)
    found += client.drain()
    book, top, deals, ticker = (pushes(found, name) for name in names)
    shown = [level[0] for data in (*book, *top) for level in (*data["asks"], *data["bids"])]
    shown += [row[1] for rows in deals for row in rows]
    assert {text[-3:] for text in shown} == {"E-7"}
    assert "7E-7" in shown
    assert {Decimal(text) for text in shown} <= {Decimal(n).scaleb(-9) for n in range(400, 1_000)}
    assert ticker[0]["last"].startswith("0.000000")


@pytest.mark.parametrize("levels", [5, 10, 20])
@pytest.mark.parametrize("name", [f"ok_sub_spot_{BTC}_depth_%d", "ok_sub_futureusd_btc_depth_this_week_%d"])
def test_small_books(simulator: Venue, client: Client, name: str, levels: int) -> None:
    """The best levels, all of them each time they changed, and only then."""
    found = client.add(name % levels)
    simulator.advance(2)
    found += client.drain()
    datas = pushes(found, name % levels)
    books = [json.dumps((data["asks"], data["bids"])) for data in datas]
    assert {(len(data["asks"]), len(data["bids"])) for data in datas} == {(levels, levels)}
    assert all(a != b for a, b in pairwise(books))
    assert len(datas) > 5
    bids, asks = market_book(instrument(simulator, BTC if "spot" in name else WEEK))
    assert [Decimal(row[0]) for row in datas[-1]["bids"]] == sorted(bids, reverse=True)[:levels]
    assert [Decimal(row[0]) for row in datas[-1]["asks"]] == sorted(asks)[:levels][::-1]


def test_sums_of_a_contracts_book(simulator: Venue, client: Client) -> None:
    """Price, contracts, coins, and both summed up from the best level, as in the documents' example."""
    (data,) = pushes(client.add("ok_sub_futureusd_btc_depth_this_week_5"), "ok_sub_futureusd_btc_depth_this_week_5")
    for rows in (data["bids"], data["asks"][::-1]):
        coins = contracts = Decimal(0)
        for price, size, coin, coin_sum, size_sum in rows:
            assert Decimal(coin) == (Decimal(size) * 100 / Decimal(price)).quantize(Decimal("0.0001"), "ROUND_DOWN")
            coins, contracts = coins + Decimal(coin), contracts + Decimal(size)
            assert (Decimal(coin_sum), Decimal(size_sum)) == (coins, contracts)
            assert size.endswith(".0")
            assert size_sum.endswith(".0")


# --- prices ----------------------------------------------------------------------------------------------------------


def test_tickers_of_pairs(simulator: Venue, client: Client) -> None:
    """Strings, but for the stamp; the best of both sides and the last 24 hours; sent when something changed."""
    found = client.add(TICKER)
    simulator.advance(2)
    found += client.drain()
    rows = pushes(found, TICKER)
    assert {frozenset(row) for row in rows} == {FIELDS}
    assert {type(value) for row in rows for name, value in row.items() if name != "timestamp"} == {str}
    assert {type(row["timestamp"]) for row in rows} == {int}
    bare = [json.dumps({k: v for k, v in row.items() if k != "timestamp"}) for row in rows]
    assert all(a != b for a, b in pairwise(bare))
    bids, asks = market_book(instrument(simulator, BTC))
    last = {name: Decimal(value) for name, value in rows[-1].items()}
    assert (last["buy"], last["sell"]) == (max(bids), min(asks))
    assert last["change"] == last["last"] - last["open"]
    assert last["low"] <= last["dayLow"] <= last["last"] <= last["dayHigh"] <= last["high"]


def test_tickers_of_contracts(simulator: Venue, client: Client) -> None:
    """Numbers, but for the limits; in one manner strings. The contract's id begins with its day of delivery."""
    (data,) = pushes(client.add(FUTURE_TICKER), FUTURE_TICKER)
    assert {name for name, value in data.items() if isinstance(value, str)} == {"limitHigh", "limitLow"}
    assert Decimal(data["limitLow"]) < Decimal(str(data["last"])) < Decimal(data["limitHigh"])
    assert data["unitAmount"] == 100
    assert str(data["contractId"]).startswith("20250620")
    simulator.fault(Manners(strings=True))
    simulator.advance(1)
    assert {type(v) for row in pushes(client.drain(), FUTURE_TICKER) for v in row.values()} == {str}


def test_index(simulator: Venue, client: Client) -> None:
    """Price and stamp are strings; sent at most once a second, when it changed."""
    found = client.add(INDEX)
    simulator.advance(10)
    rows = pushes(found + client.drain(), INDEX)
    assert {frozenset(row) for row in rows} == {frozenset(("futureIndex", "timestamp"))}
    assert {type(value) for row in rows for value in row.values()} == {str}
    assert 2 < len(rows) <= 11
    assert all(a["futureIndex"] != b["futureIndex"] for a, b in pairwise(rows))


@pytest.mark.parametrize(
    ("name", "symbol", "elements"),
    [(f"ok_sub_spot_{BTC}_kline_1min", BTC, 6), ("ok_sub_futureusd_btc_kline_this_week_1min", WEEK, 7)],
)
def test_bars(name: str, symbol: str, elements: int) -> None:
    """The running bar every second while it changes, as strings; when it ends, its last revision comes with the first
    one of the next: each bar's last revision is the market's."""
    with venue(symbols=(symbol,)) as simulator, Client(simulator) as client:
        found = client.add(name)
        simulator.advance(150)
        messages = pushes(found + client.drain(), name)
        assert {len(row) for rows in messages for row in rows} == {elements}
        assert {len(rows) for rows in messages} == {1, 2}
        assert len(messages) > 100
        last = {int(row[0]): row for rows in messages for row in rows}
        one = instrument(simulator, symbol)
        assert len(last) == 3 + (one.start_us // 1000 % 60_000 + 150_000) // 60_000 - 2
        for at, row in list(last.items())[:-1]:
            bar = one.minutes.merge(at, at + 60_000)
            assert bar is not None
            prices = [Decimal(p).scaleb(-one.listing.price_places) for p in (bar.open, bar.high, bar.low, bar.close)]
            assert [Decimal(text) for text in row[1:5]] == prices
            assert Decimal(row[5]) == Decimal(bar.lots).scaleb(-one.listing.size_places)
            if elements == 7:
                assert float(row[6]) == pytest.approx(100 * bar.lots / float(prices[3]), rel=0.05)


def test_days_begin_in_china() -> None:
    """A day's bar opens at midnight of UTC+8."""
    name = f"ok_sub_spot_{BTC}_kline_day"
    with venue(start_us=MIDNIGHT, symbols=(BTC,)) as simulator, Client(simulator) as client:
        (rows,) = pushes(client.add(name), name)
        assert int(rows[-1][0]) == MIDNIGHT // 1000


# --- the estimate of a delivery --------------------------------------------------------------------------------------


def test_forecast(client: Client) -> None:
    """In the last hour before a delivery the estimate comes unasked to who wants anything of that coin's contracts or
    the estimate itself, its stamp beside the data, without `binary`; not before, and to nobody else."""
    due = delivery("this_week", MIDNIGHT // 1000) * 1000
    with (
        venue(rate=1, start_us=due - (HOUR + 2) * 1_000_000, symbols=(BTC, WEEK)) as simulator,
        Client(simulator, PACKED) as asked,
        Client(simulator, SPOT) as unasked,
        Client(simulator, SPOT) as other,
    ):
        asked.add(FORECAST)
        unasked.add(FUTURE_TICKER)
        other.add(TICKER)
        simulator.advance(1.5)
        assert not [m for one in (asked, unasked, other) for m in one.drain() if m["channel"] == FORECAST]
        simulator.advance(2)
        estimates: list[dict[str, Any]] = [m for m in unasked.drain() if m["channel"] == FORECAST]
        assert asked.drain() == estimates
        assert {m["channel"] for m in other.drain()} <= {TICKER}
    assert len(estimates) == 2
    assert [frozenset(m) for m in estimates] == [frozenset(("channel", "timestamp", "data"))] * 2
    assert {type(value) for m in estimates for value in m.values()} == {str}


# --- manners ---------------------------------------------------------------------------------------------------------


def test_bare_and_unmarked(simulator: Venue, client: Client) -> None:
    """On request a message is no array, or says nothing of `binary`: pushes, acks and failures alike; then no more."""
    names = (TICKER, "ok_sub_spot_x")
    simulator.fault(Manners(bare=True))
    for name in names:
        client.ask({"event": "addChannel", "channel": name})
    assert [type(json.loads(text)) for text in client.texts()] == [dict] * 3
    simulator.fault(Manners(unmarked=True))
    for name in names:
        client.ask({"event": "addChannel", "channel": name})
    assert [frozenset(m) for m in client.drain()] == [frozenset(("channel", "data"))] * 3
    simulator.fault(Manners())
    assert {"binary"} <= client.add(TICKER)[0].keys()
