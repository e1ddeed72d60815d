"""Rule files made faster for tests: every duration and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fixtures.scaled import faster, milliseconds, write_faster

RULES = """\
groups:
  - name: recorder
    interval: 15s  # how often
    rules:
      - record: source:reconnects:increase10m
        expr: sum by (source) (increase(recorder_reconnects_total{reason!~"line|config"}[10m])) / 60
      - alert: Late
        expr: |
          max_over_time(recorder_lag_seconds[1h:30s]) > 60
            and recorder_lag_seconds offset 1m30s > 60
        for: 2m
        keep_firing_for: "5m"
        annotations:
          summary: "For 5m [now]: late"
      - alert: Absent
        expr: up == 0 or absent_over_time(up[5m])
        for: 0s
"""


def test_every_duration_becomes_shorter() -> None:
    """`for`, `keep_firing_for`, `interval`, ranges, subqueries and `offset` are divided; nothing else changes."""
    assert faster(RULES, 20).splitlines() == [
        "groups:",
        "  - name: recorder",
        "    interval: 750ms  # how often",
        "    rules:",
        "      - record: source:reconnects:increase10m",
        '        expr: sum by (source) (increase(recorder_reconnects_total{reason!~"line|config"}[30000ms])) / 60',
        "      - alert: Late",
        "        expr: |",
        "          max_over_time(recorder_lag_seconds[180000ms:1500ms]) > 60",
        "            and recorder_lag_seconds offset 4500ms > 60",
        "        for: 6000ms",
        '        keep_firing_for: "15000ms"',
        "        annotations:",
        '          summary: "For 5m [now]: late"',
        "      - alert: Absent",
        "        expr: up == 0 or absent_over_time(up[15000ms])",
        "        for: 0s",
    ]


def test_a_factor_of_one_changes_no_length() -> None:
    """What is written in milliseconds is as long as what was shipped."""
    lengths = re.compile(r"\b(?:\d+(?:ms|[smhdwy]))+\b")
    before, after = lengths.findall(RULES), lengths.findall(faster(RULES, 1))
    assert [milliseconds(each) for each in before] == [milliseconds(each) for each in after]


def test_a_duration_is_never_nothing() -> None:
    """A range of 0 ms would be refused by Prometheus."""
    assert faster("expr: rate(x[1s])", 1e6) == "expr: rate(x[1ms])"


def test_a_threshold_is_changed_where_it_stands(tmp_path: Path) -> None:
    """By the name of the alert and only in its rule, in whichever file it is."""
    (tmp_path / "a.yml").write_text(RULES)
    (tmp_path / "b.yml").write_text("groups: []\n")
    files = [tmp_path / "a.yml", tmp_path / "b.yml"]
    written = write_faster(tmp_path / "new", 20, files, {"Absent": ("up == 0", "up == 2")})
    assert written == [tmp_path / "new" / "a.yml", tmp_path / "new" / "b.yml"]
    assert written[0].read_text() == faster(RULES, 20).replace("up == 0", "up == 2")


@pytest.mark.parametrize(
    ("alert", "old", "words"),
    [
        ("Lost", "up", "no such alert: Lost"),
        ("Absent", "down", "'down' stands 0 times in the rule Absent, not once"),
        ("Late", "60", "'60' stands 2 times in the rule Late, not once"),
    ],
)
def test_a_threshold_that_is_not_there(tmp_path: Path, alert: str, old: str, words: str) -> None:
    """A rule that was changed is noticed: nothing is scaled in vain."""
    (tmp_path / "a.yml").write_text(RULES)
    with pytest.raises(ValueError, match=re.escape(words)):
        write_faster(tmp_path / "new", 20, [tmp_path / "a.yml"], {alert: (old, "1")})
