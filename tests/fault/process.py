"""A recorder as its users run it: a process of its own, configured by a file, watched through its HTTP port.

Owns starting, killing and asking; judges nothing.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def until(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Poll until it is true; the deadline is an error that says what did not happen."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


@dataclass
class RecorderProcess:
    """`recorder run` on a data directory. `toml` is the configuration without [recorder]."""

    home: Path
    toml: str
    name: str = "recorder"
    process: subprocess.Popen[bytes] | None = None
    port: int = field(default_factory=free_port)
    environ: dict[str, str] = field(default_factory=dict)
    through: tuple[str, ...] = ()  # a command that becomes what its arguments name

    @property
    def config(self) -> Path:
        return self.home / f"{self.name}.toml"

    @property
    def log(self) -> Path:
        return self.home / f"{self.name}.log"

    def start(self, *arguments: str, failpoint: str = "") -> None:
        """Start it; does not wait for anything."""
        self.write()
        environ = self.environment()
        if failpoint:
            environ["RECORDER_FAILPOINT"] = failpoint
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.through, sys.executable, "-m", "recorder", "run", "--config", str(self.config), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                cwd=self.home,
            )

    def write(self) -> None:
        """Put the configuration where it reads it."""
        self.home.mkdir(parents=True, exist_ok=True)
        head = f'[recorder]\ndata_dir = "{self.home / "data"}"\nlisten = "127.0.0.1:{self.port}"\n'
        self.config.write_text(head + self.toml)

    def reload(self, toml: str) -> subprocess.CompletedProcess[str]:
        """Change the file and run `recorder reload`."""
        self.toml = toml
        self.write()
        return self.command("reload")

    def command(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command on its configuration."""
        line = [sys.executable, "-m", "recorder", name, "--config", str(self.config), *arguments]
        return subprocess.run(
            line, env=self.environment(), cwd=self.home, capture_output=True, text=True, timeout=120, check=False
        )

    def environment(self) -> dict[str, str]:
        """The variables that it, and every command on its configuration, is run with."""
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "LOG_FORMAT": "json", **self.environ}
        environ.pop("RECORDER_FAILPOINT", None)
        return environ

    @property
    def running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None
        return self.process

    def kill(self) -> None:
        """kill -9."""
        self.running.kill()
        self.running.wait()

    def stop(self, seconds: float = 12.0) -> int:
        """SIGTERM; the exit code. The promise is 10 s."""
        self.running.send_signal(signal.SIGTERM)
        return self.running.wait(seconds)

    def wait(self, seconds: float) -> int:
        """Its exit code, when it ends by itself."""
        return self.running.wait(seconds)

    def get(self, path: str) -> str:
        """A page of its HTTP port, whatever the status; empty when nobody answers."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                body: bytes = answer.read()
        except urllib.error.HTTPError as error:
            body = error.read()
        except OSError:
            return ""
        return body.decode()

    def status(self) -> dict[str, Any]:
        """What /status says; empty when nobody answers."""
        text = self.get("/status")
        return json.loads(text) if text else {}

    def metric(self, name: str, **labels: str) -> float | None:
        """A series of /metrics; None when it is not there."""
        wanted = {f'{k}="{v}"' for k, v in labels.items()}
        for line in self.get("/metrics").splitlines():
            head, _, value = line.rpartition(" ")
            series, _, rest = head.partition("{")
            if series == name and wanted <= set(rest.rstrip("}").split(",")):
                return float(value)
        return None

    def connected(self) -> bool:
        """Every feed stands."""
        feeds = [f for f in self.status().get("feeds", []) if not f["draining"]]
        return bool(feeds) and all(f["connected"] for f in feeds)

    def ready(self) -> bool:
        """Connected, and the database is being written."""
        return bool(self.status().get("ready"))

    def rss(self) -> int:
        """Resident bytes."""
        size: int = psutil.Process(self.running.pid).memory_info().rss
        return size

    def tail(self, lines: int = 40) -> str:
        """The end of its log, for messages of failed tests."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def okx_toml(
    database: str, ws: str, rest: str, subscribe: dict[str, list[str]], *, name: str = "okx", **more: str
) -> str:
    """A configuration of one simulated source. `more`: extra lines by section."""
    return config_toml(database, source_toml(ws, rest, subscribe, name=name), **more)


def config_toml(database: str, *sources: str, **more: str) -> str:
    """A configuration of these sources. `more`: extra lines by section."""
    lines = [f'[database]\nurl = "{database}"\nflush_age = "50ms"', more.get("database", ""), "[spool]"]
    return "\n".join([*lines, more.get("spool", 'max_size = "64MiB"\nmin_free = "1MiB"'), *sources])


def source_toml(
    ws: str, rest: str, subscribe: dict[str, list[str]], *, name: str = "okx", venue: str = "okx", **options: str
) -> str:
    """One [[source]] with its subscriptions. `subscribe`: channel → symbols, none where the channel needs none;
    `options`: the venue's own keys."""
    lines = ["[[source]]", f'name = "{name}"', f'venue = "{venue}"', f'endpoints = ["{ws}"]', f'rest = "{rest}"']
    lines += [f'{key} = "{value}"' for key, value in options.items()]
    for channel, symbols in subscribe.items():
        lines += ["[[source.subscribe]]", f"channels = {json.dumps([channel])}"]
        lines += [f"symbols = {json.dumps(symbols)}"] if symbols else []
    return "\n".join(lines) + "\n"
