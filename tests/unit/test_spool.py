"""Appending: numbers, runs, rotation, syncing, and every way in which a disk says no."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from recorder.capture import spool as spool_module
from recorder.capture.files import OsFiles
from recorder.capture.segments import HEAD_BYTES, feed_directory
from recorder.capture.spool import Spool, SpoolFull
from recorder.capture.spoolreader import SpoolReader
from recorder.errors import ConfigError, SpoolFault
from recorder.records import Alive, Header, Kind, decode_control, encode_control
from tests.unit.spoolcases import DIRECTORY, FEED, HEADER, ROOT
from tests.unit.spooldisk import Disk


def opened(disk: Disk, segment_bytes: int = 1 << 20) -> Spool:
    return Spool(ROOT, HEADER, segment_bytes=segment_bytes, files=disk)


def everything(disk: Disk, spool: Spool | None = None) -> list[bytes]:
    """All frames of all runs; nothing may be lost."""
    reader = SpoolReader(ROOT, FEED, spool, disk)
    frames: list[bytes] = []
    for info in reader.runs():
        n, going = info.first, True
        while going:
            piece = reader.read(info.run, n, 1 << 20)
            assert piece.lost == []
            frames += [frame for burst in piece.bursts for frame in burst.frames]
            going, n = bool(piece.bursts), piece.next
    reader.close()
    return frames


# --- numbers and runs --------------------------------------------------------------------------------------------


def test_frames_are_numbered_from_zero_without_holes() -> None:
    """append returns the number of a burst's first frame; an empty burst takes none."""
    spool = opened(Disk())
    assert [spool.append(Kind.TEXT, [b"a", b"b"], 1), spool.append(Kind.TEXT, [], 2)] == [0, 2]
    assert spool.append(Kind.CONTROL, [encode_control(Alive())], 3) == 2
    assert spool.next == 3


def test_every_opening_is_a_new_run_that_names_the_one_before() -> None:
    """Frame numbers of two openings can never be mistaken for each other."""
    disk = Disk()
    first = opened(disk)
    first.append(Kind.TEXT, [b"a", b"b", b"c"], 1)
    first.close()
    second = opened(disk)
    assert first.run.startswith("1-") and second.run.startswith("2-") and first.run[2:] != second.run[2:]
    assert (first.header.previous_run, first.header.previous_next) == ("", 0)
    assert (second.header.previous_run, second.header.previous_next) == (first.run, 3)


def test_the_previous_run_is_counted_up_to_its_last_good_frame() -> None:
    """After a crash in the middle of a write, the next run says how far the last one really came."""
    disk = Disk()
    first = opened(disk)
    for number in range(3):
        first.append(Kind.TEXT, [b"x" * 50], number)
    path = next(DIRECTORY / name for name in disk.files(DIRECTORY))
    data = disk.files(DIRECTORY)[path.name]
    disk.kill()
    disk.put(path, data[:-1])
    assert opened(disk).header.previous_next == 2


def test_control_records_travel_like_frames() -> None:
    """What the feed has to say is a frame of kind CONTROL."""
    disk = Disk()
    spool = opened(disk)
    spool.append(Kind.CONTROL, [encode_control(Alive())], 7)
    burst = SpoolReader(ROOT, FEED, spool, disk).read(spool.run, 0, 100).bursts[0]
    assert burst.kind is Kind.CONTROL and burst.received_at == 7
    assert decode_control(burst.frames[0]) == Alive()


@pytest.mark.parametrize(
    ("feed", "directory"),
    [("okx/public/0", "okx.public.0"), ("a.b/c", "a%2Eb.c"), ("a/b.c", "a.b%2Ec"), ("x y/ü", "x%20y.%C3%BC")],
)
def test_feeds_never_share_a_directory(feed: str, directory: str) -> None:
    """A feed's name becomes one directory name, and no two feeds the same."""
    assert feed_directory(ROOT, feed) == ROOT / directory


# --- rotation ----------------------------------------------------------------------------------------------------


def test_a_full_segment_is_synced_before_the_next_one_is_made() -> None:
    """Rotation order: footer, sync of the old file, new file with its header, sync, sync of the directory."""
    disk = Disk()
    spool = opened(disk, 1000)
    spool.append(Kind.TEXT, [b"x" * 1000], 1)
    disk.calls.clear()
    spool.append(Kind.TEXT, [b"y"], 2)
    interesting = [c for c in disk.calls if c in ("write", "sync", "create", "sync_directory")]
    assert interesting == ["write", "sync", "create", "write", "sync", "sync_directory", "write"]
    assert spool.durable == 1 and spool.end[0] == 1
    assert everything(disk, spool) == [b"x" * 1000, b"y"]


def test_rotation_passes_its_failpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test can make the process die after append, around a sync and between two segments."""
    passed: list[str] = []
    monkeypatch.setattr(spool_module, "fail_point", passed.append)
    spool = opened(Disk(), 1000)
    spool.append(Kind.TEXT, [b"x" * 1000], 1)
    spool.append(Kind.TEXT, [b"x"], 1)
    spool.sync()
    assert passed == ["after_append", "mid_rotation", "after_append", "before_sync", "after_sync"]


def test_no_room_for_the_next_segment_is_noticed_by_the_next_burst() -> None:
    """A rotation that cannot make the next segment leaves the spool usable: it goes on when there is room."""
    disk = Disk()
    spool = opened(disk, 1000)
    spool.append(Kind.TEXT, [b"x" * 1000], 1)
    disk.fail("create", errno.ENOSPC, times=2)
    with pytest.raises(SpoolFull):
        spool.append(Kind.TEXT, [b"lost"], 2)
    assert spool.append(Kind.TEXT, [b"y"], 3) == 1
    assert everything(disk, spool) == [b"x" * 1000, b"y"]


# --- writes that fail --------------------------------------------------------------------------------------------


def test_a_short_write_is_continued() -> None:
    """write() may take any part of a record; the rest follows."""
    disk = Disk()
    spool = opened(disk)
    for taken in (1, 39, 40, 60):
        disk.fail("short", taken=taken)
        spool.append(Kind.TEXT, [bytes([taken]) * 50], 1)
    assert everything(disk, spool) == [bytes([taken]) * 50 for taken in (1, 39, 40, 60)]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("taken", [0, 1, 39, 40, 41, 80])
def test_a_full_disk_costs_one_burst_and_says_how_much(code: int, taken: int) -> None:
    """The half record is cut off, the frames are reported, and appending goes on without a restart."""
    disk = Disk()
    spool = opened(disk)
    spool.append(Kind.TEXT, [b"before"], 1)
    disk.fail("write", code, taken=taken)
    with pytest.raises(SpoolFull) as caught:
        spool.append(Kind.TEXT, [b"lost" * 10, b"lost" * 10], 2)
    assert caught.value.frames == 2
    assert spool.append(Kind.TEXT, [b"after"], 3) == 1
    assert len(disk.files(DIRECTORY)) == 1
    assert everything(disk, spool) == [b"before", b"after"]


def test_a_half_record_that_cannot_be_cut_off_is_left_behind() -> None:
    """Never a good record after half a record: the segment is abandoned, a new one begins."""
    disk = Disk()
    spool = opened(disk)
    spool.append(Kind.TEXT, [b"before"], 1)
    disk.fail("write", errno.ENOSPC, taken=45)
    disk.fail("truncate")
    with pytest.raises(SpoolFull):
        spool.append(Kind.TEXT, [b"lost" * 10], 2)
    assert everything(disk, spool) == [b"before"]
    spool.append(Kind.TEXT, [b"after"], 3)
    assert len(disk.files(DIRECTORY)) == 2
    assert everything(disk, spool) == [b"before", b"after"]
    spool.sync()
    disk.crash()
    assert everything(disk) == [b"before", b"after"]


def test_an_error_of_the_disk_is_answered_with_a_new_segment() -> None:
    """EIO once: the burst goes into a new segment and nothing is lost."""
    disk = Disk()
    spool = opened(disk)
    spool.append(Kind.TEXT, [b"a"], 1)
    disk.fail("write", errno.EIO, taken=20)
    assert spool.append(Kind.TEXT, [b"b"], 2) == 1
    assert everything(disk, spool) == [b"a", b"b"]


def test_an_error_twice_in_a_row_ends_it() -> None:
    """EIO twice: SpoolFault, kept for the supervisor, and raised again by every append."""
    disk = Disk()
    spool = opened(disk)
    disk.fail("write", errno.EIO, times=2)
    with pytest.raises(SpoolFault) as caught:
        spool.append(Kind.TEXT, [b"a"], 1)
    assert spool.fault is caught.value and not isinstance(caught.value, SpoolFull)
    with pytest.raises(SpoolFault, match="cannot be written"):
        spool.append(Kind.TEXT, [b"b"], 2)


def test_closed_means_closed() -> None:
    """Appending to a closed spool is a fault, not a new segment; closing again changes nothing."""
    disk = Disk()
    spool = opened(disk)
    spool.close()
    spool.close()
    with pytest.raises(SpoolFault, match="closed"):
        spool.append(Kind.TEXT, [b"a"], 1)
    assert disk.descriptors == 0


# --- syncs that fail ---------------------------------------------------------------------------------------------


def test_a_failed_sync_writes_the_unsynced_records_again() -> None:
    """fdatasync is never asked twice for the same pages: a new segment gets them, and they survive a power cut."""
    disk = Disk()
    spool = opened(disk)
    spool.append(Kind.TEXT, [b"a"], 1)
    spool.sync()
    spool.append(Kind.TEXT, [b"b"], 2)
    spool.append(Kind.TEXT, [b"c"], 3)
    disk.fail("sync")
    spool.sync()
    assert spool.fault is None and spool.durable == 3 and spool.end[0] == 1
    assert everything(disk, spool) == [b"a", b"b", b"c"]
    spool.append(Kind.TEXT, [b"d"], 4)
    spool.sync()
    disk.crash()
    assert everything(disk) == [b"a", b"b", b"c", b"d"]


def test_a_reader_in_the_old_segment_goes_on_in_the_new_one() -> None:
    """Frames that were read before they were written again do not come twice."""
    disk = Disk()
    spool = opened(disk)
    reader = SpoolReader(ROOT, FEED, spool, disk)
    spool.append(Kind.TEXT, [b"a"], 1)
    spool.append(Kind.TEXT, [b"b"], 2)
    piece = reader.read(spool.run, 0, 1)
    assert [b.frames for b in piece.bursts] == [[b"a"]]
    disk.fail("sync")
    spool.sync()
    spool.append(Kind.TEXT, [b"c"], 3)
    piece = reader.read(spool.run, piece.next, 100)
    assert [b.frames for b in piece.bursts] == [[b"b"], [b"c"]] and piece.lost == []


@pytest.mark.parametrize("after", [0, 1])
def test_a_sync_that_fails_twice_is_a_fault(after: int) -> None:
    """The second refusal in a row stops the spool; what was acknowledged before stays so."""
    disk = Disk()
    spool = opened(disk)
    spool.append(Kind.TEXT, [b"a"], 1)
    spool.sync()
    spool.append(Kind.TEXT, [b"b"], 2)
    disk.fail("sync")
    disk.fail("sync", after=after)
    spool.sync()
    assert isinstance(spool.fault, SpoolFault) and spool.durable == 1
    with pytest.raises(SpoolFault, match="cannot be synced"):
        spool.append(Kind.TEXT, [b"c"], 3)
    spool.close()
    assert disk.descriptors == 0


def test_a_half_rewritten_segment_is_withdrawn() -> None:
    """Where writing again fails too, the old segment is left as the only copy: a killed process loses nothing."""
    disk = Disk()
    spool = opened(disk)
    for number in range(5):
        spool.append(Kind.TEXT, [b"%d" % number], number)
    disk.fail("sync")
    disk.fail("write", errno.ENOSPC, taken=10, after=3)
    spool.sync()
    assert spool.fault is not None and len(disk.files(DIRECTORY)) == 1
    disk.kill()
    assert everything(disk) == [b"%d" % number for number in range(5)]


def test_appending_goes_on_during_a_sync() -> None:
    """fdatasync holds no lock that append takes; what came meanwhile is not called durable."""
    disk = Disk()
    spool = opened(disk)
    spool.append(Kind.TEXT, [b"a"], 1)

    original = disk.sync

    def sync(fd: int) -> None:
        feed = threading.Thread(target=spool.append, args=(Kind.TEXT, [b"b"], 2))
        feed.start()
        feed.join(10)
        assert not feed.is_alive(), "append waited for the disk"
        original(fd)

    disk.sync = sync  # type: ignore[method-assign]
    spool.sync()
    assert (spool.durable, spool.next) == (1, 2)


def test_a_segment_left_during_a_sync_is_synced_before_it_is_let_go() -> None:
    """Records written between the start of a sync and the failure that ended their segment are not forgotten."""
    disk = Disk()
    spool = opened(disk)
    spool.append(Kind.TEXT, [b"a"], 1)
    original = disk.sync

    def sync(fd: int) -> None:
        disk.sync = original  # type: ignore[method-assign]
        original(fd)
        spool.append(Kind.TEXT, [b"b"], 2)
        disk.fail("write", errno.EIO, taken=10)
        disk.fail("truncate")
        spool.append(Kind.TEXT, [b"c"], 3)

    disk.sync = sync  # type: ignore[method-assign]
    spool.sync()
    assert spool.durable == 1
    spool.sync()
    assert spool.durable == 3
    disk.crash()
    assert everything(disk) == [b"a", b"b", b"c"]


def test_memory_for_unsynced_records_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody syncs, append does, before it keeps more than it may."""
    monkeypatch.setattr(spool_module, "UNSYNCED_BYTES", 500)
    spool = opened(Disk())
    for number in range(20):
        spool.append(Kind.TEXT, [b"x" * 100], number)
        assert spool.next - spool.durable <= 5


# --- opening -----------------------------------------------------------------------------------------------------


def test_what_a_killed_process_wrote_is_synced_by_the_next_one() -> None:
    """kill -9 leaves bytes in the kernel only: a later power cut must not take them."""
    disk = Disk()
    opened(disk).append(Kind.TEXT, [b"a"], 1)
    disk.kill()
    opened(disk)
    disk.crash()
    assert everything(disk) == [b"a"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_directory_that_refuses_is_for_the_user_to_mend(code: int) -> None:
    """Read-only or somebody else's: one sentence, exit 78."""
    disk = Disk()
    disk.fail("make_directory", code)
    with pytest.raises(ConfigError) as caught:
        opened(disk)
    assert len(caught.value.problems) == 1 and str(DIRECTORY) in str(caught.value)


def test_a_full_disk_at_the_start_is_temporary() -> None:
    """No room for the first segment: exit 75, the process is started again."""
    disk = Disk()
    disk.fail("create", errno.ENOSPC)
    with pytest.raises(SpoolFault):
        opened(disk)


def test_another_recorders_segments_are_refused_and_left() -> None:
    """A borrowed spool is never appended to."""
    disk = Disk()
    other = Spool(ROOT, Header("other-id", FEED, "okx", "okx", "/ws", {}), files=disk)
    other.append(Kind.TEXT, [b"a"], 1)
    other.close()
    before = disk.files(DIRECTORY)
    with pytest.raises(ConfigError, match="another recorder"):
        opened(disk)
    assert disk.files(DIRECTORY) == before


def test_one_write_per_burst() -> None:
    """A burst is one system call, so that kill -9 leaves at most its beginning."""
    disk = Disk()
    spool = opened(disk)
    disk.calls.clear()
    spool.append(Kind.TEXT, [b"x" * 100] * 50, 1)
    assert disk.calls.count("write") == 1


def test_files_are_ours_alone(tmp_path: Path) -> None:
    """On the real disk: directories 0700, segments 0600, and a segment is what was appended plus its heads."""
    spool = Spool(tmp_path / "spool", HEADER)
    spool.append(Kind.TEXT, [b"secret"], 1)
    spool.close()
    segment = next(spool.directory.iterdir())
    assert (spool.directory.stat().st_mode & 0o777, segment.stat().st_mode & 0o777) == (0o700, 0o600)
    assert segment.read_bytes()[-HEAD_BYTES - 6 : -HEAD_BYTES] == b"secret"
    assert OsFiles().names(tmp_path / "absent") == [] == OsFiles().names(segment)
