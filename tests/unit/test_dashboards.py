"""The dashboards' JSON: it is what was built, it is what Grafana's schema allows, and it can be read."""

from __future__ import annotations

import enum
import json
import re
import types
import typing
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.cog.runtime import (
    DataqueryConfig,
    panelcfg_config,
    register_dataquery_variant,
)
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.build import built
from deploy.grafana.panels import SqlQuery
from tests import dashboards as d

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"
EVERY = pytest.mark.parametrize("name", d.BOARDS)
UNITS = {value for key, value in vars(units).items() if isinstance(value, str) and not key.startswith("__")}


# --- the schema ------------------------------------------------------------------------------------------------------


def wrong(board: dict[str, Any]) -> list[str]:
    """What Grafana's schema, as the types of its SDK have it, does not allow in a dashboard: keys that it does not
    know, values of another type, panels that do not exist."""
    register_default_plugins()
    register_dataquery_variant(DataqueryConfig(d.SQL_TYPE, SqlQuery.from_json))
    kinds = {p["type"] for p in d.panels(board)} - {"row"}
    found = [f"no such panel: {kind}" for kind in kinds if panelcfg_config(kind) is None]
    try:
        read = Dashboard.from_json(board)
        again = json.loads(json.dumps(read, cls=JSONEncoder))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return [*found, f"cannot be read: {error!r}"]
    return [*found, *_lost(board, again, ""), *_mistyped(read, Dashboard, "")]


def _lost(there: Any, back: Any, at: str) -> Iterator[str]:
    """What did not come back from the types: they do not know it."""
    if isinstance(there, dict) and isinstance(back, dict):
        for key, value in there.items():
            if key in back:
                yield from _lost(value, back[key], f"{at}.{key}")
            else:
                yield f"{at}.{key}: unknown"
    elif isinstance(there, list) and isinstance(back, list) and len(there) == len(back):
        for n, (one, other) in enumerate(zip(there, back, strict=True)):
            yield from _lost(one, other, f"{at}[{n}]")
    elif there != back:
        yield f"{at}: {there!r} is read as {back!r}"


def _mistyped(value: Any, hint: Any, at: str) -> Iterator[str]:
    """Values that are not of the type that the schema gives their place."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        found = [list(_mistyped(value, each, at)) for each in args]
        yield from max(found, key=len) if all(found) else ()
    elif origin is list:
        yield from [f"{at}: {value!r}"] if not isinstance(value, list) else ()
        for n, one in enumerate(value if isinstance(value, list) else ()):
            yield from _mistyped(one, args[0], f"{at}[{n}]")
    elif origin is dict:
        yield from [f"{at}: {value!r}"] if not isinstance(value, dict) else ()
        for key, one in (value if isinstance(value, dict) else {}).items():
            yield from _mistyped(one, args[1], f"{at}.{key}")
    elif origin is typing.Literal:
        yield from [f"{at}: {value!r}"] if value not in args else ()
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        yield from [f"{at}: {value!r}"] if value not in [member.value for member in hint] else ()
    elif hint in (typing.Any, object, None, type(None), str, int, float, bool):
        yield from _plain(value, hint, at)
    elif not (isinstance(hint, type) and isinstance(value, hint)):
        yield f"{at}: {value!r}"
    else:
        yield from _fields(value, at)


def _plain(value: Any, hint: Any, at: str) -> Iterator[str]:
    if hint in (typing.Any, object):
        yield from _fields(value, at) if hasattr(value, "to_json") else ()
        return
    allowed: Any = {None: type(None), float: (int, float)}.get(hint, hint)
    if not isinstance(value, allowed) or (isinstance(value, bool) and hint is not bool):
        yield f"{at}: {value!r}"


def _fields(value: Any, at: str) -> Iterator[str]:
    for name, hint in typing.get_type_hints(type(value)).items():
        yield from _mistyped(getattr(value, name), hint, f"{at}.{name}")


@EVERY
def test_the_schema_allows_it(name: str) -> None:
    """Every key and every value is one that Grafana's published schema has."""
    assert wrong(d.load(name)) == []


def _at(board: Any, path: str) -> tuple[Any, Any]:
    """The thing that holds what a path names, and its last step; steps of numbers are places in lists."""
    *steps, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    for step in steps:
        board = board[step]
    return board, last


# In the dashboard Market: panel 1 is the candles, 4 the book, 5 the spread.
MISTAKES = {
    "a key that does not exist": ("panels/5/titel", "Spread"),
    "an option that the panel does not have": ("panels/5/options/legends", {}),
    "a field setting that the panel does not have": ("panels/5/fieldConfig/defaults/custom/lineWidht", 1),
    "text where a number belongs": ("panels/5/gridPos/w", "12"),
    "a number where text belongs": ("panels/5/title", 5),
    "a value that is none of those allowed": ("panels/5/options/legend/placement", "left"),
    "a threshold without a colour": ("panels/5/fieldConfig/defaults/thresholds", {"mode": "x", "steps": []}),
    "a panel that does not exist": ("panels/5/type", "timeserie"),
    "an unknown field of a query": ("panels/5/targets/0/rawSQL", "select 1"),
    "a query that goes elsewhere": ("panels/5/targets/0/datasource/uid", "timescaledb"),
    "a format that does not exist": ("panels/5/targets/0/format", "timeseries"),
    "a variable of a kind that does not exist": ("templating/list/1/type", "sql"),
    "a refresh that is no number": ("templating/list/1/refresh", "2"),
    "annotations that are no list": ("annotations/list", {}),
    "panels that are no list": ("panels", {}),
}


@pytest.mark.parametrize(("path", "value"), MISTAKES.values(), ids=MISTAKES)
def test_the_schema_finds(path: str, value: object) -> None:
    """The check above can fail: each of these mistakes is found."""
    board = deepcopy(d.load("market"))
    holder, last = _at(board, path)
    holder[last] = value
    assert wrong(board)


@EVERY
def test_what_fields_have_of_their_own_exists(name: str) -> None:
    """The schema does not look into overrides: their properties are those of the fields of that panel."""
    register_default_plugins()
    general = {"unit", "color", "decimals", "thresholds"}
    for panel in d.panels(d.load(name)):
        for one in panel.get("fieldConfig", {}).get("overrides", ()):
            assert one["matcher"]["id"] == "byName", panel["title"]
            for prop in one["properties"]:
                if prop["id"] in general:
                    continue
                own = prop["id"].removeprefix("custom.")
                config = panelcfg_config(panel["type"])
                assert config is not None and config.field_config_from_json_hook is not None
                read = json.loads(json.dumps(config.field_config_from_json_hook({own: prop["value"]}), cls=JSONEncoder))
                assert own in read, f"{panel['title']}: {prop['id']}"


# --- what was built --------------------------------------------------------------------------------------------------


@EVERY
def test_the_files_are_what_was_built(name: str) -> None:
    """Nobody has changed the JSON by hand, or the source without `make dashboards`."""
    assert (d.FOLDER / f"{name}.json").read_text(encoding="utf-8") == built()[f"{name}.json"]


def test_there_are_three() -> None:
    """Grafana reads the whole folder: nothing else lies there."""
    assert sorted(path.name for path in d.FOLDER.iterdir()) == sorted(built())


# --- taste -----------------------------------------------------------------------------------------------------------


@EVERY
def test_panels_do_not_overlap(name: str) -> None:
    """Every cell of the grid belongs to one panel at most, no panel leaves it, and no row has a hole in it."""
    board = d.load(name)
    groups = [board["panels"], *(panel["panels"] for panel in board["panels"] if panel.get("panels"))]
    for group in groups:
        taken: dict[tuple[int, int], str] = {}
        for panel in group:
            pos = panel["gridPos"]
            assert pos["x"] + pos["w"] <= 24, panel["title"]
            for cell in (
                (x, y) for x in range(pos["x"], pos["x"] + pos["w"]) for y in range(pos["y"], pos["y"] + pos["h"])
            ):
                assert cell not in taken, f"{panel['title']} lies on {taken[cell]}"
                taken[cell] = panel["title"]
        lowest = min(y for _, y in taken)
        assert len(taken) == 24 * (max(y for _, y in taken) + 1 - lowest), "the grid has holes"


@EVERY
def test_everything_has_a_name_and_a_reason(name: str) -> None:
    """Titles and numbers tell panels apart; every panel says what it shows, in a sentence."""
    board = d.load(name)
    every = list(d.panels(board))
    assert len({panel["id"] for panel in every}) == len(every)
    shown = [panel for panel in every if panel["type"] != "row"]
    assert len({panel["title"] for panel in shown}) == len(shown)
    for panel in shown:
        assert re.fullmatch(r".{10,240}\.", panel["description"]), panel["title"]
    assert {one["name"] for one in board["annotations"]["list"]} == {"Gaps", "Reconnects"}


@EVERY
def test_units_exist(name: str) -> None:
    """Every number has a unit, and it is one that Grafana knows, or a word to stand behind it."""
    for panel in d.panels(d.load(name)):
        if panel["type"] == "row":
            continue
        field = panel["fieldConfig"]
        given = [field["defaults"]["unit"]] if panel["type"] != "table" else []
        given += [p["value"] for one in field["overrides"] for p in one["properties"] if p["id"] == "unit"]
        assert given, panel["title"]
        assert {unit for unit in given if not unit.startswith("suffix: ")} <= UNITS, panel["title"]


@EVERY
def test_variables_are_there_and_used(name: str) -> None:
    """Nothing asks for a variable that the dashboard does not have, and none is there for nothing."""
    board = d.load(name)
    given = {one["name"] for one in board["templating"]["list"]}
    text = json.dumps(
        [board["panels"], board["annotations"], [one.get("query") for one in board["templating"]["list"]]]
    )
    text += json.dumps([one.get("datasource") for one in board["templating"]["list"]])
    used = {a or b for a, b in re.findall(r"\$\{([a-z]\w*)(?::\w+)?\}|\$([a-z]\w*)", text)}
    assert used == given


@EVERY
def test_sql_takes_variables_only_as_quoted_text(name: str) -> None:
    """A symbol is a venue's string: in a statement it stands quoted, and macros have no brackets inside, which Grafana
    would not read to the end."""
    for query in d.queries(name):
        if query.type == d.SQL_TYPE:
            shown = d.Range(datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC))
            values: d.Values = dict.fromkeys(("source", "symbol", "candle"), "'); drop table trades; --")
            assert "'); drop" not in d.sql(query, shown, values).replace("'''); drop", ""), query.name


# --- what is provisioned ---------------------------------------------------------------------------------------------


def provisioned(kind: str) -> dict[str, Any]:
    """A provisioning file."""
    found: dict[str, Any] = yaml.safe_load((GRAFANA / "provisioning" / kind / "recorder.yaml").read_text())
    return found


def test_data_sources_are_those_of_the_dashboards() -> None:
    """Dashboards name uids; each is provisioned, under a name that the variable's pattern finds."""
    sources = {one["uid"]: one for one in provisioned("datasources")["datasources"]}
    assert {uid: one["type"] for uid, one in sources.items()} == {
        "prometheus": d.METRICS_TYPE,
        "timescaledb": d.SQL_TYPE,
        "timescaledb-demo": d.SQL_TYPE,
    }
    uids = {query.source for name in d.BOARDS for query in d.queries(name)}
    assert uids == {"prometheus", "${database}"}
    for name in d.BOARDS:
        (chosen,) = (one for one in d.load(name)["templating"]["list"] if one["type"] == "datasource")
        pattern = re.compile(chosen["regex"].strip("/"))
        assert {uid for uid, one in sources.items() if pattern.search(one["name"])} == {
            "timescaledb",
            "timescaledb-demo",
        }
        assert chosen["current"]["value"] == "timescaledb"
    assert [one["jsonData"]["database"] for one in sources.values() if one["type"] == d.SQL_TYPE] == ["market", "demo"]
    assert sources["prometheus"]["jsonData"]["timeInterval"] == f"{d.SCRAPE}s"


def test_no_password_stands_in_the_files() -> None:
    """Users and passwords come from the environment or from a file that only the container has."""
    for one in provisioned("datasources")["datasources"]:
        for value in (*one.get("secureJsonData", {}).values(), *([one["user"]] if "user" in one else ())):
            assert re.fullmatch(r"(\$__(?:env|file)\{[\w/]+\})+", value)


def test_dashboards_are_read_from_their_folder() -> None:
    """The provider looks where the folder is mounted, and nobody's change in the browser is lost at the next start
    without a word: it cannot be saved there."""
    (provider,) = provisioned("dashboards")["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
    assert provider["allowUiUpdates"] is False


# --- what Grafana makes of a query -----------------------------------------------------------------------------------

SHOWN = d.Range(datetime(2026, 3, 2, 10, tzinfo=UTC), datetime(2026, 3, 2, 11, tzinfo=UTC))


def _sql(text: str, values: d.Values | None = None, **more: Any) -> str:
    return d.sql(d.Query("b", "p", d.SQL_TYPE, text, "u", width=more.pop("width", 1)), SHOWN, values or {}, **more)


def test_macros_mean_what_grafana_documents() -> None:
    """The documented form of every macro that the dashboards use."""
    assert _sql("$__timeFilter(t.time)") == "t.time BETWEEN '2026-03-02T10:00:00Z' AND '2026-03-02T11:00:00Z'"
    assert _sql("$__timeFrom()::x, $__timeTo()") == "'2026-03-02T10:00:00Z'::x, '2026-03-02T11:00:00Z'"
    assert _sql("$__timeGroupAlias(a, $__interval)") == "time_bucket('60.000s',a) AS \"time\""
    assert _sql("$__timeGroup(a,5m)", time_bucket=False) == "floor(extract(epoch from a)/300)*300"
    assert _sql("$__timeGroup(a, $__interval)", width=86400) == "time_bucket('86400.000s',a)"


@pytest.mark.parametrize(
    "text", ["$__timeRange(a)", "$symbol", "${symbol}", "${symbol:raw}", "$__timeFilter()", "$__x"]
)
def test_what_grafana_would_not_know_is_an_error(text: str) -> None:
    """A macro with a typing error, or a variable that is not quoted, is no statement."""
    with pytest.raises(d.Unknown):
        _sql(text, {"symbol": "a"})


def test_values_are_quoted() -> None:
    """One value, several, and one that holds a quote."""
    assert _sql("${x:sqlstring}", {"x": "it's"}) == "'it''s'"
    assert _sql("(${x:sqlstring})", {"x": ["a", "b'"]}) == "('a','b''')"


def test_promql_gets_intervals_and_patterns() -> None:
    """A rate looks at four scrapes at least; several values are a pattern of themselves."""
    query = d.Query("b", "p", d.METRICS_TYPE, 'a{j="$j",s=~"$s"}[$__rate_interval] [$__interval] [$__range]', "u")
    made = d.promql(query, SHOWN, {"j": "x", "s": ["a.b", "c"]})
    assert made == r'a{j="x",s=~"(a\\.b|c)"}[75s] [60s] [3600s]'
    assert d.label_values('label_values(up{job="x"}, job)') == ('up{job="x"}', "job")
