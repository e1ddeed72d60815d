"""The simulated OKEx v1 spells as the captured and the documented one did: what was published, taken apart and written
again by the simulator, is the same text. And its names, its deliveries, its ids and its signature."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.simulator.bars import Bar
from recorder.simulator.decimals import double, scientific
from recorder.simulator.market import Instrument, Listing, Match
from recorder.simulator.okex_v1.ask import Ask, read, sign
from recorder.simulator.okex_v1.listings import LISTINGS, listed
from recorder.simulator.okex_v1.names import PERIODS, WEEKS, Channel, contract_id, delivery, midnight, parse
from recorder.simulator.okex_v1.options import Manners, Switched
from recorder.simulator.okex_v1.oracle import Ids, numbered
from recorder.simulator.okex_v1.text import Text, accepted, clock, enveloped, failed, forecast, index, pushed
from tests import samples

BTC = next(one for one in LISTINGS if one.symbol == "btc_usdt")
WEEK = listed("btc_usd_this_week", 99_805, 2, 4_000)
NOON = 1_500_000_000_000 // 86_400_000 * 86_400_000 - 8 * 3_600_000  # 00:00:00 in China


def text(listing: Listing, **manners: bool) -> Text:
    """How an instrument's messages are written, in some manner."""
    switched = Switched(Random(1))
    switched.manners = Manners(**manners)
    return Text(listing, switched)


def frames(*kinds: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The published messages of channels that end so, as text and as data; there must be some."""
    every = [raw.decode() for name in samples.files("okex_v1") for raw in samples.received("okex_v1", name)]
    messages = [(raw, json.loads(raw)) for raw in every]
    found = [(raw, m[0]) for raw, m in messages if isinstance(m, list) and m[0]["channel"].endswith(kinds)]
    assert found
    yield from found


def ticks(value: str, places: int) -> int:
    """A decimal as an integer of 10^-places, exactly."""
    scaled = Decimal(value).scaleb(places)
    assert scaled == int(scaled)
    return int(scaled)


def moment(of_day: str) -> int:
    """A time of day in China on some day (ms)."""
    hours, minutes, seconds = map(int, of_day.split(":"))
    return NOON + ((hours * 60 + minutes) * 60 + seconds) * 1000


# --- published frames ------------------------------------------------------------------------------------------------


def test_captured_deals() -> None:
    """Price, amount, time and side without padding, the id as it came: 25 trades in two messages."""
    count = 0
    for raw, message in frames("_deals"):
        rows = [
            (int(row[0]), Match(0, ticks(row[1], 4), ticks(row[2], 8), row[4] == "bid", moment(row[3])))
            for row in message["data"]
        ]
        assert text(BTC).trades(rows) in raw.replace(" ", "")
        count += len(rows)
    assert count == 25


def test_captured_bar_of_a_contract() -> None:
    """Prices and contracts as doubles, coins at the mean price within a thousandth of what was captured."""
    ((_, message),) = frames("kline_this_week_4hour")
    (row,) = message["data"]
    at, opened, high, low, close, lots = int(row[0]), *(ticks(value, 2) for value in row[1:5]), int(float(row[5]))
    bar = Bar(at, opened, high, low, close, lots, round(lots * 100 / float(row[6]) * 100) * lots)
    *same, coins = json.loads(text(WEEK).bar(bar))
    assert same == row[:-1]
    assert float(coins) == pytest.approx(float(row[6]), rel=1e-3)
    channel = parse(message["channel"])
    assert channel is not None
    assert channel.span(at + 5)[0] == at


def test_documented_levels_and_trades_of_a_contract() -> None:
    """Contracts as a double, coins cut to four places: 20 contracts at 996.72 are 2.0065 coins."""
    row = '["732916869","999.49","12.0","15:25:03","ask","1.2006"]'
    short = row.removesuffix(',"1.2006"]')
    match = Match(0, 99_949, 12, False, moment("15:25:03"))
    assert text(WEEK).trades([(732_916_869, match)]) == f"[{row}]"
    assert text(WEEK, five=True).trades([(732_916_869, match)]) == f"[{short}]]"
    one = Instrument(replace(WEEK, price=99_672), 0, Random(1), 1_490_337_000_000_000, depth=3, keep=9)
    one.book.asks.levels = {99_672: (20, 1)}
    one.book.asks.prices = [99_672]
    data = json.loads(text(WEEK).book(one, ([], [(99_672, 20, 1)]), 1_490_337_551_299))
    assert data["asks"] == [["996.72", "20.0", "2.0065", "2.0065", "20.0"]]


def test_acks_and_failures() -> None:
    """Envelope, acknowledgement and 20116 are the captured bytes; index and estimate have the documents' fields."""
    seen = 0
    for raw, message in frames("addChannel", "ok_sub_futu_btc_ticker_this_week"):
        data = message["data"]
        body = accepted("addChannel", data["channel"]) if data["result"] else failed(message["channel"], "20116")
        assert enveloped(body, message["binary"], Manners()).decode() == raw
        seen += 1
    assert seen == 4
    ((_, message),) = frames("_index")
    assert message["data"] == json.loads(index(99_800, 2, int(message["data"]["timestamp"]))[1])
    estimate = enveloped(forecast("btc_forecast_price", "998.8", 1_490_341_322_021), None, Manners())
    assert estimate == b'[{"channel":"btc_forecast_price","timestamp":"1490341322021","data":"998.8"}]'


@pytest.mark.parametrize(
    ("manners", "binary", "whole"),
    [
        (Manners(), 0, b'[{"binary":0,"channel":"x","data":1}]'),
        (Manners(bare=True), 1, b'{"binary":1,"channel":"x","data":1}'),
        (Manners(unmarked=True), 1, b'[{"channel":"x","data":1}]'),
        (Manners(), None, b'[{"channel":"x","data":1}]'),
    ],
)
def test_envelopes(manners: Manners, binary: int | None, whole: bytes) -> None:
    """An array or none, `binary` or none."""
    assert enveloped(pushed("x", "1"), binary, manners) == whole


# --- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "places", "written"),
    [
        (1, 8, "1E-8"),
        (730, 9, "7.3E-7"),
        (999, 9, "9.99E-7"),
        (1_000, 9, "0.000001"),
        (8_792, 7, "0.0008792"),
        (115, 0, "115"),
        (0, 8, "0"),
        (6_395_004, 3, "6395.004"),
    ],
)
def test_exponents(value: int, places: int, written: str) -> None:
    """Below a millionth there is an exponent, as Java's BigDecimal has it; the value is the same."""
    assert scientific(value, places) == written
    assert Decimal(written) == Decimal(value).scaleb(-places)


@given(st.integers(0, 10**12), st.integers(0, 12))
def test_numbers_are_what_they_were(value: int, places: int) -> None:
    """Neither spelling changes a number."""
    exact = Decimal(value).scaleb(-places)
    assert Decimal(scientific(value, places)) == Decimal(double(value, places)) == exact
    assert "." in double(value, places)


@pytest.mark.parametrize(
    ("utc", "shown"), [("15:59:59", "23:59:59"), ("16:00:00", "00:00:00"), ("00:00:01", "08:00:01")]
)
def test_clock(utc: str, shown: str) -> None:
    """The time of day is UTC+8's, and its midnight the day's beginning."""
    at = int(datetime.fromisoformat(f"2018-06-30T{utc}.999+00:00").timestamp() * 1000)
    assert clock(at) == shown
    assert clock(midnight(at)) == "00:00:00"
    assert 0 <= at - midnight(at) < 86_400_000


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        ("ok_sub_spot_etc_usdt_ticker", ("ticker", "etc_usdt", 0, "")),
        ("ok_sub_spot_bt1_btc_depth_20", ("top", "bt1_btc", 20, "")),
        ("ok_sub_spot_bch_btc_kline_3day", ("kline", "bch_btc", 0, "3day")),
        ("ok_sub_futureusd_btc_trade_next_week", ("trades", "btc_usd_next_week", 0, "")),
        ("ok_sub_futureusd_eos_depth_quarter", ("book", "eos_usd_quarter", 0, "")),
        ("ok_sub_futureusd_eos_depth_this_week_5", ("top", "eos_usd_this_week", 5, "")),
        ("ok_sub_futureusd_btc_kline_this_week_12hour", ("kline", "btc_usd_this_week", 0, "12hour")),
        ("ok_sub_futureusd_btc_index", ("index", "btc_usd", 0, "")),
        ("btc_forecast_price", ("forecast", "btc_usd", 0, "")),
    ],
)
def test_names(name: str, channel: tuple[str, str, int, str]) -> None:
    """What a name asks for."""
    assert parse(name) == Channel(name, *channel)


def test_bars_open() -> None:
    """Every period is known; a day opens at midnight in China, a week on Monday."""
    at = int(datetime(2018, 6, 29, 20, tzinfo=UTC).timestamp() * 1000)  # Saturday, 04:00 in China
    opens = {p: Channel("", "kline", "", period=p).span(at)[0] for p in PERIODS}
    assert len(opens) == 13
    assert all(0 <= at - opened < 7 * 86_400_000 for opened in opens.values())
    assert (clock(opens["day"]), opens["day"]) == ("00:00:00", midnight(at))
    assert datetime.fromtimestamp(opens["week"] / 1000 + 8 * 3600, UTC).strftime("%a %H:%M") == "Mon 00:00"


@pytest.mark.parametrize(
    ("at", "days"),
    [
        ("2018-06-11T00:00", ("06-15", "06-22", "06-29")),
        ("2018-06-15T07:59", ("06-15", "06-22", "06-29")),
        ("2018-06-15T08:00", ("06-22", "06-29", "09-28")),
        ("2018-06-29T08:00", ("07-06", "07-13", "09-28")),
        ("2018-12-20T00:00", ("12-21", "12-28", "03-29")),
    ],
)
def test_deliveries(at: str, days: tuple[str, ...]) -> None:
    """This Friday's, the next, and the quarter's last, at 08:00 UTC; less than two weeks before, the next quarter's."""
    now = int(datetime.fromisoformat(f"{at}+00:00").timestamp() * 1000)
    due = [datetime.fromtimestamp(delivery(week, now) / 1000, UTC) for week in WEEKS]
    assert tuple(one.strftime("%m-%d") for one in due) == days
    assert {(one.weekday(), one.hour, one.minute) for one in due} == {(4, 8, 0)}
    ids = [
        contract_id(f"{coin}_usd_{week}", now)
        for coin in ("btc", "etc")
        for week in ("this_week", "next_week", "quarter")
    ]
    assert len(set(ids)) == 6
    assert [str(one)[4:8] for one in ids[:3]] == [day.replace("-", "") for day in days]


# --- requests --------------------------------------------------------------------------------------------------------


def test_published_requests_are_read() -> None:
    """What the documents and captures sent is understood."""
    sent = [one.raw for name in samples.files("okex_v1") for one in samples.recorded("okex_v1", name) if one.sent]
    found = [ask for raw in sent for ask in read(raw)]
    assert [ask.event for ask in found] == ["addChannel", "addChannel", "ping", "addChannel"]
    assert all(not ask.error and (ask.event == "ping" or parse(ask.channel)) for ask in found)


def test_binary_is_read() -> None:
    """1 as a string or a number, in a batch each for itself."""
    added = "{'event':'addChannel','channel':'%s','binary':%s}"
    raw = f"[{added % ('a', repr('1'))},{added % ('b', 1)},{{'event':'ping'}}]"
    assert read(raw.encode()) == [Ask("addChannel", "a", True), Ask("addChannel", "b", True), Ask("ping")]


def test_signature() -> None:
    """MD5 in upper case of the sorted parameters and the secret; the signature itself is left out."""
    assert sign({"api_key": "k"}, "s") == "6B7312390D1EBF84235A1A302BA15580"  # md5sum of api_key=k&secret_key=s
    assert sign({"b": "2", "a": "1", "sign": "x"}, "s") == sign({"a": "1", "b": "2"}, "s")
    assert sign({"api_key": "k"}, "s") != sign({"api_key": "k"}, "S")


# --- ids -------------------------------------------------------------------------------------------------------------


def test_ids() -> None:
    """Of every instrument they rise, by 2 or by many, no two are equal, and each tells its number."""
    symbols = [one.symbol for one in LISTINGS]
    ids = Ids(symbols)
    every = [[ids.of(symbol, n) for n in range(1, 200)] for symbol in symbols]
    assert len({one for of in every for one in of}) == len(symbols) * 199
    for symbol, of in zip(symbols, every, strict=True):
        steps = {b - a for a, b in pairwise(of)}
        assert min(steps) == 2
        assert len(steps) == 2
        assert [ids.number(symbol, one) for one in of] == list(range(1, 200))
        with pytest.raises(ValueError, match="is no id of"):
            ids.number(symbol, of[0] + 1)


def test_numbered_contracts() -> None:
    """Numbered trades of contracts and pairs: whole sizes, two places, whatever the name."""
    market = numbered(["btc_usdt", "btc_usd_quarter"], 0)
    kinds = [(one.listing.kind, one.listing.contract, one.listing.size_places) for one in market.instruments.values()]
    assert kinds == [("SPOT", "", 0), ("FUTURES", "100", 0)]
