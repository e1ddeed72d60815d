"""OKX's public REST endpoints over the same market: trades, candles, books, instruments, time.

Owns paging, limits per call and request limits. Never changes the market, except that asking for a book publishes
what is pending, so that REST and the pushed book agree by seqId.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from recorder.simulator.clock import Clock
from recorder.simulator.market import Instrument, Listener
from recorder.simulator.okx_text import BARS, Text, bar_span
from recorder.simulator.wire import HttpRequest, HttpResponse

WINDOW = 2.0  # seconds that the venue's request limits are told for
BASE = "/api/v5"
Query = Mapping[str, str]


class Refused(Exception):
    """The answer is an error envelope."""

    def __init__(self, code: str, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class Rest:
    """Answers requests. `limited`: the venue's requests per 2 s are enforced."""

    def __init__(
        self, instruments: Mapping[str, Instrument], listener: Listener, clock: Clock, *, limited: bool
    ) -> None:
        self._instruments = instruments
        self._texts = {symbol: Text(one.listing) for symbol, one in instruments.items()}
        self._listener = listener
        self._clock = clock
        self._limited = limited
        self._asked: dict[str, deque[float]] = {}
        self._endpoints: dict[str, tuple[int, Callable[[Query], str]]] = {
            f"{BASE}/market/trades": (100, self._trades),
            f"{BASE}/market/history-trades": (20, self._history_trades),
            f"{BASE}/market/candles": (40, self._candles),
            f"{BASE}/market/history-candles": (20, self._candles),
            f"{BASE}/market/books": (40, self._books),
            f"{BASE}/market/books-full": (10, self._books_full),
            f"{BASE}/market/ticker": (20, self._ticker),
            f"{BASE}/public/instruments": (20, self._listed),
            f"{BASE}/public/time": (10, self._time),
        }

    def answer(self, request: HttpRequest) -> HttpResponse:
        """The venue's envelope, newest first."""
        found = self._endpoints.get(request.path)
        if found is None:
            return HttpResponse(404, b'{"code":"404","data":{},"msg":"Not Found"}')
        allowed, endpoint = found
        try:
            self._count(request.path, allowed)
            return HttpResponse(200, f'{{"code":"0","msg":"","data":[{endpoint(request.query)}]}}'.encode())
        except Refused as error:
            body = f'{{"code":"{error.code}","msg":"{error.message}","data":[]}}'
            return HttpResponse(error.status, body.encode())

    def _count(self, path: str, allowed: int) -> None:
        times, now = self._asked.setdefault(path, deque()), self._clock.monotonic()
        while times and now - times[0] >= WINDOW:
            times.popleft()
        if self._limited and len(times) >= allowed:
            raise Refused("50011", "Too Many Requests", 429)
        times.append(now)

    def _instrument(self, query: Query) -> tuple[Instrument, Text]:
        symbol = query.get("instId", "")
        if not symbol:
            raise Refused("50014", "Parameter instId can not be empty.", 400)
        if symbol not in self._instruments:
            raise Refused("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
        return self._instruments[symbol], self._texts[symbol]

    # --- trades ---------------------------------------------------------------------------------------------------

    def _trades(self, query: Query) -> str:
        instrument, text = self._instrument(query)
        return ",".join(map(text.match, instrument.tape.newest(_limit(query, 500))))

    def _history_trades(self, query: Query) -> str:
        """`after` names the oldest id (type 2: moment) known and asks for older ones; `before` alone gives the newest
        page, however far that is from the id it names."""
        instrument, text = self._instrument(query)
        tape, limit = instrument.tape, _limit(query, 100)
        after, before = _number(query, "after"), _number(query, "before")
        if query.get("type", "1") == "2":
            below = None if after is None else tape.last_before(after) + 1
            return ",".join(map(text.match, tape.newest(limit, below=below)))
        return ",".join(map(text.match, tape.newest(limit, above=before or 0, below=after)))

    # --- candles --------------------------------------------------------------------------------------------------

    def _candles(self, query: Query) -> str:
        instrument, text = self._instrument(query)
        bar = query.get("bar", "1m")
        if bar not in BARS:
            raise Refused("51000", "Parameter bar error", 400)
        after, before = _number(query, "after"), _number(query, "before") or 0
        bars = instrument.seconds if bar == "1s" else instrument.minutes
        now = instrument.now_us // 1000
        rows: list[str] = []
        start, end = bar_span(bar, now if after is None else min(now, after - 1))
        limit = _limit(query, 300)
        while len(rows) < limit and end > bars.first and start > before:
            merged = bars.merge(start, end)
            if merged is not None:
                rows.append(text.candle(merged, closed=end <= now))
            start, end = bar_span(bar, start - 1)
        return ",".join(rows)

    # --- books, instruments, time ---------------------------------------------------------------------------------

    def _books(self, query: Query) -> str:
        return self._book(query, 400, deep=False)

    def _books_full(self, query: Query) -> str:
        return self._book(query, 5_000, deep=True)

    def _book(self, query: Query, most: int, *, deep: bool) -> str:
        instrument, text = self._instrument(query)
        depth = _number(query, "sz") or 1
        if depth > most:
            raise Refused("51000", "Parameter sz error", 400)
        instrument.publish(self._listener)
        book, now = instrument.book, instrument.now_us // 1000
        asks, bids = text.levels(book.asks.top(depth), deep=deep), text.levels(book.bids.top(depth), deep=deep)
        return f'{{"asks":[{asks}],"bids":[{bids}],"ts":"{now}","seqId":{book.published}}}'

    def _ticker(self, query: Query) -> str:
        instrument, text = self._instrument(query)
        return f'{{{text.ticker(instrument)},"ts":"{instrument.now_us // 1000}"}}'

    def _listed(self, query: Query) -> str:
        kind = query.get("instType", "")
        if not kind:
            raise Refused("50014", "Parameter instType can not be empty.", 400)
        wanted = query.get("instId", "")
        texts = (one for symbol, one in self._texts.items() if wanted in ("", symbol))
        return ",".join(one.instrument() for one in texts if one.listing.kind == kind)

    def _time(self, query: Query) -> str:
        return f'{{"ts":"{self._clock.wall_us() // 1000}"}}'


def _number(query: Query, name: str) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise Refused("51000", f"Parameter {name} error", 400)
    return int(text)


def _limit(query: Query, most: int) -> int:
    """What the client wants, 100 by default; more than the venue gives is cut to that."""
    return max(1, min(most, _number(query, "limit") or 100))
