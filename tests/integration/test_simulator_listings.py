"""What the simulated venue lists, and what becomes of it: new instruments, openings, ends, and hundreds of them."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any

import httpx
import pytest

from recorder.simulator.clock import ManualClock
from recorder.simulator.okx import commands as okx_commands
from recorder.simulator.okx.venue import BUSINESS, NO_LIMITS, OkxVenue
from recorder.simulator.oracle import NumberedMarket, trade_of
from recorder.simulator.server import Simulator
from tests.integration.simulated import BTC, Client, pushes, rest, venue

NEW = "NEW-USDT-SWAP"


@pytest.fixture
def simulator() -> Iterator[Simulator[OkxVenue]]:
    """A venue with 50 trades a second."""
    with venue() as one:
        yield one


def listed(simulator: Simulator[OkxVenue], kind: str = "SWAP") -> dict[str, dict[str, Any]]:
    """REST's instruments of a kind by symbol."""
    return {row["instId"]: row for row in rest(simulator, "public/instruments", instType=kind)}


def test_rows_are_like_recorded_ones(simulator: Simulator[OkxVenue]) -> None:
    """Rows have the fields that the venue's have, and what does not fit a kind is empty."""
    names = (
        "alias baseCcy category ctMult ctType ctVal ctValCcy expTime instFamily instId instType lever listTime lotSz "
        "maxIcebergSz maxLmtSz maxMktSz maxStopSz maxTriggerSz maxTwapSz minSz optType quoteCcy settleCcy state stk "
        "tickSz uly"
    )
    assert all(set(row) == set(names.split()) for kind in ("SPOT", "SWAP") for row in listed(simulator, kind).values())
    spot, swap = listed(simulator, "SPOT")[BTC], listed(simulator)["BTC-USDT-SWAP"]
    assert (spot["baseCcy"], spot["quoteCcy"], spot["ctVal"], spot["instFamily"]) == ("BTC", "USDT", "", "")
    assert (swap["baseCcy"], swap["ctVal"], swap["ctType"], swap["uly"]) == ("", "0.01", "linear", "BTC-USDT")
    assert (swap["state"], swap["expTime"], swap["tickSz"], swap["lotSz"]) == ("live", "", "0.1", "0.01")


def test_a_new_instrument(simulator: Simulator[OkxVenue]) -> None:
    """What is newly listed is pushed on `instruments`, in REST, and can be subscribed at once; only its kind hears."""
    with Client(simulator) as client, Client(simulator) as spots:
        client.request("subscribe", {"channel": "instruments", "instType": "SWAP"})
        spots.request("subscribe", {"channel": "instruments", "instType": "SPOT"})
        assert client.subscribe(("trades", NEW))[0]["code"] == "60018"
        assert simulator.fault(okx_commands.List(symbol=NEW, rate=10)) == 1
        (told,) = pushes(client.drain(), "instruments")
        assert told["data"] == [listed(simulator)[NEW]]
        assert told["data"][0]["listTime"] == str(simulator.venue.clock.wall_us() // 1000)
        assert spots.drain() == []
        acks = client.subscribe(("trades", NEW), ("books", NEW), ("funding-rate", NEW))
        assert [m["event"] for m in acks if "event" in m] == ["subscribe"] * 3
        simulator.advance(2)
        messages = client.drain()
        assert pushes(messages, "trades") and pushes(messages, "books")
    with pytest.raises(ValueError, match="listed already"):
        simulator.fault(okx_commands.List(symbol=NEW))


@pytest.mark.parametrize("state", ["suspend", "expired"])
def test_an_end(simulator: Simulator[OkxVenue], state: str) -> None:
    """What is delisted is pushed with its state, says no more, and can no longer be subscribed; others go on. When
    it is listed again it begins anew."""
    gone = "ETH-USDT-SWAP"
    with Client(simulator) as client:
        client.request("subscribe", {"channel": "instruments", "instType": "SWAP"})
        client.subscribe(("trades", gone), ("books", gone), ("mark-price", gone), ("trades", BTC))
        simulator.advance(2)
        client.drain()
        simulator.fault(okx_commands.Delist(symbol=gone, state=state))
        told = pushes(client.drain(), "instruments")
        assert [(m["data"][0]["instId"], m["data"][0]["state"]) for m in told] == [(gone, state)]
        simulator.advance(2)
        messages = client.drain()
        assert {m["arg"]["instId"] for m in messages} == {BTC}
        assert client.subscribe(("books5", gone))[0]["code"] == "60018"
        assert (gone in listed(simulator)) is (state == "suspend")
        simulator.fault(okx_commands.List(symbol=gone, rate=20))
        simulator.advance(1)
        ids = [m["data"][0]["tradeId"] for m in pushes(client.drain(), "trades") if m["arg"]["instId"] == gone]
        assert ids
        assert int(ids[0]) <= 3
        assert listed(simulator)[gone]["state"] == "live"


def test_an_opening(simulator: Simulator[OkxVenue]) -> None:
    """Before it opens an instrument has a book once a second and an auction, but no trade; then it is live."""
    with Client(simulator) as client:
        client.request("subscribe", {"channel": "instruments", "instType": "SWAP"})
        simulator.fault(okx_commands.List(symbol=NEW, rate=10, opens_in=10))
        channels = ("trades", "books", "call-auction-details")
        first = client.subscribe(*((channel, NEW) for channel in channels))
        assert listed(simulator)[NEW]["state"] == "preopen"
        simulator.advance(9)
        messages = first + client.drain()
        assert not pushes(messages, "trades")
        assert 8 <= len(pushes(messages, "books")) <= 10
        auction = [m["data"][0] for m in pushes(messages, "call-auction-details")]
        assert {row["state"] for row in auction} == {"call_auction"}
        names = "instId unmatchedSz eqPx matchedSz state auctionEndTime ts"
        assert all(set(row) == set(names.split()) for row in auction)
        assert len(auction) >= 9
        simulator.advance(5)
        messages = client.drain()
        assert [m["data"][0]["state"] for m in pushes(messages, "instruments")] == ["live"]
        assert pushes(messages, "call-auction-details")[-1]["data"][0]["state"] == "continuous_trading"
        assert int(pushes(messages, "trades")[0]["data"][0]["ts"]) >= int(auction[0]["auctionEndTime"])


def test_an_index_goes_on_without_its_market(simulator: Simulator[OkxVenue]) -> None:
    """When the market that an index follows ends, the index follows another one; so after it is listed again, and
    what was subscribed before goes on then."""
    with Client(simulator) as client, Client(simulator, BUSINESS) as business:
        client.subscribe(("index-tickers", BTC), ("mark-price", BTC))
        business.subscribe(("index-candle1m", BTC))
        simulator.fault(okx_commands.Delist(symbol=BTC))
        simulator.advance(65)
        messages = client.drain()
        assert (len(pushes(messages, "index-tickers")) > 50, pushes(messages, "mark-price")) == (True, [])
        assert len(pushes(business.drain(), "index-candle1m")) > 10
        simulator.fault(okx_commands.List(symbol=BTC, rate=20))
        simulator.advance(5)
        messages = client.drain()
        assert pushes(messages, "index-tickers") and pushes(messages, "mark-price")


def test_requests_that_cannot_be(simulator: Simulator[OkxVenue]) -> None:
    """A name that is none, and a symbol or state that is not there, are refused with a reason; nothing changes."""
    before = listed(simulator)
    for order in (
        {"fault": "list", "symbol": "nonsense"},
        {"fault": "delist", "symbol": "NO-SUCH"},
        {"fault": "delist", "symbol": BTC, "state": "tired"},
        {"fault": "manners", "candle_fields": 8},
    ):
        answer = httpx.post(f"{simulator.http_url}/_control", json=order)
        assert (answer.status_code, answer.json()["ok"]) == (400, False)
        assert answer.json()["error"]
    assert listed(simulator) == before


def test_hundreds_of_perpetuals() -> None:
    """Three hundred perpetuals are listed in one request, fit a glob, and each trades at the rate asked for."""
    clock = ManualClock()
    market = NumberedMarket([BTC], clock.wall_us(), rate=10, depth=5)
    with Simulator(OkxVenue(market, rules=NO_LIMITS, clock=clock)) as simulator, Client(simulator) as client:
        assert simulator.fault(okx_commands.List(count=300, rate=2)) == 300
        symbols = [symbol for symbol in listed(simulator) if fnmatch(symbol, "*-USDT-SWAP")]
        assert len(symbols) == 300
        acks = client.subscribe(*(("trades", symbol) for symbol in symbols))
        assert [m["event"] for m in acks if "event" in m] == ["subscribe"] * 300
        simulator.advance(5)
        rows = [m["data"][0] for m in pushes(client.drain(), "trades")]
    assert all((row["px"], row["sz"], row["side"]) == trade_of(int(row["tradeId"])) for row in rows)
    seen: dict[str, list[int]] = {}
    for row in rows:
        seen.setdefault(row["instId"], []).append(int(row["tradeId"]))
    assert {tuple(ids) for ids in seen.values()} == {tuple(range(1, len(ids) + 1)) for ids in seen.values()}
    assert len(seen) == 300
    assert {len(ids) for ids in seen.values()} <= {9, 10, 11}
