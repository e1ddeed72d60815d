"""A simulated OKEx v1 and a reader of it, for its tests: websocket-client and zlib, nothing of ours.

Time is the tests': the venue moves only by `advance`, and everything it had to say has been written when that returns;
`ping` and its `pong` then mark the end of what came.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import websocket

from recorder.simulator.clock import ManualClock
from recorder.simulator.market import Market
from recorder.simulator.okex_v1.listings import DEPTH, LISTINGS
from recorder.simulator.okex_v1.venue import NO_LIMITS, OkexV1Venue, Rules
from recorder.simulator.server import Simulator
from tests.integration.socketclient import SocketClient

PACKED, SPOT, FUTURES, OKCOIN = "/ws/v1", "/websocket", "/websocket/okexapi", "/websocket/okcoinapi"
THURSDAY = 1_750_300_000_000_000  # 2025-06-19 02:26:40 UTC
MIDNIGHT = 1_750_348_800_000_000  # 2025-06-20 00:00:00 in China
Venue = Simulator[OkexV1Venue]
Message = dict[str, Any]


def inflated(opcode: int, data: bytes) -> str:
    """A frame as text, whichever kind it is."""
    return (zlib.decompress(data, -15) if opcode == websocket.ABNF.OPCODE_BINARY else data).decode()


class Client(SocketClient):
    """A reader of one path."""

    def __init__(self, simulator: Simulator[Any], path: str = PACKED, *, timeout: float = 10.0) -> None:
        super().__init__(simulator.ws_url + path, timeout)

    def ask(self, *requests: Mapping[str, object]) -> None:
        """Send a request, or several in a batch."""
        self.ws.send(json.dumps(requests if len(requests) > 1 else requests[0]))

    def frames(self) -> list[tuple[int, str]]:
        """Opcode and text of everything that came until now."""
        self.ws.send('{"event":"ping"}')
        found: list[tuple[int, str]] = []
        while True:
            opcode, data = self.ws.recv_data()
            text = inflated(opcode, data)
            if text == '{"event":"pong"}':
                return found
            found.append((opcode, text))

    def texts(self) -> list[str]:
        """The same without the opcodes."""
        return [text for _, text in self.frames()]

    def drain(self) -> list[Message]:
        """The messages, out of their arrays."""
        return [one for text in self.texts() for one in json.loads(text)]

    def add(self, *names: str, **more: object) -> list[Message]:
        """Subscribe one by one, and what came then without what came before."""
        self.texts()
        for name in names:
            self.ask({"event": "addChannel", "channel": name, **more})
        return self.drain()

    def closing(self) -> tuple[list[str], int]:
        """Everything up to the close frame, and its code."""
        found: list[str] = []
        while True:
            opcode, data = self.ws.recv_data(control_frame=True)
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return found, int.from_bytes(data[:2], "big")
            found.append(inflated(opcode, data))

    def ended(self) -> bool:
        """Whether the connection ends without a close frame."""
        try:
            while True:
                self.ws.recv_data()
        except websocket.WebSocketConnectionClosedException:
            return True


@contextmanager
def venue(
    rate: float = 50.0, *, rules: Rules = NO_LIMITS, start_us: int = THURSDAY, symbols: tuple[str, ...] = ()
) -> Iterator[Venue]:
    """A venue on the test's clock, with so many trades a second on each instrument (of these)."""
    clock = ManualClock(start_us)
    listings = [one for one in LISTINGS if not symbols or one.symbol in symbols]
    market = Market(listings, clock.wall_us(), rate=rate, each=True, depth=DEPTH)
    with Simulator(OkexV1Venue(market, rules=rules, clock=clock)) as one:
        yield one


def pushes(messages: list[Message], channel: str) -> list[Any]:
    """The data of a channel's pushes."""
    return [m["data"] for m in messages if m["channel"] == channel]


def signed(parameters: Mapping[str, str], secret: str) -> dict[str, str]:
    """Parameters with their signature, by the documents' words."""
    text = "&".join(f"{k}={parameters[k]}" for k in sorted(parameters)) + f"&secret_key={secret}"
    return {**parameters, "sign": hashlib.md5(text.encode(), usedforsecurity=False).hexdigest().upper()}
