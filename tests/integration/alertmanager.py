"""A real Alertmanager with the shipped configuration, for the tests.

Owns the process and the rewriting of what cannot be the same on a test's machine: the relay's address, and how long
Alertmanager waits (seconds instead of minutes). Everything else is as shipped.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from recorder.store.apt import loader
from tests.fixtures.tools import tool
from tests.integration.relaying import direct, free_port

SHIPPED = Path(__file__).parents[2] / "deploy/alertmanager/alertmanager.yml"


def configuration(port: int, group_wait: str, group_interval: str) -> str:
    """The shipped one with the relay on this port and these pauses."""
    text, relays = re.subn(r"http://relay:9465/", f"http://127.0.0.1:{port}/", SHIPPED.read_text())
    text, waits = re.subn(r"group_wait: \S+", f"group_wait: {group_wait}", text)
    text, intervals = re.subn(r"group_interval: \S+", f"group_interval: {group_interval}", text)
    assert (relays, waits, intervals) == (8, 3, 3)
    return text


@dataclass
class Alertmanager:
    """Where it listens, and what may be asked."""

    port: int
    process: subprocess.Popen[bytes]

    def fire(self, *alerts: dict[str, str], over: bool = False) -> None:
        """Post alerts by their labels, as Prometheus does: they begin now, or (`over`) have just ended. One that had
        begun before the group's wait would be told at once, without those posted with it."""
        now = datetime.now(UTC)
        begins, ends = (
            (now - timedelta(minutes=1), now - timedelta(seconds=1)) if over else (now, now + timedelta(hours=1))
        )
        body = [
            {
                "labels": {"job": "recorder", "instance": "recorder:9464", **labels},
                "annotations": {"summary": f"{labels['alertname']} fires", "runbook": "docs/runbook.md#x"},
                "startsAt": begins.isoformat(),
                "endsAt": ends.isoformat(),
            }
            for labels in alerts
        ]
        self._ask("/api/v2/alerts", json.dumps(body).encode())

    def silenced_by_another(self) -> set[str]:
        """The alerts that an inhibition keeps silent, by name and source."""
        found = json.loads(self._ask("/api/v2/alerts"))
        return {_name(alert["labels"]) for alert in found if alert["status"]["inhibitedBy"]}

    def metric(self, name: str) -> float:
        """The sum of a metric over its webhooks."""
        lines = self._ask("/metrics").decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f'{name}{{integration="webhook"'))

    def ready(self) -> bool:
        """Whether it serves."""
        assert self.process.poll() is None, "Alertmanager ended: see alertmanager.log"
        try:
            self._ask("/-/ready")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def _ask(self, path: str, body: bytes | None = None) -> bytes:
        headers = {} if body is None else {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, headers)
        with direct().open(request, timeout=30) as answer:
            return bytes(answer.read())


def _name(labels: dict[str, Any]) -> str:
    return f"{labels['alertname']} {labels['source']}" if "source" in labels else str(labels["alertname"])


def eventually(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)


# Where Debian's build looks for its templates and pages, a path that is compiled in.
COMPILED_IN = b"/usr/share/prometheus/alertmanager"


def _program(folder: Path) -> tuple[list[str | Path], Path | None]:
    """How to start it, and in which folder. Debian's, unpacked somewhere else, is started as a copy in which that path
    has become one of equal length that means the folder it is started in."""
    program = tool("prometheus-alertmanager")
    tree = program.parents[1] / "tree"
    if not tree.is_dir():
        return [program], None
    here = b"./" * (len(COMPILED_IN) // 2)
    assert len(here) == len(COMPILED_IN)
    moved = folder / "prometheus-alertmanager"
    moved.write_bytes((tree / "usr/bin/prometheus-alertmanager").read_bytes().replace(COMPILED_IN, here))
    moved.chmod(0o755)
    start = loader(tree)
    return [start, "--library-path", start.parent, moved], tree / COMPILED_IN.decode().lstrip("/")


@contextmanager
def alertmanager(
    folder: Path, relay: int, group_wait: str = "2s", group_interval: str = "4s"
) -> Iterator[Alertmanager]:
    """One that sends to the relay on that port. `folder` gets its data and its log."""
    (folder / "alertmanager.yml").write_text(configuration(relay, group_wait, group_interval))
    port = free_port()
    command, home = _program(folder)
    options = (
        *(f"--config.file={folder / 'alertmanager.yml'}", f"--storage.path={folder / 'data'}"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="),
    )
    with (folder / "alertmanager.log").open("wb") as log:
        process = subprocess.Popen([*command, *options], cwd=home, stdout=subprocess.DEVNULL, stderr=log)
        try:
            found = Alertmanager(port, process)
            eventually(found.ready)
            yield found
        finally:
            process.terminate()
            process.wait(60)
