"""Every alert tells whoever is woken what is wrong and where to read on; the runbook has a section for each."""

from __future__ import annotations

import re

import pytest

from tests.rules import PROMETHEUS, RUNBOOK, Alert, alerts, records

NAMES = (
    *("RecorderAbsent", "RecorderRestarting", "RecorderDatabaseDown", "RecorderNoProgress", "RecorderLag"),
    *("RecorderFeedWithoutData", "RecorderSilentStreams", "RecorderReconnectSpike", "RecorderHeartbeatTimeouts"),
    *("RecorderSpoolGrowing", "RecorderDiskLow", "RecorderShedding", "RecorderGaps", "RecorderQuarantine"),
    *("RecorderFeedParked", "RecorderVenueErrors", "RecorderSchemaDrift", "RecorderClockOffset"),
)
PARTS = ("What it means", "Why, most likely first", "How to see it", "What to do", "What is lost meanwhile")
each = pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)


def sections() -> dict[str, str]:
    """Heading -> text of every section of the runbook."""
    parts = re.split(r"(?m)^## (.+)$", RUNBOOK.read_text(encoding="utf-8"))
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def anchor(heading: str) -> str:
    """What a link to a heading ends with."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_there_is_an_alert_for_everything_that_goes_wrong() -> None:
    """Once each: messages, inhibitions and headings in other languages go by these names."""
    assert sorted(alert.name for alert in alerts()) == sorted(NAMES)


@each
def test_an_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on(alert: Alert) -> None:
    """A severity that has a route; a heading that fits a phone, without a full stop; sentences; a section."""
    assert alert.labels.keys() == {"severity"}
    assert alert.labels["severity"] in ("critical", "warning", "info")
    assert alert.annotations.keys() == {"summary", "description", "runbook"}
    summary, description = alert.annotations["summary"], alert.annotations["description"]
    assert 10 <= len(re.sub(r"{{.*?}}", "source", summary)) <= 70
    assert not summary.endswith(".")
    assert 60 <= len(re.sub(r"{{.*?}}", "", description)) <= 400
    assert description.endswith(".")
    assert alert.annotations["runbook"] == f"docs/runbook.md#{alert.name.lower()}"
    assert alert.name in sections()


def test_no_section_is_without_an_alert() -> None:
    """What is left in the runbook speaks of alerts that there are; before the first there are only words for all."""
    headings = [heading for heading in sections() if heading not in ("Before anything else",)]
    assert [anchor(heading) for heading in headings] == [name.lower() for name in headings]
    assert sorted(headings) == sorted(NAMES)


@each
def test_a_section_has_everything_that_is_needed_at_night(alert: Alert) -> None:
    """The same parts in the same order, each with something in it; commands where one has to look."""
    text = sections()[alert.name]
    parts = re.split(r"(?m)^\*\*(.+?)\.\*\*", text)
    assert tuple(parts[1::2]) == PARTS
    for part, content in zip(parts[1::2], parts[2::2], strict=True):
        assert len(content.strip()) > 30, part
    assert "```" in parts[2 * PARTS.index("How to see it") + 2]
    assert f"`{alert.labels['severity']}`" in parts[0]


def test_links_of_the_runbook_lead_somewhere() -> None:
    """To its own sections; other documents are files that are there."""
    targets = re.findall(r"\]\(([^)]+)\)", RUNBOOK.read_text(encoding="utf-8"))
    assert targets
    for target in targets:
        file, _, name = target.partition("#")
        assert file == "" or (RUNBOOK.parent / file).is_file(), target
        assert file or name in [anchor(heading) for heading in sections()], target


@each
def test_an_alert_is_about_a_source_or_a_recorder_and_never_about_a_connection(alert: Alert) -> None:
    """Twenty connections that drop at once are one alert: what they are called is in no expression."""
    assert "feed" not in re.findall(r"\w+", alert.expression)


@each
def test_counters_are_read_by_rules_that_bear_restarts(alert: Alert) -> None:
    """No alert looks at a counter's value, which is as old as its process."""
    for name in re.findall(r"\brecorder_\w+_total\b", alert.expression):
        pytest.fail(f"{alert.name} reads {name} by itself")


def test_what_is_recorded_keeps_recorders_apart() -> None:
    """Every aggregation keeps `job` and `instance`, in rules and in alerts."""
    for name, expression in [*records().items(), *((a.name, a.expression) for a in alerts())]:
        for kept in re.findall(r"\bby \(([^)]*)\)", expression):
            assert {"job", "instance"} <= set(kept.split(", ")), name
        assert not re.search(r"\b(sum|avg|count|min|max) ?\(", expression) or name == "RecorderAbsent", name


def test_what_is_recorded_is_named_by_its_level() -> None:
    """level:metric:operation."""
    assert [n for n in records() if not re.fullmatch(r"(instance|source|table)(_\w+)?:recorder_\w+:\w+", n)] == []


def test_the_interval_that_rules_reckon_with_is_the_one_of_the_scrapes() -> None:
    """15 s stand in both."""
    assert "scrape_interval: 15s" in (PROMETHEUS / "prometheus.yml").read_text()
    assert "15 * (count_over_time(" in records()["source:recorder_disconnected_seconds:sum1h"]
