"""A day on which nothing is wrong raises no alert: the real recorder, its real metrics, the shipped rules.

A market like any other: few trades, one in which minutes pass between two, shares whose session opens and closes, a
connection lost once, and one that the venue asks us to leave. The clock is moved by the test. One hour by default;
RECORDER_LONG=1 lives the whole day.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from recorder.simulator.faults import Clear, Drop, Fault, How, Mute, Notice
from recorder.simulator.infoway.oracle import numbered
from recorder.simulator.infoway.venue import InfowayVenue
from recorder.simulator.okx.venue import OkxVenue
from recorder.simulator.oracle import NumberedMarket
from tests.fault.alertstage import BTC, ETH, HOUR, MINUTE, Infoway, Okx, Stage
from tests.fault.process import source_toml
from tests.fault.stage import LONG
from tests.fault.stepped import SCRAPED, stepping
from tests.fixtures.history import History

HOURS = 24 if LONG else 1
SHARES = ["AAPL.US", "600519.SH"]
OPENS, CLOSES = HOURS / 4, HOURS / 2  # hours; of the shares' session


class Day:
    """The sources of the day, and what happens to them. Times are hours."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        clock = stage.time.clock()
        market = NumberedMarket((BTC, ETH), clock.wall_us(), rate=0.2, depth=5, calm=True)
        self.lively = stage.time.serve(OkxVenue(market, clock=clock))
        self.thin = stage.okx(rate=0.002)  # a trade every eight minutes
        self.crypto = stage.infoway(rate=0.1)
        self.shares = self.stock()
        stage.record("day", stage.database, *self.toml())

    def stock(self) -> Infoway:
        """Shares, whose market is closed."""
        clock = self.stage.time.clock()
        venue = InfowayVenue(numbered(SHARES, clock.wall_us(), rate=0.5, depth=5, calm=True), clock=clock)
        simulator = self.stage.time.serve(venue)
        simulator.fault(Mute())
        return simulator

    def toml(self) -> list[str]:
        """What is recorded."""
        both, more = [BTC, ETH], {"coalesce": "0s"}
        keyed = {"venue": "infoway", "api_key": "some-key", **more}
        lively = {"trades": both, "bbo-tbt": both, "tickers": both, "candle1m": both}
        crypto = {"trade": ["BTCUSDT", "ETHUSDT"], "kline_1m": ["BTCUSDT"]}

        def source(name: str, at: Okx | Infoway, wanted: dict[str, list[str]], **options: str) -> str:
            return source_toml(at.ws_url, at.http_url, wanted, name=name, **options)

        return [
            source("lively", self.lively, lively, **more),
            source("thin", self.thin, {"trades": both}, **more),
            source("crypto", self.crypto, crypto, business="crypto", **keyed),
            source("stock", self.shares, {"trade": SHARES, "depth": SHARES}, business="stock", **keyed),
        ]

    def at(self, hours: float, simulator: Okx | Infoway, *faults: Fault) -> None:
        """Let this happen."""
        for fault in faults:
            self.stage.at(hours * HOUR, lambda fault=fault: simulator.fault(fault))  # type: ignore[misc]

    def plan(self) -> None:
        """What happens on a day like any other."""
        self.at(OPENS, self.shares, Clear())
        self.at(CLOSES, self.shares, Mute())
        self.at(HOURS * 0.4, self.lively, Drop(how=How.RST))
        self.at(HOURS * 0.6, self.lively, Notice(after=60.0))
        self.at(HOURS * 0.7, self.crypto, Drop(how=How.CLOSE))


@pytest.mark.timeout(1200)
def test_a_quiet_day_raises_nothing_and_a_storm_does(tmp_path: Path, database: str) -> None:
    """Nothing at all while all is well; then a line that is cut twice a minute is one alert, and the only one."""
    with stepping((HOURS + 1) * HOUR, step=1.0) as clock:
        stage = Stage(clock, tmp_path, database, begin=0.0)
        day = Day(stage)
        clock.ready()
        start, clock.step = clock.now, 5.0
        day.plan()
        clock.play(stage.events, start, HOURS * HOUR)
        quiet, said = clock.now, clock.scrapes[-1].text
        for n in range(8):
            stage.at(HOURS * HOUR + 30.0 * n, lambda: day.lively.fault(Drop()))
        clock.play(stage.events, start, 10 * MINUTE)
    # It was such a day. The lively source has two connections; who says nothing for minutes is asked anew now and then.
    ended = [line for line in said.splitlines() if line.startswith("recorder_reconnects") and not line.endswith(" 0.0")]
    assert [line for line in ended if 'reason="silence"' not in line] == [
        'recorder_reconnects_total{reason="reset",source="lively"} 2.0',
        'recorder_reconnects_total{reason="handover",source="lively"} 2.0',
        'recorder_reconnects_total{reason="close",source="crypto"} 1.0',
    ]
    assert len(clock.scrapes) >= HOURS * HOUR / SCRAPED
    firings = History(tmp_path / "history").tell(clock.scrapes)
    assert [one for one in firings if one.since < quiet] == []
    assert {(one.name, one.label("source")) for one in firings} == {("RecorderReconnectSpike", "lively")}
    print(f"{len(clock.scrapes)} scrapes of {HOURS} h; the storm was told after {firings[0].since - quiet:.0f} s")
