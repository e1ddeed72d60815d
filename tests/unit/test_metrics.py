"""Metrics: series exist from the start, labels stay closed, gauges are right at the moment of the scrape."""

import re
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from recorder.config import Config, Source, Subscribe
from recorder.observe.metrics import GAP_CAUSES, GAUGES, RECONNECT_REASONS, Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics({"alpha": ["trades", "books"], "beta": ["trades"]}, {"alpha": ["60012"]})


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def series(metrics: Metrics, name: str) -> list[dict[str, str]]:
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    return [s.labels for f in families for s in f.samples if s.name == name]


def test_every_counter_exists_at_zero(metrics: Metrics) -> None:
    """A rate over a counter that appears only with its first event misses that event."""
    assert value(metrics, "recorder_messages_received_total", source="alpha", channel="books") == 0
    assert value(metrics, "recorder_shed_messages_total", source="beta", channel="trades") == 0
    assert value(metrics, "recorder_venue_errors_total", source="alpha", code="60012") == 0
    assert value(metrics, "recorder_queue_overflows_total", source="beta") == 0
    assert value(metrics, "recorder_rows_committed_total", table="candles") == 0
    assert value(metrics, "recorder_schema_drift_total", source="alpha", channel="other") == 0
    for source in ("alpha", "beta"):
        for reason in RECONNECT_REASONS:
            assert value(metrics, "recorder_reconnects_total", source=source, reason=reason) == 0
        for cause in GAP_CAUSES:
            assert value(metrics, "recorder_gaps_total", source=source, cause=cause) == 0


def test_children_are_bound(metrics: Metrics) -> None:
    """The hot path gets the same child every time and counts in it."""
    child = metrics.messages_received("alpha", "trades")
    child.inc(7)
    assert metrics.messages_received("alpha", "trades") is child
    assert value(metrics, "recorder_messages_received_total", source="alpha", channel="trades") == 7


def test_labels_are_closed(metrics: Metrics) -> None:
    """A venue that invents channels or codes cannot make series grow."""
    for n in range(100):
        metrics.messages_received("alpha", f"channel-{n}\n").inc()
        metrics.venue_errors("alpha", str(n)).inc()
        metrics.messages_received(f"nobody-{n}", "trades").inc()
    assert value(metrics, "recorder_messages_received_total", source="alpha", channel="other") == 100
    assert value(metrics, "recorder_venue_errors_total", source="alpha", code="other") == 100
    assert value(metrics, "recorder_messages_received_total", source="other", channel="other") == 100
    assert len(series(metrics, "recorder_messages_received_total")) == 5


def test_a_source_can_join(metrics: Metrics) -> None:
    """A source that left the configuration but still has frames in the spool keeps its name."""
    metrics.add_source("gone", ["trades"])
    metrics.duplicates("gone", "trades").inc()
    assert value(metrics, "recorder_duplicates_total", source="gone", channel="trades") == 1
    assert value(metrics, "recorder_gaps_total", source="gone", cause="sequence") == 0


def test_gauges_are_read_at_the_scrape(metrics: Metrics) -> None:
    """A gauge shows what is true now, not what a thread found time to say."""
    lag = {("alpha",): 1.5}
    metrics.watch("recorder_lag_seconds", lambda: lag)
    assert value(metrics, "recorder_lag_seconds", source="alpha") == 1.5
    lag[("alpha",)] = 60.0
    assert value(metrics, "recorder_lag_seconds", source="alpha") == 60


def test_absent_is_not_zero(metrics: Metrics) -> None:
    """What never happened has no age: the series is left out."""
    metrics.watch("recorder_committed_age_seconds", lambda: None)
    metrics.watch("recorder_last_message_age_seconds", lambda: {("alpha", "trades"): None, ("alpha", "books"): 0.0})
    assert value(metrics, "recorder_committed_age_seconds") is None
    assert series(metrics, "recorder_last_message_age_seconds") == [{"source": "alpha", "channel": "books"}]


def test_a_gauge_that_fails_costs_only_itself(metrics: Metrics) -> None:
    """A reading that raises, or lies about its labels, is counted; everything else is still served."""

    def broken() -> float:
        raise OSError("the disk is gone")

    metrics.watch("recorder_disk_free_bytes", broken)
    metrics.watch("recorder_lag_seconds", lambda: {("alpha", "one too many"): 1.0})
    metrics.watch("recorder_queue_bytes", lambda: 5)
    generate_latest(metrics.registry)
    assert value(metrics, "recorder_queue_bytes") == 5
    assert value(metrics, "recorder_disk_free_bytes") is None
    assert value(metrics, "recorder_lag_seconds", source="alpha") is None
    assert value(metrics, "recorder_scrape_errors_total", metric="recorder_disk_free_bytes") >= 1  # type: ignore[operator]
    assert value(metrics, "recorder_scrape_errors_total", metric="recorder_lag_seconds") >= 1  # type: ignore[operator]


def test_several_may_answer_for_a_gauge(metrics: Metrics) -> None:
    """Every feed speaks for its own series."""
    metrics.watch("recorder_connected", lambda: {("alpha", "alpha/public/0"): 1})
    metrics.watch("recorder_connected", lambda: {("beta", "beta/public/0"): 0})
    assert len(series(metrics, "recorder_connected")) == 2


def test_unknown_gauge_is_a_mistake_of_ours(metrics: Metrics) -> None:
    """A name that is not declared is refused when it is connected, not at the scrape."""
    with pytest.raises(KeyError):
        metrics.watch("recorder_speed", lambda: 1)


def test_from_config() -> None:
    """Series follow the configuration: its sources and their channels; a source declared again keeps its counts,
    and has those of its new channels at 0."""
    source = Source(
        name="mine", venue="nowhere", endpoints=(), rest="", subscribe=(Subscribe(channels=("trades", "books")),)
    )
    metrics = Metrics.from_config(Config(sources=(source,)))
    assert value(metrics, "recorder_schema_drift_total", source="mine", channel="books") == 0
    metrics.schema_drift("mine", "books").inc()
    more = (Subscribe(channels=("books", "tickers")),)
    metrics.declare(replace(source, subscribe=more))
    assert value(metrics, "recorder_schema_drift_total", source="mine", channel="books") == 1
    assert value(metrics, "recorder_schema_drift_total", source="mine", channel="tickers") == 0


def test_two_recorders_in_one_process() -> None:
    """Each has a registry of its own: tests and the bench run several side by side."""
    first, second = Metrics({"a": ["t"]}), Metrics({"a": ["t"]})
    first.received_bytes("a").inc(10)
    assert value(second, "recorder_received_bytes_total", source="a") == 0


def test_no_created_series(metrics: Metrics) -> None:
    """`_created` series would double every scrape and say nothing new."""
    assert b"_created" not in generate_latest(metrics.registry)


def test_names_are_prometheus_names(metrics: Metrics) -> None:
    """Every family is ours, with a help text, or one of the process's own."""
    for family in metrics.registry.collect():
        assert re.fullmatch(r"(recorder|process)_[a-z_]+", family.name)
        assert family.documentation
    assert len(GAUGES) == len({help_ for help_, _ in GAUGES.values()})


def test_house_every_metric_is_declared_here() -> None:
    """No other module of the recorder makes a metric."""
    package = Path(__file__).parents[2] / "recorder"
    for path in package.rglob("*.py"):
        if path.name != "metrics.py":
            assert not re.search(r"\b(Counter|Gauge|Histogram)\(\s*[\"']recorder_", path.read_text()), path
