"""What the writer stands on: which database it is, and which one the recorder may change by itself."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from recorder.config import Compression, Config, Database, Recorder, Secret
from recorder.errors import SinkUnavailable
from recorder.store import ground as module
from recorder.store.ground import Given, Local, ground, options
from recorder.store.migrate import Options, State

URL = "postgresql://writer:hunter2@db.example/recorder"


def silent(name: str) -> None:
    """Nobody listens to the beats."""


def test_the_configuration_decides() -> None:
    """A URL is somebody else's database, used exactly as written; without one we run our own under data_dir."""
    given = ground(Config(database=Database(url=Secret(URL))), silent)
    assert isinstance(given, Given)
    assert given.url() == URL
    assert isinstance(ground(Config(recorder=Recorder(data_dir=Path("/nowhere"))), silent), Local)


def test_the_schema_is_as_configured() -> None:
    """Compression and retention reach the reconcile step."""
    config = Config(compression=Compression(after=3600.0), retention={"books": 60.0})
    assert options(config) == Options(compression_after=3600.0, retention={"books": 60.0})


def test_a_local_database_says_what_it_waits_for() -> None:
    """Until it answers there is no URL but a sentence."""
    local = Local(Path("/nowhere"), Options(), silent)
    with pytest.raises(SinkUnavailable, match="being started"):
        local.url()


@pytest.mark.parametrize(
    ("state", "empty", "ours"),
    [
        (State.ABSENT, True, True),
        (State.ABSENT, False, False),
        *((state, empty, False) for state in State if state is not State.ABSENT for empty in (True, False)),
    ],
)
def test_only_an_empty_database_is_made_ours(
    monkeypatch: pytest.MonkeyPatch, state: State, empty: bool, ours: bool
) -> None:
    """Tables of anybody, of an older or of a newer recorder are for `recorder migrate`, by a person."""
    migrated: list[str] = []
    monkeypatch.setattr(psycopg, "connect", lambda url, **more: nullcontext(url))
    monkeypatch.setattr(module, "schema_version", lambda conn: SimpleNamespace(state=state, empty=empty))
    monkeypatch.setattr(module, "_migrate", lambda url, wanted: migrated.append(url))
    assert Given(URL, Options()).adopt() is ours
    assert migrated == ([URL] if ours else [])


def test_a_database_that_is_away_is_not_adopted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sink says in a sentence what is wrong; this only says that nothing was done."""

    def connect(url: str, **more: object) -> None:
        raise psycopg.OperationalError("connection refused")

    monkeypatch.setattr(psycopg, "connect", connect)
    assert Given(URL, Options()).adopt() is False
