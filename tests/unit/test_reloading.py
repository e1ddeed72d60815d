"""Two configurations side by side: what is different, what has to wait, and the verdict that is left."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from recorder import reload
from recorder.config import Compression, Config, Database, Recorder, Secret, Source, SpoolConfig, Subscribe
from recorder.errors import ConfigError, SpoolFault
from recorder.redact import protect
from recorder.reload import EFFECTS, RESTART, Verdict, differences, judge, keep, last, merged
from recorder.scope import reconnects
from recorder.settings.effective import sections, source_section

ROOT = Path(__file__).parents[2]


def source(name: str = "one", *symbols: str, venue: str = "okx", **more: object) -> Source:
    """A source of trades."""
    asked = (Subscribe(channels=("trades",), symbols=symbols or ("A",)),)
    made = Source(name=name, venue=venue, endpoints=("wss://a.example",), rest="https://a.example", subscribe=asked)
    return replace(made, **more)


def config(*sources: Source, **more: object) -> Config:
    """A configuration of these."""
    return replace(Config(database=Database(url=Secret("postgresql://a/b")), sources=sources), **more)


# --- what has to wait ------------------------------------------------------------------------------------------------


def test_what_needs_a_restart_stays_and_is_said() -> None:
    """Where the recorder is at home, and where it listens, are as they were."""
    old, home = config(source()), Recorder(data_dir=Path("/elsewhere"), instance="x", listen="127.0.0.1:1")
    found, waiting = merged(old, config(source(), recorder=home))
    assert found == old
    assert [sentence.split(" needs a restart")[0] for sentence in waiting] == [
        "recorder.data_dir",
        "recorder.instance",
        "recorder.listen",
    ]
    assert differences(old, found) == ()


@pytest.mark.parametrize(("old", "new"), [(None, "postgresql://a/b"), ("postgresql://a/b", None)])
def test_a_local_database_is_begun_and_left_at_a_start(old: str | None, new: str | None) -> None:
    """Between a given and a local one only a restart changes; between two that are given, a reload."""
    before, after = (Database(url=Secret(url) if url else None) for url in (old, new))
    found, waiting = merged(config(source(), database=before), config(source(), database=after))
    assert found.database == before
    assert len(waiting) == 1
    given = Database(url=Secret("postgresql://c/d"))
    found, waiting = merged(config(source()), config(source(), database=given))
    assert (found.database, waiting) == (given, ())


def test_a_source_of_another_venue_needs_another_name() -> None:
    """What its name means to the tables would change under them."""
    old = config(source(), source("two"))
    found, waiting = merged(old, config(source(venue="infoway"), source("two", "B")))
    assert found.sources == (source(), source("two", "B"))
    assert len(waiting) == 1


def test_what_the_server_does_is_the_servers_to_change() -> None:
    """Compression and policies are in the database: `recorder migrate` brings them there."""
    new = config(source(), compression=Compression(after=7200.0), retention={"trades": 3600.0})
    found, waiting = merged(config(source()), new)
    assert found == new
    assert all("recorder migrate" in sentence for sentence in waiting)
    assert len(waiting) == 2


# --- what is different -----------------------------------------------------------------------------------------------


def test_differences_are_named() -> None:
    """Keys with both values, sources with their streams; and no secret, neither the old one nor the new one."""
    old = config(source(), source("gone"), source("two", "A", "B", options={"api_key": Secret("hunter2")}))
    new = config(
        source("new", *"ABCDE"),
        source(),
        source("two", "A", "C", options={"api_key": Secret("hunter3")}),
        database=Database(url=Secret("postgresql://u:hunter4@a/b"), flush_rows=5),
        spool=SpoolConfig(keep=60.0),
        retention={"books": 3600.0},
    )
    assert differences(old, new) == (
        "database.url has changed",
        "database.flush_rows: 20000 → 5",
        "spool.keep: 6h → 1m",
        "retention.books: 0s → 1h",
        "source gone has ended; what its spool holds is still stored",
        "source new has begun: trades A, trades B, trades C and 2 more",
        "source two: added trades C; removed trades B; api_key changed, by a new connection",
    )
    assert differences(new, new) == ()


@pytest.mark.parametrize(
    ("more", "anew"),
    [
        ({"subscribe": ()}, False),
        ({"refill": False, "connections": 2, "sessions": "x"}, False),
        ({"proxy": Secret("http://p:1")}, True),
        ({"endpoints": ("wss://b.example",)}, True),
        ({"limits": {"frames_per_minute": 3}}, True),
        ({"options": {"business": "common"}}, True),
        ({"coalesce": 0.1}, True),
    ],
)
def test_what_a_source_asks_for_needs_no_new_connection(more: dict[str, object], anew: bool) -> None:
    """Everything that a connection is made with does."""
    assert reconnects(source(), source(**more)) is anew  # type: ignore[arg-type]


def test_every_key_has_its_effect() -> None:
    """The table of effects knows every key of the file, and no other."""
    found = sections(config(source()))
    keys = {f"{name}.{key}" for name, section in found.items() for key in section} | {"retention"}
    mine = {f"source.{key}" for key in source_section(source(proxy=Secret("http://p:1"), limits={"x": 1}))}
    special = {"source", "source.venue", "source.subscribe", "source.refill", "source.sessions", "source.connections"}
    assert {key for key in EFFECTS if not key.startswith("source")} == keys
    assert {key for key in EFFECTS if key.startswith("source")} == special | {"source.*"}
    assert special - {"source", "source.subscribe", "source.sessions"} < mine


def test_the_documentation_says_the_same() -> None:
    """The table in docs/systemd.md is the table of effects."""
    text = (ROOT / "docs" / "systemd.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| (`.*?) \| (.*?) \|$", text)
    assert {key: effect for keys, effect in rows for key in re.findall(r"`([^`]+)`", keys)} == EFFECTS


def test_recorder_keys_are_what_needs_a_restart() -> None:
    """`merged` keeps the whole section: a key that can change live would have to be taken out of it."""
    keys = {f"recorder.{each.name}" for each in msgspec.structs.fields(Recorder)}
    assert {key for key, effect in EFFECTS.items() if effect == RESTART} == keys


# --- the verdict -----------------------------------------------------------------------------------------------------


def test_a_verdict_is_found_by_who_asks(tmp_path: Path) -> None:
    """All of it, by whoever knows the home; none where there is none, or something else."""
    verdict = judge(Path("/f.toml"), lambda file: (("a",), ("b",)))
    assert (verdict.done, verdict.changes, verdict.waiting, verdict.notes) == (True, ("a",), ("b",), ("b",))
    assert last(tmp_path) is None
    keep(tmp_path, verdict)
    assert last(tmp_path) == verdict
    (tmp_path / reload.FILE).write_text("{")
    assert last(tmp_path) is None


@pytest.mark.parametrize(
    ("error", "problems"),
    [
        (ConfigError(["one hunter22", "two"]), ("one ***", "two")),
        (SpoolFault("the disk is full"), ("/f.toml: the disk is full",)),
        (OSError(28, "No space left"), ("/f.toml: [Errno 28] No space left",)),
    ],
)
def test_whatever_refuses_is_said(error: Exception, problems: tuple[str, ...]) -> None:
    """Every mistake of a file; a spool that cannot be opened; never a secret."""
    protect("hunter22")

    def refuse(file: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
        raise error

    verdict = judge(Path("/f.toml"), refuse)
    assert (verdict.done, verdict.problems) == (False, problems)
    assert all("nothing has changed" in note for note in verdict.notes)


def test_verdicts_are_in_order() -> None:
    """A later one has begun later: whoever asks in between waits for it."""
    first = judge(Path("f"), lambda file: ((), ()))
    assert isinstance(first, Verdict)
    assert first.begun < judge(Path("f"), lambda file: ((), ())).begun
