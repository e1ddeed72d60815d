"""`recorder reload`: who is found, what is waited for, and what is said; the recorder itself is played."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recorder import cli
from recorder.commands import reloading
from recorder.errors import Exit
from recorder.reload import Verdict, keep

CONFIG = """[recorder]
data_dir = "{home}"
[database]
url = "postgresql://recorder:hunter2@localhost/market"
[[source]]
venue = "okx"
[[source.subscribe]]
channels = ["trades"]
symbols = ["{symbol}"]
"""


class Played:
    """A recorder: holds the lock, and answers SIGHUP with `answer`, or by ending, or not at all."""

    def __init__(self, home: Path, patch: pytest.MonkeyPatch) -> None:
        self.home = home
        self.answer: Verdict | None = None
        self.ends = False
        self.signals: list[tuple[int, int]] = []
        home.mkdir()
        self.hold(f"recorder with pid 4711 on {socket.gethostname()}\n")
        patch.setattr(os, "kill", self.kill)
        patch.setattr(reloading, "PATIENCE", 0.3)

    def hold(self, text: str) -> None:
        """Take the lock under this name."""
        self.lock = (self.home / "lock").open("w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.lock.write(text)
        self.lock.flush()

    def kill(self, pid: int, number: int) -> None:
        self.signals.append((pid, number))
        if self.ends:
            self.lock.close()
        if self.answer is not None:
            keep(self.home, self.answer)


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    """One that runs on the file in the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RECORDER_CONFIG", raising=False)
    (tmp_path / "recorder.toml").write_text(CONFIG.format(home=tmp_path / "home", symbol="BTC-USDT"))
    found = Played(tmp_path / "home", monkeypatch)
    yield found
    found.lock.close()


def verdict(begun: int | None = None, **more: tuple[str, ...]) -> Verdict:
    """One on a file that was read in a while."""
    at = time.monotonic_ns() + 10**12 if begun is None else begun
    return Verdict(begun=at, at="2026-01-01T00:00:00+00:00", file="/etc/recorder.toml", **more)


def call() -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, ["reload"])
    return result.exit_code, result.stdout, result.stderr


def test_what_has_changed_is_said(played: Played) -> None:
    """Changes on stdout, a line each; what has to wait, and which file it was, on stderr; code 0."""
    played.answer = verdict(changes=("spool.keep: 6h → 1m",), waiting=("recorder.listen needs a restart",))
    code, out, error = call()
    assert (code, out) == (Exit.OK, "spool.keep: 6h → 1m\n")
    assert error == "note: recorder.listen needs a restart\n/etc/recorder.toml is in effect\n"
    assert played.signals == [(4711, signal.SIGHUP)]


def test_nothing_different_is_said_too(played: Played) -> None:
    """Code 0, and one sentence."""
    played.answer = verdict()
    assert call() == (Exit.OK, "", "/etc/recorder.toml is in effect; nothing is different\n")


def test_a_refusal_is_code_78_with_every_reason(played: Played) -> None:
    """Nothing on stdout."""
    played.answer = verdict(problems=("one", "two"))
    code, out, error = call()
    assert (code, out, error.splitlines()[1:]) == (Exit.CONFIGURATION, "", ["one", "two"])


def test_the_recorder_decides_about_a_file_that_says_where_it_is(played: Played, tmp_path: Path) -> None:
    """A variable that only the service has, a symbol that is none: the file is not judged here."""
    text = CONFIG.format(home=tmp_path / "home", symbol="${ONLY_THE_SERVICE_HAS_IT:?no}")
    (tmp_path / "recorder.toml").write_text(text)
    played.answer = verdict()
    assert call()[0] == Exit.OK


def test_a_file_that_does_not_say_where_it_is_is_refused_here(played: Played, tmp_path: Path) -> None:
    """With everything that is wrong with it, and nobody is bothered."""
    text = CONFIG.format(home="${NOWHERE:?set NOWHERE}", symbol="btc")
    (tmp_path / "recorder.toml").write_text(text)
    code, _, error = call()
    assert (code, len(error.splitlines()), played.signals) == (Exit.CONFIGURATION, 2, [])


def test_an_older_verdict_is_not_the_answer(played: Played) -> None:
    """Of a reload that began before we asked; a recorder that says nothing new is code 75."""
    played.answer = verdict(begun=time.monotonic_ns())
    code, _, error = call()
    assert code == Exit.TEMPORARY
    assert error == "the recorder with pid 4711 has not answered within 0.3 s: its log says more\n"


def test_a_recorder_that_ends_meanwhile_is_no_answer(played: Played) -> None:
    """Code 1: there is nobody to reload any more."""
    played.ends = True
    assert call() == (Exit.NEGATIVE, "", "the recorder with pid 4711 has ended before it read the file\n")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ProcessLookupError(), "has just ended: there is nothing to reload"),
        (PermissionError(), "is another user's: run `recorder reload` as that user"),
    ],
)
def test_whoever_cannot_be_signalled_is_said(
    played: Played, monkeypatch: pytest.MonkeyPatch, error: OSError, sentence: str
) -> None:
    """One sentence that says what to do."""

    def kill(pid: int, number: int) -> None:
        raise error

    monkeypatch.setattr(os, "kill", kill)
    code, _, said = call()
    assert (code, said.rstrip().endswith(sentence)) == (Exit.NEGATIVE, True)


def test_another_host_is_not_signalled(played: Played) -> None:
    """A process number means nothing in another container or on another machine."""
    played.lock.close()
    played.hold("recorder with pid 7 on elsewhere\n")
    code, _, error = call()
    assert (code, played.signals) == (Exit.NEGATIVE, [])
    assert "is held by recorder with pid 7 on elsewhere, which cannot be reached from here" in error


def test_nobody_runs(played: Played) -> None:
    """Code 1, and how to start one."""
    played.lock.close()
    code, _, error = call()
    assert (code, error.splitlines()[0].startswith("no recorder runs on ")) == (Exit.NEGATIVE, True)


def test_a_verdict_is_plain_json(played: Played) -> None:
    """For whoever reads it with other tools."""
    keep(played.home, verdict(problems=("one",)))
    assert json.loads((played.home / "reload.json").read_text())["problems"] == ["one"]
