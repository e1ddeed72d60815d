"""The sink against a real server: exactly once, ownership, candles, sentences."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain, permutations

import psycopg
import pytest

from recorder.errors import AlreadyRunning, SinkUnavailable
from recorder.records import TABLES
from recorder.store.flush import Flush, Move, Position
from recorder.store.queries import queries
from recorder.store.sink import Fenced, PositionMoved, Sink, SinkParked
from tests.integration.flushes import (
    FEED,
    RECORDER,
    RUN,
    START,
    Own,
    ask,
    candle,
    move,
    owners,
    part,
    position,
    raw,
    sink,
    stored,
    trades,
)


@pytest.fixture
def own(database: str) -> Iterator[Own]:
    """Makes sinks that own their positions, and closes them."""
    with owners(database) as make:
        yield make


# --- exactly once ------------------------------------------------------------------------------------------------


def test_rows_and_position_come_together(own: Own, database: str) -> None:
    """A committed flush has stored its rows and moved the position, watermark and all."""
    assert own().commit(trades(0, 100)) == []
    assert stored(database) == list(range(100))
    watermark, instance = ask(database, "SELECT watermark, instance FROM positions")[0]
    assert watermark == datetime.fromtimestamp(START / 1e6, UTC)
    assert instance.startswith("boot-a/1/")


def test_a_move_into_the_next_run_keeps_the_watermark(own: Own, database: str) -> None:
    """A position that moves without a burst says nothing new about the time up to which everything is committed."""
    one = own()
    one.commit(trades(0, 10))
    one.commit(Flush([Move(FEED, RUN, 10, "2-bbbbbbbb", 0, 0)]))
    (watermark,) = ask(database, "SELECT watermark FROM positions")[0]
    assert position(database) == ("2-bbbbbbbb", 0)
    assert watermark == datetime.fromtimestamp(START / 1e6, UTC)


def test_a_checkpoint_stands_only_at_the_position(own: Own, database: str) -> None:
    """One for another position (the database was put back meanwhile) is not written; the right one replaces it."""
    one = own()
    one.commit(trades(0, 10))
    for n, state in ((9, b"older"), (10, b"first"), (11, b"future"), (10, b"right")):
        one.commit(Flush(statements=[("upsert_checkpoint", [(RECORDER, FEED, RUN, n, state)])]))
    assert ask(database, "SELECT next, state, stale FROM checkpoints") == [(10, b"right", False)]


def test_the_same_flush_again_is_found_committed(own: Own, database: str) -> None:
    """A flush whose end is where the position stands is done: nothing is stored twice."""
    one = own()
    flush = trades(0, 10)
    one.commit(flush)
    assert one.commit(flush) == []
    assert stored(database) == list(range(10))


def test_several_feeds_move_together_or_not_at_all(own: Own, database: str) -> None:
    """One feed whose position moved keeps back the rows of all feeds of the flush."""
    one = own(feeds=(FEED, "okx/public/1"))
    flush = trades(0, 5)
    flush.moves.append(move(3, 9, "okx/public/1"))
    with pytest.raises(PositionMoved) as caught:
        one.commit(flush)
    assert caught.value.found["okx/public/1"].next == 0
    assert stored(database) == []
    assert position(database) == (RUN, 0)


def test_a_flush_may_end_a_run_and_begin_the_next(own: Own, database: str) -> None:
    """The position goes from the end of one run into the next."""
    one = own()
    one.commit(trades(0, 5))
    flush = trades(5, 8)
    flush.moves = [replace(flush.moves[0], new_run="2-bbbbbbbb", new_next=3)]
    one.commit(flush)
    assert position(database) == ("2-bbbbbbbb", 3)


def test_statements_run_in_the_same_transaction(own: Own, database: str) -> None:
    """Statements of a flush are stored with its rows, and not stored when it is found committed."""
    one = own()
    flush = trades(0, 3)
    at = datetime.now(UTC)
    flush.statements = [("insert_event", [(at, "okx", FEED, "60012", "none", f"notice {n}") for n in range(3)])]
    one.commit(flush)
    one.commit(flush)
    assert ask(database, "SELECT count(*) FROM venue_events") == [(3,)]


def test_plain_postgresql_is_enough(plain_database: str) -> None:
    """Without the extension the same flush is stored the same way, poison and candles included."""
    with owners(plain_database) as make:
        flush = trades(0, 50, {7})
        flush.parts["candles"] = [part([candle(n, "1.5", "f", bar=n % 5) for n in range(50)], range(50))]
        assert [frame.n for frame in make().commit(flush)] == [7]
    assert stored(plain_database) == [n for n in range(50) if n != 7]
    assert len(_close(plain_database)) == 5


# --- ownership -----------------------------------------------------------------------------------------------------


def test_take_over_lifts_every_epoch_and_adds_missing_rows(own: Own, database: str) -> None:
    """Every start owns its positions under a higher epoch; feeds without a row begin where they are told."""
    own()
    two = own(feeds=(FEED, "okx/public/1"))
    assert two.positions() == {
        FEED: Position(FEED, RUN, 0, 2),
        "okx/public/1": Position("okx/public/1", RUN, 0, 1),
    }


def test_the_second_owner_fences_the_first(own: Own, database: str) -> None:
    """Two recorders with one identity: the older one is fenced, even with the right position, and stores nothing."""
    first, second = own(), own(instance="boot-a/2")
    with pytest.raises(Fenced):
        first.commit(trades(0, 10))
    with pytest.raises(Fenced):
        first.commit(Flush([], {}, [("delete_checkpoint", [(RECORDER, FEED)])]))
    with pytest.raises(Fenced):
        first.take_over({FEED: (RUN, 0)})
    first.release()
    assert ask(database, "SELECT count(*) FROM positions WHERE instance = ''") == [(0,)]
    second.commit(trades(0, 10))
    assert stored(database) == list(range(10))


def test_two_owners_committing_at_once_store_every_row_once(own: Own, database: str) -> None:
    """However two sinks race for the same flushes, each frame is stored once."""
    first = own()
    second = own(instance="boot-a/2")
    second._epochs = first._epochs = {FEED: 2}  # the same epoch: only the position keeps them apart
    barrier = threading.Barrier(2)

    def run(one: Sink) -> None:
        barrier.wait()
        with suppress(PositionMoved):  # the other one was faster by more than a flush
            for n in range(0, 200, 10):
                one.commit(trades(n, n + 10))

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(run, one) for one in (first, second)]:
            done.result()
    assert stored(database) == list(range(200))


def test_an_instance_on_another_machine_is_respected_for_a_minute(own: Own, database: str) -> None:
    """Another boot id seen in the last 60 s: exit 73; seen before that, or released: take over."""
    first = own(instance="boot-a/1")
    with pytest.raises(AlreadyRunning, match="another machine"):
        own(instance="boot-b/1")
    first.release()
    second = own(instance="boot-b/1")
    with pytest.raises(AlreadyRunning):
        own(instance="boot-c/1")
    ask(database, "UPDATE positions SET committed_at = now() - interval '61 s'")
    own(instance="boot-c/1")
    with pytest.raises(Fenced):
        second.commit(trades(0, 1))


def test_a_restored_database_is_told_apart(own: Own, database: str) -> None:
    """A lower position under an epoch that is not above ours: an older copy; after take-over the rest is stored."""
    one = own()
    one.commit(trades(0, 10))
    ask(database, "UPDATE positions SET next = 4")
    ask(database, "DELETE FROM trades WHERE seq >= 4")
    with pytest.raises(PositionMoved) as caught:
        one.commit(trades(10, 20))
    assert caught.value.restored
    assert caught.value.found[FEED].next == 4
    one.take_over({FEED: (RUN, 0)})
    one.commit(trades(4, 20))
    assert stored(database) == list(range(20))


def test_a_position_moved_forward_is_no_restore(own: Own, database: str) -> None:
    """Somebody moved the position on under our epoch: resume there, and do not call it an older copy."""
    one = own()
    ask(database, "UPDATE positions SET next = 50")
    with pytest.raises(PositionMoved) as caught:
        one.commit(trades(0, 20))
    assert not caught.value.restored


# --- candles -------------------------------------------------------------------------------------------------------


def _candles(*lines: str) -> Flush:
    return Flush([], {"candles": [part(lines, range(len(lines)))]})


def _close(url: str) -> list[tuple[str, bool | None]]:
    return [(str(a), b) for a, b in ask(url, "SELECT close, closed FROM candles ORDER BY time")]


def _orders() -> list[list[str]]:
    """Two open revisions and the closed one, in every order; each order is a candle of its own."""
    return [
        [candle(i, f"1.{i}", "t" if i == 3 else "f", received=i, bar=bar) for i in order]
        for bar, order in enumerate(permutations((1, 2, 3)))
    ]


def test_the_last_revision_of_a_candle_wins_in_one_flush(own: Own, database: str) -> None:
    """Revisions of one candle in one flush are reduced to one row, whatever their order: the closed one."""
    own().commit(_candles(*chain.from_iterable(_orders())))
    assert _close(database) == [("1.3", True)] * 6


def test_a_closed_candle_is_never_reopened(own: Own, database: str) -> None:
    """Revisions over several flushes, a backlog's old ones last: the closed one stays."""
    one = own()
    for revisions in zip(*_orders(), strict=True):
        one.commit(_candles(*revisions))
    assert _close(database) == [("1.3", True)] * 6


@pytest.mark.parametrize("together", [True, False])
def test_a_later_open_revision_does_not_reopen(own: Own, database: str, together: bool) -> None:
    """An open revision received after the closed one changes nothing, in the same flush or in a later one; a closed
    one received later (a correction) replaces the closed one."""
    one = own()
    closed, late = candle(0, "1.3", "t", received=3), candle(1, "1.4", "f", received=4)
    for flush in [_candles(closed, late)] if together else [_candles(closed), _candles(late)]:
        one.commit(flush)
    assert _close(database) == [("1.3", True)]
    one.commit(_candles(candle(2, "1.5", "t", received=5)))
    assert _close(database) == [("1.5", True)]


def test_of_open_revisions_the_later_received_wins(own: Own, database: str) -> None:
    """An open revision received earlier does not replace a later one; of two at one time the later arrival wins."""
    one = own()
    one.commit(_candles(candle(0, "1.5", "f", received=5)))
    one.commit(_candles(candle(1, "1.4", "f", received=4)))
    assert _close(database) == [("1.5", False)]
    one.commit(_candles(candle(2, "1.6", "f", received=5), candle(3, "1.7", "f", received=5)))
    assert _close(database) == [("1.7", False)]


def test_candles_without_closed_are_open(own: Own, database: str) -> None:
    """Where the venue does not say whether a candle is closed, later revisions go on replacing it."""
    one = own()
    one.commit(_candles(candle(0, "1.5", r"\N", received=5), candle(0, "2.5", r"\N", received=5, bar=1)))
    one.commit(_candles(candle(1, "1.8", r"\N", received=6)))
    assert _close(database) == [("1.8", None), ("2.5", None)]


# --- queries -------------------------------------------------------------------------------------------------------


def test_last_record_of_every_table_can_be_asked(own: Own) -> None:
    """Every data table has a `last_` query; a stream without rows since then has no last record."""
    one = own()
    for table in TABLES:
        assert one.rows(f"last_{table}", (["okx"], ["x"], ["BTC-USDT"], datetime.now(UTC))) == []


def test_last_trade_is_the_newest_by_time_and_id(own: Own) -> None:
    """The last trade has the highest id of the newest time, ids compared as numbers; older ones are out of reach."""
    one = own()
    one.commit(trades(0, 12))
    since = datetime.fromtimestamp(START / 1e6, UTC)
    asked = (["okx", "okx"], ["trades", "none"], ["BTC-USDT", "BTC-USDT"])
    assert [row[4] for row in one.rows("last_trades", (*asked, since))] == ["11"]
    assert one.rows("last_trades", (*asked, datetime.now(UTC).replace(year=2200))) == []


def test_every_query_is_understood_by_the_server(database: str) -> None:
    """Every statement of queries.sql names tables and columns that exist, with parameters of the right types."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(queries()["create_incoming_candles"])
        for name, statement in queries().items():
            if name.startswith("copy_"):
                with conn.cursor().copy(statement):
                    pass
            else:
                numbered = statement
                for n in range(1, statement.count(b"%s") + 1):
                    numbered = type(statement)(numbered.replace(b"%s", b"$%d" % n, 1))
                prepared = conn.pgconn.prepare(name.encode(), numbered)
                assert prepared.status == psycopg.pq.ExecStatus.COMMAND_OK, (name, prepared.error_message)


# --- sentences -----------------------------------------------------------------------------------------------------


def _refusal(one: Sink) -> SinkUnavailable:
    with pytest.raises(SinkUnavailable) as caught:
        one.connect()
    one.close()
    return caught.value


def test_a_missing_database_is_named(database: str) -> None:
    """A database that does not exist parks the sink with a sentence."""
    error = _refusal(sink(database + "_gone"))
    assert isinstance(error, SinkParked)
    assert str(error).startswith("the database does not exist")


def test_a_missing_user_is_named(database: str) -> None:
    """A user that does not exist parks the sink."""
    error = _refusal(sink(f"{database}?user=nobody_{uuid.uuid4().hex}"))
    assert isinstance(error, SinkParked)


def test_a_read_only_database_is_waited_for(database: str) -> None:
    """A server that takes no writes is retried: after a failover it may be the primary."""
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(
            psycopg.sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(
                psycopg.sql.Identifier(str(name))
            )
        )
    error = _refusal(sink(database))
    assert not isinstance(error, SinkParked)
    assert "read-only" in str(error)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("INSERT INTO schema_migrations (number, name) VALUES (9999, 'later')", "newer"),
        ("DELETE FROM schema_migrations WHERE number > 1", "recorder migrate"),
        ("DROP TABLE schema_migrations", "recorder migrate"),
    ],
)
def test_another_schema_parks_the_sink(database: str, change: str, words: str) -> None:
    """Older, newer or no schema: one sentence that says so, and nothing is written."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(change.encode())
    error = _refusal(sink(database))
    assert isinstance(error, SinkParked)
    assert words in str(error)


def test_settings_hold_whatever_the_user_is_set_to(own: Own) -> None:
    """Lock timeout, time zone and durable commits do not depend on what the server's owner configured."""
    one = own()
    assert one._session is not None
    conn = one._session.conn
    assert conn.execute("SHOW timezone").fetchone() == ("UTC",)
    assert conn.execute("SHOW lock_timeout").fetchone() == ("5s",)
    assert conn.execute("SHOW synchronous_commit").fetchone() == ("on",)
    assert conn.execute("SHOW application_name").fetchone() == (f"recorder/{RECORDER[:8]}",)


def test_a_sink_shows_nothing_of_its_url(database: str) -> None:
    """Neither repr nor message of a sink with a password holds it."""
    canary = "canary-" + uuid.uuid4().hex
    one = Sink(f"postgresql://u:{canary}@127.0.0.1:1/market", RECORDER, "boot/1", raw=raw)
    with pytest.raises(SinkUnavailable, match="no database server listens there") as caught:
        one.connect()
    assert canary not in repr(one) + repr(one._connector) + str(caught.value) + repr(caught.value.__cause__)
