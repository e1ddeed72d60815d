"""One feed as the writer sees it: where it stands, and where its next bursts come from.

Owns the cursor of a feed (what is prepared) and its position (what the database holds). Never commits anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from recorder.capture.feedstate import FeedState
from recorder.capture.spoolreader import Lost, RunInfo, SpoolReader
from recorder.records import Decoded, Header
from recorder.store.flush import Move, Position
from recorder.store.verdict import ordinal
from recorder.venues import Decoder


@dataclass(frozen=True, slots=True)
class Start:
    """Where a feed begins after a look at its position and its spool. `cause`: what the difference has cost."""

    run: str
    next: int
    cause: str = ""


def where_to_start(position: Position | None, runs: list[RunInfo]) -> Start:
    """Resume (design 2.4): from the position where the spool knows its run, else from the oldest frame held. A run that
    only its successor's header still names holds nothing, but the reader says what it has lost and goes on behind it:
    the runs before it are stored."""
    oldest = next(run for run in runs if run.segments)
    if position is None:
        return Start(oldest.run, oldest.first)
    for run in runs:
        if run.run == position.run:
            lost = position.next < run.first
            return Start(run.run, max(position.next, run.first), "database_restored" if lost else "")
    header = oldest.header
    if header.previous_run == position.run and oldest.first == 0 and position.next >= header.previous_next:
        return Start(oldest.run, 0)
    return Start(oldest.run, oldest.first, _why(position, oldest))


def _why(position: Position, oldest: RunInfo) -> str:
    """A run before all that we hold: the database is older than `keep`. Any other: the spool was replaced."""
    return "database_restored" if ordinal(position.run) < oldest.ordinal else "recorder_down"


@dataclass(slots=True)
class Lane:
    """A feed's cursor. `state` is None for a feed that only its spool still knows (renamed or removed source)."""

    feed: str
    source: str
    reader: SpoolReader
    state: FeedState | None
    make_decoder: Callable[[Header], Decoder]
    position: Position | None = None
    run: str = ""
    next: int = 0
    watermark: int = 0
    reading: str = ""  # the run that the last slice came from; the cursor may stand in the next one already
    parked: str = ""
    checkpointed: tuple[str, int] | None = None  # the position of the last checkpoint that was prepared …
    safe: tuple[str, int] | None = None  # … and of the last one that is committed: older segments may go
    draining_since: int | None = None
    concluded: bool = False  # drained, and what was left to say of it is said
    waits_for: list[Lane] = field(default_factory=list)
    _decoder: tuple[str, Decoder] | None = None

    def revive(self, reader: SpoolReader, state: FeedState) -> None:
        """The feed runs again: its cursor goes on where the drained spool ended."""
        self.reader, self.state, self.concluded, self.draining_since = reader, state, False, None
        state.fall_behind()

    def retire(self, reader: SpoolReader) -> None:
        """The feed has ended: what its spool still holds is drained."""
        self.reader, self.state = reader, None
        self.tell()

    @property
    def waiting(self) -> bool:
        """Another feed of the line still records: what this one brings, the other one brings as well."""
        return any(lane.state is not None for lane in self.waits_for)

    # --- where it stands -------------------------------------------------------------------------------------------

    def seek(self, run: str, n: int) -> None:
        """Put the cursor somewhere."""
        self.run, self.next = run, n

    def move(self) -> Move | None:
        """From the position to the cursor; None where they are the same."""
        at = self.position
        if at is None or (at.run, at.next) == (self.run, self.next):
            return None
        return Move(self.feed, at.run, at.next, self.run, self.next, self.watermark)

    def committed(self) -> None:
        """The flush that holds everything up to the cursor is in the database."""
        if self.position is not None:
            self.position = Position(self.feed, self.run, self.next, self.position.epoch)
        self.tell()

    def tell(self) -> None:
        """Let the lag follow the cursor."""
        if self.state is not None:
            self.state.committed(self.run, self.next, self._waiting_since)
        else:
            self.draining_since = self._waiting_since()

    def _waiting_since(self) -> int | None:
        """When the frame at the cursor came; at the end of a run that is the first frame of a later one."""
        at = self.reader.received_at(self.run, self.next)
        if at is not None:
            return at
        later = (run for run in self.reader.runs() if run.ordinal > ordinal(self.run))
        came = (self.reader.received_at(run.run, run.first) for run in later)
        return next((at for at in came if at is not None), None)

    @property
    def uncommitted_at(self) -> int | None:
        """received_at of the oldest record that is not committed; read by whoever scrapes."""
        return self.state.uncommitted_at if self.state is not None else self.draining_since

    @property
    def blocked(self) -> bool:
        """It may not run: parked, or an older feed of the same source has to be drained first."""
        return bool(self.parked) or any(not lane.drained for lane in self.waits_for)

    @property
    def drained(self) -> bool:
        """A feed without a thread whose spool is committed to its end."""
        return self.state is None and not self.parked and self.reader.at_end(self.run, self.next)

    @property
    def behind(self) -> bool:
        """The queue does not hold what comes next; the spool does."""
        if self.state is None:
            return not self.drained
        return not self.state.catch_up(self.run, self.next)

    # --- what comes next -------------------------------------------------------------------------------------------

    def takes(self, decoded: Decoded) -> bool:
        """Whether a burst from the queue is the next one; the cursor then stands behind it."""
        if self.blocked or decoded.run != self.run or decoded.first != self.next:
            return False
        self.next, self.watermark = decoded.next, decoded.received_at
        return True

    def release(self, keep_after: int) -> int:
        """Delete segments that position and checkpoint have passed; bytes freed."""
        return self.reader.release(*self.safe, keep_after) if self.safe is not None else 0

    def needed(self) -> int:
        """Bytes of segments that may not be deleted yet; asked by whoever scrapes."""
        run, n = self.safe or ("", 0)
        return self.reader.needed(run, n)

    def read(self, max_bytes: int) -> list[Decoded | Lost]:
        """The next slice of the spool, decoded with the same code, lost ranges in their places."""
        piece = self.reader.read(self.run, self.next, max_bytes)
        self.reading = self.run
        decoder = self.decoder(piece.header)
        items: list[Decoded | Lost] = [decoder.decode(burst) for burst in piece.bursts]
        items += piece.lost
        items.sort(key=lambda item: item.first)
        self.next = piece.next
        if piece.bursts:
            self.watermark = piece.bursts[-1].received_at
        if piece.end_of_run and piece.next_run is not None and not piece.bursts:
            self.seek(piece.next_run, 0)
        return items

    def decoder(self, header: Header) -> Decoder:
        """The decoder of a run; made once."""
        if self._decoder is None or self._decoder[0] != header.run:
            self._decoder = header.run, self.make_decoder(header)
        return self._decoder[1]
