"""The loader of queries.sql, and what the file must hold."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import recorder.store
from recorder.records import TABLES
from recorder.store.queries import Queries, queries


def test_a_statement_has_its_name_its_line_and_its_text() -> None:
    """A name, one line of description, the statement without its semicolon."""
    found = Queries(
        "-- head\n\n-- name: one\n-- What it does.\nSELECT 1\n  + 1;\n\n-- name: two\n-- Else.\nSELECT 2;\n"
    )
    assert dict(found) == {"one": b"SELECT 1\n  + 1", "two": b"SELECT 2"}
    assert found.about == {"one": "What it does.", "two": "Else."}


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("-- name: one\nSELECT 1;\n", "description"),
        ("-- name: One\n-- About.\nSELECT 1;\n", "lacks its name"),
        ("-- name: one\n-- About.\nSELECT 1\n", "semicolon"),
        ("-- name: one\n-- About.\nSELECT 1;\n-- name: one\n-- About.\nSELECT 2;\n", "two statements"),
    ],
)
def test_a_malformed_file_is_refused(sql: str, words: str) -> None:
    """A file that could be misread is not read at all."""
    with pytest.raises(ValueError, match=words):
        Queries(sql)


@pytest.mark.parametrize("table", sorted(TABLES))
def test_copy_names_the_columns_of_the_records(table: str) -> None:
    """COPY of every data table names its columns in the order in which lines are written."""
    copy = " ".join(queries()[f"copy_{table}"].decode().split())
    found = re.fullmatch(r"COPY (\w+) \(([^)]*)\) FROM STDIN", copy)
    assert found is not None
    assert found[1] == ("incoming_candles" if table == "candles" else table)
    assert tuple(found[2].split(", ")) == TABLES[table].columns


def test_candles_are_merged_whole() -> None:
    """Merging candles reads and writes all columns of the table; a revision replaces all that may change."""
    merge = " ".join(queries()["merge_candles"].decode().split())
    columns = ", ".join(TABLES["candles"].columns)
    assert f"INSERT INTO candles AS c ({columns}) SELECT DISTINCT ON" in merge
    assert f") {columns} FROM incoming" in merge
    replaced = set(re.findall(r"(\w+) = excluded\.\1", merge))
    assert replaced == set(TABLES["candles"].columns) - {"source", "channel", "symbol", "interval", "time"}


def _named(tree: ast.AST, functions: set[str]) -> set[str]:
    """First arguments, where constant, of calls of these functions."""
    return {
        call.args[0].value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and (getattr(call.func, "attr", None) or getattr(call.func, "id", None)) in functions
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
        and call.args[0].value.isidentifier()
    }


def test_every_query_that_the_code_names_exists() -> None:
    """What the writer says and the sink runs is in queries.sql; a misspelt name fails here, not at night."""
    assert recorder.store.__file__ is not None
    trees = [ast.parse(path.read_text()) for path in Path(recorder.store.__file__).parent.glob("*.py")]
    said = set().union(*(_named(tree, {"say", "rows", "run"}) for tree in trees))
    assert {"insert_gap", "checkpoints", "take_over"} <= said
    assert said <= set(queries())


def test_times_are_cast() -> None:
    """Every parameter that is a time is cast, so that it may travel as text or as a datetime."""
    for name, text in queries().items():
        for column in re.findall(rb"(\w+(?:_time|_at|watermark)) = %s(?!::)", text):
            raise AssertionError(f"{name}: {column.decode()} is not cast to timestamptz")
