"""The one thread that writes: queue and spool in, transactions out.

Owns the lanes, the order of flushes and the retry of the flush in hand. Receiving never waits for it; it waits for
the database as long as that takes. Never decides what a record means (prepare), nor how a transaction is made (sink).

One turn: take what the queue holds until the oldest record is `flush_age` old or `flush_rows` wait, commit that, then
one slice of one feed that is behind. So live feeds are flushed between slices of a backlog.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from loguru import logger

from recorder.capture.spoolreader import Lost
from recorder.config import Database
from recorder.errors import SinkUnavailable
from recorder.failpoint import fail_point
from recorder.observe.health import Beats
from recorder.records import Decoded, now_us
from recorder.store.flush import Flush
from recorder.store.lane import Lane
from recorder.store.prepare import Preparation, Preparer, Tally
from recorder.store.resume import Resume
from recorder.store.sink import Fenced, PositionMoved, Quarantined, Sink

Work = tuple[Lane, Decoded | Lost]

SLICE_BYTES = 4 << 20  # raw bytes of one slice: ~20 000 trades as in a full flush, one transaction of ~100 ms
CHECKPOINT_SECONDS = 10.0
RETRY_CAP = 30.0  # full jitter (reliability: backoff)
RELEASE_SECONDS = 5.0  # how often segments are looked through for deletion; in this thread, because it reads them
BUSY = 3.0  # deadlines of the sink that one step may take: connecting, the flush, and settling it
WAIT = 0.5  # the longest wait for another item: however long flush_age is, stop and supervisor wait no longer
FLUSH_BYTES = 16 << 20  # of one flush, as the queue counts them: rows of books are large
IDLE = 0.05  # the longest wait for the first item; also how soon a feed that fell behind is noticed


@dataclass(frozen=True, slots=True)
class Care:
    """What the writer does for others, because only its thread may: `release` deletes old segments (True if room is
    still short), `adopt` makes the tables of a database that is empty or our own (True if it did); and where it beats.
    """

    beats: Beats
    release: Callable[[list[Lane]], bool]
    adopt: Callable[[], bool]


class Writer(threading.Thread):
    """Thread `writer`. `stop()` lets it commit what fits and ends it; `database` says in a sentence how it stands.
    `limits` may be replaced while it runs."""

    def __init__(
        self,
        lanes: list[Lane],
        items: queue.Queue[Decoded],
        sink: Sink,
        preparer: Preparer,
        limits: Database,
        care: Care,
    ) -> None:
        super().__init__(name="writer", daemon=True)  # nothing ends a name server's silence: the process leaves anyway
        self.lanes = {lane.feed: lane for lane in lanes}
        self.database = "not connected yet"
        self.fault: BaseException | None = None
        self.committed_at: float | None = None
        self._items = items
        self._sink = sink
        self._preparer = preparer
        self.limits = limits
        self._beats = care.beats
        self._release = care.release
        self._release_at = time.monotonic() + RELEASE_SECONDS
        self._resume = Resume(sink, preparer, care.adopt)
        self._resumed = False
        self._fenced = False
        self._changes: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._joined: list[Lane] = []
        self._moved = False
        self._stopping = threading.Event()
        self._deadline = float("inf")
        self._checkpoint_at = 0.0
        self._short = False
        self._round = 0
        self._committed_now = False
        care.beats.register(self.name)

    # --- life ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until stopped; whatever ends it otherwise is kept in `fault` for the supervisor."""
        try:
            while not self._done():
                self.turn()
            self._checkpoint_all()
        except BaseException as fault:  # noqa: BLE001 - the top of a thread: the supervisor names it and stops
            self.fault = fault
        finally:
            self._beats.forget(self.name)

    def stop(self, within: float) -> None:
        """Commit what fits within so many seconds, then end."""
        self._deadline = time.monotonic() + within
        self._stopping.set()

    def change(self, step: Callable[[], None]) -> None:
        """From any thread: change lanes between two turns, or while the flush in hand waits for the database."""
        self._changes.put(step)

    def move(self, step: Callable[[], None]) -> None:
        """From any thread: the database is another one after this step. The flush in hand is given up; where the new
        one stands is found out as at the start."""

        def moved() -> None:
            step()
            self._moved = True

        self._changes.put(moved)

    def join_lane(self, lane: Lane) -> None:
        """A feed that began while we run. In this thread only (`change`)."""
        self.lanes[lane.feed] = lane
        self._joined.append(lane)

    def _change(self) -> None:
        while not self._changes.empty():
            self._changes.get()()
        if self._moved:
            self._resumed = False

    def _place_joined(self) -> None:
        """Lanes that came since we took over."""
        joined, self._joined = self._joined, []
        if joined and self._resumed:
            self._resumed = self._attempt(lambda: self._resume.join(joined))

    def _done(self) -> bool:
        if not self._stopping.is_set():
            return False
        if time.monotonic() > self._deadline or not self._resumed:
            return True
        return self._items.empty() and all(lane.blocked or not lane.behind for lane in self.lanes.values())

    # --- one turn --------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Take, commit, catch up."""
        self._beats.beat(self.name)
        self._change()
        if not self._resumed and not self._fenced and not self._take_over():
            return
        self._place_joined()
        self._make_room()
        behind = [lane for lane in self.lanes.values() if not lane.blocked and lane.behind]
        taken = self._take(0.0 if behind else IDLE)
        if taken:
            self._commit(taken)
        elif self._short and self._resumed:
            self._checkpoint_now()
        if behind and self._resumed:
            self._round += 1
            self._catch_up(behind[self._round % len(behind)])
        for lane in list(self.lanes.values()):
            if self._resumed and lane.drained and not lane.concluded:
                self._conclude(lane)

    def _make_room(self) -> None:
        """Look after the spool's size; also while the database is away, for then it grows."""
        if time.monotonic() >= self._release_at:
            self._release_at = time.monotonic() + RELEASE_SECONDS
            self._short = self._release(list(self.lanes.values()))

    def _take_over(self) -> bool:
        """Connect, own the positions, bring continuity to where they stand."""
        lanes = list(self.lanes.values())
        self._joined, self._moved = [], False
        self._resumed = self._attempt(lambda: self._resume.run(lanes))
        self._checkpoint_at = 0.0  # what a restored database has of it may be nothing: the first flush says it anew
        return self._resumed

    def _take(self, wait: float) -> list[Work]:
        """Items in order, until the oldest is `flush_age` old or enough rows wait; with no time to `wait`, because a
        feed is behind, what is there. Items that are not their lane's next are let go: the spool holds them."""
        taken: list[Work] = []
        rows = size = 0
        until = time.monotonic() + wait
        while rows < self.limits.flush_rows and size < FLUSH_BYTES:
            decoded = self._next(until)
            if decoded is None:
                break
            lane = self.lanes[decoded.feed]
            if self._fits(lane, decoded):
                if not taken and wait:
                    age = max(0.0, (now_us() - decoded.received_at) / 1e6)
                    until = time.monotonic() + max(0.0, self.limits.flush_age - age)
                taken.append((lane, decoded))
                rows += decoded.rows
                size += decoded.size
        return taken

    def _next(self, until: float) -> Decoded | None:
        """The next item, waited for until then, unless the writer has to stop."""
        while True:
            left = 0.0 if self._stopping.is_set() else until - time.monotonic()
            try:
                return self._items.get(timeout=min(left, WAIT)) if left > 0 else self._items.get_nowait()
            except queue.Empty:
                self._beats.beat(self.name)
                if left <= 0:
                    return None

    @staticmethod
    def _fits(lane: Lane, decoded: Decoded) -> bool:
        if lane.state is not None:
            lane.state.taken(decoded)
        if lane.takes(decoded):
            return True
        if lane.state is not None and (decoded.run != lane.run or decoded.first > lane.next):
            lane.state.fall_behind()
        return False

    def _catch_up(self, lane: Lane) -> None:
        """One slice of one feed, one transaction."""
        fail_point("during_catch_up")
        self._commit([(lane, item) for item in lane.read(SLICE_BYTES)])
        if lane.move() is None and lane.behind and not self._committed_now:
            self._stopping.wait(IDLE)  # nothing to read yet: the feed is between append and offer

    def _conclude(self, lane: Lane) -> None:
        """The last words of a feed that only its spool knows, once it is drained."""
        to = Preparation(Flush(), Tally())
        self._preparer.conclude(to, lane)
        lane.concluded = self._attempt(lambda: self._after(to, [], self._sink.commit(to.flush)))

    # --- committing ------------------------------------------------------------------------------------------------

    def _commit(self, work: list[Work]) -> None:
        """Prepare a flush once and try it until the database has it."""
        self._committed_now = False
        to = Preparation(Flush(), Tally())
        decoded = [item for _, item in work if isinstance(item, Decoded)]
        if not self._attempt(lambda: self._preparer.meet(to, decoded)):
            return
        for lane, item in work:
            self._preparer.add(to, lane, item)
        moved = [lane for lane in self.lanes.values() if lane.move() is not None]
        to.flush.moves = [move for lane in moved if (move := lane.move()) is not None]
        if not moved:
            return
        self._checkpoint(to)
        started = time.monotonic()
        if self._attempt(lambda: self._after(to, moved, self._sink.commit(to.flush))):
            self._preparer.metrics.commit_seconds.observe(time.monotonic() - started)

    def _after(self, to: Preparation, moved: list[Lane], quarantined: list[Quarantined]) -> None:
        for frame in quarantined:
            to.tally.aside(self.lanes[frame.feed].source, frame)
        for lane in moved:
            lane.committed()
        for lane in self.lanes.values():
            lane.safe = lane.checkpointed
        self._committed_now = True
        self.committed_at = time.monotonic()
        to.tally.publish(self._preparer.metrics, self._preparer.recent)

    def _attempt(self, step: Callable[[], None]) -> bool:
        """Do a step that needs the database, again and again while it is away. False: give the work in hand up,
        because the writer must stop, or because the positions are no longer what we thought (then resume), or are
        somewhere else."""
        failures = 0
        while True:
            self._beats.beat(self.name, BUSY * self._sink.deadline)
            try:
                step()
            except SinkUnavailable as away:
                failures += 1
                self._tell(str(away))
                if not self._pause(failures):
                    self._resumed = False  # cursors stand behind records that no later flush carries: commit no more
                    return False
            except Fenced as fenced:
                self._park(str(fenced))
                return False
            except PositionMoved as moved:
                self._tell(str(moved))
                self._resumed = False
                return False
            else:
                self._tell("")
                return True
            finally:
                self._beats.beat(self.name)

    def _park(self, why: str) -> None:
        """Another recorder owns the positions: commit nothing more. The feeds go on spooling."""
        logger.bind(event="writer.fenced").error("{}", why)
        self.database = why
        self._fenced = True
        for lane in self.lanes.values():
            lane.parked = why

    def _pause(self, failures: int) -> bool:
        """Full jitter; False when the writer has to stop instead, or the database is another one now."""
        wait = random.uniform(0, min(RETRY_CAP, 0.1 * 2 ** min(failures, 12)))  # noqa: S311 - spreading, not secrecy
        until = time.monotonic() + wait
        while (left := until - time.monotonic()) > 0:
            self._beats.beat(self.name)
            self._change()
            self._make_room()
            if self._moved or self._stopping.wait(min(left, 1.0)):
                return False
        return not self._stopping.is_set()

    def _tell(self, problem: str) -> None:
        if problem != self.database:
            if problem:
                logger.bind(event="database.unavailable").warning("database: {}", problem)
            elif self.database:
                logger.bind(event="database.available").info("database: writing")
            self.database = problem

    # --- checkpoints -----------------------------------------------------------------------------------------------

    def _checkpoint(self, to: Preparation) -> None:
        """Every CHECKPOINT_SECONDS, and with a stream's first record, the state of continuity goes along, in the same
        transaction as the position."""
        now = time.monotonic()
        if to.met or now >= self._checkpoint_at:
            self._checkpoint_at = now + CHECKPOINT_SECONDS
            for lane in self.lanes.values():
                if lane.position is not None and lane.checkpointed != (lane.run, lane.next):
                    self._preparer.checkpoint(to, lane)

    def _settled(self) -> Preparation:
        """The checkpoints of all that is committed."""
        to = Preparation(Flush(), Tally())
        for lane in self.lanes.values():
            settled = lane.position is not None and lane.move() is None and not lane.parked
            if settled and lane.checkpointed != (lane.run, lane.next):
                self._preparer.checkpoint(to, lane)
        return to

    def _checkpoint_now(self) -> None:
        """On a full disk nothing comes, and no flush that a checkpoint could go along with; but only what a checkpoint
        has passed may be deleted to make room."""
        to = self._settled()
        if to.flush.statements and self._attempt(lambda: self._after(to, [], self._sink.commit(to.flush))):
            self._release_at = 0.0

    def _checkpoint_all(self) -> None:
        """At the end, so that the next start has nothing to read again, and need not wait: this one surely is gone."""
        if not self._resumed or self.database:
            return
        to = self._settled()
        if not self._fenced:
            try:
                if to.flush.statements:
                    self._sink.commit(to.flush)
                self._sink.release()
            except (SinkUnavailable, Fenced, PositionMoved) as away:
                logger.bind(event="writer.checkpoint").warning("no checkpoint at the end: {}", away)
