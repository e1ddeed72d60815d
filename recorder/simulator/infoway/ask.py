"""What clients may ask of Infoway over a WebSocket: the codes, their data, and what is wrong with a request.

Owns reading requests. Never decides whether one is granted. Messages of 506 and 507 as recorded: `Param lost：data`,
`Param error：The code is out of range`; `Param not json` as the vendor's SDKs expect it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from recorder.simulator.fanout import Key
from recorder.simulator.infoway.push import DEPTH, TRADE
from recorder.simulator.infoway.text import KLINES

HEARTBEAT, HEARD = 10010, 10011
SUBSCRIBE = {10000: TRADE, 10003: DEPTH, 10006: ""}  # the answer is the next number; klines name their channels
UNSUBSCRIBE = {11000: TRADE, 11001: DEPTH, 11002: ""}
UNSUBSCRIBED = 11010


class BadAsk(Exception):
    """A request that is answered with an error."""

    def __init__(self, code: str, text: str, trace: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.trace = trace


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that makes sense. `answer`: the code to acknowledge it with, 0 for none. `keys` is empty where all of
    `channels` is meant."""

    trace: str
    answer: int
    keys: tuple[Key, ...] = ()
    channels: frozenset[str] = frozenset()
    heartbeat: bool = False
    subscribe: bool = False
    typed: bool = False

    def covers(self, key: Key) -> bool:
        """Whether this takes a subscription back."""
        return key in self.keys or (not self.keys and key[0] in self.channels)


def read(message: bytes) -> Ask:
    """A request; BadAsk says with what it is answered if it is none."""
    try:
        asked: Any = msgspec.json.decode(message)
    except (msgspec.MsgspecError, UnicodeDecodeError) as bad:
        raise BadAsk("515", "Param not json") from bad
    if not isinstance(asked, dict):
        raise BadAsk("515", "Param not json")
    trace = asked.get("trace", "")
    try:
        return _read(asked, trace if isinstance(trace, str) else "")
    except BadAsk as bad:
        bad.trace = trace if isinstance(trace, str) else ""
        raise


def _read(asked: dict[str, Any], trace: str) -> Ask:
    code = _need(asked, "code")
    if code == HEARTBEAT:
        return Ask(trace, HEARD if asked.get("ack") == 1 else 0, heartbeat=True)
    if not isinstance(code, int) or code not in SUBSCRIBE | UNSUBSCRIBE:
        raise BadAsk("506", "Param error：The code is out of range")
    if code in UNSUBSCRIBE:
        return _less(trace, UNSUBSCRIBE[code], asked.get("data"))
    data = _need(asked, "data")
    if not isinstance(data, dict):
        raise BadAsk("506", "Param error：data")
    channel = SUBSCRIBE[code]
    keys = tuple((channel, symbol) for symbol in _codes(data)) if channel else _klines(data)
    return Ask(trace, code + 1, keys, subscribe=True, typed=data.get("includeTy") is True)


def _klines(data: dict[str, Any]) -> tuple[Key, ...]:
    wanted = _need(data, "arr")
    if not isinstance(wanted, list) or not all(isinstance(one, dict) for one in wanted):
        raise BadAsk("506", "Param error：arr")
    return tuple((_channel(_need(one, "type")), symbol) for one in wanted for symbol in _codes(one))


def _less(trace: str, channel: str, data: Any) -> Ask:
    """Without data all of the channel; klines without types every type of the symbols."""
    channels = frozenset({channel}) if channel else frozenset(KLINES.values())
    if not isinstance(data, dict) or "codes" not in data:
        return Ask(trace, UNSUBSCRIBED, (), channels)
    if not channel and data.get("klineTypes"):
        channels = frozenset(_channel(kind) for kind in str(data["klineTypes"]).split(","))
    return Ask(trace, UNSUBSCRIBED, tuple((name, symbol) for name in channels for symbol in _codes(data)), channels)


def _channel(kind: object) -> str:
    text = str(kind).strip()
    if not text.isascii() or not text.isdigit() or int(text) not in KLINES:
        raise BadAsk("506", "Param error：type")
    return KLINES[int(text)]


def _codes(data: dict[str, Any]) -> list[str]:
    codes = _need(data, "codes")
    if not isinstance(codes, str):
        raise BadAsk("506", "Param error：codes")
    symbols = [code.strip() for code in codes.split(",") if code.strip()]
    if not symbols:
        raise BadAsk("507", "Param lost：codes")
    return symbols


def _need(values: dict[str, Any], name: str) -> Any:
    if values.get(name) is None:
        raise BadAsk("507", f"Param lost：{name}")
    return values[name]
