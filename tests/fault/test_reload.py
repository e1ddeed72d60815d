"""A reload moves what is different and nothing else: the real process, real venues, and a ledger of what was sent."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from recorder.records import now_us
from recorder.simulator.okx.venue import OkxVenue, Rules
from recorder.simulator.oracle import NumberedMarket
from recorder.simulator.server import Simulator
from tests.fault.gateway import Gateway
from tests.fault.ledger import Finding, judge
from tests.fault.process import RecorderProcess, config_toml, free_port, source_toml, until
from tests.fault.proxy import proxied

STAYS, GOES, COMES = "BTC-USDT", "ETH-USDT", "SOL-USDT"
SYMBOLS = (STAYS, GOES, COMES)
CHANNELS = ("trades", "books", "tickers", "bbo-tbt")
RULES = Rules(operations_per_hour=0, connects_per_second=0)
RATE = 300.0

pytestmark = pytest.mark.timeout(300)


@dataclass
class Yard:
    """Two venues and a recorder of the first one's STAYS and GOES."""

    database: str
    first: Simulator[OkxVenue]
    second: Simulator[OkxVenue]
    recorder: RecorderProcess

    def source(self, *symbols: str, name: str = "okx", channels: tuple[str, ...] = CHANNELS, **options: str) -> str:
        """A source with every channel of these symbols, of the second venue if its name is not that of the first."""
        at = self.first if name == "okx" else self.second
        asked = {channel: list(symbols) for channel in channels}
        return source_toml(at.ws_url, at.http_url, asked, name=name, **options)

    def toml(self, *sources: str, **more: str) -> str:
        return config_toml(self.database, *sources, **more)

    def reload(self, *sources: str, **more: str) -> str:
        """Reload; what `recorder reload` said when it was done."""
        done = self.recorder.reload(self.toml(*sources, **more))
        assert done.returncode == 0, done.stderr + self.recorder.tail()
        return done.stdout

    def connections(self, name: str = "okx") -> int:
        """How many a venue has seen."""
        at = self.first if name == "okx" else self.second
        return at.call(lambda: len(at.venue.ledger().connections))

    def standing(self, name: str = "okx") -> int:
        """How many stand."""
        at = self.first if name == "okx" else self.second
        return at.call(lambda: sum(not each.closed for each in at.venue.ledger().connections.values()))

    def issued(self, symbol: str, name: str = "okx") -> int:
        """The highest number that exists."""
        at = self.first if name == "okx" else self.second
        return at.call(lambda: at.venue.ledger().issued[symbol])

    def stored(self, symbol: str, name: str = "okx") -> int:
        """The highest number in the database."""
        query = "SELECT coalesce(max(trade_id::bigint), 0) FROM trades WHERE symbol = %s AND source = %s"
        return int(str(self.rows(query, symbol, name)[0][0]))

    def rows(self, query: str, *parameters: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.database) as conn:
            return conn.execute(query, parameters).fetchall()

    def catch_up(self, *streams: tuple[str, str]) -> None:
        """Wait until what exists now of these (symbol, source) is stored."""
        for symbol, name in streams:
            present = self.issued(symbol, name)
            until(lambda s=symbol, n=name, p=present: self.stored(s, n) >= p, 60, f"{symbol} {self.recorder.tail()}")  # type: ignore[misc]

    def settle(self, *streams: tuple[str, str]) -> list[Finding]:
        """Wait until the present is stored, stop, judge each."""
        self.catch_up(*streams)
        time.sleep(2.5)  # the grace of missing ids, in the recorder's own time
        assert self.recorder.stop() == 0, self.recorder.tail()
        return [judge(self.database, symbol, self.issued(symbol, name), source=name) for symbol, name in streams]

    def reconnects(self, name: str = "okx") -> dict[str, float]:
        """How often a source has reconnected, by reason, where it has."""
        text = self.recorder.get("/metrics")
        lines = [line for line in text.splitlines() if line.startswith("recorder_reconnects_total{")]
        mine = [line for line in lines if f'source="{name}"' in line]
        assert mine, "the series of a source exist from its beginning"
        counts = {line.split('reason="')[1].partition('"')[0]: float(line.rpartition(" ")[2]) for line in mine}
        return {reason: count for reason, count in counts.items() if count}


@pytest.fixture
def yard(tmp_path: Path, database: str) -> Iterator[Yard]:
    """Everything runs, and the recorder records STAYS and GOES."""
    with made(tmp_path, database) as found:
        found.recorder.toml = found.toml(found.source(STAYS, GOES))
        found.recorder.start()
        until(found.recorder.ready, 30, f"ready\n{found.recorder.tail()}")
        until(lambda: found.stored(STAYS) > 0, 30, "something is stored")
        yield found


@contextmanager
def made(home: Path, database: str) -> Iterator[Yard]:
    """The parts; the recorder does not run."""

    def venue() -> OkxVenue:
        return OkxVenue(NumberedMarket(SYMBOLS, now_us(), rate=RATE, depth=5), rules=RULES)

    with Simulator(venue()) as first, Simulator(venue()) as second:
        recorder = RecorderProcess(home / "recorder", "")
        try:
            yield Yard(database, first, second, recorder)
        finally:
            if recorder.process is not None and recorder.process.poll() is None:
                recorder.kill()


def gaps(yard: Yard) -> list[tuple[object, ...]]:
    """Every row of `gaps`."""
    return yard.rows("SELECT source, channel, symbol, cause, from_time, to_time FROM gaps")


# --- symbols and sources ---------------------------------------------------------------------------------------------


def test_one_symbol_comes_and_one_goes(yard: Yard) -> None:
    """On the connection that stands: no reconnection, no gap row on what stays, nothing twice or lost; what goes is
    stored to its end and its subscriptions have ended; what comes is recorded, and so is a channel that comes."""
    said = yard.reload(yard.source(STAYS, COMES), yard_source_more(yard))
    assert "added" in said
    until(lambda: yard.stored(COMES) > 0, 30, f"the new one is stored\n{yard.recorder.tail()}")
    ended = "SELECT DISTINCT outcome FROM subscriptions WHERE symbol = %s AND source = 'okx'"
    until(lambda: yard.rows(ended, GOES) == [("ended",)], 30, "the old one has ended")
    last = yard.stored(GOES)
    assert yard.reconnects() == {}
    assert yard.connections() == 1
    assert yard.recorder.metric("recorder_gaps_total", source="more", cause="disconnect") == 0
    first, second = yard.settle((STAYS, "okx"), (COMES, "okx"))
    assert (first.gaps, second.gaps) == ((), ())
    went = judge(yard.database, GOES, last)
    assert (went.gaps, went.last) == ((), last)
    assert gaps(yard) == []
    chain = "SELECT integrity, count(*) FROM books WHERE channel = 'books' AND symbol = %s GROUP BY 1"
    assert [row[0] for row in yard.rows(chain, STAYS)] == ["verified"]


def yard_source_more(yard: Yard) -> str:
    """A second source."""
    return yard.source(STAYS, name="more", channels=("tickers",))


def test_a_source_comes_and_goes(yard: Yard) -> None:
    """Its series exist at 0 from its beginning; when it goes, what it received is stored to the last record, its
    subscriptions have ended, its connection is closed, and nobody else has noticed anything."""
    said = yard.reload(yard.source(STAYS, GOES), yard.source(STAYS, name="other"))
    assert said == f"source other has begun: trades {STAYS}, books {STAYS}, tickers {STAYS} and 1 more\n"
    assert yard.reconnects("other") == {}
    assert yard.recorder.metric("recorder_messages_received_total", source="other", channel="trades") is not None
    until(lambda: yard.stored(STAYS, "other") > 0, 30, f"it is recorded\n{yard.recorder.tail()}")
    until(lambda: "other/public/0" in [feed["feed"] for feed in yard.recorder.status()["feeds"]], 10, "it is shown")
    assert yard.reload(yard.source(STAYS, GOES)) == "source other has ended; what its spool holds is still stored\n"
    until(lambda: yard.standing("other") == 0, 10, "its connection is closed")
    query = "SELECT count(*) FROM subscriptions WHERE source = 'other' AND outcome <> 'ended'"
    until(lambda: yard.rows(query) == [(0,)], 30, f"its subscriptions have ended\n{yard.recorder.tail()}")
    until(lambda: bool(drained(yard)), 30, "its spool is drained")
    assert yard.recorder.ready()
    assert (yard.reconnects(), yard.connections()) == ({}, 1)
    last = yard.stored(STAYS, "other")
    both = yard.settle((STAYS, "okx"), (GOES, "okx"))
    other = judge(yard.database, STAYS, last, source="other")
    assert [each.gaps for each in (*both, other)] == [(), (), ()]
    assert gaps(yard) == []
    assert yard.rows("SELECT reason FROM connections WHERE feed = 'other/public/0'") == [("shutdown",)]


def drained(yard: Yard) -> bool:
    """Whether the other source's feed is only its spool, and that is stored."""
    feed = next(feed for feed in yard.recorder.status()["feeds"] if feed["source"] == "other")
    return feed["draining"] and feed["position"] == feed["head"] and not feed["lag_seconds"]


def test_a_source_that_went_comes_back(yard: Yard) -> None:
    """Removed and added again while its old feed may still be closing: it goes on in the same spool, exactly once, and
    the time between is a hole like any other."""
    other = yard.source(STAYS, name="other")
    yard.reload(yard.source(STAYS), other)
    until(lambda: yard.stored(STAYS, "other") > 0, 30, "it is recorded")
    yard.reload(yard.source(STAYS))
    yard.reload(yard.source(STAYS), other)
    until(lambda: yard.connections("other") == 2 and yard.recorder.ready(), 30, f"it is back\n{yard.recorder.tail()}")
    first, _ = yard.settle((STAYS, "okx"), (STAYS, "other"))
    assert first.gaps == ()
    assert {row[0] for row in gaps(yard)} <= {"other"}


# --- other settings --------------------------------------------------------------------------------------------------


def test_another_proxy_is_taken_over_to(yard: Yard) -> None:
    """A second connection, through the proxy, takes over before the first one ends: counted as `config`, no gap row
    and nothing twice; the other source keeps its connection. One that cannot be reached costs nothing: the first goes
    on until the file is mended."""
    okx = yard.source(STAYS)
    yard.reload(okx, yard.source(STAYS, name="other"))
    until(lambda: yard.stored(STAYS, "other") > 0, 30, "it is recorded")
    with Gateway("socks5h") as gateway:
        said = yard.reload(okx, yard.source(STAYS, name="other", proxy=gateway.url()))
        assert said == "source other: proxy changed, by a new connection\n"
        until(lambda: yard.reconnects("other") == {"config": 1}, 30, f"taken over\n{yard.recorder.tail()}")
        until(lambda: yard.standing("other") == 1 and yard.recorder.ready(), 10, "the first one has left")
        assert gateway.asked
        nowhere = f"http://127.0.0.1:{free_port()}"
        yard.reload(okx, yard.source(STAYS, name="other", proxy=nowhere))
        until(lambda: "proxy unreachable" in yard.recorder.get("/readyz"), 30, "it says what is wrong")
        yard.catch_up((STAYS, "other"))
        assert yard.standing("other") == 1
        yard.reload(okx, yard.source(STAYS, name="other"))
        until(lambda: yard.reconnects("other").get("config") == 2, 40, f"mended\n{yard.recorder.tail()}")
        until(lambda: yard.standing("other") == 1 and yard.recorder.ready(), 10, "the first one has left")
    assert (yard.reconnects(), yard.connections()) == ({}, 1)
    found = yard.settle((STAYS, "okx"), (STAYS, "other"))
    assert [each.gaps for each in found] == [(), ()]
    assert gaps(yard) == []


def test_one_connection_is_all_that_the_plan_allows(yard: Yard) -> None:
    """Where no second connection may be made the first one ends first: reason `config`, and what was sent in between
    is a gap row."""
    limits = "\nlimits = { max_connections = 1 }"
    other = yard.source(STAYS, name="other", channels=("trades",))
    plan = other.replace('venue = "okx"', 'venue = "okx"' + limits)
    yard.reload(yard.source(STAYS), plan)
    until(lambda: yard.stored(STAYS, "other") > 0, 30, "it is recorded")
    yard.reload(yard.source(STAYS), plan.replace('venue = "okx"', 'venue = "okx"\ncoalesce = "5ms"'))
    until(lambda: yard.connections("other") == 2, 30, f"renewed\n{yard.recorder.tail()}")
    until(yard.recorder.ready, 30, f"ready\n{yard.recorder.tail()}")
    assert yard.reconnects("other") == {"config": 1}
    history = yard.second.call(lambda: list(yard.second.venue.ledger().connections.values()))
    assert history[0].closed is not None
    assert history[0].closed <= history[1].opened
    first, other_one = yard.settle((STAYS, "okx"), (STAYS, "other"))
    assert first.gaps == ()
    assert {each.cause for each in other_one.gaps} <= {"disconnect"}


def test_settings_of_the_writer_and_the_spool_change_at_once(yard: Yard) -> None:
    """What needs a restart is said and stays; the rest is in effect, and nobody reconnects."""
    toml = yard.toml(yard.source(STAYS, GOES), spool='max_size = "32MiB"\nmin_free = "1MiB"\nsync = "50ms"')
    before, yard.recorder.port = yard.recorder.port, free_port()
    done = yard.recorder.reload(toml)
    yard.recorder.port = before
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["spool.max_size: 64MiB → 32MiB", "spool.sync: 100ms → 50ms"]
    assert f"recorder.listen needs a restart: it stays 127.0.0.1:{before} until then" in done.stderr
    assert yard.recorder.metric("recorder_spool_max_bytes") == 32 << 20
    assert any("recorder.listen needs a restart" in note for note in yard.recorder.status()["notes"])
    assert yard.reconnects() == {}
    (first,) = yard.settle((STAYS, "okx"))
    assert first.gaps == ()


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_bad_file_changes_nothing_and_says_why(yard: Yard) -> None:
    """Every mistake at once, on the terminal, in the log and in /status, and the recorder stays ready; the next right
    file takes the note away."""
    bad = yard.toml(yard.source(COMES).replace(COMES, "SOLUSDT"), spool='max_size = "1GB", \n'.replace(", ", ""))
    refused = yard.recorder.reload(bad.replace('max_size = "1GB"', "max_size = 7"))
    assert refused.returncode == 78
    lines = refused.stderr.splitlines()
    assert lines[0] == "the running recorder refuses the file and goes on as it was:"
    assert any("spool.max_size" in line for line in lines)
    assert any("SOL-USDT" in line for line in lines), "a suggestion"
    assert refused.stdout == ""
    notes = [note for note in yard.recorder.status()["notes"] if "nothing has changed" in note]
    assert len(notes) == len(lines) - 1
    assert '"event": "reload.refused"' in yard.recorder.log.read_text()
    assert yard.recorder.metric("recorder_reloads_total", outcome="refused") == 1
    assert yard.recorder.ready()
    assert (yard.reconnects(), yard.connections()) == ({}, 1)
    assert yard.reload(yard.source(STAYS, GOES)) == ""
    assert not any("nothing has changed" in note for note in yard.recorder.status()["notes"])
    first, second = yard.settle((STAYS, "okx"), (GOES, "okx"))
    assert (first.gaps, second.gaps) == ((), ())
    assert gaps(yard) == []


def test_a_file_that_is_no_toml_is_refused_before_anybody_is_asked(yard: Yard) -> None:
    """Where the file does not even say whose it is, the command says what is wrong with it; code 78."""
    refused = yard.recorder.reload("[[[")
    assert refused.returncode == 78
    assert "is not TOML" in refused.stderr
    assert yard.recorder.metric("recorder_reloads_total", outcome="refused") == 0
    assert yard.recorder.ready()


def test_nobody_is_there_to_reload(tmp_path: Path, database: str) -> None:
    """One sentence, code 1; before the first start as well as after the last."""
    with made(tmp_path, database) as yard:
        never = yard.recorder.reload(yard.toml(yard.source(STAYS)))
        yard.recorder.start()
        until(yard.recorder.ready, 30, f"ready\n{yard.recorder.tail()}")
        assert yard.recorder.stop() == 0
        after = yard.recorder.command("reload")
    for done in (never, after):
        assert done.returncode == 1
        assert done.stderr.startswith("no recorder runs on ")
        assert len(done.stderr.splitlines()) == 1


# --- at a bad time ---------------------------------------------------------------------------------------------------


def test_reloads_while_the_database_is_away(yard: Yard) -> None:
    """Another file is taken up all the same: a source begins to spool, one goes; and when the URL of a database that
    can be reached comes with a reload, everything is stored there, once."""
    place = urlsplit(yard.database)
    with proxied(place.hostname or "", place.port or 5432) as proxy:
        through = yard.recorder.reload(yard.toml(yard.source(STAYS)).replace(yard.database, proxy.url(yard.database)))
        assert through.returncode == 0, through.stderr
        assert through.stdout.splitlines()[0] == "database.url has changed"
        yard.catch_up((STAYS, "okx"))
        proxy.stop()
        until(lambda: yard.recorder.metric("recorder_database_up") == 0, 30, "the database is away")
        away = yard.toml(yard.source(STAYS), yard.source(STAYS, name="other"))
        began = yard.recorder.reload(away.replace(yard.database, proxy.url(yard.database)))
        assert began.returncode == 0, began.stderr
        until(lambda: yard.standing("other") == 1, 20, f"it is received\n{yard.recorder.tail()}")
        until(lambda: (yard.recorder.metric("recorder_spool_bytes", source="other") or 0) > 0, 20, "it is spooled")
        assert yard.reload(yard.source(STAYS), yard.source(STAYS, name="other")) == "database.url has changed\n"
        until(lambda: yard.recorder.metric("recorder_database_up") == 1, 30, f"it writes\n{yard.recorder.tail()}")
    until(yard.recorder.ready, 30, f"ready\n{yard.recorder.tail()}")
    assert (yard.reconnects(), yard.connections()) == ({}, 1)
    found = yard.settle((STAYS, "okx"), (STAYS, "other"))
    assert [each.gaps for each in found] == [(), ()]
    assert gaps(yard) == []


def test_many_reloads_at_once_and_one_at_the_end(yard: Yard) -> None:
    """Signals that come while one is being heard mean one more reload, of the file as it is then; one that comes with
    the end changes nothing about it."""
    for n in range(12):
        yard.recorder.toml = yard.toml(yard.source(STAYS, *((COMES,) if n % 2 else (GOES,))))
        yard.recorder.write()
        yard.recorder.running.send_signal(signal.SIGHUP)
    until(lambda: yard.stored(COMES) > 0, 30, f"the last file is in effect\n{yard.recorder.tail()}")
    assert (yard.reconnects(), yard.connections()) == ({}, 1)
    yard.catch_up((STAYS, "okx"))
    time.sleep(2.5)  # the grace of missing ids, in the recorder's own time
    yard.recorder.running.send_signal(signal.SIGHUP)
    assert yard.recorder.stop() == 0, yard.recorder.tail()
    assert judge(yard.database, STAYS, yard.issued(STAYS)).gaps == ()
