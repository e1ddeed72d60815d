"""What Infoway pushes, and when: trades as they happen, depth every 100 ms, the running bars every second.

Owns the last trade of every symbol. Never reads what a client sends, never decides whether a subscription is allowed.
Depth comes whether it changed or not, and nothing comes on subscribing: so it was recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from recorder.simulator.bars import Bar
from recorder.simulator.book import Update
from recorder.simulator.fanout import Fanout, Subscriber
from recorder.simulator.faults import Faults
from recorder.simulator.infoway.text import KLINES, Text, kline_span
from recorder.simulator.market import Instrument, Trade
from recorder.simulator.wire import frame

TRADE, DEPTH = "trade", "depth"

BAD_FRAMES = (
    frame(b'{"code":10002,"data":{"p":"63039","s":"BTCUSDT","t":17867752'),
    frame(b"\xff\xfe not UTF-8"),
    frame(b'{"code":10002,"data":{"p":"NaN","s":"BTCUSDT","t":1786775227483,"td":1,"v":"0.07933","vw":"5000.88387"}}'),
    frame(b'{"code":10002,"data":{"s":"BTCUSDT","t":1786775227483,"td":1,"v":"0.07933"}}'),
    frame(b'{"code":10005,"data":{"a":[["63039.00000000"],[]],"b":null,"s":"BTCUSDT","t":1786775235640}}'),
    frame(b'{"code":10008,"data":' + b"[" * 2_000 + b"]" * 2_000 + b"}"),
    frame(b"\x00\x01\x02", 0x2),
)


@dataclass(slots=True, eq=False)
class Reader(Subscriber):
    """A subscriber, and on which symbols it wants the type of a trade."""

    typed: set[str] = field(default_factory=set)


class Pusher(Fanout):
    """The listener of a market: formats an event only when somebody wants it."""

    def __init__(self, instruments: Mapping[str, Instrument], faults: Faults) -> None:
        super().__init__(instruments, faults, BAD_FRAMES)
        self.texts = {symbol: Text(one.listing) for symbol, one in instruments.items()}
        self.last: dict[str, Trade] = {}

    def on_trade(self, instrument: Instrument, trade: Trade) -> None:
        """`trade`, with the type for those who asked."""
        symbol = instrument.listing.symbol
        if self.withheld(symbol, trade):
            return
        self.last[symbol] = trade
        key = (TRADE, symbol)
        waiting = self.waiting(key)
        if waiting:
            self.record(key, trade)
            for typed, readers in _by_type(waiting, symbol).items():
                self.send(readers, self.texts[symbol].trade(trade, typed=typed))

    def on_top(self, instrument: Instrument) -> None:
        """Nothing is pushed that fast."""

    def on_book(self, instrument: Instrument, update: Update) -> None:
        """Depth is never a change, always a whole."""

    def on_tenth(self, instrument: Instrument) -> None:
        """`depth`."""
        symbol = instrument.listing.symbol
        if self.waiting((DEPTH, symbol)) and not self._faults.breaks(symbol):
            now = instrument.now_us // 1000
            self.push((DEPTH, symbol), lambda: self.texts[symbol].depth(instrument, now))

    def on_second(self, instrument: Instrument, at_ms: int) -> None:
        """The bars as they are at the end of this second: those that end with it for the last time."""
        symbol = instrument.listing.symbol
        for kind, channel in KLINES.items():
            if self.waiting((channel, symbol)):
                bar, before = bar_at(instrument, kind, at_ms - 1)
                self.push((channel, symbol), lambda k=kind, b=bar, c=before: self.texts[symbol].kline(k, b, c))  # type: ignore[misc]


def bar_at(instrument: Instrument, kind: int, at_ms: int) -> tuple[Bar, int]:
    """The bar that holds this moment, which must not be before the market's first, and the price it comes from."""
    bars = instrument.minutes
    start, end = kline_span(kind, at_ms)
    bar = bars.merge(start, end)
    assert bar is not None
    return bar, bars.close_before(start)


def _by_type(waiting: Iterable[Subscriber], symbol: str) -> dict[bool, list[Subscriber]]:
    groups: dict[bool, list[Subscriber]] = {}
    for one in waiting:
        groups.setdefault(isinstance(one, Reader) and symbol in one.typed, []).append(one)
    return groups
