"""WebSocket pings on a connection that is in use: when the next is due, and how long each took.

Owns the pings of one connection whose source has several addresses; nobody needs them otherwise. In: the feed's thread
says when it saw the socket empty and what was answered. Out: the payload of each ping, the round trip, and what
`Endpoints` makes of the last ones. Never sends, never waits. Fails: a venue that never answers a ping on this
connection is asked no more and is not taken for slow; replies to the protocol's own heartbeat count instead.

An answer came after the socket was last seen empty, and before it was read. A thread that decodes for a second between
a ping and its answer says nothing about the way to the venue: that second lies between the two.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from recorder.capture.endpoints import FEWEST, WINDOW, Endpoints, Move, Ping

EVERY = 0.5  # a ping is 7 to 10 bytes: with all headers and its answer 300 bytes a second
# After a slow ping, for so many seconds. Of connections that stall 5 % of 2 messages a second this leaves all within
# 30 s, in a model; without it one in ten stays longer.
SOONER, SUSPICIOUS = 0.125, 15.0
SHARE = 4  # of the frames that a venue allows, at most one in so many
PATIENCE = 20.0  # seconds in which a venue that answers pings at all has answered one
FORGOTTEN = 60.0  # a ping without an answer for so long


class Pings:
    """`line`, `address`: of the connection. `frames_per_minute`: what the venue allows, 0 for everything."""

    def __init__(self, endpoints: Endpoints, line: str, address: str, frames_per_minute: int = 0) -> None:
        self._endpoints, self._line, self._address = endpoints, line, address
        self._least = SHARE * 60 / frames_per_minute if frames_per_minute else 0.0
        self._due = -math.inf
        self._first: float | None = None
        self._number = 0
        self._empty = -math.inf  # when nothing was there to be read
        self._flying: dict[int, float] = {}  # number -> when it was sent
        self._past: deque[Ping] = deque()
        self._answered = False
        self._latest = -math.inf  # when the last ping that was answered had been sent
        self._suspicious = -math.inf  # until when
        self._news = False

    # --- sending -------------------------------------------------------------------------------------------------

    def wait(self, now: float) -> float:
        """Seconds until the next ping; infinite for a venue that does not answer them."""
        return math.inf if self._mute(now) else max(0.0, self._due - now)

    def _mute(self, now: float) -> bool:
        return not self._answered and self._first is not None and now - self._first > PATIENCE

    def next(self, now: float) -> bytes:
        """The payload of a ping that is sent now."""
        every = SOONER if now < self._suspicious else EVERY
        self._due = now + max(self._least, every)
        self._first = now if self._first is None else self._first
        self._number += 1
        self._flying[self._number] = now
        oldest = next(iter(self._flying))
        if now - self._flying[oldest] > FORGOTTEN:
            del self._flying[oldest]
        self._news = self._news or len(self._flying) > 1  # one that waits grows slower
        return b"%d" % self._number

    # --- hearing -------------------------------------------------------------------------------------------------

    def looked(self, empty_at: float) -> None:
        """Nothing was there to be read then; what is read now came later."""
        self._empty = empty_at

    def pong(self, payloads: Sequence[bytes], now: float) -> float | None:
        """These came back; seconds of the last round trip, None if none of them is ours. A venue may answer the last
        of several only: the others are forgotten."""
        trip = None
        for payload in payloads:
            number = int(payload) if payload.isdigit() and len(payload) < 16 else 0
            if number in self._flying:
                sent = self._flying[number]
                trip = self._took(sent, now)
                self._answered, self._latest = True, sent
                self._flying = {n: one for n, one in self._flying.items() if n > number}
        return trip

    def reply(self, sent: float, now: float) -> float | None:
        """The venue answered a heartbeat of then; seconds of that round trip, None where pings tell it, or have been
        told."""
        if self._answered or sent == self._latest:
            return None
        self._latest = sent
        return self._took(sent, now)

    def _took(self, sent: float, now: float) -> float:
        trip = max(0.0, self._empty - sent)
        self._past.append(Ping(sent, trip, now - sent))
        while len(self._past) > FEWEST and now - self._past[0].at > WINDOW:
            self._past.popleft()
        self._news = True
        return trip

    # --- what follows --------------------------------------------------------------------------------------------

    def proven(self) -> None:
        """The connection brought data."""
        self._endpoints.proven(self._line, self._address)

    def judge(self, now: float) -> Move | None:
        """Where to move to, if the last pings call for it. To be called at every turn; costs nothing without news."""
        if not self._news:
            return None
        self._news = False
        slow, move = self._endpoints.judge(self._line, self._address, self._all(), now)
        self._suspicious = max(self._suspicious, slow + SUSPICIOUS)
        return move

    def _all(self) -> list[Ping]:
        """With those that are still on their way, if the venue answers any."""
        flying = self._flying.values() if self._answered else ()
        return [*self._past, *(Ping(sent, max(0.0, self._empty - sent), math.inf) for sent in flying)]

    def caught_up(self, moment: float) -> bool:
        """Whether everything that the venue sent before `moment` is here: what it sends stays in order, so the answer
        to a ping of later came behind it. Of a venue that answers none nothing can be said: yes."""
        return not self._answered or self._latest >= moment
