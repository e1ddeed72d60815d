"""Recorded books against the checksums that the venue sent with them: every one agrees, and none does once a level is
another."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from recorder.quality.book import WHOLE, Book, Books
from recorder.quality.continuity import Continuity, Verdict
from recorder.records import Burst, Decoded, Header, Kind, Stream, Streams
from recorder.venues import Continuity as Proof
from recorder.venues import venues
from tests import samples
from tests.contract.test_samples import RECEIVED_AT

HEADER = Header("", "okx/public/0", "okx", "okx", "/ws/v5/public", {}, run="1-00000000", run_ordinal=1)

# Recording -> frames with a checksum. Excerpts and examples are left out: their books were shortened by hand.
RECORDINGS = {
    "cryptofeed_okcoin_2023-05_v5_candles_books.jsonl": 3,
    "cryptofeed_okex_2021-07_tbt_conn1.jsonl.gz": 962,
    "cryptofeed_okex_2021-07_tbt_conn2.jsonl.gz": 927,
    "cryptofeed_okx_2022-05_books_trades_tickers.jsonl.gz": 197,
}
EARLIER = {
    "cryptofeed_okcoin_2021-07_v3_deflate_conn1.jsonl.gz": 881,
    "gocryptotrader_v3_depth_checksum_2019-03.jsonl": 4,
}


def kind(stream: Stream) -> Proof:
    """As the pipeline asks."""
    channel = venues()["okx"].channel(stream.channel)
    return channel.continuity if channel is not None else Proof.NONE


class Run:
    """A recording on its way through decoder and continuity, in bursts of a size."""

    def __init__(self) -> None:
        self.streams = Streams()
        self.decoder = venues()["okx"].decoder(HEADER, self.streams)
        self.continuity = Continuity(self.streams, kind)
        self.next = 0

    def take(self, frames: list[bytes], size: int = 7) -> Iterator[tuple[Decoded, Verdict]]:
        for n in range(0, len(frames), size):
            some = frames[n : n + size]
            decoded = self.decoder.decode(Burst(self.next, RECEIVED_AT, Kind.TEXT, some))
            self.next = decoded.next
            yield decoded, self.continuity.observe(decoded)


@pytest.mark.parametrize("size", [1, 7, 5000])
@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recorded_book_agrees_with_its_checksum(name: str, size: int) -> None:
    """Every frame of every recording, however they fall into bursts; and no stream is suspect for a moment."""
    books, found = Books(), Counter[bool | None]()
    for decoded, verdict in Run().take(samples.received("okx_v5", name), size):
        assert (verdict.suspect, verdict.broken, verdict.holes) == ({}, [], [])
        rows = decoded.tables.get("books")
        if rows is not None and rows.checks is not None:
            lines = zip(rows.streams, rows.data.split(b"\n"), rows.checks, strict=False)
            found.update(books.agrees(*each) for each in lines)
    assert found == {True: RECORDINGS[name]}


def changed(raw: bytes) -> bytes | None:
    """The frame with another size in the first level that it sets; None where there is no such level."""
    message = json.loads(raw)
    if not message.get("arg", {}).get("channel", "").startswith("books") or "data" not in message:
        return None
    levels = message["data"][0]["bids"] + message["data"][0]["asks"]
    level = next((level for level in levels if float(level[1])), None)
    if level is None:
        return None
    level[1] += "1"
    return json.dumps(message, separators=(",", ":")).encode()


@pytest.mark.parametrize("name", RECORDINGS)
def test_one_level_changed_is_found(name: str) -> None:
    """One digit of one size in one frame, tried on frames all over the recording: that stream is suspect from there on,
    or from when the level comes into the 25 that are checked, if it ever does; one hole of unknown size, one break, and
    no other stream suffers."""
    frames = samples.received("okx_v5", name)
    places = [n for n, raw in enumerate(frames) if changed(raw) is not None]
    found = 0
    for place in places[:: max(1, len(places) // 12)]:
        run, wrong = Run(), list(frames)
        wrong[place] = changed(frames[place]) or b""
        verdicts = list(run.take(wrong, 1))
        broken = [(n, number) for n, (_, verdict) in enumerate(verdicts) for number in verdict.broken]
        assert all(n >= place for n, _ in broken)
        if not broken:
            continue
        found += broken[0][0] == place
        (first, number), *more = broken
        assert more == []
        of = [n for n, (d, _) in enumerate(verdicts) if "books" in d.tables and number in d.tables["books"].streams]
        assert [n for n, (_, v) in enumerate(verdicts) if v.suspect] == [n for n in of if n >= first]
        holes = [hole for _, verdict in verdicts for hole in verdict.holes]
        assert [(h.stream, h.cause, h.missing) for h in holes] == [(number, "sequence", None)] * (of[0] < first)
    assert found >= (3 if len(places) > 3 else 1)


def test_a_lost_frame_is_found_without_ids() -> None:
    """The recordings of 2021 name no ids: the checksum is all that shows a missing update."""
    name = "cryptofeed_okex_2021-07_tbt_conn1.jsonl.gz"
    frames = samples.received("okx_v5", name)
    updates = [n for n, raw in enumerate(frames) if b'"action":"update"' in raw]
    seen = 0
    for lost in updates[10:200:10]:
        verdicts = [verdict for _, verdict in Run().take([*frames[:lost], *frames[lost + 1 :]], 50)]
        seen += any(verdict.broken for verdict in verdicts)
    assert seen == 12  # of 19; the others changed what is never among the 25 levels that are checked


def literal(levels: list[list[str]]) -> str:
    """A side as an array literal."""
    return "{" + ",".join("{" + ",".join(map(str, level)) + "}" for level in levels) + "}"


@pytest.mark.parametrize("name", EARLIER)
def test_the_rule_is_older_than_this_protocol(name: str) -> None:
    """The same rule over recordings of the protocol before, other widths of rows included."""
    books: dict[Any, Book] = {}
    agreed = 0
    for raw in samples.received("okex_v3", name):
        message = json.loads(raw) if raw.startswith(b"{") else {}
        for element in message.get("data", ()) if "depth" in message.get("table", "") else ():
            key = (message["table"], element["instrument_id"])
            if message["action"] == "partial":
                books[key] = Book()
            books[key].change(literal(element["bids"]), literal(element["asks"]))
            assert books[key].checksum() == element["checksum"] & WHOLE
            agreed += 1
    assert agreed == EARLIER[name]
