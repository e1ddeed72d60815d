"""Maintained books, their checksums, and what a checksum that does not agree does to a stream."""

from __future__ import annotations

import random
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.quality.book import DEPTH, Book
from recorder.quality.continuity import Continuity, Verdict
from recorder.records import Burst, Closed, Decoded, Header, Kind, Streams, encode_control
from recorder.venues import Continuity as Proof
from recorder.venues.okx import venue
from tests.unit.okxframes import NOW, book, encoded, push
from tests.unit.test_continuity import spans

HEADER = Header("", "okx/public/0", "okx", "okx", "/ws/v5/public", {}, run="1-00000000", run_ordinal=1)
Levels = dict[str, str]  # price -> size, as spelled


def signed(number: int) -> int:
    """As venues send it."""
    return number - (1 << 32) if number >= 1 << 31 else number


def crc(bids: Levels, asks: Levels) -> int:
    """The rule once more, the slow way."""
    best = [
        sorted(bids.items(), key=lambda level: -float(level[0]))[:DEPTH],
        sorted(asks.items(), key=lambda level: float(level[0]))[:DEPTH],
    ]
    parts = [":".join(side[n]) for n in range(DEPTH) for side in best if n < len(side)]
    return signed(crc32(":".join(parts).encode()))


def literal(levels: Levels) -> str:
    """A side as an array literal."""
    return "{" + ",".join(f"{{{price},{size},0,1}}" for price, size in levels.items()) + "}"


def test_the_text_is_made_of_both_sides_in_turn_and_goes_on_with_the_longer() -> None:
    """Best first, as spelled, at most 25 a side."""
    made = Book()
    made.change(literal({"9.10": "1", "9": "2.0"}), literal({"10": "3", "11.5": "4", "12": "5"}))
    assert made.checksum() == crc32(b"9.10:1:10:3:9:2.0:11.5:4:12:5")
    assert Book().checksum() == crc32(b"")
    deep = Book()
    deep.change("{}", literal({str(100 + n): "1" for n in range(DEPTH + 5)}))
    assert deep.checksum() == crc32(":".join(f"{100 + n}:1" for n in range(DEPTH)).encode())


def test_a_price_spelled_otherwise_is_the_same_level() -> None:
    """Levels are found by their value and checked by their text; zero, however spelled, takes a level out."""
    made = Book()
    made.change(literal({"9.10": "1", "9": "2"}), "{}")
    made.change(literal({"9.1": "7"}), "{}")
    assert made.checksum() == crc32(b"9.1:7:9:2")
    made.change(literal({"9.100": "0.00", "5": "0"}), "{}")
    assert made.checksum() == crc32(b"9:2")


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_a_maintained_book_is_the_book(seed: int) -> None:
    """Any updates at all, one side shorter or empty, levels in and out of the best 25."""
    rng = random.Random(seed)
    made, sides = Book(), ({}, {})  # type: tuple[Book, tuple[Levels, Levels]]
    for _ in range(rng.randint(1, 20)):
        changes: list[Levels] = []
        for side in sides:
            change = {f"{rng.randint(1, 60)}.5": rng.choice(["0", "1", "2.50"]) for _ in range(rng.randint(0, 12))}
            side.update(change)
            for price in [price for price, size in side.items() if size == "0"]:
                del side[price]
            changes.append(change)
        made.change(literal(changes[0]), literal(changes[1]))
        assert signed(made.checksum()) == crc(*sides)


# --- streams ---------------------------------------------------------------------------------------------------------


class Stream:
    """A stream of a book with checksums, on its way through decoder and continuity. With `ids` it is a chain, too."""

    def __init__(self, ids: bool) -> None:
        self.streams = Streams()
        self.decoder = venue.decoder(HEADER, self.streams)
        self.continuity = Continuity(self.streams, lambda _: Proof.CHAINED)
        self.n = 0
        self.seq = 10
        self.ids = ids
        self.bids: Levels = {}

    def message(self, action: str, bids: Levels, wrong: int = 0, checked: bool = True, lost: bool = False) -> Decoded:
        """The next message as the venue builds it; `wrong` is added to its checksum, a `lost` one never arrives."""
        self.bids = dict(bids) if action == "snapshot" else self.bids | bids
        self.bids = {price: size for price, size in self.bids.items() if size != "0"}
        before, self.seq = -1 if action == "snapshot" else self.seq, self.seq + 5
        chain = {"prevSeqId": before, "seqId": self.seq} if self.ids else {}
        checksum = crc(self.bids, {}) + wrong if checked else 0
        element = book([[p, s, "0", "1"] for p, s in bids.items()], [], checksum=checksum, **chain)
        if lost:
            return Decoded("", "", 0, 0, 0)
        return self.decode(Kind.TEXT, encoded(push("books", element, action=action)))

    def decode(self, kind: Kind, raw: bytes) -> Decoded:
        decoded = self.decoder.decode(Burst(self.n, NOW + self.n, kind, [raw]))
        self.n += 1
        return decoded

    def see(self, action: str, bids: Levels, wrong: int = 0, checked: bool = True) -> Verdict:
        return self.continuity.observe(self.message(action, bids, wrong, checked))

    def reload(self) -> None:
        """The process starts again in the middle of the stream."""
        state = self.continuity.dump(HEADER.feed)
        self.continuity = Continuity(self.streams, lambda _: Proof.CHAINED)
        self.continuity.load(HEADER.feed, state)


CLEAN: tuple[list[object], dict[str, list[int]], list[int]] = ([], {}, [])


def told(verdict: Verdict) -> tuple[list[object], dict[str, list[int]], list[int]]:
    return [*verdict.holes], verdict.suspect, verdict.broken


@pytest.mark.parametrize("ids", [True, False])
def test_a_checksum_that_disagrees_breaks_the_chain_until_the_next_snapshot(ids: bool) -> None:
    """Whatever the ids say: one hole of unknown size, one break, suspect until a snapshot; then all is well again."""
    stream = Stream(ids)
    assert told(stream.see("snapshot", {"5": "1", "4": "2"})) == CLEAN
    assert told(stream.see("update", {"5": "3"})) == CLEAN
    verdict = stream.see("update", {"4": "0"}, wrong=1)
    assert spans(verdict.holes) == [("sequence", 20 if ids else None, 25 if ids else None, None)]
    assert (verdict.suspect, verdict.broken) == ({"books": [0]}, [0])
    verdict = stream.see("update", {"3": "1"})
    assert told(verdict) == ([], {"books": [0]}, [])
    assert stream.see("snapshot", {"5": "1"}).suspect == {}
    assert told(stream.see("update", {"5": "3"})) == CLEAN


@pytest.mark.parametrize("ids", [True, False])
def test_a_lost_update_is_found_by_the_checksum_of_the_next(ids: bool) -> None:
    """With ids they tell; without, the book does."""
    stream = Stream(ids)
    stream.see("snapshot", {"5": "1", "4": "2"})
    stream.message("update", {"4.5": "7"}, lost=True)
    verdict = stream.see("update", {"3": "1"})
    assert (verdict.broken, verdict.suspect, len(verdict.holes)) == ([0], {"books": [0]}, 1)


def test_a_snapshot_that_disagrees_is_no_book() -> None:
    """Nothing can be built on it."""
    stream = Stream(ids=False)
    verdict = stream.see("snapshot", {"5": "1"}, wrong=1)
    assert (verdict.broken, verdict.suspect, verdict.holes) == ([0], {"books": [0]}, [])
    assert stream.see("update", {"4": "1"}).suspect == {"books": [0]}


@pytest.mark.parametrize("ids", [True, False])
def test_nothing_is_verified_before_a_snapshot(ids: bool) -> None:
    """After a restart in the middle of a chain ids alone decide: no false alarm, and no true one either."""
    stream = Stream(ids)
    stream.see("snapshot", {"5": "1", "4": "2"})
    stream.reload()
    assert told(stream.see("update", {"4": "0"}, wrong=1)) == CLEAN
    stream.see("snapshot", {"5": "1"})
    assert stream.see("update", {"4": "0"}, wrong=1).broken == [0]


def test_a_suspect_stream_stays_suspect_over_a_restart() -> None:
    """The checkpoint knows, though it holds no book."""
    stream = Stream(ids=False)
    stream.see("snapshot", {"5": "1"})
    stream.see("update", {"4": "1"}, wrong=1)
    stream.reload()
    assert stream.see("update", {"4": "2"}).suspect == {"books": [0]}
    assert stream.see("snapshot", {"4": "2"}).suspect == {}


@pytest.mark.parametrize("ids", [True, False])
def test_a_break_of_the_connection_ends_the_book(ids: bool) -> None:
    """What was lost in it is a hole of its own; what follows without a snapshot is no reason for another alarm."""
    stream = Stream(ids)
    stream.see("snapshot", {"5": "1"})
    stream.continuity.observe(stream.decode(Kind.CONTROL, encode_control(Closed("eof"))))
    stream.message("update", {"4.5": "7"}, lost=True)
    assert len(stream.see("update", {"4": "1"}).holes) == 1
    assert told(stream.see("update", {"3": "1"})) == ([], {"books": [0]} if ids else {}, [])


def test_a_record_without_a_checksum_ends_the_book() -> None:
    """A venue that stops sending them halfway is taken at its ids again; the book would lack what came meanwhile."""
    stream = Stream(ids=True)
    stream.see("snapshot", {"5": "1"})
    stream.see("update", {"4": "1"}, checked=False)
    assert told(stream.see("update", {"3": "1"}, wrong=1)) == CLEAN


def test_without_checksums_there_is_nothing_to_keep() -> None:
    """Zero is none: the rows carry no column of them, and no book is made."""
    stream = Stream(ids=True)
    decoded = stream.message("snapshot", {"5": "1"}, checked=False)
    stream.continuity.observe(decoded)
    assert decoded.tables["books"].checks is None
    assert not stream.continuity._books


def test_the_same_update_again_changes_nothing() -> None:
    """A repeated frame is dropped, and not put into the book twice; an older one neither."""
    stream = Stream(ids=True)
    stream.see("snapshot", {"5": "1"})
    again = stream.message("update", {"4": "1"})
    assert told(stream.continuity.observe(again)) == CLEAN
    assert stream.continuity.observe(again).drop == {"books": [0]}
    assert told(stream.see("update", {"4": "0"})) == CLEAN


@pytest.mark.parametrize("price", ["", ".", "1.2.3"])
def test_a_level_that_is_no_number_ends_the_book_and_nothing_else(price: str) -> None:
    """It passes the decoder's quick look and is refused by the database: what builds on it is suspect."""
    stream = Stream(ids=True)
    stream.see("snapshot", {"5": "1"})
    element = book([[price, "1", "0", "1"]], [], checksum=7, prevSeqId=stream.seq, seqId=stream.seq + 5)
    raw = encoded(push("books", element, action="update"))
    verdict = stream.continuity.observe(stream.decode(Kind.TEXT, raw))
    assert (verdict.broken, verdict.suspect) == ([0], {"books": [0]})
    stream.see("snapshot", {"5": "1"})
    assert told(stream.see("update", {"5": "3"})) == CLEAN
