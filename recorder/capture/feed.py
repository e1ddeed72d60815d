"""A feed: one connection, its thread, its spool; connects, comes back, and says what it does.

Owns the thread `feed:<name>` and the order connect → session → wait → connect. Never waits for the database, never
gives up, and ends only when it is told to or when the disk refuses twice.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from loguru import logger

from recorder.capture.backoff import DOORS, Allowance, Backoff, Doors
from recorder.capture.endpoints import Endpoints, shown
from recorder.capture.feedstate import FeedState
from recorder.capture.heartbeat import Heartbeats
from recorder.capture.intake import Clock, Intake, Nobody, Outlet, Tap
from recorder.capture.mend import Asking, Mender, Surroundings
from recorder.capture.pings import Pings
from recorder.capture.rest import client
from recorder.capture.session import Chains, Link, Session, Tools
from recorder.capture.silence import Silence
from recorder.capture.spool import Spool
from recorder.capture.subscriptions import Subscriptions
from recorder.capture.transport import Options, Transport
from recorder.capture.unheard import Unheard
from recorder.config import Source
from recorder.errors import ConnectionLost
from recorder.observe.health import Beats
from recorder.observe.metrics import Metrics
from recorder.observe.recent import Recent
from recorder.quality.continuity import Continuity
from recorder.records import Alive, Closed, Ended, Failed, Opened, Reaction, Stream, Streams
from recorder.redact import redact
from recorder.subscriptions import limits_of
from recorder.venues import Decoder, Line, Subscription, Venue

SHORTLY = 0.1  # until a slot that is being left is looked at again
LONGEST_WAIT = 1.0  # between two beats while there is nothing to do
REST_THREADS = 4  # of one feed, made when a book must be asked for

OVERLAP = 1.0  # seconds that two connections of a line bring the same before the first one is left
QUIET = 5.0  # after so long, agreement alone proves a connection on which nothing is traded
BEHIND = 10.0  # that a slow connection is given to bring what the venue had sent before the other one was proven
WORDLESS = ("heartbeat", "silence")  # ends that say that an address is dead, though it brought data before

Connect = Callable[[str, Line, Options, Callable[[], bool]], Link]


class Relief(Protocol):
    """Whoever can put a second feed on a line."""

    def relieve(self, feed: Feed) -> Feed | None:
        """A feed for the same line, started; None where that cannot be now."""

    def spare(self, feed: Feed) -> tuple[bool, bool]:
        """Whether the venue allows its source more connections than it needs, and whether one of those is free."""

    def relieved(self, feed: Feed) -> None:
        """This feed has left its line, to the other one or for good, and its thread ends."""


def ask_over_rest(source: Source, interrupted: Callable[[], bool]) -> Asking:
    """The source's REST interface."""
    return client(source, interrupted=interrupted)


@dataclass(frozen=True, slots=True)
class FeedParts:
    """What a feed is built from. From `doors` on they differ only in tests; waiting for `stop` is the only sleep."""

    spool: Spool
    state: FeedState
    decoder: Decoder
    continuity: Continuity
    heartbeats: Heartbeats
    metrics: Metrics
    beats: Beats
    streams: Streams
    recent: Recent = field(default_factory=Recent)
    tap: Tap = field(default_factory=Nobody)
    doors: Doors = DOORS
    clock: Clock = field(default_factory=Clock)
    rng: random.Random = field(default_factory=random.Random)
    connect: Connect = Transport.connect
    rest: Callable[[Source, Callable[[], bool]], Asking] = ask_over_rest
    threads: Callable[[], Executor] = lambda: ThreadPoolExecutor(REST_THREADS, "rest")
    stop: threading.Event = field(default_factory=threading.Event)
    relief: Relief | None = None
    endpoints: Endpoints | None = None  # None: nobody shares them


class Feed(threading.Thread):
    """`feed` is its name (`<source>/<line>`). `connected`, `parked`, `last_data` and `rtt` are for whoever scrapes;
    `fault` is what ended the thread when nobody told it to."""

    def __init__(
        self,
        feed: str,
        source: Source,
        venue: Venue,
        line: Line,
        parts: FeedParts,
        on_fault: Callable[[BaseException], None],
    ) -> None:
        super().__init__(name=f"feed:{feed}")
        self.feed, self.source, self.venue, self.line = feed, source, venue, line
        self.spool, self.state = parts.spool, parts.state
        self.connected = self.parked = False
        self.endpoint = ""  # of the connection that stands
        self.address = ""  # the source's, that it or an attempt goes to
        self.trouble = ""  # why none does
        self.rtt: tuple[str, float] | None = None  # endpoint, seconds
        self.fault: BaseException | None = None
        self.proven_at: float | None = None  # since when the connection does what it is for (monotonic)
        self.leaving = False  # its end was asked for
        self._successor: Feed | None = None
        self._renewal: ConnectionLost | None = None  # the configuration has other settings for this line
        self._parts = parts
        self._on_fault = on_fault
        self._stop_event = parts.stop
        self._clock = parts.clock
        self._backoff = Backoff(parts.rng)
        self._limits = limits_of(source, venue.limits)
        self._options = Options(coalesce=source.coalesce, proxy=source.proxy)
        self._endpoints = parts.endpoints or Endpoints(source.endpoints)
        self._address = ""
        self._opened_at = 0
        ways = (parts.spool, parts.decoder, parts.state, parts.streams, parts.metrics, parts.recent, parts.tap)
        self._intake = Intake(Outlet(*ways), venue.channel, parts.clock)
        self.last_data = self._intake.last_data
        self._subscriptions = Subscriptions(line.subscriptions, venue)
        self._wanted = self._served = line.subscriptions
        chains = Chains(venue, line.subscriptions, parts.continuity)
        self._tools = Tools(
            venue=venue,
            source=source.name,
            intake=self._intake,
            subscriptions=self._subscriptions,
            silence=Silence(),
            unheard=Unheard(source.name, parts.streams, venue.channel),
            chains=chains,
            mender=Mender(venue, self._surroundings(chains)),
            streams=parts.streams,
            metrics=parts.metrics,
            clock=parts.clock,
            login=line.login,
        )
        self._log = logger.bind(feed=feed)
        parts.beats.register(self.name)

    def _surroundings(self, chains: Chains) -> Surroundings:
        """What mending books takes of this feed."""
        parts, source, rate = self._parts, self.source, self._limits.book_requests_per_second
        return Surroundings(
            source=source.name,
            rest=lambda: parts.rest(source, parts.stop.is_set),
            threads=parts.threads,
            suspect=lambda s: chains.suspect(parts.streams.number(Stream(source.name, s.channel, s.symbol))),
            turn=lambda now: parts.doors.reserve(f"books of {self.venue.name}", rate, now),
            begun=parts.metrics.book_resyncs(source.name).inc,
        )

    # --- the thread ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until stopped or relieved, or until something happens that a feed cannot survive."""
        try:
            while not self._over():
                self._pause(self.attempt())
                if self._renewal is not None and not self.leaving and self._succeed() is None:
                    self._stop_event.wait(SHORTLY)
            if self.leaving:
                self._follow()
            self._intake.note(Alive())
            if (self.leaving or self._successor is not None) and self._parts.relief is not None:
                self._parts.relief.relieved(self)
        except Exception as fault:  # noqa: BLE001 - a thread's top: the supervisor is told and ends the process
            self.fault = fault
            self._on_fault(fault)
        finally:
            self._stop_event.set()
            self._tools.mender.close()
            self._parts.beats.forget(self.name)

    def _over(self) -> bool:
        relieved = self._successor is not None and not self._successor.leaving
        return self._stop_event.is_set() or self.leaving or relieved

    def message_age(self) -> float | None:
        """Seconds since the last data message; None before the first."""
        seen = list(self.last_data.values())
        return self._clock.monotonic() - max(seen) if seen else None

    def serve(self, subscriptions: tuple[Subscription, ...]) -> None:
        """From any thread: record these from now on. What stays the same is not touched."""
        if not self.leaving:
            self._wanted = subscriptions

    def leave(self) -> None:
        """From any thread: end every subscription and take leave, for good."""
        self.leaving, self._wanted = True, ()

    def renew(self, overlap: bool) -> None:
        """From any thread: the line has other settings now, and a feed that is made anew has them. With `overlap` it
        takes over while this one still records; without it, because the venue allows no second connection or because
        this one is itself about to take over, it begins when this one has ended."""
        self.leaving = self.leaving or not overlap
        self._renewal = ConnectionLost("config", "its settings have changed")

    def _follow(self) -> None:
        """Take up what `serve` left."""
        if self._wanted is not self._served:
            self._served = self._wanted
            self._tools.chains.cover(self._served)
            for gone in self._subscriptions.change(self._served):
                self._intake.note(Ended(gone.channel, gone.symbol))
                self._tools.unheard.forget(gone)

    @property
    def idle(self) -> bool:
        """Nothing is asked of it, so it need not be connected."""
        return not self._wanted

    def silent(self) -> list[Subscription]:
        """Streams that were accepted and never brought anything."""
        return self._tools.unheard.silent

    def stop(self) -> None:
        """Take leave of the venue and end; within a second, even in the middle of connecting."""
        self._stop_event.set()

    def attempt(self) -> float:
        """One connection, from its turn at the venue's door to its end; seconds until the next."""
        self._follow()
        if not self._served:
            return LONGEST_WAIT  # nothing to ask for: a venue would only close the connection
        now = self._clock.monotonic()
        self._pause(self._parts.doors.reserve(self.venue.name, self._limits.connects_per_second, now))
        if self._unwanted():
            return 0.0
        self._address = self._endpoints.choose(self.line.name, self._clock.monotonic())
        self.address = shown(self._address)
        try:
            link = self._parts.connect(self._address, self.line, self._options, self._unwanted)
        except ConnectionLost as lost:
            return self._failed(self._address, lost)
        return self._record(link)

    def _pause(self, seconds: float) -> None:
        """Wait, but go on saying that we are alive."""
        end = self._clock.monotonic() + seconds
        while not self._unwanted():
            left = end - self._clock.monotonic()
            if left <= 0:
                return
            self._stop_event.wait(min(left, LONGEST_WAIT))

    def _unwanted(self) -> bool:
        """Whether to connect no more; asked often enough to beat and to note that we are alive."""
        self._parts.beats.beat(self.name)
        self._intake.alive()
        return self._stop_event.is_set() or self.leaving or self._renewal is not None

    # --- a connection ----------------------------------------------------------------------------------------------

    def _record(self, link: Link) -> float:
        """Record until the connection ends, and say so; seconds until the next."""
        self._opened_at = self._clock.now_us()
        self._intake.note(Opened(link.endpoint))
        self.connected, self.endpoint, self.trouble = True, redact(link.endpoint), ""
        self.proven_at = None
        self._log.bind(event="feed.opened").info("connected to {}", link.endpoint)
        pulse = self._parts.heartbeats.add(link, self.venue.heartbeat)
        pings = None
        if self._endpoints.several:
            pings = Pings(self._endpoints, self.line.name, self._address, self._limits.frames_per_minute)
        session = Session(self._tools, link, Allowance.of(self._limits, self.venue.heartbeat), pulse, pings)
        try:
            self._turn(session, link)
            session.finish()
            lost = ConnectionLost("shutdown")
        except ConnectionLost as ended:
            lost = ended
        finally:
            self.connected, self.endpoint, self.proven_at = False, "", None
            self._parts.heartbeats.remove(pulse)
            link.close()
        return self._closed(session, link, lost)

    def _turn(self, session: Session, link: Link) -> None:
        settled_at: float | None = None
        while not self._stop_event.is_set():
            self._parts.beats.beat(self.name)
            self._follow()
            if not self._served:
                return
            session.turn()
            if self.proven_at is None and self._subscriptions.settled:
                now = self._clock.monotonic()
                settled_at = now if settled_at is None else settled_at
                self.proven_at = now if session.brought_data or now - settled_at > QUIET else None
            if self._renewal is not None and self.leaving:
                session.finish()
                raise self._renewal
            if (ending := session.ending or self._renewal) is not None:
                self._hand_over(ending, session)
            if session.brought_data:
                self._backoff.data()
                self.parked = False
            self.rtt = None if link.rtt_ms is None else (link.endpoint, link.rtt_ms / 1000)

    def _hand_over(self, ending: ConnectionLost, session: Session) -> None:
        """This connection is to end: another feed takes the line over while this one still records. Raises
        `ConnectionLost` when it has, or when nobody can arrange for one. Where the other slot is not free yet, there is
        time: it will be, or the venue ends the connection. A better address alone is no reason for more connections
        than the venue allows: this one ends first then."""
        relief = self._parts.relief
        allowed, free = (True, True)
        if relief is not None and ending.reason == "line" and self._successor is None:
            allowed, free = relief.spare(self)
        if relief is None or not allowed:
            raise ending
        successor = self._succeed() if free else None
        proven_at = successor.proven_at if successor is not None else None
        if proven_at is None:
            return
        overlap = self._clock.monotonic() - proven_at
        if overlap >= OVERLAP and (overlap >= BEHIND or session.caught_up(proven_at)):
            raise ending

    def _succeed(self) -> Feed | None:
        """The feed that takes the line over; None where that cannot be now."""
        if self._successor is None or self._successor.leaving:
            self._successor = self._parts.relief.relieve(self) if self._parts.relief is not None else None
        return self._successor

    def _closed(self, session: Session, link: Link, lost: ConnectionLost) -> float:
        message = redact(lost.detail)
        frames, rtt = link.received_frames, link.rtt_ms
        self._intake.note(Closed(lost.reason, lost.code, message, link.endpoint, self._opened_at, frames, rtt))
        if lost.reason == "shutdown":
            return 0.0
        return self._later(lost, session)

    def _failed(self, endpoint: str, lost: ConnectionLost) -> float:
        if lost.reason == "shutdown":
            return 0.0
        lost, reaction = self._refused(lost)
        self._intake.note(Failed(lost.reason, redact(endpoint), redact(lost.detail), lost.code))
        return self._later(lost, None, reaction)

    def _refused(self, lost: ConnectionLost) -> tuple[ConnectionLost, Reaction]:
        """The status of a handshake that was refused may have a reason, a meaning and a reaction of its own."""
        status = f"http {lost.code}" if lost.code and lost.reason != "proxy" else ""
        if status:
            self._parts.metrics.venue_errors(self.source.name, status).inc()
        code = next((code for code in self.venue.codes if code.code == status), None)
        if code is None:
            return lost, Reaction.RETRY
        return ConnectionLost(code.reason or lost.reason, code.explain(lost.detail), lost.code), code.reaction

    def _later(self, lost: ConnectionLost, session: Session | None, reaction: Reaction = Reaction.RETRY) -> float:
        """Count, and say when to come back. An address that brought data is worth a second try."""
        metrics, source = self._parts.metrics, self.source.name
        metrics.reconnects(source, lost.reason).inc()
        if lost.reason == "heartbeat" or (session is not None and session.heartbeat_missed):
            metrics.heartbeat_timeouts(source).inc()
        if session is None or not session.brought_data or lost.reason in WORDLESS:
            self._endpoints.failed(self.line.name, self._address, self._clock.monotonic())
        delay = self._backoff.failed(lost.reason, reaction if session is None else session.reaction)
        self.parked = self._backoff.parked
        self.trouble = f"{lost.reason}: {redact(lost.detail)}"
        log = self._log.bind(event="feed.lost", reason=lost.reason)
        log.warning("{}: {}; again in {:.1f} s", lost.reason, redact(lost.detail), delay)
        return delay
