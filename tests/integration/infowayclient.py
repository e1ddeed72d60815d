"""A simulated Infoway and a reader of it, for its tests.

Time is the tests': the venue moves only by `advance`, and everything it had to say has been written when that returns;
a WebSocket ping and its pong mark the end of what came, as the venue itself answers no heartbeat.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import httpx
import websocket

from recorder.simulator.clock import ManualClock
from recorder.simulator.infoway.listings import LISTINGS
from recorder.simulator.infoway.venue import NO_LIMITS, InfowayVenue, Rules
from recorder.simulator.market import Market
from recorder.simulator.server import Simulator
from tests.integration.socketclient import SocketClient

BTC, ETH, OIL, GOLD, APPLE, TENCENT = "BTCUSDT", "ETHUSDT", "USOIL", "XAUUSD", "AAPL.US", "00700.HK"
KEY = "k1"
Venue = Simulator[InfowayVenue]
Message = dict[str, Any]


class Client(SocketClient):
    """A reader of one business, over websocket-client."""

    def __init__(
        self, simulator: Simulator[Any], business: str = "crypto", *, key: str = KEY, timeout: float = 10.0
    ) -> None:
        super().__init__(f"{simulator.ws_url}/ws?business={business}&apikey={key}", timeout)
        self._traces = count(1)

    def ask(self, code: int, data: object = None, **more: object) -> str:
        """Send a request and return its trace."""
        trace = f"t{next(self._traces)}"
        self.ws.send(json.dumps({"code": code, "trace": trace, **({} if data is None else {"data": data}), **more}))
        return trace

    def texts(self) -> list[str]:
        """Everything that came until now."""
        self.ws.ping("mark")
        found: list[str] = []
        while True:
            opcode, data = self.ws.recv_data(control_frame=True)
            if opcode == websocket.ABNF.OPCODE_PONG:
                return found
            found.append(data.decode())

    def drain(self) -> list[Message]:
        """The same, as JSON."""
        return [json.loads(text) for text in self.texts()]

    def subscribe(self, code: int, data: object) -> list[Message]:
        """Subscribe, and what came then without what came before."""
        self.texts()
        self.ask(code, data)
        return self.drain()

    def last_words(self) -> list[str]:
        """Everything up to the close frame, and its code as the last one."""
        found: list[str] = []
        while True:
            opcode, data = self.ws.recv_data(control_frame=True)
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return [*found, str(int.from_bytes(data[:2], "big"))]
            found.append(data.decode())


@contextmanager
def venue(
    rate: float = 50.0, rules: Rules = NO_LIMITS, keys: Collection[str] = (), symbols: Collection[str] = ()
) -> Iterator[Venue]:
    """A venue on the test's clock, with so many trades a second on each instrument (of these symbols, if time is to
    pass in minutes)."""
    clock = ManualClock()
    listings = [one for one in LISTINGS if not symbols or one.symbol in symbols]
    market = Market(listings, clock.wall_us(), rate=rate, each=True, depth=12)
    with Simulator(InfowayVenue(market, rules=rules, clock=clock, keys=keys)) as one:
        yield one


def codes(*symbols: str, **more: object) -> Message:
    """The data of a request about these symbols."""
    return {"codes": ",".join(symbols), **more}


def klines(**wanted: str) -> Message:
    """The data of a request for bars: t1="A,B" is type 1 of A and B."""
    return {"arr": [{"type": int(name[1:]), "codes": symbols} for name, symbols in wanted.items()]}


def pushes(messages: list[Message], code: int, symbol: str = "") -> list[Message]:
    """The data of the pushes with this code (of this symbol)."""
    return [m["data"] for m in messages if m["code"] == code and symbol in ("", m["data"]["s"])]


def rest(simulator: Simulator[Any], path: str, body: object = None, *, key: str = KEY) -> httpx.Response:
    """A REST answer; with a body the request is a POST."""
    url, headers = simulator.http_url + path, {"apiKey": key} if key else {}
    return httpx.post(url, json=body, headers=headers) if body is not None else httpx.get(url, headers=headers)


def data(simulator: Simulator[Any], path: str, body: object = None) -> Any:
    """The data of a REST answer that went well."""
    answer = rest(simulator, path, body).json()
    assert (answer["ret"], answer["msg"]) == (200, "success"), answer
    return answer["data"]
