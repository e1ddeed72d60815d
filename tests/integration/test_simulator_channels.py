"""Every public and business channel of the simulated venue: its path, arguments, fields, types, cadence and order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from recorder.simulator import faults
from recorder.simulator.clock import ManualClock
from recorder.simulator.market import Market
from recorder.simulator.okx import commands as okx_commands
from recorder.simulator.okx.channels import PRIVATE
from recorder.simulator.okx.listings import dated
from recorder.simulator.okx.venue import BUSINESS, LISTINGS, NO_LIMITS, PUBLIC, OkxVenue
from recorder.simulator.server import Simulator
from tests.integration.simulated import BTC, Client, pushes, rest, whole

SWAP, DAY = "BTC-USDT-SWAP", "250627"
FUTURE, CALL, PUT = f"BTC-USDT-{DAY}", f"BTC-USD-{DAY}-65000-C", f"BTC-USD-{DAY}-65000-P"
BOOK = "asks bids ts checksum prevSeqId seqId"
TICKER = (
    "instType instId last lastSz askPx askSz bidPx bidSz open24h high24h low24h volCcy24h vol24h sodUtc0 sodUtc8 ts"
)
INDEX = "instId idxPx high24h low24h open24h sodUtc0 sodUtc8 ts"
GREEKS = "delta gamma theta vega deltaBS gammaBS thetaBS vegaBS"

# What a client subscribes to, what it is then pushed, within so many seconds at least once.
CHANNELS: list[tuple[str, dict[str, str], str, float]] = [
    (PUBLIC, {"channel": "trades", "instId": SWAP}, "instId tradeId px sz side ts count source seqId", 2),
    (BUSINESS, {"channel": "trades-all", "instId": SWAP}, "instId tradeId px sz side ts source", 2),
    (PUBLIC, {"channel": "tickers", "instId": CALL}, TICKER, 3),
    (PUBLIC, {"channel": "books", "instId": FUTURE}, BOOK, 2),
    (PUBLIC, {"channel": "books-elp", "instId": BTC}, BOOK, 1),
    (PUBLIC, {"channel": "books5", "instId": CALL}, "asks bids instId ts seqId", 2),
    (PUBLIC, {"channel": "bbo-tbt", "instId": PUT}, "asks bids ts seqId", 2),
    (PUBLIC, {"channel": "mark-price", "instId": SWAP}, "instType instId markPx ts", 11),
    (PUBLIC, {"channel": "index-tickers", "instId": "BTC-USD"}, INDEX, 1),
    (
        PUBLIC,
        {"channel": "funding-rate", "instId": SWAP},
        "instType instId method formulaType fundingRate nextFundingRate fundingTime nextFundingTime minFundingRate "
        "maxFundingRate interestRate impactValue settState settFundingRate premium ts",
        31,
    ),
    (PUBLIC, {"channel": "open-interest", "instId": FUTURE}, "instType instId oi oiCcy oiUsd ts", 4),
    (PUBLIC, {"channel": "price-limit", "instId": SWAP}, "instId buyLmt sellLmt ts enabled", 1),
    (PUBLIC, {"channel": "liquidation-orders", "instType": "SWAP"}, "instType instId instFamily uly details", 10),
    (
        PUBLIC,
        {"channel": "option-trades", "instType": "OPTION", "instFamily": "BTC-USD"},
        "instId instFamily tradeId px sz side optType fillVol fwdPx idxPx markPx ts",
        10,
    ),
    (
        PUBLIC,
        {"channel": "option-trades", "instType": "OPTION", "instId": CALL},
        "instId instFamily tradeId px sz side optType fillVol fwdPx idxPx markPx ts",
        10,
    ),
    (
        PUBLIC,
        {"channel": "opt-summary", "instFamily": "BTC-USD"},
        f"instType instId uly {GREEKS} realVol volLv bidVol askVol markVol lever fwdPx ts",
        1,
    ),
]  # fmt: skip
NUMBERS = {"seqId": int, "prevSeqId": int, "checksum": int, "enabled": bool}
NESTED = {"asks", "bids", "details"}
LEVELS = {"books", "books-elp", "books5", "bbo-tbt"}


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator[OkxVenue]]:
    """A venue with all kinds of instruments."""
    with whole() as one:
        yield one


@pytest.mark.parametrize(("path", "arg", "fields", "seconds"), CHANNELS, ids=lambda v: str(v)[:40])
def test_fields_and_types(
    simulator: Simulator[OkxVenue], path: str, arg: dict[str, str], fields: str, seconds: float
) -> None:
    """A channel is acknowledged and pushed with the argument as it was asked for, and with exactly its fields: text,
    but for sequence numbers, checksum and `enabled`."""
    with Client(simulator, path) as client:
        messages = client.request("subscribe", arg)
        assert messages[0]["event"] == "subscribe"
        client.drain()
        found: list[dict[str, Any]] = []
        for _ in range(20):  # a price that has not moved is not pushed
            simulator.advance(seconds)
            if found := pushes(client.drain(), arg["channel"]):
                break
    assert found
    for message in found:
        assert message["arg"] == arg
        for row in message["data"]:
            assert set(row) == set(fields.split())
            for name, value in row.items():
                assert type(value) is (list if name in NESTED else NUMBERS.get(name, str)), name
            if arg["channel"] in LEVELS:
                assert all(len(level) == 4 and level[2] == "0" for level in row["asks"] + row["bids"])


@pytest.mark.parametrize(
    ("channel", "subject", "count"),
    [("candle1m", BTC, 9), ("mark-price-candle1m", SWAP, 6), ("index-candle1m", "BTC-USD", 6), ("candle3Mutc", PUT, 9)],
)
def test_candles_have_their_number_of_fields(
    simulator: Simulator[OkxVenue], channel: str, subject: str, count: int
) -> None:
    """Candles of trades have nine fields, of marks and indices six; all end with whether they are closed."""
    with Client(simulator, BUSINESS) as client:
        messages = client.subscribe((channel, subject))
        simulator.advance(61)
        rows = [m["data"][0] for m in pushes(messages + client.drain(), channel)]
    assert {len(row) for row in rows} == {count}
    assert all(isinstance(value, str) for row in rows for value in row)
    if channel.endswith("1m"):
        assert [row[-1] for row in rows].count("1") >= 1
        for row in rows:
            prices = [float(value) for value in row[1:5]]
            assert min(prices) == prices[2] <= max(prices) == prices[1]


def test_mark_candles_are_what_the_mark_was(simulator: Simulator[OkxVenue]) -> None:
    """A closed candle of marks holds all marks that were pushed in it, every second of those taken, and is in REST."""
    with Client(simulator) as public, Client(simulator, BUSINESS) as business:
        business.subscribe(("mark-price-candle1m", SWAP))
        public.subscribe(("mark-price", SWAP))
        simulator.advance(125)
        marks = [m["data"][0] for m in pushes(public.drain(), "mark-price")]
        rows = [m["data"][0] for m in pushes(business.drain(), "mark-price-candle1m")]
    closed = [row for row in rows if row[-1] == "1"][-1]
    inside = [float(m["markPx"]) for m in marks if int(closed[0]) < int(m["ts"]) < int(closed[0]) + 60_000]
    assert len(inside) > 100
    assert float(closed[3]) <= min(inside) <= max(inside) <= float(closed[2])
    shown = rest(simulator, "market/history-mark-price-candles", instId=SWAP, bar="1m", limit=5)
    assert closed in shown


@pytest.mark.parametrize(
    ("path", "arg", "code"),
    [
        (BUSINESS, {"channel": "opt-summary", "instFamily": "BTC-USD"}, "64002"),
        (BUSINESS, {"channel": "status"}, "64002"),
        (PUBLIC, {"channel": "index-candle1D", "instId": "BTC-USD"}, "64001"),
        (PUBLIC, {"channel": "mark-price-candle1D", "instId": SWAP}, "64001"),
        (BUSINESS, {"channel": "mark-price-candle1s", "instId": SWAP}, "60018"),
        (PUBLIC, {"channel": "opt-summary"}, "60013"),
        (PUBLIC, {"channel": "opt-summary", "instFamily": "BTC-USDT"}, "60018"),
        (PUBLIC, {"channel": "option-trades", "instType": "OPTION"}, "60013"),
        (PUBLIC, {"channel": "option-trades", "instFamily": "BTC-USD"}, "60013"),
        (PUBLIC, {"channel": "option-trades", "instType": "SWAP", "instFamily": "BTC-USDT"}, "60018"),
        (PUBLIC, {"channel": "estimated-price", "instType": "FUTURES"}, "60013"),
        (PUBLIC, {"channel": "estimated-price", "instType": "FUTURES", "instId": CALL}, "60018"),
        (PUBLIC, {"channel": "instruments", "instType": "NONSENSE"}, "60018"),
        (PUBLIC, {"channel": "liquidation-orders", "instType": "SPOT"}, "60018"),
        (PUBLIC, {"channel": "funding-rate", "instId": FUTURE}, "60018"),
        (PUBLIC, {"channel": "open-interest", "instId": BTC}, "60018"),
        (PUBLIC, {"channel": "index-tickers", "instId": "BTC-EUR"}, "60018"),
        (PUBLIC, {"channel": "index-tickers", "instId": SWAP}, "60018"),
        (PRIVATE, {"channel": "account"}, "60011"),
        (PRIVATE, {"channel": "trades", "instId": BTC}, "60018"),
        (PUBLIC, {"channel": "account"}, "60018"),
    ],
)
def test_refusals(simulator: Simulator[OkxVenue], path: str, arg: dict[str, str], code: str) -> None:
    """A wrong path, a missing argument and what does not exist have their codes."""
    with Client(simulator, path) as client:
        (answer,) = client.request("subscribe", arg)
        assert (answer["event"], answer["code"]) == ("error", code)


def times(messages: list[dict[str, Any]], channel: str) -> list[int]:
    return [int(m["data"][0]["ts"]) for m in pushes(messages, channel)]


def test_cadence_of_a_market_that_moves(simulator: Simulator[OkxVenue]) -> None:
    """At most every 200 ms marks and limits, 100 ms indices; every 3 s interest, 30 s funding, 1 s options."""
    wanted = {
        "mark-price": SWAP,
        "price-limit": SWAP,
        "index-tickers": BTC,
        "open-interest": SWAP,
        "funding-rate": SWAP,
        "opt-summary": "BTC-USD",
    }
    with Client(simulator) as client:
        for channel, subject in wanted.items():
            name = "instFamily" if channel == "opt-summary" else "instId"
            client.request("subscribe", {"channel": channel, name: subject})
        simulator.advance(60)
        messages = client.drain()
    least = {channel: min(b - a for a, b in pairwise(times(messages, channel))) for channel in wanted}
    assert least["mark-price"] >= 200 and least["price-limit"] >= 200 and least["index-tickers"] >= 100
    assert (least["open-interest"], least["funding-rate"], least["opt-summary"]) == (3_000, 30_000, 1_000)
    assert len(times(messages, "mark-price")) > 100


def test_cadence_of_a_market_that_rests() -> None:
    """Unchanged, a mark is repeated every 10 s, an index every minute, a limit never."""
    with whole(rate=0) as simulator, Client(simulator) as client:
        client.subscribe(("mark-price", SWAP), ("index-tickers", BTC), ("price-limit", SWAP))
        simulator.advance(1)
        client.drain()
        simulator.advance(120)
        messages = client.drain()
    assert [len(times(messages, c)) for c in ("mark-price", "index-tickers", "price-limit")] == [12, 2, 0]


def test_order_for_one_instrument(simulator: Simulator[OkxVenue]) -> None:
    """What a change of the book brings comes best level first: bbo-tbt, books, books-elp, books5."""
    order = ["bbo-tbt", "books", "books-elp", "books5"]
    with Client(simulator) as client, Client(simulator) as other:
        client.subscribe(*((channel, BTC) for channel in reversed(order)))
        messages = []
        for _ in range(20):
            simulator.advance(0.3)
            other.subscribe(("books", BTC))  # publishes in between
            rest(simulator, "market/books", instId=BTC, sz=1)
            messages += client.drain()
    seen: dict[int, list[str]] = {}
    for message in messages:
        seen.setdefault(message["data"][0]["seqId"], []).append(message["arg"]["channel"])
    several = [names for names in seen.values() if len(names) > 2]
    assert len(several) > 20
    assert all(names == sorted(names, key=order.index) for names in several)


def test_quiet_books_in_their_order() -> None:
    """A minute without any change repeats bbo-tbt, then books (an empty update with its own number), then books5."""
    with whole(rate=0) as simulator, Client(simulator) as client:
        client.subscribe(("books5", BTC), ("books", BTC), ("bbo-tbt", BTC))
        simulator.advance(1)
        client.drain()
        simulator.advance(60)
        messages = client.drain()
    assert [m["arg"]["channel"] for m in messages] == ["bbo-tbt", "books", "books5"]


def test_elp_books_are_a_part_of_the_book(simulator: Simulator[OkxVenue]) -> None:
    """`books-elp` is a chain of its own: its updates give the levels that a late comer's snapshot shows, all of them
    levels of the whole book."""
    with Client(simulator) as client, Client(simulator) as late:
        messages = client.subscribe(("books-elp", BTC))
        simulator.advance(5)
        (snapshot,) = pushes(late.subscribe(("books-elp", BTC)), "books-elp")
        (book,) = rest(simulator, "market/books", instId=BTC, sz=400)
        messages += client.drain()
    levels: dict[str, list[str]] = {}
    for message in pushes(messages, "books-elp"):
        levels.update({level[0]: level for level in message["data"][0]["bids"]})
    held = {price: level for price, level in levels.items() if level[1] != "0"}
    want = {level[0]: level for level in snapshot["data"][0]["bids"]}
    assert held == want
    assert set(want) < {level[0] for level in book["bids"]}


def test_liquidations_are_trades(simulator: Simulator[OkxVenue]) -> None:
    """A liquidation is a trade of that kind of instrument, pushed and over REST; a buy ends a short position."""
    with Client(simulator) as client:
        client.request("subscribe", {"channel": "liquidation-orders", "instType": "SWAP"})
        client.subscribe(("trades", SWAP))
        simulator.advance(20)
        messages = client.drain()
    trades = {(m["data"][0]["ts"], m["data"][0]["px"], m["data"][0]["sz"]) for m in pushes(messages, "trades")}
    rows = [m["data"][0] for m in pushes(messages, "liquidation-orders") if m["data"][0]["instId"] == SWAP]
    assert len(rows) > 2
    for row in rows:
        (detail,) = row["details"]
        assert (detail["ts"], detail["bkPx"], detail["sz"]) in trades
        assert (detail["side"], detail["posSide"]) in (("buy", "short"), ("sell", "long"))
    (group,) = (g for g in rest(simulator, "public/liquidation-orders", instType="SWAP", uly="BTC-USDT"))
    assert {d["ts"] for d in group["details"]} >= {row["details"][0]["ts"] for row in rows}


def test_all_options_at_once(simulator: Simulator[OkxVenue]) -> None:
    """A summary has every option of the family in one message."""
    with Client(simulator) as client:
        messages = client.request("subscribe", {"channel": "opt-summary", "instFamily": "BTC-USD"})
    (first,) = pushes(messages, "opt-summary")
    assert [row["instId"] for row in first["data"]] == [CALL, PUT]
    call, put = (float(row["delta"]) for row in first["data"])
    assert 0 < call < 1 and -1 < put < 0


def test_the_hour_before_delivery() -> None:
    """Only in the last hour of a future its estimated price is pushed, every 200 ms, by instrument and by family; then
    it is gone from the list, which is pushed, and from the socket."""
    clock = ManualClock()
    market = Market([replace(LISTINGS[0], calm=True)], clock.wall_us(), rate=1)
    symbol = "BTC-USDT-250615"
    with Simulator(OkxVenue(market, rules=NO_LIMITS, clock=clock)) as simulator, Client(simulator) as client:
        simulator.fault(okx_commands.List(symbol=symbol, rate=2, expires_in=3_610))
        args = [{"channel": "estimated-price", "instType": "FUTURES", **by} for by in
                ({"instId": symbol}, {"instFamily": "BTC-USDT"})]  # fmt: skip
        client.request("subscribe", *args, {"channel": "instruments", "instType": "FUTURES"})
        client.subscribe(("trades", symbol))
        simulator.advance(9)
        assert pushes(client.drain(), "estimated-price") == []
        simulator.advance(3)
        found = pushes(client.drain(), "estimated-price")
        assert [m["arg"] for m in found[:2]] == args
        assert 8 <= len(found) / 2 <= 15
        assert set(found[0]["data"][0]) == {"instType", "instId", "settlePx", "settleType", "ts"}
        assert found[0]["data"][0]["settleType"] == "delivery"
        simulator.advance(3_600)
        messages = client.drain()
        (ended,) = pushes(messages, "instruments")
        assert (ended["data"][0]["instId"], ended["data"][0]["state"]) == (symbol, "expired")
        assert pushes(messages, "estimated-price")
        simulator.advance(10)
        assert client.drain() == []
        assert rest(simulator, "public/instruments", instType="FUTURES") == []
        assert client.subscribe(("trades", symbol))[0]["code"] == "60018"


def test_warnings_last_until_they_are_over(simulator: Simulator[OkxVenue]) -> None:
    """`adl-warning` is silent but while a family is in that state: then once a second, by kind and by family."""
    args = [{"channel": "adl-warning", "instType": "SWAP"}]
    args.append({**args[0], "instFamily": "BTC-USDT"})
    with Client(simulator) as client:
        client.request("subscribe", *args)
        simulator.advance(5)
        assert client.drain() == []
        simulator.fault(okx_commands.Adl(state="adl"))
        simulator.advance(5)
        found = pushes(client.drain(), "adl-warning")
        assert [m["arg"] for m in found] == args * 5
        assert {(m["data"][0]["state"], m["data"][0]["instFamily"]) for m in found} == {("adl", "BTC-USDT")}
        simulator.fault(okx_commands.Adl(state="normal"))
        simulator.advance(5)
        assert client.drain() == []


def test_maintenance_is_told(simulator: Simulator[OkxVenue]) -> None:
    """`status` tells of maintenance as it changes, and to a late comer while it is not over."""
    with Client(simulator) as client, Client(simulator) as late:
        assert len(client.request("subscribe", {"channel": "status"})) == 1
        for state in ("scheduled", "ongoing"):
            simulator.fault(okx_commands.Maintenance(state=state))
        found = pushes(client.drain(), "status")
        assert [m["data"][0]["state"] for m in found] == ["scheduled", "ongoing"]
        assert found[0]["arg"] == {"channel": "status"}
        names = "title state begin end preOpenBegin href serviceType system scheDesc maintType env ts"
        assert set(found[0]["data"][0]) == set(names.split())
        assert pushes(late.request("subscribe", {"channel": "status"}), "status") == found[1:]
        simulator.fault(okx_commands.Maintenance(state="completed"))
        assert len(pushes(client.drain(), "status")) == 1
        with Client(simulator) as later:
            assert len(later.request("subscribe", {"channel": "status"})) == 1


def test_muted_and_silent_channels(simulator: Simulator[OkxVenue]) -> None:
    """The faults of every channel hold for those that are about a kind or a family, too."""
    arg = {"channel": "opt-summary", "instFamily": "BTC-USD"}
    with Client(simulator) as client:
        simulator.fault(faults.Mute(channel="opt-summary", symbol="BTC-USD"))
        assert len(client.request("subscribe", arg)) == 1
        simulator.advance(2)
        assert client.drain() == []
        simulator.fault(faults.Clear())
        simulator.advance(1)
        assert pushes(client.drain(), "opt-summary")
        client.request("unsubscribe", arg)
        simulator.advance(2)
        assert client.drain() == []


def test_the_names_of_what_expires() -> None:
    """Dated instruments expire on the Friday after next at eight, whatever the day."""
    for day in range(15, 29):
        now = 1_749_945_600_000 + (day - 15) * 86_400_000  # 2025-06-15, a Sunday
        (expires,) = {one.expires for one in dated(now)}
        assert 7 * 86_400_000 <= expires - now <= 14 * 86_400_000 + 8 * 3_600_000
        assert expires % (7 * 86_400_000) == 86_400_000 + 8 * 3_600_000  # the epoch was a Thursday
