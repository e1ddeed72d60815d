"""The README's queries run on the schema as it is."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", README, re.DOTALL)


def test_there_are_five() -> None:
    """The README shows five queries."""
    assert len(QUERIES) == 5


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_a_query_runs(database: str, query: str) -> None:
    """Each is accepted by a migrated database and has named columns."""
    with psycopg.connect(database) as conn:
        cursor = conn.execute(query.encode())
        assert [column.name for column in cursor.description or ()]
