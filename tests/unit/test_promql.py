"""The reader of expressions sees all that they ask for, and notices what nobody has."""

from __future__ import annotations

import pytest

from tests.promql import Matcher, Scrape, Selector, read

TEXT = """
# TYPE lost counter
lost_total{source="okx",reason="eof"} 1
lost_total{source="okx",reason="line"} 0
# TYPE there gauge
there{source="okx",feed="okx/public/0"} 1
# TYPE room gauge
room 5
"""


@pytest.fixture
def scrape() -> Scrape:
    """A small target, and a rule of it."""
    scrape = Scrape(TEXT, ["recorder"])
    scrape.learn({"source:lost:rate": 'sum by (job, source) (rate(lost_total{reason!="line"}[1m]))'})
    return scrape


def test_all_that_is_asked_for_is_seen() -> None:
    """Names in functions and beside operators, matchers, and labels of every kind of list; no function, no word."""
    asked = read(
        'sum by (job, source) (increase(lost_total{reason!~"line|config", source="$source"}[10m] offset 1h)) '
        "/ on (source) group_left (feed) count(there) by (source) > bool 3 and absent(up) unless room # and nothing"
    )
    assert asked.selectors == (
        Selector("lost_total", (Matcher("reason", "!~", "line|config"), Matcher("source", "=", "$source"))),
        Selector("there"),
        Selector("up"),
        Selector("room"),
    )
    assert asked.labels == {"job", "source", "feed"}


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("rate(lost[1m])", "no series lost"),
        ("sum by (cause) (lost_total)", "no series has the label cause"),
        ('lost_total{cause="eof"}', "lost_total has no label cause"),
        ('lost_total{reason=~"eof|lines"}', 'lost_total never has reason="lines"'),
        ('there{job="recoder"}', 'there never has job="recoder"'),
        ("source:lost:rate / on (feed) there > source:lost:rate5m", "no series source:lost:rate5m"),
        ('source:lost:rate{reason="eof"}', "source:lost:rate has no label reason"),
        ('source:lost:rate{source="okex"}', 'source:lost:rate never has source="okex"'),
    ],
)
def test_what_nobody_has_is_noticed(scrape: Scrape, expression: str, problem: str) -> None:
    """A name, a label, and a value of a closed set, in series and in rules."""
    assert scrape.wrong(expression) == [problem]


@pytest.mark.parametrize(
    "expression",
    [
        'lost_total{reason!~"eof|line", job=~"recorder.*", source=~"$source"} > 5',
        "room / (-deriv(room[15m]) > 0) and on (job, instance) room < 4 * 3600",
        'sum by (source) (rate(lost_total{reason="eof"}[$__rate_interval])) unless source:lost:rate{source="okx"} == 0',
        'up{job="recorder"} == 0 or absent(up)',
    ],
)
def test_what_is_there_is_found(scrape: Scrape, expression: str) -> None:
    """Variables and patterns stand for anything."""
    assert scrape.wrong(expression) == []
