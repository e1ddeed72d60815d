"""The benchmark itself, in its short form. Only ratios within one run are asserted: this machine is shared."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import pytest

from recorder.bench import main
from recorder.bench.load import Load
from recorder.bench.pipeline import Pipeline, config, running
from recorder.bench.server import scratch
from recorder.store.migrate import migrate_url

LONG = os.environ.get("RECORDER_LONG") == "1"
# The short rounds run beside the rest of the test suite, whose load hits both sides unevenly; see `recorder bench`.
SHARE = 0.60 if LONG else 0.25


def test_share_of_the_ceiling(server_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything on, the recorder reaches its share of what the same server takes of the same rows; and the report
    is whole and agrees with itself."""
    seconds, rounds = ("5", "5") if LONG else ("0.7", "2")
    assert main(["--seconds", seconds, "--rounds", rounds, "--database", server_url, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["share"] >= SHARE
    assert len(found["pairs"]) == int(rounds)
    for pair in found["pairs"]:
        assert pair["recorder"]["flushes"] <= pair["recorder"]["messages"] / 100, "commits are far too small"
        assert pair["ceiling"]["rows"] == pair["recorder"]["messages"]
        assert pair["ceiling"]["commits"] == pytest.approx(pair["recorder"]["flushes"], abs=1)
        # CPU is what a busy machine cannot distort: our work on a message against the server's work on its row.
        assert pair["recorder"]["python_us"] <= 4 * pair["ceiling"]["backend_us"]
    stages = found["stages"]
    assert all(us > 0 for us in stages["stages_us"].values()), "a stage that was never called is measured wrongly"
    assert sum(stages["stages_us"].values()) <= stages["python_us"]
    for pace in found["paces"]:
        assert 0 < pace["latency"]["p50"] <= pace["latency"]["p99"] <= pace["latency"]["worst"]
        assert pace["latency"]["messages"] >= pace["rate"] * 1.2


def test_poison_costs_little(server_url: str, tmp_path: Path) -> None:
    """With one message in a hundred that cannot be stored, the recorder does at least half as many."""
    rates: dict[str, list[float]] = {"trades": [], "poisoned": []}
    with ExitStack() as stack:
        both = {mix: stack.enter_context(_pipeline(server_url, tmp_path / mix, mix)) for mix in rates}
        for pipeline in both.values():
            pipeline.flat_out(10_000)
        for _ in range(3):
            for mix, pipeline in both.items():
                rates[mix].append(pipeline.flat_out(50_000).rate)
    assert median(rates["poisoned"]) >= 0.5 * median(rates["trades"]), rates


@contextmanager
def _pipeline(server_url: str, where: Path, mix: str) -> Iterator[Pipeline]:
    # One certificate for all senders: a process loads what it trusts once.
    with scratch(server_url) as room, Load(where.parent / "certificate") as load:
        migrate_url(room.url)
        with running(config(where, room.url, load, mix, 0.1), load, room, mix) as pipeline:
            yield pipeline


def test_no_database_is_a_sentence() -> None:
    """A server that is not there ends the benchmark with exit code 69, and without the password."""
    from recorder.errors import SinkUnavailable

    with pytest.raises(SinkUnavailable, match="cannot use the database") as caught:
        main(["--database", "postgresql://recorder:hunter2@127.0.0.1:1/market"])
    assert caught.value.exit_code == 69
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("wrong", [["--seconds", "0"], ["--rounds", "0"], ["--mix", "everything"]])
def test_wrong_options(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Refused with usage, code 2, before anything is started."""
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    assert ended.value.code == 2
    assert "usage: recorder bench" in capsys.readouterr().err
