"""How fast this server takes these very rows when nothing has to be done for them: the measure of the pipeline.

Owns the ready-made blocks and their COPY. Never touches a position, a spool or a decoder.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import psycopg

from recorder.bench.server import backend_cpu
from recorder.store.queries import queries

BLOCK = 256 << 10


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What came out: rows a second by the wall, CPU of the server a row (None: it runs elsewhere)."""

    rows: int
    seconds: float
    commits: int
    backend_us: float | None

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds


Transaction = list[tuple[str, list[bytes]]]  # per table: its blocks


def transactions(tables: Mapping[str, bytes], rows_per_commit: float) -> list[Transaction]:
    """The rows cut into transactions of that size, each with its share of every table, in blocks of 256 KiB."""
    lines = {table: data.splitlines(keepends=True) for table, data in tables.items() if data}
    total = sum(map(len, lines.values()))
    count = max(1, round(total / max(1.0, rows_per_commit)))
    return [
        [(table, _blocks(_share(rows, n, count))) for table, rows in lines.items() if _share(rows, n, count)]
        for n in range(count)
    ]


def _share(rows: list[bytes], n: int, count: int) -> list[bytes]:
    return rows[len(rows) * n // count : len(rows) * (n + 1) // count]


def _blocks(rows: list[bytes]) -> list[bytes]:
    data = b"".join(rows)
    return [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]


def measure(url: str, work: list[Transaction], rows: int) -> Ceiling:
    """COPY and commit it all, as fast as one connection can."""
    with psycopg.connect(url, application_name="bench ceiling") as connection:
        pid = connection.info.backend_pid
        before = backend_cpu(pid)
        started = time.perf_counter()
        for transaction in work:
            _commit(connection, transaction)
        seconds = time.perf_counter() - started
        after = backend_cpu(pid)
    cpu = None if before is None or after is None else (after - before) / rows * 1e6
    return Ceiling(rows, seconds, len(work), cpu)


def _commit(connection: psycopg.Connection[tuple[object, ...]], transaction: Transaction) -> None:
    with connection.cursor() as cursor:
        for table, blocks in transaction:
            with cursor.copy(queries()[f"copy_{table}"]) as copy:
                for block in blocks:
                    copy.write(block)
    connection.commit()
