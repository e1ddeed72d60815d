"""Streams that were accepted and bring nothing: noticed, asked for once more, then named.

Owns which streams of a connection have not brought anything yet, and for how long that is nothing to speak of. Never
sends, and never takes a connection down: an acknowledgement proves nothing (a wrong business, an unknown symbol and a
closed market are acknowledged and then silent for ever), but neither does one silent stream say anything about the
others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from recorder.records import Decoded, Stream, Streams
from recorder.venues import Channel, Subscription

LOOK_EVERY = 1.0
NAMED = 5  # streams that a sentence names


def names(streams: list[Subscription]) -> str:
    """Some of them, and how many more there are."""
    some = ", ".join(f"{s.channel} {s.symbol}".rstrip() for s in streams[:NAMED])
    return some if len(streams) <= NAMED else f"{some} and {len(streams) - NAMED} more"


@dataclass(slots=True)
class Wait:
    """A stream that has not brought anything on this connection. `due`: when that is too long."""

    subscription: Subscription
    within: float
    again: bool  # it was asked for once more, or was known to be silent before
    due: float = math.inf


class Look(NamedTuple):
    """What a look found: whom to ask for once more, who is silent, and who of those was not known to be."""

    again: list[Subscription]
    silent: list[Subscription]
    news: list[Subscription]


NOTHING = Look([], [], [])


class Unheard:
    """The streams of one feed over all its connections; `begin` is called for each. `waits`: by number of the stream,
    empty when everything has been heard of, so that a burst costs one look at it."""

    def __init__(self, source: str, streams: Streams, channel: Callable[[str], Channel | None]) -> None:
        self._source = source
        self._streams = streams
        self._channel = channel
        self._asked: dict[int, bool] = {}  # streams of this connection -> whether they bring more than events
        self._silent: dict[int, Subscription] = {}  # stays over a reconnect, until something comes
        self._look_at = -math.inf
        self.waits: dict[int, Wait] = {}

    @property
    def silent(self) -> list[Subscription]:
        """The streams that are on record as silent; any thread may ask."""
        return sorted(self._silent.copy().values())

    def expecting(self) -> bool:
        """Whether this connection has a stream that should bring something without being known to be silent."""
        return any(regular and number not in self._silent for number, regular in self._asked.items())

    # --- what happened -----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A new connection: nothing was asked for on it."""
        self.waits.clear()
        self._asked.clear()

    def asked(self, subscriptions: Iterable[Subscription]) -> None:
        """Asked for the first time. From here on, for the first data may come in one read with the answer."""
        for subscription in subscriptions:
            number, channel = self._number(subscription), self._channel(subscription.channel)
            within = channel.within if channel is not None else None
            self._asked[number] = within is not None
            if within is not None:
                self.waits[number] = Wait(subscription, within, again=number in self._silent)

    def accepted(self, subscription: Subscription, now: float) -> None:
        """The venue agreed: from now on it owes something."""
        wait = self.waits.get(self._number(subscription))
        if wait is not None:
            wait.due = now + wait.within

    def forget(self, subscription: Subscription) -> None:
        """Refused or given up: nothing will come, and everybody knows."""
        number = self._number(subscription)
        for known in (self.waits, self._asked, self._silent):
            known.pop(number, None)

    def data(self, decoded: Decoded) -> list[Subscription]:
        """A burst brought something. Those among its streams that were on record as silent."""
        seen = {number for rows in decoded.tables.values() for number in rows.streams}
        hits = self.waits.keys() & seen
        strangers = seen - self._asked.keys()
        if strangers or not decoded.tables:
            # A channel that is asked for by type or family brings instruments, and what the disk had no room for names
            # no stream: then all that can be told is the channel.
            channels = {self._streams[number].channel for number in strangers} or set(decoded.messages)
            hits |= {n for n, wait in self.waits.items() if wait.subscription.channel in channels}
        for number in hits:
            del self.waits[number]
        return [self._silent.pop(number) for number in sorted(hits) if number in self._silent]

    # --- what to do --------------------------------------------------------------------------------------------------

    def look(self, now: float) -> Look:
        """Once a second: whose time is over."""
        if not self.waits or now < self._look_at:
            return NOTHING
        self._look_at = now + LOOK_EVERY
        found = Look([], [], [])
        for number, wait in self.waits.items():
            if wait.due <= now and not wait.again:
                wait.again, wait.due = True, now + wait.within
                found.again.append(wait.subscription)
            elif wait.due <= now:
                wait.due = math.inf
                found.silent.append(wait.subscription)
                if number not in self._silent:
                    self._silent[number] = wait.subscription
                    found.news.append(wait.subscription)
        return found

    def _number(self, subscription: Subscription) -> int:
        return self._streams.number(Stream(self._source, subscription.channel, subscription.symbol))
