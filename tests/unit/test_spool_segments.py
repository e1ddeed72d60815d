"""Segments that are missing, strange, foreign or of another version, and what people are told about a spool."""

from __future__ import annotations

import base64
import zlib

import pytest

from recorder.capture.inventory import ls, verify
from recorder.capture.segments import (
    MAGIC,
    SegmentHeader,
    decode_header,
    encode_burst,
    encode_header,
    run_seed,
)
from recorder.capture.spool import Spool
from recorder.capture.spoolreader import Lost, SpoolReader, spooled_feeds
from recorder.errors import ConfigError
from recorder.records import Header, Kind
from tests.unit.spoolcases import (
    ALL,
    DIRECTORY,
    FEED,
    HEADER,
    ROOT,
    SPANS,
    TOKEN,
    flips,
    hit,
    made,
    only,
    ranges,
    read_all,
    records_from,
    several,
)
from tests.unit.spooldisk import Disk

# --- segments ----------------------------------------------------------------------------------------------------


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


# --- reports for people --------------------------------------------------------------------------------------------


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
