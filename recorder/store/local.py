"""A database server of our own on this machine: made, started, attached to and stopped without root.

Owns the server's folder (data, log, port, password file) and the server process while somebody uses it. Never trusts
a process id to say that a server runs (it connects), never stops one that it did not start unless told to, and never
gives up on one that is still recovering.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.pq import PGconn, Ping

from recorder.errors import SinkUnavailable
from recorder.redact import protect
from recorder.store import programs
from recorder.store.apt import locked
from recorder.store.place import Account, data_candidates, first_usable, make, server_account
from recorder.store.programs import Kind, Programs
from recorder.store.reconcile import READ, WRITE
from recorder.store.schema import Say, fill, one, statements

OWNER, LOGIN, DATABASE = "postgres", "recorder", "market"
HOST = "127.0.0.1"
SOCKET_PATH_BYTES = 107  # what a unix socket's address can hold
STOP_SECONDS = 60.0
LOG_BYTES = 10 << 20

_SETTINGS = {
    "listen_addresses": HOST,
    "shared_buffers": "128MB",
    "jit": "off",  # there is no LLVM
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d/%a ",
}


class LocalServer:
    """One server and its folder. Several can run side by side; all methods are for one thread."""

    def __init__(
        self,
        directory: Path,
        *,
        scram: bool = False,
        settings: Mapping[str, str] | None = None,
        say: Say | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`scram`: passwords, in a file that only we can read; otherwise everybody on this machine is trusted.

        The folder is `directory`, or one named after it where the server's account can reach it. Raises ConfigError
        if $RECORDER_LOCAL asks for a server that nobody knows.
        """
        self._wish = programs.wished()
        self.account: Account = server_account()
        self.directory = first_usable(data_candidates(directory.absolute()), self.account)
        self.scram = scram
        self._settings = {**_SETTINGS, **(settings or {})}
        self._say: Say = say or (lambda _: None)
        self._sleep = sleep
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<LocalServer {self.directory}>"

    # --- what it is ---

    @property
    def data(self) -> Path:
        """The server's data folder; its own, nobody else may look into it."""
        return self.directory / "server" / "data"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.directory / "server" / "log"

    @property
    def kind(self) -> Kind:
        """Where the programs of the server come from that made the data."""
        return programs.kind_of(self.directory)

    @property
    def port(self) -> int:
        """Chosen once, kept in the folder."""
        return int((self.directory / "port").read_text())

    @property
    def url(self) -> str:
        """Where the recorder writes: a role that can neither drop nor change tables."""
        return self.url_of(LOGIN, DATABASE)

    @property
    def owner_url(self) -> str:
        """Where `recorder migrate` works: the owner of everything."""
        return self.url_of(OWNER, DATABASE)

    def url_of(self, role: str, database: str) -> str:
        """A role's way into a database. Never holds a password: libpq reads it from the file that the URL names."""
        passfile = f"?passfile={quote(str(self._passfile))}" if self.scram else ""
        return f"postgresql://{role}@{HOST}:{self.port}/{database}{passfile}"

    @property
    def stop_command(self) -> str:
        """What a person types to stop a server that was left running."""
        return f"kill -INT $(head -n 1 {self.data / 'postmaster.pid'})"

    @property
    def owned(self) -> bool:
        """This object started the server, and so stops it."""
        return self._process is not None

    # --- what it does ---

    def start(self) -> bool:
        """Have a server that answers: True when this started it, False when it was running. Waits for recovery. The
        first time on a machine its programs may have to be fetched (about 40 MB)."""
        with locked(make(self.directory, self.account) / "lock"):
            started = not self._attach()
            if started:
                found = programs.find(self.directory, self.account, self._say, self._wish)
                self._create(found)
                self._launch(found)
            self._prepare()
        return started

    def running(self) -> bool:
        """A server answers, and it is the one of this folder."""
        return (self.directory / "port").exists() and self._ping() is Ping.OK and self._is_ours()

    def stop(self, *, attached: bool = False) -> None:
        """Stop the server, fast: sessions are ended, everything committed stays. One that this object did not start
        is left alone unless `attached` says that it is ours by other proof (the lock of the data directory)."""
        pid = self.postmaster()
        if pid is None or not (self.owned or attached):
            return
        os.kill(pid, signal.SIGINT)
        if not self.wait_gone(STOP_SECONDS):
            self._say("the local database does not stop by itself; stopping it at once")
            os.kill(pid, signal.SIGQUIT)
            self.wait_gone(STOP_SECONDS)

    def processes(self) -> list[int]:
        """Every process that works in the data folder: the server and what it started, however they are called."""
        data = self.data.resolve()
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _folder(entry) == data]

    def postmaster(self) -> int | None:
        """The server's main process, if it lives: the pid file may be stale and the number somebody else's by now."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return None
        return pid if pid in self.processes() else None

    def wait_gone(self, seconds: float) -> bool:
        """Wait until no process works in the data folder any more."""
        until = time.monotonic() + seconds
        while self.processes():
            if time.monotonic() > until:
                return False
            self._sleep(0.02)
        self._bury()
        return True

    # --- starting ---

    def _attach(self) -> bool:
        """Whether a server of this folder runs; one that starts, recovers or goes down is waited for."""
        while True:
            if self.running():
                return True
            if not self.processes():
                self._bury()
                return False
            self._sleep(0.05)

    def _create(self, found: Programs) -> None:
        if (self.data / "PG_VERSION").exists():
            return
        self._say(f"creating a database in {self.directory}")
        server = self.data.parent
        server.mkdir(exist_ok=True)
        server.chmod(0o700)
        self.account.own(server)
        part = self.data.with_name("data.part")
        shutil.rmtree(part, ignore_errors=True)
        with self._password_for_initdb() as options:
            auth = "scram-sha-256" if self.scram else "trust"
            self._initdb(found, [f"--pgdata={part}", f"--auth={auth}", *options])
        (self.directory / "kind").write_text(found.kind.value)
        part.rename(self.data)

    def _initdb(self, found: Programs, options: list[str]) -> None:
        command = [
            *(str(found.bin / "initdb"), f"--username={OWNER}", "--encoding=UTF8", "--data-checksums"),
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions", *options),
        ]
        made = subprocess.run(  # noqa: S603 - our own installation
            command, cwd="/", env=_environment(), capture_output=True, text=True, check=False, **self.account.popen
        )
        if made.returncode != 0:
            words = (made.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise SinkUnavailable(f"a local database could not be created in {self.directory}: {words}")

    @contextmanager
    def _password_for_initdb(self) -> Iterator[list[str]]:
        """A password of the owner, kept in our file; initdb reads it from one that only its account can read."""
        if not self.scram:
            yield []
            return
        password = self._make_passwords()
        handed = self.data.parent / "password"
        _write_secret(handed, password)
        self.account.own(handed)
        try:
            yield [f"--pwfile={handed}"]
        finally:
            handed.unlink()

    def _launch(self, found: Programs) -> None:
        """Start the server in a session of its own: it outlives us, and no signal of our terminal reaches it."""
        if not (self.directory / "port").exists():
            (self.directory / "port").write_text(str(_free_port()))
        if not _can_listen(self.port):
            raise self._taken()
        # No process works in this folder (_attach saw to that): what names one can only name a dead or a foreign one
        # by now, and the server would refuse to start because of it.
        for left in (self.data / "postmaster.pid", *self.data.parent.glob(".s.PGSQL.*")):
            left.unlink(missing_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_suffix(".1"))
        options = [f"-c{key}={value}" for key, value in {**found.settings, **self._options()}.items()]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own installation
                [str(found.bin / "postgres"), "-D", str(self.data), *options],
                **{"cwd": "/", "env": _environment(), "start_new_session": True, **self.account.popen},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait_ready(self._process)

    def _options(self) -> dict[str, str]:
        folder = self.data.parent
        address = folder / f".s.PGSQL.{self.port}"
        reachable = len(os.fsencode(address)) <= SOCKET_PATH_BYTES
        return {
            **self._settings,
            "port": str(self.port),
            "unix_socket_directories": str(folder) if reachable else "",
        }

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        """As long as the process lives: recovery after a crash takes as long as it takes."""
        while self._ping() is not Ping.OK:
            if process.poll() is not None:
                self._process = None
                raise SinkUnavailable(f"the local database did not start: {self._last_words()} (log: {self.log})")
            self._sleep(0.02)

    def _last_words(self) -> str:
        """The reason in the log: what comes after it is only that the server goes down."""
        lines = self.log.read_text(errors="replace").strip().splitlines()[-20:] or ["it said nothing"]
        return next((line for line in reversed(lines) if "FATAL:" in line or "PANIC:" in line), lines[-1])

    def _prepare(self) -> None:
        """The role that the recorder writes as, and its database."""
        local, common = statements("local"), statements("common")
        with self._connect() as conn:
            for (role,) in conn.execute(common["missing_roles"], ([WRITE, READ],)).fetchall():
                conn.execute(fill(common["create_role"], role=role))
            if not one(conn, local["has_login"], (LOGIN,))[0]:
                with conn.transaction():
                    conn.execute(fill(local["create_login"], role=LOGIN))
                    conn.execute(fill(local["join_group"], role=LOGIN, group=WRITE))
                    self._set_password(conn)
            if not one(conn, local["has_database"], (DATABASE,))[0]:
                conn.execute(fill(local["create_database"], database=DATABASE))

    # --- who is there ---

    def _ping(self) -> Ping:
        where = f"host={HOST} port={self.port} user={OWNER} dbname=postgres connect_timeout=2"
        return Ping(PGconn.ping(where.encode()))

    def _is_ours(self) -> bool:
        """Ports are reused: whoever answers has to know our data folder."""
        try:
            with self._connect() as conn:
                (folder,) = one(conn, statements("local")["data_directory"])
        except psycopg.OperationalError:
            if self._ping() is Ping.OK:
                raise self._taken() from None
            return False
        return Path(folder).resolve() == self.data.resolve()

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url_of(OWNER, "postgres"), connect_timeout=5, autocommit=True)

    def _taken(self) -> SinkUnavailable:
        return SinkUnavailable(
            f"port {self.port} of the local database is taken by another program: end that one, or delete "
            f"{self.directory / 'port'} to have another port chosen"
        )

    def _bury(self) -> None:
        """Nobody works in the folder any more: our child is ending, or a zombie, whose number files may still name."""
        if self._process is not None:
            self._process.wait()
            self._process = None

    # --- passwords ---

    @property
    def _passfile(self) -> Path:
        return self.directory / "pgpass"

    def _make_passwords(self) -> str:
        made = {role: secrets.token_urlsafe(24) for role in (OWNER, LOGIN)}
        _write_secret(self._passfile, "".join(f"*:*:*:{role}:{made[role]}\n" for role in made))
        return made[OWNER]

    def _set_password(self, conn: psycopg.Connection[Any]) -> None:
        if not self.scram:
            return
        lines = self._passfile.read_text().splitlines()
        password = next(line.rsplit(":", 1)[1] for line in lines if line.split(":")[3] == LOGIN)
        protect(password)
        # Hashed here, so that no log of the server ever holds it.
        hashed = conn.pgconn.encrypt_password(password.encode(), LOGIN.encode(), b"scram-sha-256").decode()
        conn.execute(fill(statements("local")["set_password"], role=LOGIN, password=sql.Literal(hashed)))


def _environment() -> dict[str, str]:
    """Nothing of ours: no PG* variable, no locale, no secret in the server's environment."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": "/", "TZ": "UTC"}


def _write_secret(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _folder(process: Path) -> Path | None:
    try:
        return (process / "cwd").readlink()
    except OSError:  # it has just ended, or it is somebody else's
        return None


def _free_port() -> int:
    """Below the range that outgoing connections take theirs from: the port has to be free at every later start too."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        if _can_listen(port):
            return port


def _can_listen(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
