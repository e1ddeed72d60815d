"""A table of lies that a disk can tell, and what the reader makes of each: exact names for what is lost, and never
a neighbour's frame."""

from __future__ import annotations

import errno

import pytest

from recorder.capture.segments import (
    HEAD_BYTES,
    SYNC,
    SegmentHeader,
    encode_burst,
    encode_header,
    run_seed,
)
from recorder.capture.spool import Spool
from recorder.capture.spoolreader import Lost, SpoolReader
from recorder.records import Header, Kind
from tests.unit.spoolcases import (
    ALL,
    BURSTS,
    DIRECTORY,
    FEED,
    HEADER,
    ROOT,
    SPANS,
    TOKEN,
    compressed,
    flips,
    hit,
    made,
    next_set_aside,
    only,
    ranges,
    read_all,
    records_from,
)
from tests.unit.spooldisk import Disk

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


# --- compressed segments -------------------------------------------------------------------------------------------


def test_any_flipped_bit_of_a_compressed_segment_is_named() -> None:
    """A block is lost as a whole, by its exact numbers."""
    disk, path, spool = compressed()
    data = disk.files(DIRECTORY)[path.name]
    for _, flipped in flips(data):
        disk.put(path, flipped)
        frames, lost = read_all(disk, spool)
        assert (frames, ranges(lost), lost[0].reason) == ([], [(0, 6)], "corrupt")
