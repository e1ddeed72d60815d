"""The READMEs' queries run on the schema as it is."""

from __future__ import annotations

import psycopg
import pytest

from tests.docblocks import ROOT, blocks
from tests.integration.market import SEED

READMES = ("README.md", "README.zh.md")
QUERIES = {name: [block.text for block in blocks(ROOT / name) if block.language == "sql"] for name in READMES}


def test_there_are_six() -> None:
    """Each README shows the same six queries."""
    assert len(QUERIES["README.md"]) == 6
    assert QUERIES["README.md"] == QUERIES["README.zh.md"]


@pytest.mark.parametrize("query", QUERIES["README.md"], ids=range(6))
def test_a_query_answers(database: str, query: str) -> None:
    """Each finds rows in a market, in columns that have names."""
    with psycopg.connect(database) as conn:
        for statement in SEED:
            conn.execute(statement.encode())
        cursor = conn.execute(query.encode())
        assert all(column.name for column in cursor.description or ())
        assert cursor.fetchall()
