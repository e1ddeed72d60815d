"""The command line: exit codes, sentences instead of tracebacks, and what each reading command answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from recorder import __version__, cli
from recorder.capture.datadir import DataDir
from recorder.capture.spool import Spool
from recorder.commands import files
from recorder.config import Config
from recorder.errors import AlreadyRunning, Exit, RecorderError, SinkUnavailable, SpoolFault
from recorder.records import Header, Kind
from recorder.venues import venues

CONFIG = """
[recorder]
data_dir = "data"
listen = "127.0.0.1:{port}"
[database]
url = "postgresql://u:canary-db@127.0.0.1:1/market"
[[source]]
venue = "okx"
[[source.subscribe]]
channels = ["trades"]
symbols = ["BTC-USDT"]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to work in, and no configuration from elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RECORDER_CONFIG", raising=False)
    monkeypatch.setattr("recorder.log.setup", lambda: None)
    return tmp_path


@pytest.fixture
def configured(here: Path) -> Path:
    """The same with a right file; nobody listens on its port."""
    (here / "recorder.toml").write_text(CONFIG.format(port=1))
    return here


def call(*arguments: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(cli.app, list(arguments))


# --- errors become codes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AlreadyRunning("another recorder holds it"), Exit.LOCKED),
        (SinkUnavailable("no database"), Exit.DATABASE_UNAVAILABLE),
        (SpoolFault("disk full"), Exit.TEMPORARY),
        (RecorderError("what nobody foresaw"), Exit.INTERNAL),
    ],
)
def test_errors_are_sentences_and_codes(
    configured: Path, monkeypatch: pytest.MonkeyPatch, error: RecorderError, code: Exit
) -> None:
    """An error of ours is its sentence on stderr, its code, and nothing else."""

    def fail(config: Config, file: Path, only: object) -> int:
        raise error

    monkeypatch.setattr("recorder.daemon.run", fail)
    result = call("run")
    assert result.exit_code == code
    assert result.stderr == f"{error}\n"
    assert result.stdout == ""


def test_an_internal_error_shows_no_secret(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw ends with code 70 and a traceback without credentials."""

    def broken() -> None:
        raise KeyError("postgresql://u:canary@h/db")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == Exit.INTERNAL
    shown = capsys.readouterr().err
    assert "KeyError" in shown
    assert "canary" not in shown


@pytest.mark.parametrize(
    "arguments",
    [["nosuch"], ["run", "--nosuch"], ["simulate", "--port", "x"], ["simulate", "--port", "65536"], ["spool"]],
)
def test_usage_is_code_2(here: Path, arguments: list[str]) -> None:
    """A command line that cannot be understood is code 2."""
    assert call(*arguments).exit_code == Exit.USAGE


def test_no_configuration_is_code_78(here: Path) -> None:
    """Without a file the sentence says which command makes one."""
    result = call("check")
    assert result.exit_code == Exit.CONFIGURATION
    assert "`recorder init`" in result.stderr


def test_every_mistake_is_printed_with_the_file(here: Path) -> None:
    """A wrong file: a line for each mistake, beginning with the file's name; `run` starts nothing."""
    (here / "recorder.toml").write_text("[spool]\nsync = 1\n[[source]]\nvenue = 'okxx'\n")
    result = call("run")
    assert result.exit_code == Exit.CONFIGURATION
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("recorder.toml: ") for line in lines)
    assert list(here.iterdir()) == [here / "recorder.toml"]


# --- init and check --------------------------------------------------------------------------------------------------


def test_init_writes_a_file_that_check_accepts(here: Path) -> None:
    """The first two commands of a new user work in a row, and the second file would not destroy the first."""
    assert call("init").exit_code == 0
    assert call("check").exit_code == 0
    assert (here / "recorder.toml").stat().st_mode & 0o077 == 0
    before = (here / "recorder.toml").read_text()
    again = call("init")
    assert again.exit_code == Exit.USAGE
    assert "exists already" in again.stderr
    assert (here / "recorder.toml").read_text() == before


def test_init_on_stdout_is_toml(here: Path) -> None:
    """--stdout prints the file and writes none."""
    result = call("init", "--stdout")
    assert tomllib.loads(result.stdout)["source"]
    assert list(here.iterdir()) == []


def test_data_dir_of_a_user() -> None:
    """Root gets the system's directory, everybody else one that they can write."""
    assert files.data_dir({"HOME": "/home/u"}, is_root=True) == "/var/lib/recorder"
    assert files.data_dir({"HOME": "/home/u"}, is_root=False) == "/home/u/.local/share/recorder"
    assert files.data_dir({"HOME": "/home/u", "XDG_DATA_HOME": "/x"}, is_root=False) == "/x/recorder"


def test_check_prints_the_effective_configuration(configured: Path) -> None:
    """stdout is the effective file with secrets masked, as TOML or, with --json, as JSON."""
    text, as_json = call("check"), call("check", "--json")
    assert text.exit_code == as_json.exit_code == 0
    assert tomllib.loads(text.stdout)["database"]["url"] == "postgresql://u:***@127.0.0.1:1/market"
    found = json.loads(as_json.stdout)
    assert found["ok"] is True
    assert found["effective"]["source"][0]["subscribe"] == [{"channels": ["trades"], "symbols": ["BTC-USDT"]}]
    assert "canary" not in text.output + as_json.output


def test_check_lists_mistakes_as_json(here: Path) -> None:
    """--json answers with the problems, and the code stays 78."""
    (here / "x.toml").write_text("[oops]\n")
    for arguments in (["check", "--json", "--config", "x.toml"], ["--config", "x.toml", "check", "--json"]):
        result = call(*arguments)
        assert result.exit_code == Exit.CONFIGURATION
        found = json.loads(result.stdout)
        assert found["ok"] is False
        assert len(found["problems"]) == 2


# --- run -------------------------------------------------------------------------------------------------------------


def test_run_hands_over_the_configuration(configured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon gets the tree, the file that it came from, and the chosen sources; its answer is the exit code."""
    calls: list[tuple[Config, Path, tuple[str, ...]]] = []

    def start(config: Config, file: Path, only: tuple[str, ...]) -> int:
        calls.append((config, file, only))
        return Exit.TEMPORARY

    monkeypatch.setattr("recorder.daemon.run", start)
    assert call("run").exit_code == Exit.TEMPORARY
    assert call("run", "--only", "okx").exit_code == Exit.TEMPORARY
    assert [only for _, _, only in calls] == [(), ("okx",)]
    assert [file for _, file, _ in calls] == [configured / "recorder.toml"] * 2
    assert calls[0][0].sources[0].name == "okx"


def test_run_only_of_an_unknown_source(configured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--only with a name that is not in the file starts nothing and says which name is near."""
    monkeypatch.setattr("recorder.daemon.run", lambda config, file, only: pytest.fail("started"))
    result = call("run", "--only", "okk")
    assert result.exit_code == Exit.USAGE
    assert result.stderr == '"okk" is no source of the configuration; did you mean "okx"?\n'


def test_simulate_without_the_recording(here: Path) -> None:
    """--replay of a file that is not there is a usage error before anything is served."""
    result = call("simulate", "--replay", "absent.jsonl")
    assert result.exit_code == Exit.USAGE
    assert result.stderr == "absent.jsonl is no file of recorded frames\n"


# --- reading ---------------------------------------------------------------------------------------------------------


def test_venues(here: Path) -> None:
    """The capability table names every venue with its channels, and needs no configuration."""
    found = json.loads(call("venues", "--json").stdout)
    assert "okx" in [venue["name"] for venue in found]
    channels = {channel["name"]: channel for venue in found for channel in venue["channels"]}
    assert channels["trades"]["table"] == "trades"
    assert "trades" in call("venues").stdout


def test_the_page_of_venues_is_made(here: Path) -> None:
    """docs/venues.md is what `recorder venues --markdown` says: channels, limits, every code, where it comes from."""
    committed = (Path(__file__).parents[2] / "docs" / "venues.md").read_text(encoding="utf-8")
    assert call("venues", "--markdown").stdout == committed, "run: recorder venues --markdown > docs/venues.md"
    for venue in venues().values():
        assert venue.facts
        assert all(f"| `{each.name}` |" in committed for each in venue.channels)
        assert all(f"| `{each.code}` | {each.meaning} |" in committed for each in venue.codes)


@pytest.fixture
def spooled(configured: Path) -> DataDir:
    """A data directory with a spool of one feed and three frames, closed."""
    home = DataDir(configured / "data")
    home.acquire()
    spool = Spool(home.spool, Header(home.identity, "okx/public/0", "okx", "okx", "public", {}))
    spool.append(Kind.TEXT, [b"one", b"two"], 1_700_000_000_000_000)
    spool.append(Kind.TEXT, [b"three"], 1_700_000_001_000_000)
    spool.close()
    home.release()
    return home


def test_spool_ls_and_verify(spooled: DataDir) -> None:
    """Both tell feed, frames and times; a sound spool is code 0."""
    (segment,) = json.loads(call("spool", "ls", "--json").stdout)
    assert (segment["feed"], segment["frames"]) == ("okx/public/0", 3)
    assert segment["from_time"].startswith("2023-11-14 22:13:20")
    result = call("spool", "verify", "--json")
    assert (result.exit_code, json.loads(result.stdout)["ok"]) == (0, True)
    assert "okx/public/0" in call("spool", "ls").stdout
    assert "3 frames checked" in call("spool", "verify").stdout


def test_spool_verify_finds_damage(spooled: DataDir) -> None:
    """One flipped byte in a record is code 1 and names the segment."""
    (path,) = (p for p in spooled.spool.rglob("*.seg*") if p.is_file())
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"three")] ^= 1
    path.write_bytes(raw)
    result = call("spool", "verify", "--json")
    assert result.exit_code == Exit.NEGATIVE
    (segment,) = json.loads(result.stdout)["segments"]
    assert segment["problems"]
    assert path.name in call("spool", "verify").stdout


def test_reading_takes_no_lock(spooled: DataDir) -> None:
    """The reading commands work while a recorder holds the data directory."""
    spooled.acquire()
    try:
        assert call("spool", "ls").exit_code == 0
        assert call("spool", "verify").exit_code == 0
        assert call("status").exit_code == Exit.NEGATIVE
    finally:
        spooled.release()


def test_no_spool_yet(configured: Path) -> None:
    """Without a spool there is a sentence and a negative answer; nothing is made."""
    result = call("spool", "ls")
    assert result.exit_code == Exit.NEGATIVE
    assert "nothing was recorded" in result.stderr
    assert not (configured / "data").exists()


def test_status_says_what_it_could_not_reach(configured: Path) -> None:
    """Neither recorder nor database nor spool is there: a sentence each, code 1, no secret, nothing made."""
    result = call("status", "--json")
    assert result.exit_code == Exit.NEGATIVE
    found = json.loads(result.stdout)
    assert found["ready"] is False
    assert [problem.partition(":")[0] for problem in found["problems"]] == ["recorder", "spool", "database"]
    assert "canary" not in result.output
    assert not (configured / "data").exists()


class Answering(BaseHTTPRequestHandler):
    """A recorder's port that always answers the same."""

    body = b""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    """Somebody who answers on a port."""
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_status_shows_what_the_recorder_reports(here: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ready recorder is code 0; its feeds are shown; a venue's words cannot move the cursor or style the text."""
    (here / "recorder.toml").write_text(CONFIG.format(port=port))
    feed = {"feed": "okx/public/0", "connected": True, "lag_seconds": 0.25, "trouble": "\x1b[2J[red]late"}
    monkeypatch.setattr(Answering, "body", json.dumps({"ready": True, "unready": [], "feeds": [feed]}).encode())
    shown = call("status")
    assert shown.exit_code == 0
    assert "okx/public/0" in shown.stdout
    assert "0.2 s" in shown.stdout
    assert r"\x1b[2J[red]late" in shown.stdout


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b'{"ready": '])
def test_status_of_a_stranger(here: Path, port: int, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """Something else on the recorder's port is said to be something else."""
    (here / "recorder.toml").write_text(CONFIG.format(port=port))
    monkeypatch.setattr(Answering, "body", body)
    result = call("status", "--json")
    assert result.exit_code == Exit.NEGATIVE
    assert json.loads(result.stdout)["problems"][0].startswith(f"recorder: nothing answers at http://127.0.0.1:{port}")


# --- the process -----------------------------------------------------------------------------------------------------


def test_version_is_quick_and_imports_little() -> None:
    """`--version` loads neither the database driver nor the transport nor the table printer."""
    script = (
        "import sys\nfrom recorder.cli import main\nheavy = ('psycopg', 'websocket', 'rich.table', 'loguru')\n"
        "try:\n    main()\nfinally:\n    print([m for m in heavy if m in sys.modules])"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    ran = subprocess.run(
        [sys.executable, "-c", script, "--version"], capture_output=True, text=True, check=True, env=environ
    )
    assert ran.stdout.splitlines() == [f"recorder {__version__}", "[]"]
