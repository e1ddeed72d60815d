"""Clients of a venue that are not ours, in an environment of their own, as the processes that their users would run.

Owns that environment (made once from the package index, locked by hash) and the processes. Never looks at what they
say. They are not among our development packages: some of theirs are built from source.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

CLIENTS = Path(__file__).parent / "clients"
LOCK = CLIENTS / "requirements.txt"
HOME = Path(__file__).parents[1] / ".venv"
# What pip says when it reached no index, or none that has these packages.
NO_INDEX = ("No matching distribution found", "Connection", "Network is unreachable", "Temporary failure in name")
PATIENCE = 30.0


@cache
def python() -> Path:
    """The interpreter of that environment. Skips the test where no index can be reached."""
    name = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:12]
    home = HOME / f"clients-{name}"
    HOME.mkdir(exist_ok=True)
    with (HOME / "clients.lock").open("w") as lock:  # several workers would make it at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "ready").exists():
            _make(home)
    return home / "bin" / "python"


def _make(home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    pip: list[str | Path] = [
        home / "bin" / "python",
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "--no-input",
    ]
    made = subprocess.run([*pip, "--require-hashes", "-r", LOCK], capture_output=True, text=True, check=False)
    if made.returncode:
        if any(sign in made.stderr for sign in NO_INDEX):
            pytest.skip(f"no package index with the clients of others: {made.stderr.strip().splitlines()[-1]}")
        pytest.fail(f"the clients of others cannot be installed:\n{made.stderr}")
    (home / "ready").touch()


class Foreign:
    """A client as a process. It is told what to do in one JSON argument and says what it hears in JSON lines; it ends
    when its standard input does."""

    def __init__(self, script: str, order: dict[str, Any], ca: Path) -> None:
        trust = {"SSL_CERT_FILE": str(ca), "REQUESTS_CA_BUNDLE": str(ca)}
        environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")} | trust
        command = [python(), CLIENTS / script, json.dumps(order)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self._process: subprocess.Popen[str] = subprocess.Popen(command, env=environment, text=True, **pipes)  # type: ignore[call-overload]
        self.heard: list[dict[str, Any]] = []
        self._errors: list[str] = []
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._listen)]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Foreign:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def until(self, condition: Callable[[list[dict[str, Any]]], bool], what: str) -> None:
        """Wait for what it has heard to be so."""
        end = time.monotonic() + PATIENCE
        while not condition(self.heard):
            if time.monotonic() > end or self._process.poll() is not None:
                pytest.fail(f"{what}: not within {PATIENCE:.0f} s\n{''.join(self._errors[-40:])}")
            time.sleep(0.02)

    def settle(self, seconds: float = 0.5) -> None:
        """Wait until it says nothing new for so long."""
        count = -1
        while count != len(self.heard):
            count = len(self.heard)
            time.sleep(seconds)

    def finish(self) -> int:
        """End its standard input; its exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = self._process.wait(PATIENCE)
        for reader in self._readers:
            reader.join()
        return code

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.heard.append(json.loads(line))

    def _listen(self) -> None:
        assert self._process.stderr is not None
        self._errors.extend(self._process.stderr)
