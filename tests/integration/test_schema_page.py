"""docs/schema.md is what a migrated database has: tables, columns, types, causes; its forecast is arithmetic."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from recorder.records import COMMON
from tests.docblocks import ROOT, headings, prose, tables

PAGE = ROOT / "docs" / "schema.md"
TEXT = prose(PAGE)
SECONDS = 86_400 * 30


def section(title: str) -> str:
    """The text below a heading, to the next one."""
    found = re.search(rf"(?ms)^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", TEXT)
    assert found, f"no section {title}"
    return found[1]


def rows(title: str) -> list[list[str]]:
    """Every row of every table of a section, code quotes kept."""
    lines = [line for line in section(title).splitlines() if line.startswith("|") and not re.match(r"\|\s*-", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def columns(title: str) -> list[tuple[str, str]]:
    """Names and types of the columns that a section lists."""
    return [(name.strip("`"), kind.strip("`")) for name, kind, _ in rows(title)[1:]]


def test_every_table_and_column(ask: Callable[..., list[tuple[object, ...]]]) -> None:
    """Names, order and types of all columns of all tables are those of the database; each has a meaning."""
    here: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind in ask(
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_class c "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
        "WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1, a.attnum"
    ):
        here.setdefault(str(table), []).append((str(column), str(kind)))
    del here["schema_migrations"]
    common = columns("Data tables")
    assert [name for name, _ in common] == list(COMMON)
    shown = {words.strip("`"): words for level, words in headings(PAGE) if level == 3 and words.startswith("`")}
    assert set(shown) == set(here)
    for table, title in shown.items():
        begins = common if here[table][:5] == common else []
        assert begins + columns(title) == here[table], table
    assert all(row[-1] for table in tables(PAGE) for row in table if row[0].startswith("`"))


def test_the_causes_of_gaps(ask: Callable[..., list[tuple[object, ...]]]) -> None:
    """The causes are those that the table allows."""
    (check,) = ask("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'gaps_cause_check'")
    assert {row[0].strip("`") for row in rows("Causes of gaps")[1:]} == set(re.findall(r"'(\w+)'", str(check[0])))


def test_views_and_functions_exist(ask: Callable[..., list[tuple[object, ...]]]) -> None:
    """Every view and function of the page is one, under that name."""
    there = {
        str(name)
        for (name,) in ask(
            "SELECT relname FROM pg_class WHERE relkind = 'v' AND relnamespace = current_schema()::regnamespace "
            "UNION SELECT proname FROM pg_proc WHERE pronamespace = current_schema()::regnamespace"
        )
    }
    named = {re.match(r"`(\w+)", row[0])[1] for row in rows("Views and functions")[1:]}  # type: ignore[index]
    assert named <= there
    assert {"ohlcv", "latest", "trades_f8", "book_levels"} <= named


def _bytes() -> dict[str, tuple[float, float]]:
    """Table -> bytes per row before and after; `books` at the size of OKX's channel."""
    found = {r[0].strip("`"): (float(r[1]), float(r[2])) for r in rows("Bytes per row")[1:] if len(r) == 4}
    books = float(next(r[1] for r in rows("Bytes per row") if r[0].startswith("OKX `books` (")))
    before, after = found["books"]
    return found | {"books": (books, books * after / before)}


@pytest.mark.parametrize("line", rows("Disk forecast")[1:], ids=lambda line: line[0][:20])
def test_the_forecast_is_its_own_arithmetic(line: list[str]) -> None:
    """Each line of the forecast follows from the measured bytes and its rates by the formula."""
    _, rates, *stated = line
    each = [(name, float(rate)) for name, rate in re.findall(r"(\w+) (\d+)", rates)]
    for column, said in enumerate(stated):
        exact = sum(rate * _bytes()[name][column] for name, rate in each) * SECONDS / 1e9
        assert float(said) == pytest.approx(exact, abs=1.0)
