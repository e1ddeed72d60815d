"""Poison on its way into a real server: exactly the good rows are stored, exactly the bad frames are set aside."""

from __future__ import annotations

import random
from collections.abc import Iterator

import psycopg
import pytest

from recorder.errors import SinkUnavailable
from recorder.records import Rows
from recorder.store import isolate
from recorder.store.flush import Flush, Params, Part
from recorder.store.isolate import Allowance, Quarantined, units
from recorder.store.sink import IDENTICAL_FAILURES, Sink, SinkParked
from tests.integration.flushes import (
    FEED,
    RUN,
    Own,
    ask,
    candle,
    move,
    owners,
    part,
    position,
    stored,
    trade,
    trades,
)


@pytest.fixture
def own(database: str) -> Iterator[Own]:
    """Makes sinks that own their positions, and closes them."""
    with owners(database) as make:
        yield make


def _quarantine(url: str) -> list[tuple[str, str]]:
    return [tuple(row) for row in ask(url, "SELECT frame, reason FROM quarantine ORDER BY received_at, frame")]


def _raise(url: str, table: str, state: str, when: str) -> None:
    """From now on a row of `table` for which `when` holds fails with this SQLSTATE."""
    refuse = f"RAISE EXCEPTION 'refused by a trigger' USING ERRCODE = '{state}'"
    body = f"BEGIN IF {when} THEN {refuse}; END IF; RETURN NEW; END"
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f"CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $f$ {body} $f$".encode())
        conn.execute(f"CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()".encode())


@pytest.mark.parametrize("count", [1, 5, 50])
def test_poison_rows_cost_only_themselves(own: Own, database: str, count: int) -> None:
    """Of 5 000 rows, the bad ones go to quarantine with their bytes, the others are stored once, in one commit."""
    bad = set(random.Random(count).sample(range(5000), count))
    aside = own().commit(trades(0, 5000, bad))
    assert {frame.n for frame in aside} == bad
    assert stored(database) == sorted(set(range(5000)) - bad)
    assert position(database) == (RUN, 5000)
    rows = ask(database, "SELECT frame, convert_from(raw, 'UTF8'), source, feed FROM quarantine")
    assert set(rows) == {(f"{RUN}/{n}", f"frame {n} of {RUN} of {FEED}", "okx", FEED) for n in bad}
    assert len(rows) == count


@pytest.mark.parametrize(
    ("price", "state"),
    [
        ("1.5\x00", "22021"),
        ("\udcff", "22021"),
        ("1\t2", "22P04"),
        ("", "22P02"),
        ("1e999999", "22003"),
    ],
    ids=["nul", "no-utf8", "one-field-too-many", "empty", "too-large"],
)
def test_every_kind_of_bad_value_is_found(own: Own, database: str, price: str, state: str) -> None:
    """Whatever the server objects to in a line, its frame alone is set aside, with the server's reason."""
    lines = [trade(n) for n in range(50)]
    good = part(lines, range(50)).rows
    line = trade(17).replace("65000.1", price).encode("utf-8", "surrogateescape")
    data = b"".join([line if n == 17 else lines[n].encode() for n in range(50)])
    rows = Rows(data, good.streams, good.seq_from, good.seq_to, good.times, good.frames)
    aside = own().commit(Flush([move(0, 50)], {"trades": [Part(FEED, RUN, rows)]}))
    assert [(frame.n, frame.reason[:5]) for frame in aside] == [(17, state)]
    assert stored(database) == [n for n in range(50) if n != 17]


def test_a_bad_frame_takes_all_its_rows_in_all_tables_along(own: Own, database: str) -> None:
    """A frame whose candle is refused is withdrawn from trades, too, though those had been stored before it."""
    frames = [n // 3 for n in range(30)]
    lines = [trade(n) for n in range(30)]
    candles = [candle(n, "1.5" if n != 4 else "bad", "f", bar=n) for n in range(10)]
    flush = Flush([move(0, 10)], {"trades": [part(lines, frames)], "candles": [part(candles, range(10))]})
    (aside,) = own().commit(flush)
    assert (aside.n, sorted(row.table for row in aside.rows)) == (4, ["candles", "trades", "trades", "trades"])
    assert stored(database) == [n for n in range(30) if n // 3 != 4]
    assert ask(database, "SELECT count(*) FROM candles") == [(9,)]


def test_equal_frame_numbers_of_different_feeds_are_different_frames(own: Own, database: str) -> None:
    """Poison in frame 3 of one feed leaves frame 3 of the other one alone."""
    other = "okx/public/1"
    good, bad = [trade(n) for n in range(5)], [trade(100 + n, price="x" if n == 3 else "1") for n in range(5)]
    flush = Flush([move(0, 5), move(0, 5, other)], {"trades": [part(good, range(5)), part(bad, range(5), feed=other)]})
    (aside,) = own(feeds=(FEED, other)).commit(flush)
    assert (aside.feed, aside.n) == (other, 3)
    assert stored(database) == [0, 1, 2, 3, 4, 100, 101, 102, 104]


def test_without_a_line_number_halves_find_the_frame(own: Own, database: str) -> None:
    """An error that names no line (candles are merged after their COPY) is narrowed down by halves."""
    _raise(database, "candles", "23514", "NEW.volume IN (3, 41)")
    candles = [candle(n, "1.5", "f", bar=n) for n in range(60)]
    aside = own().commit(Flush([move(0, 60)], {"candles": [part(candles, range(60))]}))
    assert sorted(frame.n for frame in aside) == [3, 41]
    assert ask(database, "SELECT count(*) FROM candles") == [(58,)]


def test_rows_that_clash_with_each_other_keep_the_first(own: Own, database: str) -> None:
    """Somebody added a unique index: of two equal rows the first is stored, the second set aside; nothing spins."""
    ask(database, "CREATE UNIQUE INDEX ON trades (source, channel, symbol, time, trade_id)")
    lines = [trade(n % 40) for n in range(50)]
    aside = own().commit(Flush([move(0, 50)], {"trades": [part(lines, range(50))]}))
    assert sorted(frame.n for frame in aside) == list(range(40, 50))
    assert {frame.reason[:5] for frame in aside} == {"23505"}
    assert stored(database) == list(range(40))


def test_a_flush_of_nothing_but_poison_ends(own: Own, database: str) -> None:
    """Every row bad: all set aside, raw copies only as many as a minute allows, the position moves on."""
    one = own()
    one._allowance = Allowance(per_minute=10, clock=lambda: 0.0)
    assert len(one.commit(trades(0, 300, range(300)))) == 300
    assert stored(database) == []
    assert position(database) == (RUN, 300)
    assert ask(database, "SELECT count(*), count(raw) FROM quarantine") == [(300, 10)]


def test_lines_that_nobody_can_count_stand_or_fall_together(own: Own, database: str) -> None:
    """A part with more lines than rows loses nothing else: its frames are set aside, other parts are stored."""
    good = part([trade(n) for n in range(5)], range(5))
    rows = part([trade(10), trade(11)], (5, 6)).rows
    broken = Part(
        FEED, RUN, Rows(rows.data + b"torn\n", *(rows.streams, rows.seq_from, rows.seq_to, rows.times, [5, 6]))
    )
    aside = own().commit(Flush([move(0, 7)], {"trades": [good, broken]}))
    assert sorted(frame.n for frame in aside) == [5, 6]
    assert stored(database) == list(range(5))


def test_the_gap_of_a_quarantined_frame_is_in_the_same_commit(own: Own, database: str) -> None:
    """What the writer has to say of withdrawn frames is stored with the position that passes them."""

    def gap(aside: list[Quarantined]) -> list[tuple[str, list[Params]]]:
        at = "2026-11-21 00:00:00+00"
        rows: list[Params] = [
            ("okx", "trades", "BTC-USDT", at, at, row.seq_from, row.seq_to, 1, "quarantined", "open", at, at)
            for frame in aside
            for row in frame.rows
        ]
        return [("insert_gap", rows)]

    own(aside=gap).commit(trades(0, 20, {7}))
    assert ask(database, "SELECT from_seq, to_seq, cause FROM gaps") == [(7, 7, "quarantined")]


def test_a_statement_that_cannot_be_stored_is_set_aside_too(own: Own, database: str) -> None:
    """NUL in a venue's words never stops the writer: the statement is kept in quarantine, all else is stored."""
    flush = trades(0, 5)
    at = "2026-11-21 00:00:00+00"
    flush.statements = [("insert_event", [(at, "okx", FEED, "1", "none", words) for words in ("a", "b\0c", "\ud800")])]
    aside = own().commit(flush)
    assert [(frame.feed, frame.run, frame.n) for frame in aside] == [(FEED, "insert_event", -1)] * 2
    assert ask(database, "SELECT message FROM venue_events") == [("a",)]
    assert [frame for frame, _ in _quarantine(database)] == ["statement/insert_event"] * 2
    assert stored(database) == list(range(5))


# --- SQLSTATEs against a real server ---------------------------------------------------------------------------------


def _refused(one: Sink, flush: Flush) -> SinkUnavailable:
    with pytest.raises(SinkUnavailable) as caught:
        one.commit(flush)
    return caught.value


def test_what_passes_is_tried_again(own: Own, database: str) -> None:
    """Retriable errors hand the flush back whole, however often; once they are over, the same flush is stored once."""
    one = own()
    flush = trades(0, 10)
    for state in ("53100", "53300", "40001", "40P01", "55P03", "57014", "57P01", "XX000", "08006"):
        _raise(database, "trades", state, "NEW.seq = 3")
        for _ in range(IDENTICAL_FAILURES + 1):
            assert not isinstance(_refused(one, flush), SinkParked), state
        ask(database, "DROP TRIGGER refuse ON trades")
    assert one.commit(flush) == []
    assert stored(database) == list(range(10))


def test_a_server_in_trouble_during_the_search_blames_no_row(own: Own, database: str) -> None:
    """Poison and a full disk at once: the flush is handed back whole; nothing is set aside for the disk's sake."""
    one = own()
    _raise(database, "venue_events", "53100", "true")
    flush = trades(0, 10, {4})
    at = "2026-11-21 00:00:00+00"
    flush.statements = [("insert_event", [(at, "okx", FEED, "1", "none", "a")])]
    _refused(one, flush)
    assert stored(database) == []
    ask(database, "DROP TRIGGER refuse ON venue_events")
    assert [frame.n for frame in one.commit(flush)] == [4]
    assert ask(database, "SELECT message FROM venue_events") == [("a",)]


@pytest.mark.parametrize(
    "change",
    ["ALTER TABLE trades RENAME COLUMN price TO cost", "ALTER TABLE trades RENAME TO deals"],
    ids=["column", "table"],
)
def test_what_somebody_must_mend_parks(own: Own, database: str, change: str) -> None:
    """Tables that changed under the recorder: parked with a sentence that names the remedy, nothing is set aside."""
    one = own()
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(change.encode())
    error = _refused(one, trades(0, 10))
    assert isinstance(error, SinkParked)
    assert "recorder migrate" in str(error)
    assert ask(database, "SELECT count(*) FROM quarantine") == [(0,)]


def test_an_unknown_error_is_retried_and_at_last_isolated(own: Own, database: str) -> None:
    """An SQLSTATE in no table is never dropped: ten identical failures, then its frame alone is set aside."""
    one = own()
    _raise(database, "trades", "P0001", "NEW.seq = 3")
    flush = trades(0, 10)
    for _ in range(IDENTICAL_FAILURES - 1):
        _refused(one, flush)
    assert [frame.n for frame in one.commit(flush)] == [3]
    assert stored(database) == [n for n in range(10) if n != 3]


def test_an_unknown_error_of_every_row_is_nobodys_poison(own: Own, database: str) -> None:
    """Whatever is wrong with a server that refuses every row, it is not the rows: nothing is set aside, for ever."""
    one = own()
    _raise(database, "trades", "P0001", "true")
    flush = trades(0, 10)
    for _ in range(IDENTICAL_FAILURES + 2):
        _refused(one, flush)
    ask(database, "DROP TRIGGER refuse ON trades")
    assert one.commit(flush) == []
    assert stored(database) == list(range(10))


# --- pure ----------------------------------------------------------------------------------------------------------


def test_units_follow_frames() -> None:
    """Lines next to each other of one frame stand or fall together; parts are never mixed."""
    lines = [trade(n) for n in range(4)]
    found = list(units("trades", [part(lines, (7, 7, 8, 9)), part(lines[:1], (7,), feed="b")]))
    assert [(sorted(unit.keys), unit.lines) for unit in found] == [
        ([(FEED, RUN, 7)], 2),
        ([(FEED, RUN, 8)], 1),
        ([(FEED, RUN, 9)], 1),
        ([("b", RUN, 7)], 1),
    ]
    assert b"".join(unit.data for unit in found) == "".join([*lines, lines[0]]).encode()


def test_raw_copies_are_limited_by_the_minute() -> None:
    """So many raw copies a minute, and again as many in the next one."""
    now = [0.0]
    allowance = Allowance(per_minute=2, clock=lambda: now[0])
    assert [allowance.take() for _ in range(3)] == [True, True, False]
    now[0] = 60.0
    assert allowance.take()


def test_a_wrong_line_number_costs_no_innocent_frame(own: Own, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The frame that a line number names is tried alone first: a wrong number only makes the search longer."""
    monkeypatch.setattr(isolate, "_line", lambda _: 2)
    assert [frame.n for frame in own().commit(trades(0, 40, {31}))] == [31]
    assert stored(database) == [n for n in range(40) if n != 31]
