"""What one can ask of the simulated Infoway besides the faults of any venue: its errors, its prose, statuses of REST.

Owns these requests (names and fields are the control endpoint's JSON) and what of them lasts, until `clear`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import msgspec

from recorder.simulator import faults
from recorder.simulator.faults import Faults, Link
from recorder.simulator.infoway.text import MESSAGES, error
from recorder.simulator.wire import frame


@runtime_checkable
class Desk(Protocol):
    """The venue, as far as these requests go beyond a `Target`."""

    switched: Switched

    def links(self, path: str) -> Sequence[Link]:
        """The open connections whose path contains this."""
        ...


class Command(faults.Command):
    """A request that only this venue knows."""

    desk = Desk


class Say(Command):
    """Send a text message as it is: a notice, nonsense, a push as no such venue ever sent it."""

    text: str

    def do(self, desk: Desk) -> int:
        """Send it."""
        links = desk.links(self.path)
        for link in links:
            link.push(frame(self.text.encode()))
            link.flush()
        return len(links)


class Error(Command):
    """Send an error that nobody asked for. `msg` empty: the venue's own words."""

    code: str = "500"
    msg: str = ""

    def do(self, desk: Desk) -> int:
        """Send it."""
        text = error(self.code, self.msg or MESSAGES.get(self.code, "Error")).decode()
        return Say(path=self.path, text=text).do(desk)


class Turnaway(Command):
    """Accept the next `times` connections, tell them this code and close: what becomes of keys that the gateway lets
    through but the service does not."""

    code: str = "519"
    msg: str = ""
    times: int = 1

    def do(self, desk: Desk) -> int:
        """From now on."""
        desk.switched.turned += [error(self.code, self.msg or MESSAGES.get(self.code, "Error"))] * self.times
        return self.times


class Prose(Command):
    """Answer matching subscriptions (empty: any) with exactly this text, and nothing else."""

    text: str
    channel: str = ""
    symbol: str = ""

    def do(self, desk: Desk) -> int:
        """From now on."""
        desk.switched.prose.append(self)
        return 1


class Answer(Command):
    """Answer the next `times` REST requests whose path contains `path` so; an empty body is the venue's own."""

    status: int = 500
    body: str = ""
    times: int = 1
    retry_after: int = 0

    def do(self, desk: Desk) -> int:
        """From now on."""
        desk.switched.answers += [self] * self.times
        return self.times


@dataclass(slots=True)
class Switched(Faults):
    """The faults of any venue, and these."""

    turned: list[bytes] = field(default_factory=list)
    prose: list[Prose] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def clear(self) -> None:
        """Switch everything off."""
        Faults.clear(self)
        for rules in (self.turned, self.prose, self.answers):
            rules.clear()

    def words(self, channel: str, symbol: str) -> bytes:
        """What to answer this subscription with instead of anything else, empty for nothing."""
        fits = (one for one in self.prose if one.channel in ("", channel) and one.symbol in ("", symbol))
        return next((one.text.encode() for one in fits), b"")

    def answer(self, path: str) -> Answer | None:
        """What happens to a REST request on this path; counts down."""
        found = next((one for one in self.answers if one.path in path), None)
        if found is not None:
            self.answers.remove(found)
        return found


Request = faults.Request | Say | Error | Turnaway | Prose | Answer


def decode(body: bytes) -> Request:
    """A control request's body; msgspec.ValidationError says what is wrong with it."""
    request: Request = msgspec.json.decode(body, type=Request)
    return request
