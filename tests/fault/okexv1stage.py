"""A whole recorder beside a simulated OKEx v1: the stage of its end-to-end tests.

Owns starting, and what is in the database; judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from recorder.simulator.market import Market
from recorder.simulator.okex_v1.venue import OkexV1Venue, Rules
from recorder.simulator.server import Simulator
from tests.fault.process import RecorderProcess, config_toml, source_toml
from tests.fault.stage import Oracle

VENUE = "okex_v1"


@contextmanager
def staged(
    home: Path, database: str, market: Market, *names: str, environ: dict[str, str] | None = None, path: str = ""
) -> Iterator[Oracle]:
    """The venue with this market and its own limits, and a recorder of these channels over `/ws/v1` or another path,
    not started. `environ`: the keys of its account."""
    with Simulator(OkexV1Venue(market, rules=Rules(), journal=True)) as simulator:
        options = {name: f"${{{name.upper()}}}" for name in environ or {}}
        options |= {"path": path} if path else {}
        where = simulator.ws_url, simulator.http_url
        source = source_toml(*where, {name: [] for name in names}, name=VENUE, venue=VENUE, **options)
        given = {name.upper(): value for name, value in (environ or {}).items()}
        recorder = RecorderProcess(home, config_toml(database, source), environ=given)
        try:
            yield Oracle(recorder, simulator, database, source=VENUE)
        finally:
            if recorder.process is not None and recorder.process.poll() is None:
                recorder.kill()


def rows(stage: Oracle, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    """What a query finds."""
    with psycopg.connect(stage.database) as conn:
        return conn.execute(query.encode(), parameters).fetchall()


def total(stage: Oracle, name: str, label: str = "") -> float:
    """A counter of the source: its series with this label, together."""
    lines = (line for line in stage.recorder.get("/metrics").splitlines() if line.startswith(f"{name}{{"))
    return sum(float(line.rpartition(" ")[2]) for line in lines if label in line and f'source="{VENUE}"' in line)
