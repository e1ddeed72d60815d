"""A table of lies that a disk can tell, and what the reader makes of each: exact names for what is lost, and never
a neighbour's frame."""

from __future__ import annotations

import base64
import errno
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from recorder.capture.inventory import ls, verify
from recorder.capture.segments import (
    HEAD_BYTES,
    MAGIC,
    SYNC,
    SegmentHeader,
    decode_header,
    encode_burst,
    encode_header,
    feed_directory,
    run_seed,
)
from recorder.capture.spool import Spool
from recorder.capture.spoolreader import Lost, SpoolReader, spooled_feeds
from recorder.capture.syncer import Syncer
from recorder.errors import ConfigError
from recorder.records import Header, Kind
from tests.unit.spooldisk import Disk

ROOT = Path("/home/spool")
FEED = "okx/public/0"
DIRECTORY = feed_directory(ROOT, FEED)
HEADER = Header("spool-id", FEED, "okx", "okx", "/ws", {})
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


# --- torn tails --------------------------------------------------------------------------------------------------


def test_a_tail_torn_at_any_byte_is_dropped() -> None:
    """A last record cut short anywhere was never acknowledged: no loss, and everything before it is there."""
    disk = made()
    data = disk.files(DIRECTORY)[only(disk).name]
    record = len(encode_burst(0, 3, 2, 0, BURSTS[2]))
    for cut in range(len(data) - record, len(data)):
        disk.put(only(disk), data[:cut])
        assert read_all(disk) == (ALL[:3], [])


def test_a_torn_tail_is_followed_by_the_next_run() -> None:
    """The run after a torn one begins where reading of the torn one ends."""
    disk = made()
    path = only(disk)
    disk.put(path, disk.files(DIRECTORY)[path.name][:-1])
    spool = Spool(ROOT, HEADER, files=disk)
    assert spool.header.previous_next == 3
    reader = SpoolReader(ROOT, FEED, spool, disk)
    piece = reader.read(f"1-{TOKEN}", 3, 100)
    assert (piece.bursts, piece.lost, piece.end_of_run, piece.next_run) == ([], [], True, spool.run)


@pytest.mark.parametrize("tail", [b"\0", b"\0" * 100, b"\0" * 5000, SYNC, SYNC + b"\0" * 20])
def test_what_a_power_cut_leaves_behind_the_last_record_is_dropped(tail: bytes) -> None:
    """Pages that were never written are zeros; less than a head is no record."""
    disk = made()
    path = only(disk)
    disk.put(path, disk.files(DIRECTORY)[path.name] + tail)
    assert read_all(disk) == (ALL, [])


def test_a_position_beyond_the_end_leads_to_the_next_run() -> None:
    """The database may know frames whose bytes a power cut took: they are stored, nothing is to be read again."""
    disk = made()
    spool = Spool(ROOT, HEADER, files=disk)
    piece = SpoolReader(ROOT, FEED, spool, disk).read(f"1-{TOKEN}", 1000, 100)
    assert (piece.bursts, piece.lost, piece.next, piece.end_of_run, piece.next_run) == ([], [], 1000, True, spool.run)


# --- flipped bits ------------------------------------------------------------------------------------------------


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


def test_any_flipped_bit_costs_at_most_its_own_burst_and_is_named_exactly() -> None:
    """All bits of a run that was closed: headers and footer cost nothing, a burst costs itself."""
    disk = made(closed=True)
    path = only(disk)
    data = disk.files(DIRECTORY)[path.name]
    for byte, flipped in flips(data):
        disk.put(path, flipped)
        index = hit(data, byte)
        frames, lost = read_all(disk)
        if index is None:
            assert (frames, lost) == (ALL, [])
        else:
            first, following = SPANS[index]
            assert (frames, ranges(lost)) == (ALL[:first] + ALL[following:], [(first, following)])
            assert lost[0].reason == "corrupt" and lost[0].set_aside is not None


def test_a_flipped_bit_at_the_end_of_a_killed_run_is_not_mistaken_for_a_torn_tail() -> None:
    """The last record was once whole: it is named, with its numbers where its head or the next run knows them."""
    for seen_by_next_run in (False, True):
        disk = made()
        path = only(disk)
        data = disk.files(DIRECTORY)[path.name]
        start = len(data) - len(encode_burst(0, 3, 2, 0, BURSTS[2]))
        spool = Spool(ROOT, HEADER, files=disk) if seen_by_next_run else None
        for byte, flipped in flips(data):
            if byte >= start:
                disk.put(path, flipped)
                frames, lost = read_all(disk, spool)
                assert frames == ALL[:3]
                head_is_hit = byte < start + HEAD_BYTES
                assert ranges(lost) == [(3, 3) if head_is_hit and not seen_by_next_run else (3, 6)]


def test_a_flipped_bit_before_the_next_run_was_opened() -> None:
    """The next run counted only what was good then; the loss is named all the same, once."""
    disk = made()
    path = only(disk)
    data = disk.files(DIRECTORY)[path.name]
    disk.put(path, data[:-1] + bytes([data[-1] ^ 1]))
    spool = Spool(ROOT, HEADER, files=disk)
    frames, lost = read_all(disk, spool)
    assert (frames, ranges(lost), spool.header.previous_next) == (ALL[:3], [(3, 6)], 3)


def test_a_flipped_bit_in_the_active_segment_is_named_by_the_published_end() -> None:
    """Nothing follows the damage yet, but the appending side knows how far it is."""
    disk = Disk()
    spool = Spool(ROOT, HEADER, files=disk, token=TOKEN)
    for at, frames in enumerate(BURSTS):
        spool.append(Kind.TEXT, frames, at)
    size = len(disk.files(DIRECTORY)[only(disk).name])
    disk.flip(only(disk), 8 * (size - len(encode_burst(0, 3, 2, 0, BURSTS[2])) + 8))
    frames, lost = read_all(disk, spool)
    assert (frames, ranges(lost)) == (ALL[:3], [(3, 6)])
    reader = SpoolReader(ROOT, FEED, spool, disk)
    piece = reader.read(spool.run, 0, 1 << 20)
    spool.append(Kind.TEXT, [b"on"], 9)
    piece = reader.read(spool.run, piece.next, 1 << 20)
    assert [b.frames for b in piece.bursts] == [[b"on"]] and piece.lost == []


def test_corrupt_bytes_are_set_aside_as_they_are() -> None:
    """A person can look at what was there; the segment itself stays."""
    disk = made(closed=True)
    path = only(disk)
    data = disk.files(DIRECTORY)[path.name]
    begin = records_from(data)
    end = begin + len(encode_burst(0, 0, 0, 0, BURSTS[0]))
    damaged = data[: end - 1] + bytes([data[end - 1] ^ 8]) + data[end:]
    disk.put(path, damaged)
    _, (lost,) = read_all(disk)
    assert lost.set_aside is not None and lost.set_aside.parent == DIRECTORY / "corrupt"
    assert disk.files(DIRECTORY / "corrupt")[lost.set_aside.name] == damaged[begin:end]
    assert disk.files(DIRECTORY)[path.name] == damaged


def test_a_disk_without_room_keeps_no_copy_and_the_loss_is_named_all_the_same() -> None:
    """Setting aside is a courtesy."""
    disk = made(closed=True)
    path = only(disk)
    data = bytearray(disk.files(DIRECTORY)[path.name])
    data[records_from(bytes(data)) + HEAD_BYTES] ^= 1
    disk.put(path, bytes(data))
    disk.fail("create", errno.ENOSPC)
    _, lost = read_all(disk)
    assert lost == [Lost(0, 2, "corrupt", None)]


def test_a_sector_that_cannot_be_read_is_damage() -> None:
    """EIO from the disk costs the records of that page, not the reader."""
    disk = made(closed=True)
    reader = SpoolReader(ROOT, FEED, None, disk)
    disk.fail("read", errno.EIO, times=2)
    piece = reader.read(f"1-{TOKEN}", 0, 1 << 20)
    assert (piece.bursts, ranges(piece.lost)) == ([], [(0, 0)])
    assert [
        f for b in SpoolReader(ROOT, FEED, None, disk).read(f"1-{TOKEN}", 0, 1 << 20).bursts for f in b.frames
    ] == ALL


# --- records that are not what they seem ---------------------------------------------------------------------------


def test_a_record_inside_a_frame_is_never_taken_for_one() -> None:
    """A venue may send bytes that look like our records; without the run's random name the CRC is wrong."""
    forged = encode_burst(0, 1, 99, 0, [b"forged"])
    other_run = encode_burst(run_seed("1-deadbeef"), 1, 99, 0, [b"stale"])
    disk = Disk()
    spool = Spool(ROOT, HEADER, files=disk, token=TOKEN)
    spool.append(Kind.BINARY, [forged + other_run + SYNC * 50], 1)
    spool.append(Kind.BINARY, [b"next"], 2)
    start = records_from(disk.files(DIRECTORY)[only(disk).name])
    disk.flip(only(disk), 8 * (start + 8))  # the head of the first record: from there the reader has to search
    assert read_all(disk, spool) == ([b"next"], [Lost(0, 1, "corrupt", next_set_aside(disk))])


def next_set_aside(disk: Disk) -> Path:
    (name,) = disk.files(DIRECTORY / "corrupt")
    return DIRECTORY / "corrupt" / name


def test_an_unpublished_record_is_not_read() -> None:
    """The reader stops at the published end, whatever the file holds after it."""
    disk = Disk()
    spool = Spool(ROOT, HEADER, files=disk, token=TOKEN)
    reader = SpoolReader(ROOT, FEED, spool, disk)
    spool.append(Kind.TEXT, [b"a"], 1)
    published = spool.end
    spool.append(Kind.TEXT, [b"b"], 2)
    spool.end = published
    assert [b.frames for b in reader.read(spool.run, 0, 100).bursts] == [[b"a"]]
    assert reader.received_at(spool.run, 1) is None


def test_a_segment_that_is_only_being_made_is_not_the_end_of_the_one_before() -> None:
    """Between the creation of the next segment and its publication nothing looks lost."""
    disk = Disk()
    spool = Spool(ROOT, HEADER, files=disk, token=TOKEN)
    spool.append(Kind.TEXT, [b"a"], 1)
    published = spool.end
    spool.append(Kind.TEXT, [b"b"], 2)
    name = f"00000001-{TOKEN}-{2:014d}-{1:06d}.seg"
    disk.put(DIRECTORY / name, encode_header(SegmentHeader(spool.header, 2, 1)))
    spool.end = published
    piece = SpoolReader(ROOT, FEED, spool, disk).read(spool.run, 0, 100)
    assert (piece.next, piece.lost, piece.end_of_run) == (1, [], False)


def test_a_segment_counts_only_up_to_the_first_frame_of_the_next() -> None:
    """What was written again counts, even where the old copy is damaged just before and goes on after."""
    disk = Disk()
    seed = run_seed(f"1-{TOKEN}")
    header = Header(**{**{f: getattr(HEADER, f) for f in HEADER.__slots__}, "run": f"1-{TOKEN}", "run_ordinal": 1})
    old = [bytearray(encode_burst(seed, n, n, 0, [b"old%d" % n])) for n in range(5)]
    old[1][-1] ^= 1
    old[2][-1] ^= 1
    disk.put(
        DIRECTORY / f"00000001-{TOKEN}-{0:014d}-{0:06d}.seg", encode_header(SegmentHeader(header, 0, 0)) + b"".join(old)
    )
    new = b"".join(encode_burst(seed, n, n, 0, [b"new%d" % n]) for n in (2, 3, 4))
    disk.put(DIRECTORY / f"00000001-{TOKEN}-{2:014d}-{1:06d}.seg", encode_header(SegmentHeader(header, 2, 1)) + new)
    frames, lost = read_all(disk)
    assert (frames, ranges(lost)) == ([b"old0", b"new2", b"new3", b"new4"], [(1, 2)])


# --- segments ----------------------------------------------------------------------------------------------------


def several() -> tuple[Disk, list[str]]:
    """A run of three segments with one burst each, closed."""
    disk = made(closed=True, segment_bytes=1)
    names = sorted(disk.files(DIRECTORY))
    assert len(names) == 3
    return disk, names


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_missing_segment_is_named(index: int) -> None:
    """Its frames are lost exactly; the last one's end is known to the next run."""
    disk, names = several()
    spool = Spool(ROOT, HEADER, files=disk)
    disk.unlink(DIRECTORY / names[index])
    frames, lost = read_all(disk, spool)
    first, following = SPANS[index]
    assert (frames, lost) == (ALL[:first] + ALL[following:], [Lost(first, following, "missing")])


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("content", [b"", b"\0" * 300, b"{}", MAGIC])
def test_a_segment_without_content_is_a_missing_one(index: int, content: bytes) -> None:
    """Zero length or nothing readable: lost by number, not an error."""
    disk, names = several()
    spool = Spool(ROOT, HEADER, files=disk)
    disk.put(DIRECTORY / names[index], content)
    frames, lost = read_all(disk, spool)
    first, following = SPANS[index]
    assert (frames, ranges(lost)) == (ALL[:first] + ALL[following:], [(first, following)])


def test_a_stillborn_segment_is_no_run() -> None:
    """A crash while the first segment was made: its ordinal is used up, nothing else."""
    disk = made(closed=True)
    disk.put(DIRECTORY / f"00000002-{TOKEN}-{0:014d}-{0:06d}.seg", encode_header(SegmentHeader(HEADER, 0, 0))[:100])
    spool = Spool(ROOT, HEADER, files=disk)
    assert spool.header.run_ordinal == 3 and spool.header.previous_run == f"1-{TOKEN}"
    assert [info.ordinal for info in SpoolReader(ROOT, FEED, spool, disk).runs()] == [1, 3]


def test_a_missing_run_is_named() -> None:
    """A run whose segments are all gone, between two that are there, is read as lost from 0 to its end."""
    disk = made(closed=True)
    second = Spool(ROOT, HEADER, files=disk)
    second.append(Kind.TEXT, [b"x", b"y"], 5)
    second.close()
    third = Spool(ROOT, HEADER, files=disk)
    for name in disk.files(DIRECTORY):
        if name.startswith("00000002"):
            disk.unlink(DIRECTORY / name)
    reader = SpoolReader(ROOT, FEED, third, disk)
    assert [(i.run, i.first) for i in reader.runs()] == [(f"1-{TOKEN}", 0), (second.run, 0), (third.run, 0)]
    piece = reader.read(second.run, 0, 100)
    assert (piece.lost, piece.end_of_run, piece.next_run) == ([Lost(0, 2, "missing")], True, third.run)


def test_both_copies_of_the_header_may_be_gone() -> None:
    """The name tells the run, a neighbour what a decoder needs: no frame is lost."""
    disk = made(closed=True)
    path = only(disk)
    data = bytearray(disk.files(DIRECTORY)[path.name])
    spool = Spool(ROOT, HEADER, files=disk)
    begin = records_from(bytes(data))
    data[20] ^= 1
    data[begin // 2 + 20] ^= 1
    disk.put(path, bytes(data))
    assert read_all(disk, spool) == (ALL, [])
    assert SpoolReader(ROOT, FEED, spool, disk).runs()[0].header.venue == "okx"


@pytest.mark.parametrize("name", ["README", "x.seg", "00000001-0badcafe-1-1.seg", "lost+found", "1.seg.zst.tmp"])
def test_other_files_are_left_alone(name: str) -> None:
    """What is not named like a segment is nobody's business."""
    disk = made(closed=True)
    disk.put(DIRECTORY / name, b"hello")
    assert read_all(disk) == (ALL, [])
    assert disk.files(DIRECTORY)[name] == b"hello"


def test_another_recorders_segment_is_never_read_or_deleted() -> None:
    """A file copied in from elsewhere: reported, not stored, not touched."""
    disk = made(closed=True)
    spool = Spool(ROOT, HEADER, files=disk)
    alien = Header("other-id", FEED, "okx", "okx", "/ws", {}, run="1-aaaaaaaa", run_ordinal=1)
    name = f"00000001-aaaaaaaa-{0:014d}-{0:06d}.seg"
    disk.put(
        DIRECTORY / name,
        encode_header(SegmentHeader(alien, 0, 0)) + encode_burst(run_seed(alien.run), 0, 0, 0, [b"alien"]),
    )
    reader = SpoolReader(ROOT, FEED, spool, disk)
    assert [info.run for info in reader.runs()] == [f"1-{TOKEN}", spool.run]
    reader.release(spool.run, 0, 1 << 62)
    assert name in disk.files(DIRECTORY)
    assert "another recorder" in next(r.problems[0] for r in ls(ROOT, disk) if r.file == name)


# --- versions ----------------------------------------------------------------------------------------------------


def test_a_newer_format_is_refused_and_never_touched() -> None:
    """Reading and opening say in a sentence what to do; not a byte changes."""
    disk = made(closed=True)
    path = only(disk)
    data = disk.files(DIRECTORY)[path.name]
    found = decode_header(data)
    assert found is not None
    newer = encode_header(found[0], version=2) + data[found[1] :]
    disk.put(path, newer)
    for attempt in (lambda: Spool(ROOT, HEADER, files=disk), lambda: SpoolReader(ROOT, FEED, None, disk)):
        with pytest.raises(ConfigError, match="format 2, this recorder reads up to 1"):
            attempt()
    assert disk.files(DIRECTORY)[path.name] == newer
    assert "format 2" in next(ls(ROOT, disk)).problems[0]


def test_a_flipped_version_byte_is_damage_not_a_newer_format() -> None:
    """The version is under the header's CRC."""
    disk = made(closed=True)
    path = only(disk)
    data = bytearray(disk.files(DIRECTORY)[path.name])
    data[7] ^= 2
    disk.put(path, bytes(data))
    assert read_all(disk) == (ALL, [])


# A segment of format 1 as the first release wrote it: every later version must read it.
VERSION_1 = """
eNrrLC7Iz8/hYuRQXBd3moGBoVopIzUxJbVIyapaCSwVn5miZAVh6gKZOkppqakgkfzsCv2C0qSczGR9A6BocX5pUXIqRBzILUvNK0XwChJLMo
Ac/fJiICe/oCQzP68YaEGtjlJRaR5QwlDXICkxJTkxLVUJLBSfX5SSmZeYo2RlCNRclFqWmV9aHA9Rq4QkkpdaUaJkZQA0Jy2zqBjEBDoktSgT
pNOgtnP4eu3rrMNiTefCJj+znsnCC/QaEwN2wAqlE3MKMhJBmo5NOXsmrd4yRgIoyAiVhGmG8UWAOCm1JBEdg/QrffCzZFKYcFIWqIYZqp4ZzR
xWKGYH4vTE3FxgmOeUJKYWFGfm5OeBDEl2lPyF7Mr/QMyGZggAT8636g==
"""


def test_the_first_format_stays_readable() -> None:
    """Bytes on users' disks do not change with the code."""
    disk = Disk()
    name = f"00000001-{TOKEN}-{0:014d}-{0:06d}.seg"
    disk.put(DIRECTORY / name, zlib.decompress(base64.b64decode(VERSION_1)))
    assert read_all(disk) == (ALL, [])
    piece = SpoolReader(ROOT, FEED, None, disk).read(f"1-{TOKEN}", 0, 1 << 20)
    assert [(b.first, b.received_at, b.kind) for b in piece.bursts] == [(0, 0, 0), (2, 1, 0), (3, 2, 0)]
    assert (piece.header.venue, piece.header.path, piece.header.spool_id) == ("okx", "/ws", "spool-id")


# --- compressed segments -------------------------------------------------------------------------------------------


def compressed() -> tuple[Disk, Path, Spool]:
    """The run of `made`, closed and compressed, under a new run."""
    disk = made(closed=True)
    spool = Spool(ROOT, HEADER, files=disk)
    syncer = Syncer(1.0, clock=lambda: 0.0)
    syncer.add(spool)
    syncer.turn()
    (name,) = [name for name in disk.files(DIRECTORY) if name.endswith(".zst")]
    return disk, DIRECTORY / name, spool


def test_any_flipped_bit_of_a_compressed_segment_is_named() -> None:
    """A block is lost as a whole, by its exact numbers."""
    disk, path, spool = compressed()
    data = disk.files(DIRECTORY)[path.name]
    for _, flipped in flips(data):
        disk.put(path, flipped)
        frames, lost = read_all(disk, spool)
        assert (frames, ranges(lost), lost[0].reason) == ([], [(0, 6)], "corrupt")


def test_verify_finds_every_flipped_bit_of_a_record() -> None:
    """`spool verify` reads everything and says which frames are lost; `ls` alone does not promise that."""
    disk = made(closed=True)
    path = only(disk)
    data = disk.files(DIRECTORY)[path.name]
    (good,) = verify(ROOT, disk)
    assert good.problems == [] and (good.frames, good.first, good.next, good.sealed) == (6, 0, 6, True)
    assert (good.from_time, good.to_time, good.plain_bytes) == (0, 2, len(data))
    for byte, flipped in flips(data):
        index = hit(data, byte)
        if index is not None:
            disk.put(path, flipped)
            (report,) = verify(ROOT, disk)
            first, following = SPANS[index]
            assert f"frames {first} to {following - 1} lost" in report.problems[0]


def test_ls_and_verify_name_what_is_missing() -> None:
    """Holes between segments and at the end of a run are problems of the segment beside them."""
    disk, names = several()
    Spool(ROOT, HEADER, files=disk)
    disk.unlink(DIRECTORY / names[1])
    reports = list(ls(ROOT, disk))
    assert reports[0].problems == ["frames 2 to 2 are missing after it"]
    disk.unlink(DIRECTORY / names[2])
    assert next(ls(ROOT, disk)).problems == ["frames 2 to 5 are missing after it"]
    assert [r.problems for r in verify(ROOT, disk)][1:] == [[]]


def test_ls_works_beside_an_appending_recorder() -> None:
    """A record that is just being written is no problem."""
    disk = made()
    path = only(disk)
    disk.put(path, disk.files(DIRECTORY)[path.name][:-3])
    (report,) = verify(ROOT, disk)
    assert (report.problems, report.frames, report.sealed) == ([], 3, False)


def test_feeds_are_found_by_what_their_segments_say() -> None:
    """A renamed source is still in the spool, and its feed's name is known."""
    disk = made(closed=True)
    disk.put(ROOT / "notes.txt", b"hello")
    disk.make_directory(ROOT / "empty")
    assert spooled_feeds(ROOT, disk) == [FEED]
