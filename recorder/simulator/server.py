"""Simulated venues as servers: in a thread of this process for tests and the demo, or in the foreground for users.

Owns the event loops, the listening sockets and TLS. Knows no venue's protocol, only where venues are found.
"""

from __future__ import annotations

import asyncio
import difflib
import signal
import ssl
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Generic, Protocol, TypeVar

from recorder.config import Secret, Source, Subscribe
from recorder.errors import ConfigError, RecorderError
from recorder.simulator.clock import ManualClock
from recorder.simulator.connection import Connection, SimulatedVenue, websockets
from recorder.simulator.faults import Fault, Faults, Target
from recorder.simulator.infoway import replay as infoway_replay
from recorder.simulator.infoway import venue as infoway
from recorder.simulator.okex_v1 import replay as okex_v1_replay
from recorder.simulator.okex_v1 import venue as okex_v1
from recorder.simulator.okex_v3 import replay as okex_v3_replay
from recorder.simulator.okex_v3 import venue as okex_v3
from recorder.simulator.okx import replay as okx_replay
from recorder.simulator.okx import venue as okx
from recorder.simulator.replay import Dialect, Replay
from recorder.simulator.selfsigned import self_signed
from recorder.simulator.way import Porch, Way

MAX_RATE = 100_000.0
TICK_SECONDS = 0.01  # a push is at most this late, as on the fastest channel; waking up is most of an idle venue's cost
START_SECONDS = 30.0

T = TypeVar("T")


class TickingVenue(SimulatedVenue, Protocol):
    """A venue that does something by itself. `on_refuse` is how it stops the server listening for some seconds."""

    on_refuse: Callable[[float], None] | None

    def tick(self) -> None:
        """Move to the present."""
        ...


V = TypeVar("V", bound=TickingVenue)


class Simulator(Generic[V]):
    """One venue on one port (0: a free one), WebSocket and HTTP alike, in a thread of its own.

    `tls`: a directory with the certificate to use, made there if need be; `ca_file` is what clients trust.
    A venue on a `ManualClock` moves only by `advance`. What the venue owns is reached with `call`, on its thread.
    `addresses`: at how many ports it is served, each with a way of its own (faults `delay` and `loss`); `port` is the
    first's, the others are free ones.
    """

    def __init__(
        self, venue: V, *, host: str = "127.0.0.1", port: int = 0, tls: Path | None = None, addresses: int = 1
    ) -> None:
        websockets()
        self.venue = venue
        self.host = host
        self.ports = [port, *[0] * (addresses - 1)]
        self.ca_file: Path | None = None
        self.error: BaseException | None = None
        self._context = self._tls(tls) if tls else None
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._failed)
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._thread = threading.Thread(target=self._run, name=f"simulator:{venue.name}")
        clock = getattr(venue, "clock", None)
        self._manual = clock if isinstance(clock, ManualClock) else None

    # --- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Serve. Raises what makes that impossible."""
        self._thread.start()
        try:
            self._wait(asyncio.run_coroutine_threadsafe(self._open(), self._loop))
        except OSError as error:
            self._stop_loop()
            raise RecorderError(f"cannot serve on {self.host}:{self.port}: {error.strerror}") from error

    def stop(self) -> None:
        """Close every connection and stop. Raises what went wrong in the venue meanwhile."""
        self._wait(asyncio.run_coroutine_threadsafe(self._close(), self._loop))
        self._stop_loop()
        if self.error is not None:
            raise RecorderError(f"the simulated venue {self.venue.name} failed") from self.error

    def __enter__(self) -> Simulator[V]:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- use ------------------------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The first address's."""
        return self.ports[0]

    @property
    def ws_url(self) -> str:
        """Base URL for WebSockets; the venue's paths come after it."""
        return self.ws_urls[0]

    @property
    def ws_urls(self) -> list[str]:
        """The same of every address."""
        return [f"{'wss' if self._context else 'ws'}://{self._authority(port)}" for port in self.ports]

    @property
    def http_url(self) -> str:
        """Base URL for REST and control."""
        return f"{'https' if self._context else 'http'}://{self._authority(self.port)}"

    @property
    def serving(self) -> bool:
        """Whether it listens: not while it refuses."""
        return bool(self._servers) and all(server.is_serving() for server in self._servers)

    def call(self, function: Callable[[], T]) -> T:
        """Do something on the venue's thread and return its result."""

        async def run() -> T:
            return function()

        return self._wait(asyncio.run_coroutine_threadsafe(run(), self._loop))

    def fault(self, fault: Fault) -> int:
        """Let something go wrong; how many connections or symbols it hit."""
        target: object = self.venue
        if not isinstance(target, Target):
            raise RecorderError(f"the simulated venue {self.venue.name} knows no faults")
        return self.call(lambda: fault.strike(target))

    def advance(self, seconds: float) -> None:
        """Let time pass on a venue with a `ManualClock`; what that brings has been sent when this returns."""
        self._wait(self.advancing(seconds))

    def advancing(self, seconds: float) -> Future[None]:
        """The same, for who moves several venues at once: done when the future is."""
        clock = self._manual
        if clock is None:
            raise RecorderError("this venue runs on the machine's clock")

        async def step() -> None:
            clock.advance(seconds)
            self.venue.tick()

        return asyncio.run_coroutine_threadsafe(step(), self._loop)

    def wait(self, condition: Callable[[V], bool], seconds: float = START_SECONDS) -> bool:
        """Until a condition on the venue holds (looked at after every tick); False if it did not in that time."""
        done = threading.Event()

        def look() -> None:
            if condition(self.venue):
                done.set()
            elif not done.is_set():
                self._loop.call_later(TICK_SECONDS, look)

        self._loop.call_soon_threadsafe(look)
        answer = done.wait(seconds)
        done.set()
        return answer

    # --- inside ---------------------------------------------------------------------------------------------------

    def _authority(self, port: int) -> str:
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"

    def _tls(self, directory: Path) -> ssl.SSLContext:
        certificate, key = self_signed(directory)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.ca_file = certificate
        return context

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """A callback of the loop raised: keep the first one for `stop`."""
        error = context.get("exception")
        if self.error is None and isinstance(error, BaseException):
            self.error = error

    def _wait(self, future: Future[T]) -> T:
        return future.result(START_SECONDS)

    async def _open(self) -> None:
        await self._listen()
        self.venue.on_refuse = self._refuse
        if self._manual is None:
            self._tick(self._loop.time())

    async def _listen(self) -> None:
        self._servers.clear()
        for n, port in enumerate(self.ports):
            server = await self._loop.create_server(self._welcome(n), self.host, port, reuse_address=True, backlog=512)
            self._servers.append(server)
            self.ports[n] = server.sockets[0].getsockname()[1]

    def _welcome(self, address: int) -> Callable[[], asyncio.Protocol]:
        """What makes the protocol of a client at this address."""
        way, context = self._way(address), self._context

        def connection() -> Connection:
            return Connection(self.venue, self._connections, way)

        return connection if context is None else lambda: Porch(way, context, connection)

    def _way(self, address: int) -> Way:
        """The venue's, where it knows faults."""
        faults = getattr(self.venue, "faults", None)
        return faults.way(address) if isinstance(faults, Faults) else Way()

    def _refuse(self, seconds: float) -> None:
        for server in self._servers:
            server.close()
        self._loop.call_later(seconds, lambda: self._loop.create_task(self._listen()))

    def _tick(self, due: float) -> None:
        self.venue.tick()
        due = max(due + TICK_SECONDS, self._loop.time())
        self._loop.call_at(due, self._tick, due)

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        for connection in list(self._connections):
            connection.abort()
        while self._connections:
            await asyncio.sleep(0)

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_SECONDS)
        self._loop.close()


# --- the command ---------------------------------------------------------------------------------------------------


VENUES: dict[str, Callable[[float], TickingVenue]] = {
    "okx": okx.usual,
    "infoway": infoway.usual,
    "okex_v3": okex_v3.usual,
    "okex_v1": okex_v1.usual,
}
DIALECTS: dict[str, Dialect] = {
    "okx": okx_replay.REPLAYED,
    "infoway": infoway_replay.REPLAYED,
    "okex_v3": okex_v3_replay.REPLAYED,
    "okex_v1": okex_v1_replay.REPLAYED,
}
DEMO_RATE = 150.0  # trades a second over all instruments: lively to watch, a few percent of a core
INFOWAY_CHANNELS = ("trade", "depth", "kline_1m")


def demo_venues() -> list[tuple[TickingVenue, tuple[Source, ...]]]:
    """The venues of the demo, and the sources worth recording from each, their addresses left out.

    A connection of the second venue serves one business, so it has a source for each of two.
    """
    channels = ("trades", "books", "bbo-tbt", "books5", "tickers", "candle1m", "candle1s")
    spot = tuple(one.symbol for one in okx.LISTINGS if one.kind == "SPOT")
    energy = ("USOIL", "NGAS", "XAUUSD", "EURUSD")
    return [
        (okx.usual(DEMO_RATE, okx.LISTINGS), (_shown("okx", "okx", channels, (*spot, "*-USDT-SWAP")),)),
        (
            infoway.usual(DEMO_RATE),
            (
                _shown("infoway", "infoway", INFOWAY_CHANNELS, energy, business="common"),
                _shown("infoway-crypto", "infoway", INFOWAY_CHANNELS, ("BTCUSDT",), business="crypto"),
            ),
        ),
    ]


def _shown(name: str, venue: str, channels: tuple[str, ...], symbols: tuple[str, ...], *, business: str = "") -> Source:
    options = {"business": business, "api_key": Secret("demo")} if business else {}
    subscribe = (Subscribe(channels=channels, symbols=symbols),)
    return Source(name=name, venue=venue, endpoints=(), rest="", options=options, subscribe=subscribe)


def serve(venues: list[str], host: str, port: int, tls: bool, rate: float, replay: list[Path]) -> int:
    """`recorder simulate`: serve venues (none named: all) until SIGINT or SIGTERM.

    Prints one line per venue: name, WebSocket URL, HTTP URL. `rate`: trades a second over all instruments. With
    `replay` every venue plays these recordings instead of a market. The first venue gets `port`, the others the next.
    """
    names = venues or list(VENUES)
    _check(names, rate)
    with ExitStack() as stack, _signalled() as stopped:
        directory = (
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="recorder-simulator-"))) if tls else None
        )
        for number, name in enumerate(names):
            venue = Replay(replay, name=name, dialect=DIALECTS[name]) if replay else VENUES[name](rate)
            simulator = Simulator(venue, host=host, port=port + number if port else 0, tls=directory)
            stack.enter_context(simulator)
            sys.stdout.write(f"{name} {simulator.ws_url} {simulator.http_url}\n")
            sys.stdout.flush()
        if directory:
            sys.stderr.write(f"clients trust {directory / 'certificate.pem'}\n")
        stopped.wait()
    return 0


def _check(names: list[str], rate: float) -> None:
    problems = []
    for name in names:
        if name not in VENUES:
            near = difflib.get_close_matches(name, VENUES, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; there is {', '.join(VENUES)}"
            problems.append(f"no simulated venue is called {name!r}{hint}")
    if not 0 <= rate <= MAX_RATE:
        problems.append(f"--rate {rate:g}: a number of trades a second from 0 to {MAX_RATE:g}")
    if problems:
        raise ConfigError(problems)


@contextmanager
def _signalled() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set while this lasts."""
    event = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        event.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
