"""Prometheus's own judgement of the rules: they can be read, and each says what its cases want, no more and no less."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures.tools import tool
from tests.rules import PROMETHEUS, ROOT, alerts

CASES = sorted((ROOT / "tests" / "prometheus").glob("*.yml"))


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What promtool says."""
    return subprocess.run(
        [tool("promtool"), *arguments], capture_output=True, text=True, check=False, timeout=280, cwd=ROOT
    )


@pytest.mark.parametrize("check", [("config", "prometheus.yml"), ("rules", "recording.yml"), ("rules", "alerts.yml")])
def test_prometheus_can_read_it(check: tuple[str, str]) -> None:
    """Without an error, and without a doubt."""
    what, file = check
    strict = ["--lint=all", "--lint-fatal"] if what == "rules" else []
    done = promtool("check", what, *strict, PROMETHEUS / file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


@pytest.mark.timeout(300)
@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.stem)
def test_rules_say_what_their_cases_want(cases: Path) -> None:
    """Every check of a case lists all alerts that fire at its moment."""
    done = promtool("test", "rules", cases)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_cases() -> None:
    """One in which it fires, besides all in which it does not."""
    said = "".join(path.read_text(encoding="utf-8") for path in CASES)
    assert [alert.name for alert in alerts() if f'alertname="{alert.name}"' not in said] == []


RESETS = 'unless resets(recorder_reconnects_total{reason!~"handover|line|config"}[10m]) > 0'
COUNT = "/ on (job, instance, source) source:recorder_connections:count\n          > 3"


@dataclass(frozen=True, slots=True)
class Worse:
    """A rule made a little worse, in a way that is easily overlooked, and the case that notices."""

    file: str
    case: str
    old: str
    new: str = ""


WORSE = (
    Worse(
        "recording.yml", "three are none, however often somebody looks", RESETS, "unless recorder_reconnects_total >= 0"
    ),
    Worse("recording.yml", "a restart is no break, and what broke before it is not counted again", RESETS),
    Worse("recording.yml", "planned reconnects are none", "handover|line|config", "handover|line"),
    Worse("alerts.yml", "twenty connections that drop at once are one break each", COUNT, "> 3"),
    Worse(
        "alerts.yml",
        "the same in a market that closes is its night",
        "and on (job, instance, source) recorder_market_open == 1\n            and on",
        "and on",
    ),
    Worse(
        "alerts.yml",
        "a parked connection is refused three times, which is no spike, and is not one without data",
        " unless recorder_parked == 1",
    ),
    Worse(
        "alerts.yml",
        "a single reconnect of a market that was closed, whose streams speak again in the morning",
        "and source:recorder_disconnected_seconds:sum1h > 60",
    ),
    Worse(
        "alerts.yml",
        "a backlog that melts needs nobody",
        "and predict_linear(recorder_lag_seconds[5m], 3600) > 60",
    ),
    Worse("alerts.yml", "behind it", "abs(recorder_clock_offset_seconds)", "recorder_clock_offset_seconds"),
    Worse("alerts.yml", "a notice before a hand-over, of every connection", '{reaction="drop"}'),
    Worse(
        "alerts.yml",
        "the room of a recorder that follows goes up and down with its segments",
        "and on (job, instance) max by (job, instance) (recorder_lag_seconds) > 60",
    ),
)


@pytest.mark.parametrize("worse", WORSE, ids=lambda worse: worse.case)
def test_a_rule_that_is_a_little_worse_is_noticed(worse: Worse, tmp_path: Path) -> None:
    """The cases can fail."""
    for name in ("recording.yml", "alerts.yml"):
        text = (PROMETHEUS / name).read_text(encoding="utf-8")
        assert name != worse.file or worse.old in text
        text = text.replace(worse.old, worse.new) if name == worse.file else text
        (tmp_path / name).write_text(text, encoding="utf-8")
    (found,) = [{**file, "tests": [case]} for file in _cases() for case in file["tests"] if case["name"] == worse.case]
    found["rule_files"] = ["recording.yml", "alerts.yml"]
    (tmp_path / "cases.yml").write_text(yaml.safe_dump(found), encoding="utf-8")
    done = promtool("test", "rules", tmp_path / "cases.yml")
    assert "got:" in done.stdout + done.stderr, done.stdout + done.stderr


def _cases() -> list[dict[str, Any]]:
    return [yaml.safe_load(path.read_text(encoding="utf-8")) for path in CASES]
