"""What the database holds of a stream: its newest record, so that continuity can go on from it.

Owns the translation from a table's last row to what its kind of continuity needs. Never writes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from recorder.records import Stream
from recorder.store.flush import EPOCH, moment
from recorder.store.prepare import LastRecord
from recorder.store.sink import Sink

# How far back to look: the index (symbol, time DESC) makes it one probe a chunk, and a year has 365 of them.
LOOK_BACK = timedelta(days=365)


class Stored:
    """The database's side of continuity. `table` and `numbered` tell what the venue says of a stream."""

    def __init__(self, sink: Sink, table: Callable[[Stream], str], numbered: Callable[[Stream], bool]) -> None:
        self._sink = sink
        self._table = table
        self._numbered = numbered

    def last_record(self, stream: Stream) -> LastRecord | None:
        """The newest record of a stream in its table; None where there is none within LOOK_BACK."""
        table, since = self._table(stream), datetime.now(UTC) - LOOK_BACK
        rows = self._sink.rows(f"last_{table}", ([stream.source], [stream.channel], [stream.symbol], since))
        if not rows:
            return None
        _, _, _, at, *rest = rows[0]
        return LastRecord(_us(at), _last_id(table, rest), bool(rest[0]) if table == "candles" else True)

    def records_since(self, stream: Stream, time: int) -> list[tuple[int, int, int]] | None:
        """First id, last id and time of its numbered records from `time` on; None for a stream without numbers."""
        if not self._numbered(stream) or time < 0:
            return None
        rows = self._sink.rows("trades_since", (stream.source, stream.channel, stream.symbol, moment(time)))
        return [(first, last, _us(at)) for first, last, at in rows]

    def gaps_since(self, stream: Stream, time: int) -> set[tuple[int, int]]:
        """The ranges of ids that its gap rows name, from `time` on."""
        return set(self._sink.rows("gaps_since", (stream.source, stream.channel, stream.symbol, moment(time))))


def _us(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


def _last_id(table: str, rest: list[Any]) -> int | None:
    if table == "trades" and rest[0] is not None and str(rest[0]).isdigit():
        return int(rest[0])
    if table == "books" and rest[0] is not None:
        return int(rest[0])
    return None
