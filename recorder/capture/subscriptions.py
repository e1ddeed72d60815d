"""What one connection has asked for and what became of it: each (channel, symbol) by itself.

Owns the state of every subscription and the queue of requests. Never sends, never waits and never assumes: asked is
not accepted, and what is never answered is asked again, then told apart. Callers say what time it is (monotonic).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from recorder.errors import ConnectionLost
from recorder.records import Ack, Reaction, Refusal
from recorder.venues import Request, Subscription

ANSWER_WITHIN = 10.0
ATTEMPTS = 3  # on one connection; then the connection is doubted, and after that the subscription
DOUBT = 2.0  # the answers to the rest of a request come within milliseconds; then who is left is to blame
LOOK_EVERY = 1.0
PAUSE, LONGEST_PAUSE = 1.0, 60.0
RECOVERY, LONGEST_RECOVERY = 10.0, 300.0  # between two recoveries of one book


class Asking(Protocol):
    """What is needed of a venue."""

    def subscribe(self, subscriptions: Sequence[Subscription]) -> list[Request]:
        """Requests that ask for these."""

    def unsubscribe(self, subscriptions: Sequence[Subscription]) -> list[Request]:
        """Requests that end these."""


class State(Enum):
    """Of one subscription on this connection."""

    WANTED = "wanted"  # not asked for, or to be asked again
    ASKED = "asked"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(slots=True)
class Entry:
    """One subscription. What lasts longer than a connection: `strikes`, and the spacing of recoveries."""

    subscription: Subscription
    state: State = State.WANTED
    told: bool = False  # acceptance was reported on this connection
    attempts: int = 0
    due: float = math.inf  # WANTED: when to ask; ASKED: when the answer is overdue
    pause: float = PAUSE
    broken: bool = False
    recover_at: float = -math.inf
    spacing: float = RECOVERY
    strikes: int = 0  # connections on which it was never answered


@dataclass(frozen=True, slots=True)
class Rejection:
    """A subscription that will not be served on this connection, and why."""

    subscription: Subscription
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request to send. `asks`: what it asks for (empty for one that ends something)."""

    request: Request
    asks: tuple[Subscription, ...] = ()
    first: bool = False  # asked for the first time on this connection


@dataclass(slots=True)
class _Doubt:
    """A request that was refused without saying for whom."""

    subscriptions: list[Subscription]
    refusal: Refusal
    due: float


@dataclass(slots=True)
class Subscriptions:
    """The subscriptions of one line. `begin` is called for every new connection."""

    wanted: Sequence[Subscription]
    venue: Asking
    entries: dict[Subscription, Entry] = field(init=False)
    queue: deque[Outgoing] = field(init=False, default_factory=deque)
    _requests: dict[str, tuple[Subscription, ...]] = field(init=False, default_factory=dict)
    _doubts: list[_Doubt] = field(init=False, default_factory=list)
    _look_at: float = field(init=False, default=-math.inf)

    def __post_init__(self) -> None:
        self.entries = {s: Entry(s) for s in self.wanted}

    def begin(self) -> None:
        """A new connection knows nothing: ask for everything, also for what the last one refused."""
        self.queue.clear()
        self._requests.clear()
        self._doubts.clear()
        for entry in self.entries.values():
            entry.state, entry.told, entry.attempts = State.WANTED, False, 0
            entry.due, entry.pause, entry.broken = math.inf, PAUSE, False
        self._ask(self.entries, first=True)

    def change(self, wanted: Sequence[Subscription]) -> list[Subscription]:
        """Want something else from now on: what is new is asked for, what is gone is ended and returned."""
        keep = set(wanted)
        gone = [s for s in self.entries if s not in keep]
        new = [s for s in wanted if s not in self.entries]
        self.wanted = wanted
        for subscription in gone:
            del self.entries[subscription]
        if gone:
            self.queue.extend(Outgoing(request) for request in self.venue.unsubscribe(gone))
        self.entries.update({s: Entry(s) for s in new})
        self._ask(new, first=True)
        return gone

    def _held(self, subscriptions: Iterable[Subscription]) -> list[Entry]:
        """The entries of those that are still wanted."""
        return [entry for s in subscriptions if (entry := self.entries.get(s)) is not None]

    @property
    def hopeless(self) -> bool:
        """Everything was refused: this connection can bring nothing."""
        return bool(self.entries) and all(e.state is State.REJECTED for e in self.entries.values())

    @property
    def settled(self) -> bool:
        """Everything was answered."""
        return all(e.state in (State.ACCEPTED, State.REJECTED) for e in self.entries.values())

    def accepted(self) -> list[Subscription]:
        """What the venue has agreed to."""
        return [s for s, e in self.entries.items() if e.state is State.ACCEPTED]

    # --- what happened ---------------------------------------------------------------------------------------------

    def sent(self, outgoing: Outgoing, now: float) -> None:
        """A request went out: the answers to it are awaited."""
        if outgoing.request.id and outgoing.asks:
            self._requests[outgoing.request.id] = outgoing.asks
        for entry in self._held(outgoing.asks):
            entry.state, entry.due = State.ASKED, now + ANSWER_WITHIN
            entry.attempts += 1

    def acknowledged(self, ack: Ack) -> list[Subscription]:
        """The venue agreed, to one subscription or to a whole request. Those for which that is news."""
        named = (Subscription(ack.channel, ack.symbol),)
        some = () if ack.ended else self._requests.get(ack.request, ()) if ack.request else named
        return [subscription for subscription in some if self._accept(subscription)]

    def _accept(self, subscription: Subscription) -> bool:
        entry = self.entries.get(subscription)
        if entry is None or entry.state is not State.ASKED:
            return False
        entry.state, entry.due = State.ACCEPTED, math.inf
        entry.attempts, entry.pause, entry.strikes = 0, PAUSE, 0
        news, entry.told = not entry.told, True
        return news

    def refused(self, refusal: Refusal, now: float) -> list[Rejection]:
        """The venue refused. What is lost by that; what may be tried again will be."""
        concerned = self._concerned(refusal)
        if refusal.reaction is Reaction.DROP:
            if len(concerned) == 1:
                return [self._reject(concerned[0], refusal.code, refusal.message)]
            if concerned:
                self._doubts.append(_Doubt(concerned, refusal, now + DOUBT))
        elif refusal.reaction in (Reaction.RESUBSCRIBE, Reaction.SLOW_DOWN):
            for subscription in concerned:
                entry = self.entries[subscription]
                entry.state, entry.due = State.WANTED, now + entry.pause
                entry.pause = min(2 * entry.pause, LONGEST_PAUSE)
        return []

    def broke(self, subscriptions: Iterable[Subscription]) -> None:
        """Books whose chain broke. One recovery is in flight per stream: updates that were on their way when it began
        are broken, too, and mean nothing."""
        for subscription in subscriptions:
            entry = self.entries.get(subscription)
            if entry is not None and entry.state is State.ACCEPTED:
                entry.broken = True

    # --- what to do ------------------------------------------------------------------------------------------------

    def recover(self, now: float) -> int:
        """Ask anew for broken books whose time has come; how many."""
        ready = [e for e in self.entries.values() if e.broken and e.recover_at <= now]
        if not ready:
            return 0
        for entry in ready:
            calm = now - entry.recover_at > LONGEST_RECOVERY
            entry.spacing = RECOVERY if calm else min(2 * entry.spacing, LONGEST_RECOVERY)
            entry.recover_at = now + entry.spacing
        self._renew(ready)
        return len(ready)

    def again(self, subscriptions: Iterable[Subscription]) -> None:
        """Ask anew for what was accepted and brings nothing."""
        found = [e for s in subscriptions if (e := self.entries.get(s)) is not None]
        self._renew([e for e in found if e.state is State.ACCEPTED])

    def _renew(self, entries: list[Entry]) -> None:
        """End them and ask for them, in as few requests as the venue allows."""
        for entry in entries:
            entry.broken, entry.state, entry.due = False, State.WANTED, math.inf
        subscriptions = [e.subscription for e in entries]
        if subscriptions:
            self.queue.extend(Outgoing(request) for request in self.venue.unsubscribe(subscriptions))
            self._ask(subscriptions)

    def look(self, now: float) -> list[Rejection]:
        """Once a second: who was never answered, whose pause is over, who is to blame for a refusal. Raises
        `ConnectionLost` when a connection leaves requests unanswered."""
        if now < self._look_at:
            return []
        self._look_at = now + LOOK_EVERY
        rejections = self._settle_doubts(now)
        late = [e for e in self.entries.values() if e.due <= now]
        again = [e.subscription for e in late if e.state is State.WANTED or e.attempts < ATTEMPTS]
        for subscription in again:
            self.entries[subscription].due = math.inf
        self._ask(again)
        return rejections + self._give_up([e for e in late if e.due <= now])

    def _give_up(self, unanswered: list[Entry]) -> list[Rejection]:
        """Three requests without an answer: the first time it may be the connection, the second time it is not."""
        rejections = [
            self._reject(e.subscription, "", f"no answer to {ATTEMPTS} requests") for e in unanswered if e.strikes
        ]
        fresh = [e for e in unanswered if not e.strikes]
        for entry in fresh:
            entry.strikes += 1
        if fresh:
            names = ", ".join(f"{e.subscription.channel} {e.subscription.symbol}" for e in fresh[:3])
            raise ConnectionLost("silence", f"{len(fresh)} subscriptions were never answered: {names}")
        return rejections

    def _settle_doubts(self, now: float) -> list[Rejection]:
        """Whoever was accepted meanwhile is innocent; of the others, one is guilty, several are asked in halves."""
        rejections: list[Rejection] = []
        due = [d for d in self._doubts if d.due <= now]
        self._doubts = [d for d in self._doubts if d.due > now]
        for doubt in due:
            left = [e.subscription for e in self._held(doubt.subscriptions) if e.state is State.ASKED]
            if len(left) == 1:
                rejections.append(self._reject(left[0], doubt.refusal.code, doubt.refusal.message))
            half = len(left) // 2
            for part in (left[:half], left[half:]) if half else ():
                for subscription in part:
                    self.entries[subscription].attempts -= 1
                    self.entries[subscription].due = math.inf
                self._ask(part)
        return rejections

    def _ask(self, subscriptions: Iterable[Subscription], first: bool = False) -> None:
        wanted = list(subscriptions)
        if wanted:
            self.queue.extend(Outgoing(r, r.subscriptions, first) for r in self.venue.subscribe(wanted))

    def _concerned(self, refusal: Refusal) -> list[Subscription]:
        named = Subscription(refusal.channel, refusal.symbol)
        if named in self.entries:
            return [] if self.entries[named].state is State.REJECTED else [named]
        # One that says nothing of whom it concerns may concern whoever waits for an answer.
        asked = self._requests.get(refusal.request, ()) if refusal.request or refusal.channel else self.entries
        return [e.subscription for e in self._held(asked) if e.state is State.ASKED]

    def _reject(self, subscription: Subscription, code: str, message: str) -> Rejection:
        entry = self.entries[subscription]
        entry.state, entry.due, entry.broken = State.REJECTED, math.inf, False
        return Rejection(subscription, code, message)
