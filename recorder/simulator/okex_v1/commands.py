"""What one can ask of the simulated OKEx v1 besides the faults of any venue: any text, errors unasked, other manners.

Owns these requests (names and fields are the control endpoint's JSON). What lasts is in `options`, until `clear`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec

from recorder.simulator import faults
from recorder.simulator.faults import Link
from recorder.simulator.okex_v1 import options as lasting
from recorder.simulator.okex_v1.text import failed


@runtime_checkable
class Desk(Protocol):
    """The venue, as far as these requests go beyond a `Target`."""

    switched: lasting.Switched

    def links(self, path: str) -> Sequence[Link]:
        """The open connections whose path contains this."""
        ...

    def say(self, link: Link, body: bytes) -> None:
        """Send a connection a message in its manner, here without its envelope."""
        ...

    def tell(self, link: Link, message: bytes) -> None:
        """Send a connection a message in its manner, as it is."""
        ...


class Command(faults.Command):
    """A request that only this venue knows."""

    desk = Desk

    def do(self, desk: Desk) -> int:
        """Do it to every connection in question, and say how many these are."""
        links = desk.links(self.path)
        for link in links:
            self.one(desk, link)
            link.flush()
        return len(links)

    def one(self, desk: Desk, link: Link) -> None:
        """Do it to this one."""
        raise NotImplementedError


class Say(Command):
    """Send any text, compressed where the connection is."""

    text: str

    def one(self, desk: Desk, link: Link) -> None:
        """Send it."""
        desk.tell(link, self.text.encode())


class Error(Command):
    """Send a failure that nobody asked for."""

    code: str = "20049"
    channel: str = "addChannel"

    def one(self, desk: Desk, link: Link) -> None:
        """Send it."""
        desk.say(link, failed(self.channel, self.code))


class Manners(Command):
    """Switch how the venue was seen to differ (see `options`); what is left out goes back to as it is usually."""

    bare: bool = False
    unmarked: bool = False
    numbers: bool = False
    strings: bool = False
    five: bool = False

    def do(self, desk: Desk) -> int:
        """Switch."""
        options = (self.bare, self.unmarked, self.numbers, self.strings, self.five)
        desk.switched.manners = lasting.Manners(*options)
        return 1


Request = faults.Request | Say | Error | Manners


def decode(body: bytes) -> Request:
    """A control request's body; msgspec.ValidationError says what is wrong with it."""
    request: Request = msgspec.json.decode(body, type=Request)
    return request
