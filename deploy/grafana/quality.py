"""The dashboard *Data quality*: what is missing, since when, and why.

Owns what is shown of it; the statements stand in `queries/quality.sql`.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import stat, table
from grafana_foundation_sdk.models import common as look
from grafana_foundation_sdk.models import dashboard as model

from deploy.grafana import panels as p
from deploy.grafana.panels import Section, Sql, metric

ASKED = p.statements("quality")
BY = '{job="$job", source=~"$source"}'


def verdict() -> Section:
    """All of it in two lines of numbers."""
    holes = "Holes that touch the range and were not refilled: how many, those that still go on, the time inside them "
    holes += "summed over streams, and the messages that ids prove missing (unknown ones count as none)."
    served = (
        "Streams that are asked for and do not come, as it is now, and frames of the range that could not be decoded."
    )
    worry, bad = p.steps((1, p.WORRY)), p.steps((1, p.BAD))
    first = numbers("Holes", holes, Sql(ASKED["verdict"]), worry)
    first = first.override_by_name("time in gaps", p.unit_of("s")).override_by_name("still open", _levels(p.BAD))
    return Section(
        "What is missing?", [(12, 5, first), (12, 5, numbers("Not served", served, Sql(ASKED["served"]), bad))]
    )


def numbers(title: str, about: str, query: Sql, levels: object) -> stat.Panel:
    """Several values of one row side by side."""
    panel = p.number(title, about, query, "short", levels)  # type: ignore[arg-type]
    return panel.orientation(look.VizOrientation.VERTICAL).text_mode(look.BigValueTextMode.VALUE_AND_NAME)


def _levels(color: str) -> list[model.DynamicConfigValue]:
    found = [{"value": None, "color": p.GOOD}, {"value": 1, "color": color}]
    return [model.DynamicConfigValue("thresholds", {"mode": "absolute", "steps": found})]


def coverage() -> Section:
    """Which streams, which days."""
    share = (
        "Share of the range since the stream's first record that lies outside holes; holes that overlap count once. "
    )
    share += "Worst first."
    days = "Seconds inside holes by UTC day and cause, summed over streams."
    causes = "How many holes began, by cause."
    worst = p.rows("Coverage", share, Sql(ASKED["coverage"]), coverage="percentunit", seconds="s", missing="short")
    daily = p.bars("Time in gaps per day", days, "s", Sql(ASKED["seconds_per_day"], series=True), width="1d")
    return Section(
        "Coverage",
        [
            (
                12,
                11,
                colored(worst, "coverage", (0.999, p.WORRY), (1, p.GOOD), base=p.BAD).override_by_name(
                    "coverage", [model.DynamicConfigValue("decimals", 3)]
                ),
            ),
            (12, 11, daily),
            (16, 11, gaps()),
            (8, 11, p.bars("Gaps by cause", causes, "short", Sql(ASKED["causes"], series=True))),
        ],
    )


def gaps() -> table.Panel:
    """Every hole."""
    about = (
        "Every hole that touches the range, newest first. No end: it still goes on. Missing is empty where the venue "
    )
    about += "numbers nothing."
    found = p.rows("Gaps", about, Sql(ASKED["gaps"]), seconds="s", missing="short", from_time="dateTimeAsIso")
    return found.override_by_name("to_time", p.unit_of("dateTimeAsIso"))


def colored(panel: table.Panel, name: str, *at: tuple[float, str], base: str) -> table.Panel:
    """Cells of a column on the colour of their value."""
    found = [{"value": None, "color": base}, *({"value": value, "color": color} for value, color in at)]
    cell = {"type": "color-background", "mode": "basic"}
    how = {"thresholds": {"mode": "absolute", "steps": found}, "custom.cellOptions": cell}
    return panel.override_by_name(name, [model.DynamicConfigValue(key, value) for key, value in how.items()])


def streams() -> Section:
    """What is asked for, and how fresh it is."""
    why = "Silent: accepted, but nothing ever came. Rejected: the venue refused it. Pending: no answer yet."
    age = "Age of the last trade, quote or ticker of every stream, as it is now; the stalest first."
    ages = "Age of the last message by source and channel."
    twice = "Records that were left out because the stream holds them already: venues send the last ones again."
    heard = metric(f"max by (source, channel) (recorder_last_message_age_seconds{BY})", "{{source}} {{channel}}")
    again = metric(f"sum by (source, channel) (increase(recorder_duplicates_total{BY}[$__interval])) > 0")
    again = again.legend_format("{{source}} {{channel}}")
    unserved = p.rows("Not served", why, Sql(ASKED["unserved"]), from_time="dateTimeFromNow")
    return Section(
        "Streams",
        [
            (12, 9, unserved),
            (12, 9, p.rows("Freshness", age, Sql(ASKED["fresh"]), age="s", time="dateTimeAsIso")),
            (12, 8, p.lines("Age of the last message", ages, "s", heard)),
            (12, 8, p.bars("Duplicates left out", twice, "short", again)),
        ],
    )


def venues() -> Section:
    """What happened on the line."""
    stood = "Every connection that stood in the range, with the reason and the code of its end."
    ended = "How many connections ended; handover, line, config and shutdown are planned."
    said = "Errors, notices and statuses of the venues, and what the recorder did about them."
    lasted = p.rows("Connections", stood, Sql(ASKED["connections"]), seconds="s", frames="short", rtt_ms="ms")
    events = p.rows("Venue events", said, Sql(ASKED["events"]), time="dateTimeAsIso")
    return Section(
        "Connections and venues",
        [
            (16, 9, lasted),
            (8, 9, p.bars("Connections ended", ended, "short", Sql(ASKED["endings"], series=True))),
            (24, 9, events),
        ],
    )


def doubt() -> Section:
    """What was received and is not to be trusted."""
    aside = "Frames that could not be stored as rows, and how they begin. `recorder spool` shows the whole."
    broken = "Rows of books whose chain was broken, in the last hour of the range; a new snapshot ends it."
    frames = p.rows("Quarantine", aside, Sql(ASKED["quarantine"]), bytes="bytes", received_at="dateTimeAsIso")
    suspect = p.bars("Suspect book rows", broken, "short", Sql(ASKED["suspect"], series=True))
    kinds = "Messages with fields or kinds that are not known; they are stored all the same."
    drift = metric(f"sum by (source, channel) (increase(recorder_schema_drift_total{BY}[$__interval])) > 0")
    return Section(
        "Doubtful",
        [
            (24, 9, frames),
            (12, 8, suspect),
            (12, 8, p.bars("Schema drift", kinds, "short", drift.legend_format("{{source}} {{channel}}"))),
        ],
        folded=True,
    )


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
