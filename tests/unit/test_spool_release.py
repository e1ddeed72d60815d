"""Deletion: only whole segments, only below the position, only when they are old enough."""

from __future__ import annotations

import pytest

from recorder.capture.inventory import ls
from recorder.capture.spool import Spool
from recorder.capture.spoolreader import SpoolReader
from recorder.records import Kind
from tests.unit.spoolcases import DIRECTORY, FEED, HEADER, ROOT, compressor, filled, frames_of
from tests.unit.spooldisk import Disk


@pytest.mark.parametrize("squeeze", [False, True])
def test_only_whole_segments_below_the_position_go(squeeze: bool) -> None:
    """Whatever the position, every frame from there on can still be read, and only oldest segments are gone."""
    for n in range(0, 61, 2):
        disk = Disk()
        spool = filled(disk)
        if squeeze:
            compressor(spool).turn()
        everything = frames_of(SpoolReader(ROOT, FEED, spool, disk), spool.run, 1000)
        reader = SpoolReader(ROOT, FEED, spool, disk)
        before, size = sorted(disk.files(DIRECTORY)), reader.size()
        freed = reader.release(spool.run, n, 1 << 62)
        after = sorted(disk.files(DIRECTORY))
        assert before[len(before) - len(after) :] == after and reader.size() == size - freed
        assert frames_of(reader, spool.run, 1000, n) == everything[n:]
        if n == 60:
            assert len(after) == 1


def test_young_segments_are_kept() -> None:
    """A segment stays while its last burst is not older than asked for, and so do all after it."""
    disk = Disk()
    spool = filled(disk)
    reader = SpoolReader(ROOT, FEED, spool, disk)
    assert reader.oldest() == 0
    assert reader.release(spool.run, 60, 0) == 0
    ends = [report.to_time for report in ls(ROOT, disk)]
    assert ends[1] is not None
    assert reader.release(spool.run, 60, ends[1]) > 0
    assert [report.to_time for report in ls(ROOT, disk)] == ends[1:]
    oldest, first = reader.oldest(), ends[0]
    assert oldest is not None and first is not None and oldest == first + 10


def test_older_runs_go_whole_and_the_newest_segment_never() -> None:
    """The next opening continues the numbers of the newest segment, so that one is kept even when all is stored."""
    disk = Disk()
    first = filled(disk, 3)
    first.close()
    second = filled(disk, 3)
    reader = SpoolReader(ROOT, FEED, second, disk)
    assert reader.release(first.run, 6, 1 << 62) == 0
    assert reader.release(second.run, 0, 1 << 62) > 0
    assert [info.run for info in reader.runs()] == [second.run]
    second.close()
    drained = SpoolReader(ROOT, FEED, None, disk)
    assert drained.release(second.run, 6, 1 << 62) == 0
    assert Spool(ROOT, HEADER, files=disk).header.previous_run == second.run


def test_reading_below_what_is_held_names_what_was_released() -> None:
    """A restored database may ask for frames that are gone."""
    disk = Disk()
    spool = filled(disk)
    reader = SpoolReader(ROOT, FEED, spool, disk)
    reader.release(spool.run, 60, 1 << 62)
    (info,) = reader.runs()
    piece = reader.read(spool.run, 4, 1)
    assert (piece.lost[0].first, piece.lost[0].next, piece.lost[0].reason) == (4, info.first, "missing")
    assert piece.bursts[0].first == info.first


@pytest.mark.parametrize("squeeze", [False, True])
def test_what_is_needed_is_what_no_deletion_would_free(squeeze: bool) -> None:
    """At every position, of the first run, of the next one, and of none; also of segments that are compressed."""
    for run, n in [*((0, n) for n in range(0, 61, 5)), (1, 0), (1, 20), (1, 41)]:
        disk = Disk()
        first = filled(disk)
        if squeeze:
            compressor(first).turn()
        first.close()
        second = filled(disk, 20)
        reader = SpoolReader(ROOT, FEED, second, disk)
        at = (first.run, second.run)[run]
        needed, size = reader.needed(at, n), reader.size()
        assert needed == size - reader.release(at, n, 1 << 62)
        assert reader.needed(at, n) == reader.size() == needed
        assert reader.needed("", 0) == needed


@pytest.mark.parametrize("operation", ["unlink", "sync_directory"])
def test_a_disk_that_refuses_to_delete_loses_nothing(operation: str) -> None:
    """Deletion is tried again next time."""
    disk = Disk()
    spool = filled(disk)
    reader = SpoolReader(ROOT, FEED, spool, disk)
    disk.fail(operation)
    reader.release(spool.run, 30, 1 << 62)
    reader.release(spool.run, 30, 1 << 62)
    assert len(frames_of(reader, spool.run, 1000, 30)) == 30
    assert reader.runs()[0].first > 0


def test_an_empty_spool_has_no_oldest_burst_and_closing_leaves_nothing_open() -> None:
    """Descriptors: one for the active segment, none for a closed reader."""
    disk = Disk()
    spool = Spool(ROOT, HEADER, files=disk)
    reader = SpoolReader(ROOT, FEED, spool, disk)
    assert reader.oldest() is None
    spool.append(Kind.TEXT, [b"x"], 42)
    assert reader.oldest() == 42
    reader.read(spool.run, 0, 1)
    reader.frame(spool.run, 0)
    reader.close()
    assert disk.descriptors == 1
