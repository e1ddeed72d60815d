"""The writer between a spool and a database that fails: nothing lost, nothing twice, every hole named once."""

from __future__ import annotations

import pytest

from recorder.errors import SinkUnavailable
from recorder.quality.trackers import GRACE
from recorder.records import Alive
from tests.unit.writerrig import Stage


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between tries."""
    monkeypatch.setattr("recorder.store.writer.random.uniform", lambda low, high: 0.0)
    monkeypatch.setattr("recorder.store.writer.IDLE", 0.0)


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
