"""The dashboard *Data quality*: what is missing, since when, and why.

Owns what is shown of it; the statements stand in `queries/quality.sql`.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard, stat
from grafana_foundation_sdk.models import common as look
from grafana_foundation_sdk.models import dashboard as model

from deploy.grafana import panels as p
from deploy.grafana.panels import Section, Sql, metric

ASKED = p.statements("quality")
BY = '{job="$job", source=~"$source"}'


def verdict() -> Section:
    """All of it in two lines of numbers."""
    holes = (
        "Holes that touch the range and were not refilled: how many still go on, how many there are, the time inside "
    )
    holes += "them summed over streams, and the messages that ids prove missing (unknown ones count as none)."
    served = "Streams that are asked for and do not come, as it is now, and frames of the range that no row came of."
    first = numbers("Holes", holes, Sql(ASKED["verdict"]), p.steps((1, p.WORRY)))
    open_ones = p.levels_of((1, p.BAD), base=p.GOOD)
    first = first.override_by_name("time in gaps", p.unit_of("s")).override_by_name("still open", open_ones)
    return Section(
        "What is missing?", [first, numbers("Not served", served, Sql(ASKED["served"]), p.steps((1, p.BAD)))]
    )


def numbers(title: str, about: str, query: Sql, levels: dashboard.ThresholdsConfig) -> stat.Panel:
    """Several values of one row side by side."""
    panel = p.number(title, about, query, "short", levels).span(12).height(5)
    return panel.orientation(look.VizOrientation.VERTICAL).text_mode(look.BigValueTextMode.VALUE_AND_NAME)


def coverage() -> Section:
    """Which streams, which days, which holes."""
    share = (
        "Share of the range, since the stream's first record, that lies outside holes; holes that overlap count once. "
    )
    share += "Worst first."
    days = "Seconds inside holes by UTC day and cause, summed over streams."
    every = (
        "Every hole that touches the range, newest first. No end: it still goes on. Missing is empty where the venue "
    )
    every += "numbers nothing."
    worst = p.rows("Coverage", share, Sql(ASKED["coverage"]), coverage="percentunit", seconds="s", missing="short")
    cells = [*p.levels_of((0.999, p.WORRY), (1, p.GOOD), base=p.BAD), *p.colored_cells(), *p.decimals_of(3)]
    daily = p.bars("Time in gaps per day", days, "s", Sql(ASKED["seconds_per_day"], series=True), width="1d")
    found = p.rows("Gaps", every, Sql(ASKED["gaps"]), seconds="s", from_time="dateTimeAsIso", to_time="dateTimeAsIso")
    began = p.bars("Gaps by cause", "How many holes began.", "short", Sql(ASKED["causes"], series=True))
    return Section(
        "Coverage",
        [
            worst.override_by_name("coverage", cells).height(11),
            daily.height(11),
            found.span(16).height(11),
            began.span(8).height(11),
        ],
    )


def streams() -> Section:
    """What is asked for, and how fresh it is."""
    why = "Silent: accepted, but nothing ever came. Rejected: the venue refused it. Pending: no answer yet."
    age = "Age of the last trade, quote or ticker of every stream, as it is now; the stalest first."
    ages = "By source and channel; the last value is the age at the end of the range."
    twice = "Records left out because the stream holds them already: venues send the last ones again."
    heard = metric(f"max by (source, channel) (recorder_last_message_age_seconds{BY})", "{{source}} {{channel}}")
    again = metric(f"sum by (source, channel) (increase(recorder_duplicates_total{BY}[$__interval])) > 0")
    return Section(
        "Streams",
        [
            p.rows("Streams not served", why, Sql(ASKED["unserved"]), from_time="dateTimeFromNow"),
            p.rows("Freshness", age, Sql(ASKED["fresh"]), age="s", time="dateTimeAsIso"),
            p.lines("Age of the last message", ages, "s", heard, calcs=["lastNotNull"]),
            p.bars("Duplicates left out", twice, "short", again.legend_format("{{source}} {{channel}}")),
        ],
    )


def venues() -> Section:
    """What happened on the line."""
    stood = "Every connection that stood in the range, with the reason and the code of its end."
    planned = "How many connections ended; handover, line, config and shutdown are planned."
    said = "Errors, notices and statuses of the venues, and what the recorder did about them."
    times = {"opened_at": "dateTimeAsIso", "closed_at": "dateTimeAsIso", "seconds": "s", "rtt_ms": "ms"}
    lasted = p.rows("Connections", stood, Sql(ASKED["connections"]), frames="short", **times)
    ended = p.bars("Connections ended", planned, "short", Sql(ASKED["endings"], series=True))
    events = p.rows("Venue events", said, Sql(ASKED["events"]), time="dateTimeAsIso")
    return Section("Connections and venues", [lasted.span(16), ended.span(8).height(9), events.span(24)])


def doubt() -> Section:
    """What was received and is not to be trusted."""
    aside = "Frames that could not be stored as rows, and how they begin. `recorder spool` shows the whole."
    broken = "Rows of books whose chain was broken, in the last hour of the range; a new snapshot ends it."
    kinds = "Messages with fields or kinds that are not known."
    frames = p.rows("Quarantine", aside, Sql(ASKED["quarantine"]), bytes="bytes", received_at="dateTimeAsIso")
    suspect = p.bars("Suspect book rows", broken, "short", Sql(ASKED["suspect"], series=True))
    drift = metric(f"sum by (source, channel) (increase(recorder_schema_drift_total{BY}[$__interval])) > 0")
    unknown = p.bars("Schema drift", kinds, "short", drift.legend_format("{{source}} {{channel}}"))
    return Section("Doubtful", [frames.span(24), suspect, unknown], folded=True)


def build() -> model.Dashboard:
    """The dashboard."""
    made = p.board("Data quality", "quality", "What is missing of what was asked for, since when, and why.")
    made = made.time("now-24h", "now").refresh("1m").with_variable(p.choose_database())
    made = made.with_variable(p.several(p.column("source", "Source", ASKED["sources"])))
    made = made.with_variable(p.several(p.column("symbol", "Symbol", ASKED["symbols"])))
    made = made.with_variable(p.choose_job())
    made = made.annotation(p.marks("Gaps", p.BAD, Sql(ASKED["gaps_marked"]), shown=False))
    made = made.annotation(p.marks("Reconnects", p.WORRY, Sql(ASKED["reconnects_marked"])))
    board = made.build()
    board.panels = list(p.place((verdict(), coverage(), streams(), venues(), doubt())))
    return board
