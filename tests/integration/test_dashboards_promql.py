"""Every PromQL query of the dashboards in a real Prometheus, with the recording rules as they are shipped: it answers
the truth, of the recorder and the sources that were chosen."""

from __future__ import annotations

import json
import math
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import dashboards as d
from tests.fixtures.prometheus import Prometheus, running
from tests.integration.knownhour import END, START
from tests.integration.knownscrapes import Known
from tests.integration.promqltruth import TRUTH, VARIABLES, Chosen, Truth

QUERIES = {q.name: q for name in d.BOARDS for q in d.queries(name) if q.type == d.METRICS_TYPE}
HOUR = d.Range(START, END, 60)
Found = dict[tuple[tuple[str, str], ...], list[tuple[float, float]]]
# What a recording rule has made is up to one evaluation old, and saw one scrape less or more in its ten minutes.
SLACK = {"recorder: Reconnects per connection A": 0.03, "recorder: Spool full in A": 0.001}
CHOICES: tuple[Chosen, ...] = (
    {"job": "recorder", "source": ("alpha", "beta-2")},
    {"job": "recorder-demo", "source": ("beta-2",)},
)


@pytest.fixture(scope="module")
def known() -> Known:
    """An hour that is shown, and what was before and after it: rules are evaluated later than what they look at."""
    return Known(START.timestamp() - 1800, END.timestamp() + 60)


@pytest.fixture(scope="module")
def prometheus(known: Known, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A server that knows it."""
    folder: Path = tmp_path_factory.mktemp("prometheus")
    known.tell(Prometheus(folder, evaluate=86_400))
    with running(Prometheus(folder, evaluate=86_400)) as server:
        yield server


def asked(server: Prometheus, query: d.Query, values: Chosen) -> Found:
    """Times and values by labels, as Grafana asks for them: over the range, or at its end."""
    text = d.promql(query, HOUR, values)
    if query.series:
        step = max(query.width, HOUR.interval)
        series = server.query_range(text, HOUR.start.timestamp(), HOUR.end.timestamp(), step)
    else:
        at = HOUR.end.timestamp()
        series = [(one.labels, [(at, one.value)]) for one in server.query(text, at)]
    return {tuple(sorted(labels.items())): points for labels, points in series}


def test_there_is_a_truth_for_every_query() -> None:
    """No query is left out, and none is only remembered here."""
    assert set(TRUTH) | set(VARIABLES) == set(QUERIES)


def test_answers_are_true(prometheus: Prometheus, known: Known) -> None:
    """Series for series and point for point what follows from the known scrapes; never nothing, and nothing of another
    recorder or another source."""
    wrong = []
    for name, truth in TRUTH.items():
        query = QUERIES[name]
        for values in CHOICES:
            true = truth(known, values, max(query.width, HOUR.interval))
            if said := _difference(asked(prometheus, query, values), true, known, query):
                wrong.append(f"{name}: {said}")
    assert not wrong, "\n".join(wrong)


def _difference(found: Found, true: Truth, known: Known, query: d.Query) -> str:
    """What is not as it should be, in a few words; empty when all is."""
    if not true or set(found) != set(true):
        return f"{sorted(found)} instead of {sorted(true)}"
    for labels, points in found.items():
        if len(points) != (HOUR.seconds // max(query.width, HOUR.interval) + 1 if query.series else 1):
            return f"{labels}: {len(points)} points"
        right = true[labels]
        for at, value in points:
            wanted = right(at - known.start) if callable(right) else right
            if not math.isclose(value, wanted, rel_tol=SLACK.get(query.name, 1e-6)):
                return f"{labels} at {at - START.timestamp():+.0f} s: {value} instead of {wanted}"
    return ""


def test_variables_offer_what_there_is(prometheus: Prometheus) -> None:
    """Every value of the label, as Grafana asks for them."""
    for name, there in VARIABLES.items():
        selector, label = d.label_values(d.promql(QUERIES[name], HOUR, CHOICES[0]))
        asking = {"match[]": selector, "start": START.timestamp(), "end": END.timestamp()}
        url = f"{prometheus.url}/api/v1/label/{label}/values?{urllib.parse.urlencode(asking)}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            assert set(json.load(answer)["data"]) == there, name


def test_a_counter_that_stands_still_shows_nothing(prometheus: Prometheus) -> None:
    """Where nothing happened there is no bar, and not one of height 0: sources that do not exist have none at all."""
    nobody: Chosen = {"job": "recorder", "source": ("nobody",)}
    by_source = [q for q in QUERIES.values() if "$source" in q.text and q.series]
    assert by_source
    assert [q.name for q in by_source if asked(prometheus, q, nobody)] == []
