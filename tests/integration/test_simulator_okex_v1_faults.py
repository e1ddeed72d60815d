"""Every fault of the simulated OKEx v1 does to a client what its name says; recordings, the command, the oracle."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import websocket

from recorder.simulator import faults
from recorder.simulator.okex_v1.commands import Error, Say, decode
from recorder.simulator.okex_v1.oracle import Ids
from recorder.simulator.okex_v1.push import BAD_FRAMES
from recorder.simulator.okex_v1.replay import REPLAYED
from recorder.simulator.oracle import trade_of
from recorder.simulator.replay import Replay
from recorder.simulator.server import Simulator
from tests import samples
from tests.integration.okexv1client import PACKED, SPOT, Client, Message, Venue, inflated, pushes, signed, venue
from tests.integration.socketclient import output, program

BTC = "btc_usdt"
DEALS, DEPTH = f"ok_sub_spot_{BTC}_deals", f"ok_sub_spot_{BTC}_depth"
ROOT = Path(__file__).parents[2]
BOUND = 64 << 20


@pytest.fixture
def simulator() -> Iterator[Venue]:
    """A venue with 50 trades a second on each instrument."""
    with venue() as one:
        yield one


@pytest.fixture
def client(simulator: Venue) -> Iterator[Client]:
    """A reader of deals on the compressed path."""
    with Client(simulator) as one:
        one.add(DEALS)
        yield one


def strike(simulator: Venue, **request: object) -> httpx.Response:
    """A request to the control endpoint."""
    return httpx.post(f"{simulator.http_url}/_control", json=request)


def numbers(simulator: Venue, messages: list[Message]) -> list[int]:
    """Which trades these are."""
    ids = Ids(simulator.venue.market.instruments)
    return [ids.number(BTC, int(row[0])) for rows in pushes(messages, DEALS) for row in rows]


def test_the_control_endpoint(simulator: Venue, client: Client) -> None:
    """Faults by name, this venue's and any venue's; mistakes are told; the ledger says who is here, and what was sent
    to whom."""
    assert strike(simulator, fault="manners", bare=True).json() == {"ok": True, "struck": 1}
    assert strike(simulator, fault="clear").json()["ok"]
    assert strike(simulator, fault="manners", naked=True).status_code == 400
    assert strike(simulator, fault="resetbook", symbol=BTC).json()["struck"] == 0
    simulator.advance(1)
    found = numbers(simulator, client.drain())
    seen = httpx.get(f"{simulator.http_url}/_control").json()
    assert list(seen["sessions"].values()) == [[[DEALS, BTC]]]
    (page,) = seen["ledger"]["connections"].values()
    assert page["sent"] == {BTC: [[found[0], found[-1]]]}
    assert httpx.get(f"{simulator.http_url}/api/v1/ticker.do").status_code == 404


@pytest.mark.parametrize("how", ["close", "rst", "eof"])
def test_drop(simulator: Venue, client: Client, how: str) -> None:
    """Connections end in three ways."""
    assert strike(simulator, fault="drop", path=PACKED, how=how, code=1001).json()["struck"] == 1
    if how == "close":
        assert client.closing()[1] == 1001
    elif how == "eof":
        assert client.ended()
    else:
        with pytest.raises(ConnectionResetError):
            client.ended()
    assert simulator.wait(lambda one: not one.sessions)


def test_silence_and_swallow(simulator: Venue, client: Client) -> None:
    """Silence is no data, but answers; swallowed heartbeats are not answered, but there is data."""
    simulator.fault(faults.Silence())
    simulator.advance(1)
    assert client.drain() == []
    simulator.fault(faults.Clear())
    simulator.fault(faults.Swallow())
    client.ask({"event": "ping"}, {"event": "removeChannel", "channel": "nothing"})
    first = json.loads(inflated(*client.ws.recv_data()))
    assert first[0]["channel"] == "removeChannel"
    simulator.advance(0.2)
    simulator.fault(faults.Clear())
    assert pushes(client.drain(), DEALS)


def test_refused_ignored_and_muted(simulator: Venue, client: Client) -> None:
    """A channel, by its name or its symbol, is refused with a code, not answered at all, or never has data."""
    simulator.fault(faults.Reject(channel=DEPTH))
    assert [m["data"]["error_code"] for m in client.add(DEPTH)] == [10015]
    simulator.fault(faults.Clear())
    simulator.fault(faults.Reject(symbol="etc_usdt", code="20028"))
    assert [m["data"]["error_code"] for m in client.add("ok_sub_spot_etc_usdt_ticker")] == [20028]
    simulator.fault(faults.Clear())
    simulator.fault(faults.Ignore(channel=DEPTH))
    assert client.add(DEPTH) == []
    simulator.fault(faults.Clear())
    simulator.fault(faults.Mute(channel=DEPTH))
    assert [m["channel"] for m in client.add(DEPTH)] == ["addChannel"]
    simulator.advance(1)
    assert {m["channel"] for m in client.drain()} == {DEALS}


def test_a_login_refused_on_request(simulator: Venue) -> None:
    """The code of a login's refusal can be chosen; it is the end, as any refusal is."""
    simulator.fault(faults.Reject(channel="login", code="20038"))
    with Client(simulator, SPOT) as client:
        parameters = signed({"api_key": "demo"}, "demo-secret")
        client.ask({"event": "login", "parameters": parameters})
        (text,), code = client.closing()
        assert (json.loads(text)[0]["data"]["error_code"], code) == (20038, 1000)


def test_skipped_and_doubled(simulator: Venue, client: Client) -> None:
    """Trades that are left out have their numbers and stand in the ledger; pushes can come twice."""
    simulator.fault(faults.Skip(symbol=BTC, count=3))
    simulator.advance(1)
    found = numbers(simulator, client.drain())
    (hole,) = simulator.venue.ledger().skipped[BTC]
    assert set(range(1, found[-1] + 1)) - set(found) == set(range(hole[0], hole[1] + 1))
    simulator.fault(faults.Duplicate())
    simulator.advance(1)
    again = sorted(numbers(simulator, client.drain()))
    assert again[0::2] == again[1::2] == sorted(set(again))


def test_lost_changes_of_a_book(simulator: Venue, client: Client) -> None:
    """Of a book every second change is lost."""
    client.add(DEPTH)
    simulator.advance(1)
    before = len(pushes(client.drain(), DEPTH))
    simulator.fault(faults.Breakbook(symbol=BTC, count=100))
    simulator.advance(1)
    assert len(pushes(client.drain(), DEPTH)) <= before // 2 + 1


def test_poison_of_a_compressed_connection(simulator: Venue, client: Client) -> None:
    """A bomb of more than 64 MiB, what is no deflate, streams that end too early: each comes, among good frames."""
    simulator.fault(faults.Poison(share=1.0))
    kinds: set[str] = set()
    while kinds != {"bomb", "no deflate", "truncated", "no JSON", "good"}:
        simulator.advance(0.1)
        opcode, data = client.ws.recv_data()
        assert opcode == websocket.ABNF.OPCODE_BINARY
        kinds.add(_kind(data))


def _kind(data: bytes) -> str:
    stream = zlib.decompressobj(-15)
    try:
        text = stream.decompress(data, BOUND + 1)
    except zlib.error:
        return "no deflate"
    if len(text) > BOUND:
        return "bomb"
    if not stream.eof:
        return "truncated"
    try:
        json.loads(text)
    except ValueError:
        return "no JSON"
    return "good"


def test_poison_of_a_plain_connection(simulator: Venue) -> None:
    """What comes there is no JSON of this venue, or binary."""
    with Client(simulator, SPOT) as client:
        client.add(DEALS)
        simulator.fault(faults.Poison(share=1.0))
        found = set()
        for _ in range(60):
            simulator.advance(0.1)
        simulator.fault(faults.Clear())
        client.ws.send('{"event":"ping"}')
        while (data := client.ws.recv_data()[1]) != b'{"event":"pong"}':
            found.add(data)
        assert {one[4 if one[1] == 126 else 2 :] for one in BAD_FRAMES} <= found


def test_said(simulator: Venue, client: Client) -> None:
    """Any text, and errors that answer nothing, compressed where the connection is."""
    simulator.fault(Say(text="[1]"))
    simulator.fault(Error(code="20049"))
    assert client.texts() == [
        "[1]",
        '[{"binary":0,"channel":"addChannel","data":'
        '{"result":false,"error_msg":"Requests are too frequent.","error_code":20049}}]',
    ]


def test_a_handshake_refused(simulator: Venue) -> None:
    """HTTP 403 was what an address got that asked too much."""
    simulator.fault(faults.Handshake(status=403))
    with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
        Client(simulator)
    Client(simulator).__exit__()


def test_the_documents_requests() -> None:
    """Every request in the document is one that the venue knows."""
    text = (ROOT / "docs" / "simulator-okex-v1.md").read_text()
    found = re.findall(r"^\| `(\{.*?\})` \|", text, re.MULTILINE)
    assert len(found) == 14
    for request in found:
        assert decode(request.encode())


# --- recordings ------------------------------------------------------------------------------------------------------


def test_recorded_frames() -> None:
    """Every recorded frame is served once, in order, compressed, after a subscription; a heartbeat begins nothing."""
    files = [samples.need("okex_v1") / name for name in samples.files("okex_v1")]
    with Simulator(Replay(files, dialect=REPLAYED)) as simulator, Client(simulator) as client:
        assert client.frames() == []
        client.ask({"event": "login", "parameters": {"api_key": "any", "sign": "any"}})
        assert client.texts() == ['[{"binary":0,"channel":"login","data":{"result":true}}]']
        client.ask({"event": "addChannel", "channel": DEALS})
        assert simulator.venue.played.wait(10)
        wanted = [raw.decode() for name in samples.files("okex_v1") for raw in samples.received("okex_v1", name)]
        found = []
        for _ in wanted:
            opcode, data = client.ws.recv_data()
            assert opcode == websocket.ABNF.OPCODE_BINARY
            found.append(zlib.decompress(data, -15).decode())
        assert found == wanted


# --- processes -------------------------------------------------------------------------------------------------------

SERVE = """
import sys
from recorder.simulator.server import serve
sys.exit(serve(['okex_v1'], '127.0.0.1', 0, False, 500.0, []))
"""


def test_the_command() -> None:
    """`simulate --venue okex_v1` says where it is and serves."""
    with program("-c", SERVE) as (line, process):
        name, ws, http = line.split()
        assert (name, ws.partition(":")[2]) == ("okex_v1", http.partition(":")[2])
        with Client(SimpleNamespace(ws_url=ws)) as client:  # type: ignore[arg-type]
            client.ask({"event": "addChannel", "channel": DEALS})
            opcode, _ = client.ws.recv_data()
            assert opcode == websocket.ABNF.OPCODE_BINARY
        process.terminate()
        assert process.wait(10) == 0
        assert output(process.stderr).read() == ""


def test_a_process_of_its_own() -> None:
    """The oracle numbers trades of pairs and contracts: size, price and side follow from the number, and so does the
    id; it ends with its standard input."""
    command = ["-m", "recorder.simulator", "--venue", "okex_v1", "--rate", "300"]
    command += ["--symbol", BTC, "--symbol", "btc_usd_quarter"]
    ids = Ids([BTC, "btc_usd_quarter"])
    channels = {DEALS: BTC, "ok_sub_futureusd_btc_trade_quarter": "btc_usd_quarter"}
    with program(*command) as (line, process):
        where = json.loads(line)
        with Client(SimpleNamespace(ws_url=where["ws"])) as client:  # type: ignore[arg-type]
            found: dict[str, list[list[str]]] = {name: [] for name in channels}
            client.ask(*({"event": "addChannel", "channel": name} for name in channels))
            while min(map(len, found.values())) < 200:
                (message,) = json.loads(zlib.decompress(client.ws.recv_data()[1], -15))
                found.get(message["channel"], []).extend(message["data"])
        output(process.stdin).close()
        assert process.wait(10) == 0
    for channel, rows in found.items():
        sizes = [int(float(row[2])) for row in rows]
        assert sizes == list(range(sizes[0], sizes[0] + len(sizes)))
        for size, row in zip(sizes, rows, strict=True):
            price, _, side = trade_of(size)
            assert (int(row[0]), float(row[1])) == (ids.of(channels[channel], size), float(price))
            assert row[4] == {"buy": "bid", "sell": "ask"}[side]
