"""What every simulated venue with a market has: sessions, faults, a ledger, and a control endpoint to reach them.

Owns the sessions' book-keeping, the faults of handshakes and of REST, and `/_control`. Never knows a venue's messages:
a venue inherits this and speaks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from recorder.simulator import faults as requests
from recorder.simulator.clock import Clock
from recorder.simulator.connection import Connection
from recorder.simulator.fanout import Fanout, Key, Subscriber
from recorder.simulator.faults import Fault, Faults, Link
from recorder.simulator.limits import allowed
from recorder.simulator.market import Market
from recorder.simulator.oracle import Connected, Ledger
from recorder.simulator.wire import HttpRequest, HttpResponse

CONTROL = "/_control"


@dataclass(slots=True, eq=False)
class Session:
    """A WebSocket connection and what it asked for. `path` is what faults choose it by; no secret is in it. `active`:
    when data was last pushed or a heartbeat heard (monotonic), where that matters."""

    conn_id: str
    path: str
    subscriber: Subscriber
    subscriptions: dict[Key, None] = field(default_factory=dict)
    active: float = 0.0

    @property
    def link(self) -> Connection:
        """Its connection."""
        return self.subscriber.link


S = TypeVar("S", bound=Session)


class MarketVenue(Generic[S]):
    """The common part. A venue sets `pusher`, and provides what the server and faults ask for beyond it."""

    name: str
    pusher: Fanout

    def __init__(self, market: Market, clock: Clock, faults: Faults) -> None:
        self.clock = clock
        self.market = market
        self.faults = faults
        self.sessions: dict[Connection, S] = {}
        self.history: dict[str, Connected] = {}
        self.on_refuse: Callable[[float], None] | None = None
        self._ending: list[tuple[float, Link]] = []
        self._connects: deque[float] = deque()

    # --- for tests and the control endpoint -----------------------------------------------------------------------

    def ledger(self) -> Ledger:
        """Ids issued until now, ids withheld, ids sent to whom."""
        issued = {symbol: one.tape.last for symbol, one in self.market.instruments.items()}
        return Ledger(issued, self.pusher.skipped, self.history)

    def issued_before(self, symbol: str, us: int) -> int:
        """The highest id of a symbol issued before this moment of the wall clock (µs)."""
        return self.market.instruments[symbol].issued_before(us)

    def links(self, path: str) -> Sequence[Link]:
        """The open connections whose path contains this, or the one with this id."""
        return [link for link, one in self.sessions.items() if path in one.path or path == one.conn_id]

    def refuse(self, seconds: float) -> None:
        """Ask the server to stop listening for a while."""
        if self.on_refuse is not None:
            self.on_refuse(seconds)

    # --- what the server calls ------------------------------------------------------------------------------------

    def closed(self, link: Connection) -> None:
        """Forget it."""
        session = self.sessions.pop(link, None)
        if session is None:
            return
        for key in session.subscriptions:
            self.pusher.remove(key, link)
        session.subscriber.page.closed = self.clock.wall_us()
        self._ending = [(due, one) for due, one in self._ending if one is not link]

    def writable(self, link: Connection) -> None:
        """Nothing waits for that: pushes are never held back."""

    def rest(self, request: HttpRequest) -> HttpResponse:
        """REST, and the control endpoint."""
        if request.path == CONTROL:
            return self._control(request)
        return self.serve(request)

    # --- what a venue says ----------------------------------------------------------------------------------------

    def serve(self, request: HttpRequest) -> HttpResponse:
        """Answer a REST request."""
        raise NotImplementedError

    def refusal(self, status: int) -> HttpResponse:
        """The answer to a handshake that is refused with this status."""
        return HttpResponse(status, b"{}")

    def order(self, body: bytes) -> Fault:
        """A control request; msgspec.ValidationError says what is wrong with it."""
        return requests.decode(body)

    # --- for venues -----------------------------------------------------------------------------------------------

    def knock(self) -> tuple[float, HttpResponse | None]:
        """What faults do to a handshake: seconds to wait, and the refusal if it is one."""
        fault = self.faults.handshakes.pop(0) if self.faults.handshakes else None
        if fault is None:
            return 0.0, None
        if fault.status == 101:
            return fault.delay, None
        refusal = self.refusal(fault.status)
        return fault.delay, later(refusal, fault.retry_after)

    def enter(self, request: HttpRequest, paths: Collection[str], per_second: int) -> tuple[float, HttpResponse | None]:
        """The same where only these paths are served, and so many connections a second are (0: any number)."""
        delay, refusal = self.knock()
        if refusal is None and request.path not in paths:
            refusal = self.refusal(404)
        elif refusal is None and per_second and not allowed(self._connects, self.clock.monotonic(), per_second, 1.0):
            refusal = self.refusal(429)
        return delay, refusal

    def page(self, link: Connection, path: str) -> tuple[str, Connected]:
        """An id for a new connection and its page of the ledger; faults that are to last strike it, too."""
        conn_id = f"{self.faults.random.getrandbits(32):08x}"
        page = Connected(path, self.clock.wall_us())
        self.history[conn_id] = page
        link.silent, link.swallowing = self.faults.silent, self.faults.swallowing
        return conn_id, page

    def end_later(self, links: Sequence[Link], after: float) -> None:
        """Have these closed after so many seconds."""
        due = self.clock.monotonic() + after
        self._ending += [(due, link) for link in links]

    def flush(self, idle_seconds: float, code: int, reason: str) -> None:
        """Send what was pushed; close those that have been idle for too long (0: nobody)."""
        now = self.clock.monotonic()
        for link, session in list(self.sessions.items()):
            if link.flush():
                session.active = now
            elif idle_seconds and now - session.active > idle_seconds:
                link.close(code, reason)

    def end_due(self, code: int, reason: str) -> None:
        """Close those whose time has come."""
        now = self.clock.monotonic()
        for due, link in list(self._ending):
            if due <= now:
                self._ending.remove((due, link))
                link.close(code, reason)

    # --- control --------------------------------------------------------------------------------------------------

    def _control(self, request: HttpRequest) -> HttpResponse:
        """GET: the ledger and who is here. POST {"fault": "drop", …}: strike."""
        if request.method == "GET":
            here = {one.conn_id: [list(key) for key in one.subscriptions] for one in self.sessions.values()}
            counts = {"poisoned": self.faults.poisoned, "duplicated": self.faults.duplicated}
            return HttpResponse(200, msgspec.json.encode({"ledger": self.ledger(), "sessions": here, **counts}))
        try:
            struck = self.order(request.body).strike(self)  # type: ignore[arg-type]  # venues complete the target
        except (msgspec.MsgspecError, ValueError) as error:
            return HttpResponse(400, msgspec.json.encode({"ok": False, "error": str(error)}))
        return HttpResponse(200, msgspec.json.encode({"ok": True, "struck": struck}))


def later(answer: HttpResponse, seconds: int) -> HttpResponse:
    """An answer that says when to come again, unless that is at once."""
    headers = {**answer.headers, "Retry-After": str(seconds)} if seconds else answer.headers
    return HttpResponse(answer.status, answer.body, headers)
