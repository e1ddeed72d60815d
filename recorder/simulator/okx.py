"""OKX v5 as a venue of our own: subscriptions, refusals, limits, heartbeats and closes, as its public API has them.

Owns the sessions and what clients may ask. Never formats market data (okx_text), pushes it (okx_push) or answers
REST (okx_rest).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import msgspec

from recorder.simulator import faults as requests
from recorder.simulator.clock import Clock, SystemClock
from recorder.simulator.connection import Connection
from recorder.simulator.faults import Faults, Link
from recorder.simulator.market import Listing, Market
from recorder.simulator.okx_push import Pusher, Subscriber
from recorder.simulator.okx_rest import Rest
from recorder.simulator.okx_text import BARS
from recorder.simulator.oracle import Connected, Ledger, Numbered
from recorder.simulator.wire import HttpRequest, HttpResponse, frame

PUBLIC, BUSINESS = "/ws/v5/public", "/ws/v5/business"
CONTROL = "/_control"
HOUR = 3600.0

LISTINGS = (
    Listing("BTC-USDT", "SPOT", 650_000, 1, 8, 50_000_000, spacing=24),
    Listing("ETH-USDT", "SPOT", 320_000, 2, 6, 5_000_000, spacing=12),
    Listing("SOL-USDT", "SPOT", 15_000, 2, 6, 80_000_000),
    Listing("BTC-USDT-SWAP", "SWAP", 650_100, 1, 2, 40_000, spacing=24, contract="0.01"),
    Listing("ETH-USDT-SWAP", "SWAP", 320_050, 2, 2, 60_000, spacing=12, contract="0.1"),
)

PLAIN = frozenset({"trades", "tickers", "books", "books5", "bbo-tbt", "books-elp", "mark-price", "price-limit"})
DERIVATIVES = frozenset({"funding-rate", "open-interest"})
INDICES = frozenset({"index-tickers"})
KEYED = {  # channels without an instrument: which argument names what is wanted
    **dict.fromkeys(("instruments", "liquidation-orders", "adl-warning", "estimated-price"), "instType"),
    **dict.fromkeys(("opt-summary", "option-trades"), "instFamily"),
    "status": "",
}
VIP = frozenset({"books-l2-tbt", "books50-l2-tbt"})
MOVED = tuple(f"{kind}{bar}" for kind in ("candle", "mark-price-candle", "index-candle") for bar in BARS)
ONLY_BUSINESS = frozenset({"trades-all", *MOVED})
ONLY_PUBLIC = PLAIN | DERIVATIVES | INDICES | VIP | KEYED.keys()

MESSAGES = {
    "60009": "Login failed.",
    "60011": "Please log in",
    "60013": "Invalid args",
    "60014": "Requests too frequent",
    "64001": "This channel has been migrated to the '/business' URL. Please subscribe using the new URL.",
    "64002": "This channel is not supported by the '/business' URL. Please use the '/private' or '/public' URL.",
    "64003": "Your trading fee tier doesn't meet the requirement to access this channel",
}
NO_ID = msgspec.Raw(b"")
UPGRADE = "The connection will soon be closed for a service upgrade. Please reconnect."


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
class Session:
    """A WebSocket connection and what it asked for."""

    conn_id: str
    path: str
    subscriber: Subscriber
    active: float  # monotonic; of the last data pushed or heartbeat heard
    operations: deque[float] = field(default_factory=deque)
    subscriptions: dict[tuple[str, str], None] = field(default_factory=dict)

    @property
    def link(self) -> Connection:
        """Its connection."""
        return self.subscriber.link


class OkxVenue:
    """The venue. `tick` moves it to the present; the server calls it every few milliseconds."""

    name = "okx"

    def __init__(
        self, market: Market | None = None, *, rules: Rules | None = None, clock: Clock | None = None, seed: int = 1
    ) -> None:
        self.clock = clock or SystemClock()
        self.rules = rules or Rules()
        self.market = market or Market(LISTINGS, self.clock.wall_us(), seed=seed)
        self.faults = Faults(Random(seed))  # noqa: S311 - reproducible on purpose
        self.pusher = Pusher(self.market.instruments, self.faults)
        self.sessions: dict[Connection, Session] = {}
        self.history: dict[str, Connected] = {}
        self.on_refuse: Callable[[float], None] | None = None
        self._rest = Rest(self.market.instruments, self.pusher, self.clock, limited=self.rules.rest)
        self._connects: deque[float] = deque()
        self._ending: list[tuple[float, Link]] = []

    # --- for tests and the control endpoint -----------------------------------------------------------------------

    def ledger(self) -> Ledger:
        """Ids issued until now, ids withheld, ids sent to whom."""
        issued = {symbol: one.tape.last for symbol, one in self.market.instruments.items()}
        return Ledger(issued, self.pusher.skipped, self.history)

    def issued_before(self, symbol: str, us: int) -> int:
        """The highest id of a symbol issued before this moment of the wall clock (µs)."""
        return self.market.instruments[symbol].issued_before(us)

    def links(self, path: str) -> Sequence[Link]:
        """The open connections whose path contains this."""
        return [link for link, session in self.sessions.items() if path in session.path]

    def announce(self, links: Sequence[Link], after: float) -> None:
        """Notice 64008, and the end `after` seconds later."""
        for link in links:
            session = next(one for one in self.sessions.values() if one.link is link)
            self._event(session, {"event": "notice", "code": "64008", "msg": UPGRADE})
            link.flush()
            self._ending.append((self.clock.monotonic() + after, link))

    def restart_book(self, symbol: str) -> int:
        """Number books on from a smaller id, as after maintenance."""
        found = [one for name, one in self.market.instruments.items() if symbol in ("", name)]
        for instrument in found:
            instrument.publish(self.pusher)
            instrument.book.restart()
            instrument.publish(self.pusher)
        return len(found)

    def refuse(self, seconds: float) -> None:
        """Ask the server to stop listening for a while."""
        if self.on_refuse is not None:
            self.on_refuse(seconds)

    # --- what the server calls ------------------------------------------------------------------------------------

    def admit(self, request: HttpRequest) -> tuple[float, HttpResponse | None]:
        """The handshake's faults, its path, and three a second."""
        fault = self.faults.handshakes.pop(0) if self.faults.handshakes else None
        if fault is not None and fault.status != 101:
            headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after else {}
            return fault.delay, HttpResponse(fault.status, b"{}", headers)
        if request.path not in (PUBLIC, BUSINESS):
            return 0.0, HttpResponse(404, b"{}")
        limit = self.rules.connects_per_second
        if limit and not _allowed(self._connects, self.clock.monotonic(), limit, 1.0):
            return 0.0, HttpResponse(429, b"{}")
        return fault.delay if fault else 0.0, None

    def opened(self, link: Connection, path: str) -> None:
        """Give it an id and a page of the ledger."""
        conn_id = f"{self.faults.random.getrandbits(32):08x}"
        page = Connected(path, self.clock.wall_us())
        self.history[conn_id] = page
        link.silent, link.swallowing = self.faults.silent, self.faults.swallowing
        self.sessions[link] = Session(conn_id, path, Subscriber(link, page), self.clock.monotonic())

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

    def rest(self, request: HttpRequest) -> HttpResponse:
        """REST, and the control endpoint."""
        if request.path == CONTROL:
            return self._control(request)
        return self._rest.answer(request)

    def tick(self) -> None:
        """Move to the present, send what that brought, end what has been idle for too long."""
        self.market.advance(self.clock.wall_us(), self.pusher)
        now = self.clock.monotonic()
        for link, session in list(self.sessions.items()):
            if link.flush():
                session.active = now
            elif self.rules.idle_seconds and now - session.active > self.rules.idle_seconds:
                link.close(4004, "No data received in 30s")
        for due, ending in list(self._ending):
            if due <= now:
                self._ending.remove((due, ending))
                ending.close(1001, "service upgrade")

    # --- requests -------------------------------------------------------------------------------------------------

    def _request(self, session: Session, asked: _Asked) -> None:
        limit = self.rules.operations_per_hour
        if limit and not _allowed(session.operations, self.clock.monotonic(), limit, HOUR):
            self._error(session, "60014", MESSAGES["60014"], asked.id)
        elif asked.op == "login":
            self._error(session, "60009", MESSAGES["60009"], asked.id)
        elif self.rules.args_bytes and len(bytes(asked.args)) > self.rules.args_bytes:
            session.link.close(1009, "")
        else:
            self._arguments(session, asked)

    def _arguments(self, session: Session, asked: _Asked) -> None:
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
                key = _key(arg)
                session.subscriptions.pop(key, None)
                self.pusher.remove(key, session.link)
                self._event(session, {"event": "unsubscribe", "arg": arg}, asked.id)

    def _subscribe(self, session: Session, arg: dict[str, str], id_: msgspec.Raw) -> None:
        channel, symbol = key = _key(arg)
        code = self.faults.rejection(channel, symbol) or self._refusal(session.path, channel, symbol, arg)
        if code:
            shown = ",".join(f"{name}:{value}" for name, value in arg.items())
            wrong = (
                f"Wrong URL or {shown} doesn't exist. Please use the correct URL, channel and parameters "
                "referring to API document."
            )
            self._error(session, code, MESSAGES.get(code, wrong), id_)
        elif not self.faults.ignores(channel, symbol):
            session.subscriptions[key] = None
            self._event(session, {"event": "subscribe", "arg": arg}, id_)
            self.pusher.greet(key, session.subscriber)  # first: what it publishes is older than the snapshot
            self.pusher.add(key, session.subscriber)

    def _refusal(self, path: str, channel: str, symbol: str, arg: dict[str, str]) -> str:
        """The code to refuse a subscription with, empty when it is fine."""
        if not channel:
            return "60013"
        if path == PUBLIC and channel in ONLY_BUSINESS:
            return "64001" if channel in MOVED else "60018"
        if path == BUSINESS and channel in ONLY_PUBLIC:
            return "64002"
        if channel in VIP:
            return "64003"
        if channel in KEYED:
            return "" if not KEYED[channel] or KEYED[channel] in arg else "60013"
        known = self.market.instruments.get(symbol)
        if channel in INDICES or channel.startswith("index-candle"):
            return "" if any(one.startswith(symbol) for one in self.market.instruments) and symbol else "60018"
        if known is None or channel not in PLAIN | DERIVATIVES | ONLY_BUSINESS:
            return "60018"
        return "60018" if channel in DERIVATIVES and not known.listing.contract else ""

    def _error(self, session: Session, code: str, text: str, id_: msgspec.Raw) -> None:
        self._event(session, {"event": "error", "code": code, "msg": text}, id_)

    def _event(self, session: Session, event: dict[str, object], id_: msgspec.Raw = NO_ID) -> None:
        """A control frame, with the request's id first where it had one."""
        echoed = {"id": id_} if bytes(id_) else {}
        session.link.push(frame(msgspec.json.encode({**echoed, **event, "connId": session.conn_id})))

    # --- control --------------------------------------------------------------------------------------------------

    def _control(self, request: HttpRequest) -> HttpResponse:
        """GET: the ledger and who is here. POST {"fault": "drop", …}: strike."""
        if request.method == "GET":
            here = {one.conn_id: [list(key) for key in one.subscriptions] for one in self.sessions.values()}
            counts = {"poisoned": self.faults.poisoned, "duplicated": self.faults.duplicated}
            return HttpResponse(200, msgspec.json.encode({"ledger": self.ledger(), "sessions": here, **counts}))
        try:
            struck = requests.decode(request.body).strike(self)
        except (msgspec.MsgspecError, ValueError) as error:
            return HttpResponse(400, msgspec.json.encode({"ok": False, "error": str(error)}))
        return HttpResponse(200, msgspec.json.encode({"ok": True, "struck": struck}))


class FlatOut(OkxVenue):
    """Sends numbered trades as fast as the slowest subscriber reads them. Market and limits are otherwise usual."""

    BLOCK = 256  # frames a write: 50 KB, three TLS records

    _scheduled = False

    def received(self, link: Connection, message: bytes) -> None:
        """As usual; a subscription starts the flood."""
        super().received(link, message)
        self._schedule()

    def writable(self, link: Connection) -> None:
        """Go on."""
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """Write one block for every symbol, and come again, unless somebody is still busy reading the last one."""
        self._scheduled = False
        wanted = self.pusher.wanted("trades")
        links = {link for group in wanted.values() for link in group}
        if not links or any(link.paused for link in links):
            return
        ts = self.clock.wall_us() // 1000
        for symbol in wanted:
            instrument = self.market.instruments[symbol]
            assert isinstance(instrument, Numbered)
            for _ in range(self.BLOCK):
                self.pusher.on_trade(instrument, instrument.issue(ts))
        for link in links:
            link.flush()
        self._schedule()


def _key(arg: dict[str, str]) -> tuple[str, str]:
    channel = arg.get("channel", "")
    return channel, arg.get(KEYED.get(channel, "instId"), "") or arg.get("instId", "")


def _allowed(times: deque[float], now: float, limit: int, seconds: float) -> bool:
    """Count one more in a sliding window, unless it is full."""
    while times and now - times[0] >= seconds:
        times.popleft()
    if len(times) >= limit:
        return False
    times.append(now)
    return True
