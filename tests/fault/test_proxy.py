"""Through a real proxy of every kind, WebSocket and REST alike: what goes through, and what the user is told if not."""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from recorder.capture.rest import Rest
from recorder.capture.transport import Options, Transport
from recorder.errors import ConnectionLost
from recorder.records import Kind
from tests.fault.gateway import Gateway, Manners
from tests.fault.venue import Peer, Venue, close_frame, frame
from tests.fault.wire import LINE, collect, serving, trusting

SCHEMES = ("http", "socks5", "socks5h", "socks4")  # the last one knows no password
BY_NAME = ("http", "socks5h")


def talk(peer: Peer) -> None:
    """A venue of both kinds: WebSocket to who asks for an upgrade, an answer to who does not."""
    while b"\r\n\r\n" not in peer.request:
        peer.request += peer.sock.recv(65536)
    if b"upgrade: websocket" not in peer.request.lower():
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nthrough")
        return
    peer.accept(frame(b"through") + close_frame(1000))
    peer.hold()


def ask(base: str, proxy: str, seconds: float = 5) -> bytes:
    """An answer over REST."""
    rest = Rest(base.replace("ws", "http", 1), proxy, deadline=seconds, tls=trusting().tls)
    try:
        return rest.get("/api", LINE.query).body
    finally:
        rest.close()


def listen(base: str, proxy: str, seconds: float = 5) -> bytes:
    """A message over WebSocket."""
    options = Options(connect_timeout=seconds, proxy=proxy, tls=trusting().tls)
    found, _ = collect(Transport.connect(base, LINE, options))
    assert found == [(Kind.TEXT, b"through")]
    return found[0][1]


BOTH = pytest.mark.parametrize("way", [ask, listen], ids=["rest", "websocket"])
Way = Callable[..., bytes]


def lost(way: Way, base: str, proxy: str, seconds: float = 5) -> ConnectionLost:
    """Why nothing went through; neither our secrets nor the proxy's words may be in it."""
    with pytest.raises(ConnectionLost) as caught:
        way(base, proxy, seconds)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + str(caught.value.__dict__)
    assert "s3cret" not in shown
    return caught.value


@contextmanager
def closed() -> Iterator[int]:
    """A port at which nobody listens, and nobody else will."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


# --- through ---------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize(
    ("scheme", "password"), [*((scheme, False) for scheme in SCHEMES), *((scheme, True) for scheme in SCHEMES[:3])]
)
def test_every_kind_of_proxy_carries_both(scheme: str, password: bool, secure: bool, way: Way) -> None:
    """The same key for WebSocket and REST; the venue's certificate is checked through the tunnel."""
    with Venue(talk, serving() if secure else None) as venue, Gateway(scheme, Manners(password)) as gateway:
        assert way(venue.url, gateway.url()) == b"through"
    host = "localhost" if scheme in BY_NAME else "127.0.0.1"
    assert gateway.asked == [(host, venue.port)]


@BOTH
@pytest.mark.parametrize("scheme", BY_NAME)
def test_names_may_resolve_only_at_the_proxy(scheme: str, way: Way) -> None:
    """`http` and `socks5h` leave the name to the proxy (RFC 6761: nobody else knows `test`)."""
    with Venue(talk) as venue, Gateway(scheme) as gateway:
        assert way(f"ws://venue.test:{venue.port}", gateway.url()) == b"through"


@BOTH
@pytest.mark.parametrize("scheme", ["socks5", "socks4"])
def test_a_name_that_we_look_up_is_dns(scheme: str, way: Way) -> None:
    """`socks5` and `socks4` look names up here: that is no trouble with the proxy."""
    with Gateway(scheme) as gateway:
        why = lost(way, "ws://venue.invalid", gateway.url())
    assert (why.reason, "venue.invalid" in why.detail) == ("dns", True)


@BOTH
@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_answer_in_pieces_is_an_answer(scheme: str, way: Way) -> None:
    """A proxy's answer may come a byte at a time, and nothing of what follows it is taken."""
    with Venue(talk) as venue, Gateway(scheme, Manners(drip=True)) as gateway:
        assert way(venue.url, gateway.url()) == b"through"


# --- proxy unreachable -----------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_proxy_where_nobody_listens_is_unreachable(scheme: str, way: Way) -> None:
    """Whoever runs the proxy has to look."""
    with closed() as port:
        why = lost(way, "ws://127.0.0.1:9", f"{scheme}://user:s3cret-pwd@127.0.0.1:{port}")
    words = f"proxy unreachable: connecting to 127.0.0.1:{port}: Connection refused"
    assert (why.reason, why.detail) == ("proxy", words)


@BOTH
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("socks5://user:s3cret-pwd@proxy.invalid:1080", "looking up proxy.invalid"),
        ("gopher://user:s3cret-pwd@127.0.0.1:1", "its URL is none of"),
        ("http://user:s3cret-pwd@127.0.0.1", "its URL is none of"),
        ("http://user:s3cret-pwd@127.0.0.1:99999", "its URL is none of"),
    ],
)
def test_a_proxy_without_a_usable_address_is_unreachable(url: str, words: str, way: Way) -> None:
    """A name that does not resolve, and what the configuration should have refused."""
    why = lost(way, "ws://127.0.0.1:9", url)
    assert (why.reason, why.detail.startswith(f"proxy unreachable: {words}")) == ("proxy", True)


@BOTH
def test_a_proxy_that_accepts_and_says_nothing_is_unreachable(way: Way) -> None:
    """A SOCKS5 proxy answers the greeting before it goes to the venue: silence is its own. In time, too."""
    with Gateway("socks5h", Manners(silent="greeting")) as gateway:
        before = time.monotonic()
        why = lost(way, "ws://venue.test", gateway.url("user:s3cret-pwd@"), 0.4)
    assert (why.reason, why.detail) == ("proxy", f"proxy unreachable: 127.0.0.1:{gateway.port}: no answer in time")
    assert time.monotonic() - before < 3


# --- proxy refused ---------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("scheme", "manners", "login", "words", "code"),
    [
        ("http", Manners(True), "user:s3cret@", "HTTP 407, it wants another user and password", "407"),
        ("http", Manners(True), "ghost@", "HTTP 407, it wants another user and password", "407"),
        ("http", Manners(refuse=403), "", "HTTP 403, Forbidden", "403"),
        ("http", Manners(refuse=999), "", "HTTP 999", "999"),
        ("socks5", Manners(True), "user:s3cret@", "SOCKS login status 0x01, the user or the password is wrong", None),
        ("socks5h", Manners(True), "ghost@", "SOCKS method 0xff, it wants another way to log in", None),
        ("socks5h", Manners(refuse=1), "", "SOCKS 0x01, general failure", "1"),
        ("socks5", Manners(refuse=2), "", "SOCKS 0x02, not allowed by its rules", "2"),
        ("socks4", Manners(refuse=91), "", "SOCKS 0x5b, rejected or failed", "91"),
        ("http", Manners(says=b""), "", "it ended the connection without an answer", None),
        ("socks5", Manners(says=b""), "", "it ended the connection without an answer", None),
        ("socks5", Manners(says=b"\x05\x00\x05"), "", "it ended the connection without an answer", None),
        ("socks5", Manners(says=b"HTTP/1.1 400 Bad\r\n\r\n"), "", "it does not answer as SOCKS5 does", None),
        ("socks5", Manners(refuse=77), "", "it does not answer as SOCKS5 does", None),
        ("http", Manners(says=b"SSH-2.0-x\r\n\r\n"), "", "it does not answer as an HTTP proxy does", None),
        ("http", Manners(says=b"x" * 100_000), "", "it does not answer as an HTTP proxy does", None),
    ],
)
def test_a_proxy_that_says_no_has_refused(
    scheme: str, manners: Manners, login: str, words: str, code: str | None, way: Way
) -> None:
    """User, password and rules: the code and its meaning by the standard, never the proxy's own words."""
    with Gateway(scheme, manners) as gateway:
        why = lost(way, "ws://127.0.0.1:9", gateway.url(login))
    assert why.detail.startswith(f"proxy refused: 127.0.0.1:{gateway.port}: {words}")
    assert (why.reason, why.code) == ("proxy", code)


@BOTH
@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_password_that_the_protocol_cannot_carry_is_not_shown(scheme: str, way: Way) -> None:
    """The library's own error quotes the user and the password."""
    with Gateway(scheme, Manners(True)) as gateway:
        why = lost(way, "ws://127.0.0.1:9", gateway.url("us\N{SNOWMAN}er:s3cret\N{SNOWMAN}@"))
    assert (why.reason, "cannot carry" in why.detail) == ("proxy", True)


# --- venue unreachable through proxy ---------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("scheme", "host", "words", "code"),
    [
        ("http", "127.0.0.1", "HTTP 503, Service Unavailable", "503"),
        ("http", "unknown.test", "HTTP 502, Bad Gateway", "502"),
        ("socks5", "127.0.0.1", "SOCKS 0x05, connection refused", "5"),
        ("socks5h", "unknown.test", "SOCKS 0x04, host unreachable", "4"),
    ],
)
def test_a_venue_that_the_proxy_does_not_reach(scheme: str, host: str, words: str, code: str, way: Way) -> None:
    """The proxy works: the venue is away, or hidden from it. The proxy's own attempts say so."""
    with closed() as port, Gateway(scheme) as gateway:
        why = lost(way, f"ws://{host}:{port}", gateway.url())
    assert why.detail == f"venue unreachable through proxy: {host}:{port}: {words}"
    assert (why.reason, why.code) == ("proxy", code)


@BOTH
@pytest.mark.parametrize(
    ("scheme", "refuse"), [("http", 502), ("http", 503), ("http", 504), *(("socks5", code) for code in (3, 4, 5, 6))]
)
def test_codes_about_the_way_beyond(scheme: str, refuse: int, way: Way) -> None:
    """RFC 1928 section 6 and RFC 9110 section 15.6: all that speak of the network behind the proxy."""
    with Gateway(scheme, Manners(refuse=refuse)) as gateway:
        why = lost(way, "ws://127.0.0.1:9", gateway.url())
    assert (why.detail.partition(":")[0], why.code) == ("venue unreachable through proxy", str(refuse))


@BOTH
@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_a_proxy_that_waits_for_the_venue_too_long(scheme: str, way: Way) -> None:
    """It understood the request and goes on trying: nothing is wrong with the proxy, as far as we can tell."""
    with Gateway(scheme, Manners(silent="request")) as gateway:
        why = lost(way, "ws://venue.test:9", gateway.url(), 0.4)
    assert why.detail == "venue unreachable through proxy: venue.test:9: no answer in time"
    assert why.reason == "proxy"


# --- beyond the proxy ------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_what_the_venue_does_wrong_is_not_the_proxys_fault(scheme: str, way: Way) -> None:
    """Certificates and HTTP statuses through a tunnel are called what they are called without one."""
    with Venue(talk, serving("elsewhere.example")) as venue, Gateway(scheme) as gateway:
        why = lost(way, venue.url, gateway.url())
    assert (why.reason, "localhost" in why.detail) == ("tls", True)

    def refuse(peer: Peer) -> None:
        peer.sock.recv(65536)
        peer.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")

    with Venue(refuse) as venue, Gateway(scheme) as gateway:
        why = lost(way, venue.url, gateway.url())
    assert (why.reason, why.code) == ("handshake", "503")


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_an_attempt_that_is_no_longer_wanted_ends_at_once(scheme: str) -> None:
    """Stopping does not wait for a proxy that does not answer."""
    begin = time.monotonic()
    with Gateway(scheme, Manners(silent="greeting")) as gateway, pytest.raises(ConnectionLost) as caught:
        options = Options(connect_timeout=60, proxy=gateway.url())
        Transport.connect("ws://venue.test", LINE, options, lambda: time.monotonic() > begin + 0.1)
    assert caught.value.reason == "shutdown"
    assert time.monotonic() - begin < 3
