"""The same in real time, with Prometheus itself deciding: rules thirty times as fast, a recorder whose database is
stopped, one that is killed, and one beside them with nothing wrong. What is mended is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from recorder.records import now_us
from recorder.simulator.faults import Drop
from recorder.simulator.okx.venue import OkxVenue
from recorder.simulator.oracle import NumberedMarket
from recorder.simulator.server import Simulator
from tests.fault.alertstage import BTC, ETH, okx_source
from tests.fault.process import RecorderProcess, config_toml, until
from tests.fixtures.history import SHIPPED
from tests.fixtures.prometheus import Prometheus, Target
from tests.fixtures.scaled import write_faster
from tests.fixtures.server import PgServer

FASTER = 30.0
# A commit is at most ten seconds away in a quiet market, however fast the rules are.
THRESHOLDS = {"RecorderNoProgress": ("recorder_committed_age_seconds > 120", "recorder_committed_age_seconds > 15")}
# Their ranges are too short for what they reckon with: seconds of scrapes 15 s apart, and hours of seconds.
UNFIT = {"RecorderGaps", "RecorderSpoolGrowing", "RecorderLag"}
Fired = set[tuple[str, str]]


def firing(server: Prometheus) -> Fired:
    """Alerts and their instances."""
    return {(one.name, one.labels["instance"]) for one in server.alerts() if one.name not in UNFIT}


def seen(server: Prometheus, wanted: Fired, seconds: float) -> Fired:
    """All that fired until everything that is wanted does."""
    everything: Fired = set()

    def look() -> bool:
        now = firing(server)
        everything.update(now)
        return wanted <= now

    until(look, seconds, f"{sorted(wanted)} fire")
    return everything


@pytest.mark.timeout(240)
def test_prometheus_decides(
    tmp_path: Path, database: str, pg_server: PgServer, start_prometheus: Callable[..., Prometheus]
) -> None:
    """Database down, no progress, absent and a reconnect spike are raised for whom they concern, nothing else is, and
    they end when the fault does."""
    with ExitStack() as stack:
        venues = {name: stack.enter_context(Simulator(_venue())) for name in ("outage", "killed", "storm", "steady")}
        runs = {
            name: RecorderProcess(
                tmp_path / name,
                config_toml(pg_server.writer_url if name == "outage" else database, okx_source("okx", venue)),
            )
            for name, venue in venues.items()
        }
        for run in runs.values():
            run.start()
            stack.callback(_end, run)
        for run in runs.values():
            until(run.ready, 60, f"ready\n{run.tail()}")
        rules = write_faster(tmp_path / "rules", FASTER, SHIPPED, THRESHOLDS)
        targets = [Target(f"127.0.0.1:{run.port}", instance=name) for name, run in runs.items()]
        server = start_prometheus(*targets, rules=rules, scrape=1.0, evaluate=0.5)
        until(lambda: server.up() == dict.fromkeys(runs, True), 60, "all are scraped")
        time.sleep(5)  # rules at their own pace: nothing may come of a recorder that is well
        assert (firing(server), server.rule_errors()) == (set(), {})

        pg_server.stop()
        runs["killed"].kill()
        venues["steady"].fault(Drop())
        wanted = {("RecorderDatabaseDown", "outage"), ("RecorderNoProgress", "outage"), ("RecorderAbsent", "killed")}
        assert seen(server, wanted, 90) == wanted
        pg_server.start()
        runs["killed"].start()
        until(lambda: firing(server) == set(), 90, "what is mended is over")

        spike = {("RecorderReconnectSpike", "storm")}

        def storm() -> bool:
            venues["storm"].fault(Drop())
            time.sleep(0.3)
            return firing(server) == spike

        until(storm, 60, "the storm is told")
        until(lambda: firing(server) == set(), 60, "it is over")


def _venue() -> OkxVenue:
    return OkxVenue(NumberedMarket((BTC, ETH), now_us(), rate=5.0, depth=5, calm=True))


def _end(run: RecorderProcess) -> None:
    if run.process is not None and run.process.poll() is None:
        run.kill()
