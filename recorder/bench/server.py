"""The server under the benchmark: a database of its own on it, and what its processes cost.

Owns the scratch database from creation to drop. Never touches another database of the server.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from os import sysconf
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from recorder.errors import SinkUnavailable
from recorder.store.queries import Queries

TICKS = sysconf("SC_CLK_TCK")


@cache
def queries() -> Queries:
    """The benchmark's own statements."""
    return Queries(files("recorder.bench").joinpath("queries.sql").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Facts:
    """What a reader of the figures has to know of the server."""

    version: str
    timescaledb: str
    license: str
    fsync: str
    synchronous_commit: str


class Scratch:
    """The benchmark's own database."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = psycopg.connect(url, autocommit=True, application_name="bench")

    def close(self) -> None:
        """Let it go."""
        self._connection.close()

    def facts(self) -> Facts:
        """The server in five words."""
        row = self._connection.execute(queries()["facts"]).fetchone() or ("",) * 5
        return Facts(*map(str, row))

    def empty(self) -> None:
        """Make all rounds begin alike."""
        self._connection.execute(queries()["empty"])
        try:
            self._connection.execute(queries()["checkpoint"])
        except psycopg.errors.InsufficientPrivilege:
            return

    def read(self, table: str) -> bytes:
        """The rows of a table as COPY text."""
        with self._connection.cursor() as cursor, cursor.copy(queries()[f"read_{table}"]) as copy:
            return b"".join(bytes(piece) for piece in copy)

    def writer_backend(self) -> int | None:
        """The server process that the recorder's writer talks to, while it does."""
        row = self._connection.execute(queries()["writer_backend"]).fetchone()
        return int(row[0]) if row else None

    def bare_commits(self, count: int) -> list[float]:
        """Seconds of `count` commits that carry one small row each."""
        self._connection.execute(queries()["bare_table"])
        insert = queries()["bare_insert"]
        seconds = []
        for _ in range(count):
            started = time.perf_counter()
            self._connection.execute(insert)
            seconds.append(time.perf_counter() - started)
        return seconds


@contextmanager
def scratch(url: str) -> Iterator[Scratch]:
    """A new, empty database on the server of `url`; dropped at the end."""
    name = f"recorder_bench_{secrets.token_hex(4)}"
    _run(url, "create_scratch", name)
    try:
        with closing(Scratch(_with_database(url, name))) as room:
            yield room
    finally:
        _run(url, "drop_scratch", name)


def _with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}")) if "://" in url else make_conninfo(url, dbname=name)


def _run(url: str, query: str, name: str) -> None:
    statement = sql.SQL(queries()[query].decode()).format(sql.Identifier(name))
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            connection.execute(statement)
    except psycopg.OperationalError as error:
        raise SinkUnavailable(f"the benchmark cannot use the database: {error}") from None


def backend_cpu(pid: int | None) -> float | None:
    """CPU seconds of a server process so far; None where it does not run on this machine."""
    directory = Path(f"/proc/{pid}")
    try:
        if pid is None or b"postgres" not in (directory / "cmdline").read_bytes():
            return None
        fields = (directory / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / TICKS


def thread_cpu(native_id: int) -> float:
    """CPU seconds of a thread of ours so far, 0 when it is gone."""
    try:
        fields = Path(f"/proc/self/task/{native_id}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS
