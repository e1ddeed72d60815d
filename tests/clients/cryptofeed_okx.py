"""cryptofeed's OKX feed as its users use it: prints what its callbacks are given.

Runs in an environment of its own (tests/foreign.py). First argument: JSON {"ws", "rest", "subscription"}. Only the
addresses are ours; that the library asks for every channel on every connection, and for candles on the wrong one
first, is its own way. A book is printed as its number and a CRC32 of all its levels. Ends with standard input.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from typing import Any
from zlib import crc32

from cryptofeed import FeedHandler
from cryptofeed.connection import RestEndpoint, WebsocketEndpoint
from cryptofeed.exchanges import OKX

ORDER = json.loads(sys.argv[1])
PUBLIC = tuple(name for name in OKX.websocket_channels.values() if name not in ("candle", "orders"))


class Here(OKX):  # type: ignore[misc]
    """OKX at another address; candles are where they have been since 2023."""

    websocket_endpoints = [  # noqa: RUF012
        WebsocketEndpoint(f"{ORDER['ws']}/ws/v5/public", channel_filter=PUBLIC, options={"compression": None}),
        WebsocketEndpoint(f"{ORDER['ws']}/ws/v5/business", channel_filter=("candle",), options={"compression": None}),
    ]
    rest_endpoints = [RestEndpoint(ORDER["rest"], routes=OKX.rest_endpoints[0].routes)]  # noqa: RUF012


def said(kind: str, **what: Any) -> None:
    """One line of what we print; decimals in full, never as 1.3E-7."""
    print(json.dumps({"kind": kind, **what}, default="{:f}".format), flush=True)


async def book(one: Any, received: float) -> None:
    """A book was rebuilt."""
    sides = ([(price, levels[price]) for price in levels] for levels in (one.book.bids, one.book.asks))
    text = "|".join(",".join(f"{price:f}:{size:f}" for price, size in side) for side in sides)
    (data,), symbol = one.raw["data"], one.raw["arg"]["instId"]
    said("book", symbol=symbol, seq=data["seqId"], crc=crc32(text.encode()), levels=len(one.book.bids))


async def trade(one: Any, received: float) -> None:
    """A trade was reported."""
    raw = {name: one.raw[name] for name in ("count", "ts")}
    said("trade", symbol=one.raw["instId"], id=one.id, price=one.price, size=one.amount, side=one.side, **raw)


def simple(kind: str) -> Any:
    """A callback that says what it was called for."""

    async def called(one: Any, received: float) -> None:
        said(kind, symbol=str(one.symbol), raw=one.raw)

    return called


def main() -> None:
    """Until standard input ends."""
    handler = FeedHandler({"log": {"filename": os.devnull, "level": "WARNING"}, "uvloop": True})
    asyncio.set_event_loop(asyncio.new_event_loop())
    callbacks = {kind: simple(kind) for kind in ORDER["subscription"]} | {"trades": trade, "l2_book": book}
    feed = Here(
        subscription=ORDER["subscription"],
        callbacks=callbacks,
        checksum_validation=ORDER["checksum"],
        retries=-1,
    )
    handler.add_feed(feed)

    def end() -> None:
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end, daemon=True).start()
    handler.run()


if __name__ == "__main__":
    main()
