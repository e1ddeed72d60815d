"""docs/operations.md calculates rightly, and names every drill's test."""

from __future__ import annotations

import re

import pytest

from recorder.config import SpoolConfig
from tests.docblocks import ROOT, tables

PAGE = ROOT / "docs" / "operations.md"
BYTES = 230  # a message, as the page says


def table(first: str) -> list[list[str]]:
    """The rows of the table that begins with this heading."""
    return next(rows[1:] for rows in tables(PAGE) if rows[0][0] == first)


@pytest.mark.parametrize("row", table("messages a second"), ids=lambda row: row[0])
def test_how_long_the_database_may_be_away(row: list[str]) -> None:
    """Bytes a day and the time that the default size lasts follow from rate and bytes."""
    rate, a_day, lasts = int(row[0].replace(" ", "")), float(row[1].split()[0]), row[2].split()
    assert a_day == pytest.approx(rate * BYTES * 86400 / 1e9, abs=0.06)
    hours = float(lasts[0]) * {"days": 24, "hours": 1}[lasts[1]]
    assert hours == pytest.approx(SpoolConfig().max_size / (rate * BYTES) / 3600, rel=0.01)


def test_every_drill_has_a_test() -> None:
    """Every line of the drills ends with the file of a test, and it mentions the drill's matter."""
    drills = table("drill")
    assert len(drills) == 5
    for row in drills:
        (name,) = re.findall(r"`(tests/\w+/\w+\.py)`", row[-1])
        assert "def test_" in (ROOT / name).read_text(encoding="utf-8")
