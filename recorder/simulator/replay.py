"""Recorded frames served again: exactly those, in their order, to whoever subscribes.

Owns reading the recordings and the playing. Never changes a frame; what is recorded as a REST answer is served over
HTTP under its path.

A recording is a file of JSON lines (.jsonl, .jsonl.gz): `t` time, `dir` recv or send, `raw` text, and where they
apply `b64` (the exact bytes of a binary frame) and `url` (of a REST request that `raw` answers) or `file` (its name).
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from recorder.errors import ConfigError
from recorder.simulator.connection import Connection
from recorder.simulator.wire import HttpRequest, HttpResponse, frame

PIECE = 64  # frames between two looks at whether the client keeps up


@dataclass(frozen=True, slots=True)
class Dialect:
    """What playing must know of a venue's protocol.

    `hear`: the answer to a message, empty for none, and whether it is the sign to begin. `greets`: whether a message at
    the beginning of a recording came unasked. `without`: connections whose path contains this get answers only: the
    recording would else be stored twice by a client that opens several paths. `answers`: the paths of REST answers that
    were recorded under a name and without their URL; an empty path: no answer to anything.
    """

    hear: Callable[[bytes], tuple[bytes, bool]]
    greets: Callable[[bytes], bool] = lambda message: False
    without: str = ""
    answers: Mapping[str, str] = field(default_factory=dict)
    pack: Callable[[bytes], bytes] = frame


def hear_text(message: bytes) -> tuple[bytes, bool]:
    """Heartbeats in words: everything else is the sign to begin."""
    return (b"pong", False) if message == b"ping" else (b"", True)


TEXT = Dialect(hear_text)


class _Line(msgspec.Struct):
    dir: str
    raw: str = ""
    t: float | None = None
    b64: str = ""
    url: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class Recording:
    """What a venue sent: frames with their times (seconds, None unknown), how many of them came unasked at first, and
    REST answers by path."""

    frames: tuple[tuple[float | None, bytes], ...]
    unasked: int
    answers: dict[str, bytes]


def load(files: Sequence[Path], dialect: Dialect = TEXT) -> Recording:
    """Read recordings, one after the other."""
    frames: list[tuple[float | None, bytes]] = []
    answers: dict[str, bytes] = {}
    unasked = 0
    for line in (line for file in files for line in _lines(file) if line.dir == "recv"):
        address = line.url or dialect.answers.get(line.file)
        if address is not None:
            _answered(answers, address, line.raw.encode())
            continue
        if unasked == len(frames) and dialect.greets(line.raw.encode()):
            unasked += 1
        packed = frame(base64.b64decode(line.b64), 0x2) if line.b64 else dialect.pack(line.raw.encode())
        frames.append((line.t, packed))
    return Recording(tuple(frames), unasked, answers)


def _answered(answers: dict[str, bytes], address: str, body: bytes) -> None:
    url = urlsplit(address)
    if url.path:
        answers.setdefault(url.path, body)
        answers[_key(url.path, dict(parse_qsl(url.query)))] = body


def _key(path: str, query: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(sorted(query.items()))}"


def _lines(file: Path) -> Iterator[_Line]:
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        for line in data.splitlines():
            yield msgspec.json.decode(line, type=_Line)
    except (OSError, EOFError, msgspec.MsgspecError) as error:
        raise ConfigError([f"{file}: not a recording: {error}"]) from error


class Replay:
    """A venue that plays a recording. Subscribing starts it on that connection; what came unasked comes at once.

    `speed`: None as fast as the client reads, 1.0 as recorded. `once`: only the first connection that subscribes is
    served.
    """

    def __init__(
        self,
        files: Sequence[Path],
        *,
        name: str = "replay",
        dialect: Dialect = TEXT,
        speed: float | None = None,
        once: bool = False,
    ) -> None:
        self.name = name
        self.recording = load(files, dialect)
        self.played = threading.Event()  # every frame was written to some connection
        self.plays = 0
        self.on_refuse: Callable[[float], None] | None = None
        self._dialect = dialect
        self._speed = speed
        self._once = once
        self._players: dict[Connection, asyncio.Task[None] | None] = {}
        self._room: dict[Connection, asyncio.Event] = {}

    def admit(self, request: HttpRequest) -> tuple[float, HttpResponse | None]:
        """Everybody on any path."""
        return 0.0, None

    def opened(self, link: Connection, path: str) -> None:
        """Wait for a subscription, where frames are played."""
        if not (self._dialect.without and self._dialect.without in path):
            self._players[link] = None
            for _, data in self.recording.frames[: self.recording.unasked]:
                link.push(data)

    def received(self, link: Connection, message: bytes) -> None:
        """Something to answer, the sign to begin, or both."""
        answer, begins = self._dialect.hear(message)
        if answer:
            link.push(self._dialect.pack(answer))
        if begins and link in self._players and self._players[link] is None and not (self._once and self.plays):
            self.plays += 1
            self._room[link] = asyncio.Event()
            self._players[link] = asyncio.get_running_loop().create_task(self._play(link))

    def writable(self, link: Connection) -> None:
        """Go on."""
        if link in self._room:
            self._room[link].set()

    def closed(self, link: Connection) -> None:
        """Stop playing to it."""
        task = self._players.pop(link, None)
        self._room.pop(link, None)
        if task is not None:
            task.cancel()

    def rest(self, request: HttpRequest) -> HttpResponse:
        """The recorded answer to this query, else to any query of this path."""
        answers = self.recording.answers
        body = answers.get(_key(request.path, request.query)) or answers.get(request.path)
        if body is None:
            return HttpResponse(404, b'{"code":"404","data":[],"msg":"Not Found"}')
        return HttpResponse(200, body)

    def tick(self) -> None:
        """Nothing happens by itself."""

    async def _play(self, link: Connection) -> None:
        loop = asyncio.get_running_loop()
        began, first = loop.time(), next((t for t, _ in self.recording.frames if t is not None), 0.0)
        for number, (at, data) in enumerate(self.recording.frames[self.recording.unasked :]):
            if self._speed and at is not None:
                await asyncio.sleep(max(0.0, began + (at - first) / self._speed - loop.time()))
            link.push(data)
            if self._speed or number % PIECE == PIECE - 1:
                link.flush()
                await self._until_writable(link)
        link.flush()
        self.played.set()

    async def _until_writable(self, link: Connection) -> None:
        room = self._room[link]
        while link.paused:
            room.clear()
            await room.wait()
