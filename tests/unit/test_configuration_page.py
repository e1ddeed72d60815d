"""docs/configuration.md has every key that the loader takes, and no other, with its default and when it is taken up."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from recorder import configfile
from recorder.errors import ConfigError
from recorder.records import TABLES
from recorder.reload import EFFECTS
from recorder.settings import sections
from recorder.settings.effective import sections as effective_sections
from recorder.settings.effective import source_section
from recorder.settings.tables import Table
from recorder.venues import Limits, venues
from tests.docblocks import ROOT, tables

PAGE = ROOT / "docs" / "configuration.md"

WHOLE = """
[[source]]
venue = "{venue}"
limits = {{}}
[[source.subscribe]]
channels = []
"""


def documented() -> dict[str, dict[str, str]]:
    """Every key of the page by its whole name -> cells by column."""
    found: dict[str, dict[str, str]] = {}
    text = PAGE.read_text(encoding="utf-8")
    for table in tables(PAGE):
        head, *rows = table
        if head[0] != "key":
            continue
        for row in rows:
            name = row[0].strip("`")
            line = text.index(f"| {row[0]} |")
            section = re.findall(r"(?m)^#{2,3} (.*)$", text[:line])[-1]
            found[_whole(section, name)] = dict(zip(head, row, strict=True))
    return found


def _whole(section: str, name: str) -> str:
    """The dotted name of a key that stands in a section of the page."""
    titles = re.findall(r"`\[+(\w+)", section)
    if len(titles) == 1 and titles[0] != "source":
        return f"{titles[0]}.{name}"
    return name if len(titles) > 1 else f"source.{name}"


def taken(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every key that the loader asks for, by its dotted name."""
    found: set[str] = set()
    finish = Table.finish

    def noted(table: Table, hint: Any = None) -> None:
        found.update(table._dotted(key) for key in table.taken)
        finish(table, hint)

    monkeypatch.setattr(Table, "finish", noted)
    for venue in venues():
        with pytest.raises(ConfigError):
            configfile.parse(WHOLE.format(venue=venue), {}, Path("/"))
    found |= {f"source.limits.{each.name}" for each in dataclasses.fields(Limits)}
    return found | {"retention.<table>"}


# Tables of the file whose keys stand on the page by themselves.
SECTIONS = {"recorder", "database", "spool", "books", "refill", "compression", "retention", "source"}


def test_every_key_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page and the loader know the same keys."""
    there = taken(monkeypatch) - SECTIONS
    assert set(documented()) == there


def test_defaults_are_the_defaults() -> None:
    """A default on the page is what a file without the key gets."""
    least = '[[source]]\nvenue = "okx"\n[[source.subscribe]]\nchannels = ["trades"]\nsymbols = ["BTC-USDT"]\n'
    found = configfile.parse(least, {}, Path("/"))
    real: dict[str, object] = {
        f"{section}.{key}": value for section, keys in effective_sections(found).items() for key, value in keys.items()
    }
    real |= {f"source.{key}": value for key, value in source_section(found.sources[0]).items()}
    real |= {"retention.<table>": "0s", "source.subscribe.symbols": [], "source.sessions": ""}
    checked = 0
    for name, cells in documented().items():
        if written := re.fullmatch(r"`(.+)`", cells["default"]):
            assert tomllib.loads(f"x = {written[1]}")["x"] == real[name], name
            checked += 1
    assert checked > 15


def test_what_is_not_yet_effective_says_so() -> None:
    """The keys whose feature is not built are marked, and no others."""
    marked = {name for name, cells in documented().items() if "*Not yet*" in cells["meaning"]}
    assert marked == set(sections.NOT_YET)


def test_tables_that_can_be_kept_are_listed() -> None:
    """The page lists every table that [retention] may name."""
    text = PAGE.read_text(encoding="utf-8")
    (listed,) = re.findall(r"(?s)\nThe tables: (.*?)\.", text)
    assert re.findall(r"`(\w+)`", listed) == list(TABLES)


def test_when_a_change_is_taken_up() -> None:
    """The column says what a reload does with each key."""
    words = {"with a restart": "restart", "with `recorder migrate`": "migrate"}
    for name, cells in documented().items():
        nearest = (name, *(name.rsplit(".", n)[0] for n in range(1, name.count(".") + 1)), "source.*")
        if name.startswith("source."):
            nearest = (name, name.rsplit(".", 1)[0] if name.count(".") > 1 else name, "source.*")
        effect = next((EFFECTS[key] for key in nearest if key in EFFECTS), EFFECTS["database.url"])
        said = next((word for begin, word in words.items() if effect.startswith(begin)), "reload")
        assert cells["taken up"] == said, name
