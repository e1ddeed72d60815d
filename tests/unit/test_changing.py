"""What a reload asks of the parts: feeds that leave or are renewed, other sources for the chores, the lock's holder."""

from __future__ import annotations

import fcntl
import os
import socket
from dataclasses import replace as altered
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import psycopg
import pytest

from recorder.capture.datadir import DataDir
from recorder.capture.feed import Feed, Relief
from recorder.capture.frames import Run
from recorder.capture.rest import Rest
from recorder.clockwatch import ClockWatch
from recorder.config import Source
from recorder.errors import ConnectionLost, SinkUnavailable
from recorder.following import LOOK_SECONDS, Following
from recorder.records import Closed, Ended
from recorder.venues import Subscription
from recorder.venues.okx import venue
from tests.unit import feedrig
from tests.unit.feedrig import text

EOF = ConnectionLost("eof", "gone")


def data(*numbers: int) -> list[Run]:
    """A read with chained records of one stream."""
    return text(*(f"data books A {n - 1 if n else -1} {n}" for n in numbers))


# --- a feed ----------------------------------------------------------------------------------------------------------


class Slots:
    """Gives successors, or none; knows who was relieved."""

    def __init__(self, *successors: SimpleNamespace | None) -> None:
        self.successors = list(successors)
        self.asked = 0
        self.relieved_feeds: list[Feed] = []

    def relieve(self, feed: Feed) -> Feed | None:
        """The next one; the last again and again."""
        self.asked += 1
        found = self.successors.pop(0) if len(self.successors) > 1 else self.successors[0]
        return cast("Feed | None", found)

    def relieved(self, feed: Feed) -> None:
        self.relieved_feeds.append(feed)


def under(slots: Slots, rig: feedrig.Rig) -> feedrig.Rig:
    """The rig's feed with somebody who relieves it."""
    rig.feed._parts = altered(rig.feed._parts, relief=cast(Relief, slots))
    return rig


def successor(proven_at: float | None) -> SimpleNamespace:
    """A feed that took over then, or not yet."""
    return SimpleNamespace(proven_at=proven_at, leaving=False)


def test_a_feed_that_leaves_ends_its_subscriptions() -> None:
    """What it asked for has ended, what had arrived is taken in, the venue is told, and nobody reconnects."""
    slots = Slots(None)
    rig = under(slots, feedrig.Rig([(1, data(0)), (1, lambda: rig.feed.leave()), (0, data(1))]))
    rig.run()
    assert rig.of(Ended) == [Ended("books", "A"), Ended("books", "B")]
    assert [closed.reason for closed in rig.of(Closed) if isinstance(closed, Closed)] == ["shutdown"]
    assert len(rig.kept()) == 2
    assert (len(rig.attempts), slots.relieved_feeds) == (1, [rig.feed])
    assert rig.wires[0].closed == 1000


def test_a_feed_that_waits_leaves_at_once() -> None:
    """In the middle of its pause, with its subscriptions ended all the same; what it is told afterwards is nothing."""
    slots = Slots(None)
    rig = under(slots, feedrig.Rig(*[ConnectionLost("refused")] * 9))
    rig.feed.leave()
    rig.feed.serve((Subscription("books", "C"),))
    rig.run()
    assert rig.of(Ended) == [Ended("books", "A"), Ended("books", "B")]
    assert (rig.attempts, slots.relieved_feeds) == ([], [rig.feed])


def test_a_renewed_feed_records_until_its_successor_does() -> None:
    """It leaves a second after that, reason `config`, and not before; its subscriptions go on there."""
    there = successor(None)
    slots = Slots(None, there)

    def prove() -> None:
        there.proven_at = rig.now

    script: feedrig.Script = [(1, data(0)), (1, lambda: rig.feed.renew(overlap=True)), (9, data(1)), (0, prove)]
    rig = under(slots, feedrig.Rig([*script, (0.5, data(2)), (5, data(3))]))
    rig.run()
    assert len(rig.kept()) == 3
    assert rig.of(Ended) == []
    assert [closed.reason for closed in rig.of(Closed) if isinstance(closed, Closed)] == ["config"]
    assert rig.count("recorder_reconnects_total", reason="config") == 1
    assert slots.relieved_feeds == [rig.feed]
    assert len(rig.attempts) == 1


def test_a_successor_that_leaves_itself_is_followed_by_another() -> None:
    """The settings were wrong, and are mended before it ever connected: the feed asks for a new one."""
    wrong, right = successor(None), successor(None)
    slots = Slots(wrong, right)

    def mend() -> None:
        wrong.leaving, right.proven_at = True, rig.now

    script: feedrig.Script = [(1, data(0)), (0, lambda: rig.feed.renew(overlap=True)), (5, data(1)), (0, mend)]
    rig = under(slots, feedrig.Rig([*script, (30, data(2))]))
    rig.run()
    assert len(rig.kept()) == 2
    assert (slots.asked, slots.relieved_feeds) == (2, [rig.feed])


def test_an_announced_end_waits_for_the_other_slot() -> None:
    """The feed before it is still leaving that slot: there is time, so it goes on and asks again."""
    slots = Slots(None, None, successor(1000.0))
    rig = under(slots, feedrig.Rig([(5, data(0)), (1, text("notice upgrade")), (1, data(1)), (30, data(2))]))
    rig.run()
    assert (len(rig.kept()), slots.asked, slots.relieved_feeds) == (2, 3, [rig.feed])
    assert rig.count("recorder_reconnects_total", reason="handover") == 1


def test_without_overlap_a_renewed_feed_ends_first() -> None:
    """With what had arrived, and without asking anybody to take over: whoever hears of its end begins anew."""
    slots = Slots(None)
    rig = under(slots, feedrig.Rig([(1, data(0)), (1, lambda: rig.feed.renew(overlap=False)), (0, data(1))]))
    rig.run()
    assert len(rig.kept()) == 2
    assert rig.of(Ended) == []
    assert rig.count("recorder_reconnects_total", reason="config") == 1
    assert (slots.asked, slots.relieved_feeds) == (0, [rig.feed])


def test_a_renewed_feed_without_a_connection_makes_way_at_once() -> None:
    """It need not connect with settings that are no longer wanted; while the other slot is taken it waits."""
    slots = Slots(None, None, successor(None))
    rig = under(slots, feedrig.Rig(*[ConnectionLost("refused")] * 9))
    rig.feed.renew(overlap=True)
    rig.run()
    assert (rig.attempts, slots.asked, slots.relieved_feeds) == ([], 3, [rig.feed])
    assert rig.now < 1002


# --- what the chores look after --------------------------------------------------------------------------------------


class Asked:
    """A client that counts its questions and knows whether it was closed."""

    def __init__(self) -> None:
        self.asked, self.closed = 0, False

    def get(self, path: str, params: object = None) -> object:
        """No answer."""
        self.asked += 1
        raise ConnectionLost("refused", "nobody there")

    def close(self) -> None:
        self.closed = True


def followed(name: str) -> Source:
    """A source of a venue that lists and tells the time."""
    return Source(name=name, venue="okx", endpoints=venue.endpoints, rest="https://x.example")


def nowhere() -> psycopg.Connection[tuple[object, ...]]:
    """There is no database."""
    raise SinkUnavailable("none")


def test_chores_look_after_the_sources_there_are(tmp_path: Path) -> None:
    """From their next turn on: the client of a source that is gone is closed, a new one is asked, one that stays is
    not asked before its time."""
    clients: dict[str, Asked] = {}

    def ask(source: Source) -> Rest:
        return cast(Rest, clients.setdefault(source.name, Asked()))

    following = Following([followed("a"), followed("b")], tmp_path, lambda source, symbols: None, nowhere, ask)
    for each in following._followed:
        each.due = LOOK_SECONDS
    following.change([followed("b"), followed("c")])
    assert not clients["a"].closed
    with pytest.raises(Exception, match="c: nobody there"):
        following.turn(0)
    assert {name: (client.asked, client.closed) for name, client in clients.items()} == {
        "a": (0, True),
        "b": (0, False),
        "c": (1, False),
    }


def test_clocks_of_the_sources_there_are(tmp_path: Path) -> None:
    """A source that is gone has no offset any more."""
    watch = ClockWatch([followed("a")], lambda source: cast(Rest, Asked()))
    watch.offsets[("a",)] = 1.0
    watch.change([followed("b")])
    with pytest.raises(Exception, match="b: nobody there"):
        watch.turn()
    assert watch.offsets == {}


# --- who is asked to reload ------------------------------------------------------------------------------------------


def test_the_lock_says_who_holds_it(tmp_path: Path) -> None:
    """While it is held, and only then; whoever looks leaves it free."""
    home = DataDir(tmp_path / "home")
    assert home.holder() == ""
    with DataDir(tmp_path / "home"):
        assert home.holder() == f"recorder with pid {os.getpid()} on {socket.gethostname()}"
    assert home.holder() == ""
    with (tmp_path / "home" / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
