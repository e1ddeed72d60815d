"""Every alert is raised by its real fault, and only it and what follows from it; what is mended is over.

The first half hour by default, without what takes longer: streams that are silent for an hour, a second outage, and the
hour after which the last hour's counts are forgotten. RECORDER_LONG=1 plays all of it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fault.alertstage import BEGIN, HOUR, MINUTE, Machines, Raised, Sources, Stage
from tests.fault.stage import LONG
from tests.fault.stepped import stepping
from tests.fault.troubles import MIB, small_disk
from tests.fixtures.history import Firing, History
from tests.fixtures.server import PgServer

DISK = 12 * MIB
STEP = 5.0  # of the clock, once everything stands
LASTS = 140 * MINUTE if LONG else 25 * MINUTE
SLOW = frozenset() if LONG else frozenset({"RecorderSilentStreams"})
# Those whose rule looks at the present: over soon after the fault is. The others count what an hour has seen.
PROMPT = frozenset(f"Recorder{name}" for name in ("Absent", "DatabaseDown", "NoProgress", "Lag", "SpoolGrowing"))
Found = dict[tuple[str, str], Counter[str]]


def by_target(firings: Iterable[Firing]) -> Found:
    """How often each alert fired, by instance and source."""
    found: Found = {}
    for one in firings:
        found.setdefault((one.label("instance"), one.label("source")), Counter())[one.name] += 1
    return found


def wrong(expected: Raised, found: Counter[str]) -> list[str]:
    """What was not raised, what was raised without a reason, and what was raised more often than it happened."""
    must, times = expected.alerts - SLOW, expected.times if LONG else 1
    missing = [f"{name}: not raised" for name in must - found.keys()]
    strange = [f"{name}: why?" for name in found.keys() - must - expected.perhaps]
    often = [f"{name}: {found[name]} times, not {times}" for name in must & found.keys() if found[name] != times]
    return sorted(missing + strange + often)


def lasting(firings: Iterable[Firing], end: float) -> set[tuple[str, str, str]]:
    """What should be over by now and is not: the database of one recorder is never mended in the short form."""
    late = [one for one in firings if one.until > end - MINUTE and (LONG or one.name in PROMPT)]
    return {(one.name, one.label("instance"), one.label("source")) for one in late}


def told(firings: Iterable[Firing], begin: float) -> str:
    """What fired from when to when, in minutes after the faults' beginning."""
    lines = [
        f"{one.label('instance')}/{one.label('source')} {one.name} {(one.since - begin) / 60:.1f} … "
        f"{(one.until - begin) / 60:.1f}"
        for one in firings
    ]
    return "\n".join(sorted(lines))


@pytest.mark.timeout(1500)
def test_every_alert_is_raised_by_its_fault(tmp_path: Path, database: str, pg_server: PgServer) -> None:
    """For each recorder and each source exactly the alerts of its fault, each as often as the fault happened; nothing
    for those that had none, through a connection that was lost once and one that was handed over."""
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(tmp_path / "cramped" / "data", DISK)) if os.geteuid() == 0 else None
        clock = stack.enter_context(stepping(4 * HOUR, 1.0))
        stage = Stage(clock, tmp_path, database)
        Sources(stage)
        Machines(stage, pg_server, disk)
        clock.until(stage.stands, 120, "all stand but for the one that cannot")
        start, clock.step = clock.now, STEP
        clock.play(stage.events, start, BEGIN + LASTS)
        end = clock.now
    firings = History(tmp_path / "history").tell(clock.scrapes)
    print(told(firings, start + BEGIN))
    found = by_target(firings)
    targets = stage.expected.keys() | found.keys()
    nothing: Raised = Raised(frozenset())
    bad = {t: wrong(stage.expected.get(t, nothing), found.get(t, Counter())) for t in sorted(targets)}
    assert {target: words for target, words in bad.items() if words} == {}
    assert {one for one in lasting(firings, end) if LONG or one[1] != "unborn"} == set()
