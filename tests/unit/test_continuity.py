"""Continuity: what each kind of stream proves about its own records."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.quality.continuity import Continuity, Hole, Verdict
from recorder.quality.trackers import GRACE, RESET_AFTER
from recorder.records import Alive, Closed, Control, Decoded, Rows, Stream, Streams
from recorder.venues import Continuity as Kind

SECOND = 1_000_000
Record = tuple[int | None, int | None, int]  # seq_from, seq_to, time


class Judge:
    """One stream of one kind on one feed, fed record by record."""

    def __init__(self, kind: Kind) -> None:
        self.streams = Streams()
        self.stream = self.streams.number(Stream("s", "c", "x"))
        self.kind: Callable[[Stream], Kind] = lambda _: kind
        self.continuity = Continuity(self.streams, self.kind)
        self.n = 0
        self.run = "1-a"
        self.now = 0

    def burst(self, records: Iterable[Record], control: Control | None = None) -> Decoded:
        records = list(records)
        rows = Rows(
            b"".join(b"line\n" for _ in records),
            [self.stream] * len(records),
            [r[0] for r in records],
            [r[1] for r in records],
            [r[2] for r in records],
            [self.n + i for i in range(len(records))],
        )
        count = max(1, len(records))
        decoded = Decoded("f", self.run, self.n, self.n + count, self.now)
        if records:
            decoded.tables["t"] = rows
        if control is not None:
            decoded.control.append((self.n, control))
        self.n += count
        return decoded

    def see(self, *records: Record, after: int = 0) -> Verdict:
        self.now += after
        return self.continuity.observe(self.burst(records))

    def control(self, control: Control, after: int = 0) -> Verdict:
        self.now += after
        return self.continuity.observe(self.burst((), control))

    def restart(self) -> None:
        """The process died: a new run."""
        self.run, self.n = "2-b", 0

    def reload(self) -> None:
        """Continuity comes back from its checkpoint."""
        state = self.continuity.dump("f")
        self.continuity = Continuity(self.streams, self.kind)
        self.continuity.load("f", state)


def spans(holes: list[Hole]) -> list[tuple[str, int | None, int | None, int | None]]:
    return [(h.cause, h.from_seq, h.to_seq, h.missing) for h in holes]


def test_numbered_records_that_follow_on_leave_nothing() -> None:
    """Ids that run on, aggregates included, are neither holes nor duplicates."""
    judge = Judge(Kind.NUMBERED)
    verdict = judge.see((5, 5, 10), (6, 9, 20), (10, 10, 30))
    assert (verdict.holes, verdict.drop) == ([], {})


def test_a_jump_is_reported_after_the_grace_and_not_before() -> None:
    """A missing range becomes one hole, first and last missing id inclusive, GRACE after it was noticed."""
    judge = Judge(Kind.NUMBERED)
    assert judge.see((1, 1, 100), (5, 5, 500)).holes == []
    assert judge.control(Alive(), after=GRACE - 1).holes == []
    hole = judge.control(Alive(), after=1).holes[0]
    assert (hole.cause, hole.from_seq, hole.to_seq, hole.missing) == ("sequence", 2, 4, 3)
    assert (hole.from_time, hole.to_time) == (100, 500)


def test_late_records_within_the_grace_leave_only_what_is_still_missing() -> None:
    """A late id is stored and taken out of the range that waits."""
    judge = Judge(Kind.NUMBERED)
    verdict = judge.see((1, 1, 100), (6, 6, 600), (3, 3, 300))
    assert verdict.drop == {}
    holes = judge.control(Alive(), after=GRACE).holes
    assert sorted(spans(holes)) == [("sequence", 2, 2, 1), ("sequence", 4, 5, 2)]


def test_a_record_later_than_the_grace_refits_the_reported_hole() -> None:
    """No stored id may lie inside a gap: the gap row is replaced by what is left of it."""
    judge = Judge(Kind.NUMBERED)
    judge.see((1, 1, 100), (6, 6, 600))
    [hole] = judge.control(Alive(), after=GRACE).holes
    [refit] = judge.see((3, 4, 350)).refits
    assert refit.old == hole
    assert [(h.from_seq, h.to_seq) for h in refit.new] == [(2, 2), (5, 5)]
    assert all(hole.from_time <= h.from_time <= h.to_time <= hole.to_time for h in refit.new)


def test_the_last_record_again_is_a_duplicate_and_proves_that_nothing_is_missing() -> None:
    """What the venue repeats after a subscription is dropped; no gap is left for the break before it."""
    judge = Judge(Kind.NUMBERED)
    judge.see((1, 1, 100), (2, 3, 200))
    judge.control(Closed("eof"))
    assert judge.see((2, 3, 200)).drop == {"t": [0]}
    assert judge.see((4, 4, 400)).holes == []


@pytest.mark.parametrize(("restart", "cause"), [(False, "disconnect"), (True, "recorder_down")])
def test_a_hole_after_a_break_bears_the_cause_of_the_break(restart: bool, cause: str) -> None:
    """The same jump of ids is `disconnect` after a lost connection and `recorder_down` after a new run."""
    judge = Judge(Kind.NUMBERED)
    judge.see((1, 1, 100))
    judge.control(Closed("reset"))
    if restart:
        judge.restart()
    judge.see((4, 4, 400))
    assert spans(judge.control(Alive(), after=GRACE).holes) == [(cause, 2, 3, 2)]


def test_an_old_duplicate_does_not_close_the_break() -> None:
    """A repeated record older than the last one proves nothing: the jump after it is still the break's."""
    judge = Judge(Kind.NUMBERED)
    judge.see((1, 1, 100), (2, 2, 200))
    judge.control(Closed("eof"))
    assert judge.see((1, 1, 100)).drop == {"t": [0]}
    judge.see((5, 5, 500))
    assert spans(judge.control(Alive(), after=GRACE).holes) == [("disconnect", 3, 4, 2)]


def test_a_late_record_does_not_close_the_break() -> None:
    """What fills an older range proves nothing about the time since the last record: the jump is still the break's."""
    judge = Judge(Kind.NUMBERED)
    judge.see((1, 1, 100), (3, 3, 300))
    judge.control(Closed("eof"))
    judge.see((2, 2, 200))
    judge.see((6, 6, 600))
    assert spans(judge.control(Alive(), after=GRACE).holes) == [("disconnect", 4, 5, 2)]


def test_a_renumbering_is_a_reset_and_loses_no_record() -> None:
    """Ids that start lower, much later, are new records: stored, with one gap of unknown size."""
    judge = Judge(Kind.NUMBERED)
    judge.see((1000, 1000, 100))
    verdict = judge.see((1, 1, 101 + RESET_AFTER))
    assert verdict.drop == {}
    assert spans(verdict.holes) == [("reset", 1000, 1, None)]
    assert judge.see((2, 2, 102 + RESET_AFTER)).holes == []


def test_a_renumbering_reports_what_was_in_its_grace() -> None:
    """Ids that were missing before the numbers began anew will not come any more: they are a hole of their own."""
    judge = Judge(Kind.NUMBERED)
    judge.see((1000, 1000, 100), (1005, 1005, 200))
    verdict = judge.see((1, 1, 201 + RESET_AFTER))
    assert spans(verdict.holes) == [("sequence", 1001, 1004, 4), ("reset", 1005, 1, None)]
    assert judge.control(Alive(), after=GRACE).holes == []


def test_a_chain_that_holds_is_silent() -> None:
    """Snapshot, updates, a heartbeat without change, a reset to lower ids: all follow on (the venue's own example)."""
    judge = Judge(Kind.CHAINED)
    verdict = judge.see((-1, 10, 1), (10, 15, 2), (15, 15, 3), (15, 3, 4), (3, 5, 5))
    assert (verdict.holes, verdict.suspect, verdict.broken) == ([], {}, [])


def test_a_broken_chain_is_one_hole_and_suspect_until_the_snapshot() -> None:
    """From the break on records are kept but marked; the snapshot ends that."""
    judge = Judge(Kind.CHAINED)
    judge.see((-1, 10, 1), (10, 15, 2))
    verdict = judge.see((20, 25, 3), (25, 30, 4))
    assert spans(verdict.holes) == [("sequence", 15, 25, None)]
    assert verdict.suspect == {"t": [0, 1]}
    assert verdict.broken == [judge.stream]
    healed = judge.see((-1, 40, 5), (40, 41, 6))
    assert healed.suspect == {}
    assert spans(healed.holes) == [("sequence", 30, 40, None)]


def test_a_snapshot_that_changes_nothing_proves_that_nothing_is_missing() -> None:
    """After a reconnect a snapshot with the id we hold leaves no gap; another id leaves one of unknown size."""
    judge = Judge(Kind.CHAINED)
    judge.see((-1, 10, 1), (10, 15, 2))
    judge.control(Closed("eof"))
    assert judge.see((-1, 15, 3)).holes == []
    judge.control(Closed("eof"))
    assert spans(judge.see((-1, 99, 4)).holes) == [("disconnect", 15, 99, None)]


def test_the_same_update_again_is_dropped() -> None:
    """A frame that the venue sent twice breaks no chain."""
    judge = Judge(Kind.CHAINED)
    judge.see((-1, 10, 1), (10, 15, 2))
    assert judge.see((10, 15, 2)).drop == {"t": [0]}
    assert judge.see((15, 16, 3)).holes == []


def test_without_ids_a_book_is_unprovable_but_not_suspect() -> None:
    """Recordings of 2021 carry no ids: a reconnect is a hole, nothing else is."""
    judge = Judge(Kind.CHAINED)
    verdict = judge.see((None, None, 1), (None, None, 2))
    assert (verdict.holes, verdict.suspect) == ([], {})
    judge.control(Closed("eof"))
    assert spans(judge.see((None, None, 3)).holes) == [("disconnect", None, None, None)]


def test_an_unprovable_stream_has_a_hole_per_break_from_last_to_first() -> None:
    """Two breaks without a record between are one hole."""
    judge = Judge(Kind.NONE)
    judge.see((None, None, 100))
    judge.control(Closed("eof"))
    judge.control(Closed("refused"))
    [hole] = judge.see((None, None, 900)).holes
    assert (hole.from_time, hole.to_time, hole.missing) == (100, 900, None)
    assert judge.see((None, None, 950)).holes == []


@pytest.mark.parametrize(
    ("before", "after", "missing"),
    [
        ((60, 0, 0), (60, 0, 0), []),  # the same bar goes on
        ((60, 1, 0), (60, 0, 60), []),  # closed before the break, the next one after it
        ((60, 0, 0), (60, 0, 60), [1]),  # its last revision was never seen
        ((60, 1, 0), (60, 0, 180), [2]),  # two bars skipped
        ((0, 0, 0), (0, 0, 180), [None]),  # months have no fixed length
    ],
)
def test_bars_count_what_a_break_cost(before: Record, after: Record, missing: list[int | None]) -> None:
    """A break costs the bars that were skipped, and the interrupted one unless it was seen closed."""
    judge = Judge(Kind.BARS)
    judge.see(before)
    judge.control(Closed("eof"))
    assert [h.missing for h in judge.see(after).holes] == missing


def test_an_older_bar_does_not_close_the_break() -> None:
    """A late revision of a bar before the newest says nothing about the bars that a break may have cost."""
    judge = Judge(Kind.BARS)
    judge.see((60, 1, 0), (60, 1, 60))
    judge.control(Closed("eof"))
    assert judge.see((60, 1, 0)).holes == []
    assert [h.missing for h in judge.see((60, 0, 240)).holes] == [2]


def test_a_clean_stop_is_the_next_runs_business() -> None:
    """Closed with reason shutdown is not a disconnect; the new run is recorder_down."""
    judge = Judge(Kind.NONE)
    judge.see((None, None, 1))
    judge.control(Closed("shutdown"))
    judge.restart()
    assert [h.cause for h in judge.see((None, None, 2)).holes] == ["recorder_down"]


def test_what_the_database_holds_is_a_base() -> None:
    """A new data directory goes on from the last stored record: the ids between are missing, cause recorder_down."""
    judge = Judge(Kind.NUMBERED)
    judge.continuity.base(judge.stream, 10, 1000)
    judge.see((14, 14, 5000))
    assert spans(judge.control(Alive(), after=GRACE).holes) == [("recorder_down", 11, 13, 3)]


def test_equal_states_give_equal_bytes() -> None:
    """A checkpoint of a restored checkpoint is the same checkpoint."""
    judge = Judge(Kind.NUMBERED)
    judge.see((1, 1, 100), (5, 5, 500), (9, 9, 900))
    judge.control(Closed("eof"))
    first = judge.continuity.dump("f")
    judge.reload()
    assert judge.continuity.dump("f") == first


@given(st.integers(0, 2**32), st.booleans())
def test_every_id_is_kept_once_or_in_exactly_one_hole(seed: int, reload: bool) -> None:
    """Whatever is lost, repeated or late: each id is stored once, or in one gap and not stored; reloading the
    checkpoint at any burst changes nothing."""
    rng = random.Random(seed)
    judge = Judge(Kind.NUMBERED)
    stored: list[int] = []
    gaps: set[tuple[int, int]] = set()

    def take(verdict: Verdict, ids: list[int]) -> None:
        dropped = set(verdict.drop.get("t", ()))
        stored.extend(i for at, i in enumerate(ids) if at not in dropped)
        gaps.update((h.from_seq or 0, h.to_seq or 0) for h in verdict.holes)
        for refit in verdict.refits:
            gaps.discard((refit.old.from_seq or 0, refit.old.to_seq or 0))
            gaps.update((h.from_seq or 0, h.to_seq or 0) for h in refit.new)

    top, late = 60, []
    pending: list[int] = [1]
    for i in range(2, top):
        fate = rng.random()
        if fate < 0.2:
            late.append(i)
        elif fate < 0.35:
            pending += [i, rng.randint(1, i)]
        else:
            pending.append(i)
        if rng.random() < 0.3:
            if late and rng.random() < 0.5:
                pending.append(late.pop(rng.randrange(len(late))))
            take(judge.see(*[(j, j, j) for j in pending], after=rng.choice([0, GRACE // 2, GRACE])), pending)
            pending = []
            if reload:
                judge.reload()
        if rng.random() < 0.05:
            judge.control(Closed("eof"))
    take(judge.see(*[(j, j, j) for j in [*pending, top]]), [*pending, top])
    take(judge.control(Alive(), after=GRACE), [])
    assert len(stored) == len(set(stored))
    covered = [i for first, last in gaps for i in range(first, last + 1)]
    assert len(covered) == len(set(covered))
    assert set(covered) | set(stored) == set(range(1, top + 1))
    assert not set(covered) & set(stored)


def test_a_checkpoint_at_the_beginning_of_a_run_keeps_the_interruption_before_it() -> None:
    """The position may already stand in the next run while no burst of it was seen: what its first record shows to
    be missing is still recorder_down."""
    judge = Judge(Kind.NUMBERED)
    judge.see((1, 1, 100))
    judge.reload()
    judge.restart()
    judge.see((5, 5, 500))
    assert spans(judge.control(Alive(), after=GRACE).holes) == [("recorder_down", 2, 4, 3)]


def test_two_seconds_is_the_grace() -> None:
    """The contract says 2 s."""
    assert GRACE == 2 * SECOND
