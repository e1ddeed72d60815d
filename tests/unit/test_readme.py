"""What the README shows is right, in both languages: its configuration, its commands, its codes and its tables."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from typer.main import get_command

from recorder import configfile
from recorder.cli import app
from recorder.errors import Exit
from recorder.records import TABLES
from tests.docblocks import ROOT, blocks, headings, links, prose, tables

ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh.md"

both = pytest.mark.parametrize("readme", [ENGLISH, CHINESE], ids=lambda path: path.name)


# --- the two are equal -----------------------------------------------------------------------------------------------


def test_the_same_headings() -> None:
    """Both have the same sections in the same order."""
    assert [level for level, _ in headings(ENGLISH)] == [level for level, _ in headings(CHINESE)]


def test_the_same_blocks() -> None:
    """Both show the same code; only its comments are translated."""

    def code(readme: Path) -> list[tuple[str, str]]:
        return [(b.language, re.sub(r"(?m)(?:^|(?<=\s))#[^\n]*$", "", b.text)) for b in blocks(readme)]

    assert code(ENGLISH) == code(CHINESE)


def test_the_same_links() -> None:
    """Both lead to the same places, each to the other besides."""
    other = {"README.zh.md": "README.md"}
    assert [other.get(link, link) for link in links(ENGLISH)] == links(CHINESE)


def test_the_same_tables() -> None:
    """Both have the same tables: as many rows and columns, and the same code in each cell."""

    def shape(readme: Path) -> list[list[list[list[str]]]]:
        return [[[sorted(re.findall(r"`[^`]+`", cell)) for cell in row] for row in table] for table in tables(readme)]

    assert shape(ENGLISH) == shape(CHINESE)


def test_the_same_names_and_numbers() -> None:
    """Both name the same files, keys, commands and figures equally often."""

    def said(readme: Path) -> tuple[Counter[str], Counter[str]]:
        text = prose(readme)
        quoted = Counter(re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`]+)`", text))
        plain = re.sub(r"\[[^\]]*\]\([^)]*\)|`[^`]+`", "", text)
        return quoted, Counter(re.findall(r"\d+(?:[. ]\d+)*", plain))

    assert said(ENGLISH)[0] == said(CHINESE)[0]
    assert {n for n in said(ENGLISH)[1] if len(n) > 2} == {n for n in said(CHINESE)[1] if len(n) > 2}


# --- each is right ---------------------------------------------------------------------------------------------------


@both
def test_the_configuration_is_valid(readme: Path) -> None:
    """A reader who copies the configuration has a right one."""
    first, *more = [block.text for block in blocks(readme) if block.language == "toml"]
    config = configfile.parse("\n".join((first, *more)), {"POSTGRES_PASSWORD": "x", "INFOWAY_API_KEY": "x"}, ROOT)
    assert [bool(source.subscribe[0].symbols) for source in config.sources] == [True] * (1 + len(more))
    assert config.notes == ()


@both
def test_the_commands_exist(readme: Path) -> None:
    """Every command in the README and the changelog is one."""
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    text = readme.read_text(encoding="utf-8")
    shown = set(re.findall(r"(?m)^recorder ([a-z]+)|`recorder ([a-z]+)|python -m recorder ([a-z]+)", text))
    named = {word for words in shown for word in words if word}
    assert {"init", "check", "run", "status", "spool"} <= named <= commands
    (listed,) = re.findall(r"(?s)- Commands (.*?)\.\n", changelog)
    assert {name.split()[0] for name in re.findall(r"`([^`]+)`", listed)} == commands


@both
def test_the_exit_codes_are_the_codes(readme: Path) -> None:
    """The table of exit codes names every code but 3, which no command gives yet, and no other."""
    codes = {int(code) for code in re.findall(r"(?m)^\| (\d+) \|", readme.read_text(encoding="utf-8"))}
    assert codes == {int(code) for code in Exit} - {Exit.UNVERIFIABLE}


@both
def test_the_tables_are_the_tables(readme: Path) -> None:
    """Every table of the migrations stands in the README, and no other."""
    (section,) = re.findall(r"(?s)\n## (?:Tables|表)\n(.*?)\n## ", readme.read_text(encoding="utf-8"))
    named = {name for cell in re.findall(r"(?m)^\| (`.*?) \|", section) for name in re.findall(r"`(\w+)`", cell)}
    sql = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "migrations").glob("*.sql"))
    made = set(re.findall(r"(?im)^create table (?:if not exists )?(\w+)", sql)) - {"schema_migrations"}
    assert set(TABLES) <= named
    assert named == made


@both
def test_every_promise_names_its_tests(readme: Path) -> None:
    """Each of the twelve promises names files of tests."""
    promises = re.findall(r"(?ms)^\d+\. \*\*.*?(?=^\d+\. \*\*|^#)", readme.read_text(encoding="utf-8"))
    assert len(promises) == 12
    assert all(re.search(r"`tests/\w+/test_\w+\.py`", promise) for promise in promises)


def test_contributing_stays_short() -> None:
    """Adding a venue is explained in at most thirty lines."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    _, _, section = text.partition("## Add a venue\n")
    assert 0 < len(section.strip().splitlines()) <= 30
