"""What a feed does for a broken book: it asks REST beside the stream, and subscribes anew only if that is no help."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from recorder.capture.mend import Mender, Surroundings
from recorder.capture.rest import Answer
from recorder.decoding import parse_rest
from recorder.errors import ConnectionLost
from recorder.listing import Ask
from recorder.quality.continuity import Continuity
from recorder.records import Header, Kind
from recorder.venues import Continuity as Proof
from recorder.venues import Limits, Subscription
from tests.unit.feedrig import Rig, Step, text

EOF = ConnectionLost("eof", "gone")
LOST = ConnectionLost("handshake", "HTTP 502")


def updates(first: int, count: int, every: float = 0.1, symbol: str = "A") -> list[tuple[float, Step]]:
    """Updates of a book, each one number further."""
    return [(every, text(f"data books {symbol} {n} {n + 1}")) for n in range(first, first + count)]


def rig_of(*steps: tuple[float, Step], **options: object) -> Rig:
    """A feed of one book over REST; its connection plays these steps and ends."""
    return Rig([*steps, (1, EOF)], **{"wanted": ("books:A",), "over_rest": True, **options})


def requests(rig: Rig) -> list[bytes]:
    """What was asked over the stream."""
    return [payload for _, payload in rig.wires[0].sent if payload != b"ping"]


def test_a_book_that_begins_without_a_snapshot_is_asked_for_once() -> None:
    """Updates come, no snapshot: REST is asked a moment later, its answer is spooled as it came, and the stream is not
    touched."""
    rig = rig_of(*updates(50, 20))
    rig.books.books = lambda symbol: 52
    rig.run()
    assert [(round(at - 1000, 1), symbol) for at, symbol in rig.books.asked] == [(0.4, "A")]
    (burst,) = [burst for burst in rig.tape.bursts if burst.kind is Kind.REST]
    (answer,) = map(parse_rest, burst.frames)
    assert (answer.url, answer.channel, answer.symbol) == ("https://rest.example/book?symbol=A", "books", "A")
    assert bytes(answer.body) == b"52"
    assert requests(rig) == [b"sub books:A"]
    assert rig.count("recorder_book_resyncs_total") == 1


def test_an_answer_is_offered_in_order_and_is_no_sign_of_life() -> None:
    """The writer decides from the same frames; a stream that brings nothing is dead although REST answers."""
    rig = rig_of(*updates(50, 20))
    rig.run()
    offered = rig.offered()
    assert [(d.first, d.next) for d in offered] == [(b.first, b.next) for b in rig.tape.bursts]
    assert rig.count("recorder_messages_received_total", channel="books") == 20
    assert rig.count("recorder_venue_latency_seconds_count", channel="books") == 20


def test_the_writer_decides_the_same_from_the_spool_alone() -> None:
    """Frames read back in committed order give the same breaks, the same suspects, and the same end as the feed had."""
    rig = rig_of((0.1, text("data books A -1 10")), *updates(10, 5), *updates(17, 30))
    rig.books.books = lambda symbol: 20
    rig.run()
    header = Header("id", "toy/public/0", "toy", "toy", "/ws", {}, run="1-aaaaaaaa", run_ordinal=1)
    decoder, continuity = rig.venue.decoder(header, rig.streams), Continuity(rig.streams, lambda stream: Proof.CHAINED)
    verdicts = [continuity.observe(decoder.decode(burst)) for burst in rig.tape.bursts]
    answered = next(n for n, burst in enumerate(rig.tape.bursts) if burst.kind is Kind.REST)
    suspect = [n for n, verdict in enumerate(verdicts) if verdict.suspect]
    broken = [n for n, verdict in enumerate(verdicts) if verdict.broken]
    assert broken == suspect[:1]
    assert 1 < len(suspect) < 10 and suspect[-1] < answered
    assert sum(len(verdict.holes) for verdict in verdicts) == 1


def test_an_answer_that_is_too_old_is_asked_for_again() -> None:
    """The venue's REST lags behind its stream: again, after a growing pause, until it has caught up."""
    rig = rig_of(*updates(50, 60))
    rig.books.books = lambda symbol: 40 + 5 * len(rig.books.asked)
    rig.run()
    assert len(rig.books.asked) == 2  # the second says 50, where the run begins
    assert requests(rig) == [b"sub books:A"]
    assert rig.count("recorder_book_resyncs_total") == 1


@pytest.mark.parametrize("said", [LOST, 3])
def test_a_book_that_rest_does_not_give_is_subscribed_anew(said: int | Exception) -> None:
    """After ten seconds without help, as if there were no REST; the snapshot that comes then ends the asking."""
    rig = rig_of(*updates(50, 105), (0.1, text("data books A -1 300")), *updates(300, 200))
    rig.books.books = lambda symbol: said
    rig.run()
    assert requests(rig) == [b"sub books:A", b"unsub books:A", b"sub books:A"]
    pauses = [b - a for a, b in itertools.pairwise(at for at, _ in rig.books.asked)]
    assert pauses == [pytest.approx(pause, abs=0.2) for pause in (0.5, 1.0, 2.0, 4.0)]
    assert rig.now - 1000 > 30


def test_a_venue_that_sends_no_snapshot_at_all_is_asked_until_it_answers() -> None:
    """REST is away for ten minutes, and subscribing anew brings nothing either: neither is given up, neither is
    hammered, and once REST is back the book is whole."""
    rig = rig_of(*updates(50, 700, every=1.0))
    rig.books.books = lambda symbol: LOST if rig.now < 1600 else round(rig.now - 1000 + 48)
    rig.run()
    assert 20 <= len(rig.books.asked) <= 30
    assert rig.books.asked[-1][0] - 1600 <= 31
    assert 5 <= requests(rig).count(b"unsub books:A") <= 11


def test_a_broken_book_is_mended_while_the_others_go_on() -> None:
    """One lost message: one question, no new subscription."""
    steps = [(0.1, text("data books A -1 10", "data books B -1 10")), *updates(12, 30), *updates(10, 30, symbol="B")]
    rig = rig_of(*steps, wanted=("books:A", "books:B"))
    rig.books.books = lambda symbol: 14
    rig.run()
    assert [symbol for _, symbol in rig.books.asked] == ["A"]
    assert requests(rig) == [b"sub books:A,books:B"]


def test_questions_keep_the_venue_s_limit() -> None:
    """Thirty books that begin at once, five a second from one address."""
    wanted = tuple(f"books:{n}" for n in range(30))
    first = text(*(f"data books {n} 50 51" for n in range(30)))
    rig = rig_of((0.1, first), *updates(51, 100, symbol="0"), wanted=wanted, limits=Limits(book_requests_per_second=5))
    rig.books.books = lambda symbol: 50
    rig.run()
    times = [at for at, _ in rig.books.asked]
    assert sorted(symbol for _, symbol in rig.books.asked) == sorted(str(n) for n in range(30))
    assert all(sum(a <= b < a + 1 for b in times) <= 5 for a in times)
    assert times[-1] - times[0] < 8


def test_a_book_that_was_broken_when_the_connection_was_lost_is_still_in_hand() -> None:
    """A book belongs to the stream: on the next connection the chain may go on without a break that would show."""
    rig = Rig(
        [*updates(50, 3), (0.1, EOF)],
        [*updates(53, 30), (1, EOF)],
        wanted=("books:A",),
        over_rest=True,
    )
    rig.books.books = lambda symbol: LOST if len(rig.wires) == 1 else 55
    rig.run()
    assert len(rig.books.asked) >= 1
    assert len([burst for burst in rig.tape.bursts if burst.kind is Kind.REST]) == 1


def test_a_fault_of_ours_in_the_other_thread_ends_the_feed() -> None:
    """Nothing that nobody thought of is swallowed."""
    rig = rig_of(*updates(50, 20))
    rig.books.books = lambda symbol: RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        rig.run()
    assert rig.books.closed


def test_a_venue_that_does_not_answer_holds_nobody_up() -> None:
    """The real threads: the feed looks and goes on while the question waits, one at a time for a book, and closing
    waits only for the threads."""
    asked, release = threading.Semaphore(0), threading.Event()

    class Slow:
        def get(self, path: str, params: object = None) -> Answer:
            asked.release()
            assert release.wait(10)
            return Answer(200, b"7", "https://rest.example/book", 0.0, 0)

        def close(self) -> None: ...

    class Books:
        def book_request(self, subscription: Subscription) -> Ask:
            return Ask("/book", {})

    book = Subscription("books", "A")
    around = Surroundings("toy", Slow, lambda: ThreadPoolExecutor(2), lambda b: True, lambda now: 0.0, lambda: None)
    mender = Mender(Books(), around)
    assert mender.broke([book], 0.0) == []
    for n in range(8):
        assert mender.look(float(n)) == ([], [])
    assert asked.acquire(timeout=10)
    release.set()
    mender.close()
    assert not asked.acquire(blocking=False)
    (frames, late) = mender.look(9.0)
    assert [bytes(parse_rest(frame).body) for frame in frames] == [b"7"]
    assert late == []
