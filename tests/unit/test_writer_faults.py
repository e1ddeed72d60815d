"""The writer between a spool and a database that fails: nothing lost, nothing twice, every hole named once."""

from __future__ import annotations

import copy

import pytest

from recorder.capture.spoolreader import SpoolReader
from recorder.config import Database
from recorder.errors import SinkUnavailable
from recorder.quality.trackers import GRACE
from recorder.records import Alive, Opened, now_us
from recorder.store.lane import Lane
from tests.unit.spoolcases import ROOT
from tests.unit.writerrig import Stage


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between tries."""
    monkeypatch.setattr("recorder.store.writer.random.uniform", lambda low, high: 0.0)
    monkeypatch.setattr("recorder.store.writer.IDLE", 0.001)


def test_a_flush_given_up_at_stop_is_not_skipped() -> None:
    """The database fails once while the writer stops: what it gives up then stays uncommitted, whatever comes after."""
    stage = Stage()
    stage.trades(1)
    stage.settle()
    stage.trades(2)

    def stop_and_fail() -> None:
        stage.trades(3)
        stage.writer.stop(5.0)

        raise SinkUnavailable("away")

    stage.bank.script += [stop_and_fail]
    stage.writer.run()
    stage.restart()
    stage.settle()
    assert stage.bank.ids() == [1, 2, 3]


@pytest.mark.parametrize("damaged", [2, 5, 8, 9])
def test_a_corrupt_range_that_is_stored_is_no_gap(damaged: int) -> None:
    """Between checkpoint and position the spool is damaged: the database has those records, so nothing is missing."""
    stage = Stage()
    stage.trades(1)
    stage.settle()
    for n in range(2, 10):
        stage.trades(n)
    stage.settle()
    stage.restart()
    stage.damage(f"trades {damaged} {damaged} ")
    stage.settle()
    stage.trades(10)
    stage.note(Alive(), after=2 * GRACE)
    stage.settle()
    assert stage.bank.ids() == list(range(1, 11))
    assert stage.bank.holes() == []


def test_a_late_record_in_a_corrupt_range_is_no_gap_either() -> None:
    """The checkpoint waits for an id that came afterwards, and was stored, from bytes that are damaged now."""
    stage = Stage()
    stage.trades(1)
    stage.trades(3, after=0)
    stage.settle()
    stage.trades(2, after=0)
    stage.trades(4, after=0)
    stage.settle()
    stage.restart()
    stage.damage("trades 2 2 ")
    stage.settle()
    stage.trades(5)
    stage.note(Alive(), after=2 * GRACE)
    stage.settle()
    assert sorted(stage.bank.ids()) == list(range(1, 6))
    assert stage.bank.holes() == []


def retire(stage: Stage) -> None:
    """The feed has left the configuration: only its spool is there."""
    stage.restart(clean=True)
    stage.spool.close()
    reader = SpoolReader(ROOT, stage.feed, None, stage.disk)
    stage.lane = Lane(stage.feed, "f", reader, None, stage.make_decoder)
    stage.write_with([stage.lane])


@pytest.mark.parametrize("trouble", ["", "lost reply", "away"])
def test_a_retired_feed_leaves_nothing_open(trouble: str) -> None:
    """What waited for its grace when the feed ended is a gap row, once; connections and subscriptions end."""
    stage = Stage()
    stage.note(Opened("wss://venue"))
    stage.trades(1)
    stage.trades(3, after=0)
    stage.settle()
    stage.writer.stop(5.0)
    stage.writer.run()
    for _ in range(2):
        retire(stage)
        stage.bank.said.clear()
        stage.bank.script += ["", trouble]
        for _ in range(5):
            stage.writer.turn()
        assert stage.lane.concluded and stage.lane.uncommitted_at is None
        assert stage.bank.holes() == [("sequence", 2, 2, 1)]
        assert {"abandon_connections", "end_feed_subscriptions"} <= {name for name, _ in stage.bank.said}


def test_a_lost_range_is_told_with_its_own_run_and_time() -> None:
    """The end of a run is damaged and the cursor goes on in the next: the event names the run that lost something."""
    stage = Stage()
    stage.trades(1)
    run = stage.spool.run
    stage.spool.close()
    stage.damage("trades 1 1 ")
    stage.restart()
    stage.trades(2)
    stage.settle()
    [event] = [params for name, params in stage.bank.said if name == "insert_event"]
    assert run in event[5] and event[0].year > 2000


def test_a_restored_database_gets_a_checkpoint_at_once() -> None:
    """The database is put back to before the recorder's first flush; killed soon after, it still names every hole."""
    stage = Stage()
    empty = copy.deepcopy((stage.bank.held, stage.bank.stored, stage.bank.states, stage.bank.known))
    stage.trades(1)
    stage.settle()
    stage.bank.held, stage.bank.stored, stage.bank.states, stage.bank.known = empty
    stage.trades(3, after=0)
    stage.settle()
    stage.restart()
    stage.trades(4)
    stage.note(Alive(), after=2 * GRACE)
    stage.settle()
    assert (stage.bank.ids(), stage.bank.holes()) == ([1, 3, 4], [("sequence", 2, 2, 1)])


def test_a_long_flush_age_delays_no_stop() -> None:
    """Told to stop while it gathers a flush, the writer commits what it has instead of waiting for more."""
    stage = Stage()
    stage.limits = Database(flush_age=60.0)
    stage.restart()
    stage.settle()
    stage.now = now_us()
    stage.writer.start()
    stage.trades(1, after=0)
    while not stage.items.empty():
        stage.beats.beat("")
    stage.writer.stop(5.0)
    stage.writer.join(5.0)
    assert not stage.writer.is_alive()
    assert stage.bank.ids() == [1]


def test_a_flush_is_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few but large rows do not gather for as long as the flush may be old."""
    monkeypatch.setattr("recorder.store.writer.FLUSH_BYTES", 2000)
    stage = Stage()
    stage.limits = Database(flush_age=60.0)
    stage.restart()
    stage.settle()
    stage.now = now_us()
    for n in range(1, 9):
        stage.trades(n, after=0)
    stage.writer.turn()
    assert stage.bank.ids() == [1, 2, 3, 4]


def test_a_database_that_stands_still_is_no_stuck_writer() -> None:
    """While the sink's own deadline runs, the writer need not beat: a restart would cost records, and mend nothing."""
    stage = Stage()
    stage.settle()
    missed: list[set[str]] = []

    def stand_still() -> None:
        stage.monotonic += stage.bank.deadline + 10.0
        missed.append(set(stage.beats.stale(30.0)))

    stage.bank.script.append(stand_still)
    stage.trades(1)
    stage.settle()
    stage.monotonic += 31.0
    assert (missed, set(stage.beats.stale(30.0))) == ([set()], {"writer"})


def test_a_checkpoint_from_the_future_is_not_believed() -> None:
    """The database was put back just before a stop, whose checkpoint knows more than the database: what the spool
    gives again is stored again, and is no duplicate of anything."""
    stage = Stage()
    stage.trades(1)
    stage.settle()
    older = copy.deepcopy((stage.bank.held, stage.bank.stored, stage.bank.states))
    stage.trades(2)
    stage.trades(3)
    stage.settle()
    stage.bank.held, stage.bank.stored, stage.bank.states = older
    stage.writer.stop(5.0)
    stage.writer.run()
    stage.restart(clean=True)
    stage.trades(4)
    stage.settle()
    assert stage.bank.ids() == [1, 2, 3, 4]


@pytest.mark.timeout(20)
def test_a_backlog_does_not_wait_for_live_flushes_to_grow_old() -> None:
    """While a feed is behind, what the queue holds is committed at once: a slice a `flush_age` would never drain."""
    stage = Stage()
    stage.limits = Database(flush_age=60.0)
    stage.restart()
    stage.settle()
    stage.now = now_us()
    stage.trades(1, after=0)
    stage.state.fall_behind()
    stage.trades(2, after=0)
    stage.writer.turn()
    assert stage.bank.ids() == [1, 2]


def test_a_new_stream_stands_in_a_checkpoint_from_its_first_flush_on() -> None:
    """The recorder goes on from what the database holds, and is killed within the grace: the hole is not forgotten."""
    stage = Stage()
    stage.trades(1)
    stage.settle()
    stage.bank.held.clear()  # a new data directory: neither position nor checkpoint is its own
    stage.bank.states.clear()
    stage.spool.close()
    stage.feed = "f/1"
    stage.restart()
    stage.note(Alive())
    stage.settle()
    stage.trades(4)
    stage.settle()
    stage.restart()
    stage.trades(5, after=2 * GRACE)
    stage.note(Alive(), after=2 * GRACE)
    stage.settle()
    assert (stage.bank.ids(), stage.bank.holes()) == ([1, 4, 5], [("recorder_down", 2, 3, 2)])
