"""What one can ask of the simulated OKX besides the faults of any venue: listings, maintenance, errors, other manners.

Owns these requests (names and fields are the control endpoint's JSON). What lasts is in `options`, until `clear`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import msgspec

from recorder.simulator import faults
from recorder.simulator.clock import Clock
from recorder.simulator.faults import Faults, Link
from recorder.simulator.market import Instrument, Market, Phase
from recorder.simulator.okx.channels import MESSAGES
from recorder.simulator.okx.listings import crowd
from recorder.simulator.okx.options import OkxFaults, Options, Shape, Start
from recorder.simulator.okx.push import Pusher
from recorder.simulator.wire import frame

RUNNING_STATES = ("scheduled", "ongoing", "pre_open")


@runtime_checkable
class Desk(Protocol):
    """The venue, as far as these requests go beyond a `Target`."""

    market: Market
    pusher: Pusher
    faults: Faults
    clock: Clock

    def links(self, path: str) -> Sequence[Link]:
        """The open connections whose path contains this, or the one with this id."""
        ...


class Command(faults.Command):
    """A request that only this venue knows."""

    desk = Desk


class List(Command):
    """List an instrument by name, or `count` perpetuals (C000-USDT-SWAP …), with `rate` trades a second each.

    `opens_in`: seconds of call auction before it trades. `expires_in`: seconds until it expires, 0 never. `calm`: see
    `Listing`. Prices, ticks and sizes are the market's own choice.
    """

    symbol: str = ""
    count: int = 0
    rate: float = 1.0
    calm: bool = True
    opens_in: float = 0.0
    expires_in: float = 0.0

    def do(self, desk: Desk) -> int:
        """List them."""
        symbols = [self.symbol] if self.symbol else crowd(self.count)
        for symbol in symbols:
            instrument = self._listed(desk, symbol)
            desk.pusher.begin(instrument)
            desk.pusher.changed(instrument)
        return len(symbols)

    def _listed(self, desk: Desk, symbol: str) -> Instrument:
        if symbol.count("-") not in (1, 2, 4):
            raise ValueError(f"{symbol} is no name of an instrument, for example X-USDT or X-USDT-SWAP")
        now = desk.clock.wall_us()
        opens, expires = (now // 1000 + int(s * 1000) if s else 0 for s in (self.opens_in, self.expires_in))
        listing = desk.market.listing(symbol)
        listing = replace(listing, calm=self.calm, listed=now // 1000, opens=opens, expires=expires)
        return desk.market.add(listing, now, self.rate)


class Delist(Command):
    """End an instrument: `suspend` leaves it in the list of instruments, `expired` takes it off."""

    symbol: str
    state: str = "suspend"

    def do(self, desk: Desk) -> int:
        """End it."""
        instrument = desk.market.instruments.get(self.symbol)
        phase = {"suspend": Phase.SUSPENDED, "expired": Phase.EXPIRED}.get(self.state)
        if instrument is None or phase is None:
            raise ValueError(f"delist wants a listed symbol, and suspend or expired: {self.symbol!r}, {self.state!r}")
        instrument.publish(desk.pusher)  # so that what was published is what there was
        instrument.phase = phase
        desk.pusher.changed(instrument)
        return 1


class Maintenance(Command):
    """Tell on channel `status` that the service is scheduled to rest, does (ongoing), or has (completed, canceled)."""

    state: str = "scheduled"
    title: str = "Trading account system upgrade"
    begins_in: float = 600.0
    seconds: float = 600.0

    def do(self, desk: Desk) -> int:
        """Tell."""
        now = desk.clock.wall_us() // 1000
        begin = now + int(self.begins_in * 1000)
        end = begin + int(self.seconds * 1000)
        row = {"title": self.title, "state": self.state, "begin": str(begin), "end": str(end), "preOpenBegin": ""}
        row |= {"href": "", "serviceType": "0", "system": "unified", "scheDesc": "", "maintType": "1", "env": "1"}
        text = msgspec.json.encode({**row, "ts": str(now)}).decode()
        desk.pusher.status(text, over=self.state not in RUNNING_STATES)
        return 1


class Adl(Command):
    """Warn on channel `adl-warning` once a second, until the state is `normal`."""

    kind: str = "SWAP"
    family: str = "BTC-USDT"
    state: str = "warning"

    def do(self, desk: Desk) -> int:
        """Begin or end."""
        desk.pusher.warn(self.kind, self.family, self.state)
        return 1


class Sent(Command):
    """Something that is sent to every connection in question."""

    def do(self, desk: Desk) -> int:
        """Send it."""
        links = desk.links(self.path)
        for link in links:
            link.push(frame(self.payload()))
            link.flush()
        return len(links)

    def payload(self) -> bytes:
        """What is sent."""
        raise NotImplementedError


class Error(Sent):
    """Send an error frame that nobody asked for. `msg` empty: the venue's own words. `shape`: see `Shape`."""

    code: str = "63999"
    msg: str = ""
    id: str = ""
    shape: Shape = Shape.EVENT

    def payload(self) -> bytes:
        """The frame."""
        event = {"id": self.id} if self.id else {}
        event |= {"event": "error", "code": self.code, "msg": self.msg or MESSAGES.get(self.code, "")}
        return shaped(self.shape, self.code) or msgspec.json.encode(event)


class Say(Sent):
    """Send any text: {"event":"channel-conn-count","channel":"orders","connCount":"2"}, or nonsense."""

    text: str

    def payload(self) -> bytes:
        """The text."""
        return self.text.encode()


class Manners(Command):
    """Switch ways in which the venue was or will be different; what is left out goes back to as it is today."""

    checksum: bool = False
    start: Start = Start.SNAPSHOT
    lag: float = 0.0
    candle_fields: int = 9
    shape: Shape = Shape.EVENT

    def do(self, desk: Desk) -> int:
        """Switch."""
        if self.candle_fields not in (7, 9):
            raise ValueError(f"candle_fields {self.candle_fields}: a candle has 9 fields, or 7 as until 2022")
        assert isinstance(desk.faults, OkxFaults)
        desk.faults.options = Options(self.checksum, self.start, self.lag, self.candle_fields, self.shape)
        return 1


def shaped(shape: Shape, code: str) -> bytes:
    """An error frame of an old shape, empty for today's."""
    if shape is Shape.TEXT:
        return f'{{"error":"{code}"}}'.encode()
    return f'{{ "error" : {code} }}'.encode() if shape is Shape.NUMBER else b""


Request = faults.Request | List | Delist | Maintenance | Adl | Error | Say | Manners


def decode(body: bytes) -> Request:
    """A control request's body; msgspec.ValidationError says what is wrong with it."""
    request: Request = msgspec.json.decode(body, type=Request)
    return request
