"""Streams that were accepted and bring nothing."""

from __future__ import annotations

import itertools

import pytest

from recorder.capture.unheard import NAMED, Unheard, names
from recorder.records import Decoded, Rows, Stream, Streams
from recorder.venues import Channel, Subscription
from recorder.venues import Continuity as Proof

CHANNELS = {
    "trades": Channel("trades", "trades", Proof.NUMBERED, "public"),
    "slow": Channel("slow", "funding_rates", Proof.NONE, "public", within=200.0),
    "events": Channel("events", "liquidations", Proof.NONE, "public", within=None),
}
A, B = Subscription("trades", "A"), Subscription("trades", "B")
SLOW, EVENTS = Subscription("slow", "A"), Subscription("events", "SWAP")


class Watch:
    """The unheard streams of a feed, looked at every second."""

    def __init__(self) -> None:
        self.streams = Streams()
        self.unheard = Unheard("s", self.streams, CHANNELS.get)
        self.now = 0.0
        self.story: list[tuple[float, str, list[Subscription]]] = []

    def accept(self, *subscriptions: Subscription) -> None:
        self.unheard.asked(subscriptions)
        for each in subscriptions:
            self.unheard.accepted(each, self.now)

    def until(self, end: float) -> None:
        while self.now < end:
            self.now += 1.0
            found = self.unheard.look(self.now)
            self.story += [(self.now, what, some) for what, some in found._asdict().items() if some]

    def burst(self, *subscriptions: Subscription, shed: bool = False) -> list[Subscription]:
        numbers = [self.streams.number(Stream("s", each.channel, each.symbol)) for each in subscriptions]
        none: list[int | None] = [None] * len(numbers)
        decoded = Decoded("f", "r", 0, 1, 0, messages={each.channel: 1 for each in subscriptions})
        if not shed:
            decoded.tables["t"] = Rows(
                b"x\n" * len(numbers), numbers, none, none, [0] * len(numbers), [0] * len(numbers)
            )
        return self.unheard.data(decoded)


def test_a_silent_stream_is_asked_for_once_more_and_then_named_once() -> None:
    """90 s, once more, 90 s, named; after that it is left alone, however long it stays silent."""
    watch = Watch()
    watch.accept(A, B)
    watch.burst(A)
    watch.until(10_000)
    assert watch.story == [(90, "again", [B]), (180, "silent", [B]), (180, "news", [B])]
    assert watch.unheard.silent == [B]


def test_a_channel_has_its_own_patience() -> None:
    """A rate that comes every 90 s is not silent after 90 s, and events may never come."""
    watch = Watch()
    watch.accept(SLOW, EVENTS)
    watch.until(10_000)
    assert [(at, what) for at, what, some in watch.story if some == [SLOW]] == [
        (200, "again"),
        (400, "silent"),
        (400, "news"),
    ]
    assert watch.unheard.silent == [SLOW]


def test_nothing_is_owed_before_it_is_accepted() -> None:
    """What the venue has not answered, or has refused, is not silent."""
    watch = Watch()
    watch.unheard.asked([A, B])
    watch.until(1000)
    watch.unheard.accepted(B, watch.now)
    watch.until(1050)
    watch.unheard.forget(B)
    watch.until(5000)
    assert watch.story == []


def test_data_that_comes_with_the_answer_counts() -> None:
    """Acknowledgement and first data may come in one read, and the read is looked through for data first."""
    watch = Watch()
    watch.unheard.asked([A])
    watch.burst(A)
    watch.unheard.accepted(A, watch.now)
    watch.until(1000)
    assert (watch.story, watch.unheard.waits) == ([], {})


def test_a_silent_stream_that_speaks_is_silent_no_more() -> None:
    """Once, and only it."""
    watch = Watch()
    watch.accept(A, B)
    watch.until(200)
    assert watch.unheard.silent == [A, B]
    assert watch.burst(B, B) == [B]
    assert watch.burst(B) == []
    assert watch.unheard.silent == [A]


def test_a_new_connection_remembers_who_was_silent() -> None:
    """It is not asked for twice there, and no news: only on record again, for the subscription's new row."""
    watch = Watch()
    watch.accept(A)
    watch.until(200)
    watch.story.clear()
    watch.unheard.begin()
    watch.accept(A, B)
    assert watch.unheard.silent == [A]
    watch.burst(B)
    watch.until(1000)
    assert watch.story == [(290, "silent", [A])]
    watch.unheard.begin()
    watch.accept(A)
    assert watch.burst(A) == [A]
    assert watch.unheard.silent == []


def test_a_channel_asked_for_by_family_is_heard_of_through_its_instruments() -> None:
    """The rows carry the instrument, the subscription a family; other channels gain nothing by that."""
    watch = Watch()
    watch.accept(SLOW, A)
    watch.burst(Subscription("slow", "A-1"))
    assert [wait.subscription for wait in watch.unheard.waits.values()] == [A]


def test_what_the_disk_had_no_room_for_accuses_nobody() -> None:
    """While the spool sheds, a burst names channels only: whoever may have been in it is not silent."""
    watch = Watch()
    watch.accept(A, SLOW)
    watch.burst(A, shed=True)
    assert [wait.subscription for wait in watch.unheard.waits.values()] == [SLOW]


@pytest.mark.parametrize(("streams", "expecting"), [((A,), False), ((A, B), True), ((EVENTS,), False), ((), False)])
def test_what_is_expected_of_a_connection(streams: tuple[Subscription, ...], expecting: bool) -> None:
    """A stream that is neither silent nor of events only: without one, silence says nothing about a connection."""
    watch = Watch()
    watch.accept(*streams)
    assert watch.unheard.expecting() is any(each is not EVENTS for each in streams)
    if B in streams:
        watch.burst(B)
    watch.until(1000)
    assert watch.unheard.expecting() is expecting


def test_a_sentence_names_a_few() -> None:
    """A venue with 600 silent symbols must not fill the log."""
    many = [Subscription("trades", str(n)) for n in range(NAMED + 2)]
    assert names(many[:1]) == "trades 0"
    assert names([Subscription("status", "")]) == "status"
    assert names(many) == ", ".join(f"trades {n}" for n in range(NAMED)) + " and 2 more"
    assert [len(names(many[:n]).split(", ")) for n in itertools.chain(range(1, NAMED + 1))] == [1, 2, 3, 4, 5]
