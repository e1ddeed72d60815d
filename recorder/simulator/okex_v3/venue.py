"""OKEx v3 as a venue of our own: subscriptions, login, refusals, heartbeats and closes, as OKEx and OKCoin had them.

Owns the sessions and what clients may ask. Never formats market data (`text`) or pushes it (`push`). There
is no REST here.

Recorded: every frame compressed, acks first and then what is known already, one ack an argument. Captured: the error
30040, `ping` and `pong`. From the documentation of its fork OKExChain: 240 operations an hour, one connection a second,
the end after 30 seconds without data or heartbeat. Guesses: 429 in the handshake, code 30026 for what is too frequent,
30039 for what is no request, close code 1000 (after a refused login, too), 1009 for a request longer than 4096 bytes;
that an unsubscription is acknowledged like a subscription; that a private channel without login is met with 30041.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import msgspec

from recorder.simulator.clock import Clock, SystemClock
from recorder.simulator.connection import Connection
from recorder.simulator.deflate import deflated_frame
from recorder.simulator.fanout import Key, Subscriber
from recorder.simulator.faults import Fault, Faults, Link
from recorder.simulator.limits import allowed
from recorder.simulator.market import Market
from recorder.simulator.okex_v3.channels import MISSING, arg_of, key_of, refusal, words
from recorder.simulator.okex_v3.commands import GRANTED, Ask, asked, decode, error
from recorder.simulator.okex_v3.listings import listings
from recorder.simulator.okex_v3.login import ACCOUNTS, Account, refused
from recorder.simulator.okex_v3.push import Pusher
from recorder.simulator.venue import MarketVenue, Session
from recorder.simulator.wire import HttpRequest, HttpResponse

PATH = "/ws/v3"
HOUR = 3600.0
PONG = deflated_frame(b"pong")


@dataclass(frozen=True, slots=True)
class Rules:
    """The venue's limits; 0 switches one off."""

    idle_seconds: float = 30.0
    operations_per_hour: int = 240
    connects_per_second: int = 1
    request_bytes: int = 4096


NO_LIMITS = Rules(0.0, 0, 0, 0)


@dataclass(slots=True, eq=False)
class OkexSession(Session):
    """With whether it has logged in, and what its limits are measured by."""

    known: bool = False
    operations: deque[float] = field(default_factory=deque)


class OkexV3Venue(MarketVenue[OkexSession]):
    """The venue. `tick` moves it to the present; the server calls it every few milliseconds. `accounts`: who can log
    in, by key."""

    name = "okex_v3"

    def __init__(
        self,
        market: Market | None = None,
        *,
        rules: Rules | None = None,
        clock: Clock | None = None,
        seed: int = 1,
        accounts: Mapping[str, Account] = ACCOUNTS,
    ) -> None:
        clock = clock or SystemClock()
        market = market or Market(listings(clock.wall_us() // 1000), clock.wall_us(), seed=seed)
        super().__init__(market, clock, Faults(Random(seed), usual=MISSING))  # noqa: S311 - reproducible on purpose
        self.rules = rules or Rules()
        self.pusher: Pusher = Pusher(self.market.instruments, self.faults)
        self._accounts = accounts

    # --- what faults ask for --------------------------------------------------------------------------------------

    def announce(self, links: Sequence[Link], after: float) -> None:
        """This venue announces nothing: it only closes them."""
        self.end_later(links, after)

    def restart_book(self, symbol: str) -> int:
        """Books have no numbers: everybody gets the whole of it again."""
        found = [one for name, one in self.market.instruments.items() if symbol in ("", name)]
        for instrument in found:
            self.pusher.restart(instrument)
        return len(found)

    # --- what the server calls ------------------------------------------------------------------------------------

    def admit(self, request: HttpRequest) -> tuple[float, HttpResponse | None]:
        """The handshake's faults, its path, and one a second."""
        return self.enter(request, (PATH,), self.rules.connects_per_second)

    def opened(self, link: Connection, path: str) -> None:
        """Give it an id and a page of the ledger."""
        conn_id, page = self.page(link, path)
        reader = Subscriber(link, page, pack=deflated_frame)
        self.sessions[link] = OkexSession(conn_id, path, reader, active=self.clock.monotonic())

    def received(self, link: Connection, message: bytes) -> None:
        """A heartbeat or a request."""
        session = self.sessions[link]
        if message == b"ping":
            session.active = self.clock.monotonic()
            if not link.swallowing:
                link.push(PONG)
            return
        if self.rules.request_bytes and len(message) > self.rules.request_bytes:
            link.close(1009, "")
            return
        limit = self.rules.operations_per_hour
        if limit and not allowed(session.operations, self.clock.monotonic(), limit, HOUR):
            self._error(session, "30026")
        else:
            self._request(session, asked(message))

    def serve(self, request: HttpRequest) -> HttpResponse:
        """There is no REST."""
        return HttpResponse(404, b"{}")

    def order(self, body: bytes) -> Fault:
        """A control request: a fault of any venue, or of this one."""
        return decode(body)

    def tick(self) -> None:
        """Move to the present, send what that brought, end what has been idle for too long."""
        self.market.advance(self.clock.wall_us(), self.pusher)
        self.flush(self.rules.idle_seconds, 1000, "")
        self.end_due(1000, "")

    # --- requests -------------------------------------------------------------------------------------------------

    def _request(self, session: OkexSession, ask: Ask) -> None:
        op, args = ask.op, [ask.args] if isinstance(ask.args, str) else ask.args
        if op == "login":
            self._login(session, args)
        elif op not in ("subscribe", "unsubscribe") or not args:
            self._error(session, "30039")
        else:
            answer = self._subscribe if op == "subscribe" else self._unsubscribe
            fresh = [key for key in map(key_of, args) if answer(session, key)]
            for key in fresh:  # after all acks
                self.pusher.greet(key, session.subscriber)
                self.pusher.add(key, session.subscriber)

    def _login(self, session: OkexSession, args: list[str]) -> None:
        code = "30042" if session.known else refused(args, self._accounts, self.clock.wall_us() / 1e6)
        if not code:
            session.known = True
            session.link.push(deflated_frame(GRANTED))
            return
        self._error(session, code)
        if not session.known:
            session.link.close(1000, "")

    def _subscribe(self, session: OkexSession, key: Key) -> bool:
        """Acknowledge or refuse; whether it is to be served."""
        code = self.faults.rejection(*key) or refusal(key, self.market.instruments, known=session.known)
        if code:
            self._error(session, code, key)
        elif not self.faults.ignores(*key):
            session.subscriptions[key] = None
            _say(session, {"event": "subscribe", "channel": arg_of(key)})
            return True
        return False

    def _unsubscribe(self, session: OkexSession, key: Key) -> bool:
        session.subscriptions.pop(key, None)
        self.pusher.remove(key, session.link)
        _say(session, {"event": "unsubscribe", "channel": arg_of(key)})
        return False

    def _error(self, session: OkexSession, code: str, key: Key = ("", "")) -> None:
        session.link.push(deflated_frame(error(code, words(code, key))))


def _say(session: OkexSession, event: dict[str, object]) -> None:
    session.link.push(deflated_frame(msgspec.json.encode(event)))


def usual(rate: float) -> OkexV3Venue:
    """The venue as `recorder simulate` serves it: all that is listed, so many trades a second over all of it."""
    clock = SystemClock()
    now = clock.wall_us()
    return OkexV3Venue(Market(listings(now // 1000), now, rate=rate), clock=clock)
