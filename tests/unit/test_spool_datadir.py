"""Who may use a data directory, and whose spool is in it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from recorder.capture.datadir import DataDir
from recorder.capture.files import OsFiles
from recorder.capture.spool import Spool
from recorder.errors import AlreadyRunning, ConfigError, Exit, SpoolFault
from recorder.records import Header, Kind


class Refusing(OsFiles):
    """A disk that refuses one operation."""

    def __init__(self, code: int) -> None:
        self._code = code

    def make_directory(self, path: Path) -> None:
        raise OSError(self._code, os.strerror(self._code))


def test_an_identity_is_made_once(tmp_path: Path) -> None:
    """It is a uuid, survives, and only the owner can enter the directory."""
    home = DataDir(tmp_path / "home")
    home.acquire()
    identity = home.identity
    assert str(uuid.UUID(identity)) == identity
    assert home.home.stat().st_mode & 0o777 == 0o700 and home.spool.is_dir()
    home.release()
    again = DataDir(tmp_path / "home")
    again.acquire()
    assert again.identity == identity
    again.release()


def test_a_second_recorder_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    """Exit 73 with a sentence; a reader beside it takes no lock; after release the directory is free."""
    first, second = DataDir(tmp_path / "home"), DataDir(tmp_path / "home")
    first.acquire()
    with pytest.raises(AlreadyRunning, match=rf"pid {os.getpid()} .*{tmp_path}") as caught:
        second.acquire()
    assert caught.value.exit_code is Exit.LOCKED
    assert second.identity == first.identity
    first.release()
    second.acquire()
    second.release()


def test_a_killed_recorder_holds_nothing(tmp_path: Path) -> None:
    """The lock dies with the process, whatever the lock file says."""
    script = (
        "import os, signal, sys; from pathlib import Path; from recorder.capture.datadir import DataDir;"
        "DataDir(Path(sys.argv[1])).acquire(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "home")], check=False)
    assert done.returncode == -9
    home = DataDir(tmp_path / "home")
    home.acquire()
    home.release()


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.EACCES, "; give it to this user, or choose another one"),
        (errno.EROFS, "; choose another one, or have it mounted for writing"),
        (errno.EPERM, ""),
    ],
)
def test_a_directory_that_cannot_be_used_is_one_sentence(tmp_path: Path, code: int, advice: str) -> None:
    """Read-only, or not ours: exit 78, the place, the reason, and what to do where we know."""
    with pytest.raises(ConfigError) as caught:
        DataDir(tmp_path / "home", Refusing(code)).acquire()
    assert caught.value.problems == [f"data_dir {tmp_path / 'home'} cannot be used: {os.strerror(code)}{advice}"]


def test_a_full_disk_is_not_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    """Exit 75: it may pass."""
    with pytest.raises(SpoolFault):
        DataDir(tmp_path / "home", Refusing(errno.ENOSPC)).acquire()


def test_a_missing_parent_and_a_file_in_the_way_are_sentences(tmp_path: Path) -> None:
    """A typo in data_dir does not make a tree of directories."""
    with pytest.raises(ConfigError, match="there is no directory"):
        DataDir(tmp_path / "typo" / "home").acquire()
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="cannot be used"):
        DataDir(tmp_path / "file").acquire()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of two owners in one directory would stop one of them later."""
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(ConfigError, match=f"belongs to uid {mine}, not to uid {mine + 1}"):
        DataDir(tmp_path / "home").acquire()


@pytest.mark.parametrize("content", ["", "not a uuid", "\0" * 36])
def test_a_damaged_identity_is_never_replaced(tmp_path: Path, content: str) -> None:
    """A new identity would make the spool foreign: the user decides."""
    home = DataDir(tmp_path / "home")
    home.acquire()
    (home.home / "identity").write_text(content)
    with pytest.raises(ConfigError, match="damaged"):
        _ = home.identity
    home.release()
    home.acquire()
    assert (home.home / "identity").read_text() == content
    home.release()


def test_no_identity_is_a_sentence_for_readers(tmp_path: Path) -> None:
    """Commands that only read make nothing."""
    with pytest.raises(ConfigError, match="cannot be read"):
        _ = DataDir(tmp_path).identity
    assert list(tmp_path.iterdir()) == []
    assert DataDir(tmp_path).feeds() == []


def test_feeds_of_another_recorder_are_found(tmp_path: Path) -> None:
    """A spool copied here from elsewhere is in `feeds` and in `foreign_feeds`; ours is only in the first."""
    home = DataDir(tmp_path / "home")
    home.acquire()
    for feed, spool_id in (("okx/public/0", home.identity), ("okx/business/0", str(uuid.uuid4()))):
        spool = Spool(home.spool, Header(spool_id, feed, "okx", "okx", "/ws", {}))
        spool.append(Kind.TEXT, [b"x"], 1)
        spool.close()
    assert home.feeds() == ["okx/business/0", "okx/public/0"]
    assert home.foreign_feeds() == ["okx/business/0"]
    home.release()
