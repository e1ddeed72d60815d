"""Wrong configurations of the venues that there are, as their users meet them: on the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from recorder import cli
from recorder.errors import Exit
from tests.unit.venuemistakes import VENUE_MISTAKES, infoway, keyless, okx

ROOT = Path(__file__).parents[2]
NOBODY = 65534


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration of this test, in an empty directory; no variable that it may name is set."""
    monkeypatch.chdir(tmp_path)
    for variable in ("RECORDER_CONFIG", "INFOWAY_API_KEY", "PROXY"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "recorder.toml"


def check(file: Path) -> Result:
    """`recorder check` of a file."""
    return CliRunner().invoke(cli.app, ["check", "--config", str(file)])


@pytest.mark.parametrize(("text", "sentence"), VENUE_MISTAKES, ids=[sentence[:70] for _, sentence in VENUE_MISTAKES])
def test_one_mistake_one_sentence_and_code_78(file: Path, text: str, sentence: str) -> None:
    """A mistake gives its whole sentence after the file's name, nothing else, and never a secret."""
    file.write_text(text)
    result = check(file)
    assert (result.stderr, result.stdout) == (f"{file}: {sentence}\n", "")
    assert result.exit_code == Exit.CONFIGURATION
    assert "canary" not in result.output


def test_the_table_is_long_enough() -> None:
    """At least forty different sentences, of both venues."""
    assert len({sentence for _, sentence in VENUE_MISTAKES}) >= 40
    assert all(sum(f'"{name}"' in sentence for _, sentence in VENUE_MISTAKES) >= 20 for name in ("okx", "infoway"))


def test_what_the_mistakes_are_made_of_is_right(file: Path) -> None:
    """Without its mistake a file is accepted: so each sentence is about the mistake and nothing else."""
    file.write_text(okx() + infoway())
    assert check(file).exit_code == 0


def test_all_mistakes_of_a_file_at_once_and_nothing_is_begun(file: Path) -> None:
    """The whole process: a line for each mistake of both venues, no traceback, no secret, no directory made."""
    file.write_text(
        '[recorder]\ndata_dir = "data"\nlisten = "9464"\n[spool]\nsync = "1"\n'
        + okx('proxy = "https://u:canary@h:1"', channels='"trades", "trade"', symbols='"BTCUSDT"')
        + keyless("").replace('"crypto"', '"us"')
    )
    command = [sys.executable, "-m", "recorder", "run", "--config", str(file)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, capture_output=True, text=True, env=environ, check=False, timeout=60)
    assert ran.returncode == Exit.CONFIGURATION
    places = [line.removeprefix(f"{file}: ").partition(": ")[0] for line in ran.stderr.splitlines()]
    assert places == [
        "recorder.listen",
        "spool.sync",
        'source[0] "okx".proxy',
        'source[0] "okx".subscribe[0].channels[1]',
        'source[0] "okx".subscribe[0].symbols[0]',
        'source[1] "infoway".business',
        'source[1] "infoway".api_key',
    ]
    assert ran.stdout == ""
    assert "canary" not in ran.stderr
    assert list(file.parent.iterdir()) == [file]


# --- the file itself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "there is no [[source]]: nothing would be recorded"),
        (b"# only a comment\n", "there is no [[source]]: nothing would be recorded"),
        (okx().encode() + b"# caf\xe9\n", "is not UTF-8 text (line 7)"),
        (b"\xff\xfe[\x00", "is not UTF-8 text (line 1)"),
        (
            b"[[source]]\nvenue = okx\n",
            "is not TOML: Invalid value (at line 2, column 9); strings, durations and sizes stand in quotes",
        ),
        (
            b'[[source]\nvenue = "okx"\n',
            "is not TOML: Expected ']]' at the end of an array declaration (at line 1, column 9)",
        ),
        (b"venue: okx\n", "is not TOML: Expected '=' after a key in a key/value pair (at line 1, column 6)"),
        (b'[spool]\nsync = "1s"\nsync = "2s"\n', "is not TOML: Cannot overwrite a value (at line 3, column 12)"),
        (b'[spool]\nsync = "1s\n', "is not TOML: Illegal character '\\n' (at line 2, column 11)"),
    ],
)
def test_a_file_that_holds_no_configuration(file: Path, content: bytes, sentence: str) -> None:
    """One sentence, with line and column where there are some."""
    file.write_bytes(content)
    result = check(file)
    assert (result.stderr, result.stdout, result.exit_code) == (f"{file}: {sentence}\n", "", Exit.CONFIGURATION)


@contextmanager
def _nobody() -> Iterator[None]:
    """As a user who may not read what others closed."""
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)


def test_a_file_that_cannot_be_read(file: Path) -> None:
    """Absent, a directory, or closed to us."""
    for path, words in ((file, "No such file or directory"), (file.parent, "Is a directory")):
        assert (check(path).stderr, check(path).exit_code) == (f"{path}: cannot be read: {words}\n", 78)
    file.write_text(okx())
    file.chmod(0)
    with _nobody():
        result = check(file)
    assert (result.stderr, result.exit_code) == (f"{file}: cannot be read: Permission denied\n", Exit.CONFIGURATION)


def test_a_secret_that_cannot_be_read(file: Path) -> None:
    """The key's file is closed to us: its name is told, what is in it never."""
    secret = file.with_name("infoway.key")
    secret.write_text("canary\n")
    secret.chmod(0)
    for path in file.parents:
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o011)
        if path.name.startswith("pytest-of-"):
            break
    file.write_text(keyless(f'api_key = "file:{secret}"'))
    with _nobody():
        result = check(file)
    reason = f"names the file {secret}, which cannot be read: Permission denied"
    assert result.stderr == f'{file}: source[0] "infoway".api_key: {reason}\n'
    assert result.exit_code == Exit.CONFIGURATION
