"""Chains that are mended over REST: a snapshot joined with the updates that came meanwhile."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.quality.chained import Chained
from recorder.quality.continuity import Verdict
from recorder.records import ANSWER, SNAPSHOT, Closed
from recorder.venues import Continuity as Kind
from tests.unit.test_continuity import Judge, spans


def begun() -> Judge:
    """A stream that began without a snapshot: three updates of an unbroken run, from 20 to 35."""
    judge = Judge(Kind.CHAINED)
    verdict = judge.see((20, 25, 1), (25, 30, 2), (30, 35, 3))
    assert verdict.broken == [judge.stream]
    assert verdict.suspect == {"t": [0, 1, 2]}
    assert verdict.holes == []
    return judge


def answer(judge: Judge, number: int | None) -> Verdict:
    """A snapshot over REST comes in."""
    verdict = judge.see((ANSWER, number, 4))
    assert (verdict.holes, verdict.suspect, verdict.drop) == ([], {}, {})
    return verdict


@pytest.mark.parametrize("number", [20, 22, 25, 34, 35])
def test_an_answer_within_the_run_makes_the_chain_whole(number: int) -> None:
    """Every update since the break is here, and the book stands among them: what follows is as good as after a
    snapshot of the stream, and nothing is missing."""
    judge = begun()
    assert answer(judge, number).broken == []
    assert not judge.continuity.suspect(judge.stream)
    verdict = judge.see((35, 40, 5), (40, 41, 6))
    assert (verdict.holes, verdict.suspect, verdict.broken) == ([], {}, [])


def test_an_answer_older_than_the_run_is_asked_for_again() -> None:
    """What lies between is missing: the chain stays broken, and the next answer may mend it."""
    judge = begun()
    assert answer(judge, 19).broken == [judge.stream]
    assert judge.see((35, 40, 5)).suspect == {"t": [0]}
    assert answer(judge, 38).broken == []
    assert judge.see((40, 41, 6)).suspect == {}


def test_an_answer_ahead_of_the_run_waits_for_the_update_that_leads_beyond_it() -> None:
    """What it holds already is kept as suspect; the first update that goes on from it is good, and nothing is
    missing."""
    judge = begun()
    assert answer(judge, 42).broken == []
    verdict = judge.see((35, 40, 5), (40, 44, 6), (44, 45, 7))
    assert (verdict.suspect, verdict.holes, verdict.broken, verdict.drop) == ({"t": [0]}, [], [], {})


def test_an_update_that_ends_at_the_answer_is_held_by_it_and_the_next_is_good() -> None:
    """The book over REST stands exactly at this update's number."""
    judge = begun()
    answer(judge, 40)
    assert judge.see((35, 40, 5), (40, 44, 6)).suspect == {"t": [0]}


def test_a_gap_that_the_answer_bridges_is_a_hole_all_the_same() -> None:
    """The book is whole, but the updates between are not here."""
    judge = begun()
    answer(judge, 60)
    verdict = judge.see((50, 65, 5), (65, 66, 6))
    assert (verdict.suspect, verdict.broken) == ({}, [])
    assert spans(verdict.holes) == [("sequence", 35, 65, None)]


def test_a_gap_behind_the_answer_breaks_the_chain_again() -> None:
    """The update that leads beyond the book never came."""
    judge = begun()
    answer(judge, 42)
    verdict = judge.see((43, 44, 5))
    assert (verdict.broken, verdict.suspect) == ([judge.stream], {"t": [0]})
    assert answer(judge, 44).broken == []
    assert judge.see((44, 45, 6)).suspect == {}


def test_numbers_that_start_lower_end_the_run() -> None:
    """After the venue's maintenance numbers are small again: a snapshot from before must not be taken for one ahead,
    or everything would be held to be in it for ever."""
    judge = begun()
    judge.see((35, 3, 5), (3, 5, 6))
    answer(judge, 34)
    assert judge.see((5, 7, 7)).suspect == {"t": [0]}
    assert answer(judge, 6).broken == []
    assert judge.see((7, 9, 8)).suspect == {}


def test_numbers_that_start_lower_while_a_snapshot_is_ahead_call_for_another() -> None:
    """It can never be reached."""
    judge = begun()
    answer(judge, 50)
    assert judge.see((35, 3, 5)).broken == [judge.stream]
    assert answer(judge, 3).broken == []
    assert judge.see((3, 5, 6)).suspect == {}


def test_a_chain_that_holds_does_not_need_an_answer() -> None:
    """It came too late, or for another reason: nothing changes, whatever its number."""
    judge = Judge(Kind.CHAINED)
    judge.see((SNAPSHOT, 10, 1), (10, 15, 2))
    for number in (3, 12, 15, 99):
        assert answer(judge, number).broken == []
        assert not judge.continuity.suspect(judge.stream)
    assert judge.see((15, 16, 5)).suspect == {}


def test_a_snapshot_of_the_stream_ends_all_waiting() -> None:
    """Whatever REST said: the stream's own snapshot is the book."""
    judge = begun()
    answer(judge, 90)
    verdict = judge.see((SNAPSHOT, 50, 5), (50, 55, 6))
    assert (verdict.suspect, verdict.broken) == ({}, [])


def test_an_answer_before_the_first_update_is_a_beginning() -> None:
    """A position may stand between the updates and the answer: what leads beyond it goes on from it."""
    judge = Judge(Kind.CHAINED)
    answer(judge, 30)
    verdict = judge.see((25, 30, 5), (30, 35, 6))
    assert (verdict.suspect, verdict.holes, verdict.broken) == ({"t": [0]}, [], [])


def test_an_answer_without_a_number_mends_nothing() -> None:
    """It cannot be joined with anything."""
    judge = begun()
    assert answer(judge, None).broken == []
    assert judge.continuity.suspect(judge.stream)


def test_an_answer_does_not_close_a_break() -> None:
    """It came over no stream: the first update after a lost connection still shows what that cost."""
    judge = Judge(Kind.CHAINED)
    judge.see((SNAPSHOT, 10, 1))
    judge.control(Closed("eof"))
    answer(judge, 20)
    assert spans(judge.see((20, 25, 5)).holes) == [("disconnect", 10, 25, None)]


def test_an_answer_is_news_whichever_connection_asked_for_it() -> None:
    """Where two connections serve a line, what the stream holds already is dropped; the book that mends it is not."""
    chain = Chained(0, "s/line/0", 1)
    for first, last in ((20, 25), (25, 30)):
        chain.irregular(first, last, last, "", 0)
    assert [chain.holds(first, last, 30) for first, last in ((20, 25), (25, 30), (ANSWER, 25))] == [True, True, False]


@pytest.mark.parametrize("number", [22, 38])
def test_a_run_and_its_answer_survive_a_restart(number: int) -> None:
    """The writer may stop between updates, answer and updates: the checkpoint knows the run and what it waits for."""
    judge = begun()
    judge.reload()
    answer(judge, number)
    judge.reload()
    verdict = judge.see((35, 37, 5), (37, 40, 6), (40, 41, 7))
    assert verdict.suspect == ({} if number == 22 else {"t": [0]})


class Market:
    """A book whose updates and snapshots reach the recorder or not; what is not suspect must be sound."""

    def __init__(self, rng: random.Random, reload: bool) -> None:
        self.rng = rng
        self.reload = reload
        self.judge = Judge(Kind.CHAINED)
        self.number = 100
        self.books: set[int] = set()
        self.updates: list[tuple[int, int]] = []

    def sound(self) -> set[int]:
        """Every number at which the book can be built from what came: a snapshot, or an update that goes on from a
        number that can be built or from a snapshot between its own two."""
        found = set(self.books)
        for first, last in self.updates:
            if first in found or any(first <= book < last for book in self.books):
                found.add(last)
        return found

    def see(self, first: int, last: int) -> Verdict:
        verdict = self.judge.see((first, last, last))
        if self.reload and self.rng.random() < 0.2:
            self.judge.reload()
        return verdict

    def update(self, lost: float = 0.0) -> None:
        first = self.number
        self.number += self.rng.choice([1, 3, 9])
        if self.rng.random() >= lost:
            self.updates.append((first, self.number))
            for _ in range(self.rng.choice([1, 1, 1, 2])):
                verdict = self.see(first, self.number)
                assert verdict.drop or verdict.suspect or self.number in self.sound()

    def snapshot(self) -> None:
        self.books.add(self.number)
        self.see(SNAPSHOT, self.number)

    def answer(self, late: int) -> None:
        self.books.add(self.number - late)
        self.see(ANSWER, self.number - late)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_what_is_not_suspect_can_be_built_from_what_came(seed: int, reload: bool) -> None:
    """Whatever is lost, repeated or late: from some snapshot that came, a chain of updates that came leads to every
    update that is not suspect; and an answer that is new enough mends every chain."""
    rng = random.Random(seed)
    market = Market(rng, reload)
    for _ in range(rng.randint(5, 60)):
        market.update(lost=0.15)
        if rng.random() < 0.2:
            market.answer(late=rng.choice([30, 9, 4, 1, 0, 0, -1, -5, -20]))
        if rng.random() < 0.05:
            market.snapshot()
        if rng.random() < 0.05:
            market.judge.control(Closed("eof"))
    for _ in range(30):
        market.update()
    market.answer(late=0)
    market.update()
    assert not market.judge.continuity.suspect(market.judge.stream)
