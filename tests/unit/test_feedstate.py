"""FeedState: every burst reaches the writer once, by the queue or by the spool, and the lag is that of the oldest."""

from __future__ import annotations

import queue
from dataclasses import dataclass, field

from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter

from recorder.capture.feedstate import FeedState
from recorder.records import Decoded, Poison

RUN = "2-bbbbbbbb"


def burst(first: int, frames: int = 1, *, run: str = RUN, at: int = 0, weight: int = 0) -> Decoded:
    """A burst of so many frames; `weight` bytes on top."""
    poison = [Poison(first, "invalid_json", b"x" * weight)] if weight else []
    return Decoded("toy/0", run, first, first + frames, at, poison=poison)


SIZE = burst(0).size


@dataclass
class Rig:
    """A state with its queue, for `share` bursts without weight."""

    share: int = 1000
    items: queue.Queue[Decoded] = field(default_factory=queue.Queue)

    def __post_init__(self) -> None:
        self.overflows = Counter("overflows", "Overflows", registry=CollectorRegistry())
        self.state = FeedState("toy/0", "toy", RUN, self.items, lambda: self.share * SIZE, self.overflows)

    @property
    def overflowed(self) -> float:
        (metric,) = self.overflows.collect()
        return metric.samples[0].value

    def queued(self) -> list[int]:
        return [decoded.first for decoded in list(self.items.queue)]


def never() -> int | None:
    """The spool must not be asked."""
    raise AssertionError("the spool was asked although the queue knows")


# --- live and behind -------------------------------------------------------------------------------------------------


def test_a_feed_begins_behind() -> None:
    """Until the writer says that it follows, bursts are only spooled; the head tells how far."""
    rig = Rig()
    rig.state.offer(burst(0, 3))
    assert (rig.state.live, rig.state.head, rig.queued(), rig.state.queued_bytes) == (False, 3, [], 0)
    assert rig.overflowed == 0


def test_the_queue_carries_a_live_feed() -> None:
    """Once the writer stands at the head, every burst goes through the queue, and its bytes are counted."""
    rig = Rig()
    assert rig.state.catch_up(RUN, 0)
    rig.state.offer(burst(0, 2))
    rig.state.offer(burst(2, weight=100))
    assert (rig.queued(), rig.state.head, rig.state.queued_bytes) == ([0, 2], 3, 2 * SIZE + 100)
    rig.state.taken(rig.items.get_nowait())
    assert rig.state.queued_bytes == SIZE + 100


def test_a_writer_short_of_the_head_stays_behind() -> None:
    """One frame missing is enough: the spool must give it first."""
    rig = Rig()
    rig.state.offer(burst(0, 3))
    assert not rig.state.catch_up(RUN, 2)
    assert rig.state.catch_up(RUN, 3)


def test_a_writer_in_an_older_run_stays_behind() -> None:
    """Frame numbers of another run say nothing about this one, however large."""
    rig = Rig()
    assert not rig.state.catch_up("1-aaaaaaaa", 10_000)
    assert not rig.state.live


def test_a_full_share_leaves_the_rest_to_the_spool() -> None:
    """A feed that has used its share falls behind, once counted; what is queued stays, the head goes on."""
    rig = Rig(share=2)
    rig.state.catch_up(RUN, 0)
    for n in range(5):
        rig.state.offer(burst(n))
    assert (rig.queued(), rig.state.live, rig.state.head, rig.overflowed) == ([0, 1], False, 5, 1)


def test_a_burst_that_fills_the_share_exactly_still_goes() -> None:
    """The share is what a feed may have, not what it must stay under."""
    rig = Rig(share=2)
    rig.state.catch_up(RUN, 0)
    rig.state.offer(burst(0, weight=SIZE))
    assert (rig.queued(), rig.state.live) == ([0], True)


def test_room_in_the_queue_alone_does_not_make_a_feed_live() -> None:
    """Between an overflow and the head lie bursts that only the spool has: none may overtake them."""
    rig = Rig(share=1)
    rig.state.catch_up(RUN, 0)
    rig.state.offer(burst(0))
    rig.state.offer(burst(1))
    rig.state.taken(rig.items.get_nowait())
    rig.state.offer(burst(2))
    assert (rig.queued(), rig.state.catch_up(RUN, 1), rig.state.catch_up(RUN, 3)) == ([], False, True)


def test_the_writer_can_let_go() -> None:
    """A burst that the writer did not take makes the spool responsible for all that follows."""
    rig = Rig()
    rig.state.catch_up(RUN, 0)
    rig.state.fall_behind()
    rig.state.offer(burst(0))
    assert (rig.queued(), rig.state.head) == ([], 1)
    assert rig.overflowed == 0  # the share was not the reason


# --- the oldest record that is not committed -------------------------------------------------------------------------


def test_a_live_feed_knows_its_oldest_record_without_the_spool() -> None:
    """While the queue carries everything, committing never reads the disk to tell the lag."""
    rig = Rig()
    rig.state.catch_up(RUN, 0)
    for n in range(3):
        rig.state.offer(burst(n, at=100 + n))
    assert rig.state.uncommitted_at == 100
    rig.state.committed(RUN, 2, never)
    assert rig.state.uncommitted_at == 102
    rig.state.committed(RUN, 3, never)
    assert rig.state.uncommitted_at is None


def test_the_lag_of_a_feed_behind_comes_from_the_spool() -> None:
    """What the queue never had, the spool dates."""
    rig = Rig()
    for n in range(4):
        rig.state.offer(burst(n, at=100 + n))
    rig.state.committed(RUN, 2, lambda: 102)
    assert rig.state.uncommitted_at == 102
    rig.state.committed("1-aaaaaaaa", 50, lambda: 70)
    assert rig.state.uncommitted_at == 70


def test_an_empty_feed_has_no_lag() -> None:
    """Null is not zero: with nothing uncommitted there is no oldest record, and the next one to come is the oldest."""
    rig = Rig()
    assert rig.state.uncommitted_at is None
    rig.state.offer(burst(0, at=5))
    rig.state.offer(burst(1, at=6))
    assert rig.state.uncommitted_at == 5


def test_a_burst_committed_before_it_was_offered_is_no_lag() -> None:
    """The writer may read a burst from the spool and commit it before the feed comes to offer it: a quiet feed must
    not show it as uncommitted from then on."""
    rig = Rig()
    rig.state.committed(RUN, 1, never)
    rig.state.offer(burst(0, at=5))
    assert rig.state.uncommitted_at is None
    rig.state.offer(burst(1, at=6))
    assert rig.state.uncommitted_at == 6


# --- all interleavings -----------------------------------------------------------------------------------------------


class Model:
    """A feed that appends and offers, and a writer that follows the rules of the design, one step at a time."""

    def __init__(self, share: int) -> None:
        self.rig = Rig(share)
        self.spool: list[Decoded] = []
        self.offered = 0
        self.cursor = self.committed = 0  # frame numbers
        self.stored: list[Decoded] = []

    def append(self, frames: int = 1) -> None:
        """The first half of receiving: from now on the writer can read it."""
        first = self.spool[-1].next if self.spool else 0
        self.spool.append(burst(first, frames, at=1000 + len(self.spool)))

    def offer(self) -> None:
        """The second half."""
        if self.offered < len(self.spool):
            self.rig.state.offer(self.spool[self.offered])
            self.offered += 1

    def skim(self) -> None:
        """The second half by a feed that believed the writer to read the spool."""
        if self.offered < len(self.spool):
            if not self.rig.state.pass_by(self.spool[self.offered]):
                self.rig.state.offer(self.spool[self.offered])
            self.offered += 1

    def take(self) -> None:
        """One item of the queue: taken, skipped, or a reason to read the spool."""
        if self.rig.items.empty():
            return
        item = self.rig.items.get_nowait()
        self.rig.state.taken(item)
        if item.first == self.cursor:
            self.store(item)
        elif item.first > self.cursor:
            self.rig.state.fall_behind()

    def drop(self) -> None:
        """An item is let go, as by a writer that is parked."""
        if not self.rig.items.empty():
            self.rig.state.taken(self.rig.items.get_nowait())
            self.rig.state.fall_behind()

    def read(self) -> None:
        """A slice of the spool, if the queue does not do."""
        if not self.rig.state.catch_up(RUN, self.cursor):
            for decoded in [d for d in self.spool if d.first >= self.cursor][:2]:
                self.store(decoded)

    def store(self, decoded: Decoded) -> None:
        self.stored.append(decoded)
        self.cursor = decoded.next

    def commit(self) -> None:
        """What is stored is in the database."""
        self.committed = self.cursor
        self.rig.state.committed(RUN, self.cursor, self.dated)

    def dated(self) -> int | None:
        return next((d.received_at for d in self.spool if d.first == self.committed), None)

    def rewind(self) -> None:
        """The database is not where it was thought to be: from the last commit again."""
        self.stored = [d for d in self.stored if d.next <= self.committed]
        self.cursor = self.committed
        self.rig.state.fall_behind()

    def check(self) -> None:
        """What must hold at every moment."""
        state = self.rig.state
        queued = list(self.rig.items.queue)
        offered = self.spool[: self.offered]
        assert state.queued_bytes == sum(d.size for d in queued) <= self.rig.share * SIZE
        assert state.head == (offered[-1].next if offered else 0)
        if state.live:
            assert {d.first for d in offered if d.first >= self.cursor} <= {d.first for d in queued}
        waiting = [d.received_at for d in offered if d.first >= self.committed]
        assert state.uncommitted_at == (waiting[0] if waiting else None)

    def settle(self) -> None:
        """Let both sides finish."""
        while self.offered < len(self.spool):
            self.offer()
        while not self.rig.items.empty() or not self.rig.state.catch_up(RUN, self.cursor):
            self.take()
            self.read()
        self.commit()
        self.check()


STEPS = ("append", "offer", "skim", "take", "drop", "read", "commit", "rewind")


@given(st.integers(1, 4), st.lists(st.sampled_from(STEPS), max_size=60))
@example(2, ["append", "skim", "read", "append", "skim", "append", "read", "skim", "take"])
@example(3, ["append", "offer", "append", "read", "commit", "offer"])
@example(1, ["append", "offer", "read", "append", "append", "offer", "offer", "take", "append", "offer", "take"])
def test_every_burst_is_taken_exactly_once(share: int, steps: list[str]) -> None:
    """However feed and writer interleave, each burst comes out once and in order, by queue or spool; the queue never
    holds more than the share, and the oldest uncommitted record is the true one at every moment."""
    model = Model(share)
    for step in steps:
        getattr(model, step)()
        model.check()
    model.settle()
    assert [d.first for d in model.stored] == [d.first for d in model.spool]
