"""The rules of the house, held against every file: layout, layers, sizes, where SQL and venues' names may stand."""

from __future__ import annotations

import ast
import io
import re
import statistics
import subprocess
import tokenize
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from recorder.venues import venues

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "recorder"

# Who may import whom: a module imports from its own layer and from those above it in this list. The first prefix
# that fits decides, so a module stands before its package where the two differ.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "failpoint", "config", "control", "records", "redact", "log", "spelling"),
    ("listing",),
    ("venues.__init__",),
    ("guards", "lines", "shapes", "decoding", "subscriptions"),
    ("venues",),
    ("settings", "configfile", "quality"),
    ("observe.metrics", "observe.health", "observe.recent"),
    ("capture",),
    ("store",),
    ("observe",),
    ("alerting",),
    ("simulator",),
    ("readings", "clockwatch", "scope"),
    ("overview",),
    ("pipeline", "following", "reload"),
    ("daemon",),
    ("demo", "bench"),
    ("commands",),
    ("cli",),
    ("__main__",),
)

# Statements that only ever mean SQL when they begin a string or stand before a name in capitals or not.
SQL = re.compile(
    r"(?is)\b(?:select\s.+\bfrom\b|insert\s+into\s|update\s+\w+(?:\s+\w+)?\s+set\s+\w+\s*="
    r"|delete\s+from\s|copy\s+\w+\s*(?:\(|from\b|to\b)"
    r"|create\s+(?:or\s+replace\s+)?(?:unique\s+)?(?:table|index|view|function|extension|role|schema)\s"
    r"|alter\s+(?:table|role|database)\s|drop\s+(?:table|index|view|schema|database)\s|set\s+(?:local|session)\s)"
)


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name inside it."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(parts)] = path
    return names


@cache
def tree(path: Path) -> ast.Module:
    """A file, parsed."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def tracked() -> tuple[Path, ...]:
    """Every file under version control, and those that are about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a working copy of git")
    found = (ROOT / name for name in listed.stdout.decode().split("\0") if name)
    return tuple(path for path in found if path.is_file())


def code_files() -> list[Path]:
    """Every Python file that is ours."""
    return [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """Every string of a file but docstrings, f-strings with their holes left out."""
    docs = {id(node.body[0].value) for node in ast.walk(tree(path)) if _documented(node)}  # type: ignore[attr-defined]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and id(node) not in docs:
            text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
            yield node.lineno, text
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else "x" for p in node.values)
            yield node.lineno, "".join(str(part) for part in parts)


def _documented(node: ast.AST) -> bool:
    holder = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    return holder and ast.get_docstring(node) is not None  # type: ignore[arg-type]


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Every function of a file and its length in lines, its docstring not counted."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            doc = node.body[0] if _documented(node) else None
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield node.name, lines - ((doc.end_lineno or 0) - doc.lineno + 1 if doc is not None else 0)


# --- sizes and docstrings --------------------------------------------------------------------------------------------


def test_files_are_short() -> None:
    """No Python file is longer than 400 lines."""
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in code_files()}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_functions_are_short() -> None:
    """No function is longer than 60 lines; half of the package's are at most 10 long, nine in ten at most 30."""
    found = [(f"{path.relative_to(ROOT)}:{name}", n) for path in code_files() for name, n in functions(path)]
    assert [(name, lines) for name, lines in found if lines > 60] == []
    own = sorted(lines for name, lines in found if name.startswith("recorder/"))
    assert statistics.median(own) <= 10
    assert own[len(own) * 9 // 10] <= 30


def test_modules_say_what_they_own() -> None:
    """Every module begins with a docstring."""
    assert [str(path.relative_to(ROOT)) for path in code_files() if not ast.get_docstring(tree(path))] == []


def test_tests_state_their_rule() -> None:
    """Every test has a docstring: the rule under test."""
    without = [
        f"{path.relative_to(ROOT)}:{node.name}"
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert without == []


def test_every_test_file_has_a_name_of_its_own() -> None:
    """Test folders are no packages: two files of one name cannot be collected together."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, times in names.items() if times > 1] == []


# --- layers ----------------------------------------------------------------------------------------------------------


def layer(module: str) -> int:
    """The layer of a module."""
    for rank, prefixes in enumerate(LAYERS):
        if any(module == prefix for prefix in prefixes):
            return rank
    for rank, prefixes in enumerate(LAYERS):
        if any(module.startswith(f"{prefix}.") for prefix in prefixes):
            return rank
    raise AssertionError(f"{module} has no layer: add it to LAYERS")


def imports(path: Path) -> Iterator[str]:
    """The package's modules that a file imports, as dotted names inside the package."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inside = f"{node.module}.{alias.name}".removeprefix("recorder.")
                yield f"recorder.{inside}" if inside in modules() or f"{inside}.__init__" in modules() else node.module


def imported(path: Path) -> set[str]:
    """The same, packages by their `__init__`, the package itself (its version) left out."""
    inside = {name.removeprefix("recorder.") for name in imports(path) if name.startswith("recorder.")}
    return {name if name in modules() else f"{name}.__init__" for name in inside}


def test_no_module_imports_upward() -> None:
    """Imports point one way: what moves data knows nothing of what starts it."""
    upward = [
        f"{module} imports {target}"
        for module, path in modules().items()
        if module != "__init__"
        for target in imported(path)
        if layer(target) > layer(module)
    ]
    assert upward == []


def test_venues_touch_nothing() -> None:
    """A venue is pure: it imports neither sockets nor clocks, threads, queues or the database."""
    banned = {"socket", "ssl", "select", "threading", "queue", "time", "asyncio", "psycopg", "websocket", "httpx"}
    for module, path in modules().items():
        if module.startswith("venues."):
            names = {name.partition(".")[0] for name in imports(path)}
            assert names & banned == set(), module


def test_the_top_level_is_fixed() -> None:
    """At the package's top level is what the design puts there."""
    here = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert {"cli", "config", "errors", "log", "daemon", "records"} <= here
    assert {"capture", "venues", "store", "quality", "observe", "simulator"} <= here


# --- what may stand where --------------------------------------------------------------------------------------------


def _code(path: Path) -> str:
    """A file without comments and docstrings."""
    tokens = [t for t in tokenize.tokenize(io.BytesIO(path.read_bytes()).readline) if t.type != tokenize.COMMENT]
    skip = {
        (first.start, first.string)
        for before, first in pairwise(tokens)
        if first.type == tokenize.STRING
        and before.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.ENCODING, tokenize.NL, tokenize.DEDENT)
    }
    return " ".join(t.string for t in tokens if (t.start, t.string) not in skip)


def test_venues_are_named_only_at_home() -> None:
    """A venue's name stands nowhere in the code outside `venues/` and `simulator/`."""
    pattern = re.compile(rf"(?i)(?:{'|'.join(map(re.escape, venues()))}|okex|infoway|binance|bybit|deribit|kraken)")
    found = [
        f"{module}: {match[0]}"
        for module, path in modules().items()
        if not module.startswith(("venues.", "simulator."))
        for match in pattern.finditer(_code(path))
    ]
    assert found == []


def test_sql_stands_in_sql_files() -> None:
    """No string of the package is a statement: SQL lives in migrations/ and in .sql files of the package."""
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text.strip()[:60]}"
        for path in modules().values()
        for line, text in strings(path)
        if SQL.search(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1 FROM trades",
        "select feed\nfrom positions",
        "INSERT INTO trades VALUES (1)",
        "update positions set next = 1",
        "COPY trades (time) FROM STDIN",
        "copy trades from stdin",
        "DELETE FROM gaps",
        "CREATE TABLE x (y int)",
        "set local lock_timeout = 1",
    ],
)
def test_the_search_for_sql_finds_sql(statement: str) -> None:
    """The pattern that the rule above rests on recognises each verb."""
    assert SQL.search(statement)


@pytest.mark.parametrize("prose", ["select a source", "update the set of feeds", "copy of the book", "insert coins"])
def test_the_search_for_sql_spares_prose(prose: str) -> None:
    """The same pattern leaves sentences alone."""
    assert not SQL.search(prose)


def test_metrics_are_declared_in_one_place() -> None:
    """Whoever writes the name of a metric outside `observe/metrics.py` writes one that is declared there."""
    declared = {text for _, text in strings(PACKAGE / "observe" / "metrics.py") if text.startswith("recorder_")}
    name = re.compile(r"recorder_[a-z_]+_(?:total|seconds|bytes)|recorder_(?:connected|parked|database_up|gaps_open)")
    roles = {"recorder_read", "recorder_write"}
    for module, path in modules().items():
        if module != "observe.metrics":
            used = {match for _, text in strings(path) for match in name.findall(text)} - roles
            assert {use for use in used if use not in declared and use.removesuffix("_total") not in declared} == set()


def test_metrics_are_made_in_one_place() -> None:
    """Only `observe/metrics.py` makes counters, gauges and histograms; others may name their types."""
    makers = {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum", "CollectorRegistry"}
    for module, path in modules().items():
        if module != "observe.metrics" and any(n.startswith("prometheus_client") for n in imports(path)):
            calls = {
                n.func.id for n in ast.walk(tree(path)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
            }
            assert calls & makers == set(), module


def test_no_index_and_no_machine_in_the_files() -> None:
    """No file names a package index or a path of the machine on which it was written."""
    hosts = (
        ("pypi" + ".org", "python" + "hosted", "test.pypi" + "."),
        ("/work" + "/", "/root" + "/", "/home/" + "runner"),
    )
    bad = re.compile("|".join(re.escape(word) for group in hosts for word in group))
    found = []
    for path in tracked():
        text = path.read_bytes().decode("utf-8", "replace")
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in bad.finditer(text)]
    assert found == []


def test_nothing_swallows_every_error() -> None:
    """`except Exception` stands only where a comment of its line says why: a thread's top, a chore, a page."""
    for path in modules().values():
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.search(r"except\s+(?:Base)?Exception\b|except\s*:", line):
                assert re.search(r"# noqa: BLE001 - \S|# \S", line), f"{path.relative_to(ROOT)}:{number}"
