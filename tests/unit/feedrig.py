"""A feed with everything around it replaced: clock, disk, venue and wire. Time passes only when somebody waits."""

from __future__ import annotations

import math
import queue
import random
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

from recorder.capture.backoff import Doors
from recorder.capture.feed import Feed, FeedParts
from recorder.capture.feedstate import FeedState
from recorder.capture.frames import Run
from recorder.capture.heartbeat import Heartbeats
from recorder.capture.intake import Clock
from recorder.capture.rest import Answer
from recorder.capture.spool import SpoolFull
from recorder.capture.transport import Options
from recorder.config import Source
from recorder.errors import ConnectionLost, SpoolFault
from recorder.observe.health import Beats
from recorder.observe.metrics import Metrics
from recorder.quality.continuity import Continuity
from recorder.records import (
    Burst,
    Control,
    Decoded,
    Header,
    Kind,
    Streams,
    decode_control,
)
from recorder.venues import Continuity as Proof
from recorder.venues import Limits, Line, Subscription
from tests.unit.toyvenue import CODES as CODES
from tests.unit.toyvenue import Toy as Toy

WALL = 1_700_000_000_000_000


@dataclass
class Tape:
    """A spool in memory. `full` and `fault` make it refuse."""

    bursts: list[Burst] = field(default_factory=list)
    full: bool = False
    fault: SpoolFault | None = None
    next: int = 0

    def append(self, kind: Kind, frames: Sequence[bytes], received_at: int) -> int:
        """As the spool does."""
        if self.fault is not None:
            raise self.fault
        if self.full:
            raise SpoolFull(len(frames), OSError(28, "No space left on device"))
        burst = Burst(self.next, received_at, kind, list(frames))
        self.bursts.append(burst)
        self.next = burst.next
        return burst.first


Step = list[Run] | ConnectionLost | Callable[[], None]
Script = Sequence[tuple[float, Step]]


class Wire:
    """A connection that plays a script: (seconds after the step before, what happens)."""

    def __init__(self, rig: Rig, script: Script, endpoint: str) -> None:
        self.endpoint = endpoint
        self.rtt_ms: float | None = 1.5
        self.received_frames = 0
        self.last_received = rig.now
        self.empty_at = rig.now
        self.sent: list[tuple[float, bytes]] = []
        self.pings: list[tuple[float, bytes]] = []  # that are on their way: when the answer is here, and its payload
        self.pinged: list[float] = []
        self.closed: int | None = None
        self._rig = rig
        self._steps = deque(script)
        self._answers: deque[list[Run]] = deque()
        self._at = rig.now + (script[0][0] if script else 0)
        self._lost: ConnectionLost | None = None

    def read(self, timeout: float) -> list[Run]:
        """The next answer or step, if it comes in time."""
        assert self.closed is None
        end = min(self._rig.now + timeout, *(at for at, _ in self.pings), math.inf)
        while self._lost is None:
            if self._answers:
                return self._received(self._answers.popleft())
            if self._steps and self._at <= self._rig.now:
                return self._play()
            if self._rig.now >= end:
                return []
            self._rig.pass_time(min(0.5, min(end, self._at if self._steps else end) - self._rig.now))
            self.empty_at = self._rig.now
        raise self._lost

    def _play(self) -> list[Run]:
        _, step = self._steps.popleft()
        if self._steps:
            self._at = self._rig.now + self._steps[0][0]
        if isinstance(step, ConnectionLost):
            self._lost = step
            raise step
        if not isinstance(step, list):
            step()
            return []
        return self._received(step)

    def _received(self, runs: list[Run]) -> list[Run]:
        self.last_received = self._rig.now
        self.received_frames += sum(len(frames) for _, frames in runs)
        return runs

    def send(self, payload: bytes) -> None:
        """Write it down, and let the rig's venue answer."""
        self.sent.append((self._rig.now, payload))
        self._answers += [text(answer) for answer in self._rig.answer(payload)]

    def ping(self, payload: bytes) -> None:
        """The rig says how long the answer takes; it may never come."""
        self.pinged.append(self._rig.now)
        seconds = self._rig.trip(self.endpoint, len(self.pinged))
        if seconds < math.inf:  # what came first is read first
            self.pings.append((max([self._rig.now + seconds, *(at for at, _ in self.pings)]), payload))

    def pongs(self) -> list[bytes]:
        """What is here by now."""
        here = [payload for at, payload in self.pings if at <= self._rig.now]
        self.pings = [(at, payload) for at, payload in self.pings if at > self._rig.now]
        return here

    def heard_since(self, moment: float) -> bool:
        """As the transport does."""
        return self.last_received >= moment

    def abort(self, reason: str, detail: str = "") -> None:
        """The next read raises it."""
        self._lost = ConnectionLost(reason, detail)

    def close(self, code: int = 1000) -> None:
        """No read after this."""
        self.closed = code


def text(*frames: str) -> list[Run]:
    """What one read gives."""
    return [(Kind.TEXT, [frame.encode() for frame in frames])]


class Stop(threading.Event):
    """Waiting for it makes time pass."""

    def __init__(self, rig: Rig) -> None:
        super().__init__()
        self._rig = rig

    def wait(self, timeout: float | None = None) -> bool:
        """Returns at once, later."""
        if not self.is_set():
            self._rig.pass_time(timeout or 0.0)
        return self.is_set()


class Books:
    """A REST interface: `books` says at which number each book stands, or what comes of asking; `asked`: when it was
    asked for which. An answer is there as soon as it is asked for."""

    def __init__(self, rig: Rig) -> None:
        self.books: Callable[[str], int | Exception] = lambda symbol: 0
        self.asked: list[tuple[float, str]] = []
        self.closed = False
        self._rig = rig

    def get(self, path: str, params: Mapping[str, str] | None = None) -> Answer:
        """A number, as JSON."""
        assert params is not None
        self.asked.append((self._rig.now, params["symbol"]))
        found = self.books(params["symbol"])
        if isinstance(found, Exception):
            raise found
        return Answer(200, str(found).encode(), f"https://rest.example{path}", 0.01, 0)

    def close(self) -> None:
        """Nothing is asked any more."""
        self.closed = True


class Inline(Executor):
    """Does at once what a thread would do."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Here and now; what it raises is its own business, as in a thread."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Rig:
    """Builds the feed and plays its connections: each is a script, or a reason for not coming about. After the last
    one the feed is stopped. `answer` says what the venue answers to a request."""

    def __init__(self, *connections: Script | ConnectionLost, **options: object) -> None:
        self.now = 1000.0
        self.connections = deque(connections)
        self.wires: list[Wire] = []
        self.attempts: list[tuple[float, str]] = []
        self.dial_seconds = 0.0
        self.answer: Callable[[bytes], Sequence[str]] = self.agree
        self.trip: Callable[[str, int], float] = lambda endpoint, number: math.inf  # seconds of a connection's nth ping
        self.tape = Tape()
        self.items: queue.Queue[Decoded] = queue.Queue()
        self.metrics = Metrics({"toy": ["trades", "books"]}, {"toy": [code.code for code in CODES]})
        self.streams = Streams()
        self.heartbeats = Heartbeats(Beats(self.monotonic), self.monotonic)
        self.stop = Stop(self)
        self.faults: list[BaseException] = []
        wanted = options.get("wanted", ("books:A", "books:B"))
        assert isinstance(wanted, tuple)
        pairs = tuple(Subscription(*word.split(":")) for word in wanted)
        limits = options.get("limits", Limits())
        assert isinstance(limits, Limits)
        self.venue = Toy(limits, over_rest=bool(options.get("over_rest")))
        self.books = Books(self)
        self.feed = self._feed(pairs, options.get("login"))

    def _feed(self, pairs: tuple[Subscription, ...], login: Any) -> Feed:
        header = Header("id", "toy/public/0", "toy", "toy", "/ws", {}, run="1-aaaaaaaa", run_ordinal=1)
        overflows = self.metrics.queue_overflows("toy")
        self.state = FeedState("toy/public/0", "toy", "1-aaaaaaaa", self.items, lambda: 1 << 30, overflows)
        self.state.live = True
        source = Source(name="toy", venue="toy", endpoints=("wss://one.example", "wss://two.example"), rest="")
        parts = FeedParts(
            spool=self.tape,  # type: ignore[arg-type]
            state=self.state,
            decoder=self.venue.decoder(header, self.streams),
            continuity=Continuity(self.streams, lambda stream: Proof.CHAINED),
            heartbeats=self.heartbeats,
            metrics=self.metrics,
            beats=Beats(self.monotonic),
            streams=self.streams,
            doors=Doors(),
            clock=Clock(self.monotonic, lambda: WALL + round(self.now * 1e6)),
            rng=random.Random(7),
            connect=self._connect,
            rest=lambda source, interrupted: self.books,
            threads=Inline,
            stop=self.stop,
        )
        line = Line("public/0", "/ws", pairs, login=login)
        return Feed("toy/public/0", source, self.venue, line, parts, self.faults.append)

    # --- time and connections ------------------------------------------------------------------------------------

    def monotonic(self) -> float:
        """The test's clock."""
        return self.now

    def pass_time(self, seconds: float) -> None:
        """Nobody sleeps; the heartbeat thread's work is done on the way."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 0.5)
            self.heartbeats.turn()

    def _connect(self, endpoint: str, line: Line, options: Options, unwanted: Callable[[], bool]) -> Wire:
        self.attempts.append((self.now, endpoint))
        end = self.now + self.dial_seconds
        while self.now < end:
            self.pass_time(0.25)
            if unwanted():
                raise ConnectionLost("shutdown")
        if not self.connections:
            self.stop.set()
            raise ConnectionLost("shutdown")
        script = self.connections.popleft()
        if isinstance(script, ConnectionLost):
            raise script
        self.wires.append(Wire(self, script, endpoint + line.path))
        return self.wires[-1]

    def run(self) -> Rig:
        """Run the feed's thread function to its end, here."""
        self.feed.run()
        if self.faults:
            raise self.faults[0]
        return self

    def halt(self) -> None:
        """A step of a script: stop the feed."""
        self.feed.stop()

    @staticmethod
    def agree(payload: bytes) -> list[str]:
        """A venue that agrees to everything."""
        if payload == b"ping":
            return ["pong"]
        verb, words = payload.decode().split(" ")
        return [f"ok {w.replace(':', ' ')}" for w in words.split(",")] if verb == "sub" else []

    @staticmethod
    def ignore(payload: bytes) -> list[str]:
        """A venue that answers heartbeats only: the test's script says the rest."""
        return ["pong"] if payload == b"ping" else []

    # --- what was recorded ---------------------------------------------------------------------------------------

    def controls(self) -> list[Control]:
        """All control records, in order."""
        return [decode_control(f) for b in self.tape.bursts if b.kind is Kind.CONTROL for f in b.frames]

    def of(self, kind: type[Control]) -> list[Control]:
        """Control records of one kind."""
        return [record for record in self.controls() if isinstance(record, kind)]

    def kept(self) -> list[bytes]:
        """All frames with data in the spool."""
        return [f for b in self.tape.bursts if b.kind is not Kind.CONTROL for f in b.frames if b"data " in f]

    def offered(self) -> list[Decoded]:
        """What the queue got."""
        return [self.items.get_nowait() for _ in range(self.items.qsize())]

    def count(self, name: str, **labels: str) -> float:
        """A counter of the metrics."""
        return self.metrics.registry.get_sample_value(name, {"source": "toy", **labels}) or 0.0
