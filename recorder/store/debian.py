"""A TimescaleDB server out of Debian's packages, unpacked into a folder of its own: no root, no container, and
nothing on the machine is changed.

Owns the installation: which packages, and a wrapper for every program. Never fetches one itself (`apt` does).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from recorder.errors import SinkUnavailable
from recorder.store.apt import Apt, check_machine, loader, locked, programs, run, wrap
from recorder.store.schema import Say

SUITE, MAJOR = "trixie", 17
PACKAGE = f"postgresql-{MAJOR}-timescaledb"
_PURPOSE = "a local TimescaleDB"

# Of 80 packages about half are needed to run the server; LLVM alone is 120 MB unpacked, and jit is off.
_NEEDED = re.compile(r"lib[a-z0-9.+-]+|postgresql-\d+(-timescaledb)?|postgresql-client-\d+")
_NEVER = re.compile(
    r"lib(llvm|perl|z3|debconf|apt|db5|newt|slang|fdisk|mount|blkid|smartcols|semanage|pam-|ip[46])|.*-perl$"
)


@dataclass(frozen=True, slots=True)
class Installation:
    """Programs that are ready to run."""

    root: Path

    @property
    def bin(self) -> Path:
        """The folder of `postgres`, `initdb`, `psql`."""
        return self.root / "tree" / "usr" / "lib" / "postgresql" / str(MAJOR) / "bin"

    @property
    def mark(self) -> Path:
        """Holds the versions; it is written last, so with it the installation is complete."""
        return self.root / "versions"


def install(cache: Path, say: Say) -> Installation:
    """The installation under `cache`, made when it is not there yet; waits while another process makes it."""
    done = Installation(cache / f"timescaledb-{SUITE}-{MAJOR}")
    if done.mark.exists():
        return done
    done.root.mkdir(exist_ok=True)
    with locked(done.root / "lock"):
        if not done.mark.exists():
            _install(done, say)
    return done


def _install(target: Installation, say: Say) -> None:
    check_machine(_PURPOSE)
    _check_zones()
    tree, state = target.root / "tree", target.root / "apt"
    for leftover in (tree, state):
        shutil.rmtree(leftover, ignore_errors=True)
    tree.mkdir()
    say(f"looking for TimescaleDB in Debian {SUITE}")
    apt = Apt(state, SUITE, _PURPOSE)
    sizes = apt.closure(PACKAGE)
    chosen = [name for name in sizes if _NEEDED.fullmatch(name) and not _NEVER.match(name)]
    say(f"fetching {len(chosen)} packages ({sum(sizes[name] for name in chosen) / 1e6:.0f} MB)")
    apt.unpack(chosen, tree)
    if missing := _missing(target):
        say(f"fetching the rest, for {', '.join(missing)}")
        apt.unpack([name for name in sizes if name not in chosen], tree)
    _wrap(target)
    version = run([str(target.bin / "postgres"), "--version"], "the unpacked postgres does not run")
    for part in ("doc", "man", "locale", "lintian", "bug"):
        shutil.rmtree(tree / "usr" / "share" / part, ignore_errors=True)
    shutil.rmtree(state)
    target.mark.write_text(version)
    say("TimescaleDB is installed")


def _check_zones() -> None:
    if not Path("/usr/share/zoneinfo/UTC").exists():
        raise SinkUnavailable("a local TimescaleDB reads this machine's time zones, and tzdata is not installed")


def _missing(target: Installation) -> list[str]:
    """Libraries that a program or the extension asks for and does not find."""
    own = loader(target.root / "tree")
    objects = [*programs(target.bin), *(target.bin.parent / "lib").glob("timescaledb*.so")]
    missing: set[str] = set()
    for path in objects:
        listed = subprocess.run(  # noqa: S603 - the loader that was just unpacked
            [str(own), "--library-path", str(own.parent), "--list", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        missing.update(re.findall(r"^\s*(\S+) => not found", listed.stdout, re.MULTILINE))
    return sorted(missing)


def _wrap(target: Installation) -> None:
    """Put a script in every program's place."""
    real = target.bin.with_name("bin.real")
    target.bin.rename(real)
    target.bin.mkdir()
    for path in programs(real):
        wrap(target.bin / path.name, path, loader(target.root / "tree"))
