"""Alertmanager's notifications for tests, and the messages that are made of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from recorder.alerting.message import Message, compose, parse
from recorder.alerting.words import ENGLISH, Words

NOON = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def alert(name: str, severity: str = "warning", status: str = "firing", **labels: str) -> dict[str, Any]:
    """One alert, as Alertmanager writes it: nine digits of a second, the year 1 for what is not over."""
    return {
        "status": status,
        "labels": {"alertname": name, "severity": severity, **labels},
        "annotations": {"summary": f"{name} of {labels.get('source', 'all')}", "runbook": f"docs/runbook.md#{name}"},
        "startsAt": "2026-01-01T12:00:00.123456789Z",
        "endsAt": "0001-01-01T00:00:00Z" if status == "firing" else "2026-01-01T13:30:00+01:00",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": "0123456789abcdef",
    }


def notification(*alerts: dict[str, Any], **more: Any) -> bytes:
    """A whole notification, version 4."""
    firing = any(one["status"] == "firing" for one in alerts)
    return msgspec.json.encode(
        {
            "version": "4",
            "groupKey": '{}:{job="recorder"}',
            "truncatedAlerts": 0,
            "status": "firing" if firing else "resolved",
            "receiver": "everyone",
            "groupLabels": {"job": "recorder"},
            "commonLabels": {},
            "commonAnnotations": {},
            "externalURL": "http://alertmanager:9093",
            "alerts": list(alerts),
            **more,
        }
    )


def message(*alerts: dict[str, Any], words: Words = ENGLISH, **more: Any) -> Message:
    """The same in words."""
    return compose(parse(notification(*alerts, **more)), words)
