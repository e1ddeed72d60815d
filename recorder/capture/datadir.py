"""The recorder's home on disk: who may use it, whose it is, and where its parts are.

Owns the lock and the identity. Never looks into a segment further than its header.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import uuid
from pathlib import Path

from recorder.capture.catalog import Catalog
from recorder.capture.files import Files, OsFiles, put_file
from recorder.capture.spool import REFUSED
from recorder.capture.spoolreader import spooled_feeds
from recorder.errors import AlreadyRunning, ConfigError, SpoolFault

_ADVICE = {
    errno.EEXIST: "; that is no directory: choose another one",
    errno.ENOTDIR: "; choose another one",
    errno.EROFS: "; choose another one, or have it mounted for writing",
    errno.EACCES: "; give it to this user, or choose another one",
    errno.ENOSPC: "; make room, or choose another one",
    errno.EDQUOT: "; make room, or choose another one",
}


def unusable(what: str, error: OSError) -> ConfigError | SpoolFault:
    """`what` went wrong, why, and what to do: the user's to mend, or something that may pass by itself."""
    where = f" ({error.filename})" if error.filename and str(error.filename) not in what.split() else ""
    sentence = f"{what}: {error.strerror or error}{where}{_ADVICE.get(error.errno or 0, '')}"
    return ConfigError([sentence]) if error.errno in REFUSED else SpoolFault(sentence)


class DataDir:
    """`home` (data_dir, or data_dir/instance). Without `acquire` it only reads, beside whoever holds it.

    home/lock      held with flock while a recorder runs; says which
    home/identity  a uuid, made once: recorder_id in the database, spool_id in every segment
    home/spool/    one directory per feed
    """

    def __init__(self, home: Path, files: Files | None = None) -> None:
        self.home = home
        self.spool = home / "spool"
        self._identity_file = home / "identity"
        self._files = files if files is not None else OsFiles()
        self._lock: int | None = None

    def acquire(self) -> None:
        """Make the directory if need be, lock it, and give it an identity if it has none.

        Raises `ConfigError` where the directory cannot be used and `AlreadyRunning` where another recorder has it.
        """
        try:
            self._prepare()
            self._take_lock()
            if self._identity_file.name not in self._files.names(self.home):
                put_file(self._files, self._identity_file, f"{uuid.uuid4()}\n".encode())
            self._files.make_directory(self.spool)
            self._files.sync_directory(self.home)
        except OSError as error:
            self.release()
            raise unusable(f"data_dir {self.home} cannot be used", error) from error
        except (ConfigError, AlreadyRunning):
            self.release()
            raise

    def release(self) -> None:
        """Let another recorder have it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> DataDir:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def holder(self) -> str:
        """Who holds the lock, as the file says it; empty where nobody does, or there is no such directory."""
        try:
            lock = os.open(self.home / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return ""
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return os.pread(lock, 200, 0).decode(errors="replace").strip()
        finally:
            os.close(lock)
        return ""

    @property
    def identity(self) -> str:
        """The recorder's id. Raises `ConfigError` where there is none, or no uuid in its place."""
        try:
            text = self._identity_file.read_text().strip()
            return str(uuid.UUID(text))
        except OSError as error:
            raise ConfigError([f"{self._identity_file} cannot be read: {error.strerror}"]) from error
        except ValueError as error:
            raise ConfigError(
                [f"{self._identity_file} is damaged: restore it from a backup, or begin anew with another data_dir"]
            ) from error

    def feeds(self) -> list[str]:
        """Every feed that has segments here, ours or not."""
        return spooled_feeds(self.spool, self._files)

    def foreign_feeds(self) -> list[str]:
        """Feeds with segments that carry another recorder's identity: their frames are not ours to commit."""
        ours = self.identity
        foreign = set()
        for name in self._files.names(self.spool):
            catalog = Catalog(self.spool / name, self._files, ours)
            catalog.refresh()
            foreign |= {e.header.header.feed for e in catalog.foreign() if e.header is not None}
        return sorted(foreign)

    def _prepare(self) -> None:
        if not self.home.parent.is_dir():
            raise ConfigError([f"data_dir {self.home} cannot be made: there is no directory {self.home.parent}"])
        self._files.make_directory(self.home)
        owner, us = self.home.stat().st_uid, os.geteuid()
        if owner != us:
            raise ConfigError([f"data_dir {self.home} belongs to uid {owner}, not to uid {us}: run it as its owner"])

    def _take_lock(self) -> None:
        self._lock = os.open(self.home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._lock, 200, 0).decode(errors="replace").strip() or "another recorder"
            raise AlreadyRunning(
                f"{holder} holds {self.home}: stop it, or give this one a data_dir or instance of its own"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"recorder with pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
