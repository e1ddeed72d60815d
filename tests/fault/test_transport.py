"""Transport against a scripted venue on real sockets: every way a connection can end has its reason, in time."""

from __future__ import annotations

import os
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recorder.capture.transport import BURST, Options, Transport
from recorder.errors import ConnectionLost
from recorder.records import Kind
from tests.fault.venue import CLOSE, PING, PONG, TEXT, Peer, Venue, close_frame, frame
from tests.fault.wire import LINE, collect, serving, trusting

# Five minutes with a heartbeat every 100 ms, or three seconds in which as much can go wrong: without the lock this
# fails within a second of either's sends.
SECONDS, BEAT = (300.0, 0.1) if os.environ.get("RECORDER_LONG") else (3.0, 0.0005)


def memory() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


# --- the good way ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True])
def test_messages_in_the_packet_of_the_handshake_are_read(secure: bool) -> None:
    """A venue may speak in the same TLS record as its answer, where poll() sees nothing any more."""

    def script(peer: Peer) -> None:
        peer.accept(frame(b"first"))
        assert b"GET /ws/v5/public?apikey=s3cret-key HTTP/1.1\r\n" in peer.request
        assert b"X-Token: s3cret-token\r\n" in peer.request
        assert b"permessage-deflate" not in peer.request
        _, payload = peer.read()
        peer.text(b"you said " + payload)
        peer.send(close_frame(1000, "bye"))
        peer.hold()

    with Venue(script, serving() if secure else None) as venue:
        transport = Transport.connect(venue.url, LINE, trusting())
        assert "s3cret" not in transport.endpoint
        transport.send(b"hello")
        found, why = collect(transport)
    assert found == [(Kind.TEXT, b"first"), (Kind.TEXT, b"you said hello")]
    assert (why.reason, why.code, why.detail) == ("close", "1000", "bye")
    assert transport.rtt_ms is not None and 0 < transport.rtt_ms < 5000


def test_pings_are_answered_and_a_close_frame_is_returned() -> None:
    """A server that pings gets its payload back; one that takes leave gets a close frame."""
    answers: list[tuple[int, bytes]] = []

    def script(peer: Peer) -> None:
        peer.accept()
        peer.send(frame(b"are you there", PING))
        answers.append(peer.read())
        peer.send(close_frame(4004, "No data received in 30s"))
        answers.append(peer.read())
        peer.hold()

    with Venue(script) as venue:
        found, why = collect(Transport.connect(venue.url, LINE))
    assert found == []
    assert (why.reason, why.code) == ("close", "4004")
    assert answers == [(PONG, b"are you there"), (CLOSE, struct.pack("!H", 1000))]


def test_coalescing_waits_once_and_takes_everything() -> None:
    """After a short read the pause is made once, then everything that came is one burst."""
    more = threading.Event()
    sent = threading.Event()

    def script(peer: Peer) -> None:
        peer.accept(frame(b"one"))
        more.wait(10)
        peer.text(b"two", b"three")
        sent.set()
        peer.hold()

    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        more.set()
        sent.wait(10)
        readable(transport)

    with Venue(script) as venue:
        transport = Transport.connect(venue.url, LINE, Options(coalesce=0.002))
        transport.sleep = pause
        runs = transport.read(5)
        transport.close()
    assert runs == [(Kind.TEXT, [b"one", b"two", b"three"])]
    assert pauses == [0.002]


def readable(transport: Transport) -> None:
    """Wait until bytes are there to be read."""
    before = time.monotonic()
    while not transport.heard_since(before + 1000):
        assert time.monotonic() < before + 10


# --- ways to end ----------------------------------------------------------------------------------------------------


def ends(script: Callable[[Peer], None], max_message: int = 1 << 20) -> tuple[list[tuple[Kind, bytes]], ConnectionLost]:
    """What was read, and why it ended."""
    with Venue(script) as venue:
        return collect(Transport.connect(venue.url, LINE, Options(max_message=max_message)))


@pytest.mark.parametrize("code", [1000, 1012, 4004, 1006, 0])
def test_a_close_code_is_handed_on_whatever_it_is(code: int) -> None:
    """A clean close is never the end of recording; the code decides what to do, so it must arrive."""

    def script(peer: Peer) -> None:
        peer.accept(frame(b"last") + close_frame(code))
        peer.hold()

    found, why = ends(script)
    assert found == [(Kind.TEXT, b"last")]
    assert (why.reason, why.code) == ("close", str(code))


def test_eof_is_noticed_after_what_came_before_it() -> None:
    """A FIN without a close frame is `eof`, and the frames in front of it count."""
    found, why = ends(lambda peer: peer.accept(frame(b"last")))
    assert (found, why.reason) == ([(Kind.TEXT, b"last")], "eof")


def test_a_reset_connection_is_noticed() -> None:
    """RST is `reset`."""

    def script(peer: Peer) -> None:
        peer.accept()
        peer.reset()

    assert ends(script)[1].reason == "reset"


def test_silence_in_the_middle_of_a_frame_ends_with_the_abort() -> None:
    """The library's own loop hangs here for ever; ours returns from every read in time, and abort ends it."""

    def script(peer: Peer) -> None:
        peer.accept(frame(b"whole") + frame(b"x" * 1000)[:10])
        peer.hold()

    with Venue(script) as venue:
        transport = Transport.connect(venue.url, LINE)
        assert transport.read(5) == [(Kind.TEXT, [b"whole"])]
        before = time.monotonic()
        assert transport.read(0.05) == []
        assert time.monotonic() - before < 1
        assert not transport.heard_since(time.monotonic())
        transport.abort("heartbeat", "no reply")
        found, why = collect(transport, 2)
    assert (found, why.reason, why.detail) == ([], "heartbeat", "no reply")


def test_abort_wakes_a_reader_that_waits() -> None:
    """The heartbeat thread ends a connection while the feed's thread is waiting on it, over TLS too."""

    def script(peer: Peer) -> None:
        peer.accept()
        peer.hold()

    with Venue(script, serving()) as venue:
        transport = Transport.connect(venue.url, LINE, trusting())
        threading.Timer(0.05, transport.abort, ("heartbeat",)).start()
        before = time.monotonic()
        with pytest.raises(ConnectionLost, match="heartbeat"):
            while time.monotonic() < before + 10:
                transport.read(10)
        assert time.monotonic() - before < 5
        transport.close()


def test_a_giant_announced_is_refused_at_its_header() -> None:
    """8 GiB are refused when their header arrives, without keeping what follows."""

    def script(peer: Peer) -> None:
        peer.accept(frame(b"before") + b"\x81\x7f" + struct.pack("!Q", 8 << 30))
        for _ in range(400):
            peer.send(b"x" * (1 << 20))

    before = memory()
    found, why = ends(script, 4 << 20)
    assert (found, why.reason) == ([(Kind.TEXT, b"before")], "reset")
    assert "8589934592 bytes" in why.detail
    assert memory() - before < 16 << 20


def test_an_endless_message_is_refused_at_the_cap() -> None:
    """Continuations without end stop at 4 MiB, quickly: the library's own joining is quadratic."""

    def script(peer: Peer) -> None:
        peer.accept(frame(b"x", TEXT, False))
        piece = frame(b"x" * 65536, 0, False) * 16
        for _ in range(400):
            peer.send(piece)

    before = memory()
    found, why = ends(script, 4 << 20)
    assert (found, why.reason) == ([], "reset")
    assert "4194304" in why.detail
    assert memory() - before < 24 << 20


def test_a_venue_that_does_not_read_is_left() -> None:
    """Requests that pile up unread cost bounded memory and no waiting."""

    def script(peer: Peer) -> None:
        peer.accept()
        peer.hold()

    with Venue(script) as venue:
        transport = Transport.connect(venue.url, LINE)
        before = time.monotonic()
        for _ in range(4000):
            transport.send(b"x" * 8192)
        assert time.monotonic() - before < 30
        assert collect(transport)[1].reason == "reset"


def test_a_flood_in_one_burst_is_bounded() -> None:
    """A flat-out sender gets bounded bursts, so heartbeats, subscriptions and stop have their turn."""

    def script(peer: Peer) -> None:
        peer.accept()
        block = frame(b"x" * 1000) * 1000
        while not peer.over.is_set():
            peer.send(block)

    with Venue(script) as venue:
        transport = Transport.connect(venue.url, LINE)
        for _ in range(100):
            size = sum(len(one) for _, frames in transport.read(5) for one in frames)
            assert size <= BURST + (64 << 10)
        transport.close()


def numbers() -> Iterator[bytes]:
    """Blocks of numbered messages."""
    n = 0
    while True:
        yield b"".join(frame(b'{"n":%d,"pad":"%s"}' % (i, b"x" * (i % 200))) for i in range(n, n + 500))
        n += 500


@pytest.mark.timeout(SECONDS + 120)
def test_a_flat_out_sender_over_tls_with_heartbeats_from_another_thread() -> None:
    """Receiving in one thread and sending in another breaks OpenSSL within seconds; under one lock it never does,
    and no message is lost, doubled or changed."""
    heard: list[bytes] = []
    sent = threading.Event()
    total = 0

    def script(peer: Peer) -> None:
        nonlocal total
        peer.accept()
        end = time.monotonic() + SECONDS
        for block in numbers():
            peer.send(block)
            total += 500
            if time.monotonic() > end:
                break
        sent.set()  # before the client can know
        peer.send(close_frame(1000))
        while (got := peer.read())[0] != CLOSE:
            heard.append(got[1])

    over = threading.Event()
    beats = 0

    def beat() -> None:
        nonlocal beats
        while not over.wait(BEAT):
            transport.send(b"ping")
            beats += 1

    with Venue(script, serving()) as venue:
        transport = Transport.connect(venue.url, LINE, trusting())
        thread = threading.Thread(target=beat)
        thread.start()
        expected = 0
        marks: deque[int] = deque(maxlen=2)  # heartbeats before the read that took leave, which comes before the last
        try:
            while True:
                marks.append(beats)
                for _, frames in transport.read(0.5):
                    for one in frames:
                        assert one == b'{"n":%d,"pad":"%s"}' % (expected, b"x" * (expected % 200))
                        expected += 1
        except ConnectionLost as ended:
            why = ended
        finally:
            over.set()
            thread.join()
            transport.close()
        assert sent.is_set()
    assert (why.reason, why.code) == ("close", "1000")
    assert expected == total > 500  # on a machine that does other things too
    assert heard == [b"ping"] * len(heard)
    assert len(heard) >= marks[0] >= SECONDS * 5
