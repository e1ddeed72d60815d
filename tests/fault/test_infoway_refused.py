"""A venue that lets nobody in: a key that is none (401), a connection too many (427). The recorder does not
hammer it, says why in words, and shows the key nowhere.

A few seconds by default; RECORDER_LONG=1 waits until the feed parks, and on.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from recorder.simulator.infoway.venue import Rules
from tests.fault.infowaystage import BTC, KEY, LONG, Stage, staged
from tests.fault.process import until
from tests.integration.infowayclient import Client

SECONDS = 75.0 if LONG else 3.0


@contextmanager
def refused(home: Path, database: str, status: int) -> Iterator[Stage]:
    """A stage on which every connection of the recorder is refused with this status."""
    keys = ("somebody-else",) if status == 401 else ()
    with ExitStack() as stack:
        wanted = {"crypto": {"trade": [BTC]}}
        stage = stack.enter_context(staged(home, database, wanted, rules=Rules(connections=1), keys=keys))
        if status == 427:
            stack.enter_context(Client(stage.simulator, key=KEY))  # the only connection of the plan is taken
            stage.simulator.call(stage.simulator.venue.knocks.clear)
        yield stage


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [(401, "auth", "the API key is missing or wrong"), (427, "quota", "more connections than the plan allows")],
)
def test_refused(tmp_path: Path, database: str, status: int, reason: str, words: str) -> None:
    """At most three attempts in the first minute, then the feed is parked; log, /readyz, /status, `recorder status` and
    metrics say so, and nothing that the recorder writes or says has the key in it."""
    with refused(tmp_path / "recorder", database, status) as stage:
        stage.recorder.start()
        until(lambda: bool(stage.simulator.call(lambda: stage.simulator.venue.knocks)), 30, "the first attempt")
        until(lambda: words in stage.recorder.get("/readyz"), 10, "/readyz says so")
        time.sleep(SECONDS)
        knocks = stage.simulator.call(lambda: list(stage.simulator.venue.knocks))
        said = {path: stage.recorder.get(path) for path in ("/readyz", "/status", "/metrics")}
        said["status"], said["json"] = _status(stage), _status(stage, "--json")
        parked = stage.metric("recorder_parked", source="crypto", feed="crypto/crypto/0")
        refusals = stage.metric("recorder_reconnects_total", source="crypto", reason=reason)
        errors = stage.metric("recorder_venue_errors_total", source="crypto", code=f"http {status}")
        until(lambda: _events(stage) == [(str(status), len(knocks))], 10, "each is an event")
        assert stage.recorder.stop() == 0, stage.recorder.tail()
        said["log"] = stage.recorder.log.read_text()
        _nowhere(stage, said)
    assert {(key, answer) for _, key, answer in knocks} == {(KEY, status)}
    assert refusals == errors == len(knocks)
    assert sum(at - knocks[0][0] <= 60 for at, _, _ in knocks) == (3 if LONG else 1)
    assert (parked, len(knocks)) == ((1, 3) if LONG else (0, 1))
    assert all(words in text for name, text in said.items() if name != "/metrics")
    assert ("parked, probing from time to time" in said["/readyz"]) == LONG


def _status(stage: Stage, *more: str) -> str:
    """What `recorder status` prints."""
    command = [sys.executable, "-m", "recorder", "--config", str(stage.recorder.config), "status", *more]
    return subprocess.run(command, capture_output=True, text=True, env=stage.recorder.environment(), check=False).stdout


def _events(stage: Stage) -> list[tuple[object, ...]]:
    """The venue's refusals in the database."""
    return stage.rows("SELECT code, count(*) FROM venue_events GROUP BY 1")


def _nowhere(stage: Stage, said: dict[str, str]) -> None:
    """The key is in no text, no file of the recorder's, and no row of the database."""
    found = [name for name, text in said.items() if KEY in text]
    files = [path for path in stage.recorder.home.rglob("*") if path.is_file()]
    assert any("spool" in path.parts for path in files)
    found += [str(path) for path in files if KEY.encode() in path.read_bytes()]
    with psycopg.connect(stage.database) as conn:
        tables = [str(row[0]) for row in conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        assert "venue_events" in tables
        for table in tables:
            query = sql.SQL("SELECT count(*) FROM {} AS t WHERE t::text LIKE %s").format(sql.Identifier(table))
            row = conn.execute(query, (f"%{KEY}%",)).fetchone()
            found += [table] if row is None or row[0] else []
    assert found == []
