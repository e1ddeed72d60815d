"""What rules and dashboards ask for is there: every series, label and value, in a scrape of a recorder that records.

The recorder is a process of its own beside simulated venues; sources of both, one of them silent, so that there are
heartbeats and a round trip.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from recorder.observe.metrics import GAP_CAUSES, GAUGES, QUARANTINE_REASONS, RECONNECT_REASONS
from recorder.records import Reaction
from recorder.simulator.infoway.venue import InfowayVenue
from recorder.simulator.okx.venue import OkxVenue
from recorder.simulator.server import Simulator
from tests.fault.process import RecorderProcess, config_toml, source_toml, until
from tests.promql import Scrape, read
from tests.rules import ROOT, alerts, jobs, records

DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))


@pytest.fixture(scope="module")
def text(database_of_module: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What /metrics says, once every gauge has something to say."""
    with ExitStack() as stack:
        okx = stack.enter_context(Simulator(OkxVenue()))
        infoway = stack.enter_context(Simulator(InfowayVenue()))
        sources = (
            source_toml(okx.ws_url, okx.http_url, {"trades": ["BTC-USDT"], "books": ["BTC-USDT"]}, name="okx"),
            source_toml(okx.ws_url, okx.http_url, {"liquidation-orders": ["SWAP"]}, name="rare"),
            source_toml(
                infoway.ws_url,
                infoway.http_url,
                {"trade": ["BTCUSDT"]},
                name="infoway",
                venue="infoway",
                business="crypto",
                api_key="some-key",
            ),
        )
        home = tmp_path_factory.mktemp("scraped") / "recorder"
        recorder = RecorderProcess(home, config_toml(database_of_module, *sources))
        recorder.start()
        stack.callback(recorder.kill)

        def missing() -> list[str]:
            said = recorder.get("/metrics")
            return [name for name in GAUGES if not re.search(rf"(?m)^{name}[ {{]", said)]

        until(lambda: not missing(), 60, f"every gauge says something\n{recorder.tail()}")
        yield recorder.get("/metrics")


@pytest.fixture
def scrape(text: str) -> Scrape:
    """The same, with what the rules record of it."""
    scrape = Scrape(text, jobs())
    scrape.learn(records())
    return scrape


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression that is shipped, with its place."""
    yield from ((f"recording.yml {name}", expression) for name, expression in records().items())
    yield from ((f"alerts.yml {alert.name}", alert.expression) for alert in alerts())
    for path in DASHBOARDS:
        yield from ((f"{path.name} {text}", text) for text in asked(json.loads(path.read_text(encoding="utf-8"))))


def asked(part: Any) -> Iterator[str]:
    """Every expression in a part of a dashboard; those of variables stand inside a function of Grafana's own."""
    if isinstance(part, dict):
        source = part.get("datasource")
        if isinstance(source, dict) and source.get("type") == "prometheus":
            query = part.get("query")
            said = [part.get("expr"), query.get("query") if isinstance(query, dict) else query]
            yield from (one for one in said if isinstance(one, str))
    for one in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from asked(one)


def test_all_that_is_asked_for_is_there(scrape: Scrape) -> None:
    """Names, labels that are matched, kept or joined by, and values of closed sets."""
    wrong = {}
    for place, expression in expressions():
        plain = re.sub(r"label_values\((.*),\s*\w+\)", r"\1", expression)
        assert read(plain).selectors, place
        if found := scrape.wrong(plain):
            wrong[place] = found
    assert wrong == {}


def test_what_an_alert_says_it_can_fill_in(scrape: Scrape) -> None:
    """Labels in its words are labels of its result."""
    for alert in alerts():
        labels = scrape.result(alert.expression)
        for words in alert.annotations.values():
            assert set(re.findall(r"\$labels\.(\w+)", words)) <= labels, alert.name


def test_closed_sets_are_there_as_a_whole(text: str) -> None:
    """From the start, of every source: whatever a rule names can be read beside a scrape."""
    for metric, label, values in (
        ("recorder_reconnects_total", "reason", RECONNECT_REASONS),
        ("recorder_gap_seconds_total", "cause", GAP_CAUSES),
        ("recorder_quarantined_total", "reason", QUARANTINE_REASONS),
    ):
        for source in ("okx", "infoway", "rare"):
            assert {labels[label] for labels in series(text, metric) if labels["source"] == source} == set(values)
    reactions = {labels["reaction"] for labels in series(text, "recorder_venue_code_info")}
    assert reactions == {*(reaction.value for reaction in Reaction), "unknown"}


def series(text: str, name: str) -> list[dict[str, str]]:
    """The labels of every series of a name."""
    return [s.labels for family in text_string_to_metric_families(text) for s in family.samples if s.name == name]


def test_every_code_that_is_counted_has_a_reaction(text: str) -> None:
    """So that no error escapes the rules that go by it."""
    counted = {(s["source"], s["code"]) for s in series(text, "recorder_venue_errors_total")}
    assert counted == {(s["source"], s["code"]) for s in series(text, "recorder_venue_code_info")}
    assert len(counted) > 50
