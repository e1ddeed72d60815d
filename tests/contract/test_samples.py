"""Recorded frames give exactly the rows that a second, naive decoder finds in them, counted file by file."""

from __future__ import annotations

import itertools
import json
import struct
import zlib
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest

from recorder.records import Burst, Decoded, Header, Kind, Stream, Streams
from recorder.venues import Continuity, Venue, venues
from tests import copytext, naive, samples

RECEIVED_AT = 1_787_000_000_000_000  # later than every recording


@dataclass(frozen=True, slots=True)
class Frames:
    """What a recording holds: rows by table, acknowledgements, frames that are neither data nor a known reply, and
    frames that say something which calls for nothing (greetings, logins)."""

    rows: dict[str, int]
    acks: int = 0
    odd: int = 0
    quiet: int = 0


# venue -> folder of its recordings, and what each of them holds.
EXPECTED: dict[str, tuple[str, dict[str, Frames]]] = {
    "okx": (
        "okx_v5",
        {
            "cryptofeed_okcoin_2023-05_v5_candles_books.jsonl": Frames(
                {"candles": 6, "tickers": 4, "trades": 2, "books": 3}, acks=20
            ),
            "cryptofeed_okex_2021-07_tbt_conn1.jsonl.gz": Frames({"trades": 14, "tickers": 19, "books": 962}, acks=15),
            "cryptofeed_okex_2021-07_tbt_conn2.jsonl.gz": Frames({"trades": 14, "tickers": 19, "books": 927}, acks=15),
            "cryptofeed_okx_2022-05_books_trades_tickers.jsonl.gz": Frames(
                {"tickers": 27, "trades": 73, "books": 197}, acks=12
            ),
            "cryptofeed_okx_2022-05_rest_instruments.jsonl.gz": Frames({}),
            "cryptomsgparser_okx.jsonl": Frames(
                {"quotes": 3, "books": 6, "candles": 3, "funding_rates": 1, "tickers": 3, "trades": 3}, odd=7
            ),
            "docs_examples_control_2026-07.jsonl": Frames({"books": 1, "trades": 1}, acks=2, quiet=2),
            "docs_examples_okx.jsonl": Frames(
                {"funding_rates": 1, "reference_prices": 1, "candles": 3, "books": 1, "messages": 1, "tickers": 1},
                acks=7,
            ),
            "nautilus_okx.jsonl": Frames({"quotes": 1, "books": 1, "funding_rates": 1, "trades": 1}, odd=4),
            "tardis_okex-futures.jsonl": Frames(
                {
                    "trades": 1,
                    "open_interest": 1,
                    "tickers": 1,
                    "messages": 1,
                    "reference_prices": 1,
                    "liquidations": 1,
                },
                acks=1,
            ),
            "tardis_okex-futures_X-Perp.jsonl": Frames({"reference_prices": 1}),
            "tardis_okex-options.jsonl": Frames({"books": 1, "open_interest": 1, "tickers": 1, "trades": 1}),
            "tardis_okex-spreads.jsonl": Frames({"messages": 2}),
            "tardis_okex-swap.jsonl": Frames(
                {"books": 1, "trades": 1, "reference_prices": 1, "open_interest": 1, "quotes": 1, "tickers": 1}
            ),
            "tardis_okex.jsonl": Frames({"books": 1, "tickers": 1}, acks=1),
            "tardis_okex_USDC_contracts_before_and_after_index_migration.jsonl": Frames({"reference_prices": 3}),
        },
    ),
    "infoway": (
        "infoway",
        {
            "crypto_depth.jsonl": Frames({"books": 10}, acks=1, quiet=1),
            "crypto_kline.jsonl": Frames({"candles": 10}, acks=1, quiet=1),
            "crypto_trade_part1.jsonl": Frames({"trades": 4}, acks=1, quiet=1),
            "probe_malformed.jsonl": Frames({}, quiet=1),
            "probe_wrong_business.jsonl": Frames({}, acks=1, quiet=1),
            "rest_responses.jsonl": Frames({}, odd=7),
            "stock_trade_closed.jsonl": Frames({}, acks=1, quiet=2),
        },
    ),
    "okex_v1": (
        "okex_v1",
        {
            "captured_frames.jsonl": Frames({"trades": 25, "candles": 1}, acks=4),
            "docs_examples.jsonl": Frames({"books": 2, "candles": 2, "tickers": 1, "reference_prices": 1}, quiet=1),
            "xchange_stream_okcoin_orderbook.jsonl": Frames({"books": 1}),
        },
    ),
    "okex_v3": (
        "okex_v3",
        {
            "captured_control_frames.jsonl": Frames({}, acks=1),
            "cryptofeed_okcoin_2021-07_v3_deflate_conn1.jsonl.gz": Frames(
                {"tickers": 11, "trades": 6, "books": 881}, acks=15
            ),
            "cryptomsgparser_okx_v3.jsonl": Frames({"books": 6, "trades": 4, "candles": 1, "funding_rates": 1}),
            "gocryptotrader_v3_depth_checksum_2019-03.jsonl": Frames({"books": 4}),
            "tardis_okcoin.jsonl": Frames({"books": 1, "tickers": 1, "trades": 1}),
            "tardis_okex-futures.jsonl": Frames(
                {"trades": 2, "books": 4, "reference_prices": 1, "tickers": 1, "liquidations": 1}
            ),
            "tardis_okex-options.jsonl": Frames({"books": 1, "messages": 4, "tickers": 1}),
            "tardis_okex-swap.jsonl": Frames({"trades": 2, "tickers": 2, "reference_prices": 1}),
            "tardis_okex.jsonl": Frames({"trades": 2, "tickers": 2}),
        },
    ),
}
# How many frames of a file were recorded as they came: compressed by the venue itself.
COMPRESSED = {"cryptofeed_okcoin_2021-07_v3_deflate_conn1.jsonl.gz": 913}
RECORDINGS = [(venue, name) for venue, (_, files) in EXPECTED.items() for name in files]
each_recording = pytest.mark.parametrize(("venue", "name"), RECORDINGS)


def received(venue: str, name: str) -> list[bytes]:
    """The frames of a recording."""
    return samples.received(EXPECTED[venue][0], name)


def decoded(venue: str, frames: list[bytes], size: int, kind: Kind = Kind.TEXT) -> list[Decoded]:
    """The frames, read in bursts of a size."""
    header = Header("", f"{venue}/x/0", venue, venue, "/", {}, run="1-00000000", run_ordinal=1)
    decoder = venues()[venue].decoder(header, Streams())
    bursts = [Burst(n, RECEIVED_AT, kind, frames[n : n + size]) for n in range(0, len(frames), size)]
    return [decoder.decode(burst) for burst in bursts]


def by_table(pieces: list[Decoded]) -> dict[str, list[str]]:
    """The rows of each table in order, spelled out: as text, 1.10 and 1.1 differ, as they do for us."""
    found: dict[str, list[str]] = {}
    for piece in pieces:
        for table, rows in piece.tables.items():
            found.setdefault(table, []).extend(map(spelled, copytext.rows(table, rows.data)))
    return found


def spelled(row: naive.Row) -> str:
    """A row as text, its columns in order."""
    return repr(sorted(row.items()))


@pytest.mark.parametrize("venue", EXPECTED)
def test_every_recording_is_expected(venue: str) -> None:
    """No recording is left out of these tests."""
    folder, files = EXPECTED[venue]
    assert samples.files(folder) == sorted(files)


def test_every_venue_is_recorded() -> None:
    """A venue without recorded frames would be one without these tests."""
    assert set(EXPECTED) == set(venues())


@pytest.mark.parametrize("size", [1, 7, 5000])
@each_recording
def test_rows_are_those_of_the_naive_decoder(venue: str, name: str, size: int) -> None:
    """Every row, in the order of its table, however the frames fall into bursts."""
    frames = received(venue, name)
    expected: dict[str, list[str]] = {}
    for raw in frames:
        for table, row in naive.decode(venue, raw, RECEIVED_AT, venue):
            expected.setdefault(table, []).append(spelled(row))
    assert {table: len(rows) for table, rows in expected.items()} == EXPECTED[venue][1][name].rows
    assert by_table(decoded(venue, frames, size)) == expected


@pytest.mark.parametrize("size", [1, 7, 5000])
@each_recording
def test_frames_that_the_venue_compressed_say_the_same(venue: str, name: str, size: int) -> None:
    """As they came from the socket, the frames give what the text in them gives, and a feed hears the same."""
    pairs = samples.compressed(EXPECTED[venue][0], name)
    assert len(pairs) == COMPRESSED.get(name, 0)
    for one, other in zip(
        decoded(venue, [binary for binary, _ in pairs], size, Kind.BINARY),
        decoded(venue, [text for _, text in pairs], size),
        strict=True,
    ):
        assert one == other
        assert one.poison == []
    header, burst = Header("", "x/y/0", "x", "x", "", {}), Burst(0, RECEIVED_AT, Kind.BINARY, [one for one, _ in pairs])
    text = replace(burst, kind=Kind.TEXT, frames=[text for _, text in pairs])
    light, same = (venues()[venue].decoder(header, Streams()).skim(each) for each in (burst, text))
    assert light == same


@each_recording
def test_every_frame_is_accounted_for(venue: str, name: str) -> None:
    """A frame is data, a reply, or said to be unknown; real frames are never poison."""
    frames = received(venue, name)
    (whole,) = decoded(venue, frames, 5000) or [Decoded("", "", 0, 0, 0)]
    expected = EXPECTED[venue][1][name]
    kinds = Counter(type(reply).__name__ for reply in whole.replies)
    unknown = sum(event.code == "unknown" for event in whole.events)
    assert kinds["Ack"] == expected.acks
    assert unknown + len(whole.poison) == expected.odd
    assert sum(whole.messages.values()) + kinds.total() + expected.quiet + expected.odd == len(frames)


@pytest.mark.parametrize("size", [1, 7, 5000])
@each_recording
def test_a_skimmed_burst_says_all_that_a_feed_must_know(venue: str, name: str, size: int) -> None:
    """Replies and counts are those of the whole burst, and so is what chained channels prove."""
    frames, one = received(venue, name), venues()[venue]
    header = Header("", f"{venue}/x/0", venue, venue, "/", {}, run="1-00000000", run_ordinal=1)
    for n in range(0, len(frames), size):
        burst, streams = Burst(n, RECEIVED_AT, Kind.TEXT, frames[n : n + size]), Streams()
        whole, light = one.decoder(header, streams).decode(burst), one.decoder(header, streams).skim(burst)
        assert (light.first, light.next, light.replies) == (whole.first, whole.next, whole.replies)
        assert light.messages == whole.messages
        assert chained(one, light, streams) == chained(one, whole, streams)


def chained(venue: Venue, piece: Decoded, streams: Streams) -> list[tuple[Stream, int | None, int | None]]:
    """Stream and ids of every record of a chained channel."""
    rows = [row for each in piece.tables.values() for row in zip(each.streams, each.seq_from, each.seq_to, strict=True)]
    found = [(streams[number], first, last) for number, first, last in rows]
    return [row for row in found if (c := venue.channel(row[0].channel)) and c.continuity is Continuity.CHAINED]


def test_books_keep_what_checksums_are_made_of() -> None:
    """A side keeps the venue's digits and has its best price first: the venue's checksum over a snapshot agrees."""
    checked = 0
    for name in (name for name in EXPECTED["okx"][1] if name.startswith("cryptofeed_")):
        for raw in received("okx", name):
            if b'"action":"snapshot"' in raw:
                (row,) = copytext.rows("books", decoded("okx", [raw], 1)[0].tables["books"].data)
                assert checksum(row["bids"], row["asks"]) == json.loads(raw)["data"][0]["checksum"]
                checked += 1
    assert checked == 14


def checksum(bids: Any, asks: Any) -> int:
    """CRC-32, signed, over the best 25 levels of both sides in turn, as the venue documents it."""
    sides = itertools.zip_longest(bids[:25], asks[:25])
    text = ":".join(f"{level[0]:f}:{level[1]:f}" for pair in sides for level in pair if level is not None)
    return struct.unpack(">i", zlib.crc32(text.encode()).to_bytes(4, "big"))[0]  # type: ignore[no-any-return]
