"""What can go wrong at a venue, on request: each fault is a message that a test or `POST /_control` sends.

Owns the requests (their names and fields are the control endpoint's JSON); what they leave switched on is `switched`'s.
Never touches a socket: it asks the venue's links. Every fault that can last lasts until `clear`.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from enum import Enum
from typing import Any, ClassVar, Protocol, runtime_checkable

import msgspec

from recorder.simulator.switched import Faults as Faults
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


class Command(Fault):
    """A request that only some venues know: those that are a `desk`."""

    desk: ClassVar[type] = object

    def strike(self, target: Target) -> int:
        """Do it now."""
        if not isinstance(target, self.desk):
            raise ValueError("this venue knows no such request")
        return self.do(target)

    def do(self, desk: Any) -> int:
        """Do it, and say how many connections, instruments or requests it concerns."""
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


class Delay(Fault):
    """Everything that is sent from an address (the first is 0) is so many seconds late: data, answers, and the TLS
    handshakes of later connections."""

    seconds: float = 0.2
    address: int = 0

    def strike(self, target: Target) -> int:
        """Do it now."""
        target.faults.way(self.address).delay = max(0.0, self.seconds)
        return 1


class Loss(Fault):
    """This share of what is sent from an address is lost, and comes `stall` seconds later, twice as late if that is
    lost, too; everything behind it waits. As TCP has it with a lossy line."""

    share: float = 0.05
    stall: float = 0.2
    address: int = 0

    def strike(self, target: Target) -> int:
        """Do it now."""
        way = target.faults.way(self.address)
        way.share, way.stall = min(max(0.0, self.share), 0.9), max(0.0, self.stall)
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
) | (Duplicate | Poison | Handshake | Refuse | Delay | Loss | Clear)


def decode(body: bytes) -> Request:
    """A control request's body; msgspec.ValidationError says what is wrong with it."""
    request: Request = msgspec.json.decode(body, type=Request)
    return request
