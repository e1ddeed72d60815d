"""What a frame of OKEx v3 means, a second time: json and Decimal, one frame after the other.

Owns the naive decoder of that venue (see `tests.naive`). Imports nothing of recorder.venues.
"""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

Row = dict[str, Any]
Rows = list[tuple[str, Row]]

_CANDLES = {
    60: "1m",
    180: "3m",
    300: "5m",
    900: "15m",
    1800: "30m",
    3600: "1h",
    7200: "2h",
    14400: "4h",
    21600: "6h",
    43200: "12h",
    86400: "1d",
    604800: "1w",
}


def okex_v3(raw: bytes, received_at: int) -> Rows:
    """The rows of one frame, in order; replies have none. Numbers are strings on the wire, and where somebody made
    numbers of them they are read as they are spelled."""
    if raw == b"pong":
        return []
    message = json.loads(raw, parse_float=Decimal, parse_int=Decimal)
    if not isinstance(message, dict) or "table" not in message:
        return []
    return [row for element in message["data"] for row in _rows(message, element, received_at)]


def _number(value: Any) -> Decimal | None:
    return None if value in (None, "") else Decimal(value)


def _time(iso: str | None, received_at: int) -> int:
    """Whole milliseconds since 1970, in microseconds."""
    if not iso:
        return received_at
    moment = datetime.strptime(iso, "%Y-%m-%dT%H:%M:%S.%f%z")
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


def _rows(message: Row, element: Any, received_at: int) -> Rows:
    channel = message["table"]
    kind, word = channel.split("/")
    head = {
        "channel": channel,
        "symbol": element["instrument_id"],
        "time": _time(element.get("timestamp"), received_at),
    }
    if word == "trade":
        return [("trades", {**head, **_trade(element)})]
    if word.startswith("depth"):
        return [("books", {**head, **_book(message, element)})]
    if word.startswith("candle"):
        return [("candles", {**head, **_candle(int(word[6:-1]), element["candle"])})]
    if kind == "index" or word in ("mark_price", "price_range", "estimated_price"):
        return [("reference_prices", {**head, **price}) for price in _prices(element)]
    if word == "ticker":
        return [("tickers", {**head, **_ticker(kind, element)})]
    if word == "funding_rate":
        return [("funding_rates", {**head, **_funding(element)})]
    if word == "liquidation":
        return [("liquidations", {**head, **_liquidation(element)})]
    return [("messages", {**head, "payload": element})]


def _trade(trade: Row) -> Row:
    return {
        "price": _number(trade["price"]),
        "size": _number(trade["size"] if "size" in trade else trade["qty"]),
        "side": trade["side"],
        "trade_id": trade["trade_id"],
        "count": None,
        "seq": None,
        "turnover": None,
        "origin": "stream",
    }


def _book(message: Row, book: Row) -> Row:
    """`partial` is whole, and so is what says no action."""
    kind = {"partial": "snapshot", "update": "update", None: "snapshot"}[message.get("action")]
    bids, asks = ([[Decimal(cell) for cell in level] for level in book[side]] for side in ("bids", "asks"))
    if kind == "snapshot":
        bids.sort(key=lambda level: level[0], reverse=True)
        asks.sort(key=lambda level: level[0])
    return {
        "kind": kind,
        "seq": None,
        "prev_seq": None,
        "bids": bids,
        "asks": asks,
        "integrity": "unverifiable",
        "origin": "stream",
    }


def _candle(seconds: int, candle: list[str]) -> Row:
    numbers = [_number(text) for text in candle[1:]]
    return {
        "time": _time(candle[0], 0),
        "interval": _CANDLES[seconds],
        **dict(zip(("open", "high", "low", "close", "volume"), numbers[:5], strict=True)),
        "turnover": numbers[5] if len(numbers) > 5 else None,
        "closed": None,
        "origin": "stream",
    }


def _prices(element: Row) -> list[Row]:
    kinds = {"mark_price": "mark", "last": "index", "settlement_price": "estimated"}
    kinds |= {"highest": "limit_up", "lowest": "limit_down"}
    return [{"kind": kind, "price": _number(element[name])} for name, kind in kinds.items() if name in element]


def _ticker(kind: str, ticker: Row) -> Row:
    """Volumes are of coins and money on spot, of contracts and coins elsewhere."""
    columns = {
        "last_price": "last",
        "last_size": "last_qty",
        "bid_price": "best_bid",
        "bid_size": "best_bid_size",
        "ask_price": "best_ask",
        "ask_size": "best_ask_size",
        "open_24h": "open_24h",
        "high_24h": "high_24h",
        "low_24h": "low_24h",
        "volume_24h": "base_volume_24h" if kind == "spot" else "volume_24h",
        "turnover_24h": "quote_volume_24h" if kind == "spot" else "volume_token_24h",
        "open_interest": "open_interest",
    }
    return {column: _number(ticker.get(name)) for column, name in columns.items()}


def _funding(funding: Row) -> Row:
    return {
        "rate": _number(funding["funding_rate"]),
        "next_rate": _number(funding["estimated_rate"]),
        "funding_time": _time(funding["funding_time"], 0),
        "next_funding_time": _time(funding["settlement_time"], 0),
    }


def _liquidation(order: Row) -> Row:
    """Type 3 closes a long position, 4 a short one."""
    return {
        "time": _time(order["created_at"], 0),
        "side": {"3": "sell", "4": "buy"}[order["type"]],
        "position_side": {"3": "long", "4": "short"}[order["type"]],
        "price": _number(order["price"]),
        "size": _number(order["size"]),
    }
