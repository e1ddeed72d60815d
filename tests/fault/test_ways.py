"""The way to a venue on real sockets: pings and their answers, handshakes with an address, simulated delay and loss."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import websocket

from recorder.capture import prober
from recorder.capture.heartbeat import Pulse
from recorder.capture.prober import handshake
from recorder.capture.reach import trust
from recorder.capture.transport import Transport
from recorder.errors import ConnectionLost
from recorder.records import now_us
from recorder.simulator.faults import Clear, Delay, Loss
from recorder.simulator.okx.venue import NO_LIMITS, PUBLIC, OkxVenue
from recorder.simulator.oracle import NumberedMarket
from recorder.simulator.server import Simulator
from recorder.venues import Heartbeat
from tests.fault.gateway import Gateway, Manners
from tests.fault.process import free_port, until
from tests.fault.venue import PING, PONG, Peer, Venue, close_frame, frame
from tests.fault.wire import LINE, collect

DELAY = 0.3


def never() -> bool:
    return False


# --- pings on a connection ---------------------------------------------------------------------------------------


def test_answers_to_our_pings_are_handed_out_and_are_no_data() -> None:
    """In their order, also between messages and in the middle of a fragmented one; what nobody asked for is dropped."""

    def script(peer: Peer) -> None:
        peer.accept(frame(b"unasked", PONG))
        opcodes = [peer.read() for _ in range(2)]
        assert opcodes == [(PING, b"1"), (PING, b"2")]
        parts = frame(b"a", fin=False) + frame(b"2", PONG) + frame(b"b", 0x0)
        peer.send(frame(b"before") + frame(b"1", PONG) + parts + close_frame(1000))
        peer.hold()

    with Venue(script) as venue:
        transport = Transport.connect(venue.url, LINE)
        assert transport.read(0.2) == []
        assert transport.pongs() == []
        transport.ping(b"1")
        transport.ping(b"2")
        found, _ = collect(transport)
    assert [one for _, one in found] == [b"before", b"ab"]
    assert transport.pongs() == [b"1", b"2"]
    assert transport.pongs() == []


def test_answers_to_pings_do_not_take_the_place_of_a_heartbeat() -> None:
    """A venue that wants to hear from us while it sends nothing is told, though pings are answered all the time; and
    their answers do prove that it is alive."""

    def script(peer: Peer) -> None:
        peer.accept(frame(b"data"))
        while True:
            opcode, payload = peer.read()
            peer.send(frame(payload, PONG) if opcode == PING else b"")

    with Venue(script) as venue:
        transport = Transport.connect(venue.url, LINE)
        assert transport.read(5)
        began = time.monotonic()
        pulse = Pulse(transport, Heartbeat(b"ping", 0.5, 10.0, True), began)
        while pulse.sent_at is None and time.monotonic() - began < 10:
            transport.ping(b"1")
            assert transport.read(0.1) == []
            pulse.turn(time.monotonic())
        assert pulse.sent_at is not None and len(transport.pongs()) > 5
        assert transport.last_received < began
        assert transport.heard_since(began)
        transport.close()


def test_it_is_known_until_when_nothing_was_there() -> None:
    """Before what was read: while we waited for it, or when we had read everything before it and did something else."""

    def script(peer: Peer) -> None:
        peer.accept()
        for _ in range(2):
            peer.read()
            time.sleep(0.2)
            peer.text(b"there")
        peer.hold()

    with Venue(script) as venue:
        transport = Transport.connect(venue.url, LINE)
        assert transport.read(0.1) == []  # this only looks whether anything came along
        looked = time.monotonic()
        assert transport.read(0.1) == []
        assert transport.empty_at >= looked
        sent = time.monotonic()
        transport.send(b"go")
        assert transport.read(5)
        assert 0.19 < transport.empty_at - sent <= time.monotonic() - sent
        sent = time.monotonic()
        transport.send(b"go")
        time.sleep(0.5)
        assert transport.read(5)
        assert transport.empty_at - sent < 0.1
        transport.close()


# --- handshakes --------------------------------------------------------------------------------------------------


@pytest.fixture
def simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator[OkxVenue]]:
    """A venue over TLS at two addresses, trusted by everybody."""
    venue = OkxVenue(NumberedMarket(["BTC-USDT"], now_us(), rate=50.0, depth=5), rules=NO_LIMITS)
    with Simulator(venue, tls=tmp_path, addresses=2) as one:
        trust.cache_clear()
        monkeypatch.setenv("SSL_CERT_FILE", str(one.ca_file))
        yield one
    trust.cache_clear()


def test_a_handshake_is_as_long_as_the_way(simulator: Simulator[OkxVenue]) -> None:
    """Over TLS, straight and through a proxy; the other address is none the slower, and no WebSocket is made."""
    one, two = simulator.ws_urls
    simulator.fault(Delay(seconds=DELAY, address=1))
    with Gateway("socks5h", Manners(password=True)) as gateway:
        for proxy in (None, gateway.url()):
            assert DELAY <= handshake(two, proxy, never) < DELAY + 1
            assert min(handshake(one, proxy, never) for _ in range(3)) < DELAY
    assert len(gateway.asked) >= 2
    assert simulator.call(simulator.venue.ledger).connections == {}


def test_a_plain_handshake_is_that_of_tcp() -> None:
    """Nothing is said on it."""
    heard: list[bytes] = []
    with Venue(lambda peer: heard.append(peer.sock.recv(10))) as venue:
        assert 0 < handshake(venue.url, None, never) < 1
        until(lambda: bool(heard), 10, "the venue hears the end")
    assert heard == [b""]


def test_a_handshake_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the words of a connection, in time; given up at once when nobody wants it."""
    monkeypatch.setattr(prober, "PATIENCE", 0.5)
    with pytest.raises(ConnectionLost) as refused:
        handshake(f"wss://127.0.0.1:{free_port()}", None, never)
    assert refused.value.reason == "refused"
    with Venue(lambda peer: peer.hold()) as venue:
        begin = time.monotonic()
        for unwanted, reason in ((never, "tls"), (lambda: True, "shutdown")):
            with pytest.raises(ConnectionLost) as silent:
                handshake(venue.url.replace("ws:", "wss:"), None, unwanted)
            assert silent.value.reason == reason
    assert time.monotonic() - begin < 5


# --- delay and loss ----------------------------------------------------------------------------------------------


def connect(simulator: Simulator[OkxVenue], url: str) -> websocket.WebSocket:
    return websocket.create_connection(url + PUBLIC, timeout=20, sslopt={"ca_certs": str(simulator.ca_file)})


def trips(ws: websocket.WebSocket, n: int) -> list[float]:
    """Seconds of so many heartbeats, one after the other."""
    found = []
    for _ in range(n):
        begin = time.monotonic()
        ws.send("ping")
        assert ws.recv() == "pong"
        found.append(time.monotonic() - begin)
    return found


def test_a_delay_is_of_one_address_and_of_connections_that_stand(simulator: Simulator[OkxVenue]) -> None:
    """Asked for over the control endpoint; later connections have it, too; cleared, everything is as it was."""
    one, two = (connect(simulator, url) for url in simulator.ws_urls)
    body = json.dumps({"fault": "delay", "seconds": DELAY, "address": 1}).encode()
    request = urllib.request.Request(f"{simulator.http_url}/_control", data=body, method="POST")
    with urllib.request.urlopen(request, context=trust(), timeout=10) as answer:
        assert json.load(answer) == {"ok": True, "struck": 1}
    assert min(trips(two, 3)) >= DELAY and min(trips(one, 3)) < DELAY
    begin = time.monotonic()
    later = connect(simulator, simulator.ws_urls[1])
    assert time.monotonic() - begin >= 2 * DELAY, "TLS, then the answer to the handshake"
    assert min(trips(later, 2)) >= DELAY
    simulator.fault(Clear())
    assert min(trips(two, 3)) < DELAY
    for ws in (one, two, later):
        ws.close(timeout=1)


def test_what_is_delayed_is_neither_lost_nor_out_of_order(simulator: Simulator[OkxVenue]) -> None:
    """Numbered trades through a way that is slow, then lossy, then good: every number once, in order, also those that
    were under way when it became good; and the farewell is the last that comes."""
    ws = connect(simulator, simulator.ws_url)
    ws.send(json.dumps({"op": "subscribe", "args": [{"channel": "trades", "instId": "BTC-USDT"}]}))
    numbers: list[int] = []
    begin = time.monotonic()
    for fault, end in ((Delay(seconds=0.2), 0.6), (Loss(share=0.3, stall=0.05), 1.5), (Clear(), 2.0)):
        simulator.fault(fault)
        while time.monotonic() - begin < end:
            numbers += [int(row["tradeId"]) for row in json.loads(ws.recv()).get("data", [])]
    assert len(numbers) > 50
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    simulator.fault(Delay(seconds=0.2))
    ws.close(timeout=5)


def test_loss_holds_back_its_share(simulator: Simulator[OkxVenue]) -> None:
    """Some answers come after one retransmission, fewer after two, and most at once."""
    simulator.fault(Loss(share=0.3, stall=0.1))
    with closing(connect(simulator, simulator.ws_url)) as ws:
        found = trips(ws, 40)
    late = [sum(trip >= least for trip in found) for least in (0.1, 0.3)]
    assert 4 <= late[0] <= 24 and 1 <= late[1] < late[0]
    simulator.fault(Clear())


def test_an_address_that_is_not_there_cannot_be_slow(simulator: Simulator[OkxVenue]) -> None:
    """The first is 0; what is none is an error of whoever asks."""
    with pytest.raises(ValueError, match="address -1"):
        simulator.fault(Delay(address=-1))
