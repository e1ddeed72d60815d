"""Who runs a local server, and where its files can be: as root that is an account without rights, under a path it
can reach.

Owns the choice of account and folders. Never adds an account, and never changes the mode of a folder that was there.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2s
from pathlib import Path
from typing import Any

from recorder.errors import SinkUnavailable


@dataclass(frozen=True, slots=True)
class Account:
    """The account that a server runs as."""

    name: str
    uid: int
    gid: int

    @property
    def other(self) -> bool:
        """It is not the one we run as."""
        return self.uid != os.geteuid()

    @property
    def popen(self) -> dict[str, Any]:
        """Arguments of `subprocess` that start a program as this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.other else {}

    def own(self, path: Path) -> None:
        """Give a file or folder that we have just made to the account."""
        if self.other:
            os.chown(path, self.uid, self.gid)

    def reaches(self, path: Path) -> bool:
        """The account may pass through every folder down to `path`, as far as it exists."""
        return all(self._passes(folder) for folder in (path, *path.parents) if folder.exists())

    def reads(self, path: Path) -> bool:
        """The account may read a file, and run it if we may; or list and enter a folder. Its parents may too."""
        needed = stat.S_IRUSR | (path.stat().st_mode & stat.S_IXUSR)
        return self._may(path, needed) and self.reaches(path.parent)

    def _passes(self, folder: Path) -> bool:
        return self._may(folder, stat.S_IXUSR)

    def _may(self, path: Path, bits: int) -> bool:
        """As the owner's bits say, or the group's, or everybody's: the first that is ours decides."""
        info = path.stat()
        if info.st_uid != self.uid:
            bits >>= 3 if info.st_gid == self.gid else 6
        return info.st_mode & bits == bits


def server_account() -> Account:
    """Ourselves; as root `postgres` or else `nobody`, because PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        me = pwd.getpwuid(os.geteuid())
        return Account(me.pw_name, me.pw_uid, me.pw_gid)
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(found.pw_name, found.pw_uid, found.pw_gid)
    raise SinkUnavailable(
        "a local database cannot run as root, and this machine has neither an account `postgres` nor `nobody`: "
        "run the recorder as another user, or set database.url"
    )


def usable(path: Path, account: Account) -> bool:
    """We can make `path`, or it is ours alone to write already, and the account can reach it."""
    if path.is_symlink() or not account.reaches(path):
        return False
    if path.exists():
        info = path.stat()
        ours = info.st_uid == os.geteuid() and not info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        return ours and os.access(path, os.W_OK)
    nearest = next(parent for parent in path.parents if parent.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK)


def first_usable(candidates: Iterable[Path], account: Account) -> Path:
    """The first folder that can be used. Raises SinkUnavailable with all that were tried."""
    tried = []
    for path in candidates:
        if usable(path, account):
            return path
        tried.append(str(path))
    raise SinkUnavailable(
        f"no folder for a local database that account {account.name} can reach (tried {', '.join(tried)}): "
        "choose another recorder.data_dir, or set database.url"
    )


def make(path: Path, account: Account) -> Path:
    """The folder, made with its parents where it is missing."""
    if path.exists():
        return path
    make(path.parent, account)
    path.mkdir(exist_ok=True)  # another process may have been quicker
    if account.other:
        path.chmod(0o755)  # it has to pass, whatever our umask says; what is secret has a mode of its own
    return path


def cache_candidates() -> Iterator[Path]:
    """Where downloaded programs may go: the user's cache, else a folder of ours among the temporary ones that stay."""
    home = os.environ.get("XDG_CACHE_HOME") or (f"{os.environ['HOME']}/.cache" if os.environ.get("HOME") else "")
    if home.startswith("/"):
        yield Path(home) / "recorder"
    yield Path("/var/tmp") / f"recorder-{os.geteuid()}"  # noqa: S108 - `usable` refuses it unless it is ours alone


def data_candidates(wished: Path) -> Iterator[Path]:
    """Where a local database's files may go: as wished, else under a name made of the wish, to be found again."""
    yield wished
    name = f"{wished.name}-{blake2s(str(wished).encode(), digest_size=4).hexdigest()}"
    if os.geteuid() == 0:
        yield Path("/var/lib/recorder-local") / name
    yield Path("/var/tmp") / f"recorder-{os.geteuid()}" / name  # noqa: S108 - as above
