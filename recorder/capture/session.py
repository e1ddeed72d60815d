"""One open connection: asks for the subscriptions, takes in what comes, and does what the venue's answers call for.

Owns a connection from the handshake to the reason of its end. Never connects, never decides when to come back (the
feed does), and never loses what was read: every burst is taken in before anything in it is reacted to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from loguru import logger

from recorder.capture.backoff import SLOW_DOWN, Allowance
from recorder.capture.frames import Run
from recorder.capture.heartbeat import Pulse
from recorder.capture.intake import Clock, Intake
from recorder.capture.mend import Mender
from recorder.capture.pings import Pings
from recorder.capture.silence import Silence
from recorder.capture.subscriptions import Outgoing, Rejection, Subscriptions
from recorder.capture.unheard import Unheard, names
from recorder.errors import ConnectionLost
from recorder.observe.metrics import Metrics
from recorder.quality.continuity import Continuity
from recorder.records import (
    Ack,
    Acknowledged,
    Decoded,
    Heard,
    Kind,
    Notice,
    Pong,
    Reaction,
    Refusal,
    Rejected,
    Reply,
    Silent,
    Streams,
    Subscribed,
)
from recorder.redact import redact
from recorder.venues import Continuity as Proof
from recorder.venues import Login, Request, Subscription, Venue

TURN = 0.5  # seconds: no wait is longer, so that stop, silence and requests have their turn
MOST_CODES = 100  # in the log of one connection
LAST_READS = 0.5  # seconds: at the end, what has arrived already, but not for ever
PING = Request(b"", cost=0)  # what a ping takes of an allowance: a frame


class Link(Protocol):
    """What a feed needs of a transport."""

    endpoint: str
    rtt_ms: float | None
    received_frames: int
    last_received: float
    empty_at: float

    def read(self, timeout: float) -> list[Run]:
        """Messages, or nothing after `timeout` seconds; raises `ConnectionLost`."""

    def send(self, payload: bytes) -> None:
        """Send a text message; never waits."""

    def ping(self, payload: bytes) -> None:
        """Send a WebSocket ping; never waits."""

    def pongs(self) -> list[bytes]:
        """The payloads that came back since the last call."""

    def heard_since(self, moment: float) -> bool:
        """Did anything come since then?"""

    def abort(self, reason: str, detail: str = "") -> None:
        """Break the connection."""

    def close(self, code: int = 1000) -> None:
        """Take leave and close."""


class Chains:
    """The live look at book chains: which books must be asked for anew. Only tables with chained channels are
    looked at; the writer judges everything once more, in committed order, to record it."""

    def __init__(self, venue: Venue, subscriptions: Iterable[Subscription], continuity: Continuity) -> None:
        self._venue = venue
        self._tables: set[str] = set()
        self._continuity = continuity
        self.cover(subscriptions)

    def cover(self, subscriptions: Iterable[Subscription]) -> None:
        """Look at the channels of these."""
        channels = [self._venue.channel(s.channel) for s in subscriptions]
        self._tables = {c.table for c in channels if c is not None and c.continuity is Proof.CHAINED}

    def broken(self, decoded: Decoded) -> list[int]:
        """Streams whose chain broke in this burst."""
        tables = {name: rows for name, rows in decoded.tables.items() if name in self._tables}
        if not tables:
            return []
        part = Decoded(decoded.feed, decoded.run, decoded.first, decoded.next, decoded.received_at, tables)
        return self._continuity.observe(part).broken

    def suspect(self, number: int) -> bool:
        """Whether a book is broken still."""
        return self._continuity.suspect(number)


@dataclass(frozen=True, slots=True)
class Tools:
    """What lasts longer than a connection: the same for all sessions of a feed."""

    venue: Venue
    source: str
    intake: Intake
    subscriptions: Subscriptions
    silence: Silence
    unheard: Unheard
    chains: Chains
    mender: Mender
    streams: Streams
    metrics: Metrics
    clock: Clock
    login: Login | None = None


class Session:
    """An open connection. `reaction` and `heartbeat_missed`: what the venue's table says about the code that ended
    it; `brought_data`: whether it was worth anything; `ending`: why it is to be left as soon as another has taken
    over. `pings`: where it is compared with other addresses of its source."""

    def __init__(
        self, tools: Tools, link: Link, allowance: Allowance, pulse: Pulse, pings: Pings | None = None
    ) -> None:
        self._tools = tools
        self._link = link
        self._allowance = allowance
        self._pulse = pulse
        self._pings = pings
        self._intake = tools.intake
        self._subscriptions = tools.subscriptions
        self._slow_down = SLOW_DOWN
        self._codes = {code.code: code for code in tools.venue.codes}
        self._told: set[str] = set()  # codes that are in the log
        self.reaction = Reaction.RETRY
        self.heartbeat_missed = False
        self.brought_data = False
        self.ending: ConnectionLost | None = None
        tools.subscriptions.begin()
        if tools.login is not None:
            tools.subscriptions.queue.appendleft(Outgoing(tools.login.request(tools.clock.now_us())))
        tools.unheard.begin()
        tools.silence.opened(tools.clock.monotonic())

    # --- one turn --------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Read, react, ask. Raises `ConnectionLost` when it is over."""
        now = self._tools.clock.monotonic()
        wait = min(self._send(now), self._ping(now))
        try:
            runs = self._link.read(wait)
        except ConnectionLost as lost:
            raise self._named(lost) from None
        if self._pings is not None:
            self._compare(self._pings)
        if runs:
            self._take(runs)
        self._look(self._tools.clock.monotonic())

    def finish(self) -> None:
        """Take in what has already arrived: it was received, so it must not be lost."""
        clock = self._tools.clock
        end = clock.monotonic() + LAST_READS
        try:
            while clock.monotonic() < end and (runs := self._link.read(0)):
                self._take(runs)
        except ConnectionLost:
            return  # it ends anyway

    def _take(self, runs: list[Run]) -> None:
        at = self._tools.clock.now_us()
        whole = bool(self._tools.unheard.waits)  # streams that somebody waits to hear of
        bursts = [self._intake.take(kind, frames, at, whole) for kind, frames in runs]
        for decoded in bursts:
            self._consider(decoded)
        for decoded in bursts:
            for reply in decoded.replies:
                self._react(reply)

    def _consider(self, decoded: Decoded) -> None:
        tools = self._tools
        if decoded.messages:
            if self._pings is not None and not self.brought_data:
                self._pings.proven()
            self.brought_data = True
            tools.silence.data(tools.clock.monotonic())
            if tools.unheard.waits:
                self._heard(tools.unheard.data(decoded))
        broken = tools.chains.broken(decoded)
        if broken:
            streams = [tools.streams[number] for number in broken]
            books = [Subscription(s.channel, s.symbol) for s in streams]
            self._subscriptions.broke(tools.mender.broke(books, tools.clock.monotonic()))

    def _look(self, now: float) -> None:
        """What time alone brings about."""
        self._intake.alive()
        self._reject(self._subscriptions.look(now))
        self._name_silent(now)
        answers, hopeless = self._tools.mender.look(now)
        if answers:
            self._take([(Kind.REST, answers)])
        self._subscriptions.broke(hopeless)
        recovered = self._subscriptions.recover(now)
        if recovered:
            self._tools.metrics.book_resyncs(self._tools.source).inc(recovered)
        if self._tools.silence.overdue(now, self._tools.unheard.expecting):
            raise ConnectionLost("silence", "the connection stands, but brings no data")

    def _name_silent(self, now: float) -> None:
        """Streams that were accepted and bring nothing: asked for once more, then on record as silent."""
        again, silent, news = self._tools.unheard.look(now)
        self._subscriptions.again(again)
        for each in silent:
            self._intake.note(Silent(each.channel, each.symbol))
        if news:
            log = logger.bind(event="stream.silent", source=self._tools.source)
            log.warning("{}: accepted, but nothing ever came: {}", self._tools.source, names(news))

    def _heard(self, streams: list[Subscription]) -> None:
        """Streams that were silent bring something after all."""
        for each in streams:
            self._intake.note(Heard(each.channel, each.symbol))
            log = logger.bind(event="stream.heard", source=self._tools.source)
            log.info("{}: {} is silent no more", self._tools.source, names([each]))

    def _send(self, now: float) -> float:
        """Send what may be sent now; how long to wait for messages until the next may be."""
        queue = self._subscriptions.queue
        while queue:
            outgoing = queue[0]
            delay = self._allowance.wait(outgoing.request, now)
            if delay > 0:
                return min(delay, TURN)
            queue.popleft()
            self._allowance.take(outgoing.request, now)
            if outgoing.first:
                self._intake.note(Subscribed(tuple((s.channel, s.symbol) for s in outgoing.asks)))
                self._tools.unheard.asked(outgoing.asks)
            self._link.send(outgoing.request.payload)
            self._subscriptions.sent(outgoing, now)
        return TURN

    # --- the way to the venue ----------------------------------------------------------------------------------------

    def _ping(self, now: float) -> float:
        """Send a ping when it is due; how long to wait for messages until the next is. Requests come first."""
        if self._pings is None or (self._subscriptions.queue and self._allowance.frames is not None):
            return TURN
        wait = self._pings.wait(now) or self._allowance.wait(PING, now)
        if wait > 0:
            return wait
        self._allowance.take(PING, now)
        self._link.ping(self._pings.next(now))
        return self._pings.wait(now)

    def _compare(self, pings: Pings) -> None:
        """Take the round trips in, and leave for a better address if there is one."""
        now = self._tools.clock.monotonic()
        pings.looked(self._link.empty_at)
        trip = pings.pong(self._link.pongs(), now)
        if trip is not None:
            self._link.rtt_ms = trip * 1000
        move = pings.judge(now)
        if move is not None and self.ending is None:
            log = logger.bind(event="feed.line", source=self._tools.source)
            log.info("{}: {}", self._tools.source, move)
            self.reaction, self.ending = Reaction.HAND_OVER, ConnectionLost("line", str(move))

    def caught_up(self, moment: float) -> bool:
        """Whether everything that the venue sent before then (monotonic) is here, as far as that can be known."""
        return self._pings is None or self._pings.caught_up(moment)

    # --- what the venue answers --------------------------------------------------------------------------------------

    def _react(self, reply: Reply) -> None:
        match reply:
            case Ack():
                for each in self._subscriptions.acknowledged(reply):
                    self._intake.note(Acknowledged(each.channel, each.symbol))
                    self._tools.unheard.accepted(each, self._tools.clock.monotonic())
            case Pong():
                self._pong()
            case Refusal():
                self._refused(reply)
            case Notice():
                self._count(reply.code)
                self._tell(reply)
                self._leave_if(reply.reaction, reply.code, reply.message)

    def _pong(self) -> None:
        now, sent = self._tools.clock.monotonic(), self._pulse.sent_at
        if sent is None:
            return
        trip = now - sent if self._pings is None else self._pings.reply(sent, now)
        if trip is not None:
            self._link.rtt_ms = trip * 1000

    def _refused(self, refusal: Refusal) -> None:
        now = self._tools.clock.monotonic()
        self._count(refusal.code)
        self._tell(refusal)
        if refusal.reaction is Reaction.SLOW_DOWN:
            self._allowance.slow_down(self._slow_down, now)
            self._slow_down = min(2 * self._slow_down, 600.0)
        self._leave_if(refusal.reaction, refusal.code, refusal.message)
        self._reject(self._subscriptions.refused(refusal, now))

    def _reject(self, rejections: list[Rejection]) -> None:
        for each in rejections:
            subscription = each.subscription
            self._tools.unheard.forget(subscription)
            self._intake.note(Rejected(subscription.channel, subscription.symbol, each.code, redact(each.message)))
        if rejections and self._subscriptions.hopeless:
            raise ConnectionLost("config", "the venue refuses every subscription", rejections[-1].code or None)

    def _tell(self, said: Refusal | Notice) -> None:
        """Into the log what the venue said, each code once: a venue may say it a thousand times."""
        if said.code not in self._told and len(self._told) < MOST_CODES:
            self._told.add(said.code)
            log = logger.bind(event="feed.refused", source=self._tools.source, action=said.reaction.value)
            log.warning("{}: {}", said.code, redact(said.message))

    def _leave_if(self, reaction: Reaction, code: str, message: str) -> None:
        """Leave the connection if that is what this code calls for: at once, or when another has taken over."""
        if reaction in (Reaction.RETRY, Reaction.PARK, Reaction.HAND_OVER):
            label = self._codes[code].label if code in self._codes else "close"
            lost = ConnectionLost(label, message, code)
            self.reaction = reaction
            if reaction is not Reaction.HAND_OVER:
                raise lost
            self.ending = lost

    def _named(self, lost: ConnectionLost) -> ConnectionLost:
        """A close code has a reason and a reaction of its own at this venue. Soon after a complaint about the rate any
        end of the connection may have come of that."""
        if self.reaction is Reaction.RETRY and self._allowance.paused_until > self._tools.clock.monotonic():
            self.reaction = Reaction.SLOW_DOWN
        if lost.reason != "close" or lost.code is None:
            return lost
        code, detail = f"close {lost.code}", lost.detail
        self._count(code)
        if code in self._codes:
            self.reaction, detail = self._codes[code].reaction, self._codes[code].explain(detail)
        return ConnectionLost(self._tools.venue.close_reason(int(lost.code), lost.detail), detail, lost.code)

    def _count(self, code: str) -> None:
        self._tools.metrics.venue_errors(self._tools.source, code).inc()
        if code in self._codes and self._codes[code].counts_as_heartbeat_timeout:
            self.heartbeat_missed = True
