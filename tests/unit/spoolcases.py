"""One small run on a disk in memory, and how to read it: what the spool's tests have in common."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from recorder.capture.segments import decode_header, encode_burst, feed_directory
from recorder.capture.spool import Spool
from recorder.capture.spoolreader import Lost, SpoolReader
from recorder.capture.syncer import Syncer
from recorder.records import Header, Kind
from tests.unit.spooldisk import Disk

ROOT = Path("/home/spool")
FEED = "okx/public/0"
DIRECTORY = feed_directory(ROOT, FEED)
HEADER = Header("spool-id", FEED, "okx", "okx", "/ws", {"business": "common"})
BURSTS = [[b"alpha", b""], [b"beta" * 5], [b"gamma", b"delta", b"epsilon"]]  # frames 0-1, 2, 3-5
TOKEN = "0badcafe"


def made(*, closed: bool = False, segment_bytes: int = 1 << 20) -> Disk:
    """A disk with one run of `BURSTS`, left by a killed process or closed."""
    disk = Disk()
    spool = Spool(ROOT, HEADER, files=disk, token=TOKEN, segment_bytes=segment_bytes)
    for at, frames in enumerate(BURSTS):
        spool.append(Kind.TEXT, frames, at)
    spool.sync()
    if closed:
        spool.close()
    disk.kill()
    return disk


def only(disk: Disk) -> Path:
    (name,) = disk.files(DIRECTORY)
    return DIRECTORY / name


def records_from(data: bytes) -> int:
    found = decode_header(data)
    assert found is not None
    return found[1]


def read_all(disk: Disk, spool: Spool | None = None, run: str = f"1-{TOKEN}") -> tuple[list[bytes], list[Lost]]:
    """A run's frames in order and what is lost; reading by small slices, as the writer does."""
    reader = SpoolReader(ROOT, FEED, spool, disk)
    frames: list[bytes] = []
    lost: list[Lost] = []
    n = 0
    for _ in range(100):
        piece = reader.read(run, n, 1)
        frames += [frame for burst in piece.bursts for frame in burst.frames]
        lost += piece.lost
        if piece.end_of_run or (piece.next == n and not piece.lost):
            return frames, lost
        n = piece.next
    raise AssertionError("reading does not end")


ALL = [frame for burst in BURSTS for frame in burst]
SPANS = [(0, 2), (2, 3), (3, 6)]


def ranges(lost: list[Lost]) -> list[tuple[int, int]]:
    return [(one.first, one.next) for one in lost]


def flips(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Every single bit of the file, flipped."""
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bit // 8, bytes(flipped)


def hit(data: bytes, byte: int) -> int | None:
    """Which burst holds this byte."""
    end = records_from(data)
    for index, frames in enumerate(BURSTS):
        begin, end = end, end + len(encode_burst(0, 0, 0, 0, frames))
        if begin <= byte < end:
            return index
    return None


def several() -> tuple[Disk, list[str]]:
    """A run of three segments with one burst each, closed."""
    disk = made(closed=True, segment_bytes=1)
    names = sorted(disk.files(DIRECTORY))
    assert len(names) == 3
    return disk, names


def next_set_aside(disk: Disk) -> Path:
    (name,) = disk.files(DIRECTORY / "corrupt")
    return DIRECTORY / "corrupt" / name


def compressed() -> tuple[Disk, Path, Spool]:
    """The run of `made`, closed and compressed, under a new run."""
    disk = made(closed=True)
    spool = Spool(ROOT, HEADER, files=disk)
    syncer = Syncer(1.0, clock=lambda: 0.0)
    syncer.add(spool)
    syncer.turn()
    (name,) = [name for name in disk.files(DIRECTORY) if name.endswith(".zst")]
    return disk, DIRECTORY / name, spool


class Ticks:
    """A clock that moves when it is told to, and a little whenever it is read."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 0.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def filled(disk: Disk, bursts: int = 30, segment_bytes: int = 2000, size: int = 100) -> Spool:
    """A spool of `bursts` bursts of two frames, at times 0, 10, 20 …"""
    spool = Spool(ROOT, HEADER, files=disk, segment_bytes=segment_bytes)
    noise = random.Random(7)
    for number in range(bursts):
        spool.append(Kind.TEXT, [noise.randbytes(size), b"%d" % number], 10 * number)
    spool.sync()
    return spool


def compressor(spool: Spool, clock: Ticks | None = None) -> Syncer:
    syncer = Syncer(1.0, clock=clock if clock is not None else Ticks())
    syncer.add(spool)
    return syncer


def frames_of(reader: SpoolReader, run: str, max_bytes: int, n: int = 0) -> list[bytes]:
    frames: list[bytes] = []
    while True:
        piece = reader.read(run, n, max_bytes)
        assert piece.lost == []
        if not piece.bursts:
            return frames
        assert piece.bursts[0].first == n
        frames += [frame for burst in piece.bursts for frame in burst.frames]
        n = piece.next
