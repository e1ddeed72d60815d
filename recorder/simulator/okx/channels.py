"""OKX v5's channels: which path serves which, what each is about, and the codes that refuse it.

Owns the venue's tables of channels and codes. Never keeps anything: whether a subscription is fine follows from it and
from what is listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import msgspec

from recorder.simulator.market import Instrument
from recorder.simulator.okx.bars import BARS

PUBLIC, BUSINESS, PRIVATE = "/ws/v5/public", "/ws/v5/business", "/ws/v5/private"
Key = tuple[str, str]  # channel, and what it is about: a symbol, an index, a family, a kind, or "kind/one of these"

PLAIN = frozenset(
    {"trades", "tickers", "books", "books5", "bbo-tbt", "books-elp", "mark-price", "price-limit"}
    | {"call-auction-details"}
)
DERIVATIVES = frozenset({"open-interest"})
PERPETUALS = frozenset({"funding-rate"})
INDICES = frozenset({"index-tickers"})
BY_KIND = {  # what is about a kind of instrument, and the kinds that it knows
    "instruments": frozenset({"SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION"}),
    "liquidation-orders": frozenset({"MARGIN", "SWAP", "FUTURES", "OPTION"}),
    "adl-warning": frozenset({"SWAP", "FUTURES", "OPTION"}),
    "estimated-price": frozenset({"SWAP", "FUTURES", "OPTION"}),
    "option-trades": frozenset({"OPTION"}),
}
NARROWED = {"adl-warning": False, "estimated-price": True, "option-trades": True}  # by more; whether they must be
BY_FAMILY = frozenset({"opt-summary"})
ALONE = frozenset({"status"})
VIP = frozenset({"books-l2-tbt", "books50-l2-tbt"})
MARK_CANDLE, INDEX_CANDLE, CANDLE = "mark-price-candle", "index-candle", "candle"
MOVED = frozenset(f"{CANDLE}{bar}" for bar in BARS) | frozenset(
    f"{kind}{bar}" for kind in (MARK_CANDLE, INDEX_CANDLE) for bar in BARS if bar != "1s"
)
ONLY_BUSINESS = MOVED | {"trades-all"}
ONLY_PUBLIC = PLAIN | DERIVATIVES | PERPETUALS | INDICES | BY_KIND.keys() | BY_FAMILY | ALONE | VIP
OWN = frozenset(
    {"account", "positions", "orders", "fills", "balance_and_position", "liquidation-warning", "account-greeks"}
)

MESSAGES = {
    "60004": "Invalid timestamp",
    "60005": "Invalid apiKey",
    "60006": "Timestamp request expired",
    "60007": "Invalid sign",
    "60008": "The current WebSocket endpoint does not support subscribing to this channel",
    "60009": "Login failed.",
    "60011": "Please log in",
    "60012": "Invalid request",
    "60013": "Invalid args",
    "60014": "Requests too frequent",
    "60018": "Wrong URL or the channel, instrument or parameter doesn't exist",
    "60019": "Invalid op",
    "60020": "APIKey subscription amount exceeds the limit",
    "60023": "Bulk login requests too frequent",
    "60024": "Wrong passphrase",
    "60025": "Token subscription amount exceeds the limit",
    "60026": "Batch login by APIKey and token simultaneously is not supported.",
    "60027": "Parameter can not be empty.",
    "60028": "The current operation is not supported by this URL. Please use the correct URL for the operation.",
    "60029": "Only whitelisted users are allowed to subscribe to this channel.",
    "60030": "Only users who have logged in once can subscribe to this channel.",
    "60031": "The WebSocket endpoint does not allow multiple or repeated logins.",
    "60032": "API key doesn't exist.",
    "60033": "Parameter error",
    "63999": "Login failed due to internal error. Please try again later.",
    "64000": "Subscription parameter uly is unavailable anymore, please replace uly with instFamily.",
    "64001": "This channel has been migrated to the '/business' URL. Please subscribe using the new URL.",
    "64002": "This channel is not supported by the '/business' URL. Please use the '/private' or '/public' URL.",
    "64003": "Your trading fee tier doesn't meet the requirement to access this channel",
    "64004": "Subscribe to both this channel and books-l2-tbt is not allowed. Unsubscribe books-l2-tbt first.",
    "64007": "Operation failed due to WebSocket internal error. Please try again later.",
    "64008": "The connection will soon be closed for a service upgrade. Please reconnect.",
}
CLOSES = {
    1009: "Request message exceeds the maximum frame length",
    4001: "Login failed",
    4002: "Invalid request",
    4003: "APIKey subscription amount exceeds the limit 100",
    4004: "No data received in 30s",
    4005: "Buffer is full, cannot write data",
    4006: "Abnormal disconnection",
    4007: "API key has been updated or deleted. Please reconnect.",
    4008: "The number of subscribed channels exceeds the maximum limit.",
    4009: "The number of subscription channels for this connection exceeds the limit",
}


def key_of(arg: Mapping[str, str]) -> Key:
    """What a subscription is about, in one word; the word is empty where it does not say."""
    channel = arg.get("channel", "")
    inner = arg.get("instId", "") or arg.get("instFamily", "")
    if channel in BY_KIND:
        kind = arg.get("instType", "")
        return channel, f"{kind}/{inner}" if inner and channel in NARROWED else kind
    if channel in BY_FAMILY:
        return channel, arg.get("instFamily", "")
    return channel, "" if channel in ALONE else arg.get("instId", "")


@cache
def arg_of(key: Key) -> str:
    """The `arg` of every message about this, with its name before it."""
    channel, subject = key
    arg = {"channel": channel}
    if channel in BY_KIND:
        kind, _, inner = subject.partition("/")
        arg["instType"] = kind
        if inner:
            arg["instFamily" if inner.count("-") == 1 else "instId"] = inner
    elif channel in BY_FAMILY:
        arg["instFamily"] = subject
    elif channel not in ALONE:
        arg["instId"] = subject
    return f'"arg":{msgspec.json.encode(arg).decode()}'


def refusal(path: str, key: Key, listed: Mapping[str, Instrument]) -> str:
    """The code that refuses a subscription, empty when it is fine."""
    channel, subject = key
    if not channel:
        return "60013"
    if path == PRIVATE:
        return "60011" if channel in OWN else "60018"
    if path == PUBLIC and channel in ONLY_BUSINESS:
        return "64001" if channel in MOVED else "60018"
    if path == BUSINESS and channel in ONLY_PUBLIC:
        return "64002"
    if channel in VIP:
        return "64003"
    if channel in BY_KIND:
        return _by_kind(channel, subject, listed)
    if channel in BY_FAMILY:
        return _missing(subject) or _unless(_family_known(subject, "OPTION", listed))
    return "" if channel in ALONE else _unless(_known(channel, subject, listed))


def leader(index: str, listed: Mapping[str, Instrument]) -> Instrument | None:
    """The instrument whose middle price stands for an index (BTC-USDT, BTC-USD): its spot market, else any with this
    base that is no option."""
    found = listed.get(index)
    if found is not None and not found.ended and found.listing.kind == "SPOT":
        return found
    base, _, quote = index.partition("-")
    fits = [one for one in listed.values() if one.listing.base == base and not one.ended]
    if quote != "USD" and all(one.listing.family != index for one in fits):
        return None
    return next((one for one in fits if one.listing.kind != "OPTION"), None)


def _by_kind(channel: str, subject: str, listed: Mapping[str, Instrument]) -> str:
    kind, _, inner = subject.partition("/")
    if not kind or (NARROWED.get(channel, False) and not inner):
        return "60013"
    if kind not in BY_KIND[channel]:
        return "60018"
    if not inner:
        return ""
    return _unless(_family_known(inner, kind, listed) or _lives(inner, kind, listed))


def _known(channel: str, subject: str, listed: Mapping[str, Instrument]) -> bool:
    if channel in INDICES or channel.startswith(INDEX_CANDLE):
        return leader(subject, listed) is not None and channel in INDICES | MOVED
    one = listed.get(subject)
    if one is None or one.ended:
        return False
    if channel in DERIVATIVES:
        return bool(one.listing.contract)
    if channel in PERPETUALS:
        return one.listing.kind == "SWAP"
    return channel in PLAIN | ONLY_BUSINESS


def _lives(symbol: str, kind: str, listed: Mapping[str, Instrument]) -> bool:
    one = listed.get(symbol)
    return one is not None and not one.ended and one.listing.kind == kind


def _family_known(family: str, kind: str, listed: Mapping[str, Instrument]) -> bool:
    return any(one.listing.family == family and _lives(name, kind, listed) for name, one in listed.items())


def _missing(subject: str) -> str:
    return "" if subject else "60013"


def _unless(known: bool) -> str:
    return "" if known else "60018"
