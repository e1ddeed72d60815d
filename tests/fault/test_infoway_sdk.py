"""The vendor's own client against the simulated venue: what it reports is what was sent, message by message, through a
connection that is cut. Four seconds by default, two minutes with RECORDER_LONG=1."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from infoway import InfowayClient
from infoway.exceptions import InfowayAPIError, InfowayAuthError
from infoway.ws.client import InfowayWebSocket

from recorder.simulator import faults
from recorder.simulator.clock import SystemClock
from recorder.simulator.infoway import commands as commands
from recorder.simulator.infoway.oracle import numbered
from recorder.simulator.infoway.venue import UNKNOWN_KEY, InfowayVenue
from recorder.simulator.oracle import Connected, extend, trade_of
from recorder.simulator.server import Simulator

LONG = os.environ.get("RECORDER_LONG") == "1"
SECONDS = 120.0 if LONG else 4.0
RATE = 200.0
BTC, ETH = "BTCUSDT", "ETHUSDT"
PUSHES = {10002: "trades", 10005: "depth", 10008: "klines"}

Venue = Simulator[InfowayVenue]


@pytest.fixture
def simulator() -> Iterator[Venue]:
    """200 numbered trades a second on each of two symbols, with the limits of a plan; every message is kept."""
    clock = SystemClock()
    market = numbered([BTC, ETH], clock.wall_us(), rate=RATE)
    with Simulator(InfowayVenue(market, clock=clock, journal=True)) as one:
        yield one


@dataclass
class Heard:
    """What the client called back with, in order."""

    trades: list[dict[str, Any]] = field(default_factory=list)
    depth: list[dict[str, Any]] = field(default_factory=list)
    klines: list[dict[str, Any]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    reconnected: int = 0

    def __len__(self) -> int:
        return len(self.trades) + len(self.depth) + len(self.klines)

    def listen(self, ws: InfowayWebSocket) -> None:
        """Have the client call back here."""

        def keep(into: list[Any]) -> Callable[[Any], Any]:
            async def call(value: Any) -> None:
                into.append(value)

            return call

        async def again() -> None:
            self.reconnected += 1

        ws.on_trade, ws.on_depth, ws.on_kline = keep(self.trades), keep(self.depth), keep(self.klines)
        ws.on_error, ws.on_reconnect = keep(self.errors), again


def client(simulator: Venue, key: str = "k") -> InfowayWebSocket:
    """The unmodified client; only its address is ours."""
    return InfowayWebSocket(api_key=key, business="crypto", base_url=f"{simulator.ws_url}/ws")


async def until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Wait for a condition, not longer than so."""
    end = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < end, f"not in {seconds:g} s: {what}"
        await asyncio.sleep(0.01)


def sent(simulator: Venue) -> list[dict[str, Any]]:
    """Every message that went out, over all connections in their order."""
    return simulator.call(lambda: [json.loads(text) for one in simulator.venue.journals.values() for text in one])


async def session(simulator: Venue) -> Heard:
    """Subscribe to everything, lose the connection in the middle, and end when all that was sent has come."""
    heard, ws = Heard(), client(simulator)
    heard.listen(ws)
    await ws.subscribe_trade([BTC, ETH])
    await ws.subscribe_depth(BTC)
    await ws.subscribe_kline([BTC, ETH], 1)
    await ws.subscribe_kline(BTC, 8)
    running = asyncio.create_task(ws.connect())
    try:
        await until(lambda: len(heard) > 0, "the first message")
        await asyncio.sleep(SECONDS / 2)
        assert simulator.fault(faults.Drop()) == 1
        await until(lambda: heard.reconnected == 1, "connected again")
        await asyncio.sleep(SECONDS / 2)
        simulator.fault(faults.Silence())
        total = len(sent(simulator))
        await until(lambda: len(heard) >= total, "everything that was sent")
    finally:
        await ws.close()
        await asyncio.wait_for(running, 10)
    return heard


def pages(simulator: Venue) -> list[Connected]:
    """The ledger, connection by connection."""
    return list(simulator.call(lambda: simulator.venue.ledger()).connections.values())


def ranges(trades: list[dict[str, Any]], symbol: str) -> list[tuple[int, int]]:
    """The numbers of the trades of a symbol, whose contents must be what their number says."""
    found: list[tuple[int, int]] = []
    for row in trades:
        if row["s"] == symbol:
            number = int(row["v"])
            price, size, side = trade_of(number)
            assert (float(row["p"]), row["v"], row["td"]) == (float(price), size, 1 if side == "buy" else 2)
            extend(found, number, number)
    return found


@pytest.mark.timeout(300)
def test_the_vendors_client_reports_what_was_sent(simulator: Venue) -> None:
    """Trades, depth and bars arrive complete, unchanged and in order on both connections; the trades lacking between
    them are those that happened while there was none."""
    heard = asyncio.run(session(simulator))
    messages = sent(simulator)
    for code, name in PUSHES.items():
        want = [message["data"] for message in messages if message["code"] == code]
        assert getattr(heard, name) == want, name
        assert len(want) >= {"trades": 2 * RATE, "depth": 10, "klines": 3}[name] * (SECONDS / 4)
    first, second = pages(simulator)
    for symbol in (BTC, ETH):
        before, after = ranges(heard.trades, symbol)
        assert (first.sent[symbol], second.sent[symbol]) == ([before], [after])
        assert after[0] - before[1] > RATE / 2  # it waits a second before it comes back
    assert heard.errors == []


@pytest.mark.parametrize(("code", "terminal"), [("505", False), ("516", False), ("512", True), ("508", True)])
def test_the_vendors_client_knows_the_errors(simulator: Venue, code: str, terminal: bool) -> None:
    """Errors that the simulator can be told to send are read by the client as what they are."""

    async def run() -> list[Exception]:
        heard, ws = Heard(), client(simulator)
        heard.listen(ws)
        running = asyncio.create_task(ws.connect())
        await until(lambda: bool(simulator.call(lambda: simulator.venue.sessions)), "connected")
        simulator.fault(commands.Error(code=code))
        await until(lambda: bool(heard.errors), "the error")
        if not terminal:
            assert not running.done()
            await ws.close()
        await asyncio.wait_for(running, 10)
        return heard.errors

    (error,) = asyncio.run(run())
    assert isinstance(error, InfowayAPIError)
    assert str(error.ret) == code


def test_the_vendors_client_is_refused(simulator: Venue) -> None:
    """A bad key ends both of the vendor's clients, and not in a loop."""
    with pytest.raises(InfowayAuthError, match="401"):
        asyncio.run(client(simulator, UNKNOWN_KEY).connect())
    with (
        InfowayClient(api_key=UNKNOWN_KEY, base_url=simulator.http_url) as http,
        pytest.raises(InfowayAuthError, match="Token invalid"),
    ):
        http.crypto.get_trade(BTC)


def test_the_vendors_rest_client(simulator: Venue) -> None:
    """Every REST answer is read by the vendor's client, its own conversions included."""
    with InfowayClient(api_key="k", base_url=simulator.http_url) as http:
        assert simulator.wait(lambda venue: len(venue.pusher.last) == 2)
        last = http.crypto.get_trade(f"{BTC},{ETH}")
        assert [row["s"] for row in last] == [BTC, ETH]
        assert all(len(ranges(last, symbol)) == 1 for symbol in (BTC, ETH))
        (depth,) = http.crypto.get_depth(BTC, parse=True)
        assert len(depth["a"]) == len(depth["b"]) == 5 and depth["b"][0][0] < depth["a"][0][0]
        bars = http.crypto.get_kline(BTC, 1, 5, parse=True)
        assert bars[0]["s"] == BTC and bars[0]["turnover"] > 0
        assert [row["symbol"] for row in http.basic.get_symbols("CRYPTO", symbols=BTC)] == [BTC]
        assert http.basic.get_trading_schedule_by_type("ENERGY") == []
        assert http.basic.get_trading_days("US", "20260801", "20260807")["trade_days"][0] == "20260803"
        with pytest.raises(InfowayAPIError, match="All product not exists"):
            http.crypto.get_trade("NO")
