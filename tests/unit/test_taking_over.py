"""Two connections of a line: what both brought is stored once, and only what neither brought is missing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from recorder.quality.continuity import Continuity, Verdict
from recorder.records import Acknowledged, Closed, Control, Decoded, Rows, Stream, Streams
from recorder.venues import Continuity as Kind
from recorder.venues import other_slot

FIRST, SECOND = "s/public/0", "s/public/0b"
Record = tuple[int | None, int | None, int]  # seq_from, seq_to, time


class Line:
    """One stream of one kind on the two feeds of a line, in the order in which the writer sees them."""

    def __init__(self, kind: Kind) -> None:
        self.streams = Streams()
        self.stream = self.streams.number(Stream("s", "c", "x"))
        self.continuity = Continuity(self.streams, lambda _: kind)
        self.next = {FIRST: 0, SECOND: 0}

    def see(self, feed: str, at: int, *records: Record) -> Verdict:
        """Records of a burst received `at`."""
        return self._observe(feed, at, records, None)

    def say(self, feed: str, at: int, control: Control) -> None:
        """A control record."""
        self._observe(feed, at, (), control)

    def _observe(self, feed: str, at: int, records: Sequence[Record], control: Control | None) -> Verdict:
        first, count = self.next[feed], max(1, len(records))
        decoded = Decoded(feed, f"1-{feed[-1]}", first, first + count, at)
        if records:
            numbers = list(range(first, first + count))
            columns = [[record[i] for record in records] for i in range(3)]
            decoded.tables["t"] = Rows(
                b"x\n" * count, [self.stream] * count, columns[0], columns[1], [r[2] for r in records], numbers
            )
        if control is not None:
            decoded.control.append((first, control))
        self.next[feed] += count
        return self.continuity.observe(decoded)


def agreed(line: Line, at: int) -> None:
    """The venue serves the stream on the second connection, too."""
    line.say(SECOND, at, Acknowledged("c", "x"))


def test_a_slot_has_one_other() -> None:
    """The second feed of a line is named after the first, and back."""
    assert other_slot(FIRST) == SECOND
    assert other_slot(SECOND) == FIRST


@pytest.mark.parametrize(
    ("kind", "before", "after", "dropped"),
    [
        (Kind.NUMBERED, [(1, 1, 10), (2, 2, 20)], [(1, 1, 10), (2, 2, 20), (3, 3, 30)], [0, 1]),
        (Kind.CHAINED, [(-1, 5, 10), (5, 7, 20)], [(-1, 6, 15), (6, 7, 20), (7, 9, 30)], [0, 1]),
        (Kind.NONE, [(None, None, 10), (None, None, 20)], [(None, None, 20), (None, None, 30)], [0]),
    ],
)
def test_what_both_brought_is_kept_once(
    kind: Kind, before: list[Record], after: list[Record], dropped: list[int]
) -> None:
    """The overlap is dropped, the rest follows on: no hole, nothing suspect, no matter how the stream proves itself."""
    line = Line(kind)
    line.see(FIRST, 100, *before)
    line.say(FIRST, 200, Closed("handover"))
    agreed(line, 150)
    verdict = line.see(SECOND, 160, *after)
    assert verdict.drop == {"t": dropped}
    assert (verdict.holes, verdict.suspect, verdict.broken) == ([], {}, [])
    later = line.see(SECOND, 300, (after[-1][1], after[-1][1], 40) if kind is Kind.CHAINED else (None, None, 40))
    assert later.holes == []


@pytest.mark.parametrize("kind", [Kind.NONE, Kind.CHAINED])
def test_a_first_connection_that_ended_too_early_leaves_a_hole(kind: Kind) -> None:
    """Before the venue had agreed to serve the second one, nobody was listening: that is a disconnection."""
    line = Line(kind)
    chained = kind is Kind.CHAINED
    line.see(FIRST, 100, (-1, 5, 10) if chained else (None, None, 10))
    line.say(FIRST, 200, Closed("eof"))
    agreed(line, 250)
    verdict = line.see(SECOND, 260, (-1, 9, 50) if chained else (None, None, 50))
    assert [(hole.cause, hole.from_time, hole.to_time) for hole in verdict.holes] == [("disconnect", 10, 50)]


def test_the_cut_of_a_connection_that_had_taken_over_in_time_is_no_hole() -> None:
    """The first one breaks by itself, but the second one was served already."""
    line = Line(Kind.NONE)
    line.see(FIRST, 100, (None, None, 10))
    line.say(FIRST, 200, Closed("eof"))
    agreed(line, 150)
    assert line.see(SECOND, 160, (None, None, 30)).holes == []


def test_an_earlier_break_of_the_first_connection_stays_a_hole() -> None:
    """It had come back, but the stream had brought nothing since: taking over does not heal that."""
    line = Line(Kind.NONE)
    line.see(FIRST, 100, (None, None, 10))
    line.say(FIRST, 200, Closed("eof"))
    line.say(FIRST, 400, Closed("handover"))
    agreed(line, 350)
    verdict = line.see(SECOND, 360, (None, None, 90))
    assert [hole.cause for hole in verdict.holes] == ["disconnect"]


def test_numbers_that_neither_brought_are_missing() -> None:
    """The ids tell, whoever brought them."""
    line = Line(Kind.NUMBERED)
    line.see(FIRST, 100, (1, 1, 10))
    agreed(line, 150)
    line.see(SECOND, 160, (4, 4, 40))
    verdict = line.see(SECOND, 3_000_000, (5, 5, 50))
    assert [(hole.from_seq, hole.to_seq, hole.missing) for hole in verdict.holes] == [(2, 3, 2)]


def test_what_the_first_one_still_had_is_old_news() -> None:
    """After a crash its spool may be read after the other's: what that had brought is not stored again."""
    for kind, records in ((Kind.CHAINED, [(-1, 5, 10), (5, 7, 20)]), (Kind.NONE, [(None, None, 10), (None, None, 20)])):
        line = Line(kind)
        line.see(SECOND, 100, *records, (7, 9, 30) if kind is Kind.CHAINED else (None, None, 30))
        verdict = line.see(FIRST, 90, *records)
        assert (verdict.drop, verdict.holes, verdict.broken) == ({"t": [0, 1]}, [], [])


def test_bars_replace_what_they_revise() -> None:
    """A revision of the running bar is never dropped: the last one wins."""
    line = Line(Kind.BARS)
    line.see(FIRST, 100, (60, 0, 10))
    agreed(line, 150)
    verdict = line.see(SECOND, 160, (60, 0, 10), (60, 1, 10))
    assert (verdict.drop, verdict.holes) == ({}, [])
