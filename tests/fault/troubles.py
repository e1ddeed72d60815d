"""Databases that a recorder cannot write to, each with what is wrong, the words for it, and how it is mended.

Owns making and mending them. Judges nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from recorder.store.migrate import migrate_url
from recorder.store.reconcile import WRITE
from recorder.store.schema import migrations, statements
from tests.fault.pooler import Pooler
from tests.fixtures.database import made, with_database
from tests.fixtures.server import PgServer

WRONG = "canary-7f3a"
MIB = 1 << 20


@dataclass(frozen=True)
class Trouble:
    """A database that is wrong from the start, or from `begin` on. `url`: the recorder's; `judge`: the owner's, valid
    once it is mended (None: with `recorder migrate`). `words`: how the sentence begins; `migrate`: how the sentence of
    `recorder migrate` does, "" if it works. `shut`: nobody gets in, not even to look.
    """

    url: str
    judge: str
    words: str
    mend: Callable[[], object] | None
    begin: Callable[[], object] | None = None
    migrate: str = ""
    shut: bool = False


@dataclass(frozen=True)
class Given:
    """What troubles are made of: a server of many, and one of this test alone (started when asked for)."""

    server_url: str
    private: Callable[[], PgServer]
    folder: Path


Maker = Callable[[Given], AbstractContextManager[Trouble]]


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A session of an owner, in autocommit."""
    with psycopg.connect(url, autocommit=True) as conn:
        yield conn


def _as(url: str, user: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{user}@{parts.hostname}:{parts.port}").geturl()


def _say(url: str, statement: str, **names: str) -> None:
    with connected(url) as conn:
        conn.execute(sql.SQL(statement).format(**{key: sql.Identifier(name) for key, name in names.items()}))


@contextmanager
def wrong_password(given: Given) -> Iterator[Trouble]:
    """The server wants a password and gets another one; mended by giving the role the one that is configured."""
    server = given.private()
    hba = server.local.data / "pg_hba.conf"
    hba.write_text(f"host all {WRITE}_too all scram-sha-256\n" + hba.read_text())
    role = f"{WRITE}_too"
    _say(server.url, "CREATE ROLE {role} LOGIN PASSWORD 'right' IN ROLE {group}", role=role, group=WRITE)
    _say(server.url, "SELECT pg_reload_conf()")
    yield Trouble(
        _as(server.url, f"{role}:{WRONG}"),
        server.url,
        "the database refuses the password; check the one in [database] (127.0.0.1:",
        lambda: _say(server.url, f"ALTER ROLE {{role}} PASSWORD '{WRONG}'", role=role),
        migrate="the database refuses the password; check the one in [database] (",
        shut=True,
    )


@contextmanager
def no_database(given: Given) -> Iterator[Trouble]:
    """The name leads to no database; mended by creating an empty one, whose tables the recorder makes itself."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    url = with_database(given.server_url, name)
    words = "the database does not exist; create it or check database.url ("
    yield Trouble(
        url, url, words, lambda: _say(given.server_url, "CREATE DATABASE {name}", name=name), None, words, shut=True
    )
    _say(given.server_url, "DROP DATABASE IF EXISTS {name} WITH (FORCE)", name=name)


@contextmanager
def no_server(given: Given) -> Iterator[Trouble]:
    """Nobody listens at the address; mended by starting the server."""
    server = given.private()
    server.stop()
    words = "no database server listens there ("
    yield Trouble(server.writer_url, server.url, words, server.start, None, words, shut=True)


@contextmanager
def older_schema(given: Given) -> Iterator[Trouble]:
    """An earlier recorder made the tables; mended by `recorder migrate`, which the sentence names."""
    with made(given.server_url) as url:
        with connected(url) as conn:
            for step in migrations()[:-1]:
                conn.execute(step.path.read_bytes())
                conn.execute(statements("common")["record"], (step.number, step.name))
        found, wanted = len(migrations()) - 1, len(migrations())
        words = (
            f"the database's schema is number {found}, older than the {wanted} that this recorder needs: run "
            "`recorder migrate` ("
        )
        yield Trouble(url, url, words, None)


@contextmanager
def transaction_pooler(given: Given) -> Iterator[Trouble]:
    """A pooler whose sessions share server processes; mended by giving each client a process of its own."""
    with made(given.server_url) as url:
        migrate_url(url)
        parts = urlsplit(url)
        with Pooler(parts.hostname or "127.0.0.1", parts.port or 5432, shared=True) as pooler:

            def mend() -> None:
                pooler.shared = False

            words = "a connection pooler in transaction mode stands before the database ("
            yield Trouble(pooler.url(url), url, words, mend, migrate=words)


@contextmanager
def no_rights(given: Given) -> Iterator[Trouble]:
    """Somebody takes the right to insert away; mended by `recorder migrate` as the tables' owner."""
    with made(given.server_url) as url:
        migrate_url(url)
        role = f"t_{uuid.uuid4().hex[:12]}"
        _say(url, "CREATE ROLE {role} LOGIN IN ROLE {group}", role=role, group=WRITE)
        yield Trouble(
            _as(url, role),
            url,
            "the database user may not do this; run `recorder migrate` as the tables' owner (",
            lambda: migrate_url(url),
            lambda: _revoke(url),
            "grant on trades: this database user may not; run `recorder migrate` as the owner",
        )
    _say(given.server_url, "DROP ROLE {role}", role=role)


def _revoke(url: str) -> None:
    with connected(url) as conn, conn.transaction():
        conn.execute("LOCK TABLE trades")  # a chunk that is being made copies the rights
        conn.execute(sql.SQL("REVOKE INSERT ON trades FROM {}").format(sql.Identifier(WRITE)))


@contextmanager
def read_only(given: Given) -> Iterator[Trouble]:
    """The database takes no writes any more; mended by letting it."""
    with made(given.server_url) as url:
        migrate_url(url)
        name = urlsplit(url).path[1:]

        def begin() -> None:
            _say(url, "ALTER DATABASE {name} SET default_transaction_read_only = on", name=name)
            _end_sessions(url)

        def mend() -> None:
            _say(given.server_url, "ALTER DATABASE {name} RESET default_transaction_read_only", name=name)

        words = "the database is read-only (a standby, or read-only mode) ("
        yield Trouble(url, url, words, mend, begin)


def _end_sessions(url: str) -> None:
    with connected(url) as conn:
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Path]:
    """A file system of so many bytes; skips the test where none can be had."""
    place.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        pytest.skip("a small file system can only be mounted as root")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path, *, leave: int) -> Path:
    """A file that takes all the room there is but for so many bytes."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        while (room := shutil.disk_usage(disk).free - leave) > 0:
            file.write(bytes(min(room, 64 << 10)))
    return ballast


@contextmanager
def full_disk(given: Given) -> Iterator[Trouble]:
    """The server's disk fills up; mended by making room."""
    server = given.private()
    with small_disk(server.local.directory / "small", 64 * MIB) as disk:
        place = disk / "tablespace"
        place.mkdir()
        server.local.account.own(disk)
        server.local.account.own(place)
        postgres = with_database(server.url, "postgres")
        with connected(postgres) as conn:
            conn.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(sql.Literal(str(place))))
            conn.execute("ALTER DATABASE market SET TABLESPACE small")
        yield Trouble(
            server.writer_url,
            server.url,
            "the database server's disk is full (",
            lambda: (disk / "ballast").unlink(),
            lambda: fill(disk, leave=0),
        )
        server.stop("immediate")


TROUBLES: tuple[Maker, ...] = (
    wrong_password,
    no_database,
    no_server,
    older_schema,
    transaction_pooler,
    no_rights,
    read_only,
    full_disk,
)
