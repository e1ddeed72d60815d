"""What the database holds of a stream, translated for continuity."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from recorder.records import TABLES, Stream
from recorder.store.flush import moment
from recorder.store.last import LOOK_BACK, Stored
from recorder.store.prepare import LastRecord
from recorder.store.queries import queries
from recorder.store.sink import Sink

STREAM = Stream("s", "c", "A")
AT = 1_795_253_400_123_456
KEY = ("s", "c", "A", moment(AT))


class Answers:
    """A database that answers one query."""

    def __init__(self, *rows: tuple[Any, ...]) -> None:
        self.found = list(rows)
        self.asked: list[tuple[str, Any]] = []

    def rows(self, query: str, params: Any) -> list[tuple[Any, ...]]:
        """What was prepared for it; the statement must exist and take so many parameters."""
        assert queries()[query].count(b"%s") == len(params)
        self.asked.append((query, params))
        return self.found


def stored(answers: Answers, table: str = "trades", *, numbered: bool = True) -> Stored:
    """The stream's table and proof are the venue's to say."""
    return Stored(cast(Sink, answers), lambda stream: table, lambda stream: numbered)


@pytest.mark.parametrize(
    ("table", "rest", "last", "closed"),
    [
        ("trades", ("4711", 3), 4711, True),
        ("trades", ("a1b2", None), None, True),
        ("trades", (None, None), None, True),
        ("books", (17, 16), 17, True),
        ("books", (None, None), None, True),
        ("candles", (True,), None, True),
        ("candles", (False,), None, False),
        ("candles", (None,), None, False),
        ("tickers", (), None, True),
    ],
)
def test_the_newest_record_says_what_its_kind_needs(
    table: str, rest: tuple[object, ...], last: int | None, closed: bool
) -> None:
    """Trades their id if it is a number, books their sequence, bars whether they were closed; all their time."""
    answers = Answers((*KEY, *rest))
    assert stored(answers, table).last_record(STREAM) == LastRecord(AT, last, closed)


def test_a_stream_without_records_has_none() -> None:
    """An unknown stream is not one that ended in 1970."""
    assert stored(Answers()).last_record(STREAM) is None


@pytest.mark.parametrize("table", TABLES)
def test_every_table_can_be_asked(table: str) -> None:
    """Whatever table a stream goes into, there is a statement for its newest row, bounded in how far it looks back."""
    answers = Answers()
    stored(answers, table).last_record(STREAM)
    ((query, (*lists, since)),) = answers.asked
    assert (query, lists) == (f"last_{table}", [["s"], ["c"], ["A"]])
    assert abs(datetime.now(UTC) - LOOK_BACK - since) < timedelta(minutes=1)


def test_records_since_are_ids_and_times() -> None:
    """First id, last id and time in microseconds of each."""
    answers = Answers((5, 7, moment(AT)), (8, 8, moment(AT + 1)))
    assert stored(answers).records_since(STREAM, AT) == [(5, 7, AT), (8, 8, AT + 1)]
    assert answers.asked == [("trades_since", KEY)]


def test_only_numbered_streams_have_records_to_tell() -> None:
    """Others prove nothing by their rows, and a stream that never had a record has none since: nobody asks."""
    answers = Answers((5, 7, moment(AT)))
    assert stored(answers, numbered=False).records_since(STREAM, AT) is None
    assert stored(answers).records_since(STREAM, -1) is None
    assert answers.asked == []


def test_gaps_since_are_ranges() -> None:
    """The ids that gap rows name already."""
    answers = Answers((5, 7), (9, 9), (5, 7))
    assert stored(answers).gaps_since(STREAM, AT) == {(5, 7), (9, 9)}
    assert answers.asked == [("gaps_since", KEY)]
