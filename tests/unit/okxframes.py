"""OKX messages made by hand, and what they decode to.

Owns the helpers of the OKX tests; states no rule itself.
"""

from __future__ import annotations

import json
from typing import Any

from recorder.records import Burst, Decoded, Header, Kind, Streams
from recorder.venues.okx import venue
from tests import copytext

NOW = 1_700_000_000_123_456
TS = "1699999999123"
BTC = {"instId": "BTC-USDT"}


def decode(*frames: bytes | dict[str, Any], kind: Kind = Kind.TEXT) -> Decoded:
    """Frames as one burst, numbered from 0."""
    header = Header("", "okx/public/0", "okx", "okx", "/ws/v5/public", {}, run="1-00000000", run_ordinal=1)
    raw = [frame if isinstance(frame, bytes) else encoded(frame) for frame in frames]
    return venue.decoder(header, Streams()).decode(Burst(0, NOW, kind, raw))


def encoded(message: object) -> bytes:
    """A message as the venue spells it."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()


def push(channel: str, *data: object, arg: dict[str, str] | None = None, **more: object) -> dict[str, Any]:
    """A data message."""
    return {"arg": {"channel": channel, **(BTC if arg is None else arg)}, **more, "data": list(data)}


def trade(**fields: object) -> dict[str, object]:
    """An element of `trades`."""
    return {"tradeId": "100", "px": "1.5", "sz": "2", "side": "buy", "ts": TS, "count": "3", "seqId": 7, **fields}


def book(bids: object = (), asks: object = (), **fields: object) -> dict[str, object]:
    """An element of a book channel."""
    return {"asks": list(asks), "bids": list(bids), "ts": TS, **fields}  # type: ignore[call-overload]


def rows(decoded: Decoded, table: str) -> list[copytext.Row]:
    """The rows of a table."""
    return copytext.rows(table, decoded.tables[table].data) if table in decoded.tables else []


def row(table: str, message: dict[str, Any]) -> copytext.Row:
    """The only row of a message, which must be all that it becomes."""
    decoded = decode(message)
    assert (decoded.poison, decoded.events, list(decoded.tables)) == ([], [], [table])
    (found,) = rows(decoded, table)
    return found


def poison(*frames: bytes | dict[str, Any]) -> list[tuple[int, str]]:
    """What was set aside, and why."""
    return [(each.frame, each.reason) for each in decode(*frames).poison]


def bar(ts: str = TS, *more: str) -> list[str]:
    """A candle of seven fields, and what comes after them."""
    return [ts, "1", "4", "0.5", "3", "10", "20", *more]


def levels(*prices: str) -> list[list[str]]:
    """A side."""
    return [[price, "1", "0", "2"] for price in prices]


def sides(found: copytext.Row) -> list[list[str]]:
    """The prices of both sides, as spelled."""
    return [[f"{level[0]:f}" for level in found[side]] for side in ("bids", "asks")]  # type: ignore[union-attr]
