"""Asking a scripted venue over HTTP: answers, every way not to get one, in time, in size, and without a secret."""

from __future__ import annotations

import json
import re
import threading
import time
import traceback
from collections.abc import Callable

import pytest

from recorder.capture.backoff import Window
from recorder.capture.rest import Answer, Rest
from recorder.errors import ConnectionLost
from tests.fault.venue import Peer, Venue
from tests.fault.wire import serving, trusting

SECRET = {"apikey": "s3cret-key"}
HEADERS = {"X-Token": "s3cret-token"}


def http(venue: Venue) -> str:
    """The venue's base URL."""
    return venue.url.replace("ws", "http", 1)


def question(peer: Peer) -> bytes:
    """One request, with its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += peer.sock.recv(65536) or _left()
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    while length and len(body) < int(length[1]):
        body += peer.sock.recv(65536) or _left()
    return head + b"\r\n\r\n" + body


def _left() -> bytes:
    raise ConnectionResetError("the client left")


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def saying(*answers: bytes) -> Callable[[Peer], None]:
    """A script: to each request the next answer, then the end."""

    def script(peer: Peer) -> None:
        for each in answers:
            question(peer)
            peer.send(each)

    return script


def lost(rest: Rest, path: str = "/api") -> ConnectionLost:
    """Why there was no answer; no secret may be in it."""
    with pytest.raises(ConnectionLost) as caught:
        rest.get(path, SECRET)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + str(caught.value.__dict__)
    assert "s3cret" not in shown + repr(rest)
    rest.close()
    return caught.value


# --- answers ---------------------------------------------------------------------------------------------------------


def test_an_answer_has_status_body_and_times() -> None:
    """The query and the headers reach the venue; what comes back shows neither."""
    asked: list[bytes] = []

    def script(peer: Peer) -> None:
        asked.append(question(peer))
        time.sleep(0.1)  # the round trip
        peer.send(answer(b'{"code":"0"}'))
        peer.hold()

    with Venue(script) as venue:
        rest = Rest(f"{http(venue)}/base", headers=HEADERS)
        before = time.time_ns() // 1000
        got = rest.get("/api", SECRET)
        rest.close()
    assert (got.status, got.body, got.url) == (200, b'{"code":"0"}', f"{http(venue)}/base/api")
    assert 0.1 <= got.rtt < 2
    assert before < got.received_at <= time.time_ns() // 1000
    assert asked[0].startswith(b"GET /base/api?apikey=s3cret-key HTTP/1.1\r\n")
    assert b"X-Token: s3cret-token" in asked[0]
    assert "s3cret" not in repr(got) + repr(rest)


def test_a_post_carries_json() -> None:
    """Venues read its length and its type."""
    asked: list[bytes] = []

    def script(peer: Peer) -> None:
        asked.append(question(peer))
        peer.send(answer(b"{}"))
        peer.hold()

    with Venue(script) as venue:
        rest = Rest(http(venue))
        assert rest.post("/api", {"a": ["ü"]}).status == 200
        rest.close()
    head, _, body = asked[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /api HTTP/1.1")
    assert json.loads(body) == {"a": ["ü"]}


def test_what_a_venue_says_about_a_request_is_an_answer() -> None:
    """A 4xx with the venue's own code in it is for the caller to read."""
    with Venue(saying(answer(b'{"code":"51001"}', "400 Bad Request"))) as venue:
        rest = Rest(http(venue))
        got = rest.get("/api")
        rest.close()
    assert (got.status, got.body) == (400, b'{"code":"51001"}')


def test_a_connection_is_kept_for_the_next_request() -> None:
    """A TLS handshake per request would take longer than the request."""
    with Venue(saying(answer(b"1"), answer(b"2")), serving()) as venue:
        rest = Rest(http(venue), tls=trusting().tls)
        assert [rest.get("/api").body for _ in range(2)] == [b"1", b"2"]
        assert len(venue.peers) == 1
        rest.close()


def test_a_kept_connection_that_ended_is_made_anew() -> None:
    """The venue hung up while the connection lay unused, or just as the next request came: that one is asked again."""
    asked = threading.Semaphore(0)

    def script(peer: Peer) -> None:
        question(peer)
        peer.send(answer(b"x"))
        asked.release()
        question(peer)  # is heard, and not answered

    with Venue(script) as venue:
        rest = Rest(http(venue))
        assert [rest.get("/api").body for _ in range(3)] == [b"x"] * 3
        rest.close()
        assert len(venue.peers) == 3


def test_threads_share_one_client() -> None:
    """Chores and feeds ask at once; each gets its own answer."""

    def script(peer: Peer) -> None:
        while True:
            path = question(peer).split(b" ")[1]
            peer.send(answer(path))

    got: dict[int, bytes] = {}
    with Venue(script) as venue:
        rest = Rest(http(venue))
        threads = [threading.Thread(target=lambda n=n: got.update({n: rest.get(f"/{n}").body})) for n in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        rest.close()
        assert got == {n: b"/%d" % n for n in range(12)}
        assert len(venue.peers) <= 4


# --- no answer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("401 Unauthorized", "auth"),
        ("403 Forbidden", "auth"),
        ("429 Too Many", "rate"),
        ("503 Busy", "handshake"),
        ("599 Odd", "handshake"),
    ],
)
def test_an_http_refusal_keeps_its_status(status: str, reason: str) -> None:
    """The same reasons as for a WebSocket."""
    with Venue(saying(answer(b"sorry", status))) as venue:
        why = lost(Rest(http(venue), headers=HEADERS))
    assert (why.reason, why.code, f"HTTP {status[:3]}" in why.detail) == (reason, status[:3], True)


def test_a_redirect_is_not_followed() -> None:
    """A key in the query must not be carried to wherever an answer points."""
    with Venue(lambda peer: peer.hold()) as elsewhere:
        with Venue(saying(answer(b"", "302 Found", f"Location: {http(elsewhere)}"))) as venue:
            why = lost(Rest(http(venue)))
        assert (why.reason, why.code, "redirect" in why.detail) == ("handshake", "302", True)
        assert elsewhere.peers == []


def test_a_trickling_answer_ends_at_the_deadline() -> None:
    """A byte now and then is within every time-out of a single read, but not within ours."""

    def script(peer: Peer) -> None:
        question(peer)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not peer.over.wait(0.02):
            peer.send(b"x")

    with Venue(script) as venue:
        before = time.monotonic()
        why = lost(Rest(http(venue), deadline=0.6))
    assert (why.reason, "no answer in time" in why.detail) == ("handshake", True)
    assert 0.5 < time.monotonic() - before < 3


def test_a_request_that_is_no_longer_wanted_ends_at_once() -> None:
    """Stopping waits neither for an answer nor for a turn."""
    with Venue(lambda peer: peer.hold()) as venue:
        begin = time.monotonic()
        rest = Rest(http(venue), deadline=60, interrupted=lambda: time.monotonic() > begin + 0.1)
        assert lost(rest).reason == "shutdown"
        rest = Rest(http(venue), pace=Window(1, 3600), interrupted=lambda: True)
        rest.pace.reserve(1, time.monotonic())  # type: ignore[union-attr]
        assert lost(rest).reason == "shutdown"
    assert time.monotonic() - begin < 3


@pytest.mark.parametrize("chunked", [False, True])
def test_an_answer_is_capped_while_it_is_read(chunked: bool) -> None:
    """An answer without end costs the cap, not the memory."""
    sent = 0

    def script(peer: Peer) -> None:
        nonlocal sent
        question(peer)
        head = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 100000000"
        peer.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
        piece = b"x" * 10_000
        while True:
            peer.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            sent += len(piece)

    with Venue(script) as venue:
        why = lost(Rest(http(venue), cap=100_000))
    assert (why.reason, "more than 100000 bytes" in why.detail) == ("handshake", True)
    assert sent < 50_000_000


def test_a_packed_answer_is_refused() -> None:
    """We ask for none, since what is packed has no size; so nothing can be blown up here."""
    with Venue(saying(answer(b"\x1f\x8b", "200 OK", "Content-Encoding: gzip"))) as venue:
        assert lost(Rest(http(venue))).reason == "handshake"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"", "eof"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "eof"),
        (b"HTTP/1.1 20", "eof"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "handshake"),
        (b"HTTP/1.1 abc\r\n\r\n", "handshake"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "handshake"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "handshake"),
        (b"x" * 200_000, "handshake"),
    ],
)
def test_an_answer_that_is_none(reply: bytes, reason: str) -> None:
    """Whatever the venue says, the caller gets a reason and no other exception."""

    def script(peer: Peer) -> None:
        question(peer)
        peer.send(reply)

    with Venue(script) as venue:
        assert lost(Rest(http(venue))).reason == reason


def test_a_reset_is_told_from_an_end() -> None:
    """RST instead of an answer."""

    def script(peer: Peer) -> None:
        question(peer)
        peer.reset()

    with Venue(script) as venue:
        assert lost(Rest(http(venue))).reason == "reset"


def test_name_and_port_fail_as_for_a_websocket() -> None:
    """`invalid` never resolves (RFC 6761); port 1 refuses; TLS checks the certificate."""
    assert lost(Rest("https://venue.invalid")).reason == "dns"
    assert lost(Rest("http://127.0.0.1:1")).reason == "refused"
    assert lost(Rest("ftp://127.0.0.1:1")).reason == "config"
    assert lost(Rest("http://127.0.0.1:1", headers={"X-Token": "s3cret\r\nHost: elsewhere"})).reason == "refused"
    with Venue(saying(answer(b"")), serving("elsewhere.example")) as venue:
        why = lost(Rest(http(venue), tls=trusting().tls))
    assert (why.reason, "localhost" in why.detail) == ("tls", True)


def test_a_header_of_two_lines_is_config() -> None:
    """A line break in a header would be another header."""
    with Venue(saying(answer(b""))) as venue:
        assert lost(Rest(http(venue), headers={"X-Token": "s3cret\r\nHost: elsewhere"})).reason == "config"


def test_the_machines_certificates_decide_without_others() -> None:
    """SSL_CERT_FILE and the system's store, as for a WebSocket: a stranger is refused."""
    with Venue(saying(answer(b"")), serving()) as venue:
        why = lost(Rest(http(venue)))
    assert (why.reason, "certificate" in why.detail) == ("tls", True)


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the configuration names a proxy."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with Venue(saying(answer(b"direct"))) as venue:
        rest = Rest(http(venue))
        assert rest.get("/api").body == b"direct"
        rest.close()


# --- the venue's limits ----------------------------------------------------------------------------------------------


def test_requests_wait_for_their_turn() -> None:
    """Two in any ten seconds (and a margin for the venue's clock): the third waits until the first is old enough."""
    now = 100.0
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        naps.append(seconds)

    times: list[float] = []
    with Venue(saying(*[answer(b"")] * 4)) as venue:
        rest = Rest(http(venue), pace=Window(2, 10.0), clock=lambda: now, sleep=sleep)
        for _ in range(4):
            assert isinstance(rest.get("/api"), Answer)
            times.append(now)
        rest.close()
    assert times == [100.0, 100.0, pytest.approx(110.5), pytest.approx(110.5)]
    assert max(naps) <= 0.25
