"""How the dashboards look: one function for each kind of panel, and where panels stand.

Owns units' and colours' habits, the form of an SQL query (the SDK has none) and the grid. Never decides what is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from grafana_foundation_sdk.builders import candlestick, common, dashboard, prometheus, stat, table, timeseries, trend
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as look
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

SQL_TYPE = "grafana-postgresql-datasource"
METRICS = DataSourceRef("prometheus", "prometheus")
TABLES = DataSourceRef(SQL_TYPE, "${database}")

# The same thing has the same colour everywhere.
GOOD, WORRY, BAD, CALM = "green", "orange", "red", "blue"
BOUGHT, SOLD = "#26a69a", "#ef5350"

Panel = Builder[model.Panel]
_NAMED = re.compile(r"^-- name: (\w+)\n(?:-- [^\n]*\n)+(.+?);$", re.MULTILINE | re.DOTALL)


# --- queries ---------------------------------------------------------------------------------------------------------


class SqlQuery(Dataquery):
    """A query of the PostgreSQL data source, whose model the SDK lacks. `format_val`: table or time_series."""

    ref_id: str
    raw_sql: str
    format_val: Literal["table", "time_series"]

    def __init__(
        self, ref_id: str = "A", raw_sql: str = "", format_val: Literal["table", "time_series"] = "table", **fixed: Any
    ) -> None:
        self.ref_id = ref_id
        self.raw_sql = raw_sql
        self.format_val = format_val
        if (fixed or _FIXED) != _FIXED:
            raise ValueError(f"an SQL query has {_FIXED}, not {fixed}")

    def to_json(self) -> dict[str, object]:
        """As Grafana stores it."""
        query = {"refId": self.ref_id, "format": self.format_val, "rawSql": self.raw_sql}
        return {"datasource": TABLES, **query, **_FIXED}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The other way round; refuses what it does not know."""
        rest = dict(data)
        if rest.pop("datasource") != {"type": TABLES.type_val, "uid": TABLES.uid}:
            raise ValueError(f"an SQL query goes to {TABLES.uid}")
        return cls(rest.pop("refId"), rest.pop("rawSql"), rest.pop("format"), **rest)


_FIXED = {"rawQuery": True, "editorMode": "code"}


@dataclass(frozen=True, slots=True)
class Sql(Builder[SqlQuery]):
    """Builds a query. Rows are shown as they are, or, `series`, by `time` and `metric`."""

    text: str
    series: bool = False

    def build(self) -> SqlQuery:
        """The query."""
        return SqlQuery(raw_sql=self.text, format_val="time_series" if self.series else "table")


def statements(name: str) -> dict[str, str]:
    """The statements of `queries/<name>.sql` by their names."""
    text = (Path(__file__).parent / "queries" / f"{name}.sql").read_text(encoding="utf-8")
    found = dict(_NAMED.findall(text))
    if len(found) != text.count("-- name: "):
        raise ValueError(f"{name}.sql: a statement lacks a description, a semicolon, or a name of its own")
    return found


def metric(expr: str, legend: str = "", ref: str = "A", *, now: bool = False) -> prometheus.Dataquery:
    """A PromQL query; `now`: its last value only."""
    query = prometheus.Dataquery().expr(expr).ref_id(ref).datasource(METRICS).editor_mode(QueryEditorMode.CODE)
    query = query.format(PromQueryFormat.TIME_SERIES).legend_format(legend or "__auto")
    return query.instant() if now else query.range()


# --- panels ----------------------------------------------------------------------------------------------------------


def steps(*at: tuple[float, str], base: str = GOOD) -> dashboard.ThresholdsConfig:
    """Colours from values on; `base` below the first."""
    found = [model.Threshold(None, base), *(model.Threshold(value, color) for value, color in at)]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(found)


def words(**named: tuple[str, str]) -> list[model.ValueMapping]:
    """Values as (text, colour); a name is the value after an underscore."""
    options = {value.removeprefix("_"): model.ValueMappingResult(text, color) for value, (text, color) in named.items()}
    return [model.ValueMap(options)]


def number(title: str, about: str, query: Builder[Any], unit: str, levels: dashboard.ThresholdsConfig) -> stat.Panel:
    """A value that is good or bad at a glance."""
    panel = stat.Panel().title(title).description(about).unit(unit).thresholds(levels).with_target(query)
    panel = panel.datasource(_source(query)).color_mode(look.BigValueColorMode.BACKGROUND_SOLID)
    panel = (
        panel.graph_mode(look.BigValueGraphMode.NONE)
        .span(3)
        .height(4)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    return panel.no_value("no data")


def lines(
    title: str, about: str, unit: str, *queries: Builder[Any], calcs: Sequence[str] = (), signed: bool = False
) -> timeseries.Panel:
    """Values over time, from 0 on unless `signed`. The legend is a table where it tells `calcs`, too."""
    panel = timeseries.Panel().title(title).description(about).unit(unit).datasource(_source(queries[0]))
    for query in queries:
        panel = panel.with_target(query)
    panel = (
        panel.span(12).height(8).line_width(1).fill_opacity(8).show_points(look.VisibilityMode.NEVER).span_nulls(False)
    )
    panel = panel.color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    panel = panel.legend(legend(calcs)) if signed else panel.legend(legend(calcs)).min(0)
    tooltip = common.VizTooltipOptions().mode(look.TooltipDisplayMode.MULTI).sort(look.SortOrder.DESCENDING)
    return panel.tooltip(tooltip)


def bars(title: str, about: str, unit: str, *queries: Builder[Any], width: str = "1m") -> timeseries.Panel:
    """Counts per interval, stacked; no interval is shorter than `width`."""
    panel = lines(title, about, unit, *queries, calcs=["sum"]).interval(width).draw_style(look.GraphDrawStyle.BARS)
    stacked = common.StackingConfig().mode(look.StackingMode.NORMAL).group("A")
    return panel.fill_opacity(70).line_width(0).stacking(stacked)


def rows(title: str, about: str, query: Builder[Any], **units: str) -> table.Panel:
    """A table; `units` of columns by their names."""
    panel = table.Panel().title(title).description(about).datasource(_source(query)).with_target(query)
    panel = (
        panel.span(12).height(9).show_header(True).filterable(True).cell_height(look.TableCellHeight.SM).no_value("–")
    )
    for name, unit in units.items():
        panel = panel.override_by_name(name, [model.DynamicConfigValue("unit", unit)])
    return panel


def candles(title: str, about: str, query: Builder[Any]) -> candlestick.Panel:
    """Candles with their volume."""
    panel = candlestick.Panel().title(title).description(about).datasource(_source(query)).with_target(query)
    fields = candlestick.CandlestickFieldMap().open("open").high("high").low("low").close("close").volume("volume")
    colors = candlestick.CandlestickColors().up(BOUGHT).down(SOLD).flat("gray")
    panel = panel.mode("candles+volume").candle_style("candles").color_strategy("open-close").fields(fields)  # type: ignore[arg-type]
    return panel.colors(colors).legend(legend()).unit("none").override_by_name("volume", unit_of("short"))


def curve(title: str, about: str, query: Builder[Any], x: str) -> trend.Panel:
    """Values over something else than time: `x`, ascending."""
    panel = trend.Panel().title(title).description(about).datasource(_source(query)).with_target(query).x_field(x)
    panel = (
        panel.span(12).height(8).legend(legend()).line_width(1).fill_opacity(20).show_points(look.VisibilityMode.NEVER)
    )
    return panel.unit("short").min(0).override_by_name(x, unit_of("none"))


def legend(calcs: Sequence[str] = ()) -> common.VizLegendOptions:
    """Names below; with numbers a table on the right, the largest first."""
    made = common.VizLegendOptions().show_legend(True).calcs(list(calcs))
    if not calcs:
        return made.display_mode(look.LegendDisplayMode.LIST).placement(look.LegendPlacement.BOTTOM)
    made = made.display_mode(look.LegendDisplayMode.TABLE).placement(look.LegendPlacement.RIGHT)
    return made.sort_by(_HEADINGS[calcs[0]]).sort_desc(True)


_HEADINGS = {"lastNotNull": "Last *", "sum": "Total", "max": "Max"}


def dashed() -> common.GraphThresholdsStyleConfig:
    """Thresholds as a dashed line."""
    return common.GraphThresholdsStyleConfig().mode(look.GraphThresholdsStyleMode.DASHED)


def unit_of(unit: str) -> list[model.DynamicConfigValue]:
    """A unit as what one field has of its own."""
    return [model.DynamicConfigValue("unit", unit)]


def color_of(color: str) -> list[model.DynamicConfigValue]:
    """A colour as what one field has of its own."""
    return [model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": color})]


def decimals_of(count: int) -> list[model.DynamicConfigValue]:
    """So many digits behind the point."""
    return [model.DynamicConfigValue("decimals", count)]


def levels_of(*at: tuple[float, str], base: str) -> list[model.DynamicConfigValue]:
    """Thresholds as what one field has of its own."""
    found = [{"value": None, "color": base}, *({"value": value, "color": color} for value, color in at)]
    return [model.DynamicConfigValue("thresholds", {"mode": "absolute", "steps": found})]


def colored_cells() -> list[model.DynamicConfigValue]:
    """Cells of a table on the colour of their value."""
    return [model.DynamicConfigValue("custom.cellOptions", {"type": "color-background", "mode": "basic"})]


def limit() -> list[model.DynamicConfigValue]:
    """A limit that others should stay away from: dashed, red, nothing below it."""
    style = {"fill": "dash", "dash": [8, 8]}
    return [
        *color_of(BAD),
        model.DynamicConfigValue("custom.lineStyle", style),
        model.DynamicConfigValue("custom.fillOpacity", 0),
    ]


def _source(query: Builder[Any]) -> DataSourceRef:
    return TABLES if isinstance(query, Sql) else METRICS


# --- the grid --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Section:
    """A row with a title and panels below it, each as wide and high as it says. `folded`: asked only when opened."""

    title: str
    panels: Sequence[Panel]
    folded: bool = False


def place(sections: Sequence[Section]) -> Iterator[model.Panel | model.RowPanel]:
    """All panels where they stand, from left to right and from top to bottom, numbered."""
    number, top = 0, 0
    for section in sections:
        number += 1
        row = dashboard.Row(section.title).id(number).collapsed(section.folded).build()
        row.grid_pos = model.GridPos(x=0, y=top, w=24, h=1)
        inside = [builder.build() for builder in section.panels]
        bottom = _flow(inside, top + 1)
        for panel in inside:
            number += 1
            panel.id_val = number
        row.panels = inside if section.folded else []
        yield row
        yield from () if section.folded else inside
        top = top + 1 if section.folded else bottom


def _flow(panels: Sequence[model.Panel], top: int) -> int:
    """Put panels side by side, line after line; where the next row begins."""
    x, y, height = 0, top, 0
    for panel in panels:
        size = panel.grid_pos or model.GridPos(w=12, h=8)
        if x + size.w > 24:
            x, y, height = 0, y + height, 0
        panel.grid_pos = model.GridPos(x=x, y=y, w=size.w, h=size.h)
        x, height = x + size.w, max(height, size.h)
    return y + height


# --- variables and annotations ---------------------------------------------------------------------------------------


def choose_database() -> dashboard.DatasourceVariable:
    """Which database is looked into: the real one, or the demo's."""
    chosen = model.VariableOption(True, "TimescaleDB", "timescaledb")
    found = dashboard.DatasourceVariable("database").label("Database").type(SQL_TYPE).regex("/^TimescaleDB/")
    return found.current(chosen).description("The recorder's database, or the one of simulated venues.")


def choose_job() -> dashboard.QueryVariable:
    """Which recorders' metrics are shown."""
    found = labels("job", "Recorder", "label_values(recorder_build_info, job)")
    return found.current(model.VariableOption(True, "recorder", "recorder"))


def labels(name: str, label: str, query: str) -> dashboard.QueryVariable:
    """A variable made of a metric's labels."""
    asked = {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"}
    return _asked(name, label).datasource(METRICS).query(dict(asked)).definition(query)


def column(name: str, label: str, query: str) -> dashboard.QueryVariable:
    """A variable made of a table's column."""
    return _asked(name, label).datasource(TABLES).query(query).definition(query)


def _asked(name: str, label: str) -> dashboard.QueryVariable:
    found = dashboard.QueryVariable(name).label(label).refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
    return found.sort(model.VariableSort.NATURAL_ASC).allow_custom_value(False)


def several(variable: dashboard.QueryVariable) -> dashboard.QueryVariable:
    """Let several values be chosen; all of them at first."""
    every = model.VariableOption(True, ["All"], ["$__all"])
    return variable.multi(True).include_all(True).current(every)


def marks(name: str, color: str, query: Builder[Any], *, shown: bool = True) -> dashboard.AnnotationQuery:
    """Events that are drawn over every panel."""
    found = dashboard.AnnotationQuery().name(name).icon_color(color).enable(shown).hide(False)
    built = found.datasource(_source(query))
    built._internal.target = query.build()  # its builder takes Grafana's own events only
    return built


def board(title: str, uid: str, about: str) -> dashboard.Dashboard:
    """What all of them have in common."""
    others = dashboard.DashboardLink("").type(model.DashboardLinkType.DASHBOARDS).tags(["recorder"]).as_dropdown(False)
    made = dashboard.Dashboard(title).uid(uid).description(about).tags(["recorder"]).timezone("browser").readonly()
    made = made.tooltip(model.DashboardCursorSync.CROSSHAIR)
    return made.link(others.title("Dashboards").keep_time(True).include_vars(False))
