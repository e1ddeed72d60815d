"""Transport against a scripted venue on real sockets: every way a connection can go wrong has its reason in time."""

from __future__ import annotations

import datetime
import os
import socket
import ssl
import struct
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from recorder.capture.transport import BURST, Options, Transport
from recorder.errors import ConnectionLost
from recorder.records import Kind
from recorder.venues import Line
from tests.fault.venue import CLOSE, PING, PONG, TEXT, Peer, Venue, close_frame, frame

LINE = Line("public/0", "/ws/v5/public", (), {"apikey": "s3cret-key"}, {"X-Token": "s3cret-token"})
# Five minutes with a heartbeat every 100 ms, or three seconds in which as much can go wrong: without the lock this
# fails within a second of either's sends.
SECONDS, BEAT = (300.0, 0.1) if os.environ.get("RECORDER_LONG") else (3.0, 0.0005)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Whom our test certificates are signed by."""
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> Options:
    """Options that trust the test's authority."""
    return Options(tls=trusting(authority), connect_timeout=5)


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """A client's context."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def serving(authority: trustme.CA, name: str = "localhost", days: int = 30) -> ssl.SSLContext:
    """A server's context with a certificate for `name` that ends `days` from now."""
    now = datetime.datetime.now(datetime.UTC)
    start = now - datetime.timedelta(days=60)
    certificate = authority.issue_cert(name, not_before=start, not_after=now + datetime.timedelta(days=days))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def collect(transport: Transport, seconds: float = 10) -> tuple[list[tuple[Kind, bytes]], ConnectionLost]:
    """Everything until the connection is lost, and why."""
    found: list[tuple[Kind, bytes]] = []
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            found += [(kind, one) for kind, frames in transport.read(0.5) for one in frames]
    except ConnectionLost as lost:
        return found, lost
    finally:
        transport.close()
    raise AssertionError(f"the connection still stood after {seconds} s")


def memory() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def lost(url: str, options: Options | None = None, interrupted: Callable[[], bool] = lambda: False) -> ConnectionLost:
    """Why no connection could be made; no secret may be in it."""
    with pytest.raises(ConnectionLost) as caught:
        Transport.connect(url, LINE, options or Options(connect_timeout=5), interrupted)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + str(caught.value.__dict__)
    assert "s3cret" not in shown
    return caught.value


# --- the good way ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True])
def test_messages_in_the_packet_of_the_handshake_are_read(authority: trustme.CA, tls: Options, secure: bool) -> None:
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

    with Venue(script, serving(authority) if secure else None) as venue:
        transport = Transport.connect(venue.url, LINE, tls)
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


def test_abort_wakes_a_reader_that_waits(authority: trustme.CA, tls: Options) -> None:
    """The heartbeat thread ends a connection while the feed's thread is waiting on it, over TLS too."""

    def script(peer: Peer) -> None:
        peer.accept()
        peer.hold()

    with Venue(script, serving(authority)) as venue:
        transport = Transport.connect(venue.url, LINE, tls)
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


# --- ways not to begin ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "reason"),
    [("401 Unauthorized", "auth"), ("403 Forbidden", "auth"), ("429 Too Many", "rate"), ("503 Busy", "handshake")],
)
@pytest.mark.parametrize("body", [b"\r\n", b"Content-Length: 5\r\n\r\nsorry", b"Content-Length: 500\r\n\r\nsorry"])
def test_an_http_refusal_keeps_its_status(status: str, reason: str, body: bytes) -> None:
    """The status decides between waiting and asking for a new key, even if its body never ends."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 " + status.encode() + b"\r\n" + body)
        peer.hold()

    with Venue(script) as venue:
        why = lost(venue.url, Options(connect_timeout=0.5))
    assert (why.reason, why.code) == (reason, status[:3])


def test_a_redirect_is_not_followed() -> None:
    """A key in the query must not be carried to wherever an answer points."""
    with Venue(lambda peer: peer.hold()) as elsewhere:

        def script(peer: Peer) -> None:
            peer.read_request()
            peer.send(b"HTTP/1.1 302 Found\r\nLocation: " + elsewhere.url.encode() + b"\r\n\r\n")
            peer.hold()

        with Venue(script) as venue:
            why = lost(venue.url)
        assert (why.reason, why.code) == ("handshake", "302")
        assert elsewhere.peers == []


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"\xff\xfe\r\n\r\n",
        b"HTTP/1.1 101 Fine\r\n\r\n",
        b"HTTP/1.1 101 Fine\r\nnonsense\r\n\r\n",
        b"HTTP/1.1 101 Fine\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
        b"HTTP/1.1 101 Fine\r\nSet-Cookie: \x01=;;;\r\n\r\n",
        b"HTTP/1.1 500 No\r\nContent-Length: many\r\n\r\n",
        b"x" * 200_000,
    ],
)
def test_garbage_instead_of_an_answer_is_a_failed_handshake(answer: bytes) -> None:
    """Whatever the venue answers, the feed gets a reason and no other exception."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer)
        peer.hold()

    with Venue(script) as venue:
        assert lost(venue.url, Options(connect_timeout=2)).reason == "handshake"


def test_a_slow_handshake_ends_at_the_deadline() -> None:
    """A venue that dribbles its answer is within every timeout of the library, but not within ours."""

    def script(peer: Peer) -> None:
        peer.read_request()
        while not peer.over.wait(0.02):
            peer.send(b"x")

    with Venue(script) as venue:
        before = time.monotonic()
        why = lost(venue.url, Options(connect_timeout=0.6))
    assert why.reason == "handshake"
    assert 0.5 < time.monotonic() - before < 3


@pytest.mark.parametrize("secure", [False, True])
def test_a_venue_that_accepts_and_says_nothing_ends_at_the_deadline(tls: Options, secure: bool) -> None:
    """Silence in the TLS handshake is `tls`, silence after it `handshake`."""
    with Venue(lambda peer: peer.hold()) as venue:
        url = venue.url.replace("ws://", "wss://") if secure else venue.url
        why = lost(url, Options(connect_timeout=0.5, tls=tls.tls))
    assert (why.reason, "no answer in time" in why.detail) == ("tls" if secure else "handshake", True)


def test_an_attempt_that_is_no_longer_wanted_ends_at_once() -> None:
    """Stopping does not wait for a venue that does not answer."""
    with Venue(lambda peer: peer.hold()) as venue:
        begin = time.monotonic()
        why = lost(venue.url, Options(connect_timeout=60), lambda: time.monotonic() > begin + 0.1)
    assert why.reason == "shutdown"
    assert time.monotonic() - begin < 2


def test_a_refused_connection_says_so() -> None:
    """Nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    why = lost(f"ws://127.0.0.1:{port}")
    assert (why.reason, "refused" in why.detail.lower()) == ("refused", True)


def test_a_name_that_does_not_exist_is_dns() -> None:
    """`invalid` never resolves (RFC 6761)."""
    assert lost("wss://venue.invalid").reason == "dns"
    assert lost(f"wss://{'x' * 70}.invalid").reason == "dns"


@pytest.mark.parametrize("endpoint", ["http://localhost", "localhost:80", "wss://localhost:99999"])
def test_a_url_that_is_none_of_ours_is_config(endpoint: str) -> None:
    """What the configuration should have refused is refused here, too."""
    assert lost(endpoint).reason == "config"


def test_a_header_of_two_lines_is_config() -> None:
    """A line break in a header would be another header."""
    line = Line("public/0", "/", (), {}, {"X-Token": "a\r\nHost: elsewhere"})
    with pytest.raises(ConnectionLost) as caught:
        Transport.connect("ws://localhost:1", line)
    assert caught.value.reason == "config"


# --- proxies -------------------------------------------------------------------------------------------------------


def socks(peer: Peer, reply: int = 0) -> bytes:
    """The proxy's side of SOCKS5 with a password; the request for the destination."""
    assert peer.sock.recv(2) == b"\x05\x02"
    assert 2 in peer.sock.recv(2)
    peer.send(b"\x05\x02")
    assert peer.sock.recv(64) == b"\x01\x04user\x0as3cret-pwd"
    peer.send(b"\x01\x00")
    request = peer.sock.recv(300)
    peer.send(b"\x05" + bytes([reply]) + b"\x00\x01\x00\x00\x00\x00\x00\x00")
    return request


def through(scheme: str, venue: Venue, seconds: float = 5) -> Options:
    """Options with this venue as the proxy."""
    return Options(connect_timeout=seconds, proxy=f"{scheme}://user:s3cret-pwd@127.0.0.1:{venue.port}")


def test_socks5h_leaves_the_name_to_the_proxy() -> None:
    """Behind a proxy names may resolve only there; the connection then speaks WebSocket as always."""
    asked: list[bytes] = []

    def script(peer: Peer) -> None:
        asked.append(socks(peer))
        peer.accept(frame(b"through"))
        peer.send(close_frame(1000))
        peer.hold()

    with Venue(script) as venue:
        found, _ = collect(Transport.connect("ws://venue.invalid", LINE, through("socks5h", venue)))
    assert found == [(Kind.TEXT, b"through")]
    assert asked == [b"\x05\x01\x00\x03" + bytes([13]) + b"venue.invalid" + struct.pack("!H", 80)]


def test_an_http_proxy_is_asked_for_a_tunnel(authority: trustme.CA, tls: Options) -> None:
    """CONNECT with credentials, then TLS with the venue itself: its certificate is checked through the tunnel."""
    asked: list[bytes] = []

    def script(peer: Peer) -> None:
        asked.append(peer.sock.recv(4096))
        peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        peer.sock = serving(authority).wrap_socket(peer.sock, server_side=True)
        peer.accept(frame(b"through"))
        peer.send(close_frame(1000))
        peer.hold()

    with Venue(script) as venue:
        options = Options(tls=tls.tls, proxy=through("http", venue).proxy)
        found, _ = collect(Transport.connect("wss://localhost:9", LINE, options))
    assert found == [(Kind.TEXT, b"through")]
    assert asked[0].startswith(b"CONNECT localhost:9 HTTP/1.1\r\n")


def test_a_proxy_that_refuses_or_says_nothing_is_named_and_its_password_is_not() -> None:
    """Every trouble with the proxy has the reason `proxy`, in time."""

    def refusing(peer: Peer) -> None:
        socks(peer, 5)
        peer.hold()

    with Venue(refusing) as venue:
        why = lost("ws://venue.invalid", through("socks5h", venue))
    assert (why.reason, why.code) == ("proxy", "5")
    with Venue(lambda peer: peer.hold()) as venue:
        why = lost("ws://venue.invalid", through("socks5h", venue, 0.5))
    assert why.reason == "proxy"
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    why = lost("ws://venue.invalid", Options(proxy=f"http://user:s3cret-pwd@127.0.0.1:{port}"))
    assert why.reason == "proxy"
    assert lost("ws://venue.invalid", Options(proxy="gopher://127.0.0.1:1")).reason == "proxy"


# --- TLS -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "days", "words"),
    [("localhost", -1, "clock"), ("elsewhere.example", 30, "localhost")],
)
def test_a_bad_certificate_is_never_accepted(
    authority: trustme.CA, tls: Options, name: str, days: int, words: str
) -> None:
    """Expired and wrong-host certificates are refused with a sentence that helps."""
    with Venue(lambda peer: peer.accept(), serving(authority, name, days)) as venue:
        why = lost(venue.url, tls)
    assert why.reason == "tls"
    assert words in why.detail


def test_a_certificate_of_a_stranger_is_refused(authority: trustme.CA) -> None:
    """Without the test's authority the machine's certificates decide."""
    with Venue(lambda peer: peer.accept(), serving(authority)) as venue:
        why = lost(venue.url)
    assert (why.reason, "certificate" in why.detail) == ("tls", True)


def test_a_venue_without_tls_is_not_downgraded_to(tls: Options) -> None:
    """wss:// against a plain port is `tls`."""

    def script(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with Venue(script) as venue:
        assert lost(venue.url.replace("ws://", "wss://"), tls).reason == "tls"


def numbers() -> Iterator[bytes]:
    """Blocks of numbered messages."""
    n = 0
    while True:
        yield b"".join(frame(b'{"n":%d,"pad":"%s"}' % (i, b"x" * (i % 200))) for i in range(n, n + 500))
        n += 500


@pytest.mark.timeout(SECONDS + 120)
def test_a_flat_out_sender_over_tls_with_heartbeats_from_another_thread(authority: trustme.CA, tls: Options) -> None:
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
        peer.send(close_frame(1000))
        sent.set()
        while (got := peer.read())[0] != CLOSE:
            heard.append(got[1])

    over = threading.Event()
    beats = 0

    def beat() -> None:
        nonlocal beats
        while not over.wait(BEAT):
            transport.send(b"ping")
            beats += 1

    with Venue(script, serving(authority)) as venue:
        transport = Transport.connect(venue.url, LINE, tls)
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
    assert expected == total > 10_000
    assert heard == [b"ping"] * len(heard)
    assert len(heard) >= marks[0] >= SECONDS * 5
