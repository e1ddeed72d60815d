"""OKEx v3's channels: which group serves which, how long its candles are, and the codes that refuse a subscription.

Owns the venue's grammar and its words. Never keeps anything: whether a subscription is fine follows from it, from what
is listed, and from who asks.

Captured: 30040 and its words. From the clients' tables of the REST API: 30001 … 30008, 30013, 30015, 30026, 30027,
30030. Nobody has published what the WebSocket answers with 30039, 30041 and 30042: their numbers and words are guesses.
"""

from __future__ import annotations

from collections.abc import Mapping

from recorder.simulator.fanout import Key
from recorder.simulator.market import Instrument
from recorder.simulator.okx.channels import leader

INDEX, SUMMARY = "index", "option/summary"
CANDLE = "candle"
SECONDS = (60, 180, 300, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400, 604_800)
BARS = ("1m", "3m", "5m", "15m", "30m", "1H", "2H", "4H", "6H", "12H", "1D", "1W")  # at OKX v5; here as there: on UTC+8
CANDLES = {f"{CANDLE}{seconds}s": bar for seconds, bar in zip(SECONDS, BARS, strict=True)}
EVERY = frozenset({"trade", "ticker", "depth", "depth5", "depth_l2_tbt", *CANDLES})
CHANNELS: Mapping[str, frozenset[str]] = {
    "spot": EVERY,
    "futures": EVERY | {"mark_price", "price_range", "estimated_price"},
    "swap": EVERY | {"mark_price", "price_range", "funding_rate"},
    "option": EVERY | {"summary"},
    INDEX: frozenset({"ticker", *CANDLES}),
}
PRIVATE = frozenset({"account", "margin_account", "position", "order", "order_algo"})

MISSING = "30040"
MESSAGES = {
    "30001": "OK_ACCESS_KEY cannot be blank",
    "30002": "OK_ACCESS_SIGN cannot be blank",
    "30003": "OK_ACCESS_TIMESTAMP cannot be blank",
    "30004": "OK_ACCESS_PASSPHRASE cannot be blank",
    "30005": "Invalid OK_ACCESS_TIMESTAMP",
    "30006": "Invalid OK_ACCESS_KEY",
    "30008": "Timestamp request expired",
    "30013": "Invalid sign",
    "30015": "Invalid OK_ACCESS_PASSPHRASE",
    "30026": "Requested too frequent",
    "30027": "Login failure",
    "30030": "Endpoint request failed",
    "30039": "Unrecognized request",
    "30041": "User not logged in / User must be logged in",
    "30042": "Already logged in",
}


def key_of(arg: str) -> Key:
    """Table and subject of an argument: spot/trade and BTC-USDT of `spot/trade:BTC-USDT`."""
    table, _, subject = arg.partition(":")
    return table, subject


def arg_of(key: Key) -> str:
    """The argument that asks for this."""
    return ":".join(key)


def words(code: str, key: Key = ("", "")) -> str:
    """What the venue says with a code."""
    return f"Channel {arg_of(key)} doesn't exist" if code == MISSING else MESSAGES.get(code, "Error")


def refusal(key: Key, listed: Mapping[str, Instrument], *, known: bool) -> str:
    """The code that refuses a subscription, empty when it is fine. `known`: whether the client has logged in."""
    group, _, channel = key[0].partition("/")
    if not key[0]:
        return "30039"
    if group in CHANNELS and channel in PRIVATE:
        return "" if known else "30041"
    return "" if channel in CHANNELS.get(group, ()) and driver(key, listed) is not None else MISSING


def driver(key: Key, listed: Mapping[str, Instrument]) -> Instrument | None:
    """The instrument whose time a channel runs on, None where there is nothing of that name."""
    table, subject = key
    group = table.partition("/")[0]
    if group == INDEX:
        return leader(subject, listed) if subject.count("-") == 1 else None
    if table == SUMMARY:
        return next(iter(options(subject, listed)), None)
    found = listed.get(subject)
    return found if found is not None and not found.ended and found.listing.kind.lower() == group else None


def options(family: str, listed: Mapping[str, Instrument]) -> list[Instrument]:
    """The options on an underlying that live."""
    found = (one for one in listed.values() if one.listing.kind == "OPTION" and not one.ended)
    return [one for one in found if one.listing.family == family]
