"""COPY lines back into JSON: what a record looks like to a program that is no database.

Owns the JSON form of each column. Values are exactly those that go into the table: numbers are strings, spelled as the
venue spelled them, for a JSON number becomes a binary fraction in most readers; times are ISO 8601 in UTC with
microseconds; sides of books are lists of such strings; `payload` is the venue's own JSON; NULL is null.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

from recorder.records import NULL, TABLES

Value = str | bool | None | msgspec.Raw

_ESCAPED = re.compile(r"\\(.)")
_PLAIN = {"t": "\t", "n": "\n", "r": "\r"}


def _text(field: str) -> Value:
    if "\\" not in field:
        return field
    return None if field == NULL else _ESCAPED.sub(lambda found: _PLAIN.get(found[1], found[1]), field)


def _time(field: str) -> Value:
    return None if field == NULL else f"{field[:10]}T{field[11:-3]}Z"  # `2026-11-21 09:30:00.123456+00`


def _bool(field: str) -> Value:
    return None if field == NULL else field == "t"


def _levels(field: str) -> Value:
    """`{{1.0,2},{1.1,3}}`: numbers and nothing else, so that text is enough."""
    if field in (NULL, "{}"):
        return None if field == NULL else msgspec.Raw(b"[]")
    inner = field[2:-2].replace(",", '","').replace('}","{', '"],["')
    return msgspec.Raw(f'[["{inner}"]]'.encode())


def _json(field: str) -> Value:
    """On one line: outside of strings a line's end is white space, and inside one JSON has none."""
    text = _text(field)
    return msgspec.Raw(text.replace("\n", " ").replace("\r", " ").encode()) if isinstance(text, str) else None


_KINDS: dict[str, Callable[[str], Value]] = {
    **dict.fromkeys(("time", "received_at", "funding_time", "next_funding_time"), _time),
    **dict.fromkeys(("bids", "asks"), _levels),
    "closed": _bool,
    "payload": _json,
}
_COLUMNS = {table.name: [(column, _KINDS.get(column, _text)) for column in table.columns] for table in TABLES.values()}

_encode = msgspec.json.Encoder().encode


def objects(table: str, data: bytes, wanted: Sequence[int]) -> list[bytes]:
    """JSON objects of the lines with these numbers (from 0) among the finished COPY lines of a table: its columns'
    names and values, in order. ~4 µs each."""
    lines, columns = data.decode().split("\n"), _COLUMNS[table]
    return [
        _encode({name: kind(field) for (name, kind), field in zip(columns, lines[i].split("\t"), strict=True)})
        for i in wanted
    ]
