"""What can be traded at a venue: the list it gives over REST, and the symbols that patterns mean.

Owns the shape of an instrument and the way from `*-USDT-SWAP` to symbols. Never asks a venue itself, and never knows
one: a venue says what to ask and how it spells an instrument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import msgspec
from msgspec.structs import replace

from recorder.config import Source, Subscribe
from recorder.errors import PoisonMessage
from recorder.spelling import Shape

WILD = "*?["


class Instrument(Shape):
    """A row of `instruments`. `time` stays empty: a list says nothing about when."""

    type: str = ""
    base: str = ""
    quote: str = ""
    settle: str = ""
    tick_size: str = ""
    lot_size: str = ""
    contract_value: str = ""
    state: str = ""
    listed_at: str = ""
    expires_at: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to a venue's REST interface: `GET path?params`."""

    path: str
    params: Mapping[str, str] = field(default_factory=dict)


class _Body(msgspec.Struct):
    """An answer: the list, and what says that there is none."""

    code: str | int = "0"
    data: msgspec.Raw = msgspec.Raw()


@dataclass(frozen=True, slots=True)
class Listing:
    """How a venue tells what can be traded. `live`: the states in which something is; empty: all of them."""

    asks: tuple[Ask, ...]
    shape: type[Instrument]
    live: frozenset[str] = frozenset()
    good: frozenset[str] = frozenset({"0"})  # codes of an answer that is one

    def read(self, body: bytes) -> list[Instrument]:
        """The instruments of an answer; raises `PoisonMessage` on one that is no list."""
        try:
            said = msgspec.json.decode(body, type=_Body)
            if str(said.code) not in self.good:
                raise PoisonMessage(f"the venue answered with code {str(said.code)[:20]}")
            found: list[Instrument] = msgspec.json.decode(said.data, type=list[self.shape])  # type: ignore[name-defined]
        except msgspec.MsgspecError as error:
            raise PoisonMessage(f"no list of instruments: {error}") from None
        return [each for each in found if each.symbol]

    def alive(self, instruments: Iterable[Instrument]) -> list[str]:
        """The symbols that can be subscribed to, sorted."""
        return sorted({each.symbol for each in instruments if not self.live or each.state in self.live})


def is_pattern(symbol: str) -> bool:
    """Whether a symbol of the configuration means several."""
    return any(char in symbol for char in WILD)


def has_patterns(source: Source) -> bool:
    """Whether a source follows what is listed."""
    return any(is_pattern(symbol) for block in source.subscribe for symbol in block.symbols)


def resolve(source: Source, symbols: Sequence[str]) -> Source:
    """The source with the symbols that its patterns mean now, in the order of the file."""
    return replace(source, subscribe=tuple(_block(block, symbols) for block in source.subscribe))


def _block(block: Subscribe, symbols: Sequence[str]) -> Subscribe:
    """A block of patterns that nothing matches asks for nothing, not for the channel as a whole."""
    meant = [
        found
        for symbol in block.symbols
        for found in ([s for s in symbols if fnmatchcase(s, symbol)] if is_pattern(symbol) else [symbol])
    ]
    if block.symbols and not meant:
        return replace(block, channels=())
    return replace(block, symbols=tuple(dict.fromkeys(meant)))
