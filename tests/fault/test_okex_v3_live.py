"""A whole recorder of the older protocol: all that is served is stored, what cannot be inflated costs only itself, a
book that breaks is begun anew, and a login is one."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg
import pytest

from recorder.simulator.faults import Breakbook, Clear, Poison
from recorder.simulator.okex_v3.commands import Garble, Garbled
from recorder.simulator.okex_v3.login import ACCOUNTS
from tests.fault.okexv3stage import BOOK, TRADE, VENUE, staged
from tests.fault.process import until
from tests.fault.stage import SYMBOL, Oracle

FUTURE, SWAP, OPTION = "BTC-USD-190628", "BTC-USD-SWAP", "BTC-USD-210604-30000-P"
SYMBOLS = (SYMBOL, FUTURE, SWAP, OPTION)
OF = {"spot": SYMBOL, "futures": FUTURE, "swap": SWAP, "option": OPTION}
EVERY = {
    f"{kind}/{channel}": [symbol]
    for kind, symbol in OF.items()
    for channel in ("trade", "ticker", "depth", "depth5", "depth_l2_tbt", "candle60s")
}
MORE = {
    **{f"{kind}/{channel}": [OF[kind]] for kind in ("futures", "swap") for channel in ("mark_price", "price_range")},
    "swap/funding_rate": [SWAP],
    "option/summary": ["BTC-USD"],
    **{f"index/{channel}": ["BTC-USD"] for channel in ("ticker", "candle60s")},
}
TABLES = ("trades", "tickers", "books", "candles", "reference_prices", "funding_rates", "messages")
ACCOUNT = {"api_key": "demo", "secret_key": ACCOUNTS["demo"].secret, "passphrase": ACCOUNTS["demo"].passphrase}


def column(stage: Oracle, query: str, *parameters: object) -> list[object]:
    """The first column of a query."""
    with psycopg.connect(stage.database) as conn:
        return [row[0] for row in conn.execute(query.encode(), parameters).fetchall()]


def total(stage: Oracle, name: str, label: str = "") -> float:
    """A counter of the source: its series with this label, together."""
    lines = (line for line in stage.recorder.get("/metrics").splitlines() if line.startswith(f"{name}{{"))
    return sum(float(line.rpartition(" ")[2]) for line in lines if label in line and f'source="{VENUE}"' in line)


@pytest.mark.timeout(120)
def test_all_that_is_served_is_stored(tmp_path: Path, database: str) -> None:
    """Every channel brings rows of its own, nothing is poison, nothing unknown; the login was good."""
    wanted = EVERY | MORE
    with staged(tmp_path / "r", database, wanted, symbols=SYMBOLS, rate=50.0, environ=ACCOUNT) as stage:
        stage.start()
        stage.ready()
        assert stage.simulator.call(lambda: [one.known for one in stage.simulator.venue.sessions.values()]) == [True]
        query = " UNION ".join(f"SELECT channel FROM {table}" for table in TABLES)
        until(lambda: set(column(stage, query)) >= set(wanted), 60, f"all is stored\n{stage.recorder.tail()}")
        for name in ("quarantined", "venue_errors", "schema_drift", "reconnects"):
            assert total(stage, f"recorder_{name}_total") == 0, name
        assert column(stage, "SELECT DISTINCT integrity FROM books WHERE integrity = 'suspect'") == []
        assert stage.check(1).gaps == ()


@pytest.mark.timeout(120)
def test_what_cannot_be_inflated_costs_only_itself(tmp_path: Path, database: str) -> None:
    """Noise, a stream that ends in the middle, nothing at all, and a bomb: each is a row of quarantine, every trade is
    stored, on one connection."""
    with staged(tmp_path / "r", database, {TRADE: [SYMBOL]}, rate=200.0) as stage:
        stage.start()
        stage.ready()
        for how in Garbled:
            stage.simulator.fault(Garble(how=how))
        stage.simulator.fault(Poison(share=0.1))
        until(lambda: stage.simulator.venue.faults.poisoned > 30, 20, "thirty more")
        stage.simulator.fault(Clear())
        sent = stage.simulator.venue.faults.poisoned + len(Garbled)
        until(lambda: column(stage, "SELECT count(*) FROM quarantine") == [sent], 30, f"{sent} rows")
        assert total(stage, "recorder_quarantined_total", 'reason="bad_deflate"') > len(Garbled)
        assert stage.check(1).gaps == ()
        assert stage.connections() == 1


def broken(stage: Oracle, kinds: str) -> bool:
    """Lose one update; whether another whole book came of it. It need not: the next update may tell the same levels."""
    stage.simulator.fault(Breakbook(symbol=SYMBOL))
    end = time.monotonic() + 6
    while time.monotonic() < end:
        if column(stage, kinds, BOOK).count("snapshot") == 2:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.timeout(120)
def test_a_book_that_breaks_is_begun_anew(tmp_path: Path, database: str) -> None:
    """A lost update shows in the next checksum: what follows is suspect, the subscription is made again on the same
    connection, and the whole book that comes then is not. Of 20 levels each is in the checksum."""
    with staged(tmp_path / "r", database, {BOOK: [SYMBOL], TRADE: [SYMBOL]}, rate=50.0, depth=20) as stage:
        stage.start()
        stage.ready()
        kinds = "SELECT kind FROM books WHERE channel = %s ORDER BY time, received_at"
        until(lambda: len(column(stage, kinds, BOOK)) > 5, 30, "a book")
        assert any(broken(stage, kinds) for _ in range(5)), stage.recorder.tail()
        time.sleep(1)
        finding = stage.check(1)
        rows = "SELECT coalesce(integrity, '') FROM books WHERE channel = %s ORDER BY time, received_at"
        said, first = column(stage, rows, BOOK), column(stage, kinds, BOOK)
        assert stage.connections() == 1
    again = len(first) - 1 - first[::-1].index("snapshot")
    assert "suspect" in said[:again]
    assert "suspect" not in said[again:]
    assert finding.gaps == ()


@pytest.mark.timeout(120)
def test_a_login_that_is_refused(tmp_path: Path, database: str) -> None:
    """It is told in words, not repeated at once, and the secret stands nowhere in what is said."""
    wrong = ACCOUNT | {"secret_key": "not-the-secret-of-it"}
    with staged(tmp_path / "r", database, {TRADE: [SYMBOL]}, environ=wrong) as stage:
        stage.recorder.start()
        until(lambda: "the login is refused" in stage.recorder.get("/readyz"), 30, "/readyz says so")
        time.sleep(2)
        assert stage.connections() == 1
        assert total(stage, "recorder_reconnects_total", 'reason="auth"') == 1
        assert total(stage, "recorder_venue_errors_total", 'code="30013"') == 1
        said = stage.recorder.get("/readyz") + stage.recorder.get("/status")
        assert stage.recorder.stop() == 0, stage.recorder.tail()
        assert "not-the-secret" not in said + stage.recorder.log.read_text()
        assert column(stage, "SELECT count(*) FROM trades") == [0]
