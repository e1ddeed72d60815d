"""What was asked for and what became of it, one subscription at a time."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest

from recorder.capture.subscriptions import ATTEMPTS, Outgoing, Rejection, State, Subscriptions
from recorder.errors import ConnectionLost
from recorder.records import Ack, Reaction, Refusal
from recorder.venues import Request, Subscription

A, B, C, D = (Subscription("books", symbol) for symbol in "ABCD")


class Asked:
    """A venue that packs everything into one request, and numbers them."""

    def __init__(self) -> None:
        self.count = 0

    def subscribe(self, subscriptions: Sequence[Subscription]) -> list[Request]:
        """One request."""
        self.count += 1
        return [Request(b"subscribe", tuple(subscriptions), str(self.count))]

    def unsubscribe(self, subscriptions: Sequence[Subscription]) -> list[Request]:
        """One request."""
        return [Request(b"unsubscribe", tuple(subscriptions))]


def begun(*wanted: Subscription) -> Subscriptions:
    """Subscriptions on a new connection."""
    subscriptions = Subscriptions(wanted, Asked())
    subscriptions.begin()
    return subscriptions


def send(subscriptions: Subscriptions, now: float) -> list[Outgoing]:
    """Send everything that waits."""
    sent = []
    while subscriptions.queue:
        sent.append(subscriptions.queue.popleft())
        subscriptions.sent(sent[-1], now)
    return sent


def ack(subscriptions: Subscriptions, *which: Subscription) -> list[bool]:
    """The venue agrees to these."""
    return [subscriptions.acknowledged(Ack(s.channel, s.symbol)) == [s] for s in which]


def drop(request: str = "", named: Subscription | None = None, reaction: Reaction = Reaction.DROP) -> Refusal:
    """A refusal, by our request's id or by name."""
    channel, symbol = (named.channel, named.symbol) if named else ("", "")
    return Refusal("60018", "no such instrument", reaction, request, channel, symbol)


def test_each_subscription_is_accepted_by_itself_and_once() -> None:
    """Acks are not unique: OKX acknowledged three tickers nine times. Only the first is news."""
    subscriptions = begun(A, B)
    (sent,) = send(subscriptions, 0)
    assert (sent.asks, sent.first) == ((A, B), True)
    assert ack(subscriptions, A, A, C) == [True, False, False]
    assert subscriptions.accepted() == [A]
    assert not subscriptions.acknowledged(Ack("books", "B", ended=True))


def test_what_is_not_answered_is_asked_again_and_only_that() -> None:
    """After 10 s without an answer the silent ones are asked for again."""
    subscriptions = begun(A, B, C)
    send(subscriptions, 0)
    ack(subscriptions, A, C)
    assert subscriptions.look(9.9) == [] and not subscriptions.queue
    assert subscriptions.look(11) == []
    (again,) = send(subscriptions, 11)
    assert (again.asks, again.first) == ((B,), False)


def test_three_requests_without_an_answer_cost_the_connection_first_and_the_subscription_next() -> None:
    """The venue may be deaf on this connection; if it is on the next one too, this subscription is to blame, and the
    others keep their connection."""
    subscriptions = begun(A, B)
    now = exhaust(subscriptions, 0)
    with pytest.raises(ConnectionLost) as caught:
        subscriptions.look(now)
    assert caught.value.reason == "silence"
    assert "books A" in caught.value.detail
    subscriptions.begin()
    now = exhaust(subscriptions, now)
    assert subscriptions.look(now) == [Rejection(A, "", f"no answer to {ATTEMPTS} requests")]
    assert subscriptions.accepted() == [B]
    assert not subscriptions.hopeless
    subscriptions.begin()
    (sent,) = send(subscriptions, now)
    assert sent.asks == (A, B)


def exhaust(subscriptions: Subscriptions, now: float) -> float:
    """All attempts for A without an answer, B accepted; when the last is overdue."""
    for _ in range(ATTEMPTS):
        assert subscriptions.look(now) == []
        send(subscriptions, now)
        ack(subscriptions, B)
        now += 11
    return now


def test_a_refusal_that_names_its_subscription_drops_that_one() -> None:
    """One bad symbol costs only itself."""
    subscriptions = begun(A, B)
    send(subscriptions, 0)
    assert subscriptions.refused(drop(named=B), 1) == [Rejection(B, "60018", "no such instrument")]
    assert subscriptions.refused(drop(named=B), 1) == []
    assert ack(subscriptions, A) == [True]


def test_a_refusal_by_id_drops_the_only_one_left_in_its_request() -> None:
    """The id leads to the request, the answers to the rest of it to the culprit."""
    subscriptions = begun(A, B)
    send(subscriptions, 0)
    ack(subscriptions, A)
    assert subscriptions.refused(drop("1"), 1) == [Rejection(B, "60018", "no such instrument")]


@pytest.mark.parametrize("seed", range(20))
def test_a_refusal_by_id_finds_the_bad_ones_among_many_by_halving(seed: int) -> None:
    """A venue that refuses a whole request for one symbol, without saying which: all good ones are accepted, all bad
    ones are rejected, and the good are never given up."""
    rng = random.Random(seed)
    wanted = [Subscription("books", str(n)) for n in range(rng.randint(2, 40))]
    bad = set(rng.sample(wanted, rng.randint(1, min(4, len(wanted)))))
    subscriptions = begun(*wanted)
    rejected: set[Subscription] = set()
    now, requests = 0.0, 0
    while len(rejected) + len(subscriptions.accepted()) < len(wanted):
        for sent in send(subscriptions, now):
            requests += 1
            if bad & set(sent.asks):
                rejected |= {r.subscription for r in subscriptions.refused(drop(sent.request.id), now)}
            else:
                ack(subscriptions, *sent.asks)
        now += 1.0
        rejected |= {r.subscription for r in subscriptions.look(now)}
        assert now < 120
    assert rejected == bad
    assert requests <= 2 * len(bad) * len(wanted)


def test_a_refusal_that_arrives_before_the_good_answers_waits_for_them() -> None:
    """The error may overtake the acknowledgements of the same request: two seconds later it is clear."""
    subscriptions = begun(A, B, C)
    send(subscriptions, 0)
    assert subscriptions.refused(drop("1"), 0.1) == []
    ack(subscriptions, A, B)
    assert subscriptions.look(1.5) == []
    assert subscriptions.look(2.6) == [Rejection(C, "60018", "no such instrument")]


def test_a_subscription_that_dies_after_it_was_accepted_is_rejected() -> None:
    """Too many connections with one channel: the usual ack, then its end."""
    subscriptions = begun(A)
    send(subscriptions, 0)
    ack(subscriptions, A)
    assert subscriptions.refused(drop(named=A), 5) == [Rejection(A, "60018", "no such instrument")]
    assert subscriptions.hopeless


@pytest.mark.parametrize("reaction", [Reaction.RESUBSCRIBE, Reaction.SLOW_DOWN])
def test_what_failed_for_now_is_asked_again_after_a_growing_pause(reaction: Reaction) -> None:
    """An internal error of the venue is no reason to give up, nor to hammer."""
    subscriptions = begun(A)
    asked_at, now = [0.0], 0.0
    send(subscriptions, now)
    while len(asked_at) < 6:
        subscriptions.refused(drop(str(len(asked_at)), reaction=reaction), now)
        while not subscriptions.queue:
            now += 0.5
            assert subscriptions.look(now) == []
        send(subscriptions, now)
        asked_at.append(now)
    pauses = [b - a for a, b in itertools.pairwise(asked_at)]
    assert pauses == [pytest.approx(p, abs=1.5) for p in (1, 2, 4, 8, 16)]


def test_an_unknown_refusal_disturbs_nothing() -> None:
    """An error that names neither a subscription nor a request of ours is only counted."""
    subscriptions = begun(A)
    send(subscriptions, 0)
    assert subscriptions.refused(drop("999"), 1) == []
    assert subscriptions.refused(drop(named=D), 1) == []
    assert ack(subscriptions, A) == [True]


def test_a_broken_book_is_recovered_once_however_many_broken_updates_follow() -> None:
    """Updates that were on their way are broken, too: each asking anew would be a storm."""
    subscriptions = begun(A, B)
    send(subscriptions, 0)
    ack(subscriptions, A, B)
    recovered = 0
    for n in range(1000):
        subscriptions.broke([A])
        recovered += subscriptions.recover(1 + n / 1000)
    assert recovered == 1
    assert [sent.request.payload for sent in send(subscriptions, 2)] == [b"unsubscribe", b"subscribe"]
    assert subscriptions.entries[A].state is State.ASKED
    assert subscriptions.entries[B].state is State.ACCEPTED
    assert ack(subscriptions, A) == [False]
    assert subscriptions.accepted() == [A, B]


def test_a_book_that_keeps_breaking_is_recovered_ever_more_rarely() -> None:
    """Recoveries cost operations of the connection's allowance: 10 s between two, then 20, 40 … 300."""
    subscriptions = begun(A)
    send(subscriptions, 0)
    ack(subscriptions, A)
    at: list[float] = []
    now = 1.0
    while len(at) < 7:
        subscriptions.broke([A])
        if subscriptions.recover(now):
            at.append(now)
            send(subscriptions, now)
            ack(subscriptions, A)
        now += 1
    assert [b - a for a, b in itertools.pairwise(at)] == [10, 20, 40, 80, 160, 300]
    assert subscriptions.recover(now + 1000) == 0
    subscriptions.broke([A])
    assert subscriptions.recover(now + 1000) == 1
    send(subscriptions, now + 1000)
    ack(subscriptions, A)
    subscriptions.broke([A])
    assert subscriptions.recover(now + 1011) == 1


def test_several_books_that_broke_together_share_their_requests() -> None:
    """A lost second breaks every book; the venue packs them."""
    subscriptions = begun(A, B, C)
    send(subscriptions, 0)
    ack(subscriptions, A, B, C)
    subscriptions.broke([A, B])
    subscriptions.broke([C])
    assert subscriptions.recover(5) == 3
    assert [sent.request.subscriptions for sent in send(subscriptions, 5)] == [(A, B, C), (A, B, C)]


def test_what_brings_nothing_is_ended_and_asked_for_anew() -> None:
    """Only what stands accepted: a refusal is an answer, and who was never answered is asked again anyway. The second
    acceptance is no news."""
    subscriptions = begun(A, B, C)
    send(subscriptions, 0)
    ack(subscriptions, A)
    subscriptions.refused(drop(named=B), 1)
    subscriptions.again([A, B, C, D])
    sent = send(subscriptions, 2)
    assert [(s.request.payload, s.request.subscriptions) for s in sent] == [
        (b"unsubscribe", (A,)),
        (b"subscribe", (A,)),
    ]
    assert [s.first for s in sent] == [False, False]
    assert ack(subscriptions, A) == [False]
    subscriptions.again([])
    assert not subscriptions.queue


def test_a_new_connection_asks_for_everything_again() -> None:
    """What the last connection was refused may be there now; what waited for it is forgotten."""
    subscriptions = begun(A, B)
    send(subscriptions, 0)
    ack(subscriptions, A)
    subscriptions.refused(drop(named=B), 1)
    subscriptions.broke([A])
    subscriptions.begin()
    assert [sent.asks for sent in send(subscriptions, 2)] == [(A, B)]
    assert subscriptions.recover(100) == 0
    assert ack(subscriptions, A, B) == [True, True]


def test_a_refusal_of_nobody_in_particular() -> None:
    """It concerns somebody who waits for an answer: whoever is accepted soon is innocent, who alone is left is not."""
    subscriptions = begun(A, B, C)
    send(subscriptions, 0)
    ack(subscriptions, A)
    assert subscriptions.refused(drop(), 0.1) == []
    ack(subscriptions, C)
    assert [each.subscription for each in subscriptions.look(3)] == [B]
    assert subscriptions.refused(drop(), 4) == []
    assert not subscriptions.hopeless
