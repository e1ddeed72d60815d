"""`recorder reload`: has the running recorder read its file again, and says what became of it.

Owns how the recorder is found, and the patience. Judges no file: that is the running recorder's, whose environment
decides. Takes no lock.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import typer

from recorder import configfile
from recorder.capture.datadir import DataDir
from recorder.errors import ConfigError, Exit, RecorderError
from recorder.redact import clean
from recorder.reload import Verdict, last

PATIENCE = 60.0  # a verdict takes a fraction of a second; a machine that swaps needs more
LOOK = 0.05

# How a lock says who holds it (`recorder.capture.datadir`).
_HOLDER = re.compile(r"recorder with pid (\d+) on (.+)")


class NotRunning(RecorderError):
    """There is nobody to reload."""

    exit_code = Exit.NEGATIVE


class NoVerdict(RecorderError):
    """The recorder was asked and did not answer."""

    exit_code = Exit.TEMPORARY


def reload(path: Path | None, say: Callable[[str], None]) -> int:
    """Ask, wait, report. Code 78, and every reason, where the file was refused: then nothing has changed."""
    file = configfile.find(path)
    home = DataDir(_home(file))
    pid = _pid(home)
    asked = time.monotonic_ns()
    _signal(pid, home)
    verdict = _await(home, pid, asked)
    if not verdict.done:
        say("the running recorder refuses the file and goes on as it was:")
        raise ConfigError(list(verdict.problems))
    for sentence in verdict.changes:
        typer.echo(clean(sentence))
    for sentence in verdict.waiting:
        say(f"note: {sentence}")
    say(f"{verdict.file} is in effect" + ("" if verdict.changes or verdict.waiting else "; nothing is different"))
    return Exit.OK


def _home(file: Path) -> Path:
    """Where the recorder of this file is found. Where even that cannot be told, everything that is wrong is said."""
    try:
        return configfile.home(file)
    except ConfigError:
        configfile.load(file)
        raise


def _pid(home: DataDir) -> int:
    holder = home.holder()
    if not holder:
        raise NotRunning(f"no recorder runs on {home.home}: there is nothing to reload; `recorder run` starts one")
    found = _HOLDER.fullmatch(holder)
    if found is None or found[2] != socket.gethostname():
        raise NotRunning(
            f"{home.home} is held by {holder}, which cannot be reached from here: run `recorder reload` there"
        )
    return int(found[1])


def _signal(pid: int, home: DataDir) -> None:
    try:
        os.kill(pid, signal.SIGHUP)
    except ProcessLookupError:
        raise NotRunning(f"the recorder on {home.home} has just ended: there is nothing to reload") from None
    except PermissionError:
        raise NotRunning(f"the recorder with pid {pid} is another user's: run `recorder reload` as that user") from None


def _await(home: DataDir, pid: int, asked: int) -> Verdict:
    """The first verdict on a file that was read after we asked."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        running = bool(home.holder())
        verdict = last(home.home)
        if verdict is not None and verdict.begun >= asked:
            return verdict
        if not running:
            raise NotRunning(f"the recorder with pid {pid} has ended before it read the file")
        time.sleep(LOOK)
    raise NoVerdict(f"the recorder with pid {pid} has not answered within {PATIENCE:g} s: its log says more")
