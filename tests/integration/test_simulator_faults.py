"""Every fault of the simulated venue does to a client what its name says, and nothing else."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest
import websocket

from recorder.simulator import faults
from recorder.simulator.clock import ManualClock
from recorder.simulator.okx.push import BAD_FRAMES
from recorder.simulator.okx.venue import BUSINESS, NO_LIMITS, OkxVenue
from recorder.simulator.oracle import NumberedMarket
from recorder.simulator.server import Simulator
from recorder.simulator.wire import frame
from tests.integration.simulated import BTC, Client, pushes, rest, venue

ETH = "ETH-USDT"


@pytest.fixture
def simulator() -> Iterator[Simulator[OkxVenue]]:
    """A venue with 50 trades a second."""
    with venue() as one:
        yield one


@pytest.fixture
def client(simulator: Simulator[OkxVenue]) -> Iterator[Client]:
    """A reader of trades."""
    with Client(simulator) as one:
        one.subscribe(("trades", BTC))
        yield one


def quiet(client: Client) -> bool:
    """Whether nothing at all is there to be read: a write of the venue is there as soon as `advance` returns."""
    client.sock.setblocking(False)
    try:
        client.sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    finally:
        client.sock.setblocking(True)
    return False


def test_close_frame(simulator: Simulator[OkxVenue], client: Client) -> None:
    """A drop with a close frame has the code asked for, after all that was due before."""
    simulator.advance(1)
    assert simulator.fault(faults.Drop(how=faults.How.CLOSE, code=1012)) == 1
    opcodes = []
    while websocket.ABNF.OPCODE_CLOSE not in opcodes:
        opcode, data = client.ws.recv_data()
        opcodes.append(opcode)
    assert int.from_bytes(data[:2], "big") == 1012
    assert len(opcodes) > 5
    assert simulator.wait(lambda one: not one.sessions)


def test_end_of_file(simulator: Simulator[OkxVenue], client: Client) -> None:
    """A drop by end of file is the end of the stream without a close frame."""
    simulator.fault(faults.Drop())
    assert client.sock.recv(100) == b""


def test_tcp_reset(simulator: Simulator[OkxVenue], client: Client) -> None:
    """A drop by reset is a reset."""
    simulator.fault(faults.Drop(how=faults.How.RST))
    with pytest.raises(ConnectionResetError):
        client.sock.recv(100)


def test_only_the_path_named(simulator: Simulator[OkxVenue], client: Client) -> None:
    """A fault with a path strikes the connections on it alone."""
    with Client(simulator, BUSINESS) as business:
        assert simulator.fault(faults.Drop(path="/business")) == 1
        assert business.sock.recv(100) == b""
        assert client.drain() == []


def test_silence(simulator: Simulator[OkxVenue], client: Client) -> None:
    """In silence no data comes but heartbeats are answered; cleared, data goes on where the venue is by then. The
    ledger knows what did not go out."""
    simulator.fault(faults.Silence())
    simulator.advance(5)
    assert client.drain() == []
    simulator.fault(faults.Clear())
    simulator.advance(1)
    (row,) = pushes(client.drain(), "trades")[0]["data"]
    first = int(row["tradeId"]) - int(row["count"]) + 1
    assert first > 40
    (page,) = simulator.call(lambda: list(simulator.venue.ledger().connections.values()))
    assert page.sent[BTC][0][0] == first


def test_silence_of_later_connections(simulator: Simulator[OkxVenue]) -> None:
    """Silence that is to last holds for connections made later too."""
    simulator.advance(1)
    simulator.fault(faults.Silence(later=True))
    with Client(simulator) as client:
        messages = client.subscribe(("trades", BTC), ("books", BTC))
        assert [m["event"] for m in messages] == ["subscribe", "subscribe"]
        simulator.advance(2)
        assert client.drain() == []


def test_swallowed_pong(simulator: Simulator[OkxVenue], client: Client) -> None:
    """Heartbeats of both kinds get no answer, requests do, data goes on."""
    simulator.fault(faults.Swallow())
    client.ws.send("ping")
    client.ws.ping()
    for _ in range(2):  # the second answer comes after anything that the first requests could bring
        client.ask("unsubscribe", ("books", BTC))
        opcode, data = client.ws.recv_data(control_frame=True)
        assert (opcode, json.loads(data)["event"]) == (websocket.ABNF.OPCODE_TEXT, "unsubscribe")
    simulator.advance(1)
    assert json.loads(client.ws.recv())["arg"]["channel"] == "trades"


def test_stall_in_the_middle_of_a_frame(simulator: Simulator[OkxVenue], client: Client) -> None:
    """Ten bytes of a thousand, then nothing: no data, no answer, no end."""
    simulator.fault(faults.Stall())
    assert client.sock.recv(2_000) == frame(b" " * 1_000)[:10]
    client.ws.send("ping")
    simulator.advance(5)
    assert quiet(client)


def test_deaf(simulator: Simulator[OkxVenue], client: Client) -> None:
    """A deaf venue sends data but hears nothing."""
    simulator.fault(faults.Deaf())
    client.ws.send("ping")
    simulator.advance(1)
    assert json.loads(client.ws.recv())["arg"]["channel"] == "trades"
    while not quiet(client):
        assert client.ws.recv() != "pong"


def test_raw_bytes(simulator: Simulator[OkxVenue], client: Client) -> None:
    """Any bytes can be sent: here a frame that announces 8 GiB."""
    head = bytes((0x81, 127)) + (8 << 30).to_bytes(8, "big")
    simulator.fault(faults.Raw(b64=base64.b64encode(head).decode()))
    assert client.sock.recv(100) == head


def test_rejected_subscription(simulator: Simulator[OkxVenue], client: Client) -> None:
    """A rejected symbol gets the code asked for, others are served, and after clearing it is served too."""
    simulator.fault(faults.Reject(symbol=ETH, code="60014"))
    events = [m for m in client.subscribe(("books5", ETH), ("books5", BTC)) if "event" in m]
    assert [(e["event"], e.get("code")) for e in events] == [("error", "60014"), ("subscribe", None)]
    simulator.fault(faults.Clear())
    assert client.subscribe(("books5", ETH))[0]["event"] == "subscribe"


def test_ignored_subscription(simulator: Simulator[OkxVenue], client: Client) -> None:
    """An ignored subscription gets neither answer nor data."""
    simulator.fault(faults.Ignore(channel="books5"))
    assert client.subscribe(("books5", BTC)) == []
    simulator.advance(1)
    assert pushes(client.drain(), "books5") == []


def test_muted_channel(simulator: Simulator[OkxVenue], client: Client) -> None:
    """A muted channel is acknowledged and never pushes; the others do."""
    simulator.fault(faults.Mute(channel="books5"))
    (ack,) = client.subscribe(("books5", BTC))
    assert ack["event"] == "subscribe"
    simulator.advance(1)
    messages = client.drain()
    assert pushes(messages, "books5") == []
    assert pushes(messages, "trades")


def test_skipped_ids(simulator: Simulator[OkxVenue], client: Client) -> None:
    """Skipped trades are numbered and in REST, but never pushed; the ledger names their ids."""
    simulator.advance(1)
    before = pushes(client.drain(), "trades")
    simulator.fault(faults.Skip(symbol=BTC, count=3))
    simulator.advance(2)
    after = pushes(client.drain(), "trades")
    last, (row,) = int(before[-1]["data"][0]["tradeId"]), after[0]["data"]
    missing = (last + 1, int(row["tradeId"]) - int(row["count"]))
    assert simulator.call(lambda: simulator.venue.ledger().skipped) == {BTC: [missing]}
    known = {int(trade["tradeId"]) for trade in rest(simulator, "market/trades", instId=BTC, limit=500)}
    assert set(range(missing[0], missing[1] + 1)) <= known


def broken(messages: list[dict[str, Any]]) -> list[int]:
    """Indices of book messages that do not follow the one before."""
    ids = [(m["data"][0]["prevSeqId"], m["data"][0]["seqId"]) for m in messages]
    return [n for n, (before, after) in enumerate(pairwise(ids), 1) if after[0] != before[1]]


def test_broken_book_chain(simulator: Simulator[OkxVenue], client: Client) -> None:
    """Every second update is lost, as many as asked for; then the chain holds again."""
    messages = client.subscribe(("books", BTC))
    simulator.fault(faults.Breakbook(symbol=BTC, count=3))
    simulator.advance(2)
    messages += client.drain()
    assert broken(pushes(messages, "books")) == [1, 2, 3]


def test_books_numbering_restarts(simulator: Simulator[OkxVenue], client: Client) -> None:
    """After maintenance one update has a smaller id than its predecessor, which it names: the chain holds."""
    messages = client.subscribe(("books", BTC))
    simulator.advance(1)
    assert simulator.fault(faults.Resetbook(symbol=BTC)) == 1
    simulator.advance(1)
    books = pushes(messages + client.drain(), "books")
    assert broken(books) == []
    falls = [m for m in books if m["data"][0]["seqId"] < m["data"][0]["prevSeqId"]]
    assert len(falls) == 1


def test_duplicate_frames(simulator: Simulator[OkxVenue], client: Client) -> None:
    """Every push comes twice, one right after the other."""
    simulator.fault(faults.Duplicate())
    simulator.advance(2)
    rows = [m["data"][0]["tradeId"] for m in pushes(client.drain(), "trades")]
    assert rows[::2] == rows[1::2]
    assert len(set(rows)) * 2 == len(rows) == 2 * simulator.call(lambda: simulator.venue.faults.duplicated)


def test_poison(simulator: Simulator[OkxVenue], client: Client) -> None:
    """Bad frames come in between, as many as counted, and the good ones are complete."""
    simulator.fault(faults.Poison(share=0.5))
    simulator.advance(10)
    client.ws.send("ping")
    messages = list(iter(lambda: client.ws.recv_data()[1], b"pong"))
    good = [m for m in messages if not any(bad.endswith(m) for bad in BAD_FRAMES)]
    assert len(messages) - len(good) == simulator.call(lambda: simulator.venue.faults.poisoned) > 20
    rows = [json.loads(message)["data"][0] for message in good]
    assert all(int(b["tradeId"]) - int(b["count"]) == int(a["tradeId"]) for a, b in pairwise(rows))


def test_notice_and_hand_over(simulator: Simulator[OkxVenue], client: Client) -> None:
    """A notice comes first, the end later; meanwhile data goes on and a new connection is served."""
    simulator.fault(faults.Notice(after=60))
    notice = client.drain()[0]
    assert (notice["event"], notice["code"]) == ("notice", "64008")
    simulator.advance(59)
    assert pushes(client.drain(), "trades")
    with Client(simulator) as fresh:
        fresh.subscribe(("trades", BTC))
        simulator.advance(2)
        assert client.closing() == 1001
        assert pushes(fresh.drain(), "trades")


def test_refused_at_the_handshake(simulator: Simulator[OkxVenue]) -> None:
    """The next handshakes get the status asked for, those after them succeed."""
    simulator.fault(faults.Handshake(status=401, times=2, retry_after=9))
    for _ in range(2):
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            Client(simulator)
        assert refused.value.status_code == 401
        assert refused.value.resp_headers is not None
        assert refused.value.resp_headers["retry-after"] == "9"
    with Client(simulator) as client:
        assert client.drain() == []


def test_slow_handshake(simulator: Simulator[OkxVenue]) -> None:
    """A handshake takes as long as asked for; a client that does not wait is forgotten."""
    simulator.fault(faults.Handshake(status=101, delay=30))
    with pytest.raises(websocket.WebSocketTimeoutException):
        Client(simulator, timeout=0.1)
    assert simulator.call(lambda: len(simulator.venue.sessions)) == 0


def test_refused_connections(simulator: Simulator[OkxVenue]) -> None:
    """While the venue refuses, nobody listens on its port; afterwards it does, on the same one."""
    simulator.fault(faults.Refuse(seconds=0.2))
    with pytest.raises(ConnectionRefusedError):
        Client(simulator)
    assert simulator.wait(lambda _: simulator.serving)
    with Client(simulator) as client:
        assert client.drain() == []


def test_control_endpoint(simulator: Simulator[OkxVenue], client: Client) -> None:
    """Faults by HTTP: a good request strikes and says how many, a bad one is refused with a reason."""
    url = f"{simulator.http_url}/_control"
    struck = httpx.post(url, json={"fault": "drop", "how": "eof"})
    assert struck.json() == {"ok": True, "struck": 1}
    assert client.sock.recv(100) == b""
    wrong = httpx.post(url, json={"fault": "earthquake"})
    assert (wrong.status_code, wrong.json()["ok"]) == (400, False)
    assert "earthquake" in wrong.json()["error"]
    assert httpx.get(url).json()["sessions"] == {}


def test_a_hundred_reconnects(simulator: Simulator[OkxVenue]) -> None:
    """However often one comes back to a quiet symbol, it is the same last trade that comes."""
    simulator.advance(0.25)
    rows = []
    for _ in range(100):
        with Client(simulator) as client:
            rows += [m["data"] for m in pushes(client.subscribe(("trades", BTC)), "trades")]
    assert len(rows) == 100
    assert all(row == rows[0] for row in rows)


def test_slow_readers_are_thrown_out() -> None:
    """A client that does not read costs the venue 16 MiB at most: then it is dropped."""
    clock = ManualClock()
    market = NumberedMarket([BTC], clock.wall_us(), rate=5_000, depth=5)
    with Simulator(OkxVenue(market, rules=NO_LIMITS, clock=clock)) as simulator, Client(simulator) as client:
        client.subscribe(("trades", BTC))
        for _ in range(40):
            simulator.advance(1)
        assert simulator.wait(lambda one: not one.sessions)
