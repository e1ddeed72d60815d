"""Resume: what the database says, what the spool holds, and what continuity knows are brought together."""

from __future__ import annotations

from typing import cast

import pytest

from recorder.errors import SinkUnavailable
from recorder.quality.continuity import Continuity
from recorder.records import Stream
from recorder.store.flush import Position
from recorder.store.prepare import LastRecord
from recorder.store.resume import Resume
from recorder.store.sink import Sink, SinkParked
from recorder.store.writer import Writer
from tests.unit.storerig import FEED, SOURCE, Rig, Side, firsts, kind, trade, turn_until

A = Stream(SOURCE, "trades", "A")


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """A database, a disk, a clock."""
    return Rig(monkeypatch)


def resume(rig: Rig) -> None:
    """Once, as the writer would."""
    Resume(cast(Sink, rig.store), rig.preparer, rig._adopt).run([side.lane for side in rig.sides])


def stand(side: Side) -> tuple[str, int]:
    return side.lane.run, side.lane.next


def recorded(rig: Rig, *numbers: int) -> tuple[Side, Writer]:
    """A feed with these trades received and stored, and a checkpoint behind the first of them."""
    side = rig.open()
    writer = rig.writer()
    for n in numbers:
        side.trades(n)
        turn_until(writer, lambda: stand(side) == (side.run, side.spool.next) and side.lane.move() is None)
    return side, writer


# --- beginning -------------------------------------------------------------------------------------------------------


def test_a_new_feed_begins_at_its_oldest_frame(rig: Rig) -> None:
    """Without a row in `positions` one is made at the oldest frame held, and the cursor stands there."""
    side = rig.open()
    side.trades(1, 2)
    resume(rig)
    assert rig.store.held == {FEED: Position(FEED, side.run, 0, 1)}
    assert side.lane.position == rig.store.held[FEED]
    assert (stand(side), side.state.live) == ((side.run, 0), False)


def test_positions_are_taken_over(rig: Rig) -> None:
    """Every resume lifts the epoch: whoever held the positions before is fenced."""
    side = rig.open()
    side.trades(1, 2, 3)
    rig.store.held[FEED] = Position(FEED, side.run, 2, 6)
    resume(rig)
    assert side.lane.position == Position(FEED, side.run, 2, 7)
    assert stand(side) == (side.run, 2)


def test_the_lag_is_known_at_once(rig: Rig) -> None:
    """The oldest record that is not committed is dated before anything is written."""
    side = rig.open()
    side.trades(1)
    rig.time.run(30)
    side.trades(2)
    rig.store.held[FEED] = Position(FEED, side.run, 1, 1)
    resume(rig)
    assert side.lane.uncommitted_at == rig.time.now_us()


def test_an_empty_database_is_adopted(rig: Rig) -> None:
    """Where the tables are ours to make they are made, and the connection is tried again."""
    rig.open()
    rig.adopted.append(True)
    rig.store.fail("connect", SinkParked("there are no tables"))
    resume(rig)
    assert rig.store.calls[:2] == ["connect", "connect"]
    assert FEED in rig.store.held


def test_a_database_that_is_not_ours_to_change_is_named(rig: Rig) -> None:
    """An older schema stays as it is; the sentence that says so comes through, and no position is touched."""
    rig.open()
    rig.store.fail("connect", SinkParked("run `recorder migrate`"))
    with pytest.raises(SinkParked, match="migrate"):
        resume(rig)
    assert rig.store.calls == ["connect"]


@pytest.mark.parametrize("step", ["positions", "take_over", "streams", "checkpoints"])
def test_a_resume_that_breaks_off_is_begun_again(rig: Rig, step: str) -> None:
    """The database may go away at any step of resuming: the next try gives the same cursor and the same knowledge."""
    recorded(rig, 1, 2, 3)
    rig.restart()
    side = rig.open()
    side.trades(5)
    rig.store.fail(step, SinkUnavailable("away"))
    with pytest.raises(SinkUnavailable):
        resume(rig)
    resume(rig)
    expected = rig.preparer.continuity.dump(FEED)
    turn_until(rig.writer(), lambda: rig.store.numbers() == [1, 2, 3, 5])
    assert b"trades" in expected


def test_a_parked_lane_is_left_alone(rig: Rig) -> None:
    """What another recorder owns is not started, and its cursor does not move."""
    side = rig.open()
    side.trades(1)
    side.lane.parked = "another recorder has taken over"
    resume(rig)
    assert (side.lane.position, stand(side), rig.store.held) == (None, ("", 0), {})


# --- continuity comes back -------------------------------------------------------------------------------------------


def test_frames_since_the_checkpoint_are_replayed_silently(rig: Rig) -> None:
    """What was committed after the last checkpoint is read again for continuity only: a restart right after it finds
    the stream where it was, stores nothing twice, and reports no hole where ids run on."""
    recorded(rig, 1, 2, 3)
    assert rig.store.checkpoints[FEED][2] == 1  # behind the first trade: two are to be replayed
    stored = len(rig.store.flushes)
    rig.restart()
    side = rig.open()
    side.trades(3, 4)  # the venue sends the last trade again
    turn_until(rig.writer(), lambda: rig.store.numbers() == [1, 2, 3, 4])
    assert len(rig.store.flushes) > stored
    assert rig.store.said("insert_gap") == []
    assert rig.count("recorder_duplicates_total", source=SOURCE, channel="trades") == 1
    assert rig.past.asked == []


def test_a_replay_ends_at_the_position(rig: Rig) -> None:
    """Frames after the position are still to be stored: continuity must not have seen them when they are."""
    recorded(rig, 1, 2)
    rig.sides[0].trades(3)  # spooled, not stored
    rig.restart()
    rig.open()
    resume(rig)
    ((number, _),) = rig.preparer.continuity.carried(FEED)
    assert rig.streams[number] == A
    turn_until(rig.writer(), lambda: rig.store.numbers() == [1, 2, 3])
    assert rig.count("recorder_duplicates_total", source=SOURCE, channel="trades") == 0


def test_a_replay_goes_over_runs(rig: Rig) -> None:
    """Between checkpoint and position may lie several short runs."""
    recorded(rig, 1, 2)
    kept = dict(rig.store.checkpoints)
    for n in (3, 4):
        rig.restart()
        recorded(rig, n)
    rig.store.checkpoints = kept
    rig.restart()
    side = rig.open()
    resume(rig)
    side.trades(4, 5)
    turn_until(rig.writer(), lambda: rig.store.numbers() == [1, 2, 3, 4, 5])
    assert (rig.store.said("insert_gap"), rig.past.asked) == ([], [])


def test_what_the_spool_no_longer_gives_the_database_tells(rig: Rig) -> None:
    """Frames that were committed after the checkpoint and are damaged now: their records are asked for, so that the
    next id follows on."""
    recorded(rig, 1, 2, 3)
    rig.sides[0].damage(trade(3))
    rig.past.records[A] = [(2, 2, rig.time.now_us()), (3, 3, rig.time.now_us())]
    rig.restart()
    side = rig.open()
    side.trades(4)
    turn_until(rig.writer(), lambda: rig.store.numbers() == [1, 2, 3, 4])
    rig.time.run(10)
    side.trades(5)
    turn_until(rig.writer(), lambda: rig.store.numbers() == [1, 2, 3, 4, 5])
    assert rig.past.asked == [("since", A)]
    assert rig.store.said("insert_gap") == []


def test_a_stale_checkpoint_is_rebased_from_the_database(rig: Rig) -> None:
    """After a change of the tables a checkpoint only tells which streams there are; the newest record of each comes
    from the database, and what follows on it is no hole."""
    recorded(rig, 1, 2)
    feed, run, n, state, _ = rig.store.checkpoints[FEED]
    rig.store.checkpoints[FEED] = (feed, run, n, state, True)
    rig.past.last[A] = LastRecord(rig.time.now_us(), 2, True)
    rig.restart()
    side = rig.open()
    resume(rig)
    assert rig.past.asked == [("last", A)]
    side.trades(2, 3)
    turn_until(rig.writer(), lambda: rig.store.numbers() == [1, 2, 3])
    assert rig.store.said("insert_gap") == []


def test_knowledge_from_before_is_forgotten(rig: Rig) -> None:
    """A resume while the process runs (a restored database) begins with nothing but what the database says."""
    side, _ = recorded(rig, 1, 2, 3)
    rig.store.checkpoints.clear()
    rig.store.held[FEED] = Position(FEED, side.run, 0, 1)
    before = rig.preparer.continuity
    resume(rig)
    assert rig.preparer.continuity is not before
    assert rig.preparer.continuity.dump(FEED) == Continuity(rig.streams, kind).dump(FEED)
    assert (stand(side), side.lane.safe, side.lane.checkpointed) == ((side.run, 0), None, None)


# --- what the spool no longer holds ----------------------------------------------------------------------------------


def lose(side: Side, which: slice) -> None:
    """Somebody deletes segments."""
    names = sorted(side.rig.disk.files(side.spool.directory))
    for name in names[which]:
        side.rig.disk.unlink(side.spool.directory / name)


def test_a_database_older_than_the_spool_begins_at_the_oldest_frame(rig: Rig) -> None:
    """A restored backup that is older than what is kept: the hole that the next record shows is named for it."""
    rig.segment_bytes = 1
    side, _ = recorded(rig, 1, 2, 3, 4)
    older = Position(FEED, side.run, 1, 1)
    checkpoint = rig.store.checkpoints[FEED]
    assert checkpoint[2] == 1
    lose(side, slice(0, 3))
    rig.store.held[FEED] = older
    rig.store.flushes.clear()
    rig.restart()
    new = rig.open()
    resume(rig)
    assert stand(new) == (side.run, 3)
    rig.time.run(10)
    new.trades(5)
    rig.time.run(10)
    new.trades(6)
    turn_until(rig.writer(), lambda: rig.store.numbers() == [4, 5, 6])
    assert [row[5:9] for row in rig.store.said("insert_gap")] == [(2, 3, 2, "database_restored")]


def test_a_run_that_is_gone_altogether_costs_only_itself(rig: Rig) -> None:
    """All segments of the position's run are lost while older ones are still kept: those were stored already, and are
    not stored again; what was not committed of the lost run is named as lost."""
    recorded(rig, 1, 2)
    rig.restart()
    gone, _ = recorded(rig, 3)
    gone.trades(4)
    gone.spool.sync()
    rig.restart()
    side = rig.open()
    side.trades(5)
    for name in rig.disk.files(gone.spool.directory):
        if name.startswith(f"{gone.spool.header.run_ordinal:08d}"):
            rig.disk.unlink(gone.spool.directory / name)
    writer = rig.writer()
    turn_until(writer, lambda: stand(side) == (side.run, 1) and side.lane.move() is None)
    assert rig.store.numbers() == [1, 2, 3, 5]
    (event,) = rig.store.said("insert_event")
    assert event[3:5] == ("spool", "corrupt")
    assert event[5] == f"frames 1 to 1 of run {gone.run}: missing"


def test_a_damaged_end_of_a_run_is_named_with_its_run(rig: Rig) -> None:
    """The last frames of a run are corrupt and the next run follows: the event names the run that lost them."""
    recorded(rig, 1)
    old = rig.sides[0]
    old.trades(2, 3)
    old.damage(trade(3))
    rig.restart()
    side = rig.open()
    writer = rig.writer()
    turn_until(writer, lambda: stand(side) == (side.run, 0) and side.lane.move() is None)
    assert rig.store.numbers() == [1, 2]
    (event,) = rig.store.said("insert_event")
    assert event[5] == f"frames 2 to 2 of run {old.run}: corrupt"
    assert firsts(side.lane.read(1 << 20)) == []
