"""Rows into tables: one COPY each, candles through the session's own table.

Owns how bytes become rows. Never decides which rows, nor what to do when the database refuses them.
"""

from __future__ import annotations

import os

from recorder.failpoint import fail_point
from recorder.store.connection import Session
from recorder.store.queries import queries

# The failpoint needs a place between two writes; a flush of one piece has none.
_HALVES = os.environ.get("RECORDER_FAILPOINT", "").startswith("mid_copy")


def load(session: Session, table: str, data: bytes) -> None:
    """COPY finished lines into a table."""
    with session.conn.cursor() as cursor:
        with cursor.copy(queries()[f"copy_{table}"]) as copy:
            # One write: psycopg hands 128 KiB pieces to libpq by itself, and pieces of ours made no difference
            # (10 000 rows of 125 bytes: 64 KiB to 1 MiB all within 3.7-4.4 µs a row).
            middle = len(data) // 2 if _HALVES else len(data)
            copy.write(data[:middle])
            if middle < len(data):
                fail_point("mid_copy")
                copy.write(data[middle:])
        if table == "candles":
            cursor.execute(queries()["merge_candles"])
