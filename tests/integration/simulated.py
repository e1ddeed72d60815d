"""A simulated venue and a reader of it, for the tests of the simulator.

Time is the tests': a venue on a `ManualClock` moves only by `advance`, and everything it had to say has been written
when that returns; `ping` and its `pong` then mark the end of what came.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import websocket

from recorder.simulator.clock import ManualClock
from recorder.simulator.market import Market
from recorder.simulator.okx.listings import dated
from recorder.simulator.okx.venue import LISTINGS, NO_LIMITS, PUBLIC, OkxVenue
from recorder.simulator.server import Simulator
from tests.integration.socketclient import SocketClient

BTC = "BTC-USDT"


class Client(SocketClient):
    """A reader of the venue, over websocket-client."""

    def __init__(self, simulator: Simulator[Any], path: str = PUBLIC, *, timeout: float = 10.0) -> None:
        super().__init__(simulator.ws_url + path, timeout, simulator.ca_file)

    def ask(self, op: str, *keys: tuple[str, str], **more: str) -> None:
        """Send a request."""
        args = [{"channel": channel, "instId": symbol} for channel, symbol in keys]
        self.ws.send(json.dumps({"op": op, "args": args, **more}))

    def request(self, op: str, *args: dict[str, str]) -> list[dict[str, Any]]:
        """Send a request with any arguments, and what came then."""
        self.ws.send(json.dumps({"op": op, "args": args}))
        return self.drain()

    def drain(self) -> list[dict[str, Any]]:
        """Everything that came until now."""
        self.ws.send("ping")
        return [json.loads(text) for text in iter(self.ws.recv, "pong")]

    def subscribe(self, *keys: tuple[str, str]) -> list[dict[str, Any]]:
        """Subscribe, and what came then."""
        self.ask("subscribe", *keys)
        return self.drain()

    def closing(self) -> int:
        """The code of the close frame that comes next."""
        while True:
            opcode, data = self.ws.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return int.from_bytes(data[:2], "big")


@contextmanager
def venue(rate: float = 50.0) -> Iterator[Simulator[OkxVenue]]:
    """A venue with so many trades a second, on the test's clock, without limits."""
    clock = ManualClock()
    with Simulator(OkxVenue(Market(LISTINGS, clock.wall_us(), rate=rate), rules=NO_LIMITS, clock=clock)) as one:
        yield one


@contextmanager
def whole(rate: float = 200.0) -> Iterator[Simulator[OkxVenue]]:
    """The same with a future and two options."""
    clock = ManualClock()
    listings = (*LISTINGS, *dated(clock.wall_us() // 1000))
    with Simulator(OkxVenue(Market(listings, clock.wall_us(), rate=rate), rules=NO_LIMITS, clock=clock)) as one:
        yield one


def pushes(messages: list[dict[str, Any]], channel: str) -> list[dict[str, Any]]:
    """The data messages of a channel."""
    return [m for m in messages if "event" not in m and m["arg"]["channel"] == channel]


def rest(simulator: Simulator[Any], path: str, **query: object) -> list[Any]:
    """The data of a REST answer."""
    answer = httpx.get(f"{simulator.http_url}/api/v5/{path}", params={k: str(v) for k, v in query.items()}).json()
    assert answer["code"] == "0", answer
    data: list[Any] = answer["data"]
    return data
