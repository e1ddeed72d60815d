"""One connection to the database that cannot hang, and the sentence that says why there is none.

Owns the connection's settings, its deadline (a watchdog thread that shuts the socket down), the memory of which
server process served it, and the refusal of servers that the recorder must not write to. Never knows what is written.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from recorder.errors import SinkUnavailable
from recorder.redact import protect, redact
from recorder.store.queries import queries
from recorder.store.schema import State, schema_version
from recorder.store.sqlstate import Action, Rule, classify, classify_connect

CONNECT_SECONDS = 10
PROBE_SECONDS = 3.0
LOCK_SECONDS = 5.0
# Unacknowledged data is what tcp_user_timeout ends, an idle line is what keepalives end: each alone hung in the
# measurements of reliability.md 1.8. A live kernel with a dead server is what only our own deadline ends.
_DEFAULTS = {
    "connect_timeout": str(CONNECT_SECONDS),
    "keepalives": "1",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
    "target_session_attrs": "read-write",
    "client_encoding": "UTF8",
}


class SinkParked(SinkUnavailable):
    """Nothing gets better by itself: somebody changes the server or the configuration. Look again every minute."""


class Watchdog:
    """A thread that shuts sockets down when their deadline has passed; the call that waits on one then fails.

    `statement_timeout` runs in the server and does not help when that is stopped (measured, reliability.md 1.8).
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._guarded: socket.socket | None = None
        self._until = float("inf")
        self._wakes_at = 0.0
        self._stopped = False
        self._thread: threading.Thread | None = None
        self.fired = False

    @contextmanager
    def guard(self, line: socket.socket, seconds: float) -> Iterator[None]:
        """Within the block, `line` lives so many seconds at most."""
        with self._changed:
            self._guarded, self.fired = line, False
            self._set(time.monotonic() + seconds)
        try:
            yield
        finally:
            with self._changed:
                self._guarded, self._until = None, float("inf")

    def renew(self, seconds: float) -> None:
        """Count from now again: the server has just answered."""
        with self._changed:
            self._set(time.monotonic() + seconds)

    def stop(self) -> None:
        """End the thread; a later guard starts another one."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _set(self, until: float) -> None:
        self._until = until
        if self._thread is None or not self._thread.is_alive():
            self._stopped = False
            self._thread = threading.Thread(target=self._run, name="sink-watchdog", daemon=True)
            self._thread.start()
        elif until < self._wakes_at:  # else it wakes up early enough by itself: no switch of threads per transaction
            self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while not self._stopped:
                left = self._until - time.monotonic()
                if left <= 0:
                    self._fire()
                    continue
                self._wakes_at = self._until
                self._changed.wait(None if left == float("inf") else left)

    def _fire(self) -> None:
        self._until = float("inf")
        if self._guarded is not None:
            self.fired = True
            shut(self._guarded)


def shut(line: socket.socket) -> None:
    """Shut a socket down under whoever waits on it."""
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True, slots=True)
class Backend:
    """A server process that was ours: enough to end exactly that one and no other."""

    pid: int
    started: datetime


@dataclass(slots=True)
class Session:
    """A connection that is set up, whom it talks to, and a second handle of its socket to cut it with."""

    conn: psycopg.Connection[Any]
    line: socket.socket
    backend: Backend

    @property
    def lost(self) -> bool:
        """The connection is of no more use."""
        return self.conn.closed or self.conn.broken

    def run(self, name: str, params: Iterable[Any] = ()) -> psycopg.Cursor[Any]:
        """Execute a statement of queries.sql."""
        return self.conn.execute(queries()[name], tuple(params))

    def close(self) -> None:
        """Close both handles."""
        self.conn.close()
        self.line.close()


class Connector:
    """Opens sessions to one URL. Its repr and its sentences show host, port and database, nothing else."""

    def __init__(self, url: str, application_name: str, *, deadline: float) -> None:
        self.application_name = application_name
        self._params = {**_DEFAULTS, **_parse(url), "application_name": application_name}
        for secret in ("password", "sslpassword"):
            if value := self._params.get(secret):
                protect(str(value))
        self._settings = (_ms(min(LOCK_SECONDS, deadline / 4)), _ms(deadline), _ms(deadline / 2))
        self._deadline = min(deadline, CONNECT_SECONDS)

    def __repr__(self) -> str:
        return f"<Connector to {self.where}>"

    @property
    def where(self) -> str:
        """`host:port/database`, for sentences."""
        host, port = self._params.get("host") or "localhost", self._params.get("port") or 5432
        return f"{host}:{port}/{self._params.get('dbname') or self._params.get('user') or ''}"

    def open(self, watchdog: Watchdog) -> Session:
        """A session, ready to write; raises SinkUnavailable with one sentence."""
        conn = self._connect()
        line = socket.socket(fileno=os.dup(conn.fileno()))
        try:
            with watchdog.guard(line, self._deadline):
                return Session(conn, line, self._set_up(conn))
        except (psycopg.Error, SinkUnavailable) as error:
            line.close()
            conn.close()
            if isinstance(error, SinkUnavailable):
                raise
            raise self.unavailable(error, classify(error)) from error

    def unavailable(self, error: Exception, rule: Rule) -> SinkUnavailable:
        """The sentence for an error: what it means, where, and the server's own words."""
        kind = SinkParked if rule.action is Action.PARK else SinkUnavailable
        return kind(redact(f"{rule.sentence} ({self.where}{_words(error)})"))

    def _connect(self) -> psycopg.Connection[Any]:
        try:
            conn = psycopg.connect(make_conninfo(**self._params), autocommit=True)
        except psycopg.Error as error:
            # Not "from error": what libpq says of a connection string can hold what stands in it.
            raise self.unavailable(error, classify_connect(error)) from None
        conn.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        return conn

    def _set_up(self, conn: psycopg.Connection[Any]) -> Backend:
        conn.execute(queries()["session"], self._settings)
        row = conn.execute(queries()["backend"]).fetchone()
        if row is None:
            raise SinkParked(f"the database user cannot see its own sessions in pg_stat_activity ({self.where})")
        pid, started, read_only = row
        if read_only:
            raise SinkUnavailable(f"the database is read-only (a standby, or read-only mode) ({self.where})")
        refuse_transaction_pooling(conn, self._connect, self.where)
        version = schema_version(conn)
        if version.state is not State.CURRENT:
            raise SinkParked(f"{version.sentence} ({self.where})")
        conn.execute(queries()["session_decompression"])
        conn.execute(queries()["create_incoming_candles"])
        return Backend(pid, started)


def refuse_transaction_pooling(
    conn: psycopg.Connection[Any], another: Callable[[], psycopg.Connection[Any]], where: str
) -> None:
    """Raise SinkParked where a pooler hands transactions of one session to changing server processes: settings, session
    locks and temporary tables would be lost or somebody else's. `another` opens a second connection to the same place.

    If the server process is not the one that greeted us, something stands between. It may pool sessions, but not
    transactions. Proof: while a second client is inside a transaction, it sits on the process we just used.
    """
    used = _pid(conn)
    if used == conn.info.backend_pid:
        return
    with another() as second:
        line = socket.socket(fileno=os.dup(second.fileno()))
        timer = threading.Timer(PROBE_SECONDS, shut, (line,))
        timer.start()
        moved = False
        # A second client that gets no server process at all proves that sessions are not shared.
        with suppress(psycopg.OperationalError), second.transaction():
            moved = _pid(second) == used or _pid(conn) != used
        timer.cancel()
        line.close()
    if moved:
        raise SinkParked(
            f"a connection pooler in transaction mode stands before the database ({where}); "
            "connect to the server itself, or to a pool in session mode"
        )


def _parse(url: str) -> dict[str, Any]:
    try:
        return dict(conninfo_to_dict(url))
    except psycopg.ProgrammingError:
        # The error repeats the string, and with it the password.
        raise SinkParked("database.url is not a PostgreSQL connection string; see `recorder init`") from None


def _pid(conn: psycopg.Connection[Any]) -> int:
    row = conn.execute(queries()["backend_pid"]).fetchone()
    assert row is not None
    return int(row[0])


def _ms(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"


def _words(error: Exception) -> str:
    """What the server or libpq said, in one line."""
    if isinstance(error, psycopg.Error) and error.sqlstate:
        return f"; {error.sqlstate}: {error.diag.message_primary}"
    lines = str(error).strip().splitlines()
    return f"; {lines[0]}" if lines else ""
