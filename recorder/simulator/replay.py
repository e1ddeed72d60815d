"""Recorded frames served again: exactly those, in their order, to whoever subscribes.

Owns reading the recordings and the playing. Never looks into a frame; what is recorded as a REST answer is served
over HTTP under its path.

A recording is a file of JSON lines (.jsonl, .jsonl.gz): `t` time, `dir` recv or send, `raw` text, and where they
apply `b64` (the exact bytes of a binary frame) and `url` (of a REST request that `raw` answers).
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from recorder.errors import ConfigError
from recorder.simulator.connection import Connection
from recorder.simulator.wire import HttpRequest, HttpResponse, frame

PIECE = 64  # frames between two looks at whether the client keeps up


class _Line(msgspec.Struct):
    dir: str
    raw: str = ""
    t: float | None = None
    b64: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Recording:
    """What a venue sent: frames with their times (seconds, None unknown), and REST answers by path."""

    frames: tuple[tuple[float | None, bytes], ...]
    answers: dict[str, bytes]


def load(files: Sequence[Path]) -> Recording:
    """Read recordings, one after the other."""
    frames: list[tuple[float | None, bytes]] = []
    answers: dict[str, bytes] = {}
    for file in files:
        for line in _lines(file):
            if line.dir != "recv":
                continue
            if line.url:
                url = urlsplit(line.url)
                answers.setdefault(url.path, line.raw.encode())
                answers[_key(url.path, dict(parse_qsl(url.query)))] = line.raw.encode()
            else:
                data = frame(base64.b64decode(line.b64), 0x2) if line.b64 else frame(line.raw.encode())
                frames.append((line.t, data))
    return Recording(tuple(frames), answers)


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
    """A venue that plays a recording. Subscribing (any text but a heartbeat) starts it on that connection.

    `speed`: None as fast as the client reads, 1.0 as recorded. Connections whose path contains `without` get
    heartbeats only: the recording would else be stored twice by a client that opens several paths.
    `once`: only the first connection that subscribes is served.
    """

    def __init__(
        self,
        files: Sequence[Path],
        *,
        name: str = "replay",
        speed: float | None = None,
        without: str = "/business",
        once: bool = False,
    ) -> None:
        self.name = name
        self.recording = load(files)
        self.played = threading.Event()  # every frame was written to some connection
        self.plays = 0
        self.on_refuse: Callable[[float], None] | None = None
        self._speed = speed
        self._without = without
        self._once = once
        self._players: dict[Connection, asyncio.Task[None] | None] = {}
        self._room: dict[Connection, asyncio.Event] = {}

    def admit(self, request: HttpRequest) -> tuple[float, HttpResponse | None]:
        """Everybody on any path."""
        return 0.0, None

    def opened(self, link: Connection, path: str) -> None:
        """Wait for a subscription, where frames are played."""
        if not (self._without and self._without in path):
            self._players[link] = None

    def received(self, link: Connection, message: bytes) -> None:
        """A heartbeat, or the sign to begin."""
        if message == b"ping":
            link.push(frame(b"pong"))
        elif link in self._players and self._players[link] is None and not (self._once and self.plays):
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
        for number, (at, data) in enumerate(self.recording.frames):
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
