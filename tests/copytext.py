"""Reads COPY text back, as PostgreSQL would: what a decoder wrote becomes rows that can be compared.

Owns the unescaping and the types of the tables' columns. Refuses everything that PostgreSQL would refuse.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import Decimal

from recorder.records import TABLES


class RefusedLevel(Exception):
    """A level of a book that is made of digits and points, but is no number: PostgreSQL refuses the line, and the
    writer's isolation sets its frame aside. To find it while decoding would double the cost of a book."""


Value = str | int | bool | Decimal | None | list[list[Decimal]] | object
Row = dict[str, Value]

_TEXT = {"source", "channel", "symbol", "side", "position_side", "trade_id", "origin", "kind", "integrity", "interval"}
_TIMES = {"time", "received_at", "funding_time", "next_funding_time"}
_INTEGERS = {"count": 1 << 31, "seq": 1 << 63, "prev_seq": 1 << 63}
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_PLAIN = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}


def rows(table: str, data: bytes) -> list[Row]:
    """The rows of a block of COPY lines."""
    text = data.decode()
    assert not text or text.endswith("\n")
    assert "\x00" not in text
    return [_row(table, line) for line in text.split("\n")[:-1]]


def _row(table: str, line: str) -> Row:
    columns, fields = TABLES[table].columns, line.split("\t")
    assert len(fields) == len(columns), line
    return {column: _value(column, field) for column, field in zip(columns, fields, strict=True)}


def _value(column: str, field: str) -> Value:
    if field == r"\N":
        assert column not in ("time", "received_at", "source", "channel", "symbol")
        return None
    text = _ESCAPE.sub(lambda found: _PLAIN[found[1]], field)
    if column in _TEXT:
        return text
    if column in _TIMES:
        return _microseconds(text)
    if column in _INTEGERS:
        found = int(text)
        assert -_INTEGERS[column] <= found < _INTEGERS[column] and str(found).lstrip("-").isdigit()
        return found
    if column == "closed":
        return {"t": True, "f": False}[text]
    if column == "payload":
        found_json: object = json.loads(text, parse_float=Decimal)
        return found_json
    return _levels(text) if column in ("bids", "asks") else number(text)


def number(text: str) -> Decimal:
    """What `numeric` reads."""
    assert _NUMBER.fullmatch(text), text
    return Decimal(text)


def _microseconds(text: str) -> int:
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.(\d{6})\+00", text)
    assert found, text
    second = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    return int(second.timestamp()) * 1_000_000 + int(found[2])


def _levels(text: str) -> list[list[Decimal]]:
    """A two-dimensional array literal of numbers; PostgreSQL wants all rows equally long."""
    if text == "{}":
        return []
    assert re.fullmatch(r"\{(\{[^{}]*\},)*\{[^{}]*\}\}", text), text
    cells = [row.split(",") for row in text[2:-2].split("},{")]
    if any(re.fullmatch(r"[0-9.]*", cell, re.ASCII) and not _NUMBER.fullmatch(cell) for row in cells for cell in row):
        raise RefusedLevel(text)
    found = [[number(cell) for cell in row] for row in cells]
    assert len({len(row) for row in found}) == 1
    return found
