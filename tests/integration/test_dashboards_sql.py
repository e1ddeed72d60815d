"""Every SQL query of the dashboards on every kind of server: it answers the truth, by index, as a reader, whatever a
venue calls its symbols."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from recorder.records import TABLES
from recorder.store.local import LocalServer
from recorder.store.migrate import migrate_url
from recorder.store.programs import VARIABLE, Kind
from recorder.store.schema import Conn
from tests import dashboards as d
from tests.fixtures.database import made
from tests.fixtures.server import URL_VARIABLE
from tests.integration.knownhour import END, SOURCES, START, SYMBOLS, everything, fill
from tests.integration.sqltruth import TRUTH, Now

KNOWN = everything()
QUERIES = {q.name: q for name in d.BOARDS for q in d.queries(name) if q.type == d.SQL_TYPE}
HOUR = d.Range(START, END, 60)
DAY = d.Range(END - timedelta(days=1), END, 1800)
ONE: d.Values = {"source": SOURCES[0], "symbol": SYMBOLS[1], "candle": "5m"}
PLAIN: d.Values = {"source": SOURCES[1], "symbol": SYMBOLS[0], "candle": "5m"}
ALL: d.Values = {"source": SOURCES, "symbol": SYMBOLS}
SOME: d.Values = {"source": SOURCES[1:], "symbol": SYMBOLS[1:]}
CHOICES = {"market": (HOUR, ONE, PLAIN), "quality": (DAY, ALL, SOME), "recorder": (HOUR, ALL, SOME)}


@pytest.fixture(scope="module", params=["plain", "apache", pytest.param("timescale", marks=pytest.mark.community)])
def reader(request: pytest.FixtureRequest) -> Iterator[Conn]:
    """A session that may only read, of a server of each kind, with what is known."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "plain":
            patch.setenv(VARIABLE, Kind.EMBEDDED.value)
            folder: Path = request.getfixturevalue("server_folder")
            local = LocalServer(folder / "dashboards", settings={"fsync": "off", "shared_buffers": "64MB"})
            local.start()
            try:
                migrate_url(local.owner_url)
                yield from _filled(local.owner_url)
            finally:
                local.stop()
            return
        edition = request.getfixturevalue("edition")
        if edition != request.param:
            pytest.skip(f"the run's server is {edition}; {URL_VARIABLE} names another")
        with made(request.getfixturevalue("server_url"), request.getfixturevalue("template")) as url:
            yield from _filled(url)


def _filled(url: str) -> Iterator[Conn]:
    with closing(psycopg.connect(url, autocommit=True)) as conn:
        fill(conn, KNOWN)
        conn.execute("analyze")
    with closing(psycopg.connect(url, autocommit=True)) as conn:
        conn.execute("set timezone to 'America/New_York'")  # no answer may depend on the server's zone
        conn.execute("set role recorder_read")
        conn.execute("set default_transaction_read_only to on")
        yield conn


def asked(conn: Conn, query: d.Query, shown: d.Range, values: d.Values, **how: bool) -> list[tuple[Any, ...]]:
    """What the server answers to what Grafana would send."""
    return conn.execute(d.sql(query, shown, values, **how).encode()).fetchall()


def near(found: object, true: object) -> bool:
    """Whether it is the same number, to nine digits, or simply the same."""
    found = float(found) if isinstance(found, Decimal) else found
    if isinstance(true, Now):
        return true.is_near(found)
    if isinstance(true, int | float | Decimal) and isinstance(found, int | float):
        return math.isclose(found, float(true), rel_tol=1e-9, abs_tol=1e-12)
    return found == true


def test_there_is_a_truth_for_every_query() -> None:
    """No query is left out, and none is only remembered here."""
    assert set(TRUTH) == set(QUERIES)


def test_answers_are_true(reader: Conn) -> None:
    """Row for row what follows from the known data, for one choice of the variables and for another; never nothing."""
    wrong = []
    for name, truth in TRUTH.items():
        query = QUERIES[name]
        shown, *choices = CHOICES[query.board]
        for values in choices:
            true = truth(KNOWN, shown, values)
            if said := _difference(asked(reader, query, shown, values), true):
                wrong.append(f"{name}: {said}")
    assert not wrong, "\n".join(wrong)


def _difference(found: list[tuple[Any, ...]], true: list[tuple[Any, ...]]) -> str:
    """The first row that is not as it should be; empty when all are."""
    if not true or len(found) != len(true):
        return f"{len(found)} rows instead of {len(true)}"
    for row, right in zip(found, true, strict=True):
        if len(row) != len(right) or not all(map(near, row, right)):
            return f"{row} instead of {right}"
    return ""


def test_intervals_need_no_time_bucket(reader: Conn) -> None:
    """A data source whose switch for TimescaleDB is off gets the same, with seconds instead of times."""
    for query in QUERIES.values():
        if "$__timeGroup" in query.text:
            shown, values, _ = CHOICES[query.board]
            found = asked(reader, query, shown, values, time_bucket=False)
            true = [(row[0].timestamp(), *row[1:]) for row in asked(reader, query, shown, values)]
            assert [(float(row[0]), *row[1:]) for row in found] == true, query.name


def test_series_have_the_form_of_series(reader: Conn) -> None:
    """Grafana wants a `time`, perhaps a `metric`, and numbers, sorted by time."""
    for query in QUERIES.values():
        if query.series:
            columns, rows = _described(reader, query)
            assert columns[0] == "time", query.name
            assert rows == sorted(rows, key=lambda row: row[0]), query.name
            kinds = [str if column == "metric" else int | float | Decimal | None for column in columns[1:]]
            assert all(isinstance(v, k) for row in rows for v, k in zip(row[1:], kinds, strict=True)), query.name


def test_annotations_have_the_form_of_annotations(reader: Conn) -> None:
    """Grafana reads `time`, `timeend`, `text` and `tags`."""
    for name, query in QUERIES.items():
        if "annotation" in name:
            columns, _ = _described(reader, query)
            assert columns in (["time", "timeend", "text", "tags"], ["time", "text", "tags"]), name


def _described(conn: Conn, query: d.Query) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Columns and rows."""
    shown, values, _ = CHOICES[query.board]
    cursor = conn.execute(d.sql(query, shown, values).encode())
    return [column.name for column in cursor.description or ()], cursor.fetchall()


def test_big_tables_are_read_by_their_index(reader: Conn) -> None:
    """Whatever is asked of a table that grows by millions of rows a day is bounded by symbol and by time, and found by
    the index of both: where indexes cost nothing no query reads such a table from end to end."""
    read = set()
    for name, query in QUERIES.items():
        shown, values, _ = CHOICES[query.board]
        with reader.transaction():
            reader.execute("set local enable_seqscan to off")
            reader.execute("set local enable_bitmapscan to off")
            explain = b"explain (format json) " + d.sql(query, shown, values).encode()
            plan = reader.execute(explain).fetchall()[0][0]
        for node in filter(_data_table, _nodes(plan[0]["Plan"])):
            read.add(name)
            found = node.get("Index Cond", "")
            assert "symbol" in found and "time" in found, f"{name}: {json.dumps(node)}"
    big = [f" {table} " for table in (*TABLES, "book_levels")] + ["ohlcv("]
    assert read == {name for name, query in QUERIES.items() if any(table in query.text for table in big)}


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from _nodes(below)


def _data_table(node: dict[str, Any]) -> bool:
    """Whether a node of a plan reads a data table, or a chunk of one; not what only gathers its chunks."""
    name = node.get("Relation Name", "")
    return (name in TABLES or name.startswith("_hyper")) and "Plans" not in node
