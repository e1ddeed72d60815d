"""What faults have left switched on at a simulated venue, until it is cleared.

Owns the switches and the arithmetic of shares and counts. What can be asked for is in `faults`; never touches a socket.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from recorder.simulator.way import Way

if TYPE_CHECKING:
    from recorder.simulator.faults import Handshake, Ignore, Mute, Reject


def _matches(rules: Sequence[Reject | Ignore | Mute], channel: str, symbol: str) -> bool:
    return any(rule.channel in ("", channel) and rule.symbol in ("", symbol) for rule in rules)


@dataclass(slots=True)
class Faults:
    """What is switched on."""

    random: Random
    usual: str = "60018"  # the code of a refusal that was asked for without one
    silent: bool = False
    swallowing: bool = False
    rejected: list[Reject] = field(default_factory=list)
    ignored: list[Ignore] = field(default_factory=list)
    muted: list[Mute] = field(default_factory=list)
    skip: dict[str, int] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)
    duplicate: float = 0.0
    poison: float = 0.0
    handshakes: list[Handshake] = field(default_factory=list)
    poisoned: int = 0  # bad frames sent, per connection each
    duplicated: int = 0
    ways: list[Way] = field(default_factory=list)  # to the addresses that the venue is served at

    def way(self, address: int) -> Way:
        """The way to an address; the first is 0."""
        if not 0 <= address < 100:
            raise ValueError(f"address {address}: the first is 0")
        while len(self.ways) <= address:
            self.ways.append(Way())
        return self.ways[address]

    def clear(self) -> None:
        """Switch everything off; what was counted stays."""
        self.silent = self.swallowing = False
        self.duplicate = self.poison = 0.0
        for rules in (self.rejected, self.ignored, self.muted, self.handshakes):
            rules.clear()
        self.skip.clear()
        self.broken.clear()
        for way in self.ways:
            way.clear()

    def rejection(self, channel: str, symbol: str) -> str:
        """The code to refuse this subscription with, empty for none."""
        return next((rule.code or self.usual for rule in self.rejected if _matches([rule], channel, symbol)), "")

    def ignores(self, channel: str, symbol: str) -> bool:
        """Whether this subscription gets no answer at all."""
        return _matches(self.ignored, channel, symbol)

    def mutes(self, channel: str, symbol: str) -> bool:
        """Whether this subscription gets no data."""
        return bool(self.muted) and _matches(self.muted, channel, symbol)

    def skips(self, symbol: str) -> bool:
        """Whether this trade stays unsent; counts down."""
        left = self.skip.get(symbol, 0)
        if left:
            self.skip[symbol] = left - 1
        return left > 0

    def breaks(self, symbol: str) -> bool:
        """Whether this book update is lost; counts down, and spares every second one."""
        left = self.broken.get(symbol, 0)
        if left:
            self.broken[symbol] = left - 1
        return left > 0 and left % 2 == 0

    def mangle(self, good: bytes, bad: Sequence[bytes]) -> tuple[bytes, int, int]:
        """A frame with its duplicate or a poisonous neighbour; how many of each came along."""
        twice = self.random.random() < self.duplicate
        poison = self.random.random() < self.poison
        data = good * 2 if twice else good
        return (data + self.random.choice(bad) if poison else data), int(twice), int(poison)
