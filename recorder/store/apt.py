"""Debian's packages without root and without installing: fetched by a private apt, unpacked into a folder.

Owns the private apt state, unpacking, and the script that starts a program with the loader of its own release. Never
installs a package, and never names a mirror: the machine's own is used.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from recorder.errors import SinkUnavailable
from recorder.redact import redact

KEYRINGS = ("/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp")


def check_machine(purpose: str) -> None:
    """Raises SinkUnavailable, with a sentence, where Debian's packages cannot be had."""
    for program in ("apt-get", "apt-config", "dpkg", "dpkg-deb"):
        if shutil.which(program) is None:
            raise SinkUnavailable(f"{purpose} is made of Debian's packages, and this machine has no {program}")


class Apt:
    """apt with lists, cache and status in a folder of its own, and the machine's mirror, proxy and certificates."""

    def __init__(self, state: Path, suite: str, purpose: str) -> None:
        """`purpose` begins the sentence of a refusal: "a local TimescaleDB". `check_machine` has been asked."""
        self._suite, self._purpose = suite, purpose
        self.archives = state / "cache" / "archives"
        for folder in (state / "lists" / "partial", self.archives / "partial", state / "parts"):
            folder.mkdir(parents=True)
        (state / "status").touch()
        self._sources = state / "sources.list"
        config = state / "apt.conf"
        # It may hold a proxy with its password.
        with os.fdopen(os.open(config, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(_configuration(state))
        self._environment = {**os.environ, "APT_CONFIG": str(config), "LC_ALL": "C"}
        self._update()

    def _update(self) -> None:
        """With the security suite where there is one."""
        key = next((path for path in KEYRINGS if Path(path).exists()), None)
        mirror, security = _mirrors()
        if key is None or mirror is None:
            lacking = "debian-archive-keyring" if key is None else "a Debian mirror among its apt sources"
            raise SinkUnavailable(f"{self._purpose} is made of Debian's packages, and this machine lacks {lacking}")
        main = f"deb [signed-by={key}] {mirror} {self._suite} main\n"
        if security is not None:
            self._sources.write_text(f"{main}deb [signed-by={key}] {security} {self._suite}-security main\n")
            if self._get("update", check=False):
                return
        self._sources.write_text(main)
        self._get("update")

    def closure(self, package: str) -> dict[str, int]:
        """Everything that `package` needs, with sizes."""
        lines = self._get("install", "--print-uris", "--yes", package).splitlines()
        found = (re.match(r"'[^']+' ([^_ ]+)_\S+ (\d+) ", line) for line in lines)
        return {match[1]: int(match[2]) for match in found if match}

    def unpack(self, packages: Sequence[str], tree: Path) -> None:
        """Fetch packages, checked against the signed lists, and unpack them over `tree`."""
        self._get("download", *packages)
        for archive in sorted(self.archives.glob("*.deb")):
            run(["dpkg-deb", "-x", str(archive), str(tree)], f"{archive.name} cannot be unpacked")
            archive.unlink()

    def _get(self, *arguments: str, check: bool = True) -> str:
        command = ["apt-get", "-qq", *arguments]
        result = subprocess.run(  # noqa: S603 - fixed program, package names from signed lists
            command, cwd=self.archives, env=self._environment, capture_output=True, text=True, check=False
        )
        # `update` says nothing when all is well; callers ask whether it worked.
        if result.returncode == 0:
            return result.stdout or "ok"
        if check:
            words = redact((result.stderr.strip().splitlines() or ["no reason given"])[-1])
            raise SinkUnavailable(f"apt-get {arguments[0]} failed: {words} (is the machine's network all right?)")
        return ""


def _configuration(state: Path) -> str:
    """apt's settings: how this machine downloads, without its hooks and its own package state."""
    dump = run(["apt-config", "dump"], "apt-config does not work").splitlines()
    skipped = ("Acquire::IndexTargets", "Acquire::Languages", "Acquire::GzipIndexes", "Acquire::cdrom")
    lines = [line for line in dump if line.startswith("Acquire::") and not line.startswith(skipped)]
    architecture = run(["dpkg", "--print-architecture"], "dpkg does not work").strip()
    ours = {
        "Acquire::Languages": "none",
        "APT::Architecture": architecture,
        "APT::Install-Recommends": "0",
        "APT::Sandbox::User": "root",
        "Dir::State": str(state),
        "Dir::State::status": f"{state}/status",
        "Dir::State::lists": f"{state}/lists",
        "Dir::Cache": f"{state}/cache",
        "Dir::Log": str(state),
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": f"{state}/parts",
        "Dir::Etc::sourcelist": f"{state}/sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
    }
    return "".join(f"{line}\n" for line in [*lines, *(f'{key} "{value}";' for key, value in ours.items())])


def _mirrors() -> tuple[str | None, str | None]:
    """Debian's archive and its security archive, as this machine's apt knows them."""
    known = list(_uris())
    main = os.environ.get("DEBIAN_MIRROR") or next((u for u in known if re.search(r"/debian/?$", u)), None)
    security = os.environ.get("DEBIAN_SECURITY_MIRROR") or next(
        (u for u in known if re.search(r"/debian-security/?$", u)), None
    )
    return main, security


def _uris() -> Iterator[str]:
    folder = Path("/etc/apt")
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*.list"))]
    for file in (path for path in files if path.is_file()):
        yield from re.findall(r"^deb\s+(?:\[[^\]]*\]\s+)?(\S+)", file.read_text(), re.MULTILINE)
    for file in sorted((folder / "sources.list.d").glob("*.sources")):
        for line in re.findall(r"^URIs:\s*(.+)$", file.read_text(), re.MULTILINE):
            yield from line.split()


def loader(tree: Path) -> Path:
    """The loader of the release that is unpacked in `tree`."""
    found = sorted(tree.glob("usr/lib/*/ld-linux*.so.*"))
    if not found:
        raise SinkUnavailable("Debian has no loader for this kind of machine")
    return found[0]


def programs(folder: Path) -> Iterator[Path]:
    """The binaries in a folder."""
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            if file.read(4) == b"\x7fELF":
                yield path


def wrap(program: Path, real: Path, loader: Path) -> None:
    """Put a script in `program`'s place that starts `real` with the loader and the C library of its own release.
    `--argv0` keeps PostgreSQL's search for its own files working, and nothing leaks to child processes as it would
    through LD_LIBRARY_PATH."""
    command = f'exec "{loader}" --library-path "{loader.parent}" --argv0 "{program}" "{real}" "$@"'
    program.write_text(f"#!/bin/sh\n{command}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def run(command: list[str], failure: str) -> str:
    """What a program said; SinkUnavailable with `failure` and its last words where it failed."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed programs
    if result.returncode != 0:
        words = redact((result.stderr.strip().splitlines() or ["no reason given"])[-1])
        raise SinkUnavailable(f"{failure}: {words}")
    return result.stdout


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time between here and there."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
