"""Every block of every document is held against what is there: commands against the command line, TOML against the
loader, SQL against a migrated database with data in it. A block without a way to be tested is a failure, too.

How a block is tested follows from its language; a mark after it says what is special:
`toml mistakes` is refused, and the next `text` block is what `recorder check` says; `sql timescale` needs
the extension.
"""

from __future__ import annotations

import ast
import configparser
import importlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.main import get_command

from recorder import configfile
from recorder.cli import app
from recorder.errors import ConfigError
from recorder.records import TABLES
from recorder.redact import protect
from recorder.settings import references
from tests.docblocks import DOCUMENTS, ROOT, Block, anchors, blocks, commands, every_block, links, prose
from tests.integration.market import SEED
from tests.promql import read
from tests.rules import records

SHELL = ("bash", "sh", "shell")
TESTED = (*SHELL, "toml", "sql", "text", "", "python", "json", "yaml", "ini", "js", "nginx", "promql")

SOURCE = '[[source]]\nvenue = "okx"\n[[source.subscribe]]\nchannels = ["trades"]\nsymbols = ["BTC-USDT"]\n'
# What a diagram is drawn with. Any other `text` is an answer, which stands after the question.
DRAWN = re.compile("[─│►▲▼═└┌├]")


def each(*languages: str) -> pytest.MarkDecorator:
    """One test for each block of these languages, whatever document it stands in."""
    return pytest.mark.parametrize("block", [pytest.param(b, id=b.name) for b in every_block(*languages)])


def test_every_block_has_a_way_to_be_tested() -> None:
    """The language of every block is one that a test below knows; without one it has to be a drawing."""
    assert [f"{b.name}: {b.language or 'no language'}" for b in every_block() if b.language not in TESTED] == []


# --- shell -----------------------------------------------------------------------------------------------------------


@each(*SHELL)
def test_shell_is_shell(block: Block) -> None:
    """Bash can parse it."""
    parsed = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert parsed.returncode == 0, parsed.stderr


@each(*SHELL)
def test_commands_are_understood(block: Block) -> None:
    """Whatever is asked of recorder, make and docker compose is something that they know."""
    for words in commands(block.text):
        _understood([w for w in words if not re.fullmatch(r"[A-Z_]+=.*", w)])


def _understood(words: list[str]) -> None:
    """One command. Those of other programs are their affair."""
    if words[:1] == ["sudo"]:
        words = words[3:] if words[1] == "-u" else words[1:]
    if words[:2] == ["docker", "compose"]:
        words = _inside_compose(words[2:])
    if words[:1] == ["make"]:
        _targets(words[1:])
    elif words and words[0].rpartition("/")[2] == "recorder":
        recorder_understands(words[1:])
    elif words[1:3] == ["-m", "recorder"]:
        recorder_understands(words[3:])


def recorder_understands(words: list[str]) -> None:
    """A command and its options, without doing anything."""
    command: Any = get_command(app)
    while hasattr(command, "commands") and words and words[0] not in ("--help", "--version"):
        if words[0] == "--config":
            words = words[2:]
            continue
        assert words[0] in command.commands, f"recorder knows no {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    assert words or not hasattr(command, "commands"), f"recorder {command.name} wants a command"
    if not hasattr(command, "commands") and "--help" not in words:
        command.make_context(command.name, words)


def test_an_invented_option_is_noticed() -> None:
    """The check above can fail: by a command and by an option that do not exist."""
    with pytest.raises(AssertionError, match="knows no refil"):
        _understood(["docker", "compose", "exec", "recorder", "python", "-m", "recorder", "refil"])
    with pytest.raises(Exception, match="No such option"):
        _understood([".venv/bin/recorder", "run", "--ony", "okx"])


def services() -> set[str]:
    """The services and profiles of the compose file."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8").partition("\nservices:\n")[2]
    return set(re.findall(r"(?m)^  ([a-z][a-z-]*):$", re.split(r"(?m)^\w", text)[0]))


def _inside_compose(words: list[str]) -> list[str]:
    """What runs inside a service, if anything; every service that is named is one."""
    while words and words[0].startswith("-"):
        words = words[1 if "=" in words[0] else 2 :]
    verb, rest = words[0], words[1:]
    if verb not in ("exec", "run"):
        plain = [w for w in rest if not w.startswith("-")]
        assert set(plain) <= services() or verb in ("cp", "config"), f"docker compose {verb} {plain}"
        return []
    while rest[0].startswith("-"):
        rest = rest[2 if rest[0] in ("-u", "-e", "-v", "--user", "--env", "--entrypoint") else 1 :]
    assert rest[0] in services(), f"docker-compose.yml has no service {rest[0]}"
    ours = verb == "run" and rest[1:] and rest[0] in ("recorder", "migrate", "relay", "venues")
    return ["recorder", *rest[1:]] if ours else rest[1:]


def _targets(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in words:
        if "=" not in word and not word.startswith("-"):
            assert re.search(rf"(?m)^{re.escape(word)}:", makefile) or word == ".venv/.ready", f"make knows no {word}"


# --- configuration ---------------------------------------------------------------------------------------------------


@pytest.fixture
def files_that_are_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """`file:/…` of an example is a file of the reader's machine."""
    monkeypatch.setattr(references, "_content", lambda name: "postgresql://fits@where.ever/it/stands")


def configured(block: Block) -> str:
    """The block with a source, if it has none, and with what the document said before of [recorder] and [database]."""
    return block.text if "[[source]]" in block.text else f"{block.text}\n{SOURCE}"


def environment(text: str) -> dict[str, str]:
    """Something for every variable that a text wants."""
    return dict.fromkeys(re.findall(r"\$\{([A-Z_]+)(?::\?[^}]*)?\}", text), "value")


@each("toml")
@pytest.mark.usefixtures("files_that_are_not_here")
def test_configuration_is_right(block: Block, tmp_path: Path) -> None:
    """The loader accepts every block that is not marked as mistaken."""
    if block.mark != "mistakes":
        configfile.parse(configured(block), environment(block.text), tmp_path)


@each("toml")
def test_mistakes_are_answered_as_shown(block: Block, tmp_path: Path) -> None:
    """What stands after a mistaken block is what the loader says of it, word for word."""
    if block.mark == "mistakes":
        with pytest.raises(ConfigError) as refused:
            configfile.parse(configured(block), {}, tmp_path)
        following = next(b for b in blocks(block.document) if b.line > block.line)
        assert following.text.replace("recorder.toml: ", "").splitlines() == refused.value.problems
    protect()


@each("text", "")
def test_text_is_a_drawing_or_an_answer(block: Block) -> None:
    """Text that nobody runs is a drawing, an answer after the mistaken block that it answers, or a live record."""
    if block.text.startswith("event: "):
        _live_record(block.text)
        return
    before = [b for b in blocks(block.document) if b.line < block.line]
    assert DRAWN.search(block.text) or (before and before[-1].mark == "mistakes"), f"{block.name}: say how to test it"


def _live_record(text: str) -> None:
    """A server-sent event has the columns of its table, in their order."""
    fields = dict(line.split(": ", 1) for line in text.splitlines() if line)
    assert set(fields) == {"event", "id", "data"}
    assert list(json.loads(fields["data"])) == list(TABLES[fields["event"]].columns)


# --- SQL -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def market(database: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A migrated database with two hours of a market in it, a minute between records."""
    with closing(psycopg.connect(database)) as conn:
        for statement in SEED:
            conn.execute(statement.encode())
        conn.commit()
        yield conn


def statements(text: str) -> list[str]:
    """The statements of a block, comments gone."""
    bare = re.sub(r"--[^\n]*", "", text)
    return [statement.strip() for statement in re.split(r";\s*(?:\n|$)", bare) if statement.strip()]


@each("sql")
def test_sql_runs(block: Block, market: psycopg.Connection[tuple[object, ...]], edition: str) -> None:
    """Every query finds something in a market, in columns that have names; every other statement is accepted."""
    if block.mark == "timescale" and edition == "plain":
        pytest.skip("needs TimescaleDB")
    for statement in statements(block.text):
        cursor = market.execute(statement.encode())
        if re.match(r"(?i)select|with", statement):
            assert all(column.name != "?column?" for column in cursor.description or ())
            assert cursor.fetchall(), f"nothing found by {statement}"
    market.rollback()


# --- other languages -------------------------------------------------------------------------------------------------


@each("python")
def test_python_is_of_this_project(block: Block) -> None:
    """A sketch names classes and functions that exist; what is more than a sketch can be parsed."""
    defined = {
        node.name
        for path in (ROOT / "recorder").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
    }
    named = re.findall(r"\b(?:class|def) (\w+)", block.text)
    assert set(named) <= defined
    if not named:
        ast.parse(block.text)


def _yaml(text: str) -> object:
    """PyYAML is there for the tests of what Prometheus and Grafana read."""
    return importlib.import_module("yaml").safe_load(text)


def _ini(text: str) -> list[str]:
    """systemd's units repeat keys, and some have no value."""
    parser = configparser.ConfigParser(strict=False, allow_no_value=True, interpolation=None)
    parser.read_string(text)
    return parser.sections()


def _script(text: str) -> bool:
    """Neither a browser nor nginx is here for certain; brackets have to agree."""
    return all(text.count(a) == text.count(b) for a, b in ("()", "[]", "{}"))


def _promql(text: str) -> bool:
    """Names of our metrics are names of metrics, or of what the rules record of them."""
    declared = (ROOT / "recorder" / "observe" / "metrics.py").read_text(encoding="utf-8")
    names = [selector.name for selector in read(text).selectors]
    plain = [re.sub(r"_(?:total|bucket|count|sum)$", "", name) for name in names if name not in records()]
    return bool(names) and all(name in declared for name in plain)


READ: dict[str, Callable[[str], object]] = {
    "json": json.loads,
    "yaml": _yaml,
    "ini": _ini,
    "js": _script,
    "nginx": _script,
    "promql": _promql,
}


@each(*READ)
def test_other_languages_are_read(block: Block) -> None:
    """JSON, YAML, units, scripts and queries of Prometheus are what they say they are."""
    assert READ[block.language](block.text)


# --- links and names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    """Every link to a file of the project finds it, and its heading."""
    dead = []
    for target in links(document):
        if re.match(r"https?://|mailto:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        if not path.exists() or (anchor and anchor not in anchors(path)):
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_files_that_are_named_exist(document: Path) -> None:
    """A path of the project that stands in code quotes is the path of something."""
    named = re.findall(r"`((?:recorder|tests|docs|deploy|migrations|\.ci)/[\w./@-]+)`", prose(document))
    places = (ROOT, ROOT / "recorder")
    missing = [name for name in named if not any((place / name).exists() for place in places)]
    assert missing == []
