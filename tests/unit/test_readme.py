"""What the README shows is right: its configuration, its commands, its codes and its tables."""

from __future__ import annotations

import re
from pathlib import Path

from typer.main import get_command

from recorder import configfile
from recorder.cli import app
from recorder.errors import Exit
from recorder.records import TABLES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_configuration_is_valid() -> None:
    """A reader who copies the configuration has a right one."""
    first, *more = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    config = configfile.parse("\n".join((first, *more)), {"POSTGRES_PASSWORD": "x", "INFOWAY_API_KEY": "x"}, ROOT)
    assert [bool(source.subscribe[0].symbols) for source in config.sources] == [True] * (1 + len(more))
    assert config.notes == ()


def test_the_commands_exist() -> None:
    """Every command in the README and the changelog is one."""
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"(?m)^recorder ([a-z]+)|`recorder ([a-z]+)|python -m recorder ([a-z]+)", README))
    named = {word for words in shown for word in words if word}
    assert {"init", "check", "run", "status", "spool"} <= named <= commands
    (listed,) = re.findall(r"(?s)- Commands (.*?)\.\n", changelog)
    assert {name.split()[0] for name in re.findall(r"`([^`]+)`", listed)} == commands


def test_the_exit_codes_are_the_codes() -> None:
    """The table of exit codes names every code but 3, which no command gives yet, and no other."""
    codes = {int(code) for code in re.findall(r"(?m)^\| (\d+) \|", README)}
    assert codes == {int(code) for code in Exit} - {Exit.UNVERIFIABLE}


def test_the_tables_are_the_tables() -> None:
    """Every table of the migrations stands in the README, and no other."""
    (section,) = re.findall(r"(?s)## Tables\n(.*?)\n## ", README)
    named = {name for cell in re.findall(r"(?m)^\| (`.*?) \|", section) for name in re.findall(r"`(\w+)`", cell)}
    sql = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "migrations").glob("*.sql"))
    made = set(re.findall(r"(?im)^create table (?:if not exists )?(\w+)", sql)) - {"schema_migrations"}
    assert set(TABLES) <= named
    assert named == made


def test_contributing_stays_short() -> None:
    """Adding a venue is explained in at most thirty lines."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    _, _, section = text.partition("## Add a venue\n")
    assert 0 < len(section.strip().splitlines()) <= 30
