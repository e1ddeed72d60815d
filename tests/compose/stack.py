"""The stack of docker-compose.yml as its users run it, beside a world of its own: a venue, and somebody to be woken.

Owns the two projects, their passwords and ports, and the faster copies of the shipped rules. Judges nothing.
"""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import quote

import msgspec
import psycopg

from recorder.simulator.oracle import Ledger
from tests.fault.process import ROOT, free_port
from tests.fixtures.scaled import RULES, faster

HERE = Path(__file__).parent
ALERTS = ROOT / "deploy" / "alertmanager"
SYMBOLS = tuple(f"S{n:02d}-USDT" for n in range(20))
RATE = 25.0  # trades a second and symbol
FASTER = 15.0  # ten minutes of a rule are 40 seconds of a test
IMAGE = "recorder:test"
# Whatever a password may hold: @ : / end a part of an URL, % begins an escape, $ and quotes mean things to shells.
HARD = "p@ss:w/or%64 d\"$1'#?&="
ONE_SHOT = {"users", "migrate", "demo-database", "demo-migrate"}
LASTING = {"database", "recorder", "prometheus", "alertmanager", "relay", "grafana", "venues", "demo-recorder"}

_PACE = re.compile(r"((?:\w+_interval|group_wait|refresh_interval): *)(\d+)([smhd])\b")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def environment() -> dict[str, str]:
    """What .env.example says: the stack as it comes, with nothing of ours."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def quicker(text: str) -> str:
    """A configuration of Prometheus or Alertmanager whose intervals are so much shorter, whole milliseconds."""

    def shorter(found: re.Match[str]) -> str:
        return f"{found[1]}{max(200, round(int(found[2]) * _UNITS[found[3]] * 1000 / FASTER))}ms"

    return _PACE.sub(shorter, text)


@dataclass
class Project:
    """One project of Docker Compose: its files, its variables, and what can be asked of it. `home` is for its .env."""

    name: str
    home: Path
    files: Sequence[Path]
    environ: dict[str, str]
    profiles: Sequence[str] = ()

    def compose(self, *arguments: str, check: bool = True, seconds: float = 600) -> subprocess.CompletedProcess[str]:
        """`docker compose …` on this project."""
        files = [part for file in self.files for part in ("--file", str(file))]
        profiles = [part for profile in self.profiles for part in ("--profile", profile)]
        command = ["docker", "compose", "--project-name", self.name, "--env-file", str(self.env_file)]
        run = docker([*command, *files, *profiles, *arguments], seconds)
        assert run.returncode == 0 or not check, f"{' '.join(arguments)}\n{run.stdout[-3000:]}\n{run.stderr[-3000:]}"
        return run

    @property
    def env_file(self) -> Path:
        """Its .env, written anew for every command: a test may have changed what stands in it."""
        file = self.home / f"{self.name}.env"
        file.write_text("".join(f"{name}={_quoted(value)}\n" for name, value in self.environ.items()))
        return file

    def containers(self) -> dict[str, dict[str, Any]]:
        """What `docker inspect` says of every container, by service."""
        ids = self.compose("ps", "--all", "--quiet").stdout.split()
        found = json.loads(docker(["docker", "inspect", *ids]).stdout) if ids else []
        return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in found}

    def port(self, service: str, inside: int) -> int:
        """The port of this machine that leads to a port of a service."""
        return int(self.compose("port", service, str(inside)).stdout.rpartition(":")[2])

    def get(self, service: str, inside: int, path: str) -> Any:
        """A JSON document of a service; None when it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port(service, inside)}{path}", timeout=10) as answer:
                return json.loads(answer.read())
        except (OSError, ValueError, AssertionError):
            return None

    def logs(self, service: str, lines: int = 40) -> str:
        """The end of a service's log."""
        run = self.compose("logs", "--no-log-prefix", "--no-color", "--tail", str(lines), service, check=False)
        return run.stdout + run.stderr


def wait(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Look twice a second, because every look starts programs; the deadline is an error that says what is missing."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.5)


def docker(command: Sequence[str], seconds: float = 120) -> subprocess.CompletedProcess[str]:
    """Run it, and keep what it says."""
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)


def _quoted(value: str) -> str:
    """A value as .env wants it: in single quotes nothing means anything, but the quote itself is escaped."""
    return "'" + value.replace("'", "\\'") + "'"


@dataclass
class Stack:
    """The stack, the world outside of it, and what a test wants to know of both."""

    box: Project
    outside: Project

    def up(self) -> None:
        """Start everything, and wait until all of it is well."""
        self.box.compose("up", "--detach", "--quiet-pull")
        self.well()

    def well(self) -> None:
        """Wait until what runs is healthy, and what runs once has ended well."""
        try:
            wait(lambda: not self.unwell(), 240, "the stack is well")
        except AssertionError as late:
            unwell = self.unwell()
            raise AssertionError("\n".join([f"{late}: {unwell}", *map(self.box.logs, unwell)])) from None

    def unwell(self) -> dict[str, str]:
        """Services that are not as they should be, and what they are."""
        found = self.box.containers()
        states = {name: found[name]["State"] if name in found else {"Status": "missing"} for name in ONE_SHOT | LASTING}
        return {name: _state(state) for name, state in states.items() if not _is_well(name, state)}

    def database(self, user: str = "postgres", name: str = "market") -> str:
        """The URL of a database, for one of the stack's users."""
        port = self.box.port("database", 5432)
        return f"postgresql://{user}:{quote(self.passwords[user], safe='')}@127.0.0.1:{port}/{name}"

    @property
    def passwords(self) -> dict[str, str]:
        """The passwords of the stack's users."""
        environ = self.box.environ
        return {
            "postgres": environ["POSTGRES_PASSWORD"],
            "recorder": environ["RECORDER_DATABASE_PASSWORD"],
            "grafana": environ["GRAFANA_DATABASE_PASSWORD"],
        }

    def ask(self, query: LiteralString, *params: object, name: str = "market") -> list[tuple[Any, ...]]:
        """Rows of a query, asked by the owner."""
        with closing(psycopg.connect(self.database(name=name), autocommit=True)) as conn:
            return conn.execute(query, params or None).fetchall()

    def connected(self) -> int:
        """How many feeds of the recorder are connected."""
        feeds = (self.box.get("recorder", 9464, "/status") or {}).get("feeds", [])
        return sum(feed["connected"] for feed in feeds)

    def all_connected(self) -> None:
        """Wait until there is a connection for every symbol."""
        wait(lambda: self.connected() == len(SYMBOLS), 60, f"{len(SYMBOLS)} feeds are connected")

    def ledger(self) -> Ledger:
        """What the venue issued, and to whom."""
        found = self.outside.get("numbers", 9000, "/_control")
        return msgspec.convert(found["ledger"], Ledger)

    def control(self, **request: object) -> int:
        """Let something go wrong at the venue; how many connections it struck."""
        url = f"http://127.0.0.1:{self.outside.port('numbers', 9000)}/_control"
        with urllib.request.urlopen(url, json.dumps(request).encode(), timeout=10) as answer:
            return int(json.loads(answer.read())["struck"])

    def messages(self) -> list[dict[str, Any]]:
        """What was sent to whoever is to be woken."""
        found: list[dict[str, Any]] = self.outside.get("receiver", 8000, "/")
        return found

    def stored(self) -> dict[str, int]:
        """The newest stored number of each symbol."""
        return dict(self.ask("SELECT symbol, max(trade_id::bigint) FROM trades WHERE source = 'okx' GROUP BY symbol"))

    def caught_up(self) -> None:
        """Wait until everything that exists now is stored."""
        issued = self.ledger().issued

        def there() -> bool:
            stored = self.stored()
            return all(stored.get(symbol, 0) >= number for symbol, number in issued.items())

        wait(there, 120, f"the present is stored\n{self.box.logs('recorder')}")


def _is_well(name: str, state: dict[str, Any]) -> bool:
    if name in ONE_SHOT:
        return (state["Status"], state.get("ExitCode")) == ("exited", 0)
    return (state["Status"], state.get("Health", {}).get("Status")) == ("running", "healthy")


def _state(state: dict[str, Any]) -> str:
    return f"{state['Status']} {state.get('Health', {}).get('Status', '')} {state.get('ExitCode', '')}"


def environ_of(home: Path, name: str) -> dict[str, str]:
    """The variables of both projects: what .env.example says, passwords that are hard on whoever quotes badly, and
    free ports instead of the usual ones."""
    return environment() | {
        "POSTGRES_PASSWORD": HARD + "owner",
        "RECORDER_DATABASE_PASSWORD": HARD + "recorder",
        "GRAFANA_DATABASE_PASSWORD": HARD + "reader",
        "GRAFANA_LISTEN": f"127.0.0.1:{free_port()}",
        "PROMETHEUS_PORT": str(free_port()),
        "RECORDER_PORT": str(free_port()),
        "RECORDER_TOML": str(home / "numbers.toml"),
        "ALERT_WEBHOOK_URL": "http://receiver:8000/alert",
        "TEST_FILES": str(home),
        "TEST_OUTSIDE": f"{name}-outside",
        "TEST_RATE": f"{RATE:g}",
        "TEST_SYMBOLS": " ".join(f"--symbol {symbol}" for symbol in SYMBOLS),
    }


def write_files(home: Path) -> None:
    """What the containers of the test read: the recorder's configuration, and the shipped rules, faster."""
    symbols = json.dumps(SYMBOLS)
    (home / "numbers.toml").write_text(
        (ROOT / "deploy" / "recorder.toml").read_text().partition("[[source]]")[0]
        + '[[source]]\nvenue = "okx"\nendpoints = ["ws://numbers:9000"]\nrest = "http://numbers:9000"\n'
        + "limits = { symbols_per_connection = 1 }\n"
        + f'[[source.subscribe]]\nchannels = ["trades"]\nsymbols = {symbols}\n'
    )
    for source in (RULES, ALERTS):
        target = home / source.name
        target.mkdir()
        for file in source.iterdir():
            (target / file.name).write_text(faster(quicker(file.read_text()), FASTER))


@contextmanager
def standing(home: Path, image: str) -> Iterator[Stack]:
    """Both projects, up; in the end nothing of them is left."""
    name = f"recorder-test-{secrets.token_hex(3)}"
    environ = environ_of(home, name) | {"RECORDER_IMAGE": image}
    write_files(home)
    files = [ROOT / "docker-compose.yml", HERE / "override.yml"]
    stack = Stack(
        Project(name, home, files, environ, ["demo"]), Project(f"{name}-outside", home, [HERE / "outside.yml"], environ)
    )
    try:
        stack.outside.compose("up", "--detach", "--wait")
        stack.up()
        yield stack
    finally:
        for project in (stack.box, stack.outside):
            project.compose("down", "--volumes", check=False)
