"""Ids that rise with holes: what is a repeat, what is late, and when a break is a hole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recorder.quality.continuity import Continuity
from recorder.quality.trackers import BETWEEN, RESET_AFTER
from recorder.records import Acknowledged, Closed, Decoded, Rows, Stream, Streams
from recorder.venues import Continuity as Kind
from tests.unit.test_continuity import Judge, Record, spans

LOST = Closed("eof", None, "", "wss://a", 0, 0, None)


def record(number: int, time: int | None = None) -> Record:
    """A record whose time rises with its id, unless told otherwise."""
    return number, number, 1_000_000 * number if time is None else time


def test_holes_between_ids_mean_nothing() -> None:
    """Ids that rise are no gap, however they jump, and nothing is dropped."""
    judge = Judge(Kind.ORDERED)
    verdict = judge.see(*map(record, (425965263, 425965268, 425965307, 425965309)))
    assert (verdict.holes, verdict.drop, verdict.refits) == ([], {}, [])


def test_a_repeat_that_holds_the_last_record_proves_that_nothing_is_missing() -> None:
    """After a break the venue gives its last trades again: those we have are dropped, and there is no hole."""
    judge = Judge(Kind.ORDERED)
    judge.see(*map(record, (10, 14, 20)))
    judge.control(LOST)
    verdict = judge.see(*map(record, (10, 14, 20, 27)))
    assert (verdict.holes, verdict.drop) == ([], {"t": [0, 1, 2]})
    assert judge.see(record(30)).holes == []


def test_a_break_without_the_last_record_is_a_hole_of_unknown_size() -> None:
    """The row names the last id before and the first after."""
    judge = Judge(Kind.ORDERED)
    judge.see(*map(record, (10, 14, 20)))
    judge.control(LOST)
    verdict = judge.see(*map(record, (41, 44)))
    assert spans(verdict.holes) == [("disconnect", 20, 41, None)]
    assert judge.see(record(50)).holes == []


def test_a_restart_knows_what_is_stored() -> None:
    """The checkpoint tells repeats from news, and the database does where there is none."""
    judge = Judge(Kind.ORDERED)
    judge.see(*map(record, (10, 14, 20)))
    judge.reload()
    judge.restart()
    verdict = judge.see(*map(record, (14, 20, 22)))
    assert (verdict.holes, verdict.drop) == ([], {"t": [0, 1]})
    judge.continuity = Continuity(judge.streams, judge.kind)
    judge.continuity.base(judge.stream, 22, 22_000_000)
    verdict = judge.see(*map(record, (20, 22, 23)))
    assert (verdict.holes, verdict.drop) == ([], {"t": [0, 1]})
    judge.continuity = Continuity(judge.streams, judge.kind)
    judge.continuity.base(judge.stream, 23, 23_000_000)
    assert spans(judge.see(record(31)).holes) == [("recorder_down", 23, 31, None)]


def test_a_repeat_is_known_though_its_time_looks_new() -> None:
    """A trade of yesterday that is repeated today looks a day younger where the venue sends no date; new numbers, far
    below the old ones, are a renumbering all the same."""
    judge = Judge(Kind.ORDERED)
    judge.see(*map(record, (1000, 1004)))
    judge.control(LOST)
    verdict = judge.see(record(1000, 10**12), record(1004, 10**12))
    assert (verdict.holes, verdict.drop) == ([], {"t": [0, 1]})
    verdict = judge.see(record(3, 1004 * 1_000_000 + RESET_AFTER + 1))
    assert spans(verdict.holes) == [("reset", 1004, 3, None)]
    assert verdict.drop == {}


def test_an_id_below_the_first_is_no_repeat() -> None:
    """What was never stored cannot come again: later by its time, it begins a new run. Where the database held records
    before, nobody knows, and it is dropped."""
    judge = Judge(Kind.ORDERED)
    judge.see(record(818723474, 50 * 1_000_000))
    later = [record(425965263, 90 * 1_000_000), record(425965268, 91 * 1_000_000)]
    verdict = judge.see(*later)
    assert (spans(verdict.holes), verdict.drop) == ([("reset", 818723474, 425965263, None)], {})
    judge.reload()
    assert judge.see(*later).drop == {"t": [0, 1]}
    judge.continuity = Continuity(judge.streams, judge.kind)
    judge.continuity.base(judge.stream, 818723474, 50 * 1_000_000)
    judge.continuity.interrupt("f", judge.run, "recorder_down")
    assert judge.see(*later).drop == {"t": [0, 1]}


def overlapping(streams: Streams, stream: int, feed: str, first: int, ids: list[int]) -> Decoded:
    """Records of a stream that one of two connections brought."""
    count = len(ids)
    numbers: list[int | None] = [*ids]
    rows = Rows(
        b"line\n" * count,
        [stream] * count,
        numbers,
        numbers,
        [10**6 * i for i in ids],
        list(range(first, first + count)),
    )
    return Decoded(feed, f"1-{feed}", first, first + count, 10**6 * max(ids), {"t": rows})


@given(
    ids=st.lists(st.integers(1, 400), min_size=2, max_size=BETWEEN, unique=True).map(sorted),
    lag=st.integers(0, 8),
    data=st.data(),
)
def test_two_connections_bring_every_record_once(ids: list[int], lag: int, data: st.DataObject) -> None:
    """One connection takes over from another that is some records behind: whatever came is kept once, in whatever
    order, and nothing is taken for a hole."""
    streams = Streams()
    stream = streams.number(Stream("s", "c", "x"))
    continuity = Continuity(streams, lambda _: Kind.ORDERED)
    begins = data.draw(st.integers(1, len(ids) - 1))
    for feed in ("s/l/0", "s/l/0b"):
        continuity.observe(Decoded(feed, f"1-{feed}", 0, 1, 0, control=[(0, Acknowledged("c", "x"))]))
    first = continuity.observe(overlapping(streams, stream, "s/l/0", 1, ids[:1]))
    assert (first.holes, first.drop) == ([], {})
    kept = [ids[0]]
    steps = [("s/l/0", n + lag, n) for n in range(1, len(ids))] + [("s/l/0b", n, n) for n in range(begins, len(ids))]
    for feed, at, n in sorted(steps, key=lambda step: step[1]):
        verdict = continuity.observe(overlapping(streams, stream, feed, 10 * at + 10, [ids[n]]))
        assert verdict.holes == []
        kept += [] if verdict.drop else [ids[n]]
    assert sorted(kept) == ids
