"""What can go wrong at the simulated OKEx v3, what it plays again, and how it is started."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import websocket

from recorder.simulator import faults
from recorder.simulator.deflate import MIB
from recorder.simulator.okex_v3.commands import decode
from recorder.simulator.okex_v3.push import BAD_FRAMES
from recorder.simulator.okex_v3.replay import REPLAYED
from recorder.simulator.okex_v3.venue import OkexV3Venue
from recorder.simulator.replay import Replay
from recorder.simulator.server import DIALECTS, VENUES, Simulator
from tests import samples
from tests.docblocks import ROOT
from tests.integration.okexv3client import BTC, Client, inflate, names, rows, venue
from tests.integration.socketclient import output, program

TRADES = f"spot/trade:{BTC}"
PLAYED = "cryptofeed_okcoin_2021-07_v3_deflate_conn1.jsonl.gz"


@pytest.fixture
def simulator() -> Iterator[Simulator[OkexV3Venue]]:
    """A venue with 100 trades a second."""
    with venue() as one:
        yield one


@pytest.fixture
def client(simulator: Simulator[OkexV3Venue]) -> Iterator[Client]:
    """A reader of trades."""
    with Client(simulator) as one:
        one.subscribe(TRADES)
        yield one


def control(simulator: Simulator[OkexV3Venue], **request: Any) -> httpx.Response:
    """Ask the control endpoint for a fault."""
    return httpx.post(f"{simulator.http_url}/_control", json=request)


# --- faults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["noise", "truncated", "empty"])
def test_frames_that_cannot_be_inflated(simulator: Simulator[OkexV3Venue], client: Client, how: str) -> None:
    """Each is one binary frame that is no whole stream; what follows is as ever."""
    assert control(simulator, fault="garble", how=how).json() == {"ok": True, "struck": 1}
    with pytest.raises(zlib.error):
        inflate(client.frame())
    simulator.advance(1)
    assert rows(client.drain(), "spot/trade")


def test_a_bomb(simulator: Simulator[OkexV3Venue], client: Client) -> None:
    """A small frame that becomes more than 64 MiB, in a stream without any fault."""
    assert control(simulator, fault="garble", how="bomb").json()["struck"] == 1
    data = client.frame()
    assert len(data) < 100_000
    assert len(inflate(data)) > 64 * MIB
    assert control(simulator, fault="garble", how="bomb", mib=0).status_code == 400


def test_poison(simulator: Simulator[OkexV3Venue], client: Client) -> None:
    """Bad frames come between good ones, which stay whole; they are counted, and every kind of them is bad."""
    simulator.fault(faults.Poison(share=0.5))
    simulator.advance(20)
    client.ws.send("ping")
    good: list[dict[str, Any]] = []
    bad = 0
    while True:
        opcode, data = client.ws.recv_data()
        message = readable(opcode, data)
        if message == b"pong":
            break
        found = json.loads(message) if message else None
        if found and found["data"][0].get("price", "NaN") != "NaN":
            good.append(found)
        else:
            bad += 1
    ids = [int(row["trade_id"]) for row in rows(good, "spot/trade")]
    assert ids == list(range(1, len(ids) + 1))
    assert bad == simulator.venue.faults.poisoned > len(BAD_FRAMES)


def readable(opcode: int, data: bytes) -> bytes:
    """What a careful client makes of a frame: nothing, where it is none or too much."""
    try:
        message = inflate(data) if opcode == websocket.ABNF.OPCODE_BINARY and len(data) < 60_000 else b""
        return message if message == b"pong" or isinstance(json.loads(message)["data"][0], dict) else b""
    except (zlib.error, ValueError, RecursionError):
        return b""


def test_words_that_nobody_asked_for(simulator: Simulator[OkexV3Venue], client: Client) -> None:
    """An error with any code, and any text, compressed; a raw frame as it is."""
    control(simulator, fault="error", code=30009, message="System error")
    control(simulator, fault="error", code=30041)
    control(simulator, fault="say", text='{"event":"notice"}')
    first, second, third = client.texts()
    assert first == '{"event":"error","message":"System error","errorCode":30009}'
    assert json.loads(second)["message"].startswith("User not logged in")
    assert third == '{"event":"notice"}'
    control(simulator, fault="raw", b64=base64.b64encode(b"\x81\x04test").decode())
    assert client.ws.recv() == "test"


def test_subscriptions_that_fail(simulator: Simulator[OkexV3Venue]) -> None:
    """Refused with the venue's usual code or another, ignored, or acknowledged and never served."""
    for name, more in (("reject", {}), ("reject", {"code": "30034"}), ("ignore", {}), ("mute", {})):
        control(simulator, fault=name, channel="spot/trade", symbol=BTC, **more)
        with Client(simulator) as client:
            client.subscribe("spot/ticker:BTC-USDT")
            answer = client.subscribe(TRADES)
            simulator.advance(2)
            assert {m["table"] for m in client.drain()} == {"spot/ticker"}
        wanted = {"reject": [more.get("code", "30040")], "ignore": [], "mute": ["subscribe"]}[name]
        assert [str(m.get("errorCode", m["event"])) for m in answer] == wanted
        simulator.fault(faults.Clear())


def test_silence_skips_and_repeats(simulator: Simulator[OkexV3Venue], client: Client) -> None:
    """In silence a ping is answered and nothing else comes; skipped ids are noted; a repeated push is the same."""
    simulator.fault(faults.Silence())
    simulator.advance(2)
    assert client.drain() == []
    simulator.fault(faults.Clear())
    simulator.fault(faults.Duplicate())
    simulator.fault(faults.Skip(symbol=BTC, count=2))
    simulator.advance(2)
    texts = client.texts()
    assert texts[::2] == texts[1::2]
    first = int(json.loads(texts[0])["data"][0]["trade_id"])
    ledger = simulator.call(simulator.venue.ledger)
    assert ledger.skipped[BTC][-1][1] == first - 1
    simulator.fault(faults.Swallow())
    client.ws.send("ping")
    client.ws.settimeout(0.3)
    with pytest.raises(websocket.WebSocketTimeoutException):
        client.ws.recv()


def test_ends_of_connections(simulator: Simulator[OkexV3Venue], client: Client) -> None:
    """With a code as asked for; after a notice, of which nothing is said here; and refused at the door."""
    control(simulator, fault="drop", how="close", code=1012)
    assert client.closing()[1] == 1012
    with Client(simulator) as other:
        control(simulator, fault="notice", after=5)
        simulator.advance(4)
        assert other.drain() == []
        simulator.advance(2)
        assert other.closing() == ([], 1000)
    control(simulator, fault="handshake", status=503)
    with pytest.raises(websocket.WebSocketBadStatusException, match="503"):
        Client(simulator)
    assert httpx.get(f"{simulator.http_url}/api").status_code == 404


def test_the_documents_requests() -> None:
    """Every request in the document is one that the venue knows."""
    text = (ROOT / "docs" / "simulator-okex-v3.md").read_text()
    found = re.findall(r"^\| `(\{.*?\})` \|", text, re.MULTILINE)
    assert len(found) == 9
    for request in found:
        assert decode(request.encode())


# --- as recorded ---------------------------------------------------------------------------------------------------

EXACT = ("cryptofeed_", "cryptomsgparser_")  # whole messages as they were received; others were shortened or sorted
GENERATED = "futures/liquidation"  # made from REST answers by those who recorded it: no such channel


def recorded() -> dict[str, tuple[dict[str, Any], bool]]:
    """The newest recorded message of each table, and whether nobody has touched it."""
    found: dict[str, tuple[str, dict[str, Any], bool]] = {}
    for name in samples.files("okex_v3"):
        for raw in samples.received("okex_v3", name):
            message = json.loads(raw) if raw.startswith(b'{"table"') else {}
            table = f"{message['table']}/{message.get('action', '')}".rstrip("/") if message else ""
            row = message["data"][0] if message else {}
            at = str(row.get("timestamp", ""))
            if table and table != GENERATED and at >= found.get(table, ("",))[0]:
                found[table] = (at, message, name.startswith(EXACT))
    return {table: (message, exact) for table, (_, message, exact) in found.items()}


def test_fields_are_those_of_recorded_messages() -> None:
    """Names and order, of the message and of its row: the same as in the newest recorded one of the same table, or,
    where that is older than what came to be added, that and then more. Levels and candles are as long."""
    wanted = recorded()
    assert len(wanted) > 20
    with venue(delivery=1_800) as simulator, Client(simulator) as client:
        about = {kind.lower(): names(simulator, kind)[0] for kind in ("SPOT", "SWAP", "FUTURES", "OPTION")}
        tables = {table.removesuffix("/partial").removesuffix("/update") for table in wanted}
        args = [f"{table}:{about[table.split('/')[0]]}" for table in tables - {"option/summary"}]
        messages = client.subscribe(*args, "option/summary:BTC-USD")
        simulator.advance(70)
        messages += client.drain()
    ours = {f"{m['table']}/{m.get('action', '')}".rstrip("/"): m for m in messages if "table" in m}
    assert wanted.keys() <= ours.keys()
    for table, (theirs, exact) in wanted.items():
        mine = ours[table]
        assert list(mine) == list(theirs), table
        (row,), (model, *_) = mine["data"], theirs["data"]
        if exact:
            assert list(row) == list(model), table
        else:
            assert [name for name in row if name in model] == list(model), table
        if exact and "asks" in row:
            assert len((row["asks"] + row["bids"])[0]) == len((model["asks"] + model["bids"])[0])
        assert len(row.get("candle", ())) == len(model.get("candle", ()))


def test_a_level_of_2019() -> None:
    """On `spot/depth` a level ends with its number of orders as an integer."""
    for raw in samples.received("okex_v3", "gocryptotrader_v3_depth_checksum_2019-03.jsonl"):
        assert list(map(type, json.loads(raw)["data"][0]["asks"][0])) == [str, str, int]


def test_recorded_bytes() -> None:
    """A recording is played as the bytes that were recorded, and its texts alone give the same bytes."""
    path = samples.need("okex_v3") / PLAYED
    lines = [json.loads(line) for line in zlib.decompress(path.read_bytes(), 31).splitlines()]
    bytes_ = [base64.b64decode(line["b64"]) for line in lines if line["dir"] == "recv"]
    assert len(bytes_) == 913
    assert played(path) == bytes_
    assert [REPLAYED.pack(line["raw"].encode())[-len(b) :] for line, b in zip(lines[1:], bytes_, strict=True)] == bytes_


def test_texts_are_compressed(tmp_path: Path) -> None:
    """What was kept as text is played as the venue sent it."""
    file = tmp_path / "r.jsonl"
    texts = ['{"table":"spot/trade","data":[]}', '{"event":"error","message":"no","errorCode":30040}']
    file.write_text("\n".join(json.dumps({"t": None, "dir": "recv", "raw": text}) for text in texts))
    assert [inflate(data).decode() for data in played(file)] == texts


def played(file: Path) -> list[bytes]:
    """The frames that a client gets which logs in, pings and subscribes."""
    with Simulator(Replay([file], dialect=REPLAYED)) as simulator, Client(simulator) as client:
        client.ask("login", "k", "p", "1", "s")
        assert client.texts() == ['{"event":"login","success":true}']
        client.ask("subscribe", TRADES)
        assert simulator.venue.played.wait(10)
        client.texts()
        return client.raw


# --- processes -----------------------------------------------------------------------------------------------------


def test_the_command() -> None:
    """`simulate --venue okex_v3` says where it is, serves a market, and ends on SIGTERM without a word."""
    assert DIALECTS.keys() == VENUES.keys()
    with program("-m", "recorder", "simulate", "--venue", "okex_v3", "--rate", "500") as (line, running):
        name, ws, http = line.split()
        assert (name, httpx.get(f"{http}/_control").status_code) == ("okex_v3", 200)
        with Client(SimpleNamespace(ws_url=ws)) as client:
            client.ask("subscribe", TRADES)
            assert json.loads(inflate(client.frame()))["event"] == "subscribe"
            ids = [int(json.loads(inflate(client.frame()))["data"][0]["trade_id"]) for _ in range(20)]
        assert ids == list(range(ids[0], ids[0] + 20))
        running.terminate()
        assert running.wait(10) == 0
        assert running.stderr is not None
        assert output(running.stderr).read() == ""


def test_a_process_of_its_own() -> None:
    """The oracle speaks this protocol: trade n has size n, of any instrument; it ends with its standard input."""
    future = "BTC-USD-190628"
    options = ("--venue", "okex_v3", "--rate", "500", "--symbol", BTC, "--symbol", future)
    with program("-m", "recorder.simulator", *options) as (line, running):
        where = json.loads(line)
        with Client(SimpleNamespace(ws_url=where["ws"])) as client:
            client.ask("subscribe", f"futures/trade:{future}")
            assert json.loads(inflate(client.frame()))["event"] == "subscribe"
            found = [json.loads(inflate(client.frame()))["data"][0] for _ in range(20)]
        numbers = [int(row["trade_id"]) for row in found]
        assert numbers == list(range(numbers[0], numbers[0] + 20))
        assert [row["qty"] for row in found] == [str(n) for n in numbers]
        ledger = httpx.get(f"{where['http']}/_control").json()["ledger"]
        assert ledger["issued"][future] >= numbers[-1]
        assert running.stdin is not None
        output(running.stdin).close()
        assert running.wait(10) == 0
