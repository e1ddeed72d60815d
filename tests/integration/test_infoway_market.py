"""The simulated Infoway's subscriptions and market, as a client of another make sees them over real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from recorder.simulator.infoway.text import GREETING, WELCOME, kline_span
from tests.integration.infowayclient import (
    APPLE,
    BTC,
    ETH,
    GOLD,
    OIL,
    TENCENT,
    Client,
    Venue,
    codes,
    data,
    klines,
    pushes,
    venue,
)


@pytest.fixture
def simulator() -> Iterator[Venue]:
    """A venue with 50 trades a second on each instrument."""
    with venue() as one:
        yield one


@pytest.fixture
def client(simulator: Venue) -> Iterator[Client]:
    """A reader of crypto."""
    with Client(simulator) as one:
        yield one


# --- subscriptions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("business", ["stock", "crypto", "common", "japan", "india", "korea", "taiwan"])
def test_welcome(simulator: Venue, business: str) -> None:
    """Every business says hello, stock in plain text before."""
    with Client(simulator, business) as client:
        hello = [WELCOME.decode()]
        assert client.texts() == ([GREETING.decode(), *hello] if business == "stock" else hello)


@pytest.mark.parametrize(
    ("code", "wanted", "answer"),
    [
        (10000, codes(BTC, ETH), 10001),
        (10003, codes(BTC), 10004),
        (10006, klines(t1=f"{BTC},{ETH}", t8=BTC), 10007),
        (11000, codes(BTC), 11010),
        (11001, None, 11010),
        (11002, codes(BTC, klineTypes="1,8"), 11010),
    ],
)
def test_acks(client: Client, code: int, wanted: object, answer: int) -> None:
    """A request is acknowledged once, whatever it names, with its trace; repeated, again."""
    client.drain()
    for _ in range(2):
        trace = client.ask(code, wanted)
        assert client.drain() == [{"code": answer, "trace": trace, "msg": "ok"}]


def test_nothing_comes_unasked(simulator: Venue, client: Client) -> None:
    """No push without a subscription, and none at once on one: the next trade, tenth or second brings it."""
    simulator.advance(2)
    assert [m["code"] for m in client.drain()] == [200]
    assert [m["code"] for m in client.subscribe(10003, codes(BTC))] == [10004]
    simulator.advance(0.1)
    assert [m["code"] for m in client.drain()] == [10005]


@pytest.mark.parametrize(("business", "symbol"), [("crypto", APPLE), ("common", BTC), ("stock", OIL), ("crypto", "NO")])
def test_silence_on_what_is_elsewhere(simulator: Venue, business: str, symbol: str) -> None:
    """A symbol that is unknown, or of another business, is acknowledged like any other and never heard of again."""
    with Client(simulator, business) as client:
        for code in (10000, 10003):
            assert [m["code"] for m in client.subscribe(code, codes(symbol))] == [code + 1]
        assert [m["code"] for m in client.subscribe(10006, klines(t1=symbol))] == [10007]
        simulator.advance(3)
        assert client.texts() == []


def test_one_symbol_of_two(simulator: Venue, client: Client) -> None:
    """Of two symbols in a request the known one is served."""
    client.subscribe(10000, codes("NO", BTC))
    simulator.advance(1)
    assert {row["s"] for row in pushes(client.drain(), 10002)} == {BTC}


def test_unsubscribing_in_part(simulator: Venue, client: Client) -> None:
    """Trades of one symbol end, those of the other and the depth of both go on; without data all of a kind ends."""
    client.subscribe(10000, codes(BTC, ETH))
    client.subscribe(10003, codes(BTC, ETH))
    assert client.subscribe(11000, codes(BTC))[-1]["code"] == 11010
    simulator.advance(1)
    messages = client.drain()
    assert {row["s"] for row in pushes(messages, 10002)} == {ETH}
    assert {row["s"] for row in pushes(messages, 10005)} == {BTC, ETH}
    client.subscribe(11001, None)
    simulator.advance(1)
    messages = client.drain()
    assert not pushes(messages, 10005) and pushes(messages, 10002)


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        (codes(BTC, klineTypes="1"), {(BTC, 2), (BTC, 8), (ETH, 1)}),
        (codes(BTC, klineTypes="1,8"), {(BTC, 2), (ETH, 1)}),
        (codes(BTC), {(ETH, 1)}),
        (codes(BTC, ETH, klineTypes=1), {(BTC, 2), (BTC, 8)}),
        (None, set()),
    ],
)
def test_unsubscribing_klines(simulator: Venue, client: Client, wanted: object, left: set[tuple[str, int]]) -> None:
    """Types of a symbol end alone; without types every type of it ends, without data everything."""
    client.subscribe(10006, klines(t1=f"{BTC},{ETH}", t2=BTC, t8=BTC))
    client.subscribe(11002, wanted)
    simulator.advance(2)
    assert {(row["s"], row["ty"]) for row in pushes(client.drain(), 10008)} == left


# --- market data ---------------------------------------------------------------------------------------------------


def test_trades(simulator: Venue) -> None:
    """Trades come as they happen, with exact turnover; crypto says who was the taker, others do not."""
    for business, symbol, sides in (("crypto", BTC, {1, 2}), ("common", OIL, {0}), ("stock", APPLE, {0})):
        with Client(simulator, business) as client:
            client.subscribe(10000, codes(symbol))
            simulator.advance(2)
            rows = pushes(client.drain(), 10002, symbol)
        assert len(rows) >= 100
        assert {row["td"] for row in rows} == sides
        assert all(list(row) == ["p", "s", "t", "td", "v", "vw"] for row in rows)
        assert all(Decimal(row["p"]) * Decimal(row["v"]) == Decimal(row["vw"]) for row in rows)
        assert all(a["t"] <= b["t"] for a, b in pairwise(rows))


def test_the_type_for_those_who_ask(simulator: Venue) -> None:
    """Of two readers of an equity the one that asked for types gets them; asking anew without ends that."""
    with Client(simulator, "stock") as asks, Client(simulator, "stock") as plain:
        asks.subscribe(10000, codes(APPLE, includeTy=True))
        plain.subscribe(10000, codes(APPLE))
        simulator.advance(1)
        typed, untyped = (pushes(one.drain(), 10002) for one in (asks, plain))
        assert [{**row, "ty": 0} for row in untyped] == typed
        asks.subscribe(10000, codes(APPLE))
        simulator.advance(1)
        assert all("ty" not in row for row in pushes(asks.drain(), 10002))


def test_the_market_needs_nobody(simulator: Venue) -> None:
    """While nobody is connected trades go on: bars hold more than was pushed."""
    pushed = Decimal(0)
    for _ in range(2):
        with Client(simulator) as client:
            client.subscribe(10000, codes(BTC))
            simulator.advance(2)
            pushed += sum(Decimal(row["v"]) for row in pushes(client.drain(), 10002))
        simulator.advance(4)
    (symbol,) = data(simulator, "/crypto/v2/batch_kline", {"codes": BTC, "klineType": 1, "klineNum": 5})
    traded = sum(Decimal(row["v"]) for row in symbol["respList"])
    assert 0 < 2 * pushed < traded
    issued = simulator.call(lambda: simulator.venue.ledger().issued)
    assert min(issued.values()) > 500


@pytest.mark.parametrize(
    ("business", "symbol", "levels"),
    [("crypto", BTC, 5), ("stock", TENCENT, 10), ("stock", "600519.SH", 5), ("stock", APPLE, 1), ("common", GOLD, 1)],
)
def test_depth(simulator: Venue, business: str, symbol: str, levels: int) -> None:
    """Ten times a second, changed or not, the whole of what is shown: columns, best first, never crossed."""
    with Client(simulator, business) as client:
        client.subscribe(10003, codes(symbol))
        simulator.advance(1.995)
        (last,) = data(simulator, f"/{business}/batch_depth/{symbol}")  # nothing happens until the next push
        simulator.advance(0.005)
        rows = pushes(client.drain(), 10005)
    assert len(rows) == 20
    assert all(b["t"] - a["t"] == 100 for a, b in pairwise(rows))
    for row in rows:
        asks, bids = (list(map(Decimal, row[side][0])) for side in "ab")
        assert len(asks) == len(bids) == len(row["a"][1]) == len(row["b"][1]) == levels
        assert bids == sorted(bids, reverse=True) and asks == sorted(asks) and bids[0] < asks[0]
        assert all(Decimal(size) > 0 for side in "ab" for size in row[side][1])
    assert {**last, "t": rows[-1]["t"]} == rows[-1]
    assert len({row["a"][0][0] for row in rows}) > 1


def test_no_book_is_null(simulator: Venue) -> None:
    """What nobody can trade has a depth without sides."""
    with Client(simulator, "stock") as client:
        client.subscribe(10003, codes(".DJI.US"))
        simulator.advance(0.1)
        (row,) = pushes(client.drain(), 10005)
    assert (row["a"], row["b"]) == (None, None)


def test_trades_are_at_the_book(simulator: Venue, client: Client) -> None:
    """Every trade of a tenth lies within what the book has shown before and after it, or next to it."""
    client.subscribe(10003, codes(BTC))
    client.subscribe(10000, codes(BTC))
    simulator.advance(5)
    messages = [m for m in client.drain() if m["code"] in (10002, 10005)]
    shown = [n for n, m in enumerate(messages) if m["code"] == 10005]
    inside = total = 0
    for first, second in pairwise(shown):
        books = [messages[n]["data"] for n in (first, second)]
        low = min(Decimal(book["b"][0][-1]) for book in books)
        high = max(Decimal(book["a"][0][-1]) for book in books)
        for message in messages[first + 1 : second]:
            total += 1
            inside += low <= Decimal(message["data"]["p"]) <= high
    assert total > 100
    assert inside == total


@pytest.mark.parametrize("kind", range(1, 13))
def test_bars_repeat(simulator: Venue, client: Client, kind: int) -> None:
    """A running bar of every type comes once a second, growing, with a time that is a string of seconds."""
    client.subscribe(10006, klines(**{f"t{kind}": BTC}))
    simulator.advance(5)
    rows = pushes(client.drain(), 10008)
    assert len(rows) == 5
    now = simulator.venue.clock.wall_us() // 1000
    assert {row["ty"] for row in rows} == {kind}
    assert rows[-1]["t"] == str(kline_span(kind, now - 1)[0] // 1000)
    volumes = [Decimal(row["v"]) for row in rows if row["t"] == rows[-1]["t"]]
    assert all(a < b for a, b in pairwise(volumes))


def test_bars_equal_the_trades() -> None:
    """A bar's last push has the prices and volumes of the trades in it, and REST shows the same bar."""
    with venue(rate=20.0, symbols=[BTC]) as simulator, Client(simulator) as client:
        compare_bars(simulator, client)


def compare_bars(simulator: Venue, client: Client) -> None:
    """Two whole minutes of trades and bars."""
    simulator.advance(90 - simulator.venue.clock.wall_us() / 1e6 % 60)
    client.subscribe(10000, codes(BTC))
    client.subscribe(10006, klines(t1=BTC))
    simulator.advance(150)
    messages = client.drain()
    bars: dict[str, dict[str, Any]] = {row["t"]: row for row in pushes(messages, 10008)}
    whole = sorted(bars)[1:-1]
    assert len(whole) >= 1
    (symbol,) = data(simulator, "/crypto/v2/batch_kline", {"codes": BTC, "klineType": 1, "klineNum": 10})
    shown = {row["t"]: row for row in symbol["respList"]}
    for at in whole:
        inside = [row for row in pushes(messages, 10002) if int(at) <= row["t"] // 1000 < int(at) + 60]
        prices = [Decimal(row["p"]) for row in inside]
        found = [Decimal(bars[at][name]) for name in "ohlc"]
        assert found == [prices[0], max(prices), min(prices), prices[-1]]
        assert Decimal(bars[at]["v"]) == sum(Decimal(row["v"]) for row in inside)
        assert Decimal(bars[at]["vw"]) == sum(Decimal(row["vw"]) for row in inside)
        assert {name: bars[at][name] for name in "tohlcv"} == {name: shown[at][name] for name in "tohlcv"}
        assert (bars[at]["vw"], bars[at]["pfr"]) == (shown[at]["vw"], shown[at]["pc"])
        before = Decimal(shown[str(int(at) - 60)]["c"])
        assert Decimal(bars[at]["pca"]) == found[3] - before == Decimal(shown[at]["pca"])
