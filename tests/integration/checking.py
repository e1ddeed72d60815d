"""A configuration and what `recorder check` says of it, for the tests of that command.

Owns the file and running the command; judges nothing but that no secret and no traceback shows.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from recorder import cli
from recorder.simulator.clock import SystemClock
from recorder.simulator.market import Market
from recorder.simulator.okx.venue import LISTINGS, NO_LIMITS, OkxVenue
from recorder.simulator.server import Simulator

Line = dict[str, Any]


class Skewed(SystemClock):
    """A venue's clock that is so many seconds off."""

    def __init__(self, seconds: float) -> None:
        self._us = round(seconds * 1e6)

    def wall_us(self) -> int:
        """Microseconds since 1970 UTC, and that much."""
        return time.time_ns() // 1000 + self._us


@contextmanager
def simulated(clock: SystemClock | None = None, tls: Path | None = None) -> Iterator[Simulator[OkxVenue]]:
    """A venue that runs by itself."""
    clock = clock or SystemClock()
    one = OkxVenue(Market(LISTINGS, clock.wall_us(), rate=50), rules=NO_LIMITS, clock=clock)
    with Simulator(one, tls=tls) as simulator:
        yield simulator


@dataclass
class Setup:
    """A configuration, and what the command says of it."""

    folder: Path
    database: str
    endpoint: str = ""
    rest: str = ""
    proxy: str = ""
    channel: str = "trades"
    symbols: tuple[str, ...] = ("BTC-USDT",)
    spool: str = 'min_free = "1MiB"\nmax_size = "64MiB"'
    data_dir: str = ""
    code: int | None = None
    output: str = field(default="", repr=False)

    def write(self) -> None:
        """The file."""
        proxy = f'proxy = "{self.proxy}"' if self.proxy else ""
        (self.folder / "recorder.toml").write_text(f"""
[recorder]
data_dir = "{self.data_dir or self.folder / "data"}"
[database]
url = "{self.database}"
[spool]
{self.spool}
[[source]]
venue = "okx"
endpoints = ["{self.endpoint}"]
rest = "{self.rest}"
{proxy}
[[source.subscribe]]
channels = ["{self.channel}"]
symbols = {json.dumps(self.symbols)}
""")

    def check(self, *more: str) -> str:
        """What the command prints."""
        self.write()
        result = CliRunner().invoke(cli.app, ["--config", str(self.folder / "recorder.toml"), "check", *more])
        self.code = result.exit_code
        self.output = result.output
        assert "s3cret" not in self.output
        assert "Traceback" not in self.output
        return result.stdout

    def checks(self) -> list[Line]:
        """Its findings."""
        answer = json.loads(self.check("--connect", "--json"))
        assert answer["ok"] == (self.code == 0)
        found: list[Line] = answer["checks"]
        assert all(line["sentence"] and "\n" not in line["sentence"] for line in found)
        return found

    def failed(self) -> Mapping[str, str]:
        """What failed, and the sentence for it."""
        return {line["check"]: line["sentence"] for line in self.checks() if line["ok"] is False}


@contextmanager
def closed() -> Iterator[int]:
    """A port at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
