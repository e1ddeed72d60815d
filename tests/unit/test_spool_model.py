"""The spool against a model: appending, syncing, dying in every way, bit rot, reading and releasing in any order.

The model knows what was appended, what was acknowledged, and which frames a flipped bit may cost. `RECORDER_LONG=1`
runs the long form.
"""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass, field

import pytest
import zstandard
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from recorder.capture.spool import Spool, SpoolFull
from recorder.capture.spoolreader import Lost, Slice, SpoolReader
from recorder.capture.syncer import Syncer
from recorder.errors import SpoolFault
from recorder.records import Kind
from tests.unit.spoolcases import DIRECTORY, FEED, HEADER, ROOT
from tests.unit.spooldisk import Disk

SEGMENT_BYTES = 1200  # two header copies of ~500 bytes and a few bursts: rotation is frequent
LONG = os.environ.get("RECORDER_LONG") == "1"

frames_strategy = st.lists(st.binary(max_size=40), min_size=1, max_size=4)


def plain(name: str, data: bytes) -> bytes:
    """A segment's plain bytes, by the zstd library alone where it is compressed."""
    if not name.endswith(".zst"):
        return data
    return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()


def records(data: bytes) -> list[tuple[int, int, int, int]]:
    """(begin, end, first, next) of each record of an undamaged plain segment, by the format's description alone."""
    at = 2 * (16 + struct.unpack_from("<I", data, 12)[0])
    found = []
    while at + 40 <= len(data):
        length, count = struct.unpack_from("<II", data, at + 12)
        first = struct.unpack_from("<Q", data, at + 24)[0]
        found.append((at, at + 40 + length, first, first + count))
        at += 40 + length
    return found


@dataclass
class RunModel:
    """What a run holds. Frames below `acknowledged` must be read or be excused; all others may."""

    ordinal: int
    frames: list[bytes] = field(default_factory=list)
    acknowledged: int = 0
    excused: set[int] = field(default_factory=set)


@dataclass
class Seen:
    """What reading a run gave."""

    delivered: dict[int, bytes] = field(default_factory=dict)
    lost: list[Lost] = field(default_factory=list)

    def take(self, piece: Slice) -> None:
        for burst in piece.bursts:
            for number, frame in enumerate(burst.frames, burst.first):
                assert number not in self.delivered, "a frame came twice"
                self.delivered[number] = frame
        self.lost += piece.lost

    def names(self, number: int) -> bool:
        return any(lost.first <= number and (number < lost.next or lost.next == lost.first) for lost in self.lost)


class SpoolMachine(RuleBasedStateMachine):
    """See the module."""

    @initialize()
    def begin(self) -> None:
        self.disk = Disk()
        self.runs: dict[int, RunModel] = {}
        self.released: tuple[int, int] = (0, 0)
        self.flipped: set[str] = set()
        self.open()
        self.position = (self.spool.run, 0)
        self.at = 0

    def open(self) -> None:
        self.spool = Spool(ROOT, HEADER, segment_bytes=SEGMENT_BYTES, files=self.disk, token=f"{len(self.runs):08x}")
        self.syncer = Syncer(1.0, clock=lambda: 0.0)
        self.syncer.add(self.spool)
        self.reader = SpoolReader(ROOT, FEED, self.spool, self.disk)
        ordinal = self.spool.header.run_ordinal
        assert ordinal not in self.runs, "a run's ordinal came back"
        self.run = self.runs[ordinal] = RunModel(ordinal)

    # --- the feed and the syncer ---

    @rule(frames=frames_strategy, kind=st.sampled_from(Kind))
    def append(self, frames: list[bytes], kind: Kind) -> None:
        self.at += 1
        try:
            first = self.spool.append(kind, frames, self.at)
        except SpoolFull as full:
            assert full.frames == len(frames)
            return
        except SpoolFault:
            self.restart(acknowledge_all=False)
            return
        assert first == len(self.run.frames)
        self.run.frames += frames

    @rule(
        operation=st.sampled_from(
            ["write", "short", "sync", "truncate", "create", "sync_directory", "rename", "unlink"]
        ),
        code=st.sampled_from([5, 28]),
        taken=st.integers(0, 120),
        times=st.integers(1, 2),
    )
    def trouble(self, operation: str, code: int, taken: int, times: int) -> None:
        """From now on some of this fails; what is not used up ends with the process."""
        self.disk.fail(operation, code, taken=taken, times=times)

    @rule()
    def sync(self) -> None:
        self.spool.sync()
        self.acknowledge()

    @rule()
    def compress(self) -> None:
        self.syncer.turn()
        self.acknowledge()

    def acknowledge(self) -> None:
        assert self.spool.durable <= len(self.run.frames)
        if self.spool.fault is None:
            self.run.acknowledged = max(self.run.acknowledged, self.spool.durable)
        else:
            self.restart(acknowledge_all=False)

    # --- the ways to end ---

    @rule()
    def close(self) -> None:
        self.spool.close()
        self.run.acknowledged = max(self.run.acknowledged, self.spool.durable)
        if self.spool.fault is None:
            assert self.spool.durable == len(self.run.frames)
        self.restart(acknowledge_all=self.spool.fault is None)

    @rule()
    def kill(self) -> None:
        self.restart(acknowledge_all=self.spool.fault is None)

    @rule(data=st.data())
    def power_cut(self, data: st.DataObject) -> None:
        self.run.acknowledged = max(self.run.acknowledged, self.spool.durable)
        self.disk.crash(lambda most: round(most * data.draw(st.integers(0, 8)) / 8))
        self.restart(acknowledge_all=False)

    def restart(self, acknowledge_all: bool) -> None:
        """A killed process loses nothing that it wrote, and what the next one finds it makes durable."""
        self.run.acknowledged = max(self.run.acknowledged, self.spool.durable)
        if acknowledge_all:
            self.run.acknowledged = len(self.run.frames)
        self.disk.kill()
        self.open()

    # --- bit rot ---

    @rule(data=st.data())
    def flip(self, data: st.DataObject) -> None:
        """One bit of one segment; at most one of each, so that the test knows what it costs."""
        held = {n: d for n, d in self.disk.files(DIRECTORY).items() if ".seg" in n and not n.endswith(".tmp")}
        candidates = [n for n, d in held.items() if d and n.removesuffix(".zst") not in self.flipped]
        if not candidates:
            return
        name = data.draw(st.sampled_from(candidates))
        bit = data.draw(st.integers(0, 8 * len(held[name]) - 1))
        if not name.endswith(".zst") and data.draw(st.booleans()):
            bit = self.in_last_record(held[name], bit)
        both = name.removesuffix(".zst") in held and name.removesuffix(".zst") + ".zst" in held
        if both or not self.intact(name, held[name]):
            return
        self.flipped.add(name.removesuffix(".zst"))
        self.excuse(name, held, bit // 8)
        self.disk.flip(DIRECTORY / name, bit)

    def in_last_record(self, data: bytes, bit: int) -> int:
        """The damage that nothing after it gives away."""
        begin, end, _, _ = records(data)[-1] if records(data) else (0, len(data), 0, 0)
        return 8 * begin + bit % (8 * (min(end, len(data)) - begin))

    def intact(self, name: str, data: bytes) -> bool:
        return len(plain(name, data)) > 40 and data[:4] in (b"\x89spo", b"\x5d\x2a\x4d\x18")

    def excuse(self, name: str, held: dict[str, bytes], byte: int) -> None:
        """The frames that may be gone: of the burst that was hit, or of the whole of a compressed segment, as far
        as the segment is the one that counts for them."""
        ordinal = self.ordinal(name)
        following = [
            int(n.split("-")[2]) for n in held if n > name.removesuffix(".zst") + "~" and self.ordinal(n) == ordinal
        ]
        stop = min(following, default=1 << 62)
        run = self.runs.get(ordinal)
        if run is None:
            return
        for begin, end, one, after in records(plain(name, held[name])):
            if name.endswith(".zst") or begin <= byte < end:
                run.excused |= set(range(one, min(after, stop)))

    def ordinal(self, name: str) -> int:
        return int(name.split("-")[0])

    # --- the writer ---

    @rule(max_bytes=st.integers(1, 200))
    def read(self, max_bytes: int) -> None:
        """Sequential reading never repeats, never skips silently, and never gives what was not appended."""
        run, n = self.position
        piece = self.reader.read(run, n, max_bytes)
        model = self.runs[int(run.split("-")[0])]
        for burst in piece.bursts:
            self.account(model, n, burst.first, piece.lost)
            assert burst.frames == model.frames[burst.first : burst.next]
            n = burst.next
        self.account(model, n, piece.next, piece.lost)
        self.position = (run, piece.next)
        if piece.end_of_run:
            tail = Seen(lost=piece.lost)
            for number in range(piece.next, model.acknowledged):
                assert tail.names(number)
                assert number in model.excused
            assert piece.next_run is not None or run == self.spool.run
            if piece.next_run is not None:
                self.position = (piece.next_run, 0)

    def account(self, model: RunModel, n: int, upto: int, lost: list[Lost]) -> None:
        assert upto >= n
        for number in range(n, upto):
            assert any(one.first <= number < one.next for one in lost), "skipped in silence"
            assert number >= model.acknowledged or number in model.excused, "lost without a reason"

    @rule()
    def release(self) -> None:
        run, n = self.position
        before = self.reader.size()
        freed = self.reader.release(run, n, self.at + 1)
        assert self.reader.size() <= before - freed
        self.released = max(self.released, (int(run.split("-")[0]), n))

    @rule(keep=st.integers(0, 5))
    def release_what_is_old(self, keep: int) -> None:
        """Nothing younger than asked for goes."""
        run, n = self.position
        self.reader.release(run, n, self.at - keep)
        self.released = max(self.released, (int(run.split("-")[0]), n))

    # --- what must hold ---

    @rule()
    def check(self) -> None:
        """Everything acknowledged and not released is read as it was appended, or named as lost for a reason."""
        reader = SpoolReader(ROOT, FEED, self.spool, self.disk)
        for info in reader.runs():
            seen, n, ended = Seen(), info.first, False
            while not ended:
                piece = reader.read(info.run, n, 150)
                seen.take(piece)
                ended = piece.end_of_run or (piece.next == n and not piece.bursts)
                n = piece.next
            self.compare(self.runs[info.ordinal], seen)
        reader.close()
        held = {info.ordinal for info in SpoolReader(ROOT, FEED, self.spool, self.disk).runs()}
        for ordinal, model in self.runs.items():
            if ordinal >= self.released[0] and model.acknowledged > 0 and ordinal not in held:
                assert (ordinal, model.acknowledged) <= self.released, "a run is gone"

    def compare(self, model: RunModel, seen: Seen) -> None:
        for number, frame in seen.delivered.items():
            assert frame == model.frames[number]
        must = range(model.acknowledged) if model is not self.run else range(len(model.frames))
        for number in must:
            if (model.ordinal, number) < self.released or number in seen.delivered:
                continue
            assert seen.names(number), f"frame {number} of run {model.ordinal} is gone in silence"
            assert number in model.excused, f"frame {number} of run {model.ordinal} is lost without a reason"

    @invariant()
    def descriptors_are_bounded(self) -> None:
        if hasattr(self, "disk"):
            assert self.disk.descriptors <= 12

    def teardown(self) -> None:
        if hasattr(self, "disk"):
            self.disk.troubles.clear()
            self.check()


TestSpoolModel = pytest.mark.timeout(7200 if LONG else 300)(SpoolMachine.TestCase)
TestSpoolModel.settings = settings(
    max_examples=20_000 if LONG else 300,
    stateful_step_count=80 if LONG else 40,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
