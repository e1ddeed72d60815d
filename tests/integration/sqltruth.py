"""What every SQL query of the dashboards has to answer, worked out in plain Python from the rows that are known.

Owns the truth by the query's name. Knows no SQL: what it says of a panel is what the panel's description says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.dashboards import Range, Values
from tests.integration.knownhour import Row, Tables

UNPLANNED = ("close", "heartbeat", "recorder_down", "eof")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)

Answer = list[tuple[Any, ...]]


class Now:
    """A time or an age that depends on when one asks: right within ten minutes."""

    def __init__(self, since: datetime | None = None) -> None:
        self.since = since

    def is_near(self, value: object) -> bool:
        """Whether a value is that."""
        now = datetime.now(UTC)
        if self.since is None:
            return isinstance(value, datetime) and abs(now - value) < timedelta(minutes=10)
        return isinstance(value, float) and abs((now - self.since).total_seconds() - value) < 600


def _list(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


def _chosen(rows: Iterable[Row], values: Values) -> list[Row]:
    """Rows of what the variables choose."""
    sources, symbols = _list(values["source"]), _list(values["symbol"])
    return [r for r in rows if r["source"] in sources and r["symbol"] in symbols]


def _shown(rows: Iterable[Row], shown: Range, column: str = "time") -> list[Row]:
    return [r for r in rows if r[column] is not None and shown.start <= r[column] <= shown.end]


def _bucket(moment: datetime, seconds: int) -> datetime:
    return EPOCH + (moment - EPOCH) // timedelta(seconds=seconds) * timedelta(seconds=seconds)


def _grouped(rows: Iterable[Row], seconds: int, name: Callable[[Row], Any], value: Callable[[Row], Any]) -> Any:
    """Values of rows by start of the interval and name, in this order."""
    found: dict[tuple[datetime, Any], list[Any]] = defaultdict(list)
    for row in rows:
        found[_bucket(row["time"], seconds), name(row)].append(value(row))
    return sorted(found.items())


def _mean(values: Iterable[Any]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else None


# --- market ----------------------------------------------------------------------------------------------------------


def _sources(t: Tables, shown: Range, v: Values) -> Answer:
    return [(name,) for name in sorted({r["source"] for r in t["streams"]})]


def _symbols(t: Tables, shown: Range, v: Values) -> Answer:
    return [(name,) for name in sorted({r["symbol"] for r in t["streams"] if r["source"] in _list(v["source"])})]


def _candles(t: Tables, shown: Range, v: Values) -> Answer:
    """Five minutes, as the variable says, of the channel that was seen first."""
    rows = [r for r in _chosen(t["trades"], v) if r["channel"] == "trades"]
    start = _bucket(shown.start, 300)
    found = []
    for (at, _), trades in _grouped(rows, 300, lambda r: "", lambda r: r):
        if start <= at < shown.end:
            prices = [r["price"] for r in sorted(trades, key=lambda r: r["seq"])]
            volume = sum(r["size"] for r in trades)
            found.append((at, prices[0], max(prices), min(prices), prices[-1], volume))
    return found


def _latest(t: Tables, shown: Range, v: Values) -> Answer:
    """Of every symbol of the source, whatever is chosen."""
    found = []
    for symbol in sorted({r["symbol"] for r in t["trades"]}):
        rows = [r for name in ("trades", "quotes", "tickers") for r in _chosen(t[name], {**v, "symbol": symbol})]
        rows.sort(key=lambda r: r["time"])
        price = [p for r in rows if (p := r.get("price", r.get("last_price"))) is not None][-1]
        bid, ask = ([r[side] for r in rows if r.get(side) is not None][-1] for side in ("bid_price", "ask_price"))
        found.append((symbol, price, bid, ask, rows[-1]["time"]))
    return found


def _depth(t: Tables, shown: Range, v: Values) -> Answer:
    """The deep book of `books` as it stands at the end, replayed."""
    rows = [r for r in _chosen(t["books"], v) if r["channel"] == "books" and r["origin"] == "stream"]
    rows = sorted((r for r in rows if r["time"] <= shown.end), key=lambda r: r["seq"])
    last = max(n for n, r in enumerate(rows) if r["kind"] == "snapshot")
    bids: dict[float, float] = {}
    asks: dict[float, float] = {}
    for row in rows[last:]:
        for side, levels in ((bids, row["bids"]), (asks, row["asks"])):
            side.update({float(price): float(size) for price, size in levels})
    found: list[tuple[Any, ...]] = []
    for side, best_first, place in ((bids, True, 1), (asks, False, 2)):
        total = 0.0
        for price in sorted((p for p, size in side.items() if size), reverse=best_first):
            total += side[price]
            found.append((price, total, None) if place == 1 else (price, None, total))
    return sorted(found, key=lambda row: row[0])


def _spread(t: Tables, shown: Range, v: Values) -> Answer:
    best = [(r, r["bid_price"], r["ask_price"]) for name in ("quotes", "tickers") for r in _chosen(t[name], v)]
    best += [(r, r["bids"][0][0], r["asks"][0][0]) for r in _chosen(t["books"], v) if r["kind"] == "snapshot"]
    known = [r | {"far": float(a - b) / float(a + b) * 20000} for r, b, a in best if a is not None]
    groups = _grouped(_shown(known, shown), shown.interval, lambda r: r["channel"], lambda r: r["far"])
    return [(at, name, _mean(values)) for (at, name), values in groups]


def _volume(t: Tables, shown: Range, v: Values) -> Answer:
    rows = [r for r in _shown(_chosen(t["trades"], v), shown) if r["channel"] == "trades"]
    groups = _grouped(rows, shown.interval, lambda r: r["side"] or "unknown", lambda r: r["size"])
    return [(at, name, sum(values)) for (at, name), values in groups]


def _trades(t: Tables, shown: Range, v: Values) -> Answer:
    rows = sorted(_shown(_chosen(t["trades"], v), shown), key=lambda r: (-r["seq"], r["channel"]))[:100]
    return [(r["time"], r["channel"], r["side"], r["price"], r["size"]) for r in rows]


def _means(table: str, *columns: str, by: str = "") -> Callable[[Tables, Range, Values], Answer]:
    """Means of columns of a table."""

    def truth(t: Tables, shown: Range, v: Values) -> Answer:
        rows = _shown(_chosen(t[table], v), shown)
        groups = _grouped(rows, shown.interval, lambda r: r[by] if by else "", lambda r: r)
        means = [(at, name, *(_mean(r[c] for r in found) for c in columns)) for (at, name), found in groups]
        return means if by else [(at, *rest) for at, _, *rest in means]

    return truth


def _liquidations(t: Tables, shown: Range, v: Values) -> Answer:
    rows = _shown(_chosen(t["liquidations"], v), shown)
    groups = _grouped(rows, max(60, shown.interval), lambda r: r["side"], lambda r: r["size"])
    return [(at, name, sum(values)) for (at, name), values in groups]


# --- quality ---------------------------------------------------------------------------------------------------------


def _end(gap: Row, shown: Range) -> datetime:
    return shown.end if gap["to_time"] is None else min(gap["to_time"], shown.end)


def _touching(t: Tables, shown: Range, v: Values) -> list[Row]:
    """Holes that touch the range, newest first, in the order in which they were written down where they are equal."""
    found = [g | {"n": n} for n, g in enumerate(t["gaps"])]
    found = [g for g in _chosen(found, v) if g["from_time"] <= shown.end and _end(g, shown) >= shown.start]
    return sorted(found, key=lambda g: (g["from_time"], g["n"]), reverse=True)


def _open(t: Tables, shown: Range, v: Values) -> list[Row]:
    return [g for g in _touching(t, shown, v) if g["state"] != "refilled"]


def _inside(gap: Row, start: datetime, end: datetime) -> float:
    until, since = min(gap["to_time"] or end, end), max(gap["from_time"], start)
    return float((until - since).total_seconds())


def _coverage(t: Tables, shown: Range, v: Values) -> Answer:
    found = []
    for stream in _chosen(t["streams"], v):
        since = max(shown.start, stream["first_time"])
        key = [stream[c] for c in ("source", "channel", "symbol")]
        holes = [g for g in _open(t, shown, v) if [g[c] for c in ("source", "channel", "symbol")] == key]
        seconds, reached = 0.0, since
        for gap in sorted(holes, key=lambda g: g["from_time"]):
            start, end = max(gap["from_time"], reached), _end(gap, shown)
            seconds += max(0.0, (end - start).total_seconds())
            reached = max(reached, end)
        share = 1 - seconds / (shown.end - since).total_seconds()
        still = sum(g["to_time"] is None for g in holes)
        missing = [g["missing"] for g in holes if g["missing"] is not None]
        found.append((*key, share, seconds, len(holes), still, sum(missing) if missing else None))
    return sorted(found, key=lambda row: (row[3], -row[5], *row[:3]))


def _verdict(t: Tables, shown: Range, v: Values) -> Answer:
    holes = _open(t, shown, v)
    seconds = sum(_inside(g, shown.start, shown.end) for g in holes)
    still = sum(g["to_time"] is None for g in holes)
    return [(still, len(holes), seconds, sum(g["missing"] or 0 for g in holes))]


def _last_answers(t: Tables, v: Values) -> list[Row]:
    last: dict[tuple[str, ...], Row] = {}
    for row in sorted(_chosen(t["subscriptions"], v), key=lambda r: r["from_time"]):
        last[row["source"], row["channel"], row["symbol"]] = row
    return list(last.values())


def _of_sources(rows: Iterable[Row], v: Values) -> list[Row]:
    return [r for r in rows if (r.get("source") or r["feed"].partition("/")[0]) in _list(v["source"])]


def _served(t: Tables, shown: Range, v: Values) -> Answer:
    outcomes = [r["outcome"] for r in _last_answers(t, v)]
    aside = _shown(_of_sources(t["quarantine"], v), shown, "received_at")
    return [(*(outcomes.count(name) for name in ("silent", "rejected", "pending")), len(aside))]


def _seconds_per_day(t: Tables, shown: Range, v: Values) -> Answer:
    found: dict[tuple[datetime, str], float] = defaultdict(float)
    for gap in _open(t, shown, v):
        day = _bucket(max(gap["from_time"], shown.start), 86400)
        while day <= _end(gap, shown):
            start, end = max(day, shown.start), min(day + DAY, shown.end)
            found[day, gap["cause"]] += _inside(gap, start, end)
            day += DAY
    return [(*key, seconds) for key, seconds in sorted(found.items())]


def _causes(t: Tables, shown: Range, v: Values) -> Answer:
    rows = [g | {"time": g["from_time"]} for g in _shown(_chosen(t["gaps"], v), shown, "from_time")]
    groups = _grouped(rows, shown.interval, lambda r: r["cause"], lambda r: 1)
    return [(at, cause, len(found)) for (at, cause), found in groups]


def _gaps(t: Tables, shown: Range, v: Values) -> Answer:
    found = []
    for g in _touching(t, shown, v):
        over = g["to_time"]
        seconds = Now(g["from_time"]) if over is None else (over - g["from_time"]).total_seconds()
        names = (g["source"], g["channel"], g["symbol"], g["cause"], g["missing"], g["state"], 0)
        found.append((g["from_time"], over, seconds, *names))
    return found


def _unserved(t: Tables, shown: Range, v: Values) -> Answer:
    rows = [r for r in _last_answers(t, v) if r["outcome"] != "accepted"]
    rows.sort(key=lambda r: (EPOCH - r["from_time"], r["source"], r["channel"], r["symbol"]))
    return [tuple(r[c] for c in ("source", "channel", "symbol", "outcome", "from_time", "feed")) for r in rows]


def _connections(t: Tables, shown: Range, v: Values) -> Answer:
    rows = [c for c in _of_sources(t["connections"], v) if c["opened_at"] <= shown.end]
    rows = [c for c in rows if c["closed_at"] is None or c["closed_at"] >= shown.start]
    found = []
    for c in sorted(rows, key=lambda c: (EPOCH - c["opened_at"], c["feed"])):
        over = c["closed_at"]
        seconds = Now(c["opened_at"]) if over is None else (over - c["opened_at"]).total_seconds()
        rest = tuple(c[name] for name in ("reason", "code", "frames", "rtt_ms", "endpoint"))
        found.append((c["feed"], c["opened_at"], over, seconds, *rest))
    return found


def _endings(t: Tables, shown: Range, v: Values) -> Answer:
    rows = _shown(_of_sources(t["connections"], v), shown, "closed_at")
    rows = [r | {"time": r["closed_at"]} for r in rows]
    groups = _grouped(rows, shown.interval, lambda r: r["reason"], lambda r: 1)
    return [(at, reason, len(found)) for (at, reason), found in groups]


def _events(t: Tables, shown: Range, v: Values) -> Answer:
    rows = _shown(_of_sources(t["venue_events"], v), shown)
    rows.sort(key=lambda r: (EPOCH - r["time"], r["source"]))
    return [tuple(r[c] for c in ("time", "source", "feed", "code", "action", "message")) for r in rows]


def _quarantine(t: Tables, shown: Range, v: Values) -> Answer:
    rows = _shown(_of_sources(t["quarantine"], v), shown, "received_at")
    rows.sort(key=lambda r: (EPOCH - r["received_at"], r["source"]))
    begins = {row["frame"]: r"{\000\377" * (len(row["raw"]) // 3) for row in rows}
    names = ("received_at", "source", "feed", "frame", "reason")
    return [(*(r[c] for c in names), len(r["raw"]), begins[r["frame"]]) for r in rows]


def _fresh(t: Tables, shown: Range, v: Values) -> Answer:
    last: dict[tuple[str, ...], Row] = {}
    for table in ("trades", "quotes", "tickers"):
        for row in sorted(_chosen(t[table], v), key=lambda r: r["time"]):
            last[row["source"], row["channel"], row["symbol"], table] = row
    found = sorted(last.items(), key=lambda item: (item[1]["received_at"], item[0][:3]))
    return [(*key, row["time"], Now(row["received_at"])) for key, row in found]


def _suspect(t: Tables, shown: Range, v: Values) -> Answer:
    hour = Range(max(shown.start, shown.end - timedelta(hours=1)), shown.end)
    rows = [r for r in _shown(_chosen(t["books"], v), hour) if r["integrity"] == "suspect"]
    name = lambda r: f"{r['source']} {r['channel']} {r['symbol']}"  # noqa: E731
    return [(at, of, len(found)) for (at, of), found in _grouped(rows, shown.interval, name, lambda r: 1)]


# --- annotations -----------------------------------------------------------------------------------------------------


def _gaps_marked(named: bool) -> Callable[[Tables, Range, Values], Answer]:
    def truth(t: Tables, shown: Range, v: Values) -> Answer:
        found = []
        for g in _touching(t, shown, v):
            text = f"{g['source']} {g['channel']} {g['symbol']}" if named else g["channel"]
            text += f": {g['cause']}" + ("" if g["missing"] is None else f", {g['missing']} missing")
            found.append((g["from_time"], g["to_time"] or Now(), text, g["cause"]))
        return found

    return truth


def _gaps_of_sources(t: Tables, shown: Range, v: Values) -> Answer:
    groups: dict[tuple[datetime, str, str], list[Row]] = defaultdict(list)
    every = {**v, "symbol": sorted({g["symbol"] for g in t["gaps"]})}
    for g in _touching(t, shown, every):
        groups[g["from_time"], g["source"], g["cause"]].append(g)
    found = []
    for (since, source, cause), holes in sorted(groups.items(), key=lambda i: (EPOCH - i[0][0], *i[0][1:])):
        until = Now() if any(g["to_time"] is None for g in holes) else max(g["to_time"] for g in holes)
        streams = f"{len(holes)} stream" + ("" if len(holes) == 1 else "s")
        found.append((since, until, f"{source}: {cause}, {streams}", cause))
    return found


def _reconnects(t: Tables, shown: Range, v: Values) -> Answer:
    rows = _shown(_of_sources(t["connections"], v), shown, "closed_at")
    rows = [r for r in rows if r["reason"] in UNPLANNED]
    rows.sort(key=lambda r: (EPOCH - r["closed_at"], r["feed"]))
    return [
        (r["closed_at"], " ".join(filter(None, (f"{r['feed']}: {r['reason']}", r["code"]))), r["reason"]) for r in rows
    ]


TRUTH: Mapping[str, Callable[[Tables, Range, Values], Answer]] = {
    "recorder: annotation Gaps": _gaps_of_sources,
    "market: variable source": _sources,
    "market: variable symbol": _symbols,
    "market: annotation Gaps": _gaps_marked(named=False),
    "market: annotation Reconnects": _reconnects,
    "market: $symbol A": _candles,
    "market: Latest prices A": _latest,
    "market: Order book A": _depth,
    "market: Spread A": _spread,
    "market: Volume A": _volume,
    "market: Trades A": _trades,
    "market: Funding rate A": _means("funding_rates", "rate", "next_rate"),
    "market: Open interest A": _means("open_interest", "amount", "value_usd"),
    "market: Reference prices A": _means("reference_prices", "price", by="kind"),
    "market: Liquidations A": _liquidations,
    "quality: variable source": _sources,
    "quality: variable symbol": _symbols,
    "quality: annotation Gaps": _gaps_marked(named=True),
    "quality: annotation Reconnects": _reconnects,
    "quality: Holes A": _verdict,
    "quality: Not served A": _served,
    "quality: Coverage A": _coverage,
    "quality: Time in gaps per day A": _seconds_per_day,
    "quality: Gaps A": _gaps,
    "quality: Gaps by cause A": _causes,
    "quality: Streams not served A": _unserved,
    "quality: Freshness A": _fresh,
    "quality: Connections A": _connections,
    "quality: Connections ended A": _endings,
    "quality: Venue events A": _events,
    "quality: Quarantine A": _quarantine,
    "quality: Suspect book rows A": _suspect,
}
