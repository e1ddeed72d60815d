"""Reading in slices, looking at single frames, and compression."""

from __future__ import annotations

import errno
import io
import random

import pytest
import zstandard

from recorder.capture.inventory import ls, verify
from recorder.capture.segments import BLOCK_BYTES
from recorder.capture.spool import Spool
from recorder.capture.spoolreader import SpoolReader
from recorder.capture.syncer import RETRY_SECONDS, Syncer
from recorder.records import Kind
from tests.unit.spoolcases import DIRECTORY, FEED, HEADER, ROOT, Ticks, compressor, filled, frames_of
from tests.unit.spooldisk import Disk

# --- slices ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_bytes", [1, 100, 1000, 1 << 20])
@pytest.mark.parametrize("squeeze", [False, True])
def test_slices_of_any_size_give_the_same_frames(max_bytes: int, squeeze: bool) -> None:
    """A slice holds whole bursts, at least one, and the next begins where it ends, across segments."""
    disk = Disk()
    spool = filled(disk)
    if squeeze:
        compressor(spool).turn()
        assert any(name.endswith(".zst") for name in disk.files(DIRECTORY))
    frames = frames_of(SpoolReader(ROOT, FEED, spool, disk), spool.run, max_bytes)
    assert len(frames) == spool.next and frames[1::2] == [b"%d" % n for n in range(30)]


def test_a_slice_is_bounded() -> None:
    """A slice ends with the burst that reaches max_bytes."""
    disk = Disk()
    spool = filled(disk)
    piece = SpoolReader(ROOT, FEED, spool, disk).read(spool.run, 0, 250)
    assert [burst.first for burst in piece.bursts] == [0, 2, 4]


def test_reading_from_inside_a_burst_gives_the_rest_of_it() -> None:
    """Positions stand between bursts; one that does not is honoured all the same."""
    disk = Disk()
    spool = filled(disk)
    piece = SpoolReader(ROOT, FEED, spool, disk).read(spool.run, 5, 1)
    assert (piece.bursts[0].first, piece.bursts[0].frames, piece.next) == (5, [b"2"], 6)


def test_reading_again_from_an_earlier_frame_works() -> None:
    """After a database failure the writer goes back."""
    disk = Disk()
    spool = filled(disk)
    reader = SpoolReader(ROOT, FEED, spool, disk)
    everything = frames_of(reader, spool.run, 300)
    for n in (40, 10, 58, 0):
        assert frames_of(reader, spool.run, 300, n) == everything[n:]


def test_the_reader_follows_the_appending_side() -> None:
    """An empty slice at the end is not the end of the run while it is being appended to."""
    disk = Disk()
    spool = Spool(ROOT, HEADER, files=disk, segment_bytes=1000)
    reader = SpoolReader(ROOT, FEED, spool, disk)
    for number in range(40):
        piece = reader.read(spool.run, number, 100)
        assert (piece.bursts, piece.end_of_run, piece.next) == ([], False, number)
        spool.append(Kind.TEXT, [b"x" * 90], number)
        piece = reader.read(spool.run, number, 100)
        assert [burst.first for burst in piece.bursts] == [number]
    spool.close()
    piece = reader.read(spool.run, 40, 100)
    assert (piece.end_of_run, piece.next_run, piece.lost) == (True, None, [])


def test_the_end_of_a_run_names_the_next_and_only_then_is_it_the_end() -> None:
    """end_of_run comes in a slice without bursts; at_end remembers that the last run was read to its end."""
    disk = Disk()
    first = filled(disk, 3)
    first.close()
    second = Spool(ROOT, HEADER, files=disk)
    second.append(Kind.TEXT, [b"last"], 5)
    second.close()
    reader = SpoolReader(ROOT, FEED, None, disk)
    assert not reader.read(first.run, 0, 1 << 20).end_of_run
    assert reader.read(first.run, 6, 1).next_run == second.run
    assert not reader.at_end(second.run, 1)
    assert reader.read(second.run, 1, 1).end_of_run
    assert reader.at_end(second.run, 1) and not reader.at_end(second.run, 0)


def test_a_run_that_is_not_held_is_an_error() -> None:
    """The writer asks `runs` where to resume; it never guesses."""
    disk = Disk()
    spool = filled(disk, 1)
    with pytest.raises(LookupError):
        SpoolReader(ROOT, FEED, spool, disk).read("9-deadbeef", 0, 1)


def test_catching_up_reads_every_byte_once() -> None:
    """Sequential reading costs the spool's size, not its square, plain or compressed."""
    for squeeze in (False, True):
        disk = Disk()
        spool = filled(disk, bursts=400, segment_bytes=20_000)
        if squeeze:
            compressor(spool).turn()
        reader = SpoolReader(ROOT, FEED, spool, disk)
        disk.bytes_read = 0
        frames_of(reader, spool.run, 1)
        assert disk.bytes_read < 2.2 * reader.size()


# --- single frames -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("squeeze", [False, True])
def test_any_frame_can_be_looked_at_without_disturbing_reading(squeeze: bool) -> None:
    """Quarantine asks for a raw frame, the lag for a burst's time, in any order, while a backlog is read."""
    disk = Disk()
    spool = filled(disk)
    if squeeze:
        compressor(spool).turn()
    reader = SpoolReader(ROOT, FEED, spool, disk)
    everything = frames_of(SpoolReader(ROOT, FEED, spool, disk), spool.run, 1000)
    order = list(range(60))
    random.Random(3).shuffle(order)
    n = 0
    for number in order:
        assert reader.frame(spool.run, number) == everything[number]
        assert reader.received_at(spool.run, number) == number // 2 * 10
        piece = reader.read(spool.run, n, 1)
        n = piece.next
    assert n == 60


def test_frames_that_are_not_held_are_none() -> None:
    """Neither before, nor beyond, nor in an unknown run, nor damaged."""
    disk = Disk()
    spool = filled(disk, 20)
    reader = SpoolReader(ROOT, FEED, spool, disk)
    reader.release(spool.run, 30, 1 << 62)
    assert reader.runs()[0].first > 0
    for run, number in ((spool.run, 0), (spool.run, 40), ("7-deadbeef", 0)):
        assert reader.frame(run, number) is None and reader.received_at(run, number) is None


# --- compression ---------------------------------------------------------------------------------------------------


def test_a_compressed_segment_is_ordinary_zstd() -> None:
    """Without us, `zstd -d` restores the segment byte for byte; blocks of 1 MiB are compressed one by one."""
    disk = Disk()
    spool = filled(disk, bursts=30, segment_bytes=BLOCK_BYTES * 5 // 2, size=100_000)
    plain = disk.files(DIRECTORY)[str(spool.sealed[0])]
    assert len(plain) > 2 * BLOCK_BYTES
    compressor(spool).turn()
    name = next(name for name in disk.files(DIRECTORY) if name.endswith(".zst"))
    packed = disk.files(DIRECTORY)[name]
    assert zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed), read_across_frames=True).read() == plain
    reader = SpoolReader(ROOT, FEED, spool, disk)
    assert frames_of(reader, spool.run, 300_000)[1::2] == [b"%d" % n for n in range(30)]


def test_a_damaged_block_costs_only_its_own_bursts() -> None:
    """The blocks before and after it are read; what is lost is named."""
    disk = Disk()
    spool = filled(disk, bursts=30, segment_bytes=BLOCK_BYTES * 5 // 2, size=100_000)
    compressor(spool).turn()
    name = next(name for name in disk.files(DIRECTORY) if name.endswith(".zst"))
    size = len(disk.files(DIRECTORY)[name])
    for place in (size // 2, size // 2 - 300_000):
        disk.flip(DIRECTORY / name, 8 * place)
    reader = SpoolReader(ROOT, FEED, spool, disk)
    n, got, lost = 0, 0, []
    while (piece := reader.read(spool.run, n, 1 << 20)).bursts:
        got += sum(len(burst.frames) for burst in piece.bursts)
        lost += piece.lost
        n = piece.next
    ((first, following),) = [(one.first, one.next) for one in lost]
    assert got + following - first == 60 and 20 <= following - first <= 24
    assert lost[0].set_aside is not None


def test_compression_never_delays_syncing() -> None:
    """A turn compresses block by block until half the interval is over, and goes on at the next turn."""
    disk = Disk()
    spool = filled(disk, bursts=70, segment_bytes=BLOCK_BYTES * 5 // 2, size=100_000)
    clock = Ticks(step=0.3)
    syncer = compressor(spool, clock)
    syncer.turn()
    assert not any(name.endswith(".zst") for name in disk.files(DIRECTORY))
    spool.append(Kind.TEXT, [b"meanwhile"], 1)
    syncer.turn()
    assert spool.durable == spool.next
    for _ in range(10):
        syncer.turn()
    assert sum(name.endswith(".zst") for name in disk.files(DIRECTORY)) == 2


@pytest.mark.parametrize("operation", ["create", "write", "sync", "rename", "sync_directory", "unlink"])
def test_compression_that_fails_is_tried_again_later(operation: str) -> None:
    """No room or a sick disk: the segment stays readable, trouble is told, and a minute later it is tried again."""
    disk = Disk()
    spool = filled(disk)
    told: list[OSError] = []
    clock = Ticks()
    syncer = Syncer(1.0, clock=clock, trouble=lambda path, error: told.append(error))
    syncer.add(spool)
    disk.fail(operation, errno.ENOSPC)
    syncer.turn()
    assert len(told) == 1
    assert len(frames_of(SpoolReader(ROOT, FEED, spool, disk), spool.run, 1000)) == 60
    before = set(disk.files(DIRECTORY))
    syncer.turn()
    assert set(disk.files(DIRECTORY)) == before
    clock.now += RETRY_SECONDS
    syncer.turn()
    names = sorted(disk.files(DIRECTORY))
    assert [name.endswith(".zst") for name in names] == [True] * (len(names) - 1) + [False]
    assert len(told) == 1


def test_both_forms_after_a_crash_are_one_segment() -> None:
    """A crash between rename and unlink leaves both; frames come once, and the plain one goes at the next turn."""
    disk = Disk()
    spool = filled(disk)
    spool.close()
    plain = disk.files(DIRECTORY)
    again = Spool(ROOT, HEADER, files=disk)
    compressor(again).turn()
    for name, data in plain.items():
        disk.put(DIRECTORY / name, data)
    disk.put(DIRECTORY / "00000001-x.seg.zst.tmp", b"half")
    disk.kill()
    third = Spool(ROOT, HEADER, files=disk)
    assert len(frames_of(SpoolReader(ROOT, FEED, third, disk), spool.run, 1000)) == 60
    compressor(third).turn()
    assert [n for n in disk.files(DIRECTORY) if not n.endswith(".zst")] == [sorted(disk.files(DIRECTORY))[-1]]


def test_a_segment_released_while_it_is_compressed_stays_released() -> None:
    """Its compressed form does not come back."""
    disk = Disk()
    spool = filled(disk, bursts=70, segment_bytes=BLOCK_BYTES * 5 // 2, size=100_000)
    syncer = compressor(spool, Ticks(step=0.3))
    syncer.turn()
    reader = SpoolReader(ROOT, FEED, spool, disk)
    assert reader.release(spool.run, spool.next, 1 << 62) > 0
    for _ in range(10):
        syncer.turn()
    assert [name for name in disk.files(DIRECTORY) if not name.endswith(".tmp")] == [
        name for name in disk.files(DIRECTORY) if name.endswith(f"-{spool.end[0]:06d}.seg")
    ]


def test_ls_and_verify_agree_about_compressed_segments() -> None:
    """Whatever form a segment has, its frames and times are the same."""
    disk = Disk()
    spool = filled(disk)
    spool.close()
    before = [(r.first, r.next, r.frames, r.from_time, r.to_time, r.sealed, r.plain_bytes) for r in ls(ROOT, disk)]
    again = Spool(ROOT, HEADER, files=disk)
    compressor(again).turn()
    for reports in (list(ls(ROOT, disk)), list(verify(ROOT, disk))):
        old = reports[:-1]
        assert all(r.compressed and r.problems == [] for r in old)
        assert [(r.first, r.next, r.frames, r.from_time, r.to_time, r.sealed, r.plain_bytes) for r in old] == before
    assert sum(frames for _, _, frames, *_ in before) == 60


# --- the syncer's thread -------------------------------------------------------------------------------------------


def test_the_thread_syncs_until_it_is_stopped_and_once_more() -> None:
    """Whatever was appended before stop is durable when the thread has ended."""
    disk = Disk()
    spool = Spool(ROOT, HEADER, files=disk)
    observed: list[float] = []
    beats: list[bool] = []
    syncer = Syncer(0.001, observe=observed.append, beat=lambda: beats.append(True))
    assert syncer.name == "spool-syncer"
    syncer.add(spool)
    syncer.start()
    for number in range(200):
        spool.append(Kind.TEXT, [b"x"], number)
    syncer.stop()
    syncer.join(10)
    assert not syncer.is_alive() and spool.durable == 200 and observed
    syncer.remove(spool)
    spool.append(Kind.TEXT, [b"x"], 1)
    syncer.turn()
    assert spool.durable == 200 and beats


def test_one_sick_spool_does_not_stop_the_others() -> None:
    """A fault is kept in its spool."""
    disk, healthy = Disk(), Disk()
    sick, well = Spool(ROOT, HEADER, files=disk), Spool(ROOT, HEADER, files=healthy)
    for spool in (sick, well):
        spool.append(Kind.TEXT, [b"x"], 1)
    disk.fail("sync", times=2)
    syncer = Syncer(1.0, clock=Ticks())
    syncer.add(sick)
    syncer.add(well)
    syncer.turn()
    assert sick.fault is not None and well.durable == 1
