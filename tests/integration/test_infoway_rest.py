"""The simulated Infoway's REST endpoints: envelopes, paging, reference data."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest

from recorder.simulator.infoway.listings import HOMES, LISTINGS
from recorder.simulator.infoway.venue import UNKNOWN_KEY
from tests.integration.infowayclient import APPLE, BTC, ETH, GOLD, OIL, Client, Venue, codes, data, pushes, rest, venue


@pytest.fixture
def simulator() -> Iterator[Venue]:
    """A venue with 20 trades a second on each instrument."""
    with venue(rate=20.0) as one:
        yield one


def bars(simulator: Venue, symbol: str, kind: int = 1, number: int = 500, **more: int) -> list[dict[str, Any]]:
    """The bars of one symbol of crypto or common."""
    home = "crypto" if symbol in (BTC, ETH) else "common"
    body = {"codes": symbol, "klineType": kind, "klineNum": number, **more}
    (found,) = data(simulator, f"/{home}/v2/batch_kline", body)
    assert found["s"] == symbol
    rows: list[dict[str, Any]] = found["respList"]
    return rows


def test_the_envelope(simulator: Venue) -> None:
    """Every answer has ret, msg, a trace id of its own, and data."""
    answers = [rest(simulator, f"/crypto/batch_depth/{BTC}").json() for _ in range(2)]
    assert all(list(answer) == ["ret", "msg", "traceId", "data"] for answer in answers)
    first, second = (uuid.UUID(answer["traceId"]) for answer in answers)
    assert first.version == 4 and first != second


@pytest.mark.parametrize("key", ["", UNKNOWN_KEY])
def test_bad_keys(simulator: Venue, key: str) -> None:
    """Without a good key the gateway answers for itself."""
    answer = rest(simulator, "/common/basic/symbols?type=CRYPTO", key=key)
    now = simulator.venue.clock.wall_us() // 1000
    assert (answer.status_code, answer.json()) == (401, {"code": 401, "message": "Token invalid", "timestamp": now})
    assert answer.headers["www-authenticate"] == 'apikey realm="key"'


def test_the_header_has_no_case(simulator: Venue) -> None:
    """`apikey` will do as `apiKey` does; the query will not."""
    url = f"{simulator.http_url}/common/basic/symbols?type=CRYPTO"
    assert httpx.get(url, headers={"apikey": "k"}).json()["ret"] == 200
    assert httpx.get(f"{url}&apikey=k").status_code == 401


def test_last_trades(simulator: Venue) -> None:
    """The last trade of each is the last one pushed; before the first there is none."""
    assert data(simulator, f"/crypto/batch_trade/{BTC},{ETH}") == []
    with Client(simulator) as client:
        client.subscribe(10000, codes(BTC, ETH))
        simulator.advance(3)
        messages = client.drain()
    rows = data(simulator, f"/crypto/batch_trade/{BTC},{ETH}")
    assert [list(row) for row in rows] == [["s", "t", "p", "v", "vw", "td"]] * 2
    assert rows == [pushes(messages, 10002, symbol)[-1] for symbol in (BTC, ETH)]


@pytest.mark.parametrize(
    ("path", "body", "ret", "message"),
    [
        ("/crypto/batch_trade/NO", None, 500, "All product not exists"),
        (f"/crypto/batch_trade/{APPLE}", None, 500, "All product not exists"),
        ("/crypto/batch_depth/NO", None, 500, "All product not exists"),
        ("/crypto/batch_trade/" + ",".join(f"S{n}" for n in range(101)), None, 505, "Products quantity exceeds"),
        ("/crypto/v2/batch_kline", {"klineType": 1, "klineNum": 1}, 507, "Param lost：codes"),
        ("/crypto/v2/batch_kline", {"codes": BTC, "klineNum": 1}, 507, "Param lost：klineType"),
        ("/crypto/v2/batch_kline", {"codes": BTC, "klineType": 13, "klineNum": 1}, 506, "Param error"),
        ("/crypto/v2/batch_kline", {"codes": BTC, "klineType": 1, "klineNum": 501}, 503, "Kline quantity exceeds"),
        ("/crypto/v2/batch_kline", {"codes": BTC, "klineType": 1, "klineNum": 1, "timestamp": "x"}, 506, "Param error"),
        ("/crypto/v2/batch_kline", [], 506, "Param error：body"),
        ("/common/basic/markets/trading_days?market=XX&beginDay=20260801&endDay=20260831", None, 506, "Param error"),
        ("/common/basic/markets/trading_days?market=US&beginDay=2026&endDay=20260831", None, 506, "Param error"),
    ],
)
def test_errors_in_the_envelope(simulator: Venue, path: str, body: object, ret: int, message: str) -> None:
    """The service's own errors come with status 200, a `ret`, words and no data."""
    answer = rest(simulator, path, body)
    assert answer.status_code == 200
    assert (answer.json()["ret"], answer.json()["data"]) == (ret, None)
    assert answer.json()["msg"].startswith(message)


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/common/basic/symbols", 400, "Required parameter 'type' is not present."),
        ("/common/basic/symbols?type=US", 400, "Failed to convert 'type' with value: 'US'"),
        (
            "/common/basic/markets/trading_schedule?type=STOCK_US",
            400,
            "Failed to convert 'type' with value: 'STOCK_US'",
        ),
        ("/common/basic/markets/trading_days?market=US&endDay=20260831", 400, "Required parameter 'beginDay' is not"),
        ("/common/basic/markets/trading_hours", 404, "No static resource common/basic/markets/trading_hours."),
        ("/moon/batch_trade/A", 404, "No static resource moon/batch_trade/A."),
        ("/crypto/v2/batch_kline", 404, "No static resource crypto/v2/batch_kline."),
    ],
)
def test_errors_of_the_framework(simulator: Venue, path: str, status: int, detail: str) -> None:
    """What never reaches the service is a problem of RFC 7807, without an envelope."""
    answer = rest(simulator, path)
    body = answer.json()
    assert answer.status_code == body["status"] == status
    assert list(body) == ["type", "title", "status", "detail", "instance"]
    assert body["detail"].startswith(detail)
    assert body["instance"] == path.partition("?")[0]


@pytest.fixture
def energy() -> Iterator[Venue]:
    """Two instruments that trade every second, for minutes to pass."""
    with venue(rate=1.0, symbols=[OIL, GOLD]) as one:
        yield one


def test_klines_are_paged_backwards(energy: Venue) -> None:
    """Newest first, the running bar too; `timestamp` is the last second of interest, so that pages meet."""
    energy.advance(600)
    everything = bars(energy, OIL)
    assert all(int(a["t"]) - int(b["t"]) == 60 for a, b in pairwise(everything))
    assert all(list(row) == ["t", "h", "o", "l", "c", "v", "vw", "pc", "pca"] for row in everything)
    now = energy.venue.clock.wall_us() // 1_000_000
    assert int(everything[0]["t"]) == now - now % 60
    assert len(everything) >= 10
    pages: list[dict[str, Any]] = bars(energy, OIL, number=4)
    while page := bars(energy, OIL, number=4, timestamp=int(pages[-1]["t"]) - 1):
        assert len(page) <= 4
        pages += page
    assert pages == everything
    assert bars(energy, OIL, number=1, timestamp=int(everything[3]["t"])) == [everything[3]]
    assert bars(energy, OIL, timestamp=1) == []
    assert len(bars(energy, OIL, kind=8, timestamp=1)) == 1  # long bars know no timestamp


def test_several_symbols_get_two_bars(energy: Venue) -> None:
    """Of several symbols two bars each, whatever was asked for; unknown ones are left out."""
    energy.advance(300)
    found = data(energy, "/common/v2/batch_kline", {"codes": f"{OIL},NO,{GOLD}", "klineType": 1, "klineNum": 50})
    assert [(one["s"], len(one["respList"])) for one in found] == [(OIL, 2), (GOLD, 2)]
    assert data(energy, f"/common/batch_kline/1/2/{OIL},{GOLD}") == found


def test_symbols_by_type(simulator: Venue) -> None:
    """Every listing is found under its type, with its names; some of them on request."""
    for kind in HOMES:
        rows = data(simulator, f"/common/basic/symbols?type={kind}")
        assert {row["symbol"] for row in rows} == {one.symbol for one in LISTINGS if one.kind == kind}
    (row,) = data(simulator, f"/common/basic/symbols?type=STOCK_US&symbols={APPLE},NO")
    assert row == {"symbol": APPLE, "name_cn": "苹果", "name_hk": "蘋果", "name_en": "Apple", "index": False}


def test_the_calendar(simulator: Venue) -> None:
    """Sessions of everything but equities, by type or all; weekdays as trading days."""
    rows = data(simulator, "/common/basic/markets/trading_schedule?type=ENERGY")
    assert {row["symbol"] for row in rows} == {"USOIL", "NGAS"}
    everything = data(simulator, "/common/basic/markets/trading_schedule")
    assert {row["type"] for row in everything} == {"FOREX", "METAL", "ENERGY"}
    days = data(simulator, "/common/basic/markets/trading_days?market=US&beginDay=20260807&endDay=20260811")
    assert days == {"trade_days": ["20260807", "20260810", "20260811"], "half_trade_days": []}
