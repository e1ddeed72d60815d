"""Beats and the word to systemd."""

import os
import socket
from pathlib import Path

import pytest

from recorder.observe.health import Beats, Watchdog, notify, watchdog_interval


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


class Sent:
    """A systemd that remembers."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def __call__(self, word: str) -> bool:
        self.words.append(word)
        return True


def test_stale_names_only_those_that_stand_still() -> None:
    """A thread is stale when its last beat is older than the limit, not before."""
    clock = Clock()
    beats = Beats(clock)
    beats.register("writer")
    beats.register("syncer")
    clock.now += 10
    beats.beat("syncer")
    assert beats.stale(10) == {}
    clock.now += 0.5
    assert beats.stale(10) == {"writer": 10.5}
    beats.beat("writer")
    assert beats.ages() == {"writer": 0.0, "syncer": 0.5}


def test_a_thread_that_ended_is_not_missed() -> None:
    """After forget a thread is not expected, and a late beat of it does not bring it back."""
    clock = Clock()
    beats = Beats(clock)
    beats.register("feed:a")
    beats.forget("feed:a")
    beats.beat("feed:a")
    clock.now += 100
    assert beats.stale(1) == {}


def test_watchdog_is_silent_while_a_thread_is_stuck() -> None:
    """systemd hears from us at the interval, but not while any thread stands still."""
    clock, sent = Clock(), Sent()
    beats = Beats(clock)
    beats.register("writer")
    watchdog = Watchdog(beats, 10, 5, send=sent, clock=clock)
    for _ in range(5):
        assert watchdog.turn() == {}
        clock.now += 2
        beats.beat("writer")
    assert sent.words == ["WATCHDOG=1"] * 2  # at 0 s and 6 s; 5 s apart at least
    clock.now += 11
    assert watchdog.turn() == {"writer": 11.0}
    assert len(sent.words) == 2
    beats.beat("writer")
    assert watchdog.turn() == {}
    assert len(sent.words) == 3


def test_watchdog_without_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where systemd does not watch us nothing is sent, but stuck threads are still told."""
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    clock, sent = Clock(), Sent()
    beats = Beats(clock)
    beats.register("writer")
    watchdog = Watchdog(beats, 10, send=sent, clock=clock)
    clock.now += 20
    assert watchdog.turn() == {"writer": 20.0}
    assert sent.words == []


def test_notify_sends_one_datagram(tmp_path: Path) -> None:
    """The state arrives as it is, through a path and through an abstract name."""
    for address, bound in ((str(tmp_path / "s"), str(tmp_path / "s")), ("@recorder-test", "\0recorder-test")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(bound)
            assert notify("READY=1", address)
            assert systemd.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all"])
def test_notify_without_a_listener_is_no_error(address: str) -> None:
    """Outside systemd, or when it went away, nothing happens."""
    assert notify("READY=1", address) is False


def test_notify_reads_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd says in NOTIFY_SOCKET where it listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "n"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "n"))
        assert notify("STOPPING=1")
        assert systemd.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize(
    ("usec", "pid", "interval"),
    [("30000000", "", 10.0), ("30000000", "me", 10.0), ("30000000", "1", None), ("", "", None), ("0", "", None)],
)
def test_watchdog_interval(monkeypatch: pytest.MonkeyPatch, usec: str, pid: str, interval: float | None) -> None:
    """A third of what systemd allows, if it watches this very process."""
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "me" else pid)
    assert watchdog_interval() == interval
