"""What every venue must keep of single values: only numbers become numbers, and no row holds what no database takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from recorder.venues import Venue
from tests import copytext
from tests.contract.test_venues import decode, each_venue, lines, recorded, whole, without

ODD_NUMBERS = (
    "NaN",
    "Infinity",
    "-inf",
    "0x10",
    " 1",
    "1 ",
    "1_0",
    "１",
    "1.2.3",
    "-",
    ".",
    "+-1",
    "1\t2",
    "1\\n",
    "\x00",
)


@each_venue
def test_only_numbers_become_numbers(venue: Venue) -> None:
    """A number of a trade or candle that is none makes poison; 1e5 is stored as what it is."""
    tried = 0
    for raw, values in numeric_frames(venue):
        for value in values:
            for odd in ODD_NUMBERS:
                bad = respelled(raw, value, odd)
                decoded = whole(decode(venue, [raw, bad, raw]))
                assert [p.frame for p in decoded.poison] == [6], (odd, bad)
                tried += 1
            exact = respelled(raw, value, "1e5")
            assert not whole(decode(venue, [exact])).poison
    assert tried >= len(ODD_NUMBERS)


def respelled(raw: bytes, value: str, other: str) -> bytes:
    """The frame with another decimal in the place of this one, whether a string or a number stands there."""
    found = re.sub(
        rb'"%b"|(?<=:)%b(?=[,}])' % ((re.escape(value.encode()),) * 2), lambda _: json.dumps(other).encode(), raw
    )
    assert found != raw
    return found


def numeric_frames(venue: Venue) -> Iterator[tuple[bytes, list[str]]]:
    """Frames of trades and candles, and the decimals in them."""
    for raw in recorded(venue):
        decoded = decode(venue, [raw])
        for table, columns in (("trades", ("price",)), ("candles", ("open", "close")), ("tickers", ("open_24h",))):
            for row in copytext.rows(table, decoded.tables[table].data) if table in decoded.tables else []:
                yield raw, [f"{row[column]:f}" for column in columns if row[column] is not None]


@each_venue
@pytest.mark.parametrize(
    "odd", [rb'"\ud800"', rb'"\u0000"', b'"\xff"', b"[" * 5000], ids=["half", "nul", "bytes", "deep"]
)
def test_text_that_no_database_stores_is_poison_or_left_out(venue: Venue, odd: bytes) -> None:
    """Half a character, NUL, bytes that are no text, and bottomless nesting never reach a row."""
    for raw in recorded(venue):
        bad = raw.replace(b'"ts"', odd + b',"ts"', 1).replace(b'"sell"', odd, 1).replace(b'"buy"', odd, 1)
        bad = bad.replace(b'"BTCUSDT"', odd, 1)
        decoded, alone = whole(decode(venue, [bad, raw])), decode(venue, [raw])
        for table in alone.tables:
            assert without(decoded, table, 5) == lines(alone, table)
