"""One flush, one transaction, exactly once: the compare-and-set of the positions, COPY per table, COMMIT.

Owns the connection, the epochs of the positions it took over, and what to make of every error of the database.
Used by the writer's thread only, but for `interrupt`. Never decides what is written, and never waits longer than its
deadlines: a flush that could not be committed is the writer's to bring again, and the position tells whether it was.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import psycopg

from recorder.errors import AlreadyRunning, SinkUnavailable
from recorder.failpoint import fail_point
from recorder.store import isolate
from recorder.store.connection import Backend, Connector, Session, SinkParked, Watchdog, shut
from recorder.store.flush import Flush, Move, Params, Position, moment
from recorder.store.isolate import Allowance, Isolation, Quarantined, RawFrame
from recorder.store.load import load
from recorder.store.queries import queries
from recorder.store.sqlstate import Action, classify
from recorder.store.verdict import Fenced, PositionMoved, fenced, settle

__all__ = ["AlreadyRunning", "Fenced", "PositionMoved", "Quarantined", "RawFrame", "Sink", "SinkParked"]

SEEN_SECONDS = 60.0
IDENTICAL_FAILURES = 10

Aside = Callable[[list[Quarantined]], list[tuple[str, list[Params]]]]


class Again(Enum):
    """Why a flush is tried once more at once, instead of being handed back. Each at most once a call."""

    SETTLE = "settle"  # the connection was lost around COMMIT: ask the position
    UNBLOCK = "unblock"  # a lost transaction of ours held the lock; it is ended
    ISOLATE = "isolate"  # a row is at fault


class Sink:
    """The database as the writer sees it.

    `url`: where it is, or what tells it (a local server that still starts raises SinkUnavailable).
    `instance`: the boot id of this machine; after a `/` may follow whatever a reader of `positions` wants to know.
    `raw` gives a frame's bytes for quarantine. `aside`: statements to add when frames are set aside (their gaps).
    """

    def __init__(
        self,
        url: str | Callable[[], str],
        recorder_id: str,
        instance: str,
        *,
        raw: RawFrame,
        deadline: float = 60.0,
        aside: Aside | None = None,
    ) -> None:
        self.recorder_id = recorder_id
        self.deadline = deadline
        self._url = url
        self._instance = f"{instance}/{secrets.token_hex(4)}"  # no two sinks are the same, not even in one process
        self._raw = raw
        self._aside = aside
        self._connector: Connector | None = None
        self._session: Session | None = None
        self._watchdog = Watchdog()
        self._epochs: dict[str, int] = {}
        self._ghosts: list[Backend] = []
        self._unsettled: tuple[Flush, list[Quarantined]] | None = None
        self._failing: tuple[str, int] = ("", 0)
        self._allowance = Allowance()
        self._interrupted = threading.Event()

    # --- connection ------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Connect, unless connected; raises SinkUnavailable with one sentence, SinkParked if it will not pass."""
        self._open()

    def close(self) -> None:
        """Close the connection and end the watchdog."""
        if self._session is not None:
            self._session.close()
            self._session = None
        self._watchdog.stop()

    def move(self) -> None:
        """`url` tells another place from now on: what was known of the old one is forgotten."""
        self._drop()
        self._connector, self._unsettled = None, None
        self._epochs, self._failing = {}, ("", 0)

    def interrupt(self) -> None:
        """From any thread: whatever waits for the database fails now, and nothing is begun any more."""
        self._interrupted.set()
        session = self._session
        if session is not None:
            shut(session.line)

    def _open(self) -> Session:
        if self._interrupted.is_set():
            raise SinkUnavailable("the recorder is stopping")
        if self._session is not None and self._session.lost:
            self._drop()
        if self._session is None:
            if self._connector is None:
                name = f"recorder/{self.recorder_id[:8]}"
                url = self._url() if callable(self._url) else self._url
                self._connector = Connector(url, name, deadline=self.deadline)
            self._session = self._connector.open(self._watchdog)
        return self._session

    def _drop(self) -> None:
        """Leave the connection, and remember which process may still hold its transaction open."""
        if self._session is not None:
            self._ghosts = [*self._ghosts[-15:], self._session.backend]
            self._session.close()
            self._session = None

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        session = self._open()
        with self._watchdog.guard(session.line, self.deadline), session.conn.transaction():
            yield session

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """Errors of the database as sentences."""
        try:
            yield
        except (psycopg.Error, UnicodeError) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: psycopg.Error | UnicodeError) -> SinkUnavailable:
        rule = classify(error)
        fired, lost = self._watchdog.fired, self._session is not None and self._session.lost
        if lost or rule.prefix == "25006" or rule.action is Action.PARK:  # the next one looks at the server anew
            self._drop()
        if lost and fired:
            return SinkUnavailable(f"the database did not answer within {self.deadline:g} s; its connection was cut")
        assert self._connector is not None
        return self._connector.unavailable(error, rule)

    # --- reading ---------------------------------------------------------------------------------------------------

    def rows(self, query: str, params: Params = ()) -> list[tuple[Any, ...]]:
        """The rows of a named query."""
        with self._speaking(), self._transaction() as session:
            return session.run(query, params).fetchall()

    def positions(self) -> dict[str, Position]:
        """All positions of this recorder, locked while they are read: a transaction still open is waited for."""
        return self._retry_unblocked(self._read_positions)

    def _read_positions(self) -> dict[str, Position]:
        with self._transaction() as session:
            return self._held(session)

    def _held(self, session: Session) -> dict[str, Position]:
        rows = session.run("positions", (self.recorder_id,)).fetchall()
        return {row[0]: Position(*row[:4]) for row in rows}

    # --- ownership -------------------------------------------------------------------------------------------------

    def take_over(self, starts: dict[str, tuple[str, int]]) -> dict[str, Position]:
        """Own all positions of this recorder, with rows for feeds that have none at (run, next). Raises Fenced if
        another one took over after us, AlreadyRunning if one on another machine was seen in the last minute."""
        found = self._retry_unblocked(lambda: self._take(starts))
        self._epochs = {feed: position.epoch for feed, position in found.items()}
        return found

    def _take(self, starts: dict[str, tuple[str, int]]) -> dict[str, Position]:
        with self._transaction() as session:
            rows = session.run("positions", (self.recorder_id,)).fetchall()
            self._check_others(rows)
            feeds = sorted(starts)
            columns = feeds, [starts[feed][0] for feed in feeds], [starts[feed][1] for feed in feeds]
            session.run("insert_positions", (self.recorder_id, self._instance, *columns))
            taken = session.run("take_over", (self._instance, self.recorder_id)).fetchall()
        return {row[0]: Position(*row) for row in taken}

    def _check_others(self, rows: list[tuple[Any, ...]]) -> None:
        # Our own name on a higher epoch: a take-over of ours whose reply was lost.
        fenced({row[0]: Position(*row[:4]) for row in rows if row[4] != self._instance}, self._epochs)
        for feed, _, _, _, instance, age in rows:
            if instance and _boot(instance) != _boot(self._instance) and age < SEEN_SECONDS:
                raise AlreadyRunning(
                    f"another recorder with this identity wrote {feed} {max(age, 0.0):.0f} s ago from another machine; "
                    f"stop it, or wait until it has been silent for {SEEN_SECONDS:.0f} s"
                )

    def release(self) -> None:
        """Tell that this instance stops: the next one, wherever it runs, need not wait."""
        with self._speaking(), self._transaction() as session:
            feeds = list(self._epochs)
            session.run("release_positions", (feeds, [self._epochs[feed] for feed in feeds], self.recorder_id))

    def _retry_unblocked(self, step: Callable[[], dict[str, Position]]) -> dict[str, Position]:
        with self._speaking():
            try:
                return step()
            except psycopg.errors.LockNotAvailable:
                if not self._end_ghosts():
                    raise
                return step()

    # --- committing ------------------------------------------------------------------------------------------------

    def commit(self, flush: Flush) -> list[Quarantined]:
        """Commit a flush, or find it committed; the frames that had to be set aside. Raises SinkUnavailable (bring
        the same flush again), Fenced, PositionMoved. A flush without moves may be stored twice: only for statements
        that can bear it."""
        tried: set[Again] = set()
        while True:
            try:
                aside = self._attempt(flush, isolating=Again.ISOLATE in tried)
            except (psycopg.Error, UnicodeError) as error:
                with self._speaking():
                    again = self._again(error, flush)
                    if again is None or again in tried:
                        raise
                tried.add(again)
            else:
                self._unsettled, self._failing, self._ghosts = None, ("", 0), []
                return aside

    def _attempt(self, flush: Flush, *, isolating: bool) -> list[Quarantined]:
        with self._transaction() as session:
            if not self._move(session, flush.moves):
                return self._unsettled[1] if self._unsettled is not None and self._unsettled[0] is flush else []
            fail_point("before_copy")
            aside = self._isolated(session, flush) if isolating else _plain(session, flush)
            fail_point("before_commit")
            self._unsettled = flush, aside
        fail_point("after_commit")
        return aside

    def _move(self, session: Session, moves: list[Move]) -> bool:
        """The compare-and-set, before any data is sent. False: all moves were made already."""
        if not moves:
            fenced(self._held(session), self._epochs)
            return True
        if session.run("move_positions", self._columns(moves)).rowcount == len(moves):
            return True
        settle(moves, self._held(session), self._epochs)
        return False

    def _columns(self, moves: list[Move]) -> Params:
        moves = sorted(moves, key=lambda move: move.feed)
        return (
            [move.feed for move in moves],
            [move.run for move in moves],
            [move.next for move in moves],
            [self._epochs.get(move.feed, -1) for move in moves],
            [move.new_run for move in moves],
            [move.new_next for move in moves],
            [moment(move.watermark) if move.watermark else None for move in moves],
            *(self.recorder_id, self._instance, self.recorder_id),
        )

    def _isolated(self, session: Session, flush: Flush) -> list[Quarantined]:
        def renew() -> None:
            self._watchdog.renew(self.deadline)

        unknown = self._failing[1] >= IDENTICAL_FAILURES
        aside = Isolation(session, flush, renew, unknown).run()
        if aside:
            isolate.store(session, flush, aside, self._raw, self._allowance)
            if self._aside is not None:
                _say(session, self._aside(aside))
        return aside

    # --- failures --------------------------------------------------------------------------------------------------

    def _again(self, error: psycopg.Error | UnicodeError, flush: Flush) -> Again | None:
        action = classify(error).action
        if self._session is not None and self._session.lost:
            return Again.SETTLE if self._unsettled is not None and self._unsettled[0] is flush else None
        if isinstance(error, psycopg.errors.LockNotAvailable):
            return Again.UNBLOCK if self._end_ghosts() else None
        if action is Action.ISOLATE or (action is Action.UNKNOWN and self._failed_often(error)):
            return Again.ISOLATE
        return None

    def _failed_often(self, error: psycopg.Error | UnicodeError) -> bool:
        """Count failures that look the same, one after the other."""
        key = isolate.reason(error)
        count = self._failing[1] + 1 if self._failing[0] == key else 1
        self._failing = key, count
        return count >= IDENTICAL_FAILURES

    def _end_ghosts(self) -> bool:
        """End processes that served us once and may hold our lock still; whether there was one."""
        ghosts, self._ghosts = self._ghosts, []
        ended = False
        for ghost in ghosts:
            with self._transaction() as session:
                assert self._connector is not None
                name = self._connector.application_name
                ended |= session.run("terminate_backend", (ghost.pid, ghost.started, name)).fetchone() is not None
        if not ended:
            self._ghosts = ghosts
        return ended


def _plain(session: Session, flush: Flush) -> list[Quarantined]:
    """The way of nearly every flush."""
    for table, parts in flush.parts.items():
        load(session, table, b"".join([part.rows.data for part in parts]))
    _say(session, flush.statements)
    return []


def _say(session: Session, statements: list[tuple[str, list[Params]]]) -> None:
    with session.conn.cursor() as cursor:
        for name, rows in statements:
            if len(rows) == 1:
                cursor.execute(queries()[name], rows[0])
            else:
                cursor.executemany(queries()[name], rows)


def _boot(instance: str) -> str:
    return instance.partition("/")[0]
