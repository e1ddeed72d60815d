"""The writer's turns: which feed comes next, when continuity is kept, and how it ends."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from recorder.errors import SinkUnavailable
from recorder.store import writer as writer_module
from recorder.store.isolate import Quarantined
from recorder.store.writer import CHECKPOINT_SECONDS
from tests.unit.storerig import FEED, Rig, Side, live, trade, turn_until

AWAY = SinkUnavailable("the database does not answer")


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """A database, a disk, a clock; flushes of 0.1 s."""
    return Rig(monkeypatch)


# --- behind and live -------------------------------------------------------------------------------------------------


def backlog(rig: Rig, feeds: int, bursts: int) -> list[Side]:
    """Feeds with so many bursts in their spools."""
    sides = [rig.open(f"toy/public/{n}") for n in range(feeds)]
    for n in range(bursts):
        for side in sides:
            side.trades(n, symbol=side.feed[-1])
    return sides


def moved(rig: Rig) -> list[str]:
    """Which feed each committed flush moved."""
    return ["+".join(move.feed[-1] for move in flush.moves) for flush in rig.store.flushes]


def test_feeds_behind_take_turns(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice of each in turn, a transaction each: a large backlog does not hold up another feed's."""
    monkeypatch.setattr(writer_module, "SLICE_BYTES", 1)
    backlog(rig, 3, 4)
    writer = rig.writer()
    turn_until(writer, lambda: len(rig.store.numbers()) == 12)
    order = moved(rig)[:12]
    assert all(set(order[at : at + 3]) == {"0", "1", "2"} for at in range(0, 12, 3))


def test_a_backlog_does_not_hold_up_live_feeds(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two slices what the live feeds brought is flushed, without waiting for more of it."""
    monkeypatch.setattr(writer_module, "SLICE_BYTES", 1)
    fresh = rig.open("toy/public/9")
    writer = live(rig, fresh)
    (old,) = backlog(rig, 1, 20)
    writer = rig.writer()
    waits: list[float] = []
    for n in range(10):
        fresh.trades(n, symbol="9")
        rig.time.run(0.2)
        came = rig.time.now_us()
        turn_until(writer, lambda n=n: trade(n, "9") in rig.store.lines(), 3)  # type: ignore[misc]
        waits.append(rig.time.now_us() - came)
    assert max(waits[1:]) == 0
    assert not old.state.live


def test_a_backlog_becomes_live_without_a_step_twice(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a feed catches up, more comes; where spool and queue meet, nothing is lost and nothing stored twice."""
    monkeypatch.setattr(writer_module, "SLICE_BYTES", 1)
    (side,) = backlog(rig, 1, 5)
    writer = rig.writer()
    for n in range(5, 30):
        side.trades(n, symbol="0")
        writer.turn()
        writer.turn()
    turn_until(writer, lambda: len(rig.store.numbers()) == 30)
    assert rig.store.numbers() == list(range(30))
    assert side.state.live


def test_a_burst_between_append_and_offer_is_taken_once(rig: Rig) -> None:
    """The spool shows it before the feed offers it: the writer may store it from there, and lets the item go."""
    side = rig.open()
    side.trades(1)
    second = side.append(trade(2))
    writer = rig.writer()
    turn_until(writer, lambda: rig.store.numbers() == [1, 2])
    side.state.offer(second)
    assert side.lane.uncommitted_at is None
    side.trades(3)
    turn_until(writer, lambda: rig.store.numbers() == [1, 2, 3])
    assert side.state.live


def test_an_item_that_does_not_fit_sends_the_writer_to_the_spool(rig: Rig) -> None:
    """Should the queue ever skip a burst, the spool gives it: nothing is committed past a frame that was not."""
    side = rig.open()
    writer = live(rig, side)
    side.trades(1)
    rig.items.get_nowait()
    side.trades(2)
    turn_until(writer, lambda: rig.store.numbers() == [1, 2])


def test_a_blocked_feed_waits_for_the_old_one(rig: Rig) -> None:
    """A renamed feed's frames are stored before its successor's; then the successor is stored too, from its spool."""
    old = rig.open("toy/old/0")
    old.trades(*range(5))
    rig.restart()
    side = rig.open()
    retired = rig.retired("toy/old/0")
    side.lane.waits_for.append(retired)
    side.trades(5, 6)
    writer = rig.writer(retired)
    turn_until(writer, lambda: len(rig.store.numbers()) == 7)
    assert rig.store.numbers() == list(range(7))
    assert retired.drained
    turn_until(writer, lambda: side.state.live)
    assert rig.store.said("insert_gap") == []


def test_an_old_feed_that_is_drained_costs_nothing(rig: Rig) -> None:
    """It is not read again at every turn."""
    rig.open("toy/old/0").trades(1)
    rig.restart()
    retired = rig.retired("toy/old/0")
    writer = rig.writer(retired)
    turn_until(writer, lambda: retired.drained)
    attempts = len(rig.store.attempts)
    for _ in range(10):
        began = rig.time.now
        writer.turn()
        assert rig.time.now == pytest.approx(began + writer_module.IDLE)
    assert len(rig.store.attempts) == attempts


# --- checkpoints -----------------------------------------------------------------------------------------------------


def test_a_checkpoint_goes_along_every_ten_seconds(rig: Rig) -> None:
    """With the first flush, then with the first after CHECKPOINT_SECONDS, in the same transaction as the position."""
    side = rig.open()
    writer = live(rig, side)
    at: list[float] = []
    for n in range(60):
        side.trades(n)
        rig.time.run(0.5)
        writer.turn()
        flush = rig.store.flushes[-1]
        rows = [row for name, rows in flush.statements if name == "upsert_checkpoint" for row in rows]
        if rows:
            ((_, feed, run, n_, _),) = rows
            assert (feed, run, n_) == (FEED, flush.moves[0].new_run, flush.moves[0].new_next)
            at.append(rig.time.now)
    assert len(at) == 3
    assert all(CHECKPOINT_SECONDS <= later - before <= CHECKPOINT_SECONDS + 1 for before, later in pairwise(at))


def test_segments_are_safe_to_delete_once_the_checkpoint_is_committed(rig: Rig) -> None:
    """Not while it is only prepared: a crash would need the frames behind the older one."""
    side = rig.open()
    writer = live(rig, side)
    side.trades(1)
    rig.store.fail("commit", AWAY)
    seen: list[tuple[str, int] | None] = []
    rig.time.at(0.1, lambda: seen.append(side.lane.safe))
    turn_until(writer, lambda: rig.store.numbers() == [1])
    assert seen == [None]
    assert side.lane.safe == (side.run, 1)
    side.trades(2)
    turn_until(writer, lambda: rig.store.numbers() == [1, 2])
    assert side.lane.safe == (side.run, 1)


def test_the_spool_is_looked_after_every_five_seconds(rig: Rig) -> None:
    """Idle or not, from the writer's thread, because it reads the segments."""
    writer = live(rig, rig.open())
    began = rig.time.now
    while rig.time.now < began + 31:
        writer.turn()
    assert len(rig.released) == 6


def test_where_room_is_short_a_checkpoint_waits_for_no_flush(rig: Rig) -> None:
    """On a full disk nothing comes: what is committed gets a checkpoint, once, and the spool a look at once."""
    side = rig.open()
    writer = live(rig, side)
    for n in (1, 2):
        side.trades(n)
        turn_until(writer, lambda last=n: rig.store.numbers()[-1:] == [last])  # type: ignore[misc]
    assert side.lane.safe == (side.run, 1)
    rig.short = True
    turn_until(writer, lambda: side.lane.safe == (side.run, 2))
    looks, attempts = len(rig.released), len(rig.store.attempts)
    writer.turn()
    assert len(rig.released) == looks + 1
    rig.time.run(30)
    writer.turn()
    assert len(rig.store.attempts) == attempts


# --- stopping --------------------------------------------------------------------------------------------------------


def test_at_the_end_everything_is_committed_and_checkpointed(rig: Rig) -> None:
    """A stop takes what the queue holds and what the spools still have, and leaves nothing to read again."""
    sides = backlog(rig, 2, 3)
    writer = live(rig)
    turn_until(writer, lambda: len(rig.store.numbers()) == 6)
    sides[0].trades(3, symbol="0")
    writer.stop(9)
    writer.run()
    assert writer.fault is None
    assert sorted(rig.store.numbers()) == [0, 0, 1, 1, 2, 2, 3]
    assert {feed: row[1:3] for feed, row in rig.store.checkpoints.items()} == {
        side.feed: (side.run, side.spool.next) for side in sides
    }
    assert rig.store.flushes[-1].moves == []
    assert "writer" not in rig.beats.ages()


def test_a_checkpoint_that_stands_is_not_written_again(rig: Rig) -> None:
    """Nothing came since: the end costs no transaction."""
    side = rig.open()
    writer = live(rig, side)
    side.trades(1)
    turn_until(writer, lambda: rig.store.numbers() == [1])
    attempts = len(rig.store.attempts)
    writer.stop(9)
    writer.run()
    assert (writer.fault, len(rig.store.attempts)) == (None, attempts)


def test_a_stop_during_an_outage_is_quick_and_loses_nothing(rig: Rig) -> None:
    """What cannot be committed stays in the spool; the next start stores it."""
    side = rig.open()
    writer = live(rig, side)
    side.trades(1, 2)
    rig.store.fail("commit", *[AWAY] * 100)

    def stop() -> None:
        side.trades(3)
        writer.stop(5)

    rig.time.at(3.0, stop)
    began = rig.time.now
    writer.run()
    assert (writer.fault, rig.store.numbers()) == (None, [])
    assert rig.time.now <= began + 3.0 + 1e-6
    rig.store.trouble.clear()
    rig.restart()
    rig.open()
    turn_until(rig.writer(), lambda: rig.store.numbers() == [1, 2, 3])


def test_a_stop_ends_at_its_deadline(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backlog larger than the time allows is left to the next start."""
    monkeypatch.setattr(writer_module, "SLICE_BYTES", 1)
    backlog(rig, 1, 50)
    writer = live(rig)
    commit = rig.store.commit

    def slow(flush: Any) -> list[Quarantined]:
        rig.time.run(1.0)
        return commit(flush)

    rig.store.commit = slow  # type: ignore[method-assign]
    writer.stop(5)
    began = rig.time.now
    writer.run()
    assert writer.fault is None
    assert rig.time.now - began < 8
    assert 0 < len(rig.store.numbers()) < 10


def test_a_stop_before_the_database_was_ever_there(rig: Rig) -> None:
    """Nothing is waited for, nothing written."""
    rig.open().trades(1)
    writer = rig.writer()
    writer.stop(9)
    writer.run()
    assert (writer.fault, rig.store.calls) == (None, [])
