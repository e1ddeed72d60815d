"""Under systemd: what the recorder tells it, what it needs in its cage, and where its secrets come from."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recorder.records import now_us
from recorder.simulator.okx.venue import OkxVenue, Rules
from recorder.simulator.oracle import NumberedMarket
from recorder.simulator.server import Simulator
from tests.fault import confined
from tests.fault.ledger import judge
from tests.fault.process import ROOT, RecorderProcess, okx_toml, until
from tests.fixtures.tools import tool

SYMBOL, OTHER = "BTC-USDT", "ETH-USDT"
WATCHDOG_SECONDS = 3.0

pytestmark = pytest.mark.timeout(180)


class Systemd:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[tuple[float, str]] = []  # when (monotonic), what
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(0.05)

    def environ(self) -> dict[str, str]:
        """What systemd puts into a service's environment."""
        return {"NOTIFY_SOCKET": str(self.path), "WATCHDOG_USEC": str(int(WATCHDOG_SECONDS * 1e6))}

    def listen(self) -> list[str]:
        """All that was said so far."""
        try:
            while True:
                word = self._socket.recv(4096).decode()
                self.said.append((time.monotonic(), word))
        except TimeoutError:
            return [word for _, word in self.said]

    def heard(self, word: str, times: int = 1) -> bool:
        """Whether it was said so often."""
        return sum(each == word for each in self.listen()) >= times

    def close(self) -> None:
        self._socket.close()


@contextmanager
def staged(home: Path, database: str, **environ: str) -> Iterator[tuple[RecorderProcess, Simulator[OkxVenue]]]:
    """A venue, and a recorder of SYMBOL that does not run yet."""
    rules = Rules(operations_per_hour=0, connects_per_second=0)
    with Simulator(OkxVenue(NumberedMarket([SYMBOL, OTHER], now_us(), rate=200.0, depth=5), rules=rules)) as simulator:
        toml = okx_toml(database, simulator.ws_url, simulator.http_url, {"trades": [SYMBOL]})
        recorder = RecorderProcess(home / "recorder", toml, environ=environ)
        try:
            yield recorder, simulator
        finally:
            if recorder.process is not None and recorder.process.poll() is None:
                recorder.kill()


def test_systemd_is_told(tmp_path: Path, database: str) -> None:
    """READY=1 once; WATCHDOG=1 at least twice in what the unit allows, as long as it lives, and none while it is
    stopped; RELOADING=1 with the time, and READY=1 again, also where the file is refused; STOPPING=1 before the end."""
    systemd = Systemd(tmp_path / "notify")
    with staged(tmp_path, database, **systemd.environ()) as (recorder, _):
        recorder.start()
        until(lambda: systemd.heard("READY=1"), 30, f"READY\n{recorder.tail()}")
        assert systemd.listen()[0] == "READY=1"
        until(lambda: systemd.heard("WATCHDOG=1", 5), 30, "the watchdog is fed")
        fed = [at for at, word in systemd.said if word == "WATCHDOG=1"]
        assert fed[4] - fed[0] < 4 * WATCHDOG_SECONDS
        for n, toml in enumerate((recorder.toml, "[[source]]\n"), 1):
            before = time.monotonic_ns() // 1000
            recorder.toml = toml
            recorder.write()
            recorder.running.send_signal(signal.SIGHUP)
            until(lambda n=n: systemd.heard("READY=1", n + 1), 20, f"READY again\n{recorder.tail()}")  # type: ignore[misc]
            told = [word for word in systemd.listen() if word.startswith("RELOADING=1")]
            assert len(told) == n
            stamp = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", told[-1])
            assert stamp is not None
            assert before <= int(stamp[1]) <= time.monotonic_ns() // 1000
            words = [word for word in systemd.listen() if word != "WATCHDOG=1"]
            assert words[-2:] == [told[-1], "READY=1"]
        recorder.running.send_signal(signal.SIGSTOP)
        systemd.listen()
        heard = len(systemd.said)
        time.sleep(WATCHDOG_SECONDS)
        assert len(systemd.listen()) == heard
        recorder.running.send_signal(signal.SIGCONT)
        assert recorder.stop() == 0, recorder.tail()
        assert systemd.listen()[-1] == "STOPPING=1"
    systemd.close()


def test_secrets_come_from_credentials(tmp_path: Path, database: str) -> None:
    """`file:${CREDENTIALS_DIRECTORY}/…` is what the unit's LoadCredential gives; it is read, and shown nowhere; and a
    reload is asked for by who has no credentials at all."""
    secret = "s3cret-in-a-credential"
    home = tmp_path / "credentials"
    home.mkdir()
    (home / "recorder_database_url").write_text(f"{_with_password(database, secret)}\n")
    (home / "recorder_database_url").chmod(0o400)
    with staged(tmp_path, database, CREDENTIALS_DIRECTORY=str(home)) as (recorder, _):
        recorder.toml = recorder.toml.replace(database, "file:${CREDENTIALS_DIRECTORY}/recorder_database_url")
        recorder.start()
        until(recorder.ready, 30, f"ready\n{recorder.tail()}")
        shown = [recorder.command("check").stdout, recorder.get("/status"), recorder.log.read_text()]
        recorder.environ.pop("CREDENTIALS_DIRECTORY")
        done = recorder.command("reload")
        assert done.returncode == 0, done.stderr
        missing = recorder.command("check")
        assert missing.returncode == 78
        assert "CREDENTIALS_DIRECTORY" in missing.stderr
        assert recorder.stop() == 0
    assert not [text for text in (*shown, done.stdout, done.stderr) if secret in text]


def _with_password(url: str, password: str) -> str:
    """The URL with a password; the server asks for none."""
    scheme, _, rest = url.partition("://")
    user, at, place = rest.rpartition("@")
    return f"{scheme}://{user.partition(':')[0] or 'postgres'}:{password}{at or '@'}{place}"


@pytest.fixture
def cage() -> list[str]:
    """The command that puts another into the unit's cage."""
    if not confined.available():
        pytest.skip("libseccomp is not on this machine")
    asked = confined.spec(tool("systemd-analyze"), ROOT / "deploy" / "systemd" / "recorder.service")
    return [sys.executable, "-m", "tests.fault.confined", asked]


@pytest.mark.parametrize(
    ("forbidden", "error"),
    [
        ("import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)", "Address family not supported"),
        ("import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)", "Operation not permitted"),
        ("import os; os.chroot('.')", "Operation not permitted"),
        ("import os; os.setpriority(os.PRIO_PROCESS, 0, 5)", "Operation not permitted"),
    ],
)
def test_the_cage_is_one(cage: list[str], forbidden: str, error: str) -> None:
    """What the unit forbids does not work in it."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*cage, sys.executable, "-c", forbidden], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert error in done.stderr


def test_the_recorder_works_in_its_cage(tmp_path: Path, database: str, cage: list[str]) -> None:
    """With no more system calls, address families and kinds of memory than the unit leaves it, it records, reloads,
    seals and compresses its spool, comes back from kill -9 and ends in order."""
    with staged(tmp_path, database) as (recorder, simulator):
        recorder.through = tuple(cage)
        recorder.start()
        until(recorder.ready, 30, f"ready\n{recorder.tail()}")
        recorder.kill()
        recorder.start()
        until(recorder.ready, 30, f"ready again\n{recorder.tail()}")
        subscribe = {"trades": [SYMBOL, OTHER]}
        done = recorder.reload(okx_toml(database, simulator.ws_url, simulator.http_url, subscribe))
        assert done.returncode == 0, done.stderr + recorder.tail()
        until(lambda: bool(list((recorder.home / "data").rglob("*.zst"))), 30, f"compressed\n{recorder.tail()}")
        issued = simulator.call(lambda: simulator.venue.ledger().issued[SYMBOL])
        until(lambda: (recorder.metric("recorder_lag_seconds", source="okx") or 9) < 1, 30, "it writes")
        time.sleep(2.5)  # the grace of missing ids, in the recorder's own time
        assert recorder.stop() == 0, recorder.tail()
        assert judge(database, SYMBOL, simulator.venue.ledger().issued[SYMBOL]).last >= issued
        assert "not permitted" not in recorder.log.read_text()
