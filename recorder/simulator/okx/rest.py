"""OKX's public REST endpoints over the same market: trades, candles, books, instruments, what is derived, time.

Owns paging, limits per call and request limits. Never changes the market, except that asking for a book publishes
what is pending, so that REST and the pushed book agree by seqId.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from recorder.simulator.bars import Bars
from recorder.simulator.clock import Clock
from recorder.simulator.market import Instrument, Phase
from recorder.simulator.okx import derived as derived
from recorder.simulator.okx.bars import BARS, FUNDING, bar_span
from recorder.simulator.okx.channels import leader
from recorder.simulator.okx.options import OkxFaults
from recorder.simulator.okx.push import Pusher
from recorder.simulator.okx.text import Text
from recorder.simulator.wire import HttpRequest, HttpResponse

WINDOW = 2.0  # seconds that the venue's request limits are told for
BASE = "/api/v5"
UNKNOWN = "51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist."
QUARTER = 270  # funding periods of eight hours in the three months that the venue keeps
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
        self,
        instruments: Mapping[str, Instrument],
        pusher: Pusher,
        faults: OkxFaults,
        clock: Clock,
        *,
        limited: bool,
    ) -> None:
        self._instruments = instruments
        self._pusher = pusher
        self._faults = faults
        self._clock = clock
        self._limited = limited
        self._asked: dict[str, deque[float]] = {}
        market, public = f"{BASE}/market", f"{BASE}/public"
        self._endpoints: dict[str, tuple[int, Callable[[Query], str]]] = {
            f"{market}/trades": (100, self._trades),
            f"{market}/history-trades": (20, self._history_trades),
            f"{market}/candles": (40, self._candles),
            f"{market}/history-candles": (20, self._candles),
            f"{market}/mark-price-candles": (20, self._mark_candles),
            f"{market}/history-mark-price-candles": (10, self._mark_candles),
            f"{market}/index-candles": (20, self._index_candles),
            f"{market}/history-index-candles": (10, self._index_candles),
            f"{market}/books": (40, self._books),
            f"{market}/books-full": (10, self._books_full),
            f"{market}/ticker": (20, self._ticker),
            f"{market}/tickers": (20, self._tickers),
            f"{market}/option/instrument-family-trades": (20, self._family_trades),
            f"{public}/instruments": (20, self._listed),
            f"{public}/time": (10, self._time),
            f"{public}/mark-price": (10, self._by_kind(derived.mark_price)),
            f"{public}/open-interest": (20, self._by_kind(derived.open_interest)),
            f"{public}/price-limit": (20, self._one(derived.price_limit)),
            f"{public}/funding-rate": (10, self._funding),
            f"{public}/funding-rate-history": (10, self._funding_history),
            f"{public}/option-trades": (20, self._option_trades),
            f"{public}/liquidation-orders": (40, self._liquidations),
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
        if symbol not in self._instruments or self._instruments[symbol].phase is Phase.EXPIRED:
            raise Refused(*UNKNOWN)
        return self._instruments[symbol], self._pusher.text(symbol)

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
        bars = instrument.seconds if query.get("bar") == "1s" else instrument.minutes
        return self._bars(query, bars, instrument.now_us // 1000, (text, 9, 300))

    def _mark_candles(self, query: Query) -> str:
        instrument, text = self._instrument(query)
        return self._bars(query, instrument.marks, instrument.now_us // 1000, (text, 6, 100))

    def _index_candles(self, query: Query) -> str:
        one = leader(query.get("instId", ""), self._instruments)
        if one is None:
            raise Refused(*UNKNOWN)
        text = self._pusher.text(one.listing.symbol)
        return self._bars(query, one.marks, one.now_us // 1000, (text, 6, 100))

    def _bars(self, query: Query, bars: Bars, now: int, shape: tuple[Text, int, int]) -> str:
        """`after` asks for bars before a moment, `before` for those after one. Shape: text, fields a row, most rows."""
        text, fields, most = shape
        bar = query.get("bar", "1m")
        if bar not in BARS:
            raise Refused("51000", "Parameter bar error", 400)
        after, before = _number(query, "after"), _number(query, "before") or 0
        rows: list[str] = []
        start, end = bar_span(bar, now if after is None else min(now, after - 1))
        limit = _limit(query, most)
        while len(rows) < limit and end > bars.first and start > before:
            merged = bars.merge(start, end)
            if merged is not None:
                rows.append(text.candle(merged, closed=end <= now, fields=fields))
            start, end = bar_span(bar, start - 1)
        return ",".join(rows)

    # --- books, tickers, instruments -------------------------------------------------------------------------------

    def _books(self, query: Query) -> str:
        return self._book(query, 400, deep=False)

    def _books_full(self, query: Query) -> str:
        return self._book(query, 5_000, deep=True)

    def _book(self, query: Query, most: int, *, deep: bool) -> str:
        instrument, text = self._instrument(query)
        depth = _number(query, "sz") or 1
        if depth > most:
            raise Refused("51000", "Parameter sz error", 400)
        instrument.publish(self._pusher)
        book, now = instrument.book, instrument.now_us // 1000
        seq, (bids, asks) = book.published, (book.bids.top(depth), book.asks.top(depth))
        if self._faults.options.lag:
            now -= int(self._faults.options.lag * 1000)
            seq, (bids, asks) = self._pusher.log.before(instrument.listing.symbol, now)
        shown = [text.levels(side[:depth], deep=deep) for side in (asks, bids)]
        return f'{{"asks":[{shown[0]}],"bids":[{shown[1]}],"ts":"{now}","seqId":{seq}}}'

    def _ticker(self, query: Query) -> str:
        instrument, text = self._instrument(query)
        return derived.stamped([text.ticker(instrument)], instrument.now_us // 1000)

    def _tickers(self, query: Query) -> str:
        found = self._kind(query)
        rows = [self._pusher.text(one.listing.symbol).ticker(one) for one in found if not one.ended]
        return derived.stamped(rows, self._now())

    def _listed(self, query: Query) -> str:
        return ",".join(map(derived.instrument, self._kind(query)))

    def _kind(self, query: Query) -> Iterator[Instrument]:
        """The instruments of a kind, narrowed by symbol or family where the query says so. What expired is gone."""
        kind = query.get("instType", "")
        if not kind:
            raise Refused("50014", "Parameter instType can not be empty.", 400)
        wanted, family = query.get("instId", ""), query.get("instFamily", "") or query.get("uly", "")
        for symbol, one in self._instruments.items():
            fits = wanted in ("", symbol) and family in ("", one.listing.family)
            if fits and one.listing.kind == kind and one.phase is not Phase.EXPIRED:
                yield one

    # --- what is derived ------------------------------------------------------------------------------------------

    def _by_kind(self, fields: derived.Fields) -> Callable[[Query], str]:
        def rows(query: Query) -> str:
            now = self._now()
            found = self._kind(query)
            return derived.stamped([row for one in found if (row := fields(one, now))], now)

        return rows

    def _one(self, fields: derived.Fields) -> Callable[[Query], str]:
        return lambda query: derived.stamped([fields(self._instrument(query)[0], self._now())], self._now())

    def _perpetuals(self, query: Query) -> list[Instrument]:
        if query.get("instId") == "ANY":
            return [one for one in self._instruments.values() if one.listing.kind == "SWAP" and not one.ended]
        instrument, _ = self._instrument(query)
        if instrument.listing.kind != "SWAP":
            raise Refused(*UNKNOWN)
        return [instrument]

    def _funding(self, query: Query) -> str:
        now = self._now()
        return derived.stamped([derived.funding_rate(one, now) for one in self._perpetuals(query)], now)

    def _funding_history(self, query: Query) -> str:
        """Settled periods, newest first; `after` asks for those before a moment, `before` for those after one."""
        (instrument,) = self._perpetuals(query)[:1]
        settled = self._now() // FUNDING * FUNDING
        after, before = _number(query, "after"), _number(query, "before") or 0
        times = (settled - n * FUNDING for n in range(QUARTER))
        fits = (at for at in times if before < at < (settled + 1 if after is None else after))
        return ",".join(derived.settled_funding(instrument, at) for at in islice(fits, _limit(query, 400)))

    def _option_trades(self, query: Query) -> str:
        """The last hundred trades of an option or of a family's options."""
        wanted = {"instType": "OPTION", **query}
        if not (query.get("instId") or query.get("instFamily")):
            raise Refused("50014", "Either parameter instId or instFamily is required.", 400)
        rows = []
        for one in self._kind(wanted):
            index = leader(one.listing.family, self._instruments)
            newest = one.tape.newest(100) if index is not None else []
            rows += [(match.ts, derived.option_trade(one, index, match)) for match in newest if index is not None]
        return ",".join(row for _, row in sorted(rows, reverse=True)[:100])

    def _family_trades(self, query: Query) -> str:
        """The same by family, calls and puts apart, with the volumes of the day."""
        found = list(self._kind({"instType": "OPTION", **query}))
        groups = []
        for side in ("C", "P"):
            texts = [(one, self._pusher.text(one.listing.symbol)) for one in found if one.listing.symbol[-1] == side]
            trades = ",".join(text.match(match) for one, text in texts for match in one.tape.newest(20))
            volume = sum(one.day.bar().lots for one, _ in texts)
            groups.append(f'{{"vol24h":"{volume}","optType":"{side}","tradeInfo":[{trades}]}}')
        return ",".join(groups)

    def _liquidations(self, query: Query) -> str:
        """What was liquidated, newest first, by family. `state=unfilled`: nothing waits here."""
        groups = []
        for one in self._kind(query):
            last = one.tape.last // derived.LIQUIDATED * derived.LIQUIDATED
            ids = islice(range(last, one.tape.first - 1, -derived.LIQUIDATED), _limit(query, 100))
            details = ",".join(derived.liquidated(one, one.tape.match(number)) for number in ids)
            if details and one.listing.contract and query.get("state") != "unfilled":
                names, family = derived.names(one.listing), one.listing.family
                groups.append(
                    f'{{{names},"instFamily":"{family}","uly":"{family}","totalLoss":"0","details":[{details}]}}'
                )
        return ",".join(groups)

    # --- time -----------------------------------------------------------------------------------------------------

    def _now(self) -> int:
        return self._clock.wall_us() // 1000

    def _time(self, query: Query) -> str:
        return f'{{"ts":"{self._now()}"}}'


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
