"""Recordings of Infoway served again: exactly the recorded frames, to a client that asks as the venue wants it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recorder.simulator.infoway.replay import REPLAYED
from recorder.simulator.infoway.text import GREETING, WELCOME
from recorder.simulator.replay import Replay
from recorder.simulator.server import DIALECTS, VENUES, Simulator
from tests import samples
from tests.integration.infowayclient import BTC, Client, codes, rest
from tests.integration.socketclient import output, program

PUSH = '{"code":10002,"data":{"p":"1","s":"BTCUSDT","t":1,"td":1,"v":"2","vw":"2"}}'


def recording(path: Path, *received: bytes | str) -> Path:
    """A file of these frames, after what a client sent."""
    texts = [text if isinstance(text, str) else text.decode() for text in received]
    lines = [{"t": 1.0, "dir": "meta", "raw": "", "note": "open"}, {"t": 1.0, "dir": "send", "raw": "{}"}]
    lines += [{"t": 1.0, "dir": "recv", "raw": text} for text in texts]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


def test_what_came_unasked_comes_unasked(tmp_path: Path) -> None:
    """Greeting and welcome come at once, the rest on a subscription, which is acknowledged with its own trace; neither
    a heartbeat nor nonsense begins it."""
    file = recording(tmp_path / "r.jsonl", GREETING, WELCOME, '{"code":10001,"trace":"old","msg":"ok"}', PUSH)
    with Simulator(Replay([file], dialect=REPLAYED)) as simulator, Client(simulator, "stock") as client:
        assert client.texts() == [GREETING.decode(), WELCOME.decode()]
        client.ask(10010)
        assert client.texts() == []
        client.ask(99999, {})
        assert [m["code"] for m in client.drain()] == [506]
        trace = client.ask(10000, codes(BTC))
        assert simulator.venue.played.wait(10)
        mine, old, push = client.texts()
        assert json.loads(mine) == {"code": 10001, "trace": trace, "msg": "ok"}
        assert (json.loads(old)["trace"], push) == ("old", PUSH)


@pytest.mark.parametrize(
    "name",
    ["crypto_depth.jsonl", "crypto_kline.jsonl", "crypto_trade_part1.jsonl", "stock_trade_closed.jsonl"],
)
def test_recorded_frames(name: str) -> None:
    """Every recorded frame is served once, in order and byte for byte."""
    file = samples.need("infoway") / name
    with Simulator(Replay([file], dialect=REPLAYED)) as simulator, Client(simulator) as client:
        found = client.texts()
        client.ask(10000, codes(BTC))
        assert simulator.venue.played.wait(10)
        found += client.texts()[1:]
    assert [text.encode() for text in found] == samples.received("infoway", name)


def test_recorded_answers() -> None:
    """REST answers that were recorded under a name are found under their path, and are no frames."""
    file = samples.need("infoway") / "rest_responses.jsonl"
    with Simulator(Replay([file], dialect=REPLAYED)) as simulator:
        assert simulator.venue.recording.frames == ()
        days = rest(simulator, "/common/basic/markets/trading_days?market=US").json()
        assert len(days["data"]["trade_days"]) == 21
        bars = rest(simulator, "/crypto/v2/batch_kline", {"codes": BTC}).json()
        assert bars["data"][0]["s"] == BTC
        assert rest(simulator, "/common/basic/symbols?type=CRYPTO").status_code == 404


def test_every_venue_is_served_and_replayed() -> None:
    """What can be simulated can be replayed."""
    assert DIALECTS.keys() == VENUES.keys() == {"okx", "infoway", "okex_v1", "okex_v3"}


SERVE = (
    "import sys; from recorder.simulator.server import serve; sys.exit(serve(['infoway'], '127.0.0.1', 0, False, {}))"
)


@pytest.mark.parametrize("replayed", [False, True])
def test_the_command(tmp_path: Path, replayed: bool) -> None:
    """`simulate --venue infoway` says where it is and serves, a market or a recording."""
    file = recording(tmp_path / "r.jsonl", WELCOME, PUSH)
    replay = f"100.0, [__import__('pathlib').Path({str(file)!r})]" if replayed else "100.0, []"
    with program("-c", SERVE.format(replay)) as (line, process):
        name, ws, http = line.split()
        assert (name, ws.partition(":")[2]) == ("infoway", http.partition(":")[2])

        class Served:
            """What the client needs of a simulator."""

            ws_url, http_url = ws, http

        with Client(Served()) as client:  # type: ignore[arg-type]
            assert client.texts() == [WELCOME.decode()]
            client.ask(10003 if not replayed else 10000, codes(BTC))
            assert json.loads(client.ws.recv())["msg"] == "ok"
            assert json.loads(client.ws.recv())["data"]["s"] == BTC
        process.terminate()
        assert process.wait(10) == 0
        assert output(process.stderr).read() == ""


def test_a_process_of_its_own() -> None:
    """The oracle speaks this protocol, too, and ends with its standard input."""
    with program("-m", "recorder.simulator", "--venue", "infoway", "--rate", "500") as (line, process):
        where = json.loads(line)

        class Served:
            """What the client needs of a simulator."""

            ws_url, http_url = where["ws"], where["http"]

        with Client(Served()) as client:  # type: ignore[arg-type]
            client.texts()
            client.ask(10000, codes(BTC))
            assert json.loads(client.ws.recv())["code"] == 10001
            volumes = [int(json.loads(client.ws.recv())["data"]["v"]) for _ in range(20)]
            assert volumes == list(range(volumes[0], volumes[0] + 20))
        output(process.stdin).close()
        assert process.wait(10) == 0
