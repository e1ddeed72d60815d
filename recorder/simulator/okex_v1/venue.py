"""OKEx v1 as a venue of our own: subscriptions, refusals, logins and heartbeats, as its WebSocket had them until 2019.

Owns the sessions and what becomes of what clients ask (`ask` reads it). Never formats market data (`text`)
or pushes it (`push`). There is no REST.

Captured: acks, the failure 20116, compressed answers to who wants them. Documented: pong as an object and not in an
array, `/ws/v1` always compressed, the other paths on request (`binary`), a login's answer, the meaning of the codes.
Reported: a connection without heartbeats ends after minutes. Our guess: every path serves every channel; a batch is
acknowledged one by one; on `/ws/v1` `binary` says what was asked for; on the contracts' path it is missing from the
answer to a login, as in the documents; unknown keys get 10005 and bad signatures 10017, on the contracts' path 20020
and 20024; close code 1000 after a refused login, no close frame when nobody pings; how many messages a second are too
many.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from recorder.simulator.clock import Clock, SystemClock
from recorder.simulator.connection import Connection
from recorder.simulator.faults import Fault, Link
from recorder.simulator.limits import allowed
from recorder.simulator.market import Market
from recorder.simulator.okex_v1.ask import Ask, read, sign
from recorder.simulator.okex_v1.commands import decode
from recorder.simulator.okex_v1.listings import DEPTH, LISTINGS
from recorder.simulator.okex_v1.names import OWN, parse
from recorder.simulator.okex_v1.options import Switched
from recorder.simulator.okex_v1.push import Manner, Pusher, Reader
from recorder.simulator.okex_v1.text import LOGGED_IN, PONG, accepted, enveloped, failed
from recorder.simulator.venue import MarketVenue, Session
from recorder.simulator.wire import HttpRequest, HttpResponse

PACKED, SPOT, FUTURES, OKCOIN = "/ws/v1", "/websocket", "/websocket/okexapi", "/websocket/okcoinapi"
PATHS = frozenset({PACKED, SPOT, FUTURES, OKCOIN})
KEYS = {"demo": "demo-secret"}
CODES = {True: ("20020", "20024"), False: ("10005", "10017")}  # unknown key, bad signature; of contracts or not


@dataclass(frozen=True, slots=True)
class Rules:
    """The venue's limits; 0 switches one off. Messages are counted, not the requests in them."""

    idle_seconds: float = 120.0  # without a heartbeat
    messages_per_second: int = 50


NO_LIMITS = Rules(0.0, 0)


@dataclass(slots=True, eq=False)
class V1Session(Session):
    """With what its limits are measured by."""

    heard: float = 0.0  # monotonic; of the last heartbeat
    messages: deque[float] = field(default_factory=deque)

    def manner(self, packed: bool) -> Manner:
        """How it is told what it asked for: `packed`, whether it wanted that compressed."""
        return Manner(packed or self.path == PACKED, int(packed))


class OkexV1Venue(MarketVenue[V1Session]):
    """The venue. `tick` moves it to the present; the server calls it every few milliseconds. `keys`: secrets by key.
    `journal`: whether every data message is kept, by connection, as it was sent."""

    name = "okex_v1"

    def __init__(
        self,
        market: Market | None = None,
        *,
        rules: Rules | None = None,
        clock: Clock | None = None,
        seed: int = 1,
        keys: Mapping[str, str] | None = None,
        journal: bool = False,
    ) -> None:
        clock = clock or SystemClock()
        market = market or Market(LISTINGS, clock.wall_us(), seed=seed, depth=DEPTH)
        self.switched = Switched(Random(seed), usual="10015")  # noqa: S311 - reproducible on purpose
        super().__init__(market, clock, self.switched)
        self.rules = rules or Rules()
        self.pusher: Pusher = Pusher(market.instruments, self.switched)
        self.journals: dict[str, list[bytes]] = {}
        self._keys = KEYS if keys is None else keys
        self._journal = journal

    # --- what faults ask for --------------------------------------------------------------------------------------

    def announce(self, links: Sequence[Link], after: float) -> None:
        """This venue announces nothing: it only closes them."""
        self.end_later(links, after)

    def restart_book(self, symbol: str) -> int:
        """Books have no numbers."""
        return 0

    def say(self, link: Link, body: bytes) -> None:
        """Send a connection a message in its manner, here without its envelope."""
        session = next(one for one in self.sessions.values() if one.link is link)
        self._answer(session, body, session.manner(packed=False))

    def tell(self, link: Link, message: bytes) -> None:
        """Send a connection a message in its manner, as it is."""
        session = next(one for one in self.sessions.values() if one.link is link)
        link.push(session.manner(packed=False).frame(message))

    # --- what the server calls ------------------------------------------------------------------------------------

    def admit(self, request: HttpRequest) -> tuple[float, HttpResponse | None]:
        """The handshake's faults, then its path."""
        return self.enter(request, PATHS, per_second=0)

    def opened(self, link: Connection, path: str) -> None:
        """Give it an id and a page of the ledger."""
        conn_id, page = self.page(link, path)
        journal = self.journals.setdefault(conn_id, []) if self._journal else None
        session = V1Session(conn_id, path, Reader(link, page, journal), heard=self.clock.monotonic())
        self.sessions[link] = session

    def received(self, link: Connection, message: bytes) -> None:
        """One request or a batch of them."""
        session, limit = self.sessions[link], self.rules.messages_per_second
        fine = not limit or allowed(session.messages, self.clock.monotonic(), limit, 1.0)
        for ask in read(message):
            if not link.open:
                return  # a login before it in the batch was refused
            manner = session.manner(ask.packed)
            if ask.event == "ping" and not ask.error:
                self._heard(session, manner)
            elif ask.error or not fine:
                self._answer(session, failed(ask.channel or ask.event, ask.error or "20049"), manner)
            else:
                self._do(session, ask, manner)

    def tick(self) -> None:
        """Move to the present, send what that brought, end what has not pinged for too long."""
        self.market.advance(self.clock.wall_us(), self.pusher)
        now, limit = self.clock.monotonic(), self.rules.idle_seconds
        for link, session in list(self.sessions.items()):
            link.flush()
            if limit and now - session.heard > limit:
                link.end()
        self.end_due(1000, "")

    def serve(self, request: HttpRequest) -> HttpResponse:
        """There is no REST."""
        return HttpResponse(404, b"{}")

    def order(self, body: bytes) -> Fault:
        """A control request: a fault of any venue, or of this one."""
        return decode(body)

    # --- requests -------------------------------------------------------------------------------------------------

    def _heard(self, session: V1Session, manner: Manner) -> None:
        session.heard = self.clock.monotonic()
        if not session.link.swallowing:
            session.link.push(manner.frame(PONG))

    def _do(self, session: V1Session, ask: Ask, manner: Manner) -> None:
        if ask.event == "login":
            self._login(session, ask, manner)
        elif ask.event == "addChannel":
            self._add(session, ask.channel, manner)
        else:
            self._remove(session, ask.channel)
            self._answer(session, accepted("removeChannel", ask.channel), manner)

    def _add(self, session: V1Session, name: str, manner: Manner) -> None:
        """What is in the grammar and listed here. The estimate of a delivery comes unasked, and asked for as well."""
        channel = parse(name)
        if channel is None:
            code = self.faults.rejection(name, "") or ("10015" if OWN.fullmatch(name) else "20116")
            self._answer(session, failed(name, code), manner)
            return
        key = (name, channel.symbol)
        code = self.faults.rejection(*key) or ("" if self.pusher.driver(channel) else "10015")
        if code:
            self._answer(session, failed(name, code), manner)
        elif not self.faults.ignores(*key):
            first = session.subscriber
            reader = Reader(first.link, first.page, first.journal, manner.frame, manner)
            session.subscriptions[key] = None
            self._answer(session, accepted("addChannel", name), manner)
            self.pusher.greet(channel, reader)  # first: what it publishes is older than the whole book
            self.pusher.add(key, reader)

    def _remove(self, session: V1Session, name: str) -> None:
        for key in [key for key in session.subscriptions if key[0] == name]:
            del session.subscriptions[key]
            self.pusher.remove(key, session.link)

    def _login(self, session: V1Session, ask: Ask, manner: Manner) -> None:
        """A bad one is the connection's end."""
        unmarked = session.path == FUTURES
        code = self.faults.rejection("login", "") or self._wrong(ask.parameters, contracts=unmarked)
        if not code:
            message = enveloped(LOGGED_IN, None if unmarked else manner.binary, self.switched.manners)
            session.link.push(manner.frame(message))
            return
        self._answer(session, failed("login", code), manner)
        session.link.close(1000, "")

    def _wrong(self, parameters: Mapping[str, str], *, contracts: bool) -> str:
        """The code that refuses these, empty if they are right."""
        unknown, mismatch = CODES[contracts]
        if not parameters.get("api_key") or not parameters.get("sign"):
            return "10000"
        secret = self._keys.get(parameters["api_key"])
        if secret is None:
            return unknown
        return "" if parameters["sign"] == sign(parameters, secret) else mismatch

    def _answer(self, session: V1Session, body: bytes, manner: Manner) -> None:
        """Send an answer, silence or not."""
        message = enveloped(body, manner.binary, self.switched.manners)
        session.link.push(manner.frame(message))


def usual(rate: float) -> OkexV1Venue:
    """The venue as `recorder simulate` serves it: all that is listed, so many trades a second over all of it."""
    clock = SystemClock()
    return OkexV1Venue(Market(LISTINGS, clock.wall_us(), rate=rate, depth=DEPTH), clock=clock)
