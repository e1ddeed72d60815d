"""The naive decoder of OKEx v1: json and Decimal, one frame at a time.

Owns what a frame of OKEx v1 means, written down a second time from its documentation. Imports nothing of
recorder.venues.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

Row = dict[str, Any]
Rows = list[tuple[str, Row]]  # table, row

_CHINA = timezone(timedelta(hours=8))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATE = timedelta(minutes=5)
_BARS = {"day": "1d", "3day": "3d", "week": "1w"}
_BOOK = {"seq": None, "prev_seq": None, "integrity": "unverifiable", "origin": "stream"}


def okex_v1(raw: bytes, received_at: int) -> Rows:
    """The rows of one frame: a list of objects, or one."""
    message = json.loads(raw, parse_float=Decimal)
    objects = message if isinstance(message, list) else [message]
    return [row for each in objects for row in _object(each, received_at)]


def _object(said: Row, received_at: int) -> Rows:
    channel: str = said.get("channel", "")
    data: Any = said.get("data")
    head = {"channel": channel, "symbol": _symbol(channel)}
    if not head["symbol"] or (isinstance(data, dict) and "result" in data):
        return []
    if "_forecast_price" in channel:
        ms = said.get("timestamp")
        return [("reference_prices", {**head, **_price("estimated", data), "time": _time(ms, received_at)})]
    if "_deals" in channel or "_trade_" in channel:
        return [("trades", {**head, **row}) for row in _trades(data, received_at)]
    if "_kline_" in channel:
        return [("candles", {**head, **_candle(channel, bar)}) for bar in data]
    when = {"time": _time(data.get("timestamp"), received_at)}
    if channel.endswith("_index"):
        return [("reference_prices", {**head, **when, **_price("index", data["futureIndex"])})]
    if "_ticker" in channel:
        return [("tickers", {**head, **when, **_ticker(data)})]
    return [("books", {**head, **when, **_book(channel, data)})]


def _symbol(channel: str) -> str:
    if match := re.match(r"ok_sub_spot_([a-z0-9]+_[a-z0-9]+)_(?:ticker|depth|deals|kline)", channel):
        return match[1]
    if match := re.match(r"(?:ok_sub_futureusd_)?([a-z0-9]+)_(?:index|forecast_price)$", channel):
        return f"{match[1]}_usd"
    if match := re.match(r"ok_sub_futureusd_([a-z0-9]+)_[a-z]+_(this_week|next_week|quarter)", channel):
        return f"{match[1]}_usd_{match[2]}"
    return ""


def _number(value: Any) -> Decimal | None:
    return None if value in (None, "") else Decimal(str(value))


def _time(ms: Any, received_at: int) -> int:
    return int(ms) * 1000 if ms else received_at


def _price(kind: str, value: Any) -> Row:
    return {"kind": kind, "price": _number(value)}


def _trades(data: list[list[str]], received_at: int) -> list[Row]:
    """From the newest to the oldest: each as late as it can be."""
    latest = _EPOCH + timedelta(microseconds=received_at) + _LATE
    rows = []
    for number, price, size, clock, side, *_ in reversed(data):
        local = latest.astimezone(_CHINA)
        at = datetime.combine(local.date(), time.fromisoformat(clock), _CHINA)
        at = at if at <= local else at - timedelta(days=1)
        latest = min(latest, at + _LATE)
        rows.append(
            {
                "time": (at - _EPOCH) // timedelta(microseconds=1),
                "price": _number(price),
                "size": _number(size),
                "side": {"bid": "buy", "ask": "sell"}.get(side),
                "trade_id": str(number),
                "count": None,
                "seq": None,
                "turnover": None,
                "origin": "stream",
            }
        )
    return rows[::-1]


def _candle(channel: str, bar: list[str]) -> Row:
    period = channel.rpartition("_")[2]
    numbers = [_number(value) for value in [*bar[1:], None][:6]]
    return {
        "time": int(bar[0]) * 1000,
        "interval": _BARS.get(period) or period.replace("min", "m").replace("hour", "h"),
        **dict(zip(("open", "high", "low", "close", "volume", "turnover"), numbers, strict=True)),
        "closed": None,
        "origin": "stream",
    }


def _ticker(data: Row) -> Row:
    nothing = dict.fromkeys(("last_size", "bid_size", "ask_size", "open_24h", "turnover_24h"))
    columns = {
        "last_price": "last",
        "bid_price": "buy",
        "ask_price": "sell",
        "high_24h": "high",
        "low_24h": "low",
        "volume_24h": "vol",
        "open_interest": "hold_amount",
    }
    return {**nothing, **{column: _number(data.get(name)) for column, name in columns.items()}}


def _book(channel: str, data: Row) -> Row:
    """The whole, or changes: in the order that was sent."""
    bids, asks = ([[Decimal(str(cell)) for cell in level] for level in data.get(side, [])] for side in ("bids", "asks"))
    deep = len(bids) >= 20 and len(asks) >= 20 and all(level[1] for level in bids + asks)
    whole = deep or re.search(r"_depth_(\w+_)?(5|10|20)$", channel) is not None
    if whole:
        bids.sort(key=lambda level: level[0], reverse=True)
        asks.sort(key=lambda level: level[0])
    return {**_BOOK, "kind": "snapshot" if whole else "update", "bids": bids, "asks": asks}
