"""What can go wrong at a venue, on request: each fault is a message that a test or `POST /_control` sends.

Owns the requests (their names and fields are the control endpoint's JSON) and what they leave switched on. Never
touches a socket: it asks the venue's links. Every fault that can last lasts until `clear`.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Protocol, runtime_checkable

import msgspec

from recorder.simulator.wire import frame


class Link(Protocol):
    """One WebSocket connection, as far as faults are concerned."""

    silent: bool
    swallowing: bool

    def close(self, code: int, reason: str) -> None:
        """Close with a close frame."""
        ...

    def reset(self) -> None:
        """Close with a TCP reset."""
        ...

    def end(self) -> None:
        """Close the TCP connection in order, but without a close frame."""
        ...

    def stall(self, data: bytes) -> None:
        """Send these bytes, then never anything again."""
        ...

    def deafen(self) -> None:
        """Read nothing any more."""
        ...

    def push(self, data: bytes) -> None:
        """Send bytes as they are."""
        ...

    def flush(self) -> bool:
        """Send what was pushed; whether there was anything."""
        ...


@runtime_checkable
class Target(Protocol):
    """The venue that a fault strikes."""

    faults: Faults

    def links(self, path: str) -> Sequence[Link]:
        """The open connections whose path contains this."""
        ...

    def announce(self, links: Sequence[Link], after: float) -> None:
        """Tell these that they will be closed, and close them `after` seconds later."""
        ...

    def restart_book(self, symbol: str) -> int:
        """Number a book on from a smaller id; how many books that were."""
        ...

    def refuse(self, seconds: float) -> None:
        """Stop listening for this long."""
        ...


class How(Enum):
    """Ways in which a connection ends."""

    CLOSE = "close"
    RST = "rst"
    EOF = "eof"


class Fault(msgspec.Struct, kw_only=True, tag_field="fault", tag=str.lower, forbid_unknown_fields=True):
    """One request. `strike` does it and says how many connections (or symbols) it hit."""

    path: str = ""

    def strike(self, target: Target) -> int:
        """Do it now, to every link in question."""
        links = target.links(self.path)
        for link in links:
            self.hit(link)
        return len(links)

    def hit(self, link: Link) -> None:
        """What the fault does to one connection."""
        raise NotImplementedError


class Drop(Fault):
    """End connections: with a close frame, a TCP reset, or an end of file without a close frame."""

    how: How = How.EOF
    code: int = 1000
    reason: str = ""

    def hit(self, link: Link) -> None:
        """End this one."""
        if self.how is How.CLOSE:
            link.close(self.code, self.reason)
        elif self.how is How.RST:
            link.reset()
        else:
            link.end()


class Silence(Fault):
    """No data any more, but answers to heartbeats. `later`: new connections too, until cleared."""

    on: bool = True
    later: bool = False

    def strike(self, target: Target) -> int:
        """Do it now."""
        target.faults.silent = self.on and self.later
        return Fault.strike(self, target)

    def hit(self, link: Link) -> None:
        """Switch it."""
        link.silent = self.on


class Swallow(Fault):
    """Heartbeats are not answered. `later`: on new connections too, until cleared."""

    on: bool = True
    later: bool = False

    def strike(self, target: Target) -> int:
        """Do it now."""
        target.faults.swallowing = self.on and self.later
        return Fault.strike(self, target)

    def hit(self, link: Link) -> None:
        """Switch it."""
        link.swallowing = self.on


class Stall(Fault):
    """Send the first `sent` bytes of a frame of `size` bytes, then nothing: a line that dies in the middle."""

    size: int = 1_000
    sent: int = 10

    def hit(self, link: Link) -> None:
        """Send the beginning."""
        link.stall(frame(b" " * self.size)[: self.sent])


class Deaf(Fault):
    """Read nothing any more from the open connections."""

    def hit(self, link: Link) -> None:
        """Stop reading."""
        link.deafen()


class Raw(Fault):
    """Send any bytes: an announced 8 GiB, endless continuations, a frame with reserved bits."""

    b64: str

    def hit(self, link: Link) -> None:
        """Send them."""
        link.push(base64.b64decode(self.b64))
        link.flush()


class Notice(Fault):
    """Announce the end of connections, and end them `after` seconds later (the venue: about 60)."""

    after: float = 60.0

    def strike(self, target: Target) -> int:
        """Do it now."""
        links = target.links(self.path)
        target.announce(links, self.after)
        return len(links)


class Reject(Fault):
    """Answer matching subscriptions (empty: any) with an error; without a code it is the venue's usual one."""

    channel: str = ""
    symbol: str = ""
    code: str = ""

    def strike(self, target: Target) -> int:
        """Do it now."""
        target.faults.rejected.append(self)
        return 1


class Ignore(Fault):
    """Neither acknowledge nor serve matching subscriptions."""

    channel: str = ""
    symbol: str = ""

    def strike(self, target: Target) -> int:
        """Do it now."""
        target.faults.ignored.append(self)
        return 1


class Mute(Fault):
    """Acknowledge matching subscriptions, but never push anything on them."""

    channel: str = ""
    symbol: str = ""

    def strike(self, target: Target) -> int:
        """Do it now."""
        target.faults.muted.append(self)
        return 1


class Skip(Fault):
    """The next `count` trades of a symbol are numbered but never pushed (REST shows them)."""

    symbol: str
    count: int = 1

    def strike(self, target: Target) -> int:
        """Do it now."""
        target.faults.skip[self.symbol] = target.faults.skip.get(self.symbol, 0) + self.count
        return 1


class Breakbook(Fault):
    """Lose every second update of a book, `count` times."""

    symbol: str
    count: int = 1

    def strike(self, target: Target) -> int:
        """Do it now."""
        target.faults.broken[self.symbol] = 2 * self.count
        return 1


class Resetbook(Fault):
    """The venue restarts a book's numbering: one update with seqId < prevSeqId. Empty: every book."""

    symbol: str = ""

    def strike(self, target: Target) -> int:
        """Do it now."""
        return target.restart_book(self.symbol)


class Duplicate(Fault):
    """Send this share of all pushes twice."""

    share: float = 1.0

    def strike(self, target: Target) -> int:
        """Do it now."""
        target.faults.duplicate = self.share
        return 1


class Poison(Fault):
    """After this share of all pushes send a frame that nobody can decode."""

    share: float = 0.01

    def strike(self, target: Target) -> int:
        """Do it now."""
        target.faults.poison = self.share
        return 1


class Handshake(Fault):
    """Treat the next `times` handshakes so: wait `delay` seconds, and answer `status` unless it is 101."""

    status: int = 401
    delay: float = 0.0
    times: int = 1
    retry_after: int = 0

    def strike(self, target: Target) -> int:
        """Do it now."""
        target.faults.handshakes = [self] * self.times
        return self.times


class Refuse(Fault):
    """Refuse connections for this long: nobody listens on the port."""

    seconds: float = 1.0

    def strike(self, target: Target) -> int:
        """Do it now."""
        target.refuse(self.seconds)
        return 1


class Clear(Fault):
    """Stop every fault that lasts."""

    def strike(self, target: Target) -> int:
        """Do it now."""
        target.faults.clear()
        links = target.links("")
        for link in links:
            link.silent = link.swallowing = False
        return len(links)


Request = (
    Drop | Silence | Swallow | Stall | Deaf | Raw | Notice | Reject | Ignore | Mute | Skip | Breakbook | Resetbook
) | (Duplicate | Poison | Handshake | Refuse | Clear)


def decode(body: bytes) -> Request:
    """A control request's body; msgspec.ValidationError says what is wrong with it."""
    request: Request = msgspec.json.decode(body, type=Request)
    return request


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

    def clear(self) -> None:
        """Switch everything off; what was counted stays."""
        self.silent = self.swallowing = False
        self.duplicate = self.poison = 0.0
        for rules in (self.rejected, self.ignored, self.muted, self.handshakes):
            rules.clear()
        self.skip.clear()
        self.broken.clear()

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
