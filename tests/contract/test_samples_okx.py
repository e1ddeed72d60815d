"""Recorded OKX frames give exactly the rows that a second, naive decoder finds in them, counted file by file."""

from __future__ import annotations

import itertools
import json
import struct
import zlib
from collections import Counter
from typing import Any

import pytest

from recorder.records import Burst, Decoded, Header, Kind, Streams
from recorder.venues import venues
from tests import copytext, naive, samples

RECEIVED_AT = 1_787_000_000_000_000  # later than every recording
HEADER = Header("", "okx/public/0", "okx", "okx", "/ws/v5/public", {}, run="1-00000000", run_ordinal=1)

# file -> rows per table, frames that are acknowledgements, and frames that are neither data nor a known reply.
EXPECTED: dict[str, tuple[dict[str, int], int, int]] = {
    "cryptofeed_okcoin_2023-05_v5_candles_books.jsonl": ({"candles": 6, "tickers": 4, "trades": 2, "books": 3}, 20, 0),
    "cryptofeed_okex_2021-07_tbt_conn1.jsonl.gz": ({"trades": 14, "tickers": 19, "books": 962}, 15, 0),
    "cryptofeed_okex_2021-07_tbt_conn2.jsonl.gz": ({"trades": 14, "tickers": 19, "books": 927}, 15, 0),
    "cryptofeed_okx_2022-05_books_trades_tickers.jsonl.gz": ({"tickers": 27, "trades": 73, "books": 197}, 12, 0),
    "cryptofeed_okx_2022-05_rest_instruments.jsonl.gz": ({}, 0, 0),
    "cryptomsgparser_okx.jsonl": (
        {"quotes": 3, "books": 6, "candles": 3, "funding_rates": 1, "tickers": 3, "trades": 3},
        0,
        7,
    ),
    "docs_examples_control_2026-07.jsonl": ({"books": 1, "trades": 1}, 2, 0),
    "docs_examples_okx.jsonl": (
        {"funding_rates": 1, "reference_prices": 1, "candles": 3, "books": 1, "messages": 1, "tickers": 1},
        7,
        0,
    ),
    "nautilus_okx.jsonl": ({"quotes": 1, "books": 1, "funding_rates": 1, "trades": 1}, 0, 4),
    "tardis_okex-futures.jsonl": (
        {"trades": 1, "open_interest": 1, "tickers": 1, "messages": 1, "reference_prices": 1, "liquidations": 1},
        1,
        0,
    ),
    "tardis_okex-futures_X-Perp.jsonl": ({"reference_prices": 1}, 0, 0),
    "tardis_okex-options.jsonl": ({"books": 1, "open_interest": 1, "tickers": 1, "trades": 1}, 0, 0),
    "tardis_okex-spreads.jsonl": ({"messages": 2}, 0, 0),
    "tardis_okex-swap.jsonl": (
        {"books": 1, "trades": 1, "reference_prices": 1, "open_interest": 1, "quotes": 1, "tickers": 1},
        0,
        0,
    ),
    "tardis_okex.jsonl": ({"books": 1, "tickers": 1}, 1, 0),
    "tardis_okex_USDC_contracts_before_and_after_index_migration.jsonl": ({"reference_prices": 3}, 0, 0),
}


def decoded(frames: list[bytes], size: int) -> list[Decoded]:
    """The frames, read in bursts of a size."""
    decoder = venues()["okx"].decoder(HEADER, Streams())
    bursts = [Burst(n, RECEIVED_AT, Kind.TEXT, frames[n : n + size]) for n in range(0, len(frames), size)]
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


def test_every_recording_is_expected() -> None:
    """No recording is left out of these tests."""
    assert samples.files("okx_v5") == sorted(EXPECTED)


@pytest.mark.parametrize("size", [1, 7, 5000])
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_rows_are_those_of_the_naive_decoder(name: str, size: int) -> None:
    """Every row, in the order of its table, however the frames fall into bursts."""
    frames = samples.received("okx_v5", name)
    expected: dict[str, list[str]] = {}
    for raw in frames:
        for table, row in naive.decode("okx", raw, RECEIVED_AT, "okx"):
            expected.setdefault(table, []).append(spelled(row))
    counts, _, _ = EXPECTED[name]
    assert {table: len(rows) for table, rows in expected.items()} == counts
    assert by_table(decoded(frames, size)) == expected


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_frame_is_accounted_for(name: str) -> None:
    """A frame is data, a reply, or said to be unknown; real frames are never poison."""
    frames = samples.received("okx_v5", name)
    (whole,) = decoded(frames, 5000) or [Decoded("", "", 0, 0, 0)]
    _, acknowledged, odd = EXPECTED[name]
    kinds = Counter(type(reply).__name__ for reply in whole.replies)
    unknown = sum(event.code == "unknown" for event in whole.events)
    assert kinds["Ack"] == acknowledged
    assert unknown + len(whole.poison) == odd
    quiet = 2 if name.startswith("docs_examples_control") else 0  # a login and a count of connections
    assert sum(whole.messages.values()) + kinds.total() + quiet + odd == len(frames)


def test_books_keep_what_checksums_are_made_of() -> None:
    """A side keeps the venue's digits and has its best price first: the venue's checksum over a snapshot agrees."""
    checked = 0
    for name in (name for name in EXPECTED if name.startswith("cryptofeed_")):
        for raw in samples.received("okx_v5", name):
            if b'"action":"snapshot"' in raw:
                (row,) = copytext.rows("books", decoded([raw], 1)[0].tables["books"].data)
                assert checksum(row["bids"], row["asks"]) == json.loads(raw)["data"][0]["checksum"]
                checked += 1
    assert checked == 14


def checksum(bids: Any, asks: Any) -> int:
    """CRC-32, signed, over the best 25 levels of both sides in turn, as the venue documents it."""
    sides = itertools.zip_longest(bids[:25], asks[:25])
    text = ":".join(f"{level[0]:f}:{level[1]:f}" for pair in sides for level in pair if level is not None)
    return struct.unpack(">i", zlib.crc32(text.encode()).to_bytes(4, "big"))[0]  # type: ignore[no-any-return]
