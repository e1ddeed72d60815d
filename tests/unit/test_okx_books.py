"""OKX books, rule by rule: kinds, chains, sides, and snapshots that came over REST."""

from __future__ import annotations

import json

import pytest

from recorder.decoding import rest_frame
from recorder.records import Kind
from tests import copytext
from tests.unit.okxframes import TS, book, decode, encoded, levels, poison, push, row, rows, sides

# --- books ----------------------------------------------------------------------------------------------------------


def test_a_snapshot_and_its_updates() -> None:
    """Kind, chain, integrity and sides of both; an empty side is an empty array, not null."""
    whole = push("books", book(levels("5", "4.5"), levels("6"), seqId=9, prevSeqId=-1), action="snapshot")
    change = push("books", book([], levels("7"), seqId=12, prevSeqId=9), action="update")
    decoded = decode(whole, change)
    first, second = rows(decoded, "books")
    assert (first["kind"], first["seq"], first["prev_seq"], first["integrity"]) == ("snapshot", 9, -1, "verified")
    assert (second["kind"], second["bids"], sides(second)) == ("update", [], [[], ["7"]])
    assert (decoded.tables["books"].seq_from, decoded.tables["books"].seq_to) == ([-1, 9], [9, 12])
    assert first["bids"] == [
        [copytext.number(c) for c in ("5", "1", "0", "2")],
        [copytext.number(c) for c in ("4.5", "1", "0", "2")],
    ]


@pytest.mark.parametrize("extra", [(), ("0.30",)])
def test_snapshots_are_best_first(extra: tuple[str, ...]) -> None:
    """A snapshot that is out of order is put in order; an update stays as sent."""
    mixed = book(levels("9.5", "10", *extra), levels("100", "99.99"))
    (whole,) = rows(decode(push("books", mixed, action="snapshot")), "books")
    (change,) = rows(decode(push("books", mixed, action="update")), "books")
    assert sides(whole) == [["10", "9.5", *extra], ["99.99", "100"]]
    assert sides(change) == [["9.5", "10", *extra], ["100", "99.99"]]


@pytest.mark.parametrize("channel", ["books5", "books"])
def test_a_book_without_action(channel: str) -> None:
    """books5 is always whole; of other books only what follows nothing is; the rest says what it is or is poison."""
    found = row("books", push(channel, book(levels("1"), [], seqId=3, prevSeqId=-1)))
    assert found["kind"] == "snapshot"
    assert poison(push("books", book(prevSeqId=4))) == [(0, "missing_field")]
    assert poison(push("books", book(), action="delta")) == [(0, "wrong_type")]


def test_without_a_chain_nothing_is_verified() -> None:
    """Books of 2021 have no ids, books5 names only itself."""
    assert row("books", push("books", book(), action="update"))["integrity"] == "unverifiable"
    assert row("books", push("books5", book(seqId=3)))["integrity"] == "unverifiable"


@pytest.mark.parametrize(
    "side",
    [b'[ ["1","2","0","1"] ]', b'[["1","2","0"]]', b'[["-1.5","2","0","1"]]', b'[["1e2","2","0","1"]]', b'[["1","2"]]'],
)
def test_sides_of_another_layout_are_read_all_the_same(side: bytes) -> None:
    """White space, other widths, negative prices and exponents take the slow path to the same numbers."""
    raw = encoded(push("books", book(["@"], []), action="update")).replace(b'["@"]', side)
    (found,) = rows(decode(raw), "books")
    expected = [[copytext.number(cell) for cell in level] for level in json.loads(side)]
    assert found["bids"] == expected


@pytest.mark.parametrize(
    ("side", "reason"),
    [
        ([["1", "2"], ["3"]], "bad_levels"),
        ([["1"]], "bad_levels"),
        ([["1", "", "0"]], "bad_levels"),
        ([["NaN", "2", "0", "1"]], "bad_number"),
        ([["1 ", "2", "0", "1"]], "bad_number"),
        ([["1}", "2", "0", "1"]], "bad_number"),
        ([[["1"]]], "wrong_type"),
        ([[1, 2, 0, 1]], "wrong_type"),
        (["1", "2"], "wrong_type"),
        ({"1": "2"}, "wrong_type"),
    ],
)
def test_sides_that_are_none_are_poison(side: object, reason: str) -> None:
    """What is no table of numbers never reaches an array literal."""
    element = {"bids": side, "asks": [], "ts": TS}
    assert poison(push("books", element, action="update"), push("books", book(), action="update")) == [(0, reason)]


@pytest.mark.parametrize("price", ["", ".", "1.2.3"])
def test_a_level_that_is_nearly_a_number_is_left_to_the_database(price: str) -> None:
    """Digits and points are all that the fast path proves of a level: PostgreSQL refuses the line, and its frame is
    isolated then. Nothing else passes (see the test above)."""
    decoded = decode(push("books", book(levels(price), []), action="update"))
    with pytest.raises(copytext.RefusedLevel):
        rows(decoded, "books")


def test_a_rest_answer_is_a_snapshot() -> None:
    """GET books: a snapshot with origin `rest`, which names itself and follows nothing known."""
    body = encoded({"code": "0", "msg": "", "data": [book(levels("5"), levels("6"), seqId=11)]})
    url = "https://www.okx.com/api/v5/market/books?instId=BTC-USDT&sz=400"
    decoded = decode(rest_frame(url, "books", "BTC-USDT", body), kind=Kind.REST)
    (found,) = rows(decoded, "books")
    assert (found["kind"], found["origin"], found["seq"], found["prev_seq"]) == ("snapshot", "rest", 11, None)
    assert (decoded.tables["books"].seq_from, decoded.tables["books"].seq_to) == ([-2], [11])
    assert (found["channel"], found["symbol"], sides(found)) == ("books", "BTC-USDT", [["5"], ["6"]])
    assert decoded.messages == {}  # it came over no stream: it does not prove that the connection lives


def test_a_rest_answer_may_be_anything() -> None:
    """An error is an event; what is no answer is poison; a proxy's error page fits into a frame as well."""
    refused = rest_frame("u", "books", "X-Y", b'{"code":"51001","msg":"Instrument does not exist","data":[]}')
    page = rest_frame("u", "books", "X-Y", b"<html>502</html>\xff")
    odd = rest_frame("u", "trades", "X-Y", b'{"code":"0","data":[]}')
    decoded = decode(refused, page, odd, b"{}", kind=Kind.REST)
    assert [(event.code, event.message) for event in decoded.events] == [("51001", "Instrument does not exist")]
    assert [(each.frame, each.reason) for each in decoded.poison] == [
        (1, "wrong_type"),
        (2, "wrong_type"),
        (3, "wrong_type"),
    ]
