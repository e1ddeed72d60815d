"""A whole recorder of the oldest protocol: all that is served is stored, in whatever manner; what cannot be inflated
costs only itself; a login is one; and what the old tutorial subscribes to is recorded."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from recorder.records import now_us
from recorder.simulator.faults import Clear, Poison, Silence
from recorder.simulator.market import Market
from recorder.simulator.okex_v1.commands import Manners
from recorder.simulator.okex_v1.listings import DEPTH, LISTINGS
from recorder.simulator.okex_v1.names import PERIODS, WEEKS
from recorder.simulator.okex_v1.oracle import numbered
from recorder.simulator.okex_v1.venue import KEYS, OKCOIN, PACKED
from tests.fault.okexv1stage import VENUE, rows, staged, total
from tests.fault.process import until
from tests.fault.stage import Oracle

PAIR, CHEAP = "btc_usdt", "soc_btc"
DEALS, BOOK, CHEAP_BOOK = (f"ok_sub_spot_{name}" for name in ("btc_usdt_deals", "btc_usdt_depth", "soc_btc_depth"))
TICKER = "ok_sub_spot_etc_usdt_ticker"
KINDS = ("ticker", "deals", "depth", "depth_5", "depth_10", "depth_20", *(f"kline_{period}" for period in PERIODS))
EVERY = (
    *(f"ok_sub_spot_{PAIR}_{kind}" for kind in KINDS),
    *(f"ok_sub_futureusd_btc_{kind}_{week}" for kind in ("ticker", "trade", "depth") for week in WEEKS),
    *(f"ok_sub_futureusd_btc_depth_{week}_{levels}" for week in WEEKS for levels in (5, 10, 20)),
    *(f"ok_sub_futureusd_btc_kline_{week}_{period}" for week in WEEKS for period in PERIODS),
    "ok_sub_futureusd_btc_index",
)
_decimals = partial(json.loads, parse_float=Decimal, parse_int=Decimal)
TABLES = ("trades", "tickers", "books", "candles", "reference_prices")
BOOKS = """SELECT (extract(epoch FROM time) * 1000)::bigint, bids::text, asks::text, kind FROM books
           WHERE channel = %s ORDER BY time, received_at"""
ACCOUNT = {"api_key": next(iter(KEYS)), "secret_key": next(iter(KEYS.values()))}


def market(rate: float) -> Market:
    """All that the venue lists, with so many trades a second on all of it."""
    return Market(LISTINGS, now_us(), rate=rate, depth=DEPTH)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("manners", "path"),
    [
        (Manners(), ""),
        (Manners(bare=True, numbers=True), OKCOIN),
        (Manners(unmarked=True, strings=True, five=True), ""),
    ],
)
def test_all_that_is_served_is_stored(tmp_path: Path, database: str, manners: Manners, path: str) -> None:
    """Every channel of a pair and a coin brings rows of its own in every manner, in frames that are compressed or not;
    nothing is poison, nothing unknown; the login was good."""
    with staged(tmp_path / "r", database, market(300.0), *EVERY, environ=ACCOUNT, path=path) as stage:
        stage.simulator.fault(manners)
        stage.start()
        stage.ready()
        query = " UNION ".join(f"SELECT channel FROM {table}" for table in TABLES)
        until(lambda: {one for (one,) in rows(stage, query)} >= set(EVERY), 60, f"all\n{stage.recorder.tail()}")
        for name in ("quarantined", "venue_errors", "schema_drift", "reconnects"):
            assert total(stage, f"recorder_{name}_total") == 0, name
        assert rows(stage, "SELECT count(*) FROM gaps") == [(0,)]
        history = stage.simulator.venue.history
        assert stage.simulator.call(lambda: {page.path for page in history.values()}) == {path or PACKED}
        assert stage.recorder.stop() == 0, stage.recorder.tail()


@pytest.mark.timeout(120)
def test_books_are_stored_as_they_were_sent(tmp_path: Path, database: str) -> None:
    """The whole book of 200 levels a side as a snapshot, every change after it as an update, level by level, exponents
    or not."""
    with staged(tmp_path / "r", database, market(300.0), BOOK, CHEAP_BOOK) as stage:
        stage.start()
        stage.ready()
        time.sleep(2)
        stage.simulator.fault(Silence())
        sent = _sent(stage)
        for channel in (BOOK, CHEAP_BOOK):
            books = [one["data"] for one in sent if one["channel"] == channel]
            assert len(books) > 10
            found = _rows_of(stage, channel, len(books))
            assert [kind for *_, kind in found] == ["snapshot"] + ["update"] * (len(found) - 1)
            for (at, bids, asks, _), data in zip(found, books, strict=True):
                assert at == data["timestamp"]
                assert (_levels(bids), _levels(asks)) == tuple(
                    sorted([Decimal(p), Decimal(q)] for p, q in data[side]) for side in ("bids", "asks")
                )
        assert stage.recorder.stop() == 0, stage.recorder.tail()


def _rows_of(stage: Oracle, channel: str, count: int) -> list[tuple[Any, ...]]:
    """The stored books of a channel, once there are so many."""
    until(lambda: len(rows(stage, BOOKS, channel)) == count, 30, f"{count} books\n{stage.recorder.tail()}")
    return rows(stage, BOOKS, channel)


def _sent(stage: Oracle) -> list[dict[str, Any]]:
    """The data messages of the only connection."""
    ((_, texts),) = stage.simulator.call(lambda: list(stage.simulator.venue.journals.items()))
    return [message for text in texts for message in json.loads(text)]


def _levels(text: str) -> list[list[Decimal]]:
    """An array of the database, ascending."""
    return sorted(row for row in _decimals(text.replace("{", "[").replace("}", "]")))


@pytest.mark.timeout(120)
def test_what_cannot_be_inflated_costs_only_itself(tmp_path: Path, database: str) -> None:
    """A bomb, no deflate, half a stream, half a message, half a time: each is a row of quarantine, every trade is
    stored, on one connection."""
    trades = numbered([PAIR], now_us(), rate=200.0, depth=5)
    with staged(tmp_path / "r", database, trades, DEALS) as stage:
        stage.start()
        stage.ready()
        stage.simulator.fault(Poison(share=1.0))
        until(lambda: stage.simulator.venue.faults.poisoned > 40, 30, "forty bad frames")
        stage.simulator.fault(Clear())
        stage.simulator.fault(Silence())
        bad = stage.simulator.venue.faults.poisoned
        until(lambda: rows(stage, "SELECT count(*) FROM quarantine") == [(bad,)], 30, f"{bad} rows of quarantine")
        assert total(stage, "recorder_quarantined_total", 'reason="bad_deflate"') > 10
        (page,) = stage.simulator.call(lambda: list(stage.simulator.venue.ledger().connections.values()))
        ((first, last),) = page.sent[PAIR]
        count = "SELECT count(*), count(DISTINCT trade_id) FROM trades WHERE trade_id <> '1'"
        until(lambda: rows(stage, count) == [(last - first + 1,) * 2], 30, "every trade")
        assert rows(stage, "SELECT count(*) FROM gaps") == [(0,)]
        assert stage.recorder.stop() == 0, stage.recorder.tail()


@pytest.mark.timeout(120)
def test_a_login_that_is_refused(tmp_path: Path, database: str) -> None:
    """It is told in words, tried no more for a while, and the secret stands nowhere in what is said."""
    wrong = ACCOUNT | {"secret_key": "not-the-secret-of-it"}
    with staged(tmp_path / "r", database, market(50.0), DEALS, environ=wrong) as stage:
        stage.recorder.start()
        until(lambda: "the login is refused" in stage.recorder.get("/readyz"), 30, "/readyz says so")
        time.sleep(2)
        assert total(stage, "recorder_venue_errors_total", 'code="10017"') == stage.connections()
        assert stage.connections() <= 2
        said = stage.recorder.get("/readyz") + stage.recorder.get("/status")
        assert stage.recorder.stop() == 0, stage.recorder.tail()
        assert "not-the-secret" not in said + stage.recorder.log.read_text()
        assert rows(stage, "SELECT count(*) FROM trades") == [(0,)]


@pytest.mark.timeout(120)
def test_the_tutorials_channel(tmp_path: Path, database: str) -> None:
    """What the old tutorial subscribes to is recorded over `/ws/v1`: rows in `tickers` under the channel's name."""
    query = "SELECT last_price, bid_price, ask_price FROM tickers WHERE channel = %s AND symbol = %s AND source = %s"
    with staged(tmp_path / "recorder", database, market(200.0), TICKER) as stage:

        def found() -> list[tuple[Decimal, Decimal, Decimal]]:
            return rows(stage, query, TICKER, "etc_usdt", VENUE)

        stage.start()
        stage.ready()
        until(lambda: len(found()) >= 10, 30, stage.recorder.tail())
        assert all(0 < bid < ask and 10 < last < 25 for last, bid, ask in found())
        assert stage.recorder.stop() == 0, stage.recorder.tail()
