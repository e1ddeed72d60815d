"""The demo's order: what it started is stopped, what it shows is what was committed, and an empty show is a failure."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from recorder import demo
from recorder.config import Source, Subscribe
from recorder.daemon import Daemon
from recorder.demo import EXAMPLES, TABLES
from recorder.errors import Exit, RecorderError
from recorder.listing import has_patterns
from recorder.observe.metrics import Metrics
from recorder.simulator.server import demo_venues
from recorder.store.queries import queries
from recorder.venues import venues

ALL = dict.fromkeys(TABLES, 7)


class Show:
    """The demo with its acts replaced: what happened in which order, and where."""

    def __init__(self, patch: pytest.MonkeyPatch, tmp_path: Path, counts: dict[str, int] | None) -> None:
        self.acts: list[str] = []
        self.where = tmp_path / "demo"
        self.where.mkdir()
        self.server = SimpleNamespace(
            url="postgresql://demo",
            directory=self.where / "postgres",
            stop=lambda: self.acts.append("stop"),
            postmaster=lambda: 4711,
        )
        patch.setattr("recorder.demo.tempfile.mkdtemp", lambda prefix: str(self.where))
        patch.setattr(demo, "_database", lambda *args: self._act("database", self.server))
        patch.setattr(demo, "_record", lambda *args: self._act("record", counts))
        patch.setattr(demo, "_ask", lambda *args: self._act("ask", None))

    def _act(self, name: str, answer: Any) -> Any:
        self.acts.append(name)
        if name == "record" and answer is None:
            raise RecorderError("the writer died")
        return answer


def test_what_was_started_is_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Database, record, ask; then the server stops and its files go."""
    show = Show(monkeypatch, tmp_path, ALL)
    assert demo.main(1.0, keep=False) == Exit.OK
    assert show.acts == ["database", "record", "ask", "stop"]
    assert not show.where.exists()


def test_it_is_stopped_after_a_failure_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of a demo that failed is left running."""
    show = Show(monkeypatch, tmp_path, None)
    with pytest.raises(RecorderError, match="the writer died"):
        demo.main(1.0, keep=False)
    assert show.acts == ["database", "record", "stop"]
    assert not show.where.exists()


def test_keep_leaves_the_database_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says how to reach it and how to stop it."""
    show = Show(monkeypatch, tmp_path, ALL)
    demo.main(1.0, keep=True)
    assert show.acts == ["database", "record", "ask"]
    assert show.where.exists()
    said = capsys.readouterr().out
    assert "postgresql://demo" in said
    assert "kill -INT 4711" in said


@pytest.mark.parametrize("table", TABLES)
def test_a_table_without_rows_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, table: str) -> None:
    """A demo that recorded nothing of a kind must not look like a success."""
    Show(monkeypatch, tmp_path, ALL | {table: 0})
    with pytest.raises(RecorderError, match=f"nothing was recorded into {table}"):
        demo.main(1.0, keep=False)


def test_the_counts_shown_are_those_committed() -> None:
    """Rows by table as the metrics tell them, with the rate since the last look."""
    metrics = Metrics()
    metrics.rows_committed("trades").inc(3000)
    readings = SimpleNamespace(lag=lambda: {("okx",): 0.042})
    daemon = cast(Daemon, SimpleNamespace(metrics=metrics, pipeline=SimpleNamespace(readings=readings)))
    counts = demo._committed(daemon)
    assert counts == {**dict.fromkeys(TABLES, 0), "trades": 3000}
    table = demo._rates(daemon, counts, {"trades": 1000}, 2.0, 9.6)
    assert table.title == "recording, 10 s left, lag 42 ms"
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    assert rows[0] == ("trades", "3,000", "1,000")
    assert rows[1][1:] == ("0", "0")


def test_what_is_recorded_is_told_in_words() -> None:
    """Channels and symbols of every block; a pattern reads as what it means; no line is wider than the terminal."""
    blocks = (
        Subscribe(channels=("trades", "books"), symbols=("BTC-USDT", "*-USDT-SWAP")),
        Subscribe(channels=("tickers",), symbols=("A", "B")),
    )
    console = Console(width=80, file=StringIO(), highlight=False)
    console.print(demo._asked(Source(name="okx", venue="okx", endpoints=(), rest="", subscribe=blocks)))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert " ".join(" ".join(lines).split()) == (
        "source: okx: trades, books of BTC-USDT, all that is listed as *-USDT-SWAP; tickers of A, B"
    )
    assert len(lines) == 2
    assert lines[1].startswith(" " * len("database: ")) and max(map(len, lines)) <= 80


def test_every_source_of_the_demo_is_one_that_its_venue_takes() -> None:
    """Under a name of its own, without a fault and without a doubt; one of them shows what a pattern is."""
    plans = [(venue.name, source) for venue, sources in demo_venues() for source in sources]
    assert len({source.name for _, source in plans}) == len(plans) == 3
    for name, source in plans:
        venue = venues()[source.venue]
        assert source.venue == name
        assert (venue.check(source), venue.warnings(source)) == ([], [])
    assert any(has_patterns(source) for _, source in plans)


def test_the_questions_are_five_statements_that_say_what_they_are() -> None:
    """Each with a line for people, none wider than a terminal."""
    assert len(EXAMPLES) == 5
    assert all(queries()[name] and queries().about[name] for name in EXAMPLES)
    assert all(len(line) <= 80 for name in EXAMPLES for line in queries()[name].decode().splitlines())
    assert all(len(queries().about[name]) <= 80 for name in EXAMPLES)
