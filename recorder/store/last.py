"""What the database holds of a stream: its newest record, so that continuity can go on from it.

Owns the translation from a table's last row to what its kind of continuity needs. Never writes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from recorder.records import Stream
from recorder.store.prepare import EPOCH, LastRecord
from recorder.store.sink import Sink

# How far back to look: the index (symbol, time DESC) makes it one probe a chunk, and a year has 365 of them.
LOOK_BACK = timedelta(days=365)


def last_record(sink: Sink, table: str, stream: Stream) -> LastRecord | None:
    """The newest record of a stream in its table; None where there is none within LOOK_BACK."""
    since = datetime.now(UTC) - LOOK_BACK
    rows = sink.rows(f"last_{table}", ([stream.source], [stream.channel], [stream.symbol], since))
    if not rows:
        return None
    _, _, _, at, *rest = rows[0]
    time = (at - EPOCH) // timedelta(microseconds=1)
    return LastRecord(time, _last_id(table, rest), bool(rest[0]) if table == "candles" else True)


def _last_id(table: str, rest: list[Any]) -> int | None:
    if table == "trades" and rest[0] is not None and str(rest[0]).isdigit():
        return int(rest[0])
    if table == "books" and rest[0] is not None:
        return int(rest[0])
    return None
