"""The writer: what it takes, when it flushes, what it tries again, and what it leaves to others."""

from __future__ import annotations

from typing import Any

import pytest

from recorder.errors import AlreadyRunning, SinkUnavailable
from recorder.store.flush import Position
from recorder.store.isolate import Quarantined, Withdrawn
from recorder.store.prepare import Preparer
from recorder.store.sink import Fenced, PositionMoved
from recorder.store.writer import RELEASE_SECONDS, Writer
from tests.unit.storerig import FEED, SOURCE, Rig, Side, live, trade, turn_until

AWAY = SinkUnavailable("the database does not answer")


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """A database, a disk, a clock; flushes of 0.1 s."""
    return Rig(monkeypatch)


def sizes(rig: Rig) -> list[int]:
    """Rows of every committed flush that has any."""
    return [flush.rows for flush in rig.store.flushes if flush.rows]


# --- when a flush is done --------------------------------------------------------------------------------------------


def test_a_flush_waits_until_its_oldest_record_is_old_enough(rig: Rig) -> None:
    """Records are gathered for `flush_age` from the moment the first was received, and committed then."""
    side = rig.open()
    writer = live(rig, side)
    began = rig.time.now
    for n in range(4):
        rig.time.at(0.03 * n, lambda n=n: side.trades(n))  # type: ignore[misc]
    writer.turn()
    assert (sizes(rig), rig.store.numbers()) == ([4], [0, 1, 2, 3])
    assert rig.time.now == pytest.approx(began + 0.1)


def test_what_waited_in_the_queue_is_not_made_to_wait_again(rig: Rig) -> None:
    """The age counts from receiving: a record that is older than `flush_age` already goes with what is there."""
    side = rig.open()
    writer = live(rig, side)
    side.trades(1, 2)
    rig.time.run(0.5)
    began = rig.time.now
    rig.time.at(0.01, lambda: side.trades(3))
    writer.turn()
    assert (rig.store.numbers(), rig.time.now) == ([1, 2], began)


def test_enough_rows_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """`flush_rows` bounds a transaction: a flush ends with the burst that reaches it, however young."""
    rig = Rig(monkeypatch, flush_rows=5, flush_age=60.0)
    side = rig.open()
    writer = live(rig, side)
    began = rig.time.now
    for n in range(0, 12, 2):
        side.receive(trade(n), trade(n + 1))
    writer.turn()
    writer.turn()
    assert (sizes(rig), rig.time.now) == ([6, 6], began)


def test_a_clock_that_was_set_back_does_not_hold_a_flush(rig: Rig) -> None:
    """A received_at in the future counts as young, not as younger than now: a flush takes `flush_age` at most."""
    side = rig.open()
    writer = live(rig, side)
    burst = side.append(trade(1))
    burst.received_at += 3_600_000_000
    side.state.offer(burst)
    began = rig.time.now
    writer.turn()
    assert rig.store.numbers() == [1]
    assert rig.time.now <= began + 0.1 + 1e-6


def test_feeds_share_a_transaction(rig: Rig) -> None:
    """One flush moves every feed that brought something, and no other."""
    sides = [rig.open(f"toy/public/{n}") for n in range(3)]
    writer = live(rig, *sides)
    sides[0].trades(1, symbol="A")
    sides[2].trades(1, symbol="C")
    rig.time.run(1)
    writer.turn()
    flush = rig.store.flushes[-1]
    assert [move.feed for move in flush.moves] == ["toy/public/0", "toy/public/2"]
    assert rig.store.lines() == [trade(1, "A"), trade(1, "C")]


def test_a_burst_without_rows_moves_the_position(rig: Rig) -> None:
    """What has nothing to store is committed all the same, or it would be read again for ever."""
    side = rig.open()
    writer = live(rig, side)
    side.receive("pong")
    turn_until(writer, lambda: rig.store.held[FEED].next == 1)
    assert rig.store.lines() == []
    assert side.lane.uncommitted_at is None


def test_nothing_new_is_no_transaction(rig: Rig) -> None:
    """An idle recorder does not write."""
    writer = live(rig, rig.open())
    for _ in range(20):
        writer.turn()
    assert rig.store.attempts == []


# --- the database goes away ------------------------------------------------------------------------------------------


class Counting:
    """Counts what is prepared."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.firsts: list[int] = []
        add = Preparer.add

        def counted(preparer: Preparer, to: Any, lane: Any, item: Any) -> None:
            self.firsts.append(item.first)
            add(preparer, to, lane, item)

        patch.setattr(Preparer, "add", counted)


def test_the_same_flush_is_tried_until_it_is_committed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage in the middle costs retries of one object: nothing is prepared twice, nothing counted twice, and the
    next flush begins where this one ended."""
    side = rig.open()
    writer = live(rig, side)
    prepared = Counting(monkeypatch)
    side.trades(1, 1, 2)
    rig.store.fail("commit", *[AWAY] * 7)
    rig.time.run(1)
    writer.turn()
    assert len(rig.store.attempts) == 8
    assert all(attempt is rig.store.attempts[0] for attempt in rig.store.attempts)
    assert prepared.firsts == [0, 1, 2]
    assert rig.store.numbers() == [1, 2]
    assert rig.count("recorder_rows_committed_total", table="trades") == 2
    assert rig.count("recorder_duplicates_total", source=SOURCE, channel="trades") == 1
    assert rig.count("recorder_commit_seconds_count") == 1
    side.trades(3)
    turn_until(writer, lambda: rig.store.numbers() == [1, 2, 3])
    assert prepared.firsts == [0, 1, 2, 3]


def test_what_came_during_an_outage_comes_from_the_spool(rig: Rig) -> None:
    """The queue overflows while the writer waits: afterwards the spool gives the rest, each record once, in order."""
    side = rig.open(share=2000)
    writer = live(rig, side)
    side.trades(0)
    rig.store.fail("commit", *[AWAY] * 12)
    for n in range(1, 40):
        rig.time.at(0.05 * n, lambda n=n: side.trades(n))  # type: ignore[misc]
    rig.time.run(0.2)
    writer.turn()
    assert rig.count("recorder_queue_overflows_total", source=SOURCE) >= 1
    rig.time.run(10)
    turn_until(writer, lambda: rig.store.held[FEED].next == 40)
    assert rig.store.numbers() == list(range(40))
    assert side.lane.uncommitted_at is None
    side.trades(40)
    turn_until(writer, lambda: rig.store.numbers() == list(range(41)))


def test_the_trouble_is_told_and_taken_back(rig: Rig) -> None:
    """`database` says in a sentence why nothing is written, and nothing once it is."""
    side = rig.open()
    rig.store.fail("connect", AWAY)
    writer = rig.writer()
    assert writer.database == "not connected yet"
    told: list[str] = []
    rig.time.at(0.0, lambda: told.append(writer.database))
    writer.turn()
    assert (told, writer.database) == ([str(AWAY)], "")
    assert writer.committed_at is None
    side.trades(1)
    turn_until(writer, lambda: rig.store.numbers() == [1])
    assert writer.committed_at == rig.time.now


def test_waiting_beats_and_looks_after_the_spool(rig: Rig) -> None:
    """While the database is away the writer is not stuck: it beats, and old segments are released or shed."""
    side = rig.open()
    writer = live(rig, side)
    side.trades(1)
    rig.store.fail("commit", *[AWAY] * 14)
    began, oldest = rig.time.now, 0.0

    def look() -> None:
        nonlocal oldest
        oldest = max(oldest, rig.beats.ages()["writer"])
        rig.time.at(0.25, look)

    look()
    writer.turn()
    passed = rig.time.now - began
    assert oldest <= 1.0 + 1e-6
    assert passed > RELEASE_SECONDS
    assert len(rig.released) >= passed / (RELEASE_SECONDS + 1.0) - 1


def test_meeting_streams_is_tried_again_too(rig: Rig) -> None:
    """The database may go away while the writer asks it for a stream that it must know: the same work goes on."""
    side = rig.open()
    rig.store.streams.add((SOURCE, "trades", "A"))
    writer = live(rig, side)
    side.trades(1)
    calls: list[object] = []
    ask = rig.past.last_record

    def failing(stream: Any) -> Any:
        calls.append(stream)
        if len(calls) < 3:
            raise AWAY
        return ask(stream)

    rig.past.last_record = failing  # type: ignore[method-assign]
    turn_until(writer, lambda: rig.store.numbers() == [1])
    assert len(calls) == 3


# --- somebody else ---------------------------------------------------------------------------------------------------


def test_a_position_that_moved_is_resumed_from(rig: Rig) -> None:
    """A restored database has the positions of its day: the writer starts from them and stores what came since, again
    from the spool."""
    side = rig.open()
    writer = live(rig, side)
    side.trades(1, 2, 3)
    turn_until(writer, lambda: rig.store.numbers() == [1, 2, 3])
    del rig.store.flushes[:]
    rig.store.checkpoints.clear()
    rig.store.held[FEED] = Position(FEED, side.run, 1, rig.store.held[FEED].epoch)
    side.trades(4)
    turn_until(writer, lambda: rig.store.numbers() == [2, 3, 4])
    assert rig.store.calls.count("take_over") == 2
    assert writer.database == ""


def fence(rig: Rig, writer: Writer, side: Side, where: str) -> None:
    """Another recorder takes over: found at a commit, or when positions have moved and are taken over anew."""
    side.trades(1)
    if where == "take_over":
        rig.store.fail("commit", PositionMoved("moved", {}, restored=False))
    rig.store.fail(where, Fenced("another recorder with this identity has taken over"))
    for _ in range(3):
        rig.time.run(1)
        writer.turn()


@pytest.mark.parametrize("where", ["commit", "take_over"])
def test_a_fenced_writer_is_parked(rig: Rig, where: str) -> None:
    """It says why, commits nothing more, asks nothing more, and does not spin; feeds go on spooling, the queue stays
    empty, and the spool is still looked after."""
    side = rig.open()
    writer = live(rig, side)
    fence(rig, writer, side, where)
    assert writer.database == side.lane.parked == "another recorder with this identity has taken over"
    calls, began, released = len(rig.store.calls), rig.time.now, len(rig.released)
    for n in range(2, 200):
        side.trades(n)
        writer.turn()
    assert rig.store.calls[calls:] == []
    assert (rig.store.numbers(), rig.items.qsize(), side.state.queued_bytes) == ([], 0, 0)
    assert rig.time.now > began + 5
    assert len(rig.released) > released


@pytest.mark.parametrize("where", ["commit", "take_over"])
def test_a_fenced_writer_can_be_stopped(rig: Rig, where: str) -> None:
    """It ends at once and writes no checkpoint over the other recorder's."""
    side = rig.open()
    writer = live(rig, side)
    fence(rig, writer, side, where)
    attempts = len(rig.store.attempts)
    writer.stop(5)
    writer.run()
    assert (writer.fault, len(rig.store.attempts)) == (None, attempts)


def test_another_machine_that_was_seen_just_now_ends_the_process(rig: Rig) -> None:
    """Exit 73 is for the supervisor to say: the writer keeps the reason and ends."""
    rig.open()
    rig.store.fail("take_over", AlreadyRunning("seen 3 s ago from another machine"))
    writer = rig.writer()
    writer.run()
    assert isinstance(writer.fault, AlreadyRunning)
    assert "writer" not in rig.beats.ages()


# --- what the database set aside -------------------------------------------------------------------------------------


def test_frames_set_aside_are_counted_with_their_source(rig: Rig) -> None:
    """The rest of their flush is stored; the counters tell both, once."""
    side = rig.open()
    writer = live(rig, side)
    side.trades(1, 2, 3)
    stream = side.append(trade(9)).tables["trades"].streams[0]
    rig.store.fail("commit", AWAY)
    rig.store.refused = [Quarantined(FEED, side.run, 1, "22P02", (Withdrawn("trades", stream, 0, 2, 2),))]
    turn_until(writer, lambda: rig.store.held[FEED].next >= 3)
    assert rig.count("recorder_rows_committed_total", table="trades") == 2
    assert rig.count("recorder_quarantined_total", source=SOURCE, reason="database") == 1


def test_whatever_ends_the_thread_is_kept(rig: Rig) -> None:
    """A defect must not die unseen: the supervisor finds it in `fault`."""
    rig.open()
    rig.store.fail("positions", ZeroDivisionError("a defect"))
    writer = rig.writer()
    writer.run()
    assert isinstance(writer.fault, ZeroDivisionError)
