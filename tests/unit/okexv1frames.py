"""OKEx v1 messages made by hand, and what they decode to.

Owns the helpers of the OKEx v1 tests; states no rule itself.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

from recorder.records import Burst, Decoded, Header, Kind, Streams
from recorder.venues.okex_v1 import venue
from tests import copytext

NOW = 1_530_343_500_123_456  # 2018-06-30 07:25:00 UTC, 15:25:00 in UTC+8
MS = 1_530_343_384_314
DAY = 86_400_000_000


def decode(*frames: bytes | object, kind: Kind = Kind.TEXT, at: int = NOW) -> Decoded:
    """Frames as one burst, numbered from 0."""
    header = Header("", "okex_v1/ws/0", "okex_v1", "okex_v1", "/ws/v1", {}, run="1-00000000", run_ordinal=1)
    encoded = [frame if isinstance(frame, bytes) else json.dumps(frame).encode() for frame in frames]
    return venue.decoder(header, Streams()).decode(Burst(0, at, kind, encoded))


def push(channel: str, data: object, **more: object) -> list[dict[str, Any]]:
    """A data message."""
    return [{"binary": 0, "channel": channel, "data": data, **more}]


def refused(channel: str, code: object = None, message: str = "no") -> list[dict[str, Any]]:
    """A failure."""
    return push(channel, {"result": False, "error_msg": message, "error_code": code})


def deals(*rows: list[str], channel: str = "ok_sub_spot_btc_usdt_deals") -> list[dict[str, Any]]:
    """Trades; each is [id, price, size, time, side]."""
    return push(channel, list(rows))


def deflated(message: object) -> bytes:
    """As `/ws/v1` sends it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(json.dumps(message).encode()) + packer.flush()


def rows(decoded: Decoded, table: str) -> list[copytext.Row]:
    """The rows of a table."""
    return copytext.rows(table, decoded.tables[table].data) if table in decoded.tables else []


def row(table: str, message: bytes | object) -> copytext.Row:
    """The only row of a message, which must be all that it becomes."""
    decoded = decode(message)
    assert (decoded.poison, decoded.events, list(decoded.tables)) == ([], [], [table])
    (found,) = rows(decoded, table)
    return found


def poison(*frames: bytes | object) -> list[tuple[int, str]]:
    """What was set aside, and why."""
    return [(each.frame, each.reason) for each in decode(*frames).poison]


def spelled(found: dict[str, Any]) -> tuple[list[list[str]], list[list[str]]]:
    """Both sides of a book, bids first, digits as sent."""
    bids, asks = ([[str(cell) for cell in level] for level in found[side]] for side in ("bids", "asks"))
    return bids, asks
