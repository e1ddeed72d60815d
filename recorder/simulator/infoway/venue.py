"""Infoway as a venue of our own: handshake, acknowledgements, refusals, limits and heartbeats, as its gateway has them.

Owns the sessions and what clients may ask (`ask` reads it). Never formats market data (`text`), pushes it
(`push`) or answers REST (`rest`). The market itself never closes: a closed session is the fault `mute`.

Recorded: the 401 in the handshake, greeting and welcome, acks with the request's trace, 506 and 507, no answer to a
heartbeat, silence on what is not of the business. From documentation: the limits and their codes. Nobody has told with
which code the gateway closes a WebSocket: here it is 1000.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from random import Random
from urllib.parse import urlencode

from recorder.simulator.clock import Clock, SystemClock
from recorder.simulator.connection import Connection
from recorder.simulator.fanout import Key
from recorder.simulator.faults import Fault, Link
from recorder.simulator.infoway.ask import Ask, BadAsk, read
from recorder.simulator.infoway.commands import Switched, decode
from recorder.simulator.infoway.listings import BUSINESSES, LISTINGS, business
from recorder.simulator.infoway.push import TRADE, Pusher, Reader
from recorder.simulator.infoway.rest import Rest
from recorder.simulator.infoway.text import FAILED, GREETING, MESSAGES, WELCOME, ack, error
from recorder.simulator.limits import allowed
from recorder.simulator.market import Market
from recorder.simulator.venue import MarketVenue, Session, later
from recorder.simulator.wire import HttpRequest, HttpResponse, frame

PATH = "/ws"
DEPTH = 30  # levels of a book: three times what is shown
UNKNOWN_KEY = "unknown"  # the key that a venue without a list of keys does not know
MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Rules:
    """The limits of a plan and of the gateway; 0 switches one off.

    `over`: what meets a connection too many, HTTP 427 in the handshake or code 512 after it. `limited`: what meets a
    REST request too many, 429 or 200 (seen with the same body).
    """

    frames_per_minute: int = 60
    heartbeat_seconds: float = 60.0
    connections: int = 10
    symbols_per_connection: int = 600
    symbols: int = 5_000
    requests_per_second: int = 20
    over: int = 427
    limited: int = 200


NO_LIMITS = Rules(0, 0.0, 0, 0, 0, 0)


@dataclass(slots=True, eq=False)
class InfowaySession(Session):
    """With its channel, its account, and what its limits are measured by."""

    business: str = ""
    key: str = ""
    heard: float = 0.0  # monotonic; of the last heartbeat
    frames: deque[float] = field(default_factory=deque)


class InfowayVenue(MarketVenue[InfowaySession]):
    """The venue. `tick` moves it to the present; the server calls it every few milliseconds.

    `keys`: those that it knows; none given, any but `UNKNOWN_KEY`. `journal`: whether every data message is kept, by
    connection, as it was sent.
    """

    name = "infoway"

    def __init__(
        self,
        market: Market | None = None,
        *,
        rules: Rules | None = None,
        clock: Clock | None = None,
        seed: int = 1,
        keys: Collection[str] = (),
        journal: bool = False,
    ) -> None:
        clock = clock or SystemClock()
        market = market or Market(LISTINGS, clock.wall_us(), seed=seed, depth=DEPTH)
        self.switched = Switched(Random(seed), usual="500")  # noqa: S311 - reproducible on purpose
        super().__init__(market, clock, self.switched)
        self.rules = rules or Rules()
        self.pusher: Pusher = Pusher(self.market.instruments, self.faults)
        self.journals: dict[str, list[bytes]] = {}
        self._keys = keys
        self._journal = journal
        self._rest = Rest(self.market.instruments, self.pusher, self.clock, self.knows, self.rules)

    def knows(self, key: str) -> bool:
        """Whether this is a key of somebody."""
        return key in self._keys if self._keys else key not in ("", UNKNOWN_KEY)

    # --- what faults ask for --------------------------------------------------------------------------------------

    def announce(self, links: Sequence[Link], after: float) -> None:
        """This venue announces nothing: it only closes them."""
        self.end_later(links, after)

    def restart_book(self, symbol: str) -> int:
        """Depth has no numbers."""
        return 0

    # --- what the server calls ------------------------------------------------------------------------------------

    def admit(self, request: HttpRequest) -> tuple[float, HttpResponse | None]:
        """The handshake's faults, then path, key and number of connections."""
        delay, refusal = self.knock()
        if refusal is not None:
            return delay, refusal
        key = request.query.get("apikey", "")
        if request.path != PATH or request.query.get("business") not in BUSINESSES:
            return delay, self.refusal(404)
        if not self.knows(key):
            return delay, self.refusal(401)
        if self.rules.over == 427 and self._crowded(key):
            return delay, self.refusal(427)
        return delay, None

    def refusal(self, status: int) -> HttpResponse:
        """The gateway's: plain text, with 401 it says what it wants."""
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if status == 401:
            headers["www-authenticate"] = 'apikey realm="key"'
        return HttpResponse(status, b"", headers)

    def opened(self, link: Connection, path: str) -> None:
        """Greet it, on stock in plain text first; or turn it away."""
        query = link.request.query if link.request is not None else {}
        channel, key = query.get("business", ""), query.get("apikey", "")
        if self._crowded(key) or self.switched.turned:
            turned = self.switched.turned
            link.push(frame(turned.pop(0) if turned else error("512", MESSAGES["512"])))
            link.close(1000, "")
            return
        path = f"{path}?{urlencode({'business': channel})}"
        conn_id, page = self.page(link, path)
        reader = Reader(link, page, self.journals.setdefault(conn_id, []) if self._journal else None)
        self.sessions[link] = InfowaySession(
            conn_id, path, reader, business=channel, key=key, heard=self.clock.monotonic()
        )
        if channel == "stock":
            link.push(frame(GREETING))
        link.push(frame(WELCOME))

    def received(self, link: Connection, message: bytes) -> None:
        """A request, if there are not too many of them."""
        session = self.sessions[link]
        limit = self.rules.frames_per_minute
        if limit and not allowed(session.frames, self.clock.monotonic(), limit, MINUTE):
            self._expel(session, "501")
            return
        try:
            ask = read(message)
        except BadAsk as bad:
            stock = session.business == "stock" and bad.code == "515"  # there without an envelope
            link.push(frame(str(bad).encode() if stock else error(bad.code, str(bad), bad.trace)))
            return
        if ask.heartbeat:
            session.heard = self.clock.monotonic()
            if ask.answer and not link.swallowing:
                link.push(frame(ack(ask.answer, ask.trace)))
        elif ask.subscribe:
            self._subscribe(session, ask)
        else:
            self._unsubscribe(session, ask)

    def tick(self) -> None:
        """Move to the present, send what that brought, end what has been silent for too long."""
        self.market.advance(self.clock.wall_us(), self.pusher)
        now, limit = self.clock.monotonic(), self.rules.heartbeat_seconds
        for link, session in list(self.sessions.items()):
            link.flush()
            if limit and now - session.heard > limit:
                self._expel(session, "513")
        self.end_due(1000, "")

    def serve(self, request: HttpRequest) -> HttpResponse:
        """REST, and its faults."""
        fault = self.switched.answer(request.path)
        if fault is None:
            return self._rest.answer(request)
        body = fault.body.encode() or self._rest.excuse(fault.status)
        return later(HttpResponse(fault.status, body), fault.retry_after)

    def order(self, body: bytes) -> Fault:
        """A control request: a fault of any venue, or of this one."""
        return decode(body)

    # --- requests -------------------------------------------------------------------------------------------------

    def _subscribe(self, session: InfowaySession, ask: Ask) -> None:
        """All of it or nothing. What is unknown here, or of another business, is acknowledged and never served."""
        refusal = self._faulted(session, ask) or self._over(session, ask)
        if refusal:
            session.link.push(frame(refusal))
            return
        keys = [key for key in ask.keys if not self.faults.ignores(*key)]
        if not keys and ask.keys:
            return
        session.link.push(frame(ack(ask.answer, ask.trace)))
        for key in keys:
            session.subscriptions[key] = None
            self._serve(session, key, typed=ask.typed)

    def _serve(self, session: InfowaySession, key: Key, *, typed: bool) -> None:
        reader, symbol = session.subscriber, key[1]
        instrument = self.market.instruments.get(symbol)
        if instrument is None or business(instrument.listing) != session.business:
            return
        if isinstance(reader, Reader) and key[0] == TRADE:
            (reader.typed.add if typed else reader.typed.discard)(symbol)
        self.pusher.add(key, reader)

    def _unsubscribe(self, session: InfowaySession, ask: Ask) -> None:
        for key in list(session.subscriptions):
            if ask.covers(key):
                del session.subscriptions[key]
                self.pusher.remove(key, session.link)
        session.link.push(frame(ack(ask.answer, ask.trace)))

    def _faulted(self, session: InfowaySession, ask: Ask) -> bytes:
        """What a fault has this answered with, empty for nothing."""
        words = next(filter(None, (self.switched.words(*key) for key in ask.keys)), b"")
        code = next(filter(None, (self.faults.rejection(*key) for key in ask.keys)), "")
        return words or (_failed(session, code, MESSAGES.get(code, "Error"), ask.trace) if code else b"")

    def _over(self, session: InfowaySession, ask: Ask) -> bytes:
        """The refusal of more symbols than the plan allows, on this connection or on all of the account."""
        symbols = {symbol for _, symbol in (*session.subscriptions, *ask.keys)}
        limit = self.rules.symbols_per_connection
        if limit and len(symbols) > limit:
            return _failed(session, "505", f"{MESSAGES['505']} {limit}", ask.trace)
        others = (one for one in self.sessions.values() if one.key == session.key and one is not session)
        total = len(symbols) + sum(len({symbol for _, symbol in one.subscriptions}) for one in others)
        if self.rules.symbols and total > self.rules.symbols:
            return _failed(session, "516", f"{MESSAGES['516']}：{self.rules.symbols}", ask.trace)
        return b""

    def _crowded(self, key: str) -> bool:
        limit = self.rules.connections
        return bool(limit) and sum(one.key == key for one in self.sessions.values()) >= limit

    def _expel(self, session: InfowaySession, code: str) -> None:
        session.link.push(frame(error(code, MESSAGES[code])))
        session.link.close(1000, "")


def _failed(session: InfowaySession, code: str, text: str, trace: str) -> bytes:
    """The refusal of a subscription: the stock gateway puts words before it."""
    refusal = error(code, text, trace)
    return FAILED + refusal if session.business == "stock" else refusal


def usual(rate: float) -> InfowayVenue:
    """The venue as `recorder simulate` serves it: all that is listed, so many trades a second over all of it."""
    clock = SystemClock()
    return InfowayVenue(Market(LISTINGS, clock.wall_us(), rate=rate, depth=DEPTH), clock=clock)
