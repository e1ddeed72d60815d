"""Threads beside the pipeline: what they may do without being taken for stuck, and what they survive."""

from __future__ import annotations

from pathlib import Path

import pytest

from recorder.daemon import Chores
from recorder.observe.health import Beats
from recorder.observe.metrics import Metrics
from recorder.store.ground import Local
from recorder.store.migrate import Options


def test_a_slow_chore_is_not_stuck() -> None:
    """A chore may take minutes; afterwards its thread is expected to beat again."""
    now = 0.0
    beats = Beats(lambda: now)
    missed: list[set[str]] = []

    def slow() -> None:
        nonlocal now
        now += 300.0
        missed.append(set(beats.stale(30.0)))
        raise ValueError("it failed, too")

    chores = Chores(beats, Metrics())
    beats.register(chores.name)
    chores.perform("retention", slow)
    assert missed == [set()]
    now += 31.0
    assert set(beats.stale(30.0)) == {"chores"}


def test_a_surprise_does_not_end_the_thread_of_the_local_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong with the local server is said, and tried again: nobody else would notice a dead thread."""
    monkeypatch.setattr("recorder.store.ground.LOOK_SECONDS", 0.0)
    local = Local(tmp_path, Options(), lambda name: None)
    tries = 0

    def start() -> bool:
        nonlocal tries
        tries += 1
        if tries == 2:
            local._stopping.set()
            return True
        raise ValueError("invalid literal for int(): the port file is torn")

    monkeypatch.setattr(local._server, "start", start)
    monkeypatch.setattr(local._server, "stop", lambda: None)
    monkeypatch.setattr(type(local._server), "url", property(lambda self: "postgresql://"))
    local.start()
    local._thread.join(5.0)
    assert (tries, local.url()) == (2, "postgresql://")
