"""A reader of the simulated OKEx v3, for its tests: it inflates every frame by itself, and keeps what came.

A venue on a `ManualClock` moves only by `advance`, and everything it had to say has been written when that returns;
`ping` and its `pong` then mark the end of what came.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import websocket

from recorder.simulator.clock import ManualClock
from recorder.simulator.market import Market
from recorder.simulator.okex_v3.listings import listings
from recorder.simulator.okex_v3.venue import NO_LIMITS, PATH, OkexV3Venue, Rules
from recorder.simulator.server import Simulator
from tests.integration.socketclient import SocketClient

BTC = "BTC-USDT"
BINARY, CLOSE = websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_CLOSE


def inflate(data: bytes) -> bytes:
    """The message in a frame: one whole stream, and nothing after it."""
    stream = zlib.decompressobj(-15)
    message = stream.decompress(data) + stream.flush()
    if not stream.eof or stream.unused_data:
        raise zlib.error("not one whole stream")
    return message


class Client(SocketClient):
    """A reader of the venue, over websocket-client. `raw`: the frames of the last `drain`."""

    def __init__(self, simulator: Any) -> None:
        super().__init__(simulator.ws_url + PATH)
        self.raw: list[bytes] = []

    def ask(self, op: str, *args: str) -> None:
        """Send a request."""
        self.ws.send(json.dumps({"op": op, "args": args}))

    def frame(self) -> bytes:
        """The next frame, which must be binary."""
        opcode, data = self.ws.recv_data()
        assert opcode == BINARY, (opcode, data)
        return bytes(data)

    def texts(self) -> list[str]:
        """Everything that came until now, inflated."""
        self.ws.send("ping")
        self.raw = list(iter(self.frame, PONG))
        return [inflate(data).decode() for data in self.raw]

    def drain(self) -> list[dict[str, Any]]:
        """The same as JSON."""
        return [json.loads(text) for text in self.texts()]

    def subscribe(self, *args: str) -> list[dict[str, Any]]:
        """Subscribe, and what came then."""
        self.ask("subscribe", *args)
        return self.drain()

    def login(self, timestamp: str, *, key: str = "demo", secret: str = "demo-secret", word: str = "") -> None:
        """Send a login that is signed by the rule as it is published."""
        prehash = f"{timestamp}GET/users/self/verify".encode()
        signature = base64.b64encode(hmac.new(secret.encode(), prehash, hashlib.sha256).digest()).decode()
        self.ask("login", key, word or "demo-passphrase", timestamp, signature)

    def closing(self) -> tuple[list[dict[str, Any]], int]:
        """What came before the close frame, and its code."""
        messages: list[dict[str, Any]] = []
        while True:
            opcode, data = self.ws.recv_data()
            if opcode == CLOSE:
                return messages, int.from_bytes(data[:2], "big")
            messages.append(json.loads(inflate(data)))


class Reader:
    """A book as the documents say it is to be kept, and its checksum by a rule written down once more."""

    def __init__(self) -> None:
        self.sides: dict[str, dict[float, list[Any]]] = {}
        self.taken = 0

    def take(self, message: dict[str, Any]) -> bool:
        """Whether the checksum of what the book has become is the one that was sent."""
        (data,) = message["data"]
        assert list(message) == ["table", "action", "data"]
        assert list(data) == ["instrument_id", "asks", "bids", "timestamp", "checksum"]
        if message["action"] == "partial":
            self.sides = {"bids": {}, "asks": {}}
        for name, side in self.sides.items():
            for level in data[name]:
                side[float(level[0])] = level
                if level[1] == "0":
                    del side[float(level[0])]
        self.taken += 1
        return bool(self.checksum() == data["checksum"])

    def checksum(self) -> int:
        """CRC32 as a signed number of at most 25 bids and asks in turn."""
        bids = [level[:2] for _, level in sorted(self.sides["bids"].items(), reverse=True)][:25]
        asks = [level[:2] for _, level in sorted(self.sides["asks"].items())][:25]
        parts: list[str] = []
        for n in range(25):
            for side in (bids, asks):
                parts += side[n] if n < len(side) else []
        found = zlib.crc32(":".join(parts).encode())
        return found - 2**32 if found >= 2**31 else found


def _pong() -> bytes:
    stream = zlib.compressobj(1, zlib.DEFLATED, -15)
    return stream.compress(b"pong") + stream.flush()


PONG = _pong()


@contextmanager
def venue(rate: float = 100.0, rules: Rules = NO_LIMITS, *, delivery: float = 0.0) -> Iterator[Simulator[OkexV3Venue]]:
    """A venue with so many trades a second on the test's clock. `delivery`: what expires does so in so many seconds."""
    clock = ManualClock()
    now = clock.wall_us() // 1000
    listed = listings(now)
    if delivery:
        listed = tuple(replace(one, expires=now + int(delivery * 1000)) if one.expires else one for one in listed)
    with Simulator(OkexV3Venue(Market(listed, clock.wall_us(), rate=rate), rules=rules, clock=clock)) as one:
        yield one


def names(simulator: Simulator[OkexV3Venue], kind: str) -> list[str]:
    """The instruments of a kind."""
    listed = simulator.venue.market.instruments.values()
    return [one.listing.symbol for one in listed if one.listing.kind == kind]


def rows(messages: list[dict[str, Any]], table: str) -> list[dict[str, Any]]:
    """The rows of a table's pushes, which have one each."""
    found = [m["data"] for m in messages if m.get("table") == table]
    assert all(len(data) == 1 for data in found)
    return [data[0] for data in found]
