"""REST of the simulated venue where it fills what was missed: marks, indices, funding, interest, options."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import httpx
import pytest

from recorder.simulator.okx.venue import OkxVenue
from recorder.simulator.server import Simulator
from tests.integration.simulated import BTC, Client, pushes, rest, whole

SWAP = "BTC-USDT-SWAP"
HOURS8 = 8 * 3_600_000


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator[OkxVenue]]:
    """A venue with all kinds of instruments, some minutes old."""
    with whole(rate=60) as one:
        one.advance(600)
        yield one


@pytest.mark.parametrize(("path", "symbol"), [("mark-price-candles", SWAP), ("history-index-candles", "BTC-USD")])
def test_candles_of_prices_are_paged(simulator: Simulator[OkxVenue], path: str, symbol: str) -> None:
    """Marks and indices have candles newest first, six fields, at most 100, paged by time."""
    rows = rest(simulator, f"market/{path}", instId=symbol, bar="1m", limit=300)
    times = [int(row[0]) for row in rows]
    assert all(a - b == 60_000 for a, b in pairwise(times))
    assert 10 <= len(rows) <= 100
    assert {len(row) for row in rows} == {6}
    assert [row[-1] for row in rows] == ["0"] + ["1"] * (len(rows) - 1)
    assert rest(simulator, f"market/{path}", instId=symbol, bar="1m", after=times[3], limit=2) == rows[4:6]


def test_funding_is_paged(simulator: Simulator[OkxVenue]) -> None:
    """Three months of settled rates, newest first; what is pushed as settled is the newest of them, and pages meet."""
    rows = rest(simulator, "public/funding-rate-history", instId=SWAP)
    times = [int(row["fundingTime"]) for row in rows]
    assert len(rows) == 100
    assert all(a - b == HOURS8 for a, b in pairwise(times))
    older = rest(simulator, "public/funding-rate-history", instId=SWAP, after=times[-1], limit=400)
    assert int(older[0]["fundingTime"]) == times[-1] - HOURS8
    assert len(older) == 170
    newer = rest(simulator, "public/funding-rate-history", instId=SWAP, before=times[5])
    assert newer == rows[:5]
    with Client(simulator) as client:
        (push,) = pushes(client.subscribe(("funding-rate", SWAP)), "funding-rate")
    assert push["data"][0]["settFundingRate"] == rows[0]["realizedRate"]
    (now,) = rest(simulator, "public/funding-rate", instId=SWAP)
    assert now["fundingRate"] == push["data"][0]["fundingRate"]
    every = rest(simulator, "public/funding-rate", instId="ANY")
    assert {row["instId"] for row in every} == {SWAP, "ETH-USDT-SWAP"}


def test_what_is_pushed_is_in_rest(simulator: Simulator[OkxVenue]) -> None:
    """Interest, mark and limit are the same pushed and asked for."""
    with Client(simulator) as client:
        messages = client.subscribe(("open-interest", SWAP), ("mark-price", SWAP), ("price-limit", SWAP))
    for channel in ("open-interest", "mark-price"):
        (push,) = pushes(messages, channel)
        assert push["data"][0] in rest(simulator, f"public/{channel}", instType="SWAP")
    assert rest(simulator, "public/price-limit", instId=SWAP) == pushes(messages, "price-limit")[0]["data"]
    assert rest(simulator, "public/open-interest", instType="SPOT") == []


def test_option_trades(simulator: Simulator[OkxVenue]) -> None:
    """The trades of a family's options, newest first, the same as each option's own; and by call and put."""
    rows = rest(simulator, "public/option-trades", instFamily="BTC-USD")
    assert 10 < len(rows) <= 100
    assert [row["ts"] for row in rows] == sorted((row["ts"] for row in rows), reverse=True)
    for option in {row["instId"] for row in rows}:
        known = {t["tradeId"]: t for t in rest(simulator, "market/trades", instId=option, limit=500)}
        assert all(known[row["tradeId"]]["px"] == row["px"] for row in rows if row["instId"] == option)
    groups = rest(simulator, "market/option/instrument-family-trades", instFamily="BTC-USD")
    assert [(g["optType"], bool(g["tradeInfo"])) for g in groups] == [("C", True), ("P", True)]


def test_tickers_of_a_kind(simulator: Simulator[OkxVenue]) -> None:
    """All tickers of a kind at once are those of each."""
    rows = rest(simulator, "market/tickers", instType="SPOT")
    assert [row["instId"] for row in rows] == [BTC, "ETH-USDT", "SOL-USDT"]
    assert rest(simulator, "market/ticker", instId=BTC) == rows[:1]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("market/index-candles?instId=XXX-USD", "51001"),
        ("market/mark-price-candles?instId=BTC-USDT&bar=7m", "51000"),
        ("public/funding-rate-history?instId=BTC-USDT", "51001"),
        ("public/option-trades", "50014"),
        ("public/open-interest", "50014"),
    ],
)
def test_refusals(simulator: Simulator[OkxVenue], path: str, code: str) -> None:
    """What is missing or does not exist has its code."""
    assert httpx.get(f"{simulator.http_url}/api/v5/{path}").json()["code"] == code
