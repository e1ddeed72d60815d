"""A bad hour: recorders and venues of which each has a fault of its own, and some have none.

Owns the faults, when each begins and when it is mended, and which alerts each must raise. Judges nothing. Every
recorder is a process, every venue a simulator, every database real; the clock of all of them is moved by the test, so
that alerts may be held against the shipped rules with their hours and quarters of an hour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from recorder.simulator.faults import Clear, Drop, Fault, Handshake, How, Mute, Notice, Poison, Reject, Silence, Skip
from recorder.simulator.infoway.commands import Say as Words
from recorder.simulator.infoway.oracle import numbered
from recorder.simulator.infoway.venue import InfowayVenue
from recorder.simulator.infoway.venue import Rules as InfowayRules
from recorder.simulator.okx.commands import Error, Say
from recorder.simulator.okx.venue import OkxVenue
from recorder.simulator.oracle import NumberedMarket
from recorder.simulator.server import Simulator
from tests.fault.process import config_toml, source_toml
from tests.fault.proxy import Proxy, proxied
from tests.fault.stepped import Event, Run, Time
from tests.fault.troubles import MIB, fill
from tests.fixtures.server import PgServer

MINUTE = 60.0
HOUR = 60 * MINUTE
BEGIN = 10 * MINUTE  # everything is well until then
BTC, ETH = "BTC-USDT", "ETH-USDT"
INFOWAY = ["BTCUSDT", "ETHUSDT"]
SPOOL = 'sync = "1s"\nmin_free = "1MiB"'
Okx: TypeAlias = Simulator[OkxVenue]
Infoway: TypeAlias = Simulator[InfowayVenue]


@dataclass(frozen=True, slots=True)
class Raised:
    """What a fault must raise, so many times, and what may follow from it."""

    alerts: frozenset[str]
    perhaps: frozenset[str] = frozenset()
    times: int = 1


def raises(*alerts: str, perhaps: Sequence[str] = (), times: int = 1) -> Raised:
    """The alerts by their names without `Recorder`."""
    must, may = (frozenset(f"Recorder{name}" for name in some) for some in (alerts, perhaps))
    return Raised(must, may, times)


NOTHING = raises()


@dataclass
class Stage:
    """All recorders and venues. `expected`: by instance and source ("" where an alert has none)."""

    time: Time
    home: Path
    database: str
    begin: float = BEGIN
    events: list[Event] = field(default_factory=list)
    expected: dict[tuple[str, str], Raised] = field(default_factory=dict)

    def at(self, seconds: float, do: Callable[[], object]) -> None:
        """Let something happen so many seconds after the faults' beginning."""
        self.events.append(Event(self.begin + seconds, do))

    def strike(self, simulator: Okx | Infoway, seconds: float, *faults: Fault) -> None:
        """Let this go wrong at a venue, in this order."""
        for fault in faults:
            self.at(seconds, lambda fault=fault: simulator.fault(fault))  # type: ignore[misc]

    def stands(self) -> bool:
        """Whether every recorder is connected and writes, but for the one that has no database yet."""
        return all(run.recorder.ready() for name, run in self.time.runs.items() if name != "unborn")

    def okx(self, rate: float = 0.5, ahead: float = 0.0) -> Okx:
        """A venue of numbered trades, `rate` a second on each of two symbols."""
        clock = self.time.clock(ahead)
        market = NumberedMarket((BTC, ETH), clock.wall_us(), rate=rate, depth=5, calm=True)
        return self.time.serve(OkxVenue(market, clock=clock))

    def infoway(self, rate: float = 0.5) -> Infoway:
        """The same of the other venue, whose trades have no numbers."""
        clock = self.time.clock()
        market = numbered(INFOWAY, clock.wall_us(), rate=rate, depth=5, calm=True)
        return self.time.serve(InfowayVenue(market, clock=clock))

    def proxy(self, url: str) -> Proxy:
        """A proxy before whatever is at a URL."""
        where = urlsplit(url)
        return self.time.stack.enter_context(proxied(where.hostname or "", where.port or 0))

    def record(self, instance: str, database: str, *sources: str, spool: str = SPOOL) -> Run:
        """Start a recorder."""
        return self.time.record(instance, self.home / instance, config_toml(database, *sources, spool=spool))


# Not to wait for more, which is until the clock moves, and then together with what that brings.
def okx_source(name: str, simulator: Okx, ws: str = "") -> str:
    """A source of it; `ws` where that is not its own address."""
    return source_toml(ws or simulator.ws_url, simulator.http_url, {"trades": [BTC, ETH]}, name=name, coalesce="0s")


def infoway_source(name: str, simulator: Infoway) -> str:
    """A source of it."""
    more = {"business": "crypto", "api_key": "some-key", "coalesce": "0s"}
    where = simulator.ws_url, simulator.http_url
    return source_toml(*where, {"trade": INFOWAY}, name=name, venue="infoway", **more)


# --- the faults of sources -------------------------------------------------------------------------------------------

DRIFTED = (
    '{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"1","px":"1","sz":"1",'
    '"side":"buy","ts":"%d","count":"1","flavour":"sweet"}]}'
)
TUTORIAL = '{"code":10000,"data":{"s":"BTCUSDT","p":"1","v":"1"}}'  # a push under a request's code


class Sources:
    """One recorder, whose every source has a fault of its own."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.toml: list[str] = []
        self.lines()
        self.streams()
        self.messages()
        steady = self.okx("steady", NOTHING)
        stage.strike(steady, 0, Drop(how=How.RST))
        stage.strike(steady, 5 * MINUTE, Notice(after=60.0))
        self.infoway("quiet", NOTHING, rate=0.01)
        stage.expected["sources", ""] = NOTHING
        stage.record("sources", stage.database, *self.toml)

    def okx(self, name: str, raised: Raised, *, rate: float = 0.5, ahead: float = 0.0) -> Okx:
        """A source, and what its fault raises."""
        simulator = self.stage.okx(rate, ahead)
        self.toml.append(okx_source(name, simulator))
        self.stage.expected["sources", name] = raised
        return simulator

    def infoway(self, name: str, raised: Raised, *, rate: float = 0.5) -> Infoway:
        """The same of the other venue."""
        simulator = self.stage.infoway(rate)
        self.toml.append(infoway_source(name, simulator))
        self.stage.expected["sources", name] = raised
        return simulator

    def lines(self) -> None:
        """Connections that do not stand."""
        stage = self.stage
        storm = self.okx("storm", raises("ReconnectSpike"))
        for n in range(12):
            stage.strike(storm, 30.0 * n, Drop())

        # The venue hears from us every 30 s and wants to every 20: code 513, and the end.
        beats = self.infoway("beats", raises("HeartbeatTimeouts", "ReconnectSpike", "VenueErrors", perhaps=["Gaps"]))
        stage.at(0, lambda: beats.call(lambda: setattr(beats.venue, "rules", InfowayRules(heartbeat_seconds=20.0))))
        stage.at(15 * MINUTE, lambda: beats.call(lambda: setattr(beats.venue, "rules", InfowayRules())))

        refused = self.okx("refused", raises("FeedWithoutData", "ReconnectSpike", "Gaps"))
        line = stage.proxy(refused.ws_url)
        self.toml[-1] = okx_source("refused", refused, f"ws://127.0.0.1:{line.port}")
        stage.at(0, line.stop)
        stage.at(15 * MINUTE, line.start)

        parked = self.infoway("parked", raises("FeedParked", perhaps=["ReconnectSpike", "Gaps"]))
        stage.strike(parked, 0, Handshake(status=401, times=1000), Drop())
        stage.strike(parked, 30 * MINUTE, Clear())

        hushed = self.okx("hushed", raises("FeedWithoutData", perhaps=["Gaps", "ReconnectSpike"]), rate=20.0)
        stage.strike(hushed, 0, Silence(later=True))
        stage.strike(hushed, 15 * MINUTE, Clear())

    def streams(self) -> None:
        """Streams that bring nothing, or less than there was."""
        silent = self.okx("silent", raises("SilentStreams"))
        silent.fault(Mute(symbol=ETH))
        self.stage.strike(silent, 70 * MINUTE, Clear())

        skipped = self.okx("skipped", raises("Gaps"))
        self.stage.strike(skipped, 0, Skip(symbol=BTC, count=100))

        rejected = self.okx("rejected", raises("Gaps", "VenueErrors"))
        self.stage.strike(rejected, 0, Reject(symbol=ETH), Drop())
        self.stage.strike(rejected, 25 * MINUTE, Clear(), Drop())

    def messages(self) -> None:
        """Messages that are not what they should be."""
        stage = self.stage
        poisoned = self.okx("poisoned", raises("Quarantine"))
        stage.strike(poisoned, 0, Poison(share=0.5))
        stage.strike(poisoned, MINUTE, Clear())

        erring = self.okx("erring", raises("VenueErrors"))
        for n in range(6):
            stage.strike(erring, 20.0 * n, Error(code="99999", msg="something else"))

        drifting = self.okx("drifting", raises("SchemaDrift"))
        stage.strike(drifting, 0, Say(text=DRIFTED % (stage.time.now * 1000)))
        stage.strike(self.infoway("tutorial", raises("SchemaDrift")), 0, Words(text=TUTORIAL))

        skewed = self.okx("skewed", raises("ClockOffset"), ahead=5.0)
        stage.at(30 * MINUTE, lambda: skewed.call(lambda: skewed.venue.clock.advance(-5.0)))  # type: ignore[attr-defined]


# --- the faults of recorders, disks and databases --------------------------------------------------------------------

DOWN = ("DatabaseDown", "NoProgress", "Lag", "SpoolGrowing")


class Machines:
    """Recorders of one source each, whose fault is their own or that of what they stand on."""

    def __init__(self, stage: Stage, server: PgServer, disk: Path | None) -> None:
        self.stage = stage
        self.plain = stage.okx(rate=5.0)
        self.outage(server)
        self.restarts()
        self.unborn()
        if disk is not None:
            self.cramped(disk)

    def start(
        self,
        instance: str,
        database: str,
        process: Raised,
        source: Raised = NOTHING,
        *,
        spool: str = SPOOL,
        venue: Okx | None = None,
    ) -> Run:
        """A recorder, and what is raised about it and about its source."""
        self.stage.expected |= {(instance, ""): process, (instance, "plain"): source}
        return self.stage.record(instance, database, okx_source("plain", venue or self.plain), spool=spool)

    def outage(self, server: PgServer) -> None:
        """The database is stopped, and later frozen: it accepts connections, and nothing ever answers."""
        process = raises("DatabaseDown", "NoProgress", "SpoolGrowing", times=2)
        spool = f'{SPOOL}\nmax_size = "6MiB"'  # two hours of these trades, which are small when compressed
        busy = self.stage.okx(rate=60.0)
        run = self.start("outage", server.writer_url, process, raises("Lag", times=2), spool=spool, venue=busy)
        self.stage.at(0, server.stop)
        self.stage.at(20 * MINUTE, server.start)

        def freeze() -> None:
            run.unseen = ("writer", "chores")
            server.pause()

        def thaw() -> None:
            server.resume()
            run.unseen = ()

        self.stage.at(45 * MINUTE, freeze)
        self.stage.at(65 * MINUTE, thaw)

    def restarts(self) -> None:
        """One is killed and stays away for a while; one is killed again and again."""
        stage = self.stage
        killed = self.start("killed", stage.database, raises("Absent"))
        stage.at(0, killed.kill)
        stage.at(10 * MINUTE, lambda: killed.start(stage.time.now))
        often = self.start("restarting", stage.database, raises("Restarting"))
        for n in range(4):
            stage.at(n * 5 * MINUTE, often.kill)
            stage.at(n * 5 * MINUTE + 20, lambda: often.start(stage.time.now))

    def unborn(self) -> None:
        """The database has never been there."""
        proxy = self.stage.proxy(self.stage.database)
        proxy.stop()
        down = raises("DatabaseDown", "NoProgress", perhaps=["SpoolGrowing"])
        self.start("unborn", proxy.url(self.stage.database), down, raises(perhaps=["Lag"]))
        self.stage.at(30 * MINUTE, proxy.start)

    def cramped(self, disk: Path) -> None:
        """Somebody else fills the disk while the database is away."""
        stage = self.stage
        proxy = stage.proxy(stage.database)
        process = raises("DatabaseDown", "NoProgress", "DiskLow", perhaps=["SpoolGrowing"])
        source = raises("Shedding", "Gaps", "Lag")
        spool = 'sync = "1s"\nmin_free = "4MiB"\nmax_size = "12MiB"'  # segments follow max_size: small ones
        self.start("cramped", proxy.url(stage.database), process, source, spool=spool)

        def crowd() -> None:
            proxy.stop()
            fill(disk, leave=3 * MIB)

        def clear() -> None:
            (disk / "ballast").unlink()
            proxy.start()

        stage.at(0, crowd)
        stage.at(15 * MINUTE, clear)
