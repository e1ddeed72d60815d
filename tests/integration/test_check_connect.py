"""`recorder check --connect` against simulated venues, real proxies and a real database: all well, and each failure."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from recorder.capture.reach import trust
from recorder.commands import connecting
from recorder.simulator.faults import Ignore, Reject
from recorder.simulator.okx.venue import OkxVenue
from recorder.simulator.server import Simulator
from recorder.venues import venues
from tests.fault.gateway import Gateway, Manners
from tests.fault.pooler import Pooler
from tests.integration.checking import Setup, Skewed, closed, simulated


@pytest.fixture
def venue() -> Iterator[Simulator[OkxVenue]]:
    """A simulated venue without TLS."""
    with simulated() as simulator:
        yield simulator


@pytest.fixture
def setup(tmp_path: Path, database: str, venue: Simulator[OkxVenue]) -> Setup:
    """A configuration in which everything is well."""
    return Setup(tmp_path, database, venue.ws_url, venue.http_url)


# --- all is well -----------------------------------------------------------------------------------------------------


def test_everything_is_well(setup: Setup) -> None:
    """A line each, and code 0; without --connect nothing of it."""
    lines = setup.check("--connect").splitlines()
    assert setup.code == 0
    found = [line for line in lines if line.startswith(("ok  ", "FAIL", "-   "))]
    kinds = [line[5:].partition(":")[0] for line in found]
    both = ["okx connection", "okx tls"] * 2
    assert kinds == ["disk", "database", "okx dns", *both, "okx clock", "okx subscription"]
    assert not any(line.startswith("FAIL") for line in found)
    assert lines.index("[recorder]") < lines.index(found[0])
    assert "everything was reached" in setup.output
    assert "clock" not in setup.check()


def test_json_has_the_same(setup: Setup, ask: Callable[..., list[tuple[object, ...]]]) -> None:
    """Each with its place and its sentence; nothing was written anywhere."""
    found = setup.checks()
    assert setup.code == 0
    by_name = {line["check"]: line for line in found}
    assert {**by_name["clock"], "sentence": ""} == {"check": "clock", "source": "okx", "ok": True, "sentence": ""}
    assert by_name["database"]["source"] is None
    assert all(word in by_name["database"]["sentence"] for word in ("PostgreSQL", "schema", "writable"))
    assert by_name["subscription"]["sentence"] == "trades BTC-USDT accepted"
    assert not (setup.folder / "data").exists()
    assert ask("select count(*) from positions") == [(0,)]


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
def test_everything_is_well_through_a_proxy_and_tls(
    setup: Setup, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One key for all: WebSocket, REST and TLS go through it; the certificate is judged by SSL_CERT_FILE."""
    with simulated(tls=tmp_path) as safe, Gateway(scheme, Manners(password=True)) as gateway:
        monkeypatch.setenv("SSL_CERT_FILE", str(safe.ca_file))
        trust.cache_clear()
        setup.endpoint, setup.rest, setup.proxy = safe.ws_url, safe.http_url, gateway.url()
        found = setup.checks()
        trust.cache_clear()
    assert setup.code == 0
    kinds = [line["check"] for line in found if line["ok"]]
    assert kinds.count("proxy") == kinds.count("tls") == 2
    assert "connection" not in kinds
    assert len(gateway.asked) == 4  # twice to look, once for the clock, once to subscribe


# --- a source --------------------------------------------------------------------------------------------------------


def test_a_name_that_does_not_exist(setup: Setup) -> None:
    """`invalid` never resolves (RFC 6761)."""
    setup.endpoint = "ws://venue.invalid"
    failed = setup.failed()
    assert setup.code == 1
    assert "venue.invalid" in failed["dns"]
    assert list(failed) == ["dns"]  # what is not checked because of it is no failure of its own


def test_a_venue_that_refuses_connections(setup: Setup) -> None:
    """The REST address alone is away: the clock is not checked, and says so; the subscription is."""
    with closed() as port:
        setup.rest = f"http://127.0.0.1:{port}"
        found = setup.checks()
    assert setup.code == 1
    assert [line["check"] for line in found if line["ok"] is False] == ["connection"]
    assert [line["check"] for line in found if line["ok"] is None] == ["tls", "clock"]


@pytest.mark.parametrize(
    ("manners", "sentence"),
    [
        (None, "proxy unreachable: "),
        (Manners(password=True), "proxy refused: "),
        (Manners(refuse=5), "venue unreachable through proxy: "),
    ],
)
def test_a_proxy_in_the_way(setup: Setup, manners: Manners | None, sentence: str) -> None:
    """Three sentences, as in the log."""
    with Gateway("socks5h", manners or Manners()) as gateway, closed() as port:
        setup.proxy = f"socks5h://user:s3cret@127.0.0.1:{gateway.port if manners else port}"
        failed = setup.failed()
    assert setup.code == 1
    assert list(failed) == ["proxy"]
    assert failed["proxy"].startswith(sentence)


def test_a_certificate_of_a_stranger(setup: Setup, tmp_path: Path) -> None:
    """This machine's certificates decide, as in `run`."""
    with simulated(tls=tmp_path) as safe:
        setup.endpoint = safe.ws_url
        failed = setup.failed()
    assert setup.code == 1
    assert list(failed) == ["tls"]
    assert "certificate" in failed["tls"]


@pytest.mark.parametrize(("skew", "word"), [(5.0, "behind"), (-5.0, "ahead of")])
def test_a_clock_that_is_off(setup: Setup, skew: float, word: str) -> None:
    """Five seconds against the venue, less half the round trip."""
    with simulated(Skewed(skew)) as venue:
        setup.endpoint, setup.rest = venue.ws_url, venue.http_url
        failed = setup.failed()
    assert setup.code == 1
    assert list(failed) == ["clock"]
    seconds = float(failed["clock"].split(" is ")[1].split(" s ")[0])
    assert seconds == pytest.approx(5, abs=0.5)
    assert f"{word} the venue's" in failed["clock"]


def test_a_time_endpoint_that_tells_no_time(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is in the answer, there is a sentence; a venue without such an endpoint is not asked."""
    known = venues()["okx"]
    keeper = known.time
    assert keeper is not None
    for body in (b"", b"{}", b'{"data":[]}', b'{"data":[{"ts":"soon"}]}', b"\xff", b"[" * 10_000, b'{"data":{"ts":1}}'):
        with pytest.raises(ValueError, match="no time"):
            keeper.milliseconds(body)
    monkeypatch.setattr(type(known), "time", replace(keeper, path="/api/v5/nowhere"))
    assert "HTTP 404: no time in the answer" in setup.failed()["clock"]
    assert setup.code == 1
    monkeypatch.setattr(type(known), "time", None)
    found = {line["check"]: line for line in setup.checks()}
    assert (setup.code, found["clock"]["ok"]) == (0, None)


def test_a_subscription_that_the_venue_refuses(setup: Setup, venue: Simulator[OkxVenue]) -> None:
    """Its code, what that means, once, and its words."""
    venue.fault(Reject(channel="trades", code="60018"))
    failed = setup.failed()
    assert setup.code == 1
    assert list(failed) == ["subscription"]
    assert all(word in failed["subscription"] for word in ("trades BTC-USDT", "60018", "no such channel"))
    assert failed["subscription"].count("wrong path, or no such channel") == 1


def test_a_subscription_that_the_venue_ignores(
    setup: Setup, venue: Simulator[OkxVenue], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence has an end, and a sentence."""
    monkeypatch.setattr(connecting, "ANSWER_SECONDS", 1.0)
    venue.fault(Ignore(channel="trades"))
    failed = setup.failed()
    assert setup.code == 1
    assert "trades BTC-USDT: no answer in 1 s" in failed["subscription"]


# --- the database ----------------------------------------------------------------------------------------------------


def test_a_database_that_is_away(setup: Setup) -> None:
    """Only the database: code 69. Something else, too: code 1."""
    with closed() as port:
        setup.database = f"postgresql://recorder:s3cret@127.0.0.1:{port}/market"
        failed = setup.failed()
        assert setup.code == 69
        assert list(failed) == ["database"]
        setup.rest = f"http://127.0.0.1:{port}"
        assert set(setup.failed()) == {"database", "connection"}
        assert setup.code == 1


def test_a_database_that_does_not_exist(setup: Setup) -> None:
    """The server answers; the sentence names the database."""
    setup.database = setup.database.replace("/t_", "/u_")
    assert "u_" in setup.failed()["database"]
    assert setup.code == 69


def test_a_pooler_in_transaction_mode(setup: Setup) -> None:
    """Refused here as in `run`."""
    parts = urlsplit(setup.database)
    assert parts.hostname is not None and parts.port is not None
    with Pooler(parts.hostname, parts.port, shared=True) as pooler:
        setup.database = pooler.url(setup.database)
        assert "pooler in transaction mode" in setup.failed()["database"]
    assert setup.code == 69


def test_an_older_schema_and_an_empty_database(
    setup: Setup, empty_database: str, ask: Callable[..., list[tuple[object, ...]]]
) -> None:
    """What `run` migrates by itself is well; what needs `recorder migrate` says so."""
    ask("delete from schema_migrations where number > 1 returning number")
    assert "recorder migrate" in setup.failed()["database"]
    assert setup.code == 69
    setup.database = empty_database
    found = {line["check"]: line for line in setup.checks()}
    assert (setup.code, "empty" in found["database"]["sentence"]) == (0, True)


def test_a_database_that_may_not_be_written(setup: Setup) -> None:
    """A reader's role is refused before it loses an hour of data in the spool; a read-only server, too."""
    whole = setup.database
    joint = "&" if "?" in whole else "?"
    setup.database = f"{whole}{joint}options=-c%20role%3Drecorder_read"
    assert "may not write" in setup.failed()["database"]
    setup.database = f"{whole}{joint}options=-c%20default_transaction_read_only%3Don"
    assert "read-only" in setup.failed()["database"]
    assert setup.code == 69


def test_a_local_database_that_does_not_run(setup: Setup) -> None:
    """`run` starts it: nothing is wrong."""
    setup.database = ""
    found = {line["check"]: line for line in setup.checks()}
    assert (setup.code, found["database"]["ok"]) == (0, None)


# --- the disk --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spool", "words"),
    [
        ('min_free = "500TiB"', "less than spool.min_free"),
        ('min_free = "1MiB"\nmax_size = "500TiB"', "not at spool.max_size"),
    ],
)
def test_a_disk_that_is_too_small(setup: Setup, spool: str, words: str) -> None:
    """For what must stay free, and for what the spool may grow to."""
    setup.spool = spool
    failed = setup.failed()
    assert setup.code == 1
    assert words in failed["disk"]


def test_what_the_spool_has_already_is_room(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spool that is nearly full has not used up anybody else's space."""
    held = setup.folder / "data" / "spool" / "okx"
    held.mkdir(parents=True)
    (held / "segment").write_bytes(b"x" * (2 << 20))
    free = (65 << 20) - (1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free))
    assert "disk" not in setup.failed()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free - (2 << 20)))
    assert "disk" in setup.failed()


@dataclass(frozen=True)
class Usage:
    """What a disk has left."""

    free: int


def test_a_data_directory_that_cannot_be_made(setup: Setup) -> None:
    """A file stands where the folder should be."""
    setup.data_dir = str(setup.folder / "recorder.toml" / "data")
    assert "cannot be written to" in setup.failed()["disk"]
    assert setup.code == 1


# --- the configuration -----------------------------------------------------------------------------------------------


def test_a_wrong_configuration_connects_nowhere(setup: Setup, venue: Simulator[OkxVenue]) -> None:
    """Code 78, and what is wrong."""
    setup.channel = "trade"
    answer = json.loads(setup.check("--connect", "--json"))
    assert (setup.code, answer["ok"], "checks" in answer) == (78, False, False)
