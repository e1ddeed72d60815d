"""What a feed does with a burst, by whether the writer follows it."""

from __future__ import annotations

import queue

import pytest
from prometheus_client import CollectorRegistry, Counter

from recorder.capture.feedstate import FeedState
from recorder.capture.intake import Clock, Intake, Outlet
from recorder.observe.metrics import Metrics
from recorder.observe.recent import Recent
from recorder.records import Decoded, Failed, Header, Kind, Streams
from tests.unit.feedrig import Tape
from tests.unit.toyvenue import Toy, Words

RUN = "1-aaaaaaaa"
FRAMES = [b"data trades A 1 2", b"data books A 1 2"]


class Tap:
    """Whoever wants to see bursts go by."""

    def __init__(self) -> None:
        self.wanted = True
        self.seen: list[tuple[set[str], bool]] = []

    def passed(self, decoded: Decoded, live: bool) -> None:
        """Which tables there were, and whether they went to the writer."""
        self.seen.append((set(decoded.tables), live))


class Rig:
    """An intake whose writer follows or not; `asked` says how its decoder was asked."""

    def __init__(self, live: bool) -> None:
        self.asked: list[str] = []
        self.items: queue.Queue[Decoded] = queue.Queue()
        overflows = Counter("overflows", "Overflows", registry=CollectorRegistry())
        self.state = FeedState("toy/public/0", "toy", RUN, self.items, lambda: 1 << 20, overflows)
        self.state.live = live
        streams, rig = Streams(), self

        class Asked(Words):
            """Says how it was asked."""

            def decode(self, burst):  # type: ignore[no-untyped-def]
                """The whole."""
                rig.asked.append("whole")
                return super().decode(burst)

            def skim(self, burst):  # type: ignore[no-untyped-def]
                """The writer begins to follow in the middle of it, if it is told to."""
                rig.asked.append("skim")
                rig.state.live |= rig.overtaken
                out = Words.decode(self, burst)
                out.tables.pop("trades", None)
                return out

        self.overtaken = False
        decoder = Asked(Header("", "toy/public/0", "toy", "toy", "/", {}, run=RUN, run_ordinal=1), streams)
        venue = Toy.__new__(Toy)
        self.recent, self.tap, self.tape = Recent(), Tap(), Tape()
        ways = (self.tape, decoder, self.state, streams, Metrics(), self.recent, self.tap)
        self.intake = Intake(Outlet(*ways), venue.channel, Clock())

    def take(self, whole: bool = False) -> Decoded:
        """A burst of two messages."""
        return self.intake.take(Kind.TEXT, FRAMES, 1_700_000_000_000_000, whole)


def test_a_burst_for_the_queue_is_decoded_whole() -> None:
    """The writer stores what it gets."""
    rig = Rig(live=True)
    rig.take()
    assert rig.asked == ["whole"]
    assert set(rig.items.get_nowait().tables) == {"trades", "books"}


@pytest.mark.parametrize(("whole", "asked"), [(False, ["skim"]), (True, ["whole"])])
def test_a_burst_that_the_spool_will_give_is_only_skimmed(whole: bool, asked: list[str]) -> None:
    """Unless somebody waits to hear of its streams. The head moves, nothing is queued, and it is counted."""
    rig = Rig(live=False)
    decoded = rig.take(whole)
    assert (rig.asked, rig.items.qsize(), rig.state.head) == (asked, 0, 2)
    assert decoded.messages == {"trades": 1, "books": 1}
    assert "books" in decoded.tables
    assert set(rig.intake.last_data) == {"trades", "books"}


def test_a_writer_that_follows_meanwhile_gets_the_whole() -> None:
    """A skimmed burst must never pass for one: what is not in it would be lost."""
    rig = Rig(live=False)
    rig.overtaken = True
    rig.take()
    assert rig.asked == ["skim", "whole"]
    assert set(rig.items.get_nowait().tables) == {"trades", "books"}


# --- who looks on ----------------------------------------------------------------------------------------------------

BOTH = {"trades", "books"}


@pytest.mark.parametrize(
    ("live", "whole", "seen"),
    [(True, False, (BOTH, True)), (False, False, ({"books"}, False)), (False, True, (BOTH, False))],
)
def test_a_tap_knows_what_the_writer_gets(live: bool, whole: bool, seen: tuple[set[str], bool]) -> None:
    """A burst that was only skimmed, or that the spool will give, never passes for one that went into the queue."""
    rig = Rig(live)
    rig.take(whole)
    assert rig.tap.seen == [seen]


def test_what_the_disk_had_no_room_for_does_not_pass() -> None:
    """It is not going to be stored, so nobody is shown it."""
    rig = Rig(live=True)
    rig.tape.full = True
    rig.take()
    assert rig.tap.seen == [(set(), False)]


def test_a_full_queue_is_behind() -> None:
    """The burst with which a feed falls behind is left to the spool."""
    rig = Rig(live=True)
    rig.state._share = lambda: 0
    rig.take()
    assert rig.tap.seen == [(BOTH, False)]


def test_nobody_is_asked_while_nobody_listens() -> None:
    """Then a burst costs a look."""
    rig = Rig(live=True)
    rig.tap.wanted = False
    rig.take()
    assert rig.tap.seen == []


def test_what_a_feed_notes_is_recent_though_the_disk_is_full() -> None:
    """Nothing is known better while nothing can be stored."""
    rig = Rig(live=True)
    rig.tape.full = True
    rig.intake.note(Failed("dns", "wss://x"))
    assert [each.code for each in rig.recent.happenings()] == ["dns"]
