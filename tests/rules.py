"""The rules as they are shipped: what is recorded, what is an alert."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RUNBOOK = ROOT / "docs" / "runbook.md"


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as it stands in alerts.yml."""

    name: str
    expression: str
    labels: dict[str, str]
    annotations: dict[str, str]


@cache
def alerts() -> tuple[Alert, ...]:
    """In their order."""
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    return tuple(Alert(r["alert"], r["expr"], r["labels"], r["annotations"]) for r in rules)


@cache
def records() -> dict[str, str]:
    """Name -> expression of every recording rule, in their order."""
    groups = yaml.safe_load((PROMETHEUS / "recording.yml").read_text(encoding="utf-8"))["groups"]
    return {rule["record"]: rule["expr"] for group in groups for rule in group["rules"]}


@cache
def jobs() -> tuple[str, ...]:
    """What prometheus.yml scrapes."""
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    return tuple(job["job_name"] for job in configuration["scrape_configs"])
