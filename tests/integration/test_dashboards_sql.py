"""Every SQL query of the dashboards on every kind of server: it answers the truth, by index, as a reader, whatever a
venue calls its symbols."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
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


@pytest.mark.parametrize("name", TRUTH)
def test_answers_are_true(reader: Conn, name: str) -> None:
    """Row for row what follows from the known data, for one choice of the variables and for another; never nothing."""
    query = QUERIES[name]
    shown, *choices = CHOICES[query.board]
    for values in choices:
        true = TRUTH[name](KNOWN, shown, values)
        found = asked(reader, query, shown, values)
        assert true, "the known data say nothing about it"
        assert [len(row) for row in found] == [len(row) for row in true]
        for row, right in zip(found, true, strict=True):
            assert [v for v, r in zip(row, right, strict=True) if not near(v, r)] == [], f"{row} is not {right}"


@pytest.mark.parametrize("name", [name for name, query in QUERIES.items() if "$__timeGroup" in query.text])
def test_intervals_need_no_time_bucket(reader: Conn, name: str) -> None:
    """A data source whose switch for TimescaleDB is off gets the same, with seconds instead of times."""
    query = QUERIES[name]
    shown, values, _ = CHOICES[query.board]
    found = asked(reader, query, shown, values, time_bucket=False)
    true = asked(reader, query, shown, values)
    assert [
        (datetime.fromtimestamp(int(row[0]), row_[0].tzinfo), *row[1:]) for row, row_ in zip(found, true, strict=True)
    ] == true


@pytest.mark.parametrize("name", [name for name, query in QUERIES.items() if query.series])
def test_series_have_the_form_of_series(reader: Conn, name: str) -> None:
    """Grafana wants a `time`, perhaps a `metric`, and numbers, sorted by time."""
    query = QUERIES[name]
    shown, values, _ = CHOICES[query.board]
    cursor = reader.execute(d.sql(query, shown, values).encode())
    columns = [column.name for column in cursor.description or ()]
    rows = cursor.fetchall()
    assert columns[0] == "time"
    assert rows == sorted(rows, key=lambda row: row[0])
    numbers = [i for i, name in enumerate(columns) if name not in ("time", "metric")]
    assert all(isinstance(row[i], int | float | Decimal) for row in rows for i in numbers if row[i] is not None)
    assert all(isinstance(row[1], str) for row in rows if "metric" in columns)


@pytest.mark.parametrize("name", [name for name in QUERIES if "annotation" in name])
def test_annotations_have_the_form_of_annotations(reader: Conn, name: str) -> None:
    """Grafana reads `time`, `timeend`, `text` and `tags`."""
    query = QUERIES[name]
    shown, values, _ = CHOICES[query.board]
    cursor = reader.execute(d.sql(query, shown, values).encode())
    columns = [column.name for column in cursor.description or ()]
    assert columns in (["time", "timeend", "text", "tags"], ["time", "text", "tags"])


@pytest.mark.parametrize("name", TRUTH)
def test_big_tables_are_read_by_their_index(reader: Conn, name: str) -> None:
    """Whatever is asked of a table that grows by millions of rows a day is bounded by symbol and by time, and found by
    the index of both: where indexes cost nothing no query reads such a table from end to end."""
    query = QUERIES[name]
    shown, values, _ = CHOICES[query.board]
    with reader.transaction():
        reader.execute("set local enable_seqscan to off")
        reader.execute("set local enable_bitmapscan to off")
        plan = reader.execute(b"explain (format json) " + d.sql(query, shown, values).encode()).fetchall()[0][0]
    scans = [node for node in _nodes(plan[0]["Plan"]) if _data_table(node)]
    for node in scans:
        assert node["Node Type"] in ("Index Scan", "Index Only Scan"), json.dumps(node)
        assert "symbol" in node["Index Cond"] and "time" in node["Index Cond"], json.dumps(node)
    assert bool(scans) == any(
        f" {table} " in query.text or "ohlcv(" in query.text for table in (*TABLES, "book_levels")
    )


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from _nodes(below)


def _data_table(node: dict[str, Any]) -> bool:
    """Whether a node of a plan reads a data table, or a chunk of one; not what only gathers its chunks."""
    name = node.get("Relation Name", "")
    return (name in TABLES or name.startswith("_hyper")) and "Plans" not in node
