"""What can be traded, into the table `instruments`: a row for every change.

Owns what the table holds of each source, as far as this process has seen it. Never asks a venue, and never corrects a
row: what has changed is a new one.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg

from recorder.guards import TROUBLE, moment, number, plain
from recorder.listing import Instrument
from recorder.records import NULL
from recorder.store.flush import moment as parameter
from recorder.store.queries import queries

CHANNEL = "instruments"
_CENTURY = 36_525 * 86_400_000_000  # µs: nothing expires later

Row = tuple[Any, ...]  # type, base, quote, settle, tick size, lot size, contract value, state, listed, expires


class Register:
    """What is stored, by source and symbol."""

    def __init__(self) -> None:
        self._stored: dict[str, dict[str, Row]] = {}

    def keep(
        self, conn: psycopg.Connection[tuple[object, ...]], source: str, instruments: Iterable[Instrument], at: int
    ) -> int:
        """Store what differs from the last row of its symbol; how many rows. What a venue no longer lists gets one
        without a state. `at` (µs): when we heard of it."""
        stored = self._stored.get(source)
        if stored is None:
            rows = conn.execute(queries()["last_instruments"], (source, CHANNEL)).fetchall()
            stored = {str(row[0]): row[1:] for row in rows}
        now = dict(_row(each, at) for each in instruments)
        gone = {symbol: (*row[:7], None, *row[8:]) for symbol, row in stored.items() if symbol not in now}
        changed = {symbol: row for symbol, row in (now | gone).items() if stored.get(symbol) != row}
        when = parameter(at)
        with conn.transaction(), conn.cursor() as cursor:
            cursor.executemany(
                queries()["insert_instrument"],
                [(when, when, source, CHANNEL, symbol, *row) for symbol, row in changed.items()],
            )
        self._stored[source] = stored | changed
        return len(changed)


def _row(one: Instrument, at: int) -> tuple[str, Row]:
    """A value that the table cannot hold is left out, not the instrument."""
    texts = [plain(text) or None for text in (one.type, one.base, one.quote, one.settle)]
    numbers = [_decimal(text) for text in (one.tick_size, one.lot_size, one.contract_value)]
    times = [_time(text, at) for text in (one.listed_at, one.expires_at)]
    return plain(one.symbol), (*texts, *numbers, plain(one.state) or None, *times)


def _decimal(text: str) -> Decimal | None:
    with suppress(*TROUBLE):
        return None if number(text) == NULL else Decimal(text)
    return None


def _time(milliseconds: str, at: int) -> datetime | None:
    with suppress(*TROUBLE):
        return parameter(moment(milliseconds, at, _CENTURY)) if milliseconds else None
    return None
