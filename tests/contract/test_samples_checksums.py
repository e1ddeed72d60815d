"""Recorded books against the checksums that the venue sent with them: every one agrees, and none does once a level is
another."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from recorder.quality.book import Books
from recorder.quality.continuity import Continuity, Verdict
from recorder.records import Burst, Decoded, Header, Kind, Stream, Streams
from recorder.venues import Continuity as Proof
from recorder.venues import venues
from tests import samples
from tests.contract.test_samples import RECEIVED_AT

# Venue -> recording -> frames with a checksum. Excerpts and examples are left out: their books were shortened by hand.
OKX, V3 = ("okx", "okx_v5"), ("okex_v3", "okex_v3")
RECORDINGS = {
    (*OKX, "cryptofeed_okcoin_2023-05_v5_candles_books.jsonl"): 3,
    (*OKX, "cryptofeed_okex_2021-07_tbt_conn1.jsonl.gz"): 962,
    (*OKX, "cryptofeed_okex_2021-07_tbt_conn2.jsonl.gz"): 927,
    (*OKX, "cryptofeed_okx_2022-05_books_trades_tickers.jsonl.gz"): 197,
    (*V3, "cryptofeed_okcoin_2021-07_v3_deflate_conn1.jsonl.gz"): 881,
    (*V3, "gocryptotrader_v3_depth_checksum_2019-03.jsonl"): 4,
}
each_recording = pytest.mark.parametrize(("venue", "folder", "name"), RECORDINGS)


class Run:
    """A recording on its way through decoder and continuity, in bursts of a size."""

    def __init__(self, venue: str) -> None:
        self.streams = Streams()
        self.venue = venues()[venue]
        header = Header("", f"{venue}/x/0", venue, venue, "/", {}, run="1-00000000", run_ordinal=1)
        self.decoder = self.venue.decoder(header, self.streams)
        self.continuity = Continuity(self.streams, self.kind)
        self.next = 0

    def kind(self, stream: Stream) -> Proof:
        """As the pipeline asks."""
        channel = self.venue.channel(stream.channel)
        return channel.continuity if channel is not None else Proof.NONE

    def take(self, frames: list[bytes], size: int = 7, kind: Kind = Kind.TEXT) -> Iterator[tuple[Decoded, Verdict]]:
        for n in range(0, len(frames), size):
            some = frames[n : n + size]
            decoded = self.decoder.decode(Burst(self.next, RECEIVED_AT, kind, some))
            self.next = decoded.next
            yield decoded, self.continuity.observe(decoded)


def verified(pieces: Iterator[tuple[Decoded, Verdict]]) -> Counter[bool | None]:
    """How many books agree with the checksum that came with them; no stream may be suspect for a moment."""
    books, found = Books(), Counter[bool | None]()
    for decoded, verdict in pieces:
        assert (verdict.suspect, verdict.broken, verdict.holes) == ({}, [], [])
        rows = decoded.tables.get("books")
        if rows is not None and rows.checks is not None:
            lines = zip(rows.streams, rows.data.split(b"\n"), rows.checks, strict=False)
            found.update(books.agrees(*each) for each in lines)
    return found


@pytest.mark.parametrize("size", [1, 7, 5000])
@each_recording
def test_every_recorded_book_agrees_with_its_checksum(venue: str, folder: str, name: str, size: int) -> None:
    """Every frame of every recording, however they fall into bursts."""
    found = verified(Run(venue).take(samples.received(folder, name), size))
    assert found == {True: RECORDINGS[venue, folder, name]}


@pytest.mark.parametrize("size", [1, 7, 5000])
def test_every_book_agrees_as_the_venue_compressed_it(size: int) -> None:
    """The same from the frames as they came from the socket."""
    venue, folder, name = next(each for each in RECORDINGS if "deflate" in each[2])
    frames = [binary for binary, _ in samples.compressed(folder, name)]
    assert verified(Run(venue).take(frames, size, Kind.BINARY)) == {True: RECORDINGS[venue, folder, name]}


def changed(raw: bytes) -> bytes | None:
    """The frame with another size in the first level that it sets; None where there is no such level."""
    message = json.loads(raw)
    channel = message.get("table", message.get("arg", {}).get("channel", "")).split("/")[-1]
    if not channel.startswith(("books", "depth")) or "data" not in message:
        return None
    levels = message["data"][0]["bids"] + message["data"][0]["asks"]
    level = next((level for level in levels if float(level[1])), None)
    if level is None:
        return None
    level[1] += "1"
    return json.dumps(message, separators=(",", ":")).encode()


@each_recording
def test_one_level_changed_is_found(venue: str, folder: str, name: str) -> None:
    """One digit of one size in one frame, tried on frames all over the recording: that stream is suspect from there on,
    or from when the level comes into the 25 that are checked, if it ever does; one hole of unknown size, one break, and
    no other stream suffers."""
    frames = samples.received(folder, name)
    places = [n for n, raw in enumerate(frames) if changed(raw) is not None]
    found = 0
    for place in places[:: max(1, len(places) // 12)]:
        run, wrong = Run(venue), list(frames)
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


@pytest.mark.parametrize(
    ("venue", "folder", "name", "shown"),
    [
        (*OKX, "cryptofeed_okex_2021-07_tbt_conn1.jsonl.gz", 12),
        (*V3, "cryptofeed_okcoin_2021-07_v3_deflate_conn1.jsonl.gz", 17),
    ],
)
def test_a_lost_frame_is_found_without_ids(venue: str, folder: str, name: str, shown: int) -> None:
    """Where no ids are named, the checksum is all that shows a missing update."""
    frames = samples.received(folder, name)
    updates = [n for n, raw in enumerate(frames) if b'"action":"update"' in raw]
    seen = 0
    for lost in updates[10:200:10]:
        verdicts = [verdict for _, verdict in Run(venue).take([*frames[:lost], *frames[lost + 1 :]], 50)]
        seen += any(verdict.broken for verdict in verdicts)
    assert seen == shown  # of 19; the others changed what is never among the 25 levels that are checked
