"""Who wants which channel of which symbol, and sending it to them, with what faults do to it.

Owns the subscribers of each channel and what was withheld. Knows no venue's format: payloads are made by
the venue that listens to its market, and only when somebody wants them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from recorder.simulator.connection import Connection
from recorder.simulator.faults import Faults
from recorder.simulator.market import Instrument, Trade
from recorder.simulator.oracle import Connected, Range, extend
from recorder.simulator.wire import frame

Key = tuple[str, str]  # channel, symbol


@dataclass(slots=True, eq=False)
class Subscriber:
    """A connection that data goes to, its page of the ledger, and what went to it, if anybody wants to know.
    `pack`: the frame of a message."""

    link: Connection
    page: Connected
    journal: list[bytes] | None = None
    pack: Callable[[bytes], bytes] = frame

    def send(self, message: bytes) -> None:
        """Send a message, unless there is silence."""
        self.forward(self.pack(message), message)

    def forward(self, data: bytes, *messages: bytes) -> None:
        """Send finished frames that hold these messages, unless there is silence."""
        if not self.link.silent:
            self.link.push(data)
            if self.journal is not None:
                self.journal += messages


class Fanout:
    """The subscribers of a venue. `bad`: frames that nobody can decode, for the fault `poison`. `pack`: the frame of a
    message."""

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        faults: Faults,
        bad: Sequence[bytes],
        pack: Callable[[bytes], bytes] = frame,
    ) -> None:
        self.skipped: dict[str, list[Range]] = {}
        self._instruments = instruments
        self._faults = faults
        self._bad = bad
        self._pack = pack
        self._wanted: dict[Key, dict[Connection, Subscriber]] = {}

    def add(self, key: Key, subscriber: Subscriber) -> None:
        """Send a channel to a connection from now on."""
        self._wanted.setdefault(key, {})[subscriber.link] = subscriber

    def remove(self, key: Key, link: Connection) -> None:
        """Stop sending it."""
        self._wanted.get(key, {}).pop(link, None)

    def wanted(self, channel: str) -> dict[str, list[Connection]]:
        """Who wants a channel, by symbol."""
        return {symbol: list(links) for (name, symbol), links in self._wanted.items() if name == channel and links}

    def waiting(self, key: Key) -> Collection[Subscriber]:
        """Who wants this and shall have it."""
        wanted = self._wanted.get(key)
        return wanted.values() if wanted and not self._faults.mutes(*key) else ()

    def withheld(self, symbol: str, trade: Trade) -> bool:
        """Whether this trade stays unsent on purpose; it is noted then."""
        skipped = self._faults.skips(symbol)
        if skipped:
            extend(self.skipped.setdefault(symbol, []), trade.first, trade.last)
        return skipped

    def record(self, key: Key, trade: Trade) -> None:
        """Note in the ledger to whom a trade goes."""
        for one in self.waiting(key):
            if not one.link.silent:
                one.page.add(key[1], trade.first, trade.last)

    def push(self, key: Key, payload: Callable[[], bytes]) -> None:
        """Send a message to everybody who wants it."""
        waiting = self.waiting(key)
        if waiting:
            self.send(waiting, payload())

    def send(self, subscribers: Collection[Subscriber], message: bytes) -> None:
        """Send a message to these."""
        self.deliver(subscribers, message, self._pack(message), self._bad)

    def deliver(self, subscribers: Collection[Subscriber], message: bytes, data: bytes, bad: Sequence[bytes]) -> None:
        """Send these a message, `data` in a frame, with its duplicate or a bad neighbour where faults want that."""
        faults, messages = self._faults, [message]
        if faults.duplicate or faults.poison:
            data, twice, poison = faults.mangle(data, bad)
            faults.duplicated += twice * len(subscribers)
            faults.poisoned += poison * len(subscribers)
            messages *= 1 + twice
        for one in subscribers:
            one.forward(data, *messages)
