"""COPY lines back into JSON: exactly the values of the table."""

from __future__ import annotations

import json
from typing import Any

import pytest

from recorder.observe.rows import objects
from recorder.records import NULL, TABLES, text

COMMON = ("2026-11-21 09:30:00.123456+00", "2026-11-21 09:30:00.200000+00", "s", "c", "X")
TIMES = {"time": "2026-11-21T09:30:00.123456Z", "received_at": "2026-11-21T09:30:00.200000Z"}


def line(*fields: str) -> bytes:
    """A COPY line with the usual beginning."""
    return "\t".join((*COMMON, *fields)).encode() + b"\n"


def one(table: str, *fields: str) -> dict[str, object]:
    """The object of a line, without its common columns."""
    found: dict[str, object] = json.loads(objects(table, line(*fields), [0])[0])
    assert list(found) == list(TABLES[table].columns)
    assert {**TIMES, "source": "s", "channel": "c", "symbol": "X"}.items() <= found.items()
    return {name: value for name, value in found.items() if name not in TABLES["trades"].columns[:5]}


def test_numbers_are_strings() -> None:
    """As the venue spelled them: trailing zeros, more digits than a double holds, ids beyond 2⁵³."""
    found = one(
        "trades", "0.1000000000000000055500", "1e-7", "buy", "9007199254740993", "1", str(2**63 - 1), NULL, "stream"
    )
    assert found == {
        "price": "0.1000000000000000055500",
        "size": "1e-7",
        "side": "buy",
        "trade_id": "9007199254740993",
        "count": "1",
        "seq": str(2**63 - 1),
        "turnover": None,
        "origin": "stream",
    }


def test_sides_of_books_are_lists_of_strings() -> None:
    """Every level with all that the venue adds; an empty side is an empty list, a missing one null."""
    found = one("books", "update", "8", "7", "{{1.10,2,0,4},{1.00,0,0,0}}", "{}", "verified", "stream")
    assert found["bids"] == [["1.10", "2", "0", "4"], ["1.00", "0", "0", "0"]]
    assert found["asks"] == []
    assert one("books", "snapshot", NULL, NULL, "{{1,2}}", NULL, "suspect", "rest")["asks"] is None


def test_flags_and_times() -> None:
    """`closed` is a boolean, a time that lies ahead is a time, too."""
    assert one("candles", "1m", *("1",) * 6, "t", "stream")["closed"] is True
    assert one("candles", "1m", *("1",) * 6, "f", "stream")["closed"] is False
    assert one("candles", "1m", *("1",) * 6, NULL, "stream")["closed"] is None
    found = one("funding_rates", "0.0001", NULL, "2026-11-21 16:00:00.000000+00", NULL)
    assert (found["funding_time"], found["next_funding_time"]) == ("2026-11-21T16:00:00.000000Z", None)


@pytest.mark.parametrize("word", ["a\tb", "a\\b", "a\\tb", "line\nline", "r\rn", "\\N", '"', "é☃", "<b>"])
def test_names_come_back(word: str) -> None:
    """What COPY escapes is unescaped, once; JSON then escapes what it must."""
    fields = (*COMMON[:4], text(word), "mark", "1")
    found = json.loads(objects("reference_prices", "\t".join(fields).encode(), [0])[0])
    assert found["symbol"] == word


@pytest.mark.parametrize("payload", ['{"a": 1.10}', '{"a":\n 1.10}', '{"a":\r\n "\\n\\\\n\\t"}', "[1e400]"])
def test_payloads_are_the_venues_own(payload: str) -> None:
    """Literals stay as they are; the object is one line, for an event ends with a line."""
    (found,) = objects("messages", line(text(payload)), [0])
    assert b"\n" not in found
    assert b"\r" not in found
    assert exact(found)["payload"] == exact(payload.encode())


def exact(text: bytes) -> Any:
    """JSON with its numbers as they are spelled."""
    return json.loads(text, parse_float=str, parse_int=str)


def test_lines_are_chosen() -> None:
    """Only those that are asked for, in their order."""
    data = b"".join(line("mark", str(price)) for price in range(5))
    assert [json.loads(each)["price"] for each in objects("reference_prices", data, [1, 4])] == ["1", "4"]
