"""Every public and business channel of OKX finds its table."""

from __future__ import annotations

from typing import Any

import pytest

from recorder.venues.okx import venue
from tests.unit.okxframes import NOW, TS, decode, poison, push, row, rows

SWAP = {"instId": "BTC-USDT-SWAP"}
# Channel -> table, of every channel in the venue's documentation (public and business, without private ones).
TABLES = {
    **dict.fromkeys(("trades", "trades-all"), "trades"),
    "tickers": "tickers",
    **dict.fromkeys(("books", "books5", "books-l2-tbt", "books50-l2-tbt", "books-elp"), "books"),
    "bbo-tbt": "quotes",
    **dict.fromkeys(("candle1m", "mark-price-candle1m", "index-candle1m"), "candles"),
    **dict.fromkeys(("mark-price", "index-tickers", "price-limit", "estimated-price"), "reference_prices"),
    "funding-rate": "funding_rates",
    "open-interest": "open_interest",
    "liquidation-orders": "liquidations",
    **dict.fromkeys(("option-trades", "opt-summary", "instruments", "status", "adl-warning"), "messages"),
    **dict.fromkeys(("call-auction-details", "event-contract-markets", "economic-calendar"), "messages"),
    **dict.fromkeys(("sprd-tickers", "sprd-public-trades", "sprd-books5", "sprd-candle1m"), "messages"),
}
LEVELS = {"asks": [["2", "1", "0", "1"]], "bids": [["1", "1", "0", "1"]], "ts": TS, "seqId": 2, "prevSeqId": -1}
ELEMENTS: dict[str, Any] = {
    "trades": {"tradeId": "1", "px": "1", "sz": "1", "side": "buy", "ts": TS},
    "tickers": {"last": "1", "ts": TS},
    "books": LEVELS,
    "quotes": LEVELS,
    "funding_rates": {"fundingRate": "0.1", "ts": TS},
    "open_interest": {"oi": "1", "ts": TS},
    "liquidations": {"instId": "X-Y-SWAP", "details": [{"side": "buy", "bkPx": "1", "sz": "1", "ts": TS}]},
    "messages": {"ts": TS, "anything": ["goes"]},
}
PRICES = {
    "mark-price": {"markPx": "1"},
    "index-tickers": {"idxPx": "1"},
    "price-limit": {"buyLmt": "2", "sellLmt": "1"},
    "estimated-price": {"settlePx": "1"},
}


@pytest.mark.parametrize(("channel", "table"), sorted(TABLES.items()))
def test_every_channel_reaches_its_table(channel: str, table: str) -> None:
    """What is pushed on a channel is stored in one table, the first time and when the stream is known."""
    known = venue.channel(channel)
    assert known is not None
    assert known.table == table
    if table == "candles":
        bar = [TS, "1", "2", "0.5", "1.5", "9", "8", "7", "1"] if channel == "candle1m" else [TS, *"12345"]
        element: Any = [*bar[:5], "1"] if channel != "candle1m" else bar
    else:
        element = PRICES[channel] if table == "reference_prices" else ELEMENTS[table]
    more = {"action": "snapshot"} if table == "books" else {}
    message = push(channel, element, arg=SWAP, **more)
    decoded = decode(message, message)
    assert list(decoded.tables) == [table]
    assert decoded.messages == {channel: 2}
    assert {r["channel"] for r in rows(decoded, table)} == {channel}
    assert len(rows(decoded, table)) == 2 * (2 if channel == "price-limit" else 1)


@pytest.mark.parametrize(
    ("channel", "element", "expected"),
    [
        ("mark-price", {"markPx": "9.90"}, [("mark", "9.90")]),
        ("index-tickers", {"idxPx": "5", "high24h": "6"}, [("index", "5")]),
        ("estimated-price", {"settlePx": "7", "settleType": "settlement"}, [("estimated", "7")]),
        ("price-limit", {"buyLmt": "2", "sellLmt": "1"}, [("limit_up", "2"), ("limit_down", "1")]),
        ("price-limit", {"buyLmt": "", "sellLmt": "", "enabled": False}, [("limit_up", None), ("limit_down", None)]),
    ],
)
def test_reference_prices(channel: str, element: dict[str, Any], expected: list[tuple[str, str | None]]) -> None:
    """A row per kind; a limit that the venue has switched off is a row without a price."""
    found = rows(decode(push(channel, {"ts": TS, **element}, arg=SWAP)), "reference_prices")
    assert [(r["kind"], None if r["price"] is None else str(r["price"])) for r in found] == expected
    assert {r["time"] for r in found} == {int(TS) * 1000}


def test_a_mark_price_without_a_price_is_poison() -> None:
    """It is about nothing else."""
    assert poison(push("mark-price", {"ts": TS}, arg=SWAP)) == [(0, "missing_field")]


def test_funding_names_when_it_is_due() -> None:
    """Both due times may lie ahead; what the venue did not send is null, an absurd one poison."""
    due = str(int(TS) + 8 * 3_600_000)
    element = {"fundingRate": "0.0001", "nextFundingRate": "", "fundingTime": due, "nextFundingTime": ""}
    found = row("funding_rates", push("funding-rate", element, arg=SWAP))
    assert (str(found["rate"]), found["next_rate"], found["next_funding_time"]) == ("0.0001", None, None)
    assert (found["funding_time"], found["time"]) == (int(due) * 1000, NOW)
    assert poison(push("funding-rate", {**element, "fundingTime": "99999999999999999"}, arg=SWAP)) == [
        (0, "absurd_time")
    ]


def test_liquidations_carry_the_instrument() -> None:
    """Subscribed by type, stored by instrument, a row for each order."""
    order = {"side": "sell", "posSide": "long", "bkPx": "10", "sz": "3", "bkLoss": "0", "ccy": "", "ts": TS}
    element = {"instType": "SWAP", "instId": "BTC-USDT-SWAP", "details": [order, {**order, "side": "buy"}]}
    found = rows(decode(push("liquidation-orders", element, arg={"instType": "SWAP"})), "liquidations")
    assert [(r["symbol"], r["side"], r["position_side"], str(r["price"]), str(r["size"])) for r in found] == [
        ("BTC-USDT-SWAP", "sell", "long", "10", "3"),
        ("BTC-USDT-SWAP", "buy", "long", "10", "3"),
    ]


@pytest.mark.parametrize("length", [5, 7, 9])
def test_bars_of_marks_have_six_elements(length: int) -> None:
    """[open time, open, high, low, close, confirm]; other lengths are not understood, so they are set aside."""
    bar = [TS, "1", "2", "0.5", "1.5", "1", "1", "1", "1"]
    found = row("candles", push("mark-price-candle1m", bar[:6], arg=SWAP))
    assert (str(found["close"]), found["volume"], found["closed"], found["interval"]) == ("1.5", None, True, "1m")
    assert poison(push("mark-price-candle1m", bar[:length], arg=SWAP)) == [(0, "wrong_type")]
