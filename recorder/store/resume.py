"""Brings the writer to where the database stands: at start, after a restore, when positions moved under it.

Owns the decision where each feed begins (design 2.4) and the silent replay from checkpoint to position. Never emits
a row itself: what was lost becomes the cause of the holes that the next records show.
"""

from __future__ import annotations

from collections.abc import Callable

from loguru import logger

from recorder.records import Stream
from recorder.store.flush import Position
from recorder.store.lane import Lane, Start, where_to_start
from recorder.store.prepare import Preparer
from recorder.store.sink import Sink, SinkParked

REPLAY_BYTES = 4 << 20


class Resume:
    """Everything between a (new) connection and the first flush."""

    def __init__(self, sink: Sink, preparer: Preparer, adopt: Callable[[], bool]) -> None:
        self._sink = sink
        self._preparer = preparer
        self._adopt = adopt

    def run(self, lanes: list[Lane]) -> None:
        """Connect, take the positions over, restore continuity, place every cursor of all feeds."""
        try:
            self._sink.connect()
        except SinkParked:
            if not self._adopt():  # an empty database, or our own: we make the tables ourselves
                raise
            self._sink.connect()
        self._preparer.forget()
        self._preparer.know({Stream(*row) for row in self._sink.rows("streams", ())})
        self.join(lanes)

    def join(self, lanes: list[Lane]) -> None:
        """Take over and place these, and leave the others where they are."""
        found = self._sink.positions()
        starts = {lane.feed: s for lane in lanes if not lane.parked and (s := self._start(lane, found)) is not None}
        wanted = {feed: (start.run, start.next) for feed, start in starts.items()}
        positions = self._sink.take_over(wanted)
        checkpoints = {row[0]: row for row in self._sink.rows("checkpoints", (self._sink.recorder_id,))}
        for lane in sorted(lanes, key=lambda lane: lane.state is not None):  # a stream's former feed before its present
            if lane.feed in starts and lane.feed in positions:
                self._place(lane, positions[lane.feed], starts[lane.feed], checkpoints.get(lane.feed))

    def _start(self, lane: Lane, found: dict[str, Position]) -> Start | None:
        runs = lane.reader.runs()
        if not any(run.segments for run in runs):
            return None
        start = where_to_start(found.get(lane.feed), runs)
        if start.cause:
            at = found.get(lane.feed)
            logger.bind(event="resume.lost").warning(
                "{}: position {} is not in the spool; going on at {}/{} ({})",
                *(lane.feed, f"{at.run}/{at.next}" if at else "none", start.run, start.next, start.cause),
            )
        return start

    def _place(
        self, lane: Lane, position: Position, start: Start, checkpoint: tuple[str, str, int, bytes, bool] | None
    ) -> None:
        lane.position = position
        lane.seek(position.run, position.next)
        if checkpoint is not None:
            _, run, n, state, stale = checkpoint
            if stale:
                self._preparer.rebase(state)
            else:
                self._preparer.continuity.load(lane.feed, state)
                if not self._replay(lane, run, n, (position.run, position.next)):
                    self._preparer.relearn(lane.feed)
        lane.checkpointed, lane.safe, lane.watermark, lane.concluded = None, None, 0, False
        if start.cause:
            self._preparer.continuity.interrupt(lane.feed, start.run, start.cause)
        lane.seek(start.run, start.next)
        if lane.state is not None:
            lane.state.fall_behind()
        lane.tell()

    def _replay(self, lane: Lane, run: str, n: int, until: tuple[str, int]) -> bool:
        """What was committed since the checkpoint: continuity reads it again, nobody else hears of it. False where the
        spool does not hold all of it any more."""
        known = {info.run for info in lane.reader.runs() if info.segments}
        while (run, n) != until:
            if run not in known or (run == until[0] and n > until[1]):
                return False
            piece = lane.reader.read(run, n, REPLAY_BYTES)
            decoder = lane.decoder(piece.header)
            last = run == until[0]
            lost = [each.first for each in piece.lost if not last or each.first < until[1]]
            upto = min([*lost, until[1] if last else piece.next])
            for burst in piece.bursts:
                if burst.first < upto:  # behind a lost range, what is stored would show a hole that is none
                    self._preparer.replay(decoder.decode(burst))
            if lost:
                return False
            if piece.bursts:
                n = min(upto, piece.next)
            elif piece.end_of_run and piece.next_run is not None and not last:
                run, n = piece.next_run, 0
            else:
                return False
        return True
