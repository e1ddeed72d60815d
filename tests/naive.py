"""A second decoder, as plain as can be: json and Decimal, one frame at a time, no care for speed.

Owns what a frame of each venue means, written down a second time from the venue's documentation and the contract
of the tables. Imports nothing of recorder.venues: what both decoders say is right, or wrong twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tests.naive_okex_v1 import okex_v1
from tests.naive_okex_v3 import okex_v3

Row = dict[str, Any]
Rows = list[tuple[str, Row]]  # table, row

_OKX_BARS = {"s": "s", "m": "m", "H": "h", "D": "d", "W": "w", "M": "mo"}


def decode(venue: str, raw: bytes, received_at: int, source: str) -> Rows:
    """The rows of one frame, in order. Frames that hold no market data have none."""
    common = {"received_at": received_at, "source": source}
    return [(table, {**common, **row}) for table, row in _VENUES[venue](raw, received_at)]


def _number(text: str | None) -> Decimal | None:
    return Decimal(text) if text else None


def _time(text: str | None, received_at: int) -> int:
    return int(text) * 1000 if text else received_at


def _okx(raw: bytes, received_at: int) -> Rows:
    if raw == b"pong":
        return []
    message = json.loads(raw, parse_float=Decimal)
    if not isinstance(message, dict) or "arg" not in message or "event" in message:
        return []
    rows = [row for element in message["data"] for row in _okx_derivatives(message["arg"], element, received_at)]
    return rows or [_okx_row(message, element, received_at) for element in message["data"]]


_OKX_PRICES = {
    "mark-price": (("mark", "markPx"),),
    "index-tickers": (("index", "idxPx"),),
    "estimated-price": (("estimated", "settlePx"),),
    "price-limit": (("limit_up", "buyLmt"), ("limit_down", "sellLmt")),
}


def _okx_derivatives(arg: Row, element: Any, received_at: int) -> Rows:
    """The channels of derivatives that have a table; of others nothing."""
    channel = arg["channel"]
    if not isinstance(element, dict):
        return []
    head = {
        "time": _time(element.get("ts"), received_at),
        "channel": channel,
        "symbol": arg.get("instId") or element.get("instId"),
    }
    if channel in _OKX_PRICES:
        return [
            ("reference_prices", {**head, "kind": kind, "price": _number(element[name])})
            for kind, name in _OKX_PRICES[channel]
        ]
    if channel == "funding-rate":
        times = {
            column: _time(element[name], 0) if element.get(name) else None
            for column, name in (("funding_time", "fundingTime"), ("next_funding_time", "nextFundingTime"))
        }
        rates = {"rate": _number(element["fundingRate"]), "next_rate": _number(element.get("nextFundingRate"))}
        return [("funding_rates", {**head, **rates, **times})]
    if channel == "open-interest":
        columns = {"contracts": "oi", "amount": "oiCcy", "value_usd": "oiUsd"}
        return [("open_interest", {**head, **{c: _number(element.get(name)) for c, name in columns.items()}})]
    if channel == "liquidation-orders":
        return [("liquidations", {**head, **_okx_liquidation(order)}) for order in element["details"]]
    return []


def _okx_liquidation(order: Row) -> Row:
    return {
        "time": int(order["ts"]) * 1000,
        "side": order["side"],
        "position_side": order["posSide"],
        "price": _number(order["bkPx"]),
        "size": _number(order["sz"]),
    }


def _okx_row(message: Row, element: Any, received_at: int) -> tuple[str, Row]:
    arg = message["arg"]
    channel = arg["channel"]
    about = element if isinstance(element, dict) else {}
    names = (arg.get("instId"), arg.get("sprdId"), about.get("instId"), about.get("sprdId"))
    symbol = next((name for name in (*names, arg.get("instFamily"), arg.get("instType")) if name), "")
    stamp = element[0] if isinstance(element, list) else element.get("ts")
    head = {"time": _time(stamp, received_at), "channel": channel, "symbol": symbol}
    if channel in ("trades", "trades-all"):
        return "trades", {**head, **_okx_trade(element)}
    if channel == "tickers":
        return "tickers", {**head, **_okx_ticker(element)}
    if channel == "bbo-tbt":
        return "quotes", {**head, **_okx_quote(element)}
    if channel in ("books", "books5", "books-l2-tbt", "books50-l2-tbt", "books-elp"):
        return "books", {**head, **_okx_book(message, element)}
    if channel.startswith(("candle", "mark-price-candle", "index-candle")):
        return "candles", {**head, **_okx_candle(channel, element)}
    return "messages", {**head, "payload": element}


def _okx_trade(trade: Row) -> Row:
    return {
        "price": _number(trade["px"]),
        "size": _number(trade["sz"]),
        "side": trade["side"],
        "trade_id": trade["tradeId"],
        "count": int(trade["count"]) if "count" in trade else None,
        "seq": trade.get("seqId"),
        "turnover": None,
        "origin": "stream",
    }


def _okx_ticker(ticker: Row) -> Row:
    columns = {
        "last_price": "last",
        "last_size": "lastSz",
        "bid_price": "bidPx",
        "bid_size": "bidSz",
        "ask_price": "askPx",
        "ask_size": "askSz",
        "open_24h": "open24h",
        "high_24h": "high24h",
        "low_24h": "low24h",
        "volume_24h": "vol24h",
        "turnover_24h": "volCcy24h",
    }
    return {**{column: _number(ticker[name]) for column, name in columns.items()}, "open_interest": None}


def _okx_quote(quote: Row) -> Row:
    bid, ask = ((quote[side] or [[None, None]])[0] for side in ("bids", "asks"))
    return {
        "bid_price": _number(bid[0]),
        "bid_size": _number(bid[1]),
        "ask_price": _number(ask[0]),
        "ask_size": _number(ask[1]),
        "seq": quote.get("seqId"),
    }


def _okx_book(message: Row, book: Row) -> Row:
    whole = message["arg"]["channel"] == "books5" or book.get("prevSeqId") == -1
    kind = message.get("action") or ("snapshot" if whole else None)
    bids, asks = ([[Decimal(cell) for cell in level] for level in book[side]] for side in ("bids", "asks"))
    if kind == "snapshot":
        bids.sort(key=lambda level: level[0], reverse=True)
        asks.sort(key=lambda level: level[0])
    seq, previous = book.get("seqId"), book.get("prevSeqId")
    proven = seq is not None and previous is not None
    return {
        "kind": kind,
        "seq": seq,
        "prev_seq": previous,
        "bids": bids,
        "asks": asks,
        "integrity": "verified" if proven else "unverifiable",
        "origin": "stream",
    }


def _okx_candle(channel: str, bar: list[str]) -> Row:
    length = channel.rpartition("candle")[2].removesuffix("utc")
    numbers = [_number(text) for text in bar]
    if not channel.startswith("candle"):  # of a mark or an index: no volumes, and the sixth is whether it is closed
        numbers[5:] = [None, None, None]
        bar = [*bar[:5], "", "", "", bar[5]]
    return {
        "interval": length[:-1] + _OKX_BARS[length[-1]],
        **dict(zip(("open", "high", "low", "close", "volume"), numbers[1:6], strict=True)),
        "turnover": numbers[7] if len(bar) > 7 and numbers[7] is not None else numbers[6],
        "closed": bar[8] == "1" if len(bar) > 8 else None,
        "origin": "stream",
    }


# --- Infoway --------------------------------------------------------------------------------------------------------

_INFOWAY_TYPES = dict(enumerate("1m 5m 15m 30m 1h 2h 4h 1d 1w 1mo 1q 1y".split(), 1))  # noqa: SIM905 - as documented


def _infoway(raw: bytes, received_at: int) -> Rows:
    """Words, answers and errors have no rows. The numbers of data messages are strings, but for times and kinds."""
    try:
        message = json.loads(raw[raw.index(b"{") :])
    except ValueError:
        return []
    code, data = message.get("code"), message.get("data")
    if not isinstance(data, dict) or "s" not in data:
        return []
    if code in (10002, 10000):
        return [("trades", _infoway_trade(data))]
    if code in (10005, 10003):
        return [("books", _infoway_depth(data))]
    return [("candles", _infoway_kline(data))] if code in (10008, 10006) else []


def _infoway_trade(data: Row) -> Row:
    return {
        "time": int(data["t"]) * 1000,
        "channel": "trade",
        "symbol": data["s"],
        "price": Decimal(data["p"]),
        "size": Decimal(data["v"]),
        "side": {1: "buy", 2: "sell"}.get(int(data.get("td", 0))),
        "trade_id": None,
        "count": None,
        "seq": None,
        "turnover": _number(data.get("vw")),
        "origin": "stream",
    }


def _infoway_depth(data: Row) -> Row:
    """A side is a column of prices and one of quantities."""
    bids, asks = ([[Decimal(p), Decimal(q)] for p, q in zip(*(data[side] or [[], []]), strict=True)] for side in "ba")
    return {
        "time": int(data["t"]) * 1000,
        "channel": "depth",
        "symbol": data["s"],
        "kind": "snapshot",
        "seq": None,
        "prev_seq": None,
        "bids": bids,
        "asks": asks,
        "integrity": "unverifiable",
        "origin": "stream",
    }


def _infoway_kline(data: Row) -> Row:
    interval = _INFOWAY_TYPES[int(data["ty"])]
    columns = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v", "turnover": "vw"}
    return {
        "time": int(data["t"]) * 1_000_000,
        "channel": f"kline_{interval}",
        "symbol": data["s"],
        "interval": "3mo" if interval == "1q" else interval,
        **{column: _number(data.get(name)) for column, name in columns.items()},
        "closed": None,
        "origin": "stream",
    }


_VENUES: dict[str, Callable[[bytes, int], Rows]] = {
    "okx": _okx,
    "infoway": _infoway,
    "okex_v1": okex_v1,
    "okex_v3": okex_v3,
}
