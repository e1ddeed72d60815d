"""Every fault of the simulated Infoway does to a client what its name says, and every error of the venue can be had."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator

import httpx
import pytest
import websocket

from recorder.simulator import faults
from recorder.simulator.clock import ManualClock
from recorder.simulator.infoway import commands as commands
from recorder.simulator.infoway.oracle import numbered
from recorder.simulator.infoway.push import BAD_FRAMES
from recorder.simulator.infoway.text import MESSAGES, Text
from recorder.simulator.infoway.venue import NO_LIMITS, InfowayVenue
from recorder.simulator.oracle import extend, trade_of
from recorder.simulator.server import Simulator
from recorder.simulator.wire import frame
from tests.integration.infowayclient import APPLE, BTC, ETH, OIL, Client, Venue, codes, data, pushes, rest, venue
from tests.integration.simulated import venue as okx_venue


@pytest.fixture
def simulator() -> Iterator[Venue]:
    """A venue with 50 trades a second on each instrument."""
    with venue() as one:
        yield one


@pytest.fixture
def client(simulator: Venue) -> Iterator[Client]:
    """A reader of crypto trades."""
    with Client(simulator) as one:
        one.subscribe(10000, codes(BTC))
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


# --- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["401", "404", "427", "429", "499", "524", *MESSAGES])
def test_every_code_unasked(simulator: Venue, client: Client, code: str) -> None:
    """Any code can come as an error that answers nothing."""
    assert simulator.fault(commands.Error(code=code)) == 1
    (answer,) = client.drain()
    assert list(answer) == ["traceId", "code", "msg"]
    assert (answer["traceId"], answer["code"]) == ("", int(code))
    assert answer["msg"]


@pytest.mark.parametrize("code", list(MESSAGES))
@pytest.mark.parametrize("business", ["crypto", "stock"])
def test_every_code_as_a_refusal(simulator: Venue, business: str, code: str) -> None:
    """Any code can refuse a subscription, with its trace and nothing after it; on stock words come before."""
    symbol = APPLE if business == "stock" else BTC
    simulator.fault(faults.Reject(symbol=symbol, code=code))
    with Client(simulator, business) as client:
        client.texts()
        trace = client.ask(10003, codes(symbol))
        (answer,) = client.texts()
        assert answer.startswith("Subscribe fail: {") == (business == "stock")
        body = json.loads(answer.removeprefix("Subscribe fail: "))
        assert (body["traceId"], body["code"], body["msg"]) == (trace, int(code), MESSAGES[code])
        simulator.advance(1)
        assert client.texts() == []


def test_a_refusal_in_prose(simulator: Venue) -> None:
    """A refusal can be any text, as of a market that was not bought."""
    words = "Subscribe fail: You have no permission for this market"
    simulator.fault(commands.Prose(symbol=APPLE, text=words))
    with Client(simulator, "stock") as client:
        client.texts()
        client.ask(10000, codes(APPLE))
        assert client.texts() == [words]
        simulator.fault(faults.Clear())
        assert client.subscribe(10000, codes(APPLE))[-1]["code"] == 10001


def test_one_refused_symbol_refuses_the_request(simulator: Venue, client: Client) -> None:
    """A request is granted or refused whole; what was there before goes on."""
    simulator.fault(faults.Reject(channel="trade", symbol=ETH, code="516"))
    assert [m["code"] for m in client.subscribe(10000, codes(OIL, ETH))] == [516]
    assert [m["code"] for m in client.subscribe(10003, codes(ETH))] == [10004]
    simulator.advance(1)
    messages = client.drain()
    assert {row["s"] for row in pushes(messages, 10002)} == {BTC}
    assert {row["s"] for row in pushes(messages, 10005)} == {ETH}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 427, 429, 499, 500, 502, 503, 520, 524])
def test_every_status_in_the_handshake(simulator: Venue, status: int) -> None:
    """Any HTTP status can refuse a handshake, also one that only gateways know; the next one succeeds."""
    simulator.fault(faults.Handshake(status=status, retry_after=7))
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        Client(simulator)
    assert refused.value.status_code == status
    headers = refused.value.resp_headers
    assert headers is not None
    assert headers["retry-after"] == "7"
    assert headers.get("www-authenticate") == ('apikey realm="key"' if status == 401 else None)
    with Client(simulator) as client:
        assert len(client.drain()) == 1


@pytest.mark.parametrize("code", ["517", "518", "519", "520", "521"])
def test_turned_away(simulator: Venue, code: str) -> None:
    """A connection can be accepted, told an error instead of a welcome, and closed; the next one is welcome."""
    simulator.fault(commands.Turnaway(code=code))
    with Client(simulator) as client:
        message, closed = client.last_words()
        assert json.loads(message) == {"traceId": "", "code": int(code), "msg": MESSAGES[code]}
        assert closed == "1000"
    with Client(simulator) as client:
        assert [m["code"] for m in client.drain()] == [200]


def test_cleared(simulator: Venue) -> None:
    """What lasts ends when it is cleared."""
    asked = [commands.Turnaway(times=9), commands.Prose(text="no"), commands.Answer(times=9), faults.Reject()]
    assert [simulator.fault(one) for one in asked] == [9, 1, 9, 1]
    simulator.fault(faults.Clear())
    with Client(simulator) as client:
        assert client.subscribe(10000, codes(BTC))[-1]["code"] == 10001
    assert data(simulator, "/common/basic/symbols?type=CRYPTO")


def test_other_venues_know_no_such_thing() -> None:
    """What only this venue does is refused by another one."""
    with okx_venue() as simulator, pytest.raises(ValueError, match="no such request"):
        simulator.fault(commands.Say(text="x"))


@pytest.mark.parametrize("status", [401, 429, 499, 500, 502, 524])
def test_every_status_of_rest(simulator: Venue, status: int) -> None:
    """Any HTTP status can answer REST requests on a path, as often as asked for, with the venue's body for it."""
    path = f"/crypto/batch_depth/{BTC}"
    assert simulator.fault(commands.Answer(path="batch_depth", status=status, times=2)) == 2
    assert data(simulator, "/common/basic/symbols?type=CRYPTO")
    for _ in range(2):
        answer = rest(simulator, path)
        assert answer.status_code == status
        body = answer.json()
        assert body.get("ret", status) == body.get("code", status) == status
    assert data(simulator, path)


def test_any_body_of_rest(simulator: Venue) -> None:
    """A REST answer can have any body: here the service's limit of a day, in its envelope with status 200."""
    body = '{"ret":502,"msg":"Request frequency for the day upper limit","traceId":"x","data":null}'
    simulator.fault(commands.Answer(status=200, body=body))
    assert rest(simulator, f"/crypto/batch_depth/{BTC}").text == body


# --- frames --------------------------------------------------------------------------------------------------------


def test_the_tutorials_push(simulator: Venue, client: Client) -> None:
    """A frame under a request's own code, with the fields of a push, as a tutorial prints it."""
    text = Text(simulator.venue.market.instruments[BTC].listing)
    simulator.advance(1)
    client.drain()
    last = simulator.call(lambda: simulator.venue.pusher.last[BTC])
    simulator.fault(commands.Say(text=text.trade(last, code=10000).decode()))
    (message,) = client.drain()
    assert (message["code"], message["data"]["s"]) == (10000, BTC)


def test_poison(simulator: Venue, client: Client) -> None:
    """Bad frames come in between, as many as counted, and the good ones are complete."""
    simulator.fault(faults.Poison(share=0.5))
    simulator.advance(2)
    client.ws.ping()
    found = list(iter(lambda: client.ws.recv_data(control_frame=True), (websocket.ABNF.OPCODE_PONG, b"")))
    good = [text for _, text in found if not any(bad.endswith(text) for bad in BAD_FRAMES)]
    assert len(found) - len(good) == simulator.call(lambda: simulator.venue.faults.poisoned) > 20
    assert len(good) > 90
    assert {json.loads(text)["code"] for text in good} == {10002}


def test_duplicates(simulator: Venue, client: Client) -> None:
    """Every push comes twice, one right after the other."""
    simulator.fault(faults.Duplicate())
    simulator.advance(1)
    rows = pushes(client.drain(), 10002)
    assert rows and rows[::2] == rows[1::2]


def test_raw_bytes(simulator: Venue, client: Client) -> None:
    """Any bytes can be sent."""
    head = bytes((0x81, 127)) + (8 << 30).to_bytes(8, "big")
    simulator.fault(faults.Raw(b64=base64.b64encode(head).decode()))
    assert client.sock.recv(100) == head


def test_lost_depth(simulator: Venue, client: Client) -> None:
    """Every second depth is lost, as many as asked for; no message says so."""
    client.subscribe(10003, codes(BTC))
    simulator.fault(faults.Breakbook(symbol=BTC, count=3))
    simulator.advance(1)
    assert len(pushes(client.drain(), 10005)) == 7
    assert simulator.fault(faults.Resetbook()) == 0


# --- connections ---------------------------------------------------------------------------------------------------


def test_silence_of_one_business(simulator: Venue, client: Client) -> None:
    """In silence no data comes, but answers do; the other business is not struck."""
    with Client(simulator, "common") as other:
        other.subscribe(10000, codes(OIL))
        assert simulator.fault(faults.Silence(path="business=crypto")) == 1
        simulator.advance(1)
        assert client.texts() == [] and pushes(other.drain(), 10002)
        assert client.subscribe(10003, codes(BTC))[-1]["code"] == 10004
        simulator.fault(faults.Clear())
        simulator.advance(1)
        assert pushes(client.drain(), 10002)


def test_swallowed_heartbeats(simulator: Venue, client: Client) -> None:
    """Neither kind of heartbeat is answered, requests are."""
    simulator.fault(faults.Swallow())
    client.ask(10010, ack=1)
    client.ws.ping()
    trace = client.ask(11001)
    opcode, answer = client.ws.recv_data(control_frame=True)
    assert (opcode, json.loads(answer)) == (1, {"code": 11010, "trace": trace, "msg": "ok"})


def test_stall_in_the_middle_of_a_frame(simulator: Venue, client: Client) -> None:
    """Ten bytes of a thousand, then nothing: no data, no answer, no end."""
    simulator.fault(faults.Stall())
    assert client.sock.recv(2_000) == frame(b" " * 1_000)[:10]
    client.ask(11001)
    simulator.advance(5)
    assert quiet(client)


@pytest.mark.parametrize("how", list(faults.How))
def test_drops(simulator: Venue, client: Client, how: faults.How) -> None:
    """A connection ends with a close frame, a reset or an end of file."""
    assert simulator.fault(faults.Drop(path="business=crypto", how=how, code=1012)) == 1
    if how is faults.How.CLOSE:
        assert client.last_words() == ["1012"]
    elif how is faults.How.EOF:
        assert client.sock.recv(100) == b""
    else:
        with pytest.raises(ConnectionResetError):
            client.sock.recv(100)
    assert simulator.wait(lambda one: not one.sessions)


def test_an_end_without_a_notice(simulator: Venue, client: Client) -> None:
    """This venue announces nothing: the connection only ends, when asked for."""
    simulator.fault(faults.Notice(after=3))
    simulator.advance(2)
    assert {m["code"] for m in client.drain()} == {10002}
    simulator.advance(1)
    assert client.last_words()[-1] == "1000"


def test_ignored_and_muted(simulator: Venue, client: Client) -> None:
    """An ignored symbol gets no answer, a muted one no data: how a closed session looks."""
    simulator.fault(faults.Ignore(channel="depth"))
    simulator.fault(faults.Mute(symbol=ETH))
    assert client.subscribe(10003, codes(BTC)) == []
    assert client.subscribe(10000, codes(ETH))[-1]["code"] == 10001
    simulator.advance(1)
    messages = client.drain()
    assert not pushes(messages, 10005) and {row["s"] for row in pushes(messages, 10002)} == {BTC}


def test_control_endpoint(simulator: Venue, client: Client) -> None:
    """Faults by HTTP, without a key."""
    url = f"{simulator.http_url}/_control"
    struck = httpx.post(url, json={"fault": "error", "code": "516", "path": "crypto"})
    assert struck.json() == {"ok": True, "struck": 1}
    assert [m["code"] for m in client.drain()] == [516]
    ((conn_id, subscribed),) = httpx.get(url).json()["sessions"].items()
    assert subscribed == [["trade", BTC]]
    assert httpx.post(url, json={"fault": "silence", "path": conn_id}).json()["struck"] == 1
    assert httpx.post(url, json={"fault": "silence", "path": "business=stock"}).json()["struck"] == 0
    assert httpx.post(url, json={"fault": "earthquake"}).status_code == 400


# --- the ledger ----------------------------------------------------------------------------------------------------


def test_the_ledger_is_what_was_sent() -> None:
    """Numbered trades bear no number, but their volume is it: what clients received is in the ledger, and the journal
    holds every message as it was sent."""
    clock = ManualClock()
    market = numbered([BTC, OIL], clock.wall_us(), rate=200)
    with Simulator(InfowayVenue(market, rules=NO_LIMITS, clock=clock, journal=True)) as simulator:
        received = []
        for _ in range(2):
            with Client(simulator) as client:
                client.subscribe(10000, codes(BTC))
                simulator.fault(faults.Skip(symbol=BTC, count=2))
                simulator.advance(1)
                simulator.fault(faults.Duplicate(share=0.5))
                simulator.advance(0.1)
                simulator.fault(faults.Clear())
                received.append(client.texts())
            assert simulator.wait(lambda one: not one.sessions)
            simulator.advance(0.9)
        ledger = simulator.call(simulator.venue.ledger)
        journals = simulator.call(
            lambda: [[text.decode() for text in one] for one in simulator.venue.journals.values()]
        )
    assert journals == received
    assert ledger.issued == {BTC: 800, OIL: 800}
    assert [sum(last - first + 1 for first, last in ledger.skipped[BTC])] == [4]
    for page, texts in zip(ledger.connections.values(), received, strict=True):
        ranges: list[tuple[int, int]] = []
        assert len(set(texts)) < len(texts)
        for row in pushes([json.loads(text) for text in dict.fromkeys(texts)], 10002):
            price, size, side = trade_of(int(row["v"]))
            assert (float(row["p"]), row["v"], row["td"]) == (float(price), size, 1 if side == "buy" else 2)
            extend(ranges, int(row["v"]), int(row["v"]))
        assert page.sent == {BTC: ranges}
        assert page.path == "/ws?business=crypto"
