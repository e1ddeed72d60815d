"""The dashboards as Grafana reads them: every query in them, and what Grafana makes of a query before it is sent.

Owns where queries stand in a dashboard's JSON and the meaning of macros and variables as Grafana documents them. Never
runs a query, and knows nothing of how the JSON was made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "deploy" / "grafana" / "dashboards"
BOARDS = ("recorder", "market", "quality")
SQL_TYPE, METRICS_TYPE = "grafana-postgresql-datasource", "prometheus"
SCRAPE = 15  # seconds; `timeInterval` of the provisioned data source

Values = Mapping[str, str | Sequence[str]]  # of variables; several where several may be chosen


def load(board: str) -> dict[str, Any]:
    """A dashboard."""
    found: dict[str, Any] = json.loads((FOLDER / f"{board}.json").read_text(encoding="utf-8"))
    return found


def panels(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All panels, rows among them, those inside a folded row too."""
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", ())


# --- what is asked ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Query:
    """One query: `place` is the panel's title and the query's letter, or the kind and the name of what asks it."""

    board: str
    place: str
    type: str
    text: str
    source: str  # the uid of the data source, as it is written
    series: bool = False  # SQL: by time and metric; PromQL: over the whole range
    width: int = 1  # the shortest interval in seconds
    variable: bool = False

    @property
    def name(self) -> str:
        """Tells it from all others."""
        return f"{self.board}: {self.place}"


def queries(name: str) -> list[Query]:
    """Everything that a dashboard asks: panels, variables, annotations."""
    board = load(name)
    found = [_target(name, panel, one) for panel in panels(board) for one in panel.get("targets", ())]
    for one in board["annotations"]["list"]:
        found.append(_target(name, {"title": f"annotation {one['name']}"}, one["target"] | {"refId": ""}))
    for one in board["templating"]["list"]:
        if one["type"] == "query":
            asked = one["query"]
            text = asked if isinstance(asked, str) else asked["query"]
            ref = one["datasource"]
            found.append(Query(name, f"variable {one['name']}", ref["type"], text, ref["uid"], variable=True))
    return found


def _target(board: str, panel: Mapping[str, Any], one: Mapping[str, Any]) -> Query:
    place, ref = f"{panel['title']} {one['refId']}".strip(), one["datasource"]
    width = _seconds(one.get("interval") or panel.get("interval") or "1s")
    if ref["type"] == SQL_TYPE:
        return Query(board, place, ref["type"], one["rawSql"], ref["uid"], one["format"] == "time_series", width)
    return Query(board, place, ref["type"], one["expr"], ref["uid"], bool(one.get("range")), width)


def _seconds(text: str) -> int:
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1]]


# --- what becomes of it ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Range:
    """What is shown, and the interval in seconds that the width of a panel gives."""

    start: datetime
    end: datetime
    interval: int = 60

    @property
    def seconds(self) -> int:
        """How long it is."""
        return round((self.end - self.start).total_seconds())


class Unknown(Exception):
    """Grafana would leave it as it is, and the server would not understand it."""


_VARIABLE = re.compile(r"\$\{(?P<name>[a-z]\w*)(?::(?P<format>\w+))?\}|\$(?P<plain>[a-z]\w*)")
_MACRO = re.compile(r"\$__(?P<name>\w+)\((?P<args>[^)]*)\)")


def sql(query: Query, shown: Range, values: Values, *, time_bucket: bool = True) -> str:
    """The statement that reaches the server: variables and intervals are put in by the browser, then macros by the
    data source. `time_bucket`: what its switch `timescaledb` says."""
    interval = max(query.width, shown.interval)
    text = _VARIABLE.sub(lambda m: _in_sql(m, values), query.text)
    text = re.sub(r"\$__interval\b(?!_ms)", f"{interval}s", text)
    text = _MACRO.sub(lambda m: _macro(m["name"], [a.strip() for a in m["args"].split(",")], shown, time_bucket), text)
    if left := re.search(r"\$(?:__|\{|[a-z])\w*", text):
        raise Unknown(f"{query.name}: {left[0]}")
    return text


def _in_sql(found: re.Match[str], values: Values) -> str:
    """`sqlstring` quotes every value, doubles quotes inside, and puts commas between several."""
    if found["format"] != "sqlstring":
        raise Unknown(f"{found[0]}: nothing else is safe")
    value = values[found["name"]]
    chosen = [value] if isinstance(value, str) else value
    return ",".join("'" + one.replace("'", "''") + "'" for one in chosen)


def _macro(name: str, args: list[str], shown: Range, time_bucket: bool) -> str:
    start, end = (f"'{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}'" for at in (shown.start, shown.end))
    match name, args:
        case "timeFrom", [""]:
            return start
        case "timeTo", [""]:
            return end
        case "timeFilter", [column] if column:
            return f"{column} BETWEEN {start} AND {end}"
        case (("timeGroup" | "timeGroupAlias"), [column, width]):
            seconds = _seconds(width.strip("'"))
            group = f"floor(extract(epoch from {column})/{seconds})*{seconds}"
            if time_bucket:
                group = f"time_bucket('{seconds}.000s',{column})"
            return group + (' AS "time"' if name == "timeGroupAlias" else "")
    raise Unknown(f"$__{name}({', '.join(args)})")


def promql(query: Query, shown: Range, values: Values) -> str:
    """The expression that reaches Prometheus."""
    step = max(query.width, shown.interval)
    spans = {"interval": step, "rate_interval": max(step + SCRAPE, 4 * SCRAPE), "range": shown.seconds}
    text = query.text
    for name, seconds in spans.items():
        text = re.sub(rf"\$__{name}\b", f"{seconds}s", text)
    text = _VARIABLE.sub(lambda m: _in_promql(m, values), text)
    if left := re.search(r"\$\w+", text):
        raise Unknown(f"{query.name}: {left[0]}")
    return text


def _in_promql(found: re.Match[str], values: Values) -> str:
    """Of a variable that may have several values, each is a pattern that means itself."""
    value = values[found["plain"] or found["name"]]
    if isinstance(value, str):
        return value.replace("\\", "\\\\").replace('"', '\\"')
    chosen = [re.sub(r"[\\^$*+?.()|\[\]{}]", r"\\\\\g<0>", one) for one in value]
    return chosen[0] if len(chosen) == 1 else f"({'|'.join(chosen)})"


def label_values(text: str) -> tuple[str, str]:
    """Selector and label of `label_values(selector, label)`."""
    found = re.fullmatch(r"label_values\((.+),\s*(\w+)\)", text)
    if found is None:
        raise Unknown(text)
    return found[1], found[2]
