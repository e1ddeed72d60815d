"""A Docker engine for the tests of the stack: the machine's own, else one with stand-in images.

Owns finding, starting and stopping it. Never ends an engine that was there before.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from tests.fault.process import ROOT

REQUIRE = "RECORDER_REQUIRE_ENGINE"
SCRIPT = Path(os.environ.get("RECORDER_ENGINE", ROOT.parent / "shared" / "tools" / "engine-up.sh"))
START_SECONDS = 900  # the engine and its stand-ins out of Debian's packages, once a machine


def answers() -> bool:
    """Whether an engine with Compose is there now."""
    commands = (["docker", "info", "--format", "{{.ServerVersion}}"], ["docker", "compose", "version"])
    try:
        runs = [subprocess.run(command, capture_output=True, text=True, timeout=60) for command in commands]
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return all(run.returncode == 0 and run.stdout.strip() for run in runs)


@contextmanager
def engine(files: Sequence[Path], environ: Mapping[str, str]) -> Iterator[None]:
    """An engine that has, or can get, every image of these compose files; skips the test where there is none."""
    before = answers()
    if SCRIPT.is_file() and os.geteuid() == 0:
        if (run := _script("all", files, environ)).returncode:
            _without(f"{SCRIPT.name} brings none up: {run.stdout[-2000:]}")
    elif not before:
        _without(
            f"none answers, and there is no {SCRIPT}" if not SCRIPT.is_file() else "none answers, and we are not root"
        )
    try:
        yield
    finally:
        if not before:
            _script("stop", [], environ)


def _without(reason: str) -> NoReturn:
    """Nothing is tested: that is an error where somebody counts on it."""
    sentence = f"the stack was not tested, because there is no Docker engine: {reason}"
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{sentence} ({REQUIRE} is set)")
    pytest.skip(sentence)


def _script(verb: str, files: Sequence[Path], environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPT), verb, *map(str, files)],
        env={**os.environ, **environ, "GRAFANA_STUB": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=START_SECONDS,
    )
