"""Lanes: where a feed begins, where its next bursts come from, and what its lag is."""

from __future__ import annotations

import pytest

from recorder.capture.segments import SegmentName
from recorder.capture.spoolreader import RunInfo
from recorder.records import Decoded, Header
from recorder.store.flush import Move, Position
from recorder.store.lane import Lane, Start, where_to_start
from recorder.store.verdict import ordinal
from tests.unit.storerig import FEED, Rig, Side, firsts, trade

# --- where to start --------------------------------------------------------------------------------------------------


def run(number: int, first: int = 0, *, after: tuple[str, int] = ("", 0), held: bool = True) -> RunInfo:
    """Run `number` as the spool holds it; `after`: the run before it and where that ended."""
    name = f"{number}-aaaaaaaa"
    header = Header("spool-id", FEED, "toy", "toy", "/ws", {}, name, number, *after)
    return RunInfo(name, number, header, first, (SegmentName(number, "aaaaaaaa", first, 0),) if held else ())


ONE, TWO, THREE = "1-aaaaaaaa", "2-aaaaaaaa", "3-aaaaaaaa"
HELD = [run(1), run(2, after=(ONE, 50)), run(3, after=(TWO, 70))]
CUT = [run(2, 30, after=(ONE, 50)), run(3, after=(TWO, 70))]
LATEST = [run(3, after=(TWO, 70))]
HOLLOW = [run(1), run(2, held=False), run(3, after=(TWO, 70))]

CASES = {
    "no row: the oldest frame held": (None, HELD, Start(ONE, 0)),
    "no row, and the beginning is deleted": (None, CUT, Start(TWO, 30)),
    "run known: from n": ((ONE, 20), HELD, Start(ONE, 20)),
    "run known: from its very beginning": ((TWO, 0), HELD, Start(TWO, 0)),
    "run known, in the middle of them": ((TWO, 69), HELD, Start(TWO, 69)),
    "n beyond the run's end: that run's reader goes on to the next": ((ONE, 80), HELD, Start(ONE, 80)),
    "n exactly where the held part begins": ((TWO, 30), CUT, Start(TWO, 30)),
    "a restored database, older than what is held of the run": (
        (TWO, 29),
        CUT,
        Start(TWO, 30, "database_restored"),
    ),
    "run gone, committed to its end: nothing is lost": ((TWO, 70), LATEST, Start(THREE, 0)),
    "run gone, committed beyond the end that was found": ((TWO, 75), LATEST, Start(THREE, 0)),
    "run gone, short of its end": ((TWO, 69), LATEST, Start(THREE, 0, "database_restored")),
    "run gone, and so is the beginning of the next": (
        (TWO, 70),
        [run(3, 10, after=(TWO, 70))],
        Start(THREE, 10, "database_restored"),
    ),
    "a restored database, runs before all that is held": ((ONE, 50), LATEST, Start(THREE, 0, "database_restored")),
    "another run of the same count: the spool was replaced": (("1-bbbbbbbb", 9), HELD, Start(ONE, 0, "recorder_down")),
    "a later run than the spool has: it was replaced": (("9-bbbbbbbb", 9), HELD, Start(ONE, 0, "recorder_down")),
    "a run that only its successor still names: the runs before it are stored": ((TWO, 20), HOLLOW, Start(TWO, 20)),
}


@pytest.mark.parametrize(("position", "runs", "expected"), CASES.values(), ids=CASES)
def test_where_to_start(position: tuple[str, int] | None, runs: list[RunInfo], expected: Start) -> None:
    """Resume as the design says (2.4), case by case."""
    at = None if position is None else Position(FEED, *position, epoch=4)
    assert where_to_start(at, runs) == expected


@pytest.mark.parametrize(("name", "count"), [("7-3f9c2a1b", 7), ("12-a", 12), ("", 0), ("strange", 0), ("-1", 0)])
def test_a_run_counts(name: str, count: int) -> None:
    """A run's name begins with its count; a name that is none counts as before all."""
    assert ordinal(name) == count


# --- the cursor ------------------------------------------------------------------------------------------------------


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Spools on a disk in memory."""
    return Rig(monkeypatch)


def placed(side: Side, n: int = 0) -> Lane:
    """The side's lane with position and cursor at frame n."""
    side.lane.position = Position(FEED, side.run, n, 1)
    side.lane.seek(side.run, n)
    return side.lane


def test_only_the_next_burst_is_taken(rig: Rig) -> None:
    """An item of the queue is taken if it begins exactly at the cursor, in the same run; else nothing moves."""
    side = rig.open()
    bursts = [side.append(trade(n), trade(n + 1)) for n in (0, 2, 4)]
    lane = placed(side, 2)
    strange = Decoded(FEED, "9-cccccccc", 2, 4, 0)
    assert [lane.takes(item) for item in (bursts[0], bursts[2], strange, bursts[1], bursts[1])] == [
        *(False, False, False),
        *(True, False),
    ]
    assert (lane.next, lane.watermark) == (4, bursts[1].received_at)


def test_a_parked_lane_takes_nothing(rig: Rig) -> None:
    """What may not be committed is not taken either."""
    side = rig.open()
    lane = placed(side)
    lane.parked = "another recorder has taken over"
    assert not lane.takes(side.append(trade(0)))
    assert lane.blocked


def test_a_lane_moves_from_position_to_cursor(rig: Rig) -> None:
    """No move without a position or without a step; after the commit the cursor is the position, its epoch stays."""
    side = rig.open()
    burst = side.append(trade(0), trade(1))
    assert side.lane.move() is None
    lane = placed(side)
    assert lane.move() is None
    lane.takes(burst)
    assert lane.move() == Move(FEED, side.run, 0, side.run, 2, burst.received_at)
    lane.committed()
    assert lane.position == Position(FEED, side.run, 2, 1)
    assert lane.move() is None


def test_the_spool_gives_what_the_queue_did_not(rig: Rig) -> None:
    """Reading decodes slice after slice with the feed's own decoder and moves the cursor behind each."""
    side = rig.open()
    offered = [side.receive(trade(n), trade(n + 1)) for n in (0, 2, 4)]
    lane = placed(side)
    seen = []
    while lane.behind:
        seen += lane.read(1)
    assert seen == offered
    assert (lane.next, lane.watermark, side.state.live) == (6, offered[-1].received_at, True)


def test_at_the_end_of_a_run_the_next_begins(rig: Rig) -> None:
    """A lane in an older run goes on with frame 0 of the run after it, with a decoder of that run."""
    old = rig.open()
    old.trades(0, 1)
    rig.restart()
    new = rig.open()
    new.trades(2)
    lane = new.lane
    lane.position = Position(FEED, old.run, 1, 1)
    lane.seek(old.run, 1)
    seen = [item for _ in range(3) for item in lane.read(1 << 20) if isinstance(item, Decoded)]
    assert [(item.run, item.first) for item in seen] == [(old.run, 1), (new.run, 0)]
    move = lane.move()
    assert move is not None
    assert (move.run, move.next, move.new_run, move.new_next) == (old.run, 1, new.run, 1)


def test_a_position_beyond_the_end_of_a_run_goes_on_with_the_next(rig: Rig) -> None:
    """A tail that a power cut took was stored already: nothing is read twice, nothing is named lost."""
    old = rig.open()
    old.trades(0, 1)
    rig.restart()
    new = rig.open()
    new.trades(2)
    lane = new.lane
    lane.position = Position(FEED, old.run, 40, 1)
    lane.seek(old.run, 40)
    assert firsts(lane.read(1 << 20)) == []
    assert firsts(lane.read(1 << 20)) == [0]
    assert lane.run == new.run


def test_a_lost_range_stands_between_its_neighbours(rig: Rig) -> None:
    """What the disk damaged is an item in its place, so that continuity hears of it before what came after."""
    side = rig.open()
    side.trades(0, 1, 2)
    side.damage(trade(1))
    items = placed(side).read(1 << 20)
    assert [(type(item).__name__, item.first, item.next) for item in items] == [
        ("Decoded", 0, 1),
        ("Lost", 1, 2),
        ("Decoded", 2, 3),
    ]


# --- who waits for whom ----------------------------------------------------------------------------------------------


def test_a_feed_waits_until_its_predecessor_is_drained(rig: Rig) -> None:
    """A renamed feed's records come first: its successor is blocked until the old spool is read to its end."""
    was = rig.open("toy/old/0")
    was.trades(0)
    rig.restart()
    old, lane = rig.retired("toy/old/0"), placed(rig.open())
    old.seek(was.run, 0)
    lane.waits_for.append(old)
    assert (old.behind, old.drained, lane.blocked) == (True, False, True)
    assert firsts(old.read(1 << 20)) == [0]
    assert (old.behind, old.drained, lane.blocked) == (True, False, True)
    assert old.read(1 << 20) == []
    assert (old.behind, old.drained, lane.blocked) == (False, True, False)


def test_a_feed_with_a_thread_is_never_drained(rig: Rig) -> None:
    """More may always come."""
    side = rig.open()
    lane = placed(side)
    lane.read(1 << 20)
    assert not lane.drained


# --- lag -------------------------------------------------------------------------------------------------------------


def test_a_lane_behind_tells_when_its_next_record_came(rig: Rig) -> None:
    """The lag of a feed that the queue does not carry is dated by its spool."""
    side = rig.open()
    for n in range(3):
        side.receive(trade(n))
        rig.time.run(10)
    lane = placed(side, 1)
    lane.tell()
    assert lane.uncommitted_at == rig.time.now_us() - 20_000_000
    lane.seek(side.run, 3)
    lane.tell()
    assert lane.uncommitted_at is None


def test_the_lag_of_a_retired_feed(rig: Rig) -> None:
    """A feed that is only drained has a lag too, until it is drained."""
    side = rig.open()
    side.trades(0, 1)
    rig.restart()
    lane = rig.retired(FEED)
    lane.seek(side.run, 1)
    lane.tell()
    assert lane.uncommitted_at == rig.time.now_us()
    lane.seek(side.run, 2)
    lane.tell()
    assert lane.uncommitted_at is None


def test_between_two_runs_the_lag_is_that_of_the_next(rig: Rig) -> None:
    """A position at the end of an old run has everything of the next run before it: that is what waits."""
    old = rig.open()
    old.trades(0, 1)
    rig.restart()
    new = rig.open()
    rig.time.run(5)
    new.trades(2)
    waiting = rig.time.now_us()
    rig.time.run(60)
    new.trades(3)
    new.lane.position = Position(FEED, old.run, 2, 1)
    new.lane.seek(old.run, 2)
    new.lane.tell()
    assert new.lane.uncommitted_at == waiting


def test_nothing_is_released_before_a_checkpoint_is_committed(rig: Rig) -> None:
    """Position and checkpoint must both have passed a segment; the newest always stays."""
    rig.segment_bytes = 1
    side = rig.open()
    side.trades(0, 1, 2)
    lane = placed(side, 2)
    late = rig.time.now_us() + 1
    assert lane.release(late) == 0
    lane.safe = (side.run, 1)
    assert lane.release(late) > 0
    assert side.lane.reader.runs()[0].first == 1
