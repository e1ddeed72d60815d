"""OKEx v1's messages, rule by rule: what tickers, prices, books and bars become."""

from __future__ import annotations

import json
from typing import Any

import pytest

from recorder.records import Ack, Kind, Poison, Pong
from recorder.venues._deflate import MOST
from tests.unit.okexv1frames import MS, NOW, deals, decode, deflated, poison, push, row, rows, spelled

TICKER, DEPTH = "ok_sub_spot_btc_usdt_ticker", "ok_sub_spot_btc_usdt_depth"
DEALS = "ok_sub_spot_btc_usdt_deals"
INDEX, FORECAST = "ok_sub_futureusd_btc_index", "btc_forecast_price"

# --- messages -------------------------------------------------------------------------------------------------------

INDEXED = {"channel": INDEX, "data": {"timestamp": str(MS), "futureIndex": "998.0"}}


@pytest.mark.parametrize(
    "message",
    [
        INDEXED,
        [INDEXED],
        [{"binary": 1, **INDEXED}],
        [dict(reversed(INDEXED.items()))],
        b" [%b ]" % json.dumps(INDEXED).encode(),
    ],
    ids=["no list", "list", "binary", "other order", "white space"],
)
def test_a_message_is_an_object_or_a_list_of_them(message: object) -> None:
    """In any order of keys, with `binary` or without."""
    found = row("reference_prices", message)
    assert (found["kind"], str(found["price"]), found["time"]) == ("index", "998.0", MS * 1000)
    assert (found["channel"], found["symbol"]) == (INDEX, "btc_usd")


def test_several_objects_of_a_message() -> None:
    """Answers, trades and prices in one list: each is what it is by itself, in the order of the list."""
    ack = {"channel": "addChannel", "data": {"result": True, "channel": TICKER}}
    several = [ack, INDEXED, *deals(["1", "2", "3", "15:00:00", "bid"]), {"event": "pong"}, INDEXED]
    decoded = decode(several, INDEXED)
    assert decoded.replies == [Ack(TICKER, "btc_usdt"), Pong()]
    assert {table: found.frames for table, found in decoded.tables.items()} == {
        "reference_prices": [0, 0, 1],
        "trades": [0],
    }
    assert decoded.messages == {INDEX: 3, DEALS: 1}


@pytest.mark.parametrize("price", ["NaN", "", "1.2.3"])
def test_a_message_is_poison_as_a_whole(price: str) -> None:
    """One bad object of several: none of its neighbours in the message is stored, those in other messages are."""
    bad = [INDEXED, *deals(["1", price, "3", "15:00:00", "bid"]), INDEXED]
    decoded = decode(INDEXED, bad, INDEXED)
    assert [each.frame for each in decoded.poison] == [1]
    assert {table: found.frames for table, found in decoded.tables.items()} == {"reference_prices": [0, 2]}


def test_compressed_messages() -> None:
    """A binary frame is the text in it, also an answer and a pong; a bomb is poison, and costs no other frame."""
    pushed, pong = deflated([INDEXED]), deflated({"event": "pong"})
    bomb = deflated("0" * MOST)
    decoded = decode(pushed, pong, bomb, json.dumps(INDEXED).encode(), kind=Kind.BINARY)
    assert decoded.poison == [Poison(2, "bad_deflate", bomb)]
    assert decoded.replies == [Pong()]
    assert decoded.tables["reference_prices"].frames == [0, 3]


@pytest.mark.parametrize(
    "message",
    [{"error": "60012"}, {"event": "ping"}, {"event": "login"}, [], {}, {"channel": TICKER}, [{"data": []}]],
    ids=str,
)
def test_what_nobody_knows_is_kept_and_harmless(message: object) -> None:
    """The error code that a tutorial puts into this protocol's mouth, among others."""
    decoded = decode(message)
    assert [(event.code, event.action) for event in decoded.events] == ([("unknown", "none")])
    assert (decoded.poison, decoded.replies, decoded.tables) == ([], [], {})


def test_a_channel_that_nobody_knows_goes_into_messages() -> None:
    """Its data, as they came; counted as something that is not as documented."""
    decoded = decode(push("ok_sub_spot_btc_usdt_moon", {"height": 1.50}))
    (found,) = rows(decoded, "messages")
    assert (found["payload"], found["time"], found["symbol"]) == ({"height": 1.5}, NOW, "")
    assert decoded.drift == {"ok_sub_spot_btc_usdt_moon": 1}


# --- tickers, prices ------------------------------------------------------------------------------------------------

SPOT: dict[str, Any] = {"high": "6249.35", "vol": "21316.29", "last": "6070.98", "low": "6014.25", "buy": "6067.63"}
SPOT |= {
    "change": "-91.93",
    "sell": "6070.97",
    "dayLow": "1",
    "close": "2",
    "dayHigh": "3",
    "open": "4",
    "timestamp": MS,
}


def test_a_spot_ticker() -> None:
    """What the table has a column for; `open`, of which nobody says since when, is none of them."""
    found = row("tickers", push(TICKER, SPOT))
    said = {
        name: str(value) for name, value in found.items() if value is not None and name not in ("source", "channel")
    }
    assert said == {
        "time": str(MS * 1000),
        "received_at": str(NOW),
        "symbol": "btc_usdt",
        "last_price": "6070.98",
        "bid_price": "6067.63",
        "ask_price": "6070.97",
        "high_24h": "6249.35",
        "low_24h": "6014.25",
        "volume_24h": "21316.29",
    }


def test_a_futures_ticker() -> None:
    """Numbers as they are spelled, contracts held; without a time it is when it came."""
    raw = b'[{"channel":"ok_sub_futureusd_btc_ticker_quarter","data":{"last":998.050,"vol":276406,"hold_amount":180178'
    found = row("tickers", raw + b',"buy":1E-8,"sell":null,"contractId":20170324034}}]')
    assert (str(found["last_price"]), str(found["bid_price"]), found["ask_price"]) == ("998.050", "1E-8", None)
    assert (str(found["open_interest"]), str(found["volume_24h"])) == ("180178", "276406")
    assert (found["symbol"], found["time"]) == ("btc_usd_quarter", NOW)


@pytest.mark.parametrize("price", ["998.8", 998.8])
def test_the_forecast_of_a_delivery(price: object) -> None:
    """Its data are the price itself, and its time stands beside them."""
    found = row("reference_prices", push(FORECAST, price, timestamp=str(MS)))
    assert (found["kind"], str(found["price"]), found["time"]) == ("estimated", "998.8", MS * 1000)
    assert (found["channel"], found["symbol"]) == (FORECAST, "btc_usd")


@pytest.mark.parametrize(
    ("channel", "data", "reason"),
    [
        (TICKER, {}, "missing_field"),
        (TICKER, {"last": "x"}, "bad_number"),
        (TICKER, {"last": ["1"]}, "wrong_type"),
        (TICKER, [SPOT], "wrong_type"),
        (TICKER, {**SPOT, "timestamp": "1"}, "absurd_time"),
        (INDEX, {"timestamp": MS}, "missing_field"),
        (FORECAST, None, "missing_field"),
        (FORECAST, ["1"], "wrong_type"),
    ],
)
def test_what_is_no_price(channel: str, data: object, reason: str) -> None:
    """It costs only itself."""
    assert poison(INDEXED, push(channel, data), INDEXED) == [(1, reason)]


# --- books ----------------------------------------------------------------------------------------------------------


def book(bids: object, asks: object, channel: str = DEPTH) -> list[dict[str, Any]]:
    """A book with its time."""
    return push(channel, {"asks": asks, "bids": bids, "timestamp": MS})


def levels(count: int, first: int, size: str = "1") -> list[list[str]]:
    """So many levels, prices falling."""
    return [[str(first - n), size] for n in range(count)]


def test_a_whole_book_has_its_best_prices_first() -> None:
    """Asks come with the highest price first, exponents are numbers, and JSON numbers keep their digits."""
    data = b'{"asks":[[10.50,1],["9.9","2"]],"bids":[["1E-8","3"],[9,4.0]]}'
    raw = b'{"channel":"ok_sub_spot_btc_usdt_depth_5","data":%b}' % data
    found = row("books", raw)
    assert (found["kind"], found["time"], found["integrity"]) == ("snapshot", NOW, "unverifiable")
    assert spelled(found) == ([["9", "4.0"], ["1E-8", "3"]], [["9.9", "2"], ["10.50", "1"]])
    assert (found["seq"], found["prev_seq"], found["origin"]) == (None, None, "stream")


@pytest.mark.parametrize("name", ["ok_sub_spot_a_b_depth_5", "ok_sub_futureusd_a_depth_next_week_20"])
def test_books_of_some_levels_are_always_whole(name: str) -> None:
    """Even an empty one, or one with a size of nothing in it."""
    assert row("books", book([], [], name))["kind"] == "snapshot"
    assert row("books", book([["1", "0"]], [], name))["kind"] == "snapshot"


@pytest.mark.parametrize(
    ("bids", "asks", "kind"),
    [
        (levels(20, 100), levels(20, 200), "snapshot"),
        (levels(200, 1000), levels(60, 2000), "snapshot"),
        (levels(19, 100), levels(20, 200), "update"),
        (levels(20, 100), levels(19, 200), "update"),
        (levels(20, 100), [*levels(19, 200), ["150", "0"]], "update"),
        ([*levels(30, 100), ["1", "0.000"]], levels(30, 200), "update"),
        (levels(20, 100), [*levels(19, 200), ["150", "0E-8"]], "update"),
        ([["1", "2"]], [], "update"),
    ],
)
def test_the_whole_of_a_depth_is_told_by_its_size(bids: object, asks: object, kind: str) -> None:
    """Nothing else tells it: 20 levels on both sides, none of which is deleted."""
    assert row("books", book(bids, asks))["kind"] == kind
    assert row("books", book(bids, asks, "ok_sub_futureusd_btc_depth_quarter"))["kind"] == kind


def test_changes_stay_in_their_order() -> None:
    """As sent; a side that is left out has not changed."""
    found = row("books", push(DEPTH, {"bids": [["5", "1"], ["7", "0"], ["6", "2"]], "timestamp": str(MS)}))
    assert (spelled(found), found["kind"]) == (([["5", "1"], ["7", "0"], ["6", "2"]], []), "update")


def test_levels_of_futures_keep_all_that_was_sent() -> None:
    """Price, contracts, coins, and both added up."""
    level = ["996.72", "20.0", "2.0065", "85.654", "852.0"]
    found = row("books", book([level], [], "ok_sub_futureusd_btc_depth_this_week"))
    assert spelled(found) == ([level], [])


@pytest.mark.parametrize(
    ("side", "reason"),
    [
        ([["1"]], "bad_levels"),
        ([["1", "2"], ["1", "2", "3"]], "bad_levels"),
        ([["x", "2"]], "bad_number"),
        ([["1", None]], "wrong_type"),
        ("1", "wrong_type"),
        ([{"price": "1"}], "wrong_type"),
    ],
)
def test_what_is_no_side_of_a_book(side: object, reason: str) -> None:
    """It costs only itself, beside good ones."""
    good = book([["1", "2"]], [])
    assert poison(good, book(side, []), good) == [(1, reason)]
    assert poison(good, push(DEPTH, {"timestamp": MS})) == [(1, "missing_field")]


# --- candles --------------------------------------------------------------------------------------------------------

INTERVALS = {"1min": "1m", "30min": "30m", "1hour": "1h", "12hour": "12h", "day": "1d", "3day": "3d", "week": "1w"}


@pytest.mark.parametrize(("period", "interval"), INTERVALS.items())
def test_bars_of_spot_and_of_futures(period: str, interval: str) -> None:
    """Spot says a volume; futures contracts and then coins. Never whether a bar is closed."""
    bar = [str(MS), "1.0", "4", "0.5", "2", "19.90"]
    found = row("candles", push(f"ok_sub_spot_a_b_kline_{period}", [bar]))
    assert [str(found[each]) for each in ("open", "high", "low", "close", "volume")] == bar[1:]
    assert (found["interval"], found["turnover"], found["closed"], found["time"]) == (interval, None, None, MS * 1000)
    found = row("candles", push(f"ok_sub_futureusd_a_kline_quarter_{period}", [[*bar, "5458.01"]]))
    assert (found["interval"], str(found["volume"]), str(found["turnover"])) == (interval, "19.90", "5458.01")
    assert found["symbol"] == "a_usd_quarter"


@pytest.mark.parametrize("bar", [[], [MS], [MS, 1, 2, 3, 4], [MS, 1, 2, 3, 4, 5, 6, 7]])
def test_what_is_no_bar(bar: object) -> None:
    """A bar has six elements or seven."""
    good = push("ok_sub_spot_a_b_kline_day", [[MS, 1, 2, 3, 4, 5]])
    assert poison(good, push("ok_sub_spot_a_b_kline_day", [bar]), good) == [(1, "wrong_type")]
