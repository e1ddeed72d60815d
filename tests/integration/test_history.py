"""What rules would have said of a time that is over, by a real Prometheus and `for`."""

from __future__ import annotations

from pathlib import Path

from tests.fixtures.history import History, Scrape

START = 1_750_000_005.0
RULES = """
groups:
  - name: test
    rules:
      - {record: "instance:water:max", expr: "max by (instance) (water)"}
      - {alert: Flood, expr: "instance:water:max > 3", for: 1m, labels: {severity: critical}}
      - {alert: Leak, expr: "increase(drops_total[2m]) > 5"}
      - {alert: Gone, expr: "up == 0", for: 2m}
"""


def said(n: int) -> Scrape:
    """Every quarter of a minute: high water for 30 s and, later, for 2 min; 20 drops at once; then silence."""
    water = 4 if 10 <= n < 12 or 20 <= n < 29 else 1
    text = f'# TYPE water gauge\nwater {water}\ndrops_total{{of="a b"}} {20.0 if n >= 40 else 0.0}\nother 1\n'
    return Scrape(START + 15 * n, text if n < 60 else "", instance="dam")


def test_alerts_of_the_past(tmp_path: Path) -> None:
    """An alert fires when its expression, over recording rules too, was true for as long as `for`, and not before;
    it is over when it was not."""
    rules = tmp_path / "rules.yml"
    rules.write_text(RULES)
    firings = History(tmp_path / "history", [rules]).tell([said(n) for n in range(80)])
    found = {one.name: one for one in firings}
    assert sorted(one.name for one in firings) == ["Flood", "Gone", "Leak"]
    assert found["Flood"].labels == (("instance", "dam"), ("severity", "critical"))
    assert 24 <= (found["Flood"].since - START) / 15 <= 25  # what is recorded may be one evaluation old
    assert 29 <= (found["Flood"].until - START) / 15 <= 30
    assert found["Leak"].label("of") == "a b"
    assert 40 <= (found["Leak"].since - START) / 15 <= 41
    assert 46 <= (found["Leak"].until - START) / 15 <= 49
    assert (found["Gone"].since - START) / 15 == 68


def test_no_alert_at_all(tmp_path: Path) -> None:
    """A history that is in order makes none."""
    rules = tmp_path / "rules.yml"
    rules.write_text(RULES)
    assert History(tmp_path / "history", [rules]).tell([said(n) for n in range(10)]) == []
