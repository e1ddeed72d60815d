"""A feed with everything around it replaced: clock, disk, venue and wire. Time passes only when somebody waits."""

from __future__ import annotations

import queue
import random
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from recorder.capture.backoff import Doors
from recorder.capture.feed import Feed, FeedParts
from recorder.capture.feedstate import FeedState
from recorder.capture.frames import Run
from recorder.capture.heartbeat import Heartbeats
from recorder.capture.intake import Clock
from recorder.capture.spool import SpoolFull
from recorder.capture.transport import Options
from recorder.config import Source
from recorder.errors import ConnectionLost, SpoolFault
from recorder.listing import Listing
from recorder.observe.health import Beats
from recorder.observe.metrics import Metrics
from recorder.quality.continuity import Continuity
from recorder.records import (
    Ack,
    Burst,
    Control,
    Decoded,
    Header,
    Kind,
    Notice,
    Pong,
    Reaction,
    Refusal,
    Rows,
    Stream,
    Streams,
    decode_control,
)
from recorder.venues import Channel, Code, Decoder, Heartbeat, Limits, Line, Request, Subscription, Timekeeper
from recorder.venues import Continuity as Proof

WALL = 1_700_000_000_000_000
CODES = (
    Code("drop", "no such instrument", Reaction.DROP),
    Code("again", "internal error", Reaction.RESUBSCRIBE),
    Code("slow", "too frequent", Reaction.SLOW_DOWN),
    Code("key", "bad key", Reaction.PARK),
    Code("leave", "internal error", Reaction.RETRY),
    Code("513", "no heartbeat", Reaction.RETRY, counts_as_heartbeat_timeout=True),
    Code("upgrade", "moving", Reaction.HAND_OVER),
    Code("close 4001", "login failed", Reaction.PARK),
    Code("close 4004", "no data in 30 s", Reaction.RETRY, counts_as_heartbeat_timeout=True),
)
_REACTIONS = {code.code: code.reaction for code in CODES}


class Toy:
    """A venue whose frames are words: `data CHANNEL SYMBOL PREVIOUS SEQUENCE`, `ok CHANNEL SYMBOL`,
    `no CODE CHANNEL SYMBOL`, `refuse CODE ID`, `notice CODE`, `pong`."""

    name = "toy"
    title = "A venue of the tests"
    endpoints: tuple[str, ...] = ()
    rest = ""
    channels: tuple[Channel, ...] = (
        Channel("trades", "trades", Proof.NUMBERED, "public"),
        Channel("books", "books", Proof.CHAINED, "public"),
        Channel("candles", "candles", Proof.BARS, "public"),
    )
    codes: tuple[Code, ...] = CODES
    facts: tuple[str, ...] = ()
    heartbeat = Heartbeat(b"ping", 20.0, 10.0, True)
    time: Timekeeper | None = None
    listing: Listing | None = None
    options: Mapping[str, str] = {}
    secrets: frozenset[str] = frozenset()

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def check(self, source: Source) -> list[str]:
        """All is well."""
        return []

    warnings = check

    def lines(self, source: Source, held: Sequence[Line] = ()) -> list[Line]:
        """Made by the tests."""
        return []

    def subscribe(self, subscriptions: Sequence[Subscription]) -> list[Request]:
        """One request for all; its id is what it asks for."""
        return [self._request("sub", subscriptions)]

    def unsubscribe(self, subscriptions: Sequence[Subscription]) -> list[Request]:
        """One request for all."""
        return [self._request("unsub", subscriptions)]

    @staticmethod
    def _request(verb: str, subscriptions: Sequence[Subscription]) -> Request:
        words = ",".join(f"{s.channel}:{s.symbol}" for s in subscriptions)
        return Request(f"{verb} {words}".encode(), tuple(subscriptions), words)

    def decoder(self, header: Header, streams: Streams) -> Decoder:
        """Of words."""
        return Words(header, streams)

    def channel(self, name: str) -> Channel | None:
        """By its name."""
        return next((c for c in self.channels if c.name == name), None)

    def close_reason(self, code: int, text: str) -> str:
        """Two codes mean something."""
        return {4001: "auth", 4004: "heartbeat"}.get(code, "close")


class Words:
    """Reads the toy's frames."""

    def __init__(self, header: Header, streams: Streams) -> None:
        self.header = header
        self.streams = streams

    def decode(self, burst: Burst) -> Decoded:
        """By the kind of the burst."""
        out = Decoded(self.header.feed, self.header.run, burst.first, burst.next, burst.received_at)
        if burst.kind is Kind.CONTROL:
            out.control += [(n, decode_control(frame)) for n, frame in enumerate(burst.frames, burst.first)]
        else:
            self._messages(burst, out)
        return out

    def _messages(self, burst: Burst, out: Decoded) -> None:
        lines: dict[str, list[bytes]] = {}
        for n, frame in enumerate(burst.frames, burst.first):
            verb, *words = frame.decode().split(" ")
            if verb == "data":
                self._data(n, words, burst.received_at, out)
                lines.setdefault(words[0], []).append(frame + b"\n")
            elif verb == "ok":
                out.replies.append(Ack(words[0], words[1]))
            elif verb == "no":
                out.replies.append(Refusal(words[0], "refused", _REACTIONS[words[0]], "", words[1], words[2]))
            elif verb == "refuse":
                out.replies.append(Refusal(words[0], "refused", _REACTIONS[words[0]], words[1]))
            elif verb == "notice":
                out.replies.append(Notice(words[0], "notice", _REACTIONS[words[0]]))
            elif verb == "pong":
                out.replies.append(Pong())
        for table, parts in lines.items():
            out.tables[table].data = b"".join(parts)

    def _data(self, n: int, words: list[str], at: int, out: Decoded) -> None:
        channel, symbol, previous, sequence = words
        rows = out.tables.setdefault(channel, Rows(b"", [], [], [], [], []))
        rows.streams.append(self.streams.number(Stream(self.header.source, channel, symbol)))
        rows.seq_from.append(int(previous))
        rows.seq_to.append(int(sequence))
        rows.times.append(at - 5000)
        rows.frames.append(n)
        out.messages[channel] = out.messages.get(channel, 0) + 1


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
        self.sent: list[tuple[float, bytes]] = []
        self.closed: int | None = None
        self._rig = rig
        self._steps = deque(script)
        self._answers: deque[list[Run]] = deque()
        self._at = rig.now + (script[0][0] if script else 0)
        self._lost: ConnectionLost | None = None

    def read(self, timeout: float) -> list[Run]:
        """The next answer or step, if it comes in time."""
        assert self.closed is None
        end = self._rig.now + timeout
        while self._lost is None:
            if self._answers:
                return self._received(self._answers.popleft())
            if self._steps and self._at <= self._rig.now:
                return self._play()
            if self._rig.now >= end:
                return []
            self._rig.pass_time(min(0.5, min(end, self._at if self._steps else end) - self._rig.now))
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
        self.venue = Toy(limits)
        self.feed = self._feed(pairs)

    def _feed(self, pairs: tuple[Subscription, ...]) -> Feed:
        header = Header("id", "toy/public/0", "toy", "toy", "/ws", {}, run="1-aaaaaaaa", run_ordinal=1)
        overflows = self.metrics.queue_overflows("toy")
        self.state = FeedState("toy/public/0", "toy", "1-aaaaaaaa", self.items, 1 << 30, overflows)
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
            stop=self.stop,
        )
        return Feed("toy/public/0", source, self.venue, Line("public/0", "/ws", pairs), parts, self.faults.append)

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
