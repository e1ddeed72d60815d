"""Infoway's REST endpoints over the same market: last trades, depth, bars with paging, symbols, trading calendar.

Owns paths, parameters, envelopes and request limits. Never changes the market. Envelopes, the two error forms of the
framework (400, 404), the gateway's 401 and its limit are spelled as recorded.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Mapping
from http import HTTPStatus
from random import Random
from typing import Any, Protocol
from urllib.parse import unquote

import msgspec

from recorder.simulator.clock import Clock
from recorder.simulator.infoway.calendar import schedule_row, trading_days
from recorder.simulator.infoway.listings import BUSINESSES, HOMES, MARKETS, SCHEDULED, business
from recorder.simulator.infoway.push import Pusher, bar_at
from recorder.simulator.infoway.text import DAILY, KLINES, kline_span
from recorder.simulator.limits import allowed
from recorder.simulator.market import Instrument
from recorder.simulator.wire import HttpRequest, HttpResponse

MOST_SYMBOLS, MOST_BARS, BATCHED_BARS = 100, 500, 2
BASIC = "/common/basic"
JSON = dict[str, Any]


class Limits(Protocol):
    """What of a plan concerns REST."""

    @property
    def requests_per_second(self) -> int:
        """0 is no limit."""
        ...

    @property
    def limited(self) -> int:
        """The status of a request too many."""
        ...


class Refused(Exception):
    """The answer is an envelope with this `ret` and no data."""

    def __init__(self, ret: int, message: str) -> None:
        super().__init__(message)
        self.ret = ret


class Rest:
    """Answers requests. `knows`: whether a key is one."""

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        pusher: Pusher,
        clock: Clock,
        knows: Callable[[str], bool],
        limits: Limits,
    ) -> None:
        self._instruments = instruments
        self._pusher = pusher
        self._clock = clock
        self._knows = knows
        self._limits = limits
        self._asked: dict[str, deque[float]] = {}
        self._random = Random(1)  # noqa: S311 - for trace ids
        self._basic: dict[str, Callable[[HttpRequest], str | HttpResponse]] = {
            f"{BASIC}/symbols": self._symbols,
            f"{BASIC}/markets/trading_schedule": self._schedule,
            f"{BASIC}/markets/trading_days": self._days,
        }

    def answer(self, request: HttpRequest) -> HttpResponse:
        """The venue's envelope."""
        key = request.headers.get("apikey", "")
        if not self._knows(key):
            return HttpResponse(401, self.excuse(401), {"www-authenticate": 'apikey realm="key"'})
        limit = self._limits.requests_per_second
        if limit and not allowed(self._asked.setdefault(key, deque()), self._clock.monotonic(), limit, 1.0):
            return HttpResponse(self._limits.limited, self.excuse(429))
        try:
            found = self._found(request)
        except Refused as refused:
            return HttpResponse(200, self._envelope(refused.ret, str(refused), "null"))
        return found if isinstance(found, HttpResponse) else HttpResponse(200, self._envelope(200, "success", found))

    def excuse(self, status: int) -> bytes:
        """What stands in the body of an answer with this status."""
        if status == 401:
            return b'{"code":401,"message":"Token invalid","timestamp":%d}' % (self._clock.wall_us() // 1000)
        if status == 429:
            return b'{"detail":"Rate limit exceeded"}'
        return self._envelope(status, "Server error", "null")

    def _found(self, request: HttpRequest) -> str | HttpResponse:
        basic = self._basic.get(request.path)
        if basic is not None:
            return basic(request)
        home, _, rest = request.path.lstrip("/").partition("/")
        call, _, wanted = rest.partition("/")
        wanted = unquote(wanted)
        if home in BUSINESSES and call == "batch_trade" and wanted:
            return self._trades(home, wanted)
        if home in BUSINESSES and call == "batch_depth" and wanted:
            return self._depth(home, wanted)
        if home in BUSINESSES and rest == "v2/batch_kline" and request.method == "POST":
            return self._klines(home, _body(request))
        if home in BUSINESSES and call == "batch_kline" and wanted.count("/") == 2:
            kind, number, codes = wanted.split("/")
            return self._klines(home, {"klineType": _number(kind), "klineNum": _number(number), "codes": codes})
        return _problem(404, f"No static resource {request.path.lstrip('/')}.", request.path)

    def _envelope(self, ret: int, message: str, data: str) -> bytes:
        trace = uuid.UUID(int=self._random.getrandbits(128), version=4)
        text = msgspec.json.encode(message).decode()
        return f'{{"ret":{ret},"msg":{text},"traceId":"{trace}","data":{data}}}'.encode()

    # --- market data ----------------------------------------------------------------------------------------------

    def _wanted(self, home: str, codes: str) -> list[Instrument]:
        """The instruments of a business that were asked for; those that it does not have are left out."""
        symbols = dict.fromkeys(code.strip() for code in codes.split(",") if code.strip())
        if not symbols:
            raise Refused(507, "Param lost：codes")
        if len(symbols) > MOST_SYMBOLS:
            raise Refused(505, f"Products quantity exceeds the limit：{MOST_SYMBOLS}")
        known = (self._instruments.get(symbol) for symbol in symbols)
        found = [one for one in known if one is not None and business(one.listing) == home]
        if not found:
            raise Refused(500, "All product not exists")
        return found

    def _trades(self, home: str, codes: str) -> str:
        """The last trade of each, which is the last one pushed."""
        last = ((self._pusher.last.get(one.listing.symbol), one) for one in self._wanted(home, codes))
        rows = (self._pusher.texts[one.listing.symbol].trade_row(trade) for trade, one in last if trade is not None)
        return f"[{','.join(rows)}]"

    def _depth(self, home: str, codes: str) -> str:
        found = self._wanted(home, codes)
        rows = (self._pusher.texts[one.listing.symbol].depth_row(one, one.now_us // 1000) for one in found)
        return f"[{','.join(rows)}]"

    def _klines(self, home: str, body: JSON) -> str:
        """Bars, newest first, the running one too. `timestamp`, in seconds, is the last moment of interest: a bar that
        opens after it is left out; long bars know no such thing. Several symbols get two bars each."""
        for name in ("codes", "klineType", "klineNum"):
            if body.get(name) is None:
                raise Refused(507, f"Param lost：{name}")
        kind, count, end = body["klineType"], body["klineNum"], body.get("timestamp")
        if kind not in KLINES or not isinstance(count, int) or count < 1 or not isinstance(end, int | None):
            raise Refused(506, "Param error：klineType, klineNum or timestamp")
        if count > MOST_BARS:
            raise Refused(503, f"Kline quantity exceeds the limit：{MOST_BARS}")
        found = self._wanted(home, str(body["codes"]))
        count = count if len(found) == 1 else min(count, BATCHED_BARS)
        until = None if end is None or kind >= DAILY else end * 1000
        rows = (f'{{"s":"{one.listing.symbol}","respList":[{self._bars(one, kind, count, until)}]}}' for one in found)
        return f"[{','.join(rows)}]"

    def _bars(self, instrument: Instrument, kind: int, count: int, until: int | None) -> str:
        text, bars = self._pusher.texts[instrument.listing.symbol], instrument.minutes
        rows: list[str] = []
        now = instrument.now_us // 1000
        at = now if until is None else min(now, until)
        while len(rows) < count and at >= bars.first:
            bar, before = bar_at(instrument, kind, at)
            rows.append(text.kline_row(kind, bar, before))
            at = kline_span(kind, at)[0] - 1
        return ",".join(rows)

    # --- reference data -------------------------------------------------------------------------------------------

    def _symbols(self, request: HttpRequest) -> str | HttpResponse:
        kind = request.query.get("type")
        if kind is None:
            return _problem(400, "Required parameter 'type' is not present.", request.path)
        if kind not in HOMES:
            return _problem(400, f"Failed to convert 'type' with value: '{kind}'", request.path)
        wanted = request.query.get("symbols", "")
        symbols = {one.strip() for one in wanted.split(",")} if wanted else self._instruments.keys()
        texts = (text for symbol, text in self._pusher.texts.items() if symbol in symbols)
        return msgspec.json.encode([text.symbol_row() for text in texts if text.listing.kind == kind]).decode()

    def _schedule(self, request: HttpRequest) -> str | HttpResponse:
        """Sessions of what is not an equity."""
        kind = request.query.get("type", "")
        if kind and kind not in SCHEDULED:
            return _problem(400, f"Failed to convert 'type' with value: '{kind}'", request.path)
        kinds = (kind,) if kind else SCHEDULED
        listings = (one.listing for one in self._instruments.values())
        return msgspec.json.encode([schedule_row(one) for one in listings if one.kind in kinds]).decode()

    def _days(self, request: HttpRequest) -> str | HttpResponse:
        """Trading days of an equity market."""
        for name in ("market", "beginDay", "endDay"):
            if name not in request.query:
                return _problem(400, f"Required parameter '{name}' is not present.", request.path)
        query = request.query
        if query["market"] not in MARKETS:
            raise Refused(506, "Param error：market")
        try:
            days = trading_days(query["beginDay"], query["endDay"])
        except ValueError:
            raise Refused(506, "Param error：beginDay or endDay") from None
        return msgspec.json.encode({"trade_days": days, "half_trade_days": []}).decode()


def _body(request: HttpRequest) -> JSON:
    try:
        return msgspec.json.decode(request.body, type=JSON)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Refused(506, "Param error：body") from None


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def _problem(status: int, detail: str, path: str) -> HttpResponse:
    """The framework's own errors (RFC 7807)."""
    about = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    body = msgspec.json.encode({**about, "detail": detail, "instance": path})
    return HttpResponse(status, body, {"Content-Type": "application/problem+json"})
