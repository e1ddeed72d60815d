"""Infoway messages made by hand, and what they decode to.

Owns the helpers of the Infoway tests; states no rule itself.
"""

from __future__ import annotations

import json
from typing import Any

from recorder.config import Secret, Source, Subscribe
from recorder.records import Burst, Decoded, Header, Kind, Streams
from recorder.venues.infoway import venue
from tests import copytext

NOW = 1_700_000_000_123_456
MS = 1_699_999_999_123
SECONDS = "1699999980"
KEY = "sesame-open-1234"


def decode(*frames: bytes | dict[str, Any], kind: Kind = Kind.TEXT) -> Decoded:
    """Frames as one burst, numbered from 0."""
    header = Header("", "infoway/crypto/0", "infoway", "infoway", "/ws", {}, run="1-00000000", run_ordinal=1)
    return venue.decoder(header, Streams()).decode(Burst(0, NOW, kind, [encoded(frame) for frame in frames]))


def encoded(message: bytes | dict[str, Any]) -> bytes:
    """A message as the venue spells it."""
    if isinstance(message, bytes):
        return message
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()


def trade(**fields: object) -> dict[str, Any]:
    """A trade; a field that is None is left out."""
    data = {"p": "63039.10", "s": "BTCUSDT", "t": MS, "td": 1, "v": "0.07933", "vw": "5000.88387", **fields}
    return {"code": 10002, "data": {name: value for name, value in data.items() if value is not None}}


def depth(bids: object, asks: object, **fields: object) -> dict[str, Any]:
    """A book, its sides in columns."""
    return {"code": 10005, "data": {"a": asks, "b": bids, "s": "BTCUSDT", "t": MS, **fields}}


def kline(**fields: object) -> dict[str, Any]:
    """A kline of a minute."""
    prices = {"c": "3.5", "h": "4", "l": "1", "o": "2", "pca": "-9.0", "pfr": "-0.01%"}
    data = {**prices, "s": "BTCUSDT", "t": SECONDS, "ty": 1, "v": "19.9", "vw": "60.5", **fields}
    return {"code": 10008, "data": data}


def rows(decoded: Decoded, table: str) -> list[copytext.Row]:
    """The rows of a table."""
    return copytext.rows(table, decoded.tables[table].data) if table in decoded.tables else []


def row(table: str, message: bytes | dict[str, Any]) -> copytext.Row:
    """The only row of a message, which must be all that it becomes."""
    decoded = decode(message)
    assert (decoded.poison, decoded.events, list(decoded.tables)) == ([], [], [table])
    (found,) = rows(decoded, table)
    return found


def poison(*frames: bytes | dict[str, Any]) -> list[tuple[int, str]]:
    """What was set aside, and why."""
    return [(each.frame, each.reason) for each in decode(*frames).poison]


def source(
    channels: tuple[str, ...] = ("trade",),
    symbols: tuple[str, ...] = ("BTCUSDT",),
    business: str = "crypto",
    **limits: int,
) -> Source:
    """A source of this venue."""
    options = {"business": business, "api_key": Secret(KEY)}
    return Source(
        name="infoway",
        venue="infoway",
        endpoints=venue.endpoints,
        rest=venue.rest,
        options=options,
        subscribe=(Subscribe(channels=channels, symbols=symbols),),
        limits=limits,
    )
