"""The simulated venue's REST endpoints and limits."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest
import websocket

from recorder.simulator.clock import ManualClock
from recorder.simulator.market import Market
from recorder.simulator.okx.venue import LISTINGS, OkxVenue, Rules
from recorder.simulator.server import Simulator
from tests.integration.simulated import BTC, Client, rest, venue


@pytest.fixture
def simulator() -> Iterator[Simulator[OkxVenue]]:
    """A venue with 50 trades a second."""
    with venue() as one:
        yield one


# --- REST ----------------------------------------------------------------------------------------------------------


def test_history_walks_back_to_the_first_trade(simulator: Simulator[OkxVenue]) -> None:
    """Paging with `after` gives every id once, newest first, 100 a page; `before` alone gives the newest page."""
    simulator.advance(60)
    page = rest(simulator, "market/history-trades", instId=BTC, limit=1_000)
    newest = [int(row["tradeId"]) for row in page]
    ids: list[int] = []
    while page:
        assert len(page) <= 100
        ids += [int(row["tradeId"]) for row in page]
        page = rest(simulator, "market/history-trades", instId=BTC, after=ids[-1])
    assert ids == list(range(ids[0], 0, -1))
    assert ids[0] > 600
    known = rest(simulator, "market/history-trades", instId=BTC, before=3)
    assert [int(row["tradeId"]) for row in known] == newest
    old = rest(simulator, "market/history-trades", instId=BTC, type=2, after=page_ts(simulator, 50))
    assert int(old[0]["tradeId"]) < 50


def page_ts(simulator: Simulator[OkxVenue], trade_id: int) -> str:
    """The time of a trade."""
    (row, *_) = rest(simulator, "market/history-trades", instId=BTC, after=trade_id + 1, limit=1)
    return str(row["ts"])


def test_candles_are_paged(simulator: Simulator[OkxVenue]) -> None:
    """Candles come newest first within their limit; `after` asks for older, `before` for newer ones, exclusively."""
    simulator.advance(600)
    rows = rest(simulator, "market/history-candles", instId=BTC, bar="1m")
    times = [int(row[0]) for row in rows]
    assert all(a - b == 60_000 for a, b in pairwise(times))
    assert len(times) >= 10
    older = rest(simulator, "market/candles", instId=BTC, bar="1m", after=times[2], limit=2)
    assert [int(row[0]) for row in older] == times[3:5]
    newer = rest(simulator, "market/candles", instId=BTC, bar="1m", before=times[2])
    assert [int(row[0]) for row in newer] == times[:2]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("market/trades", 400, "50014"),
        ("market/trades?instId=NO-SUCH", 200, "51001"),
        ("market/trades?instId=BTC-USDT&limit=many", 400, "51000"),
        ("market/candles?instId=BTC-USDT&bar=7m", 400, "51000"),
        ("market/books?instId=BTC-USDT&sz=401", 400, "51000"),
        ("public/instruments", 400, "50014"),
        ("market/nonsense", 404, "404"),
    ],
)
def test_rest_errors(simulator: Simulator[OkxVenue], path: str, status: int, code: str) -> None:
    """A request that cannot be answered gets an envelope with a code."""
    answer = httpx.get(f"{simulator.http_url}/api/v5/{path}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_instruments_and_time(simulator: Simulator[OkxVenue]) -> None:
    """Instruments by kind with tick and lot, and the venue's clock."""
    spot = {row["instId"]: row for row in rest(simulator, "public/instruments", instType="SPOT")}
    assert set(spot) == {one.symbol for one in LISTINGS if one.kind == "SPOT"}
    assert (spot[BTC]["tickSz"], spot[BTC]["lotSz"], spot[BTC]["baseCcy"]) == ("0.1", "0.00000001", "BTC")
    (swap,) = rest(simulator, "public/instruments", instType="SWAP", instId="BTC-USDT-SWAP")
    assert (swap["ctVal"], swap["ctValCcy"], swap["settleCcy"]) == ("0.01", "BTC", "USDT")
    (now,) = rest(simulator, "public/time")
    assert int(now["ts"]) == simulator.venue.clock.wall_us() // 1000
    (deep,) = rest(simulator, "market/books-full", instId=BTC, sz=5_000)
    assert len(deep["bids"]) == 400
    assert {len(row) for row in deep["asks"]} == {3}


# --- rules ---------------------------------------------------------------------------------------------------------


def limited(**rules: Any) -> Simulator[OkxVenue]:
    clock = ManualClock()
    market = Market(LISTINGS[:1], clock.wall_us(), rate=0, depth=5)
    return Simulator(OkxVenue(market, rules=Rules(**rules), clock=clock))


def test_idle_connections_are_closed() -> None:
    """After 30 s without data or heartbeat a connection is closed with 4004; a heartbeat keeps it."""
    with limited() as simulator:
        idle, alive = Client(simulator), Client(simulator)
        with idle, alive:
            simulator.advance(20)
            assert alive.drain() == []
            simulator.advance(20)
            assert idle.closing() == 4004
            assert alive.drain() == []


def test_operations_are_counted_by_the_hour() -> None:
    """The 481st request within an hour is refused, the connection stays, and an hour later it may ask again."""
    with limited(idle_seconds=0) as simulator:
        client = Client(simulator)
        with client:
            for _ in range(481):
                client.ask("unsubscribe", ("trades", BTC))
            events = [m["event"] for m in client.drain()]
            assert events == ["unsubscribe"] * 480 + ["error"]
            simulator.advance(3_600)
            client.ask("unsubscribe", ("trades", BTC))
            assert [m["event"] for m in client.drain()] == ["unsubscribe"]


def test_three_connections_a_second() -> None:
    """The fourth handshake within a second is refused with 429."""
    with limited() as simulator:
        for _ in range(3):
            with Client(simulator):
                pass
        with pytest.raises(websocket.WebSocketBadStatusException, match="429"):
            Client(simulator)
        simulator.advance(1)
        with Client(simulator) as client:
            assert client.drain() == []


def test_large_requests_end_the_connection() -> None:
    """Arguments of 64 KB are served, one byte more closes with 1009."""
    with limited() as simulator:
        client = Client(simulator)
        with client:
            for size in (64 << 10, (64 << 10) + 1):
                padding = "x" * (size - len('[{"channel":"c","instId":""}]'))
                client.ws.send(f'{{"op":"unsubscribe","args":[{{"channel":"c","instId":"{padding}"}}]}}')
                if size == 64 << 10:
                    assert [m["event"] for m in client.drain()] == ["unsubscribe"]
            assert client.closing() == 1009


def test_rest_has_limits() -> None:
    """The 21st request for history within two seconds is refused with 429 and the venue's code."""
    with limited() as simulator, httpx.Client() as http:
        url = f"{simulator.http_url}/api/v5/market/history-trades?instId={BTC}"
        answers = [http.get(url) for _ in range(21)]
        assert [a.status_code for a in answers] == [200] * 20 + [429]
        assert answers[-1].json()["code"] == "50011"
        simulator.advance(2)
        assert http.get(url).status_code == 200


def test_unknown_paths_are_refused(simulator: Simulator[OkxVenue]) -> None:
    """No WebSocket elsewhere than on the venue's paths."""
    with pytest.raises(websocket.WebSocketBadStatusException, match="404"):
        Client(simulator, "/ws/v5/other")
