"""The simulated venue's market, as clients of other makes see it over real sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from recorder.simulator.clock import ManualClock
from recorder.simulator.market import Listing, Market
from recorder.simulator.okx.venue import BUSINESS, NO_LIMITS, PUBLIC, OkxVenue
from recorder.simulator.server import Simulator
from tests.integration.simulated import BTC, Client, pushes, rest, venue


@pytest.fixture
def simulator() -> Iterator[Simulator[OkxVenue]]:
    """A venue with 50 trades a second."""
    with venue() as one:
        yield one


@pytest.fixture
def client(simulator: Simulator[OkxVenue]) -> Iterator[Client]:
    with Client(simulator) as one:
        yield one


# --- subscriptions -------------------------------------------------------------------------------------------------


def test_acks_one_by_one(client: Client) -> None:
    """Every argument is acknowledged on its own, with the request's id, and again when it is repeated."""
    for _ in range(2):
        client.ask("subscribe", ("trades", BTC), ("tickers", BTC), id="a1")
        acks = [m for m in client.drain() if m.get("event") == "subscribe"]
        assert [a["arg"] for a in acks] == [{"channel": c, "instId": BTC} for c in ("trades", "tickers")]
        assert {a["id"] for a in acks} == {"a1"}
        assert len({a["connId"] for a in acks}) == 1
    client.ask("unsubscribe", ("trades", BTC))
    assert [m["event"] for m in client.drain()] == ["unsubscribe"]


@pytest.mark.parametrize(
    ("path", "request_", "code"),
    [
        (PUBLIC, {"op": "subscribe", "args": [{"channel": "trades", "instId": "NO-SUCH"}]}, "60018"),
        (PUBLIC, {"op": "subscribe", "args": [{"channel": "nonsense", "instId": BTC}]}, "60018"),
        (PUBLIC, {"op": "subscribe", "args": [{"channel": "candle1m", "instId": BTC}]}, "64001"),
        (PUBLIC, {"op": "subscribe", "args": [{"channel": "trades-all", "instId": BTC}]}, "60018"),
        (PUBLIC, {"op": "subscribe", "args": [{"channel": "books-l2-tbt", "instId": BTC}]}, "64003"),
        (PUBLIC, {"op": "subscribe", "args": [{"channel": "funding-rate", "instId": BTC}]}, "60018"),
        (PUBLIC, {"op": "subscribe", "args": [{"channel": "liquidation-orders"}]}, "60013"),
        (BUSINESS, {"op": "subscribe", "args": [{"channel": "trades", "instId": BTC}]}, "64002"),
        (BUSINESS, {"op": "subscribe", "args": [{"channel": "candle7m", "instId": BTC}]}, "60018"),
        (PUBLIC, {"op": "subscribe", "args": []}, "60013"),
        (PUBLIC, {"op": "subscribe", "args": "trades"}, "60013"),
        (PUBLIC, {"op": "subscribe", "argss": []}, "60012"),
        (PUBLIC, {"op": "dance", "args": []}, "60012"),
        (PUBLIC, {"op": "login", "args": [{"apiKey": "k"}]}, "60009"),
        (PUBLIC, [], "60012"),
    ],
)
def test_bad_requests_get_their_code(simulator: Simulator[OkxVenue], path: str, request_: Any, code: str) -> None:
    """A request that cannot be served is answered with its code, and the connection stays."""
    client = Client(simulator, path)
    with client:
        client.ws.send(json.dumps(request_))
        (answer,) = client.drain()
        assert (answer["event"], answer["code"]) == ("error", code)
        assert answer["connId"]
        assert answer["msg"]


def test_one_bad_argument_harms_no_other(client: Client) -> None:
    """Of several arguments the good ones are served."""
    events = [m for m in client.subscribe(("nonsense", BTC), ("trades", BTC)) if "event" in m]
    assert [e["event"] for e in events] == ["error", "subscribe"]


# --- market data ---------------------------------------------------------------------------------------------------


def test_trades_run_on(simulator: Simulator[OkxVenue], client: Client) -> None:
    """Pushed trade ids run on when `count` is taken into account, and every one is a REST trade."""
    simulator.advance(1)
    client.subscribe(("trades", BTC))
    simulator.advance(20)
    rows = [m["data"][0] for m in pushes(client.drain(), "trades")]
    assert len(rows) > 100
    assert all(int(b["tradeId"]) - int(b["count"]) == int(a["tradeId"]) for a, b in pairwise(rows))
    assert any(row["count"] != "1" for row in rows)
    known = {row["tradeId"]: row for row in rest(simulator, "market/trades", instId=BTC, limit=500)}
    assert all(known[row["tradeId"]]["px"] == row["px"] for row in rows)
    assert all(type(value) is (int if name == "seqId" else str) for row in rows for name, value in row.items())


def test_last_trade_again(simulator: Simulator[OkxVenue], client: Client) -> None:
    """Every subscription to trades begins with the last trade again, however old: same id, same time."""
    simulator.advance(3)
    first = pushes(client.subscribe(("trades", BTC)), "trades")
    assert len(first) == 1
    assert pushes(client.subscribe(("trades", BTC)), "trades") == first
    other = Client(simulator)
    with other:
        assert pushes(other.subscribe(("trades", BTC)), "trades") == first


def test_trades_all_is_every_id(simulator: Simulator[OkxVenue]) -> None:
    """`trades-all` pushes every id on its own."""
    client = Client(simulator, BUSINESS)
    with client:
        client.subscribe(("trades-all", BTC))
        simulator.advance(5)
        ids = [int(m["data"][0]["tradeId"]) for m in pushes(client.drain(), "trades-all")]
    assert ids == list(range(1, ids[-1] + 1))
    assert ids[-1] > 40


def test_numbering_needs_nobody(simulator: Simulator[OkxVenue]) -> None:
    """While nobody is connected trades are numbered on: the ids that were missed show as a hole."""
    ids = []
    for _ in range(2):
        client = Client(simulator)
        with client:
            client.subscribe(("trades", BTC))
            simulator.advance(2)
            rows = [m["data"][0] for m in pushes(client.drain(), "trades")]
            ids.append([int(row["tradeId"]) for row in rows])
        simulator.advance(10)
    assert ids[1][1] - ids[0][-1] > 90


def rebuild(messages: list[dict[str, Any]]) -> tuple[dict[str, dict[str, list[str]]], int]:
    """What a reader knows after a snapshot and its updates; every update must follow the one before."""
    sides: dict[str, dict[str, list[str]]] = {}
    seq = -1
    for message in messages:
        (data,) = message["data"]
        assert data["checksum"] == 0
        if message["action"] == "snapshot":
            assert data["prevSeqId"] == -1
            sides = {"bids": {}, "asks": {}}
        else:
            assert data["prevSeqId"] == seq
        seq = data["seqId"]
        for side, levels in sides.items():
            for level in data[side]:
                if level[1] == "0":
                    del levels[level[0]]
                else:
                    levels[level[0]] = level
    return sides, seq


@pytest.mark.parametrize("symbol", [BTC, "ETH-USDT-SWAP"])
def test_updates_give_the_rest_book(simulator: Simulator[OkxVenue], client: Client, symbol: str) -> None:
    """Snapshot and updates, applied by a reader, are the book that REST returns for that seqId; so for a late comer."""
    messages = pushes(client.subscribe(("books", symbol)), "books")
    for step in (0.3, 1.05, 4.0):
        simulator.advance(step)
        late = Client(simulator)
        with late:
            snapshot = pushes(late.subscribe(("books", symbol)), "books")
            (book,) = rest(simulator, "market/books", instId=symbol, sz=400)
            messages += pushes(client.drain(), "books")
            for sides, seq in (rebuild(messages), rebuild(snapshot)):
                assert seq == book["seqId"]
                assert sorted(sides["bids"].values(), key=lambda row: -float(row[0])) == book["bids"]
                assert sorted(sides["asks"].values(), key=lambda row: float(row[0])) == book["asks"]
            assert len(book["bids"]) == len(book["asks"]) == 400
    assert len(messages) > 40


def test_small_books_are_the_top(simulator: Simulator[OkxVenue], client: Client) -> None:
    """`books5` and `bbo-tbt` are the book's best levels, pushed on change, 10 and 100 times a second at most."""
    messages = client.subscribe(("books", BTC), ("books5", BTC), ("bbo-tbt", BTC))
    simulator.advance(2.0)
    messages += client.drain()
    five, best = pushes(messages, "books5"), pushes(messages, "bbo-tbt")
    assert 5 < len(five) <= 21 < len(best) <= 201  # the first of each came with the subscription
    for rows in (five, best):
        shown = [(row["data"][0]["bids"], row["data"][0]["asks"]) for row in rows]
        assert all(before != after for before, after in pairwise(shown))
    (last,) = five[-1]["data"]
    books = pushes(messages, "books")
    upto = next(n for n, m in enumerate(books) if m["data"][0]["seqId"] == last["seqId"])
    sides, _ = rebuild(books[: upto + 1])
    assert sorted(sides["asks"].values(), key=lambda row: float(row[0]))[:5] == last["asks"]
    assert sorted(sides["bids"].values(), key=lambda row: -float(row[0]))[:5] == last["bids"]


def test_only_changes_are_pushed() -> None:
    """One change of the best level is one push on each channel that shows it; then it is quiet again."""
    with venue(rate=0) as simulator, Client(simulator) as client:
        keys = [(channel, BTC) for channel in ("books5", "bbo-tbt", "tickers")]
        client.subscribe(*keys)
        simulator.advance(10)
        assert client.drain() == []
        simulator.call(lambda: simulator.venue.market.instruments[BTC].book.take(buy=True, share=1.0))
        simulator.advance(10)
        messages = client.drain()
        assert [len(pushes(messages, channel)) for channel, _ in keys] == [1, 1, 1]


def test_quiet_books_repeat_themselves() -> None:
    """After 60 s without change `books` repeats its id in an empty update, `bbo-tbt` its level."""
    clock = ManualClock()
    market = Market([Listing(BTC, "SPOT", 650_000, 1, 8, 1_000)], clock.wall_us(), rate=0)
    with Simulator(OkxVenue(market, rules=NO_LIMITS, clock=clock)) as simulator:
        client = Client(simulator)
        with client:
            client.subscribe(("books", BTC), ("bbo-tbt", BTC))
            simulator.advance(1)
            client.drain()
            simulator.advance(60)
            messages = client.drain()
    (update,) = (m["data"][0] for m in pushes(messages, "books"))
    assert (update["asks"], update["bids"], update["prevSeqId"] == update["seqId"]) == ([], [], True)
    assert len(pushes(messages, "bbo-tbt")) == 1


def test_candles_equal_the_trades(simulator: Simulator[OkxVenue]) -> None:
    """A closed bar has the prices and volumes of the trades in it, pushed and over REST, and closes exactly once."""
    client = Client(simulator, BUSINESS)
    with client:
        client.subscribe(("candle1m", BTC), ("candle1s", BTC))
        for _ in range(4):
            simulator.advance(35)
        messages = client.drain()
    trades = rest(simulator, "market/trades", instId=BTC, limit=500)
    while int(trades[-1]["tradeId"]) > 1:
        trades += rest(simulator, "market/history-trades", instId=BTC, after=trades[-1]["tradeId"])
    for bar, length in (("1m", 60_000), ("1s", 1_000)):
        rows = [m["data"][0] for m in pushes(messages, f"candle{bar}")]
        closed = [row for row in rows if row[-1] == "1"]
        assert len({row[0] for row in closed}) == len(closed) >= 2
        shown = rest(simulator, "market/candles", instId=BTC, bar=bar, limit=300)
        assert closed[::-1] == [row for row in shown if row[-1] == "1"][: len(closed)]
        for row in closed:
            inside = [t for t in reversed(trades) if int(row[0]) <= int(t["ts"]) < int(row[0]) + length]
            prices = [float(t["px"]) for t in inside] or [float(row[1])]
            assert [float(p) for p in row[1:5]] == [prices[0], max(prices), min(prices), prices[-1]]
            assert float(row[5]) == pytest.approx(sum(float(t["sz"]) for t in inside), abs=1e-9)
            assert float(row[7]) == pytest.approx(sum(float(t["sz"]) * float(t["px"]) for t in inside), abs=1e-6)


def test_tickers_agree(simulator: Simulator[OkxVenue], client: Client) -> None:
    """A ticker's last price, best levels and volume are those of the trades and the book."""
    simulator.advance(20)
    (message,) = pushes(client.subscribe(("tickers", BTC)), "tickers")
    (ticker,) = message["data"]
    trades = rest(simulator, "market/trades", instId=BTC, limit=500)
    (book,) = rest(simulator, "market/books", instId=BTC)
    assert (ticker["last"], ticker["lastSz"]) == (trades[0]["px"], trades[0]["sz"])
    assert [ticker["bidPx"], ticker["bidSz"]] == book["bids"][0][:2]
    assert float(ticker["vol24h"]) == pytest.approx(sum(float(t["sz"]) for t in trades), abs=1e-9)
    assert float(ticker["high24h"]) == max(float(t["px"]) for t in trades)
    simulator.advance(5)
    assert 5 < len(pushes(client.drain(), "tickers")) <= 50


def test_slow_channels(simulator: Simulator[OkxVenue], client: Client) -> None:
    """Mark price, open interest and funding come at once and then at their own pace."""
    keys = [(channel, "BTC-USDT-SWAP") for channel in ("mark-price", "open-interest", "funding-rate")]
    messages = client.subscribe(*keys)
    assert [len(pushes(messages, channel)) for channel, _ in keys] == [1, 1, 1]
    simulator.advance(60)
    messages = client.drain()
    assert [len(pushes(messages, channel)) for channel, _ in keys] == [60, 20, 2]
