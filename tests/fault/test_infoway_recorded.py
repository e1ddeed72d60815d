"""Infoway through a whole recorder: what the venue sent is what is stored, through everything that it may do.

Seconds by default; RECORDER_LONG=1 lasts longer, kills more often, and waits until heartbeats are due and feeds park.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from recorder.records import now_us
from recorder.simulator import faults
from recorder.simulator.infoway import commands as commands
from recorder.simulator.infoway.venue import Rules
from tests.fault.infowaystage import APPLE, BTC, ETH, LONG, OIL, staged
from tests.fault.process import until

NOWHERE = "NOWHEREUSDT"
CRYPTO = {"crypto": {"trade": [BTC, ETH]}}
ALL = {
    "crypto": {"trade": [BTC, ETH], "depth": [BTC, ETH], "kline_1m": [BTC, ETH], "kline_1d": [BTC]},
    "common": {"trade": [OIL], "depth": [OIL], "kline_1m": [OIL]},
    "stock": {"trade": [APPLE], "depth": [APPLE], "kline_5m": [APPLE]},
}


@pytest.mark.timeout(300)
def test_every_channel_of_three_businesses(tmp_path: Path, database: str) -> None:
    """Every trade and every book once, of every bar the last revision, number by number as they were spelled."""
    with staged(tmp_path / "recorder", database, ALL) as stage:
        stage.start()
        time.sleep(130 if LONG else 4)
        stage.quiet()
        counts = {business: stage.agree(business) for business in ALL}
        assert stage.rows("SELECT * FROM gaps") == stage.rows("SELECT * FROM quarantine") == []
        assert stage.recorder.stop() == 0, stage.recorder.tail()
    print(counts)
    assert all(count["trades"] >= 500 and count["books"] >= 20 and count["candles"] for count in counts.values())


@pytest.mark.timeout(600)
def test_a_hundred_reconnects(tmp_path: Path, database: str) -> None:
    """All that was sent is stored once; every connection was asked the same and no more; afterwards there is one, with
    one heartbeat every 30 s on it, in a process that has not grown."""
    with staged(tmp_path / "recorder", database, CRYPTO, rate=20) as stage:
        stage.start()
        threads = stage.threads()
        for turn in range(100 if LONG else 20):
            until(stage.served, 20, f"turn {turn}: served\n{stage.recorder.tail()}")
            seen = stage.connections()
            stage.simulator.fault(faults.Drop(how=(faults.How.EOF, faults.How.CLOSE)[turn % 2], code=1001))
            until(lambda seen=seen: stage.connections() > seen, 20, f"turn {turn}: connected again")  # type: ignore[misc]
        until(stage.served, 20, "served in the end")
        until(stage.recorder.ready, 20, "ready in the end")
        assert stage.threads() == threads
        if LONG:
            time.sleep(65)
        heard = stage.simulator.call(lambda: dict(stage.simulator.venue.heard))
        opened = stage.simulator.call(lambda: [one.conn_id for one in stage.simulator.venue.sessions.values()])
        stage.quiet()
        stage.agree("crypto")
        assert stage.recorder.stop() == 0, stage.recorder.tail()
        gaps: dict[str, int] = dict(stage.rows("SELECT cause, count(*) FROM gaps GROUP BY 1"))
    (last,) = opened
    beats = {n: [at for at, asked in some if asked["code"] == 10010] for n, some in heard.items()}
    assert all([asked["code"] for _, asked in some if asked["code"] != 10010] == [10000] for some in heard.values())
    assert all(len(at) <= (heard[n][-1][0] - heard[n][0][0]) / 29 for n, at in beats.items())
    if LONG:
        first, second = beats[last]
        assert second - first == pytest.approx(30, abs=1)
    assert gaps.keys() == {"disconnect"}
    print(f"{len(heard)} connections, {threads} threads, {gaps} gaps, heartbeats {beats[last]}")


@pytest.mark.timeout(120)
def test_no_heartbeat_in_time(tmp_path: Path, database: str) -> None:
    """513 is counted as a heartbeat that was missed, and stands in venue_events, each time once; that is all it costs.
    Here the venue wants a heartbeat every second."""
    times = 10 if LONG else 2
    with staged(tmp_path / "recorder", database, CRYPTO, rules=Rules(heartbeat_seconds=1.0)) as stage:
        stage.start()
        until(lambda: stage.metric("recorder_heartbeat_timeouts_total", source="crypto") >= times, 60, "513")
        until(stage.served, 20, "served again")
        stage.simulator.call(lambda: setattr(stage.simulator.venue, "rules", Rules()))
        stage.quiet()
        stage.agree("crypto")
        missed = stage.metric("recorder_heartbeat_timeouts_total", source="crypto")
        assert stage.metric("recorder_reconnects_total", source="crypto", reason="heartbeat") == missed
        assert stage.metric("recorder_venue_errors_total", source="crypto", code="513") == missed
        assert stage.connections() == missed + 1
        events = stage.rows("SELECT source, feed, code, action, message FROM venue_events WHERE code <> '200'")
        assert stage.recorder.stop() == 0, stage.recorder.tail()
    words = "no heartbeat reached the venue within a minute: Websocket heartbeat timeout"
    assert events == [("crypto", "crypto/crypto/0", "513", "retry", words)] * int(missed)


@pytest.mark.timeout(120)
def test_a_push_as_the_tutorial_prints_it(tmp_path: Path, database: str) -> None:
    """Under the code of its request, 10000: a trade like any other, and counted as drift."""
    with staged(tmp_path / "recorder", database, CRYPTO) as stage:
        stage.start()
        data = {"p": "63039.25", "s": BTC, "t": now_us() // 1000, "td": 2, "v": "999999999", "vw": "1.5"}
        stage.simulator.fault(commands.Say(text=json.dumps({"code": 10000, "data": data}, separators=(",", ":"))))
        query = "SELECT symbol, price::text, side FROM trades WHERE size = 999999999"
        until(lambda: stage.rows(query) == [(BTC, "63039.25", "sell")], 20, "the trade is stored")
        assert stage.metric("recorder_schema_drift_total", source="crypto", channel="trade") == 1
        assert stage.rows("SELECT * FROM quarantine") == []
        assert stage.connections() == 1


@pytest.mark.timeout(120)
def test_words_of_the_stock_gateway(tmp_path: Path, database: str) -> None:
    """Its greeting and its refusals in plain text are events of the venue, and no bad data; the refused stream alone is
    rejected, and the connection stays."""
    words = "Subscribe fail: You have no permission for this market"
    with staged(tmp_path / "recorder", database, {"stock": {"trade": [APPLE], "depth": [APPLE]}}) as stage:
        stage.simulator.fault(commands.Prose(channel="trade", text=words))
        stage.start()
        query = "SELECT code, action FROM venue_events ORDER BY code"
        until(lambda: stage.rows(query) == [("Subscribe fail", "drop"), ("text", "none")], 20, "both are events")
        query = "SELECT channel, outcome FROM subscriptions ORDER BY channel"
        until(lambda: stage.rows(query) == [("depth", "accepted"), ("trade", "rejected")], 20, "one is rejected")
        time.sleep(12)  # longer than an answer is waited for: nothing is asked for again
        assert stage.rows("SELECT * FROM quarantine") == []
        assert stage.connections() == 1
        stage.quiet()
        assert stage.agree("stock")["books"] > 0


@pytest.mark.skipif(not LONG, reason="takes three minutes; RECORDER_LONG=1")
@pytest.mark.timeout(600)
def test_what_is_accepted_and_never_comes(tmp_path: Path, database: str) -> None:
    """A symbol of another business and one that does not exist are acknowledged: named as silent after being asked for
    once more, on a connection that stays for the one that does exist."""
    asked = {"crypto": {"trade": [BTC, OIL, NOWHERE]}}
    with staged(tmp_path / "recorder", database, asked, rate=5, unlisted=NOWHERE) as stage:
        stage.start()
        query = "SELECT symbol FROM subscriptions WHERE outcome = 'silent' ORDER BY symbol"
        until(lambda: stage.rows(query) == [(NOWHERE,), (OIL,)], 240, f"both are silent\n{stage.recorder.tail()}")
        assert stage.metric("recorder_silent_streams", source="crypto", channel="trade") == 2
        assert stage.connections() == 1
        stage.quiet()
        assert stage.agree("crypto")["trades"] > 500
