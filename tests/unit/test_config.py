"""What a right configuration file means: search order, references, units, defaults, and the way back to text."""

from __future__ import annotations

import tomllib
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from recorder import configfile
from recorder.commands.files import template
from recorder.config import Config, Secret
from recorder.errors import ConfigError
from recorder.settings import units
from recorder.settings.effective import as_dict, effective
from recorder.settings.sections import NOT_YET
from tests.unit.fakevenue import VENUES

BASE = Path("/etc/recorder")
SOURCE = """
[[source]]
venue = "open"
[[source.subscribe]]
channels = ["trades"]
symbols = ["BTC-USDT"]
"""


def parse(text: str, **environ: str) -> Config:
    """A configuration of the tests' own venues."""
    return configfile.parse(text, environ, BASE, VENUES)


def test_defaults() -> None:
    """A source is all that a file needs: everything else has the contract's default."""
    config = parse(SOURCE)
    assert config.recorder.data_dir == Path("/var/lib/recorder")
    assert config.recorder.listen == "127.0.0.1:9464"
    assert config.database.url is None
    assert (config.database.flush_age, config.database.flush_rows) == (0.1, 20_000)
    assert (config.spool.max_size, config.spool.min_free) == (20 << 30, 5 << 30)
    assert (config.spool.sync, config.spool.keep) == (0.1, 6 * 3600)
    assert config.spool.priority == ("trades", "candles", "quotes", "tickers", "books")
    assert config.sources[0].name == "open"
    assert config.sources[0].endpoints == VENUES["open"].endpoints
    assert config.sources[0].rest == VENUES["open"].rest
    assert config.sources[0].coalesce == 0.002
    assert config.notes == ()


def test_every_key_of_the_contract_is_read() -> None:
    """Each key arrives in the tree in seconds, bytes and checked text."""
    config = parse(
        """
        [recorder]
        data_dir = "data"
        instance = "a"
        listen = "[::1]:0"
        [database]
        url = "postgresql://u:pass%40word@localhost:5432/market"
        flush_age = "20ms"
        flush_rows = 5
        [spool]
        max_size = "64MiB"
        min_free = "1GB"
        sync = "1.5s"
        keep = "1h30m"
        priority = ["books"]
        [books]
        snapshot_every = "0s"
        [refill]
        enabled = false
        [compression]
        after = "7d"
        [retention]
        trades = "90d"
        [[source]]
        name = "mine"
        venue = "fake"
        endpoints = ["ws://127.0.0.1:8443/"]
        rest = "http://127.0.0.1:8080"
        proxy = "socks5h://u:sesame@127.0.0.1:1080"
        connections = 2
        coalesce = "0s"
        refill = false
        limits = { max_connections = 20, frames_per_minute = 60 }
        sessions = "Mon-Fri 09:30-16:00"
        api_key = "open-sesame"
        business = "stock"
        [[source.subscribe]]
        channels = ["trades", "books"]
        symbols = ["USOIL"]
        """
    )
    assert config.recorder.data_dir == BASE / "data"
    assert config.home == BASE / "data" / "a"
    assert config.database.url == "postgresql://u:pass%40word@localhost:5432/market"
    assert (config.spool.max_size, config.spool.min_free) == (64 << 20, 10**9)
    assert (config.spool.sync, config.spool.keep) == (1.5, 5400)
    assert config.retention == {"trades": 90 * 86400}
    assert config.compression.after == 7 * 86400
    source = config.sources[0]
    assert source.endpoints == ("ws://127.0.0.1:8443",)
    assert source.limits == {"max_connections": 20, "frames_per_minute": 60}
    assert source.options == {"api_key": "open-sesame", "business": "stock"}
    assert source.sessions == "Mon-Fri 09:30-16:00"
    assert [type(source.options[k]) for k in ("api_key", "business")] == [Secret, str]
    assert (source.connections, source.refill, source.coalesce) == (2, False, 0)


def test_what_is_not_built_yet_is_accepted_and_said() -> None:
    """A key whose feature does not exist yet is no mistake: it is a note, unless it asks for what happens anyway."""
    config = parse('[books]\nsnapshot_every = "1m"\n[refill]\nenabled = false\n' + SOURCE)
    noted = {note.partition(" ")[0] for note in config.notes}
    assert noted == {key for key in ("books.snapshot_every",) if key in NOT_YET}
    hours = parse(SOURCE.replace("[[source.s", 'sessions = "09:30-16:00"\n[[source.s'))
    said = [note for note in hours.notes if "sessions" in note]
    assert said == (['source[0] "open".sessions is not yet effective'] if "source.sessions" in NOT_YET else [])


# --- references ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "environ", "meant"),
    [
        ("${NAME}", {"NAME": "x"}, "x"),
        ("a-${NAME}-b", {"NAME": "x"}, "a-x-b"),
        ("${NAME}${OTHER}", {"NAME": "x", "OTHER": "y"}, "xy"),
        ("${NAME:-z}", {}, "z"),
        ("${NAME:-z}", {"NAME": ""}, "z"),
        ("${NAME:-z}", {"NAME": "x"}, "x"),
        ("${NAME:?say it}", {"NAME": "x"}, "x"),
        ("${NAME:-a:-b}", {}, "a:-b"),
        ("$${NAME}", {}, "${NAME}"),
        ("$NAME", {"NAME": "x"}, "$NAME"),
        ("${NAME}", {"NAME": "${OTHER}"}, "${OTHER}"),
    ],
)
def test_references(written: str, environ: dict[str, str], meant: str) -> None:
    """${VAR}, ${VAR:-default} and ${VAR:?message} work anywhere in a string; what they bring is not read again."""
    text = SOURCE.replace("[[source.s", f'sessions = "{written}"\n[[source.s')
    assert configfile.parse(text, environ, BASE, VENUES).sources[0].sessions == meant


@pytest.mark.parametrize(("content", "meant"), [("k\n", "k"), ("k", "k"), ("k\r\n", "k"), (" k \n", " k ")])
def test_file_reference(tmp_path: Path, content: str, meant: str) -> None:
    """file:/path is the file's text without the newline at its end; the path may hold a variable."""
    (tmp_path / "key").write_text(content, newline="")
    text = SOURCE.replace("[[source.s", 'sessions = "file:${DIRECTORY}/key"\n[[source.s')
    assert parse(text, DIRECTORY=str(tmp_path)).sources[0].sessions == meant


@pytest.mark.parametrize("url", ["postgresql://u@h:5432/db", "postgresql://u@h/db?sslmode=disable"])
def test_a_password_beside_the_address_is_taken_as_it_is(url: str) -> None:
    """Characters that would have to be percent-encoded in the address need no care beside it; libpq gets them as they
    are, and no output shows them."""
    password = "p@ss:w/or%64 d?#&="
    config = parse(f'[database]\nurl = "{url}"\npassword = "${{PW:-}}"\n' + SOURCE, PW=password)
    assert conninfo_to_dict(str(config.database.url)) == conninfo_to_dict(url) | {"password": password}
    shown = effective(config) + str(as_dict(config)) + repr(config)
    assert password not in shown
    assert quote(password, safe="") not in shown
    assert parse(f'[database]\nurl = "{url}"\npassword = "${{PW:-}}"\n' + SOURCE).database.url == url


def test_empty_url_is_none() -> None:
    """A url that an unset variable leaves empty means the local database, as if the key were not there."""
    assert parse('[database]\nurl = "${URL:-}"\n' + SOURCE).database.url is None


# --- units -----------------------------------------------------------------------------------------------------------


@given(st.integers(min_value=0, max_value=10**15))
def test_durations_and_back(us: int) -> None:
    """What is shown as a duration reads as the same duration."""
    assert round(units.duration(units.show_duration(us / 1e6)) * 1e6) == us


@given(st.integers(min_value=0, max_value=2**50))
def test_sizes_and_back(count: int) -> None:
    """What is shown as a size reads as the same size."""
    assert units.size(units.show_size(count)) == count


# --- the file --------------------------------------------------------------------------------------------------------


def test_search_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The named file, else $RECORDER_CONFIG, else ./recorder.toml, else the system's; nothing else."""
    monkeypatch.chdir(tmp_path)
    system = tmp_path / "system.toml"
    monkeypatch.setattr(configfile, "DEFAULTS", (Path("recorder.toml"), system))
    with pytest.raises(ConfigError, match="recorder init"):
        configfile.find(None, {})
    system.touch()
    assert configfile.find(None, {}) == system
    Path("recorder.toml").touch()
    assert configfile.find(None, {}) == Path("recorder.toml")
    assert configfile.find(None, {"RECORDER_CONFIG": "b"}) == Path("b")
    assert configfile.find(Path("a"), {"RECORDER_CONFIG": "b"}) == Path("a")


def test_relative_data_dir_is_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the daemon was started from does not move its spool."""
    (tmp_path / "etc").mkdir()
    file = tmp_path / "etc" / "recorder.toml"
    file.write_text('[recorder]\ndata_dir = "data"\n' + SOURCE)
    monkeypatch.chdir("/")
    assert configfile.load(file, {}, VENUES).recorder.data_dir == tmp_path / "etc" / "data"


def test_effective_reads_as_the_same_configuration() -> None:
    """What `check` prints is a configuration file that means the same, but for what is secret."""
    config = parse('[spool]\nkeep = "90m"\n' + SOURCE)
    again = parse(effective(config))
    assert again == Config(
        **{f: getattr(config, f) for f in config.__struct_fields__ if f != "notes"}, notes=again.notes
    )


def test_effective_shows_no_secret() -> None:
    """Keys, proxy and database passwords appear in no form of the effective configuration, nor in the tree's repr."""
    secrets = ("canary-key-1", "canary-db-2", "canary-proxy-3")
    config = parse(
        f"""
        [database]
        url = "postgresql://u:{secrets[1]}@localhost/market?sslpassword={secrets[1]}"
        [[source]]
        venue = "fake"
        proxy = "http://u:{secrets[2]}@127.0.0.1:3128"
        api_key = "${{KEY}}"
        [[source.subscribe]]
        channels = ["trades"]
        symbols = ["A"]
        """,
        KEY=secrets[0],
    )
    shown = effective(config) + str(as_dict(config)) + repr(config)
    assert [secret for secret in secrets if secret in shown] == []
    assert tomllib.loads(effective(config))["source"][0]["api_key"] == "***"


def test_template_is_right() -> None:
    """The file that `recorder init` writes and the image carries is a valid one as it stands."""
    config = configfile.parse(template(), {}, BASE)
    assert config.recorder.data_dir == Path("/var/lib/recorder")
    assert config.database.url is None
    assert config.sources[0].subscribe[0].channels
    assert config.notes == ()


def test_template_comments_show_the_defaults() -> None:
    """A commented key of the template, uncommented, changes nothing: it shows the default."""
    lines = [
        line.removeprefix("# ") if line.startswith("# ") and " = " in line and "90d" not in line else line
        for line in template().splitlines()
    ]
    plain, full = configfile.parse(template(), {}, BASE), configfile.parse("\n".join(lines), {}, BASE)
    assert full.spool == plain.spool
    assert full.database == plain.database
    assert full.books == plain.books
    assert full.compression == plain.compression
    assert full.recorder == plain.recorder
    assert full.sources[0].endpoints == plain.sources[0].endpoints
    assert full.sources[0].rest == plain.sources[0].rest
    assert full.sources[0].coalesce == plain.sources[0].coalesce
