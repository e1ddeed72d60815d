"""Making connections to a scripted venue: every way not to begin has its reason, in time, and without a secret."""

from __future__ import annotations

import socket
import struct
import time
import traceback
from collections.abc import Callable

import pytest

from recorder.capture.transport import Options, Transport
from recorder.errors import ConnectionLost
from recorder.records import Kind
from recorder.venues import Line
from tests.fault.venue import Peer, Venue, close_frame, frame
from tests.fault.wire import LINE, collect, serving, trusting


def lost(url: str, options: Options | None = None, interrupted: Callable[[], bool] = lambda: False) -> ConnectionLost:
    """Why no connection could be made; no secret may be in it."""
    with pytest.raises(ConnectionLost) as caught:
        Transport.connect(url, LINE, options or Options(connect_timeout=5), interrupted)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + str(caught.value.__dict__)
    assert "s3cret" not in shown
    return caught.value


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
def test_a_venue_that_accepts_and_says_nothing_ends_at_the_deadline(secure: bool) -> None:
    """Silence in the TLS handshake is `tls`, silence after it `handshake`."""
    with Venue(lambda peer: peer.hold()) as venue:
        url = venue.url.replace("ws://", "wss://") if secure else venue.url
        why = lost(url, Options(connect_timeout=0.5, tls=trusting().tls))
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


def test_an_http_proxy_is_asked_for_a_tunnel() -> None:
    """CONNECT with credentials, then TLS with the venue itself: its certificate is checked through the tunnel."""
    asked: list[bytes] = []

    def script(peer: Peer) -> None:
        asked.append(peer.sock.recv(4096))
        peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        peer.sock = serving().wrap_socket(peer.sock, server_side=True)
        peer.accept(frame(b"through"))
        peer.send(close_frame(1000))
        peer.hold()

    with Venue(script) as venue:
        options = Options(tls=trusting().tls, proxy=through("http", venue).proxy)
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
def test_a_bad_certificate_is_never_accepted(name: str, days: int, words: str) -> None:
    """Expired and wrong-host certificates are refused with a sentence that helps."""
    with Venue(lambda peer: peer.accept(), serving(name, days)) as venue:
        why = lost(venue.url, trusting())
    assert why.reason == "tls"
    assert words in why.detail


def test_a_certificate_of_a_stranger_is_refused() -> None:
    """Without the test's authority the machine's certificates decide."""
    with Venue(lambda peer: peer.accept(), serving()) as venue:
        why = lost(venue.url)
    assert (why.reason, "certificate" in why.detail) == ("tls", True)


def test_a_venue_without_tls_is_not_downgraded_to() -> None:
    """wss:// against a plain port is `tls`."""

    def script(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with Venue(script) as venue:
        assert lost(venue.url.replace("ws://", "wss://"), trusting()).reason == "tls"
