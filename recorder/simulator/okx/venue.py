"""OKX v5 as a venue of our own: subscriptions, refusals, limits, heartbeats and closes, as its public API has them.

Owns the sessions and what clients may ask. Never formats market data (`text`), pushes it (`push`) or answers
REST (`rest`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import msgspec

from recorder.simulator.clock import Clock, SystemClock
from recorder.simulator.connection import Connection
from recorder.simulator.fanout import Subscriber
from recorder.simulator.faults import Fault, Link
from recorder.simulator.limits import allowed
from recorder.simulator.market import Listing, Market
from recorder.simulator.okx import commands as requests
from recorder.simulator.okx.channels import BUSINESS as BUSINESS
from recorder.simulator.okx.channels import CLOSES, MESSAGES, PRIVATE, key_of, refusal
from recorder.simulator.okx.channels import PUBLIC as PUBLIC
from recorder.simulator.okx.listings import LISTINGS as LISTINGS
from recorder.simulator.okx.listings import dated
from recorder.simulator.okx.options import OkxFaults
from recorder.simulator.okx.push import Pusher
from recorder.simulator.okx.rest import Rest
from recorder.simulator.venue import CONTROL, MarketVenue, Session
from recorder.simulator.wire import HttpRequest, HttpResponse, frame

CONTROL_BOOK = f"{CONTROL}/book"
HOUR = 3600.0
NO_ID = msgspec.Raw(b"")


@dataclass(frozen=True, slots=True)
class Rules:
    """The venue's limits; 0 switches one off. The write buffer's limit is the connection's."""

    idle_seconds: float = 30.0
    operations_per_hour: int = 480
    connects_per_second: int = 3
    args_bytes: int = 64 << 10
    rest: bool = True  # its limits of requests


NO_LIMITS = Rules(idle_seconds=0.0, operations_per_hour=0, connects_per_second=0, rest=False)


class _Asked(msgspec.Struct):
    op: str = ""
    args: msgspec.Raw = msgspec.Raw(b"")
    id: msgspec.Raw = msgspec.Raw(b"")


_asked = msgspec.json.Decoder(_Asked)
_args = msgspec.json.Decoder(list[dict[str, str]])


@dataclass(slots=True, eq=False)
class OkxSession(Session):
    """With what its limits are measured by."""

    operations: deque[float] = field(default_factory=deque)


class OkxVenue(MarketVenue[OkxSession]):
    """The venue. `tick` moves it to the present; the server calls it every few milliseconds."""

    name = "okx"

    def __init__(
        self, market: Market | None = None, *, rules: Rules | None = None, clock: Clock | None = None, seed: int = 1
    ) -> None:
        clock = clock or SystemClock()
        self._faults = OkxFaults(Random(seed))  # noqa: S311 - reproducible on purpose
        super().__init__(market or Market(LISTINGS, clock.wall_us(), seed=seed), clock, self._faults)
        self.rules = rules or Rules()
        self.pusher: Pusher = Pusher(self.market.instruments, self._faults)
        self._rest = Rest(self.market.instruments, self.pusher, self._faults, self.clock, limited=self.rules.rest)

    # --- what faults ask for --------------------------------------------------------------------------------------

    def announce(self, links: Sequence[Link], after: float) -> None:
        """Notice 64008, and the end `after` seconds later."""
        for link in links:
            session = next(one for one in self.sessions.values() if one.link is link)
            self._event(session, {"event": "notice", "code": "64008", "msg": MESSAGES["64008"]})
            link.flush()
        self.end_later(links, after)

    def restart_book(self, symbol: str) -> int:
        """Number books on from a smaller id, as after maintenance."""
        found = [one for name, one in self.market.instruments.items() if symbol in ("", name)]
        for instrument in found:
            instrument.publish(self.pusher)
            instrument.book.restart()
            instrument.publish(self.pusher)
        return len(found)

    # --- what the server calls ------------------------------------------------------------------------------------

    def admit(self, request: HttpRequest) -> tuple[float, HttpResponse | None]:
        """The handshake's faults, its path, and three a second."""
        return self.enter(request, (PUBLIC, BUSINESS, PRIVATE), self.rules.connects_per_second)

    def opened(self, link: Connection, path: str) -> None:
        """Give it an id and a page of the ledger."""
        conn_id, page = self.page(link, path)
        self.sessions[link] = OkxSession(conn_id, path, Subscriber(link, page), active=self.clock.monotonic())

    def received(self, link: Connection, message: bytes) -> None:
        """A heartbeat or a request."""
        session = self.sessions[link]
        if message == b"ping":
            session.active = self.clock.monotonic()
            if not link.swallowing:
                link.push(frame(b"pong"))
            return
        try:
            asked = _asked.decode(message)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            asked = _Asked()
        if asked.op not in ("subscribe", "unsubscribe", "login") or (asked.op != "login" and not bytes(asked.args)):
            text = f"Invalid request: {message.decode(errors='replace')}"
            self._error(session, "60012", text, asked.id)
            return
        self._request(session, asked)

    def serve(self, request: HttpRequest) -> HttpResponse:
        """REST, and the books that were published."""
        return self._published(request.query) if request.path == CONTROL_BOOK else self._rest.answer(request)

    def order(self, body: bytes) -> Fault:
        """A control request: a fault of any venue, or of this one."""
        return requests.decode(body)

    def tick(self) -> None:
        """Move to the present, send what that brought, end what has been idle for too long."""
        self.market.advance(self.clock.wall_us(), self.pusher)
        self.flush(self.rules.idle_seconds, 4004, CLOSES[4004])
        self.end_due(1001, "service upgrade")

    # --- requests -------------------------------------------------------------------------------------------------

    def _request(self, session: OkxSession, asked: _Asked) -> None:
        limit = self.rules.operations_per_hour
        if limit and not allowed(session.operations, self.clock.monotonic(), limit, HOUR):
            self._error(session, "60014", MESSAGES["60014"], asked.id)
        elif asked.op == "login":
            self._error(session, "60009", MESSAGES["60009"], asked.id)
        elif self.rules.args_bytes and len(bytes(asked.args)) > self.rules.args_bytes:
            session.link.close(1009, "")
        else:
            self._arguments(session, asked)

    def _arguments(self, session: OkxSession, asked: _Asked) -> None:
        try:
            args = _args.decode(asked.args)
        except msgspec.MsgspecError:
            args = []
        if not args:
            self._error(session, "60013", MESSAGES["60013"], asked.id)
        for arg in args:
            if asked.op == "subscribe":
                self._subscribe(session, arg, asked.id)
            else:
                key = key_of(arg)
                session.subscriptions.pop(key, None)
                self.pusher.remove(key, session.link)
                self._event(session, {"event": "unsubscribe", "arg": arg}, asked.id)

    def _subscribe(self, session: OkxSession, arg: dict[str, str], id_: msgspec.Raw) -> None:
        key = key_of(arg)
        code = self.faults.rejection(*key) or refusal(session.path, key, self.market.instruments)
        if code:
            shown = ",".join(f"{name}:{value}" for name, value in arg.items())
            wrong = (
                f"Wrong URL or {shown} doesn't exist. Please use the correct URL, channel and parameters "
                "referring to API document."
            )
            self._error(session, code, wrong if code == "60018" else MESSAGES.get(code, wrong), id_)
        elif not self.faults.ignores(*key):
            session.subscriptions[key] = None
            self._event(session, {"event": "subscribe", "arg": arg}, id_)
            self.pusher.greet(key, session.subscriber)  # first: what it publishes is older than the snapshot
            self.pusher.add(key, session.subscriber)

    def _error(self, session: OkxSession, code: str, text: str, id_: msgspec.Raw) -> None:
        old = requests.shaped(self._faults.options.shape, code)
        if old:
            session.link.push(frame(old))
        else:
            self._event(session, {"event": "error", "code": code, "msg": text}, id_)

    def _event(self, session: OkxSession, event: dict[str, object], id_: msgspec.Raw = NO_ID) -> None:
        """A control frame, with the request's id first where it had one."""
        echoed = {"id": id_} if bytes(id_) else {}
        session.link.push(frame(msgspec.json.encode({**echoed, **event, "connId": session.conn_id})))

    def _published(self, query: Mapping[str, str]) -> HttpResponse:
        """GET …/book?instId=…&seqId=…: the book as it was published under that number."""
        symbol, seq = query.get("instId", ""), query.get("seqId", "")
        known = symbol in self.market.instruments and seq.isdigit()
        sides = self.pusher.log.at(symbol, int(seq)) if known else None
        if sides is None:
            return HttpResponse(404, b'{"error":"no such book: instId and a seqId of the last minute or so"}')
        bids, asks = map(self.pusher.text(symbol).levels, sides)
        return HttpResponse(200, f'{{"asks":[{asks}],"bids":[{bids}],"seqId":{seq}}}'.encode())


def usual(rate: float, listings: Sequence[Listing] = ()) -> OkxVenue:
    """The venue as `recorder simulate` serves it: so many trades a second over all that is listed, if not told
    otherwise with what expires, too."""
    clock = SystemClock()
    listed = listings or (*LISTINGS, *dated(clock.wall_us() // 1000))
    return OkxVenue(Market(listed, clock.wall_us(), rate=rate), clock=clock)
