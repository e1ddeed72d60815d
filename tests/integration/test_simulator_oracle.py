"""Numbered trades, the flat-out sender, replay and the command: what other tests and users build on."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
import websockets.asyncio.client

from recorder.config import Source
from recorder.demo import TABLES
from recorder.listing import resolve
from recorder.records import Burst, Header, Kind, Stream, Streams, now_us
from recorder.simulator import faults
from recorder.simulator.clock import ManualClock, SystemClock
from recorder.simulator.okx.flood import FlatOut
from recorder.simulator.okx.replay import REPLAYED
from recorder.simulator.okx.venue import BUSINESS, NO_LIMITS, PUBLIC, OkxVenue
from recorder.simulator.oracle import Ledger, NumberedMarket, extend, trade_of
from recorder.simulator.replay import Replay
from recorder.simulator.server import Simulator, TickingVenue, demo_venues
from recorder.venues import venues
from tests.integration.simulated import BTC, Client, pushes, rest

ETH = "ETH-USDT"


@contextmanager
def numbered(rate: float = 2_000.0) -> Iterator[Simulator[OkxVenue]]:
    """Numbered trades on two symbols, on the test's clock."""
    clock = ManualClock()
    market = NumberedMarket([BTC, ETH], clock.wall_us(), rate=rate, depth=5)
    with Simulator(OkxVenue(market, rules=NO_LIMITS, clock=clock)) as one:
        yield one


def ids(messages: list[dict[str, object]], symbol: str) -> list[int]:
    """The ids of the trades of a symbol; every one has the payload that its id says."""
    found = []
    for message in pushes(messages, "trades"):
        (row,) = message["data"]
        if row["instId"] == symbol:
            assert (row["px"], row["sz"], row["side"]) == trade_of(int(row["tradeId"]))
            assert row["count"] == "1"
            found.append(int(row["tradeId"]))
    return found


def test_the_ledger_is_what_was_sent() -> None:
    """Whatever clients received, and nothing else, is in the ledger under their connection; issued ids go on."""
    with numbered(rate=500) as simulator:
        received = []
        for keys in ([("trades", BTC)], [("trades", BTC), ("trades", ETH)]):
            with Client(simulator) as client:
                messages = client.subscribe(*keys)
                for _ in range(3):
                    simulator.advance(1)
                    simulator.fault(faults.Skip(symbol=BTC, count=2))
                messages += client.drain()
                received.append({symbol: ids(messages, symbol) for _, symbol in keys})
            assert simulator.wait(lambda one: not one.sessions)
            simulator.advance(2)
        ledger: Ledger = simulator.call(simulator.venue.ledger)
        assert ledger.issued == {BTC: 5_000, ETH: 5_000}
        pages = sorted(ledger.connections.values(), key=lambda page: page.opened)
        for page, seen in zip(pages, received, strict=True):
            assert page.closed > page.opened
            for symbol, numbers in seen.items():
                ranges: list[tuple[int, int]] = []
                for number in numbers:
                    extend(ranges, number, number)
                assert page.sent[symbol] == ranges
        skipped = [n for first, last in ledger.skipped[BTC] for n in range(first, last + 1)]
        assert len(skipped) == 12
        assert not {n for seen in received for n in seen[BTC]} & set(skipped)
        assert simulator.call(lambda: simulator.venue.issued_before(BTC, simulator.venue.clock.wall_us())) == 4_999


def test_numbered_history_is_complete() -> None:
    """REST pages numbered trades back to the first, with the payload that their ids say."""
    with numbered() as simulator:
        simulator.advance(0.15)
        seen = rest(simulator, "market/trades", instId=ETH, limit=500)
        while len(page := rest(simulator, "market/history-trades", instId=ETH, after=seen[-1]["tradeId"])) > 0:
            seen += page
    assert [int(row["tradeId"]) for row in seen] == list(range(300, 0, -1))
    assert all((row["px"], row["sz"], row["side"]) == trade_of(int(row["tradeId"])) for row in seen)


@pytest.mark.parametrize("tls", [False, True])
def test_flat_out(tmp_path: Path, tls: bool) -> None:
    """The flat-out sender numbers without a hole while it is read, waits while it is not, and answers heartbeats."""
    clock = SystemClock()
    market = NumberedMarket([BTC], clock.wall_us(), rate=0, depth=5)
    venue = FlatOut(market, rules=NO_LIMITS, clock=clock)
    with Simulator(venue, tls=tmp_path if tls else None) as simulator, Client(simulator) as client:
        client.ask("subscribe", ("trades", BTC))
        assert json.loads(client.ws.recv())["event"] == "subscribe"
        texts: list[str] = []
        while len(texts) < 5_000:
            client.ws.send("ping")
            texts += (str(text) for text in iter(client.ws.recv, "pong"))
        numbers = ids([json.loads(text) for text in texts], BTC)
        assert numbers == list(range(1, len(numbers) + 1))
        assert simulator.wait(lambda one: all(link.paused for link in one.sessions))


def test_a_client_of_another_make(tmp_path: Path) -> None:
    """`websockets`, which offers compression, connects over TLS, reads and closes in order."""
    clock = ManualClock()
    market = NumberedMarket([BTC], clock.wall_us(), rate=10, depth=5)
    with Simulator(OkxVenue(market, rules=NO_LIMITS, clock=clock), tls=tmp_path) as simulator:
        context = ssl.create_default_context(cafile=str(simulator.ca_file))

        async def talk() -> list[str]:
            async with websockets.asyncio.client.connect(simulator.ws_url + PUBLIC, ssl=context) as ws:
                await ws.send(json.dumps({"op": "subscribe", "args": [{"channel": "tickers", "instId": BTC}]}))
                texts = [str(await ws.recv()), str(await ws.recv())]
                await ws.send("ping")
                return [*texts, str(await ws.recv())]

        ack, data, pong = asyncio.run(talk())
        assert (json.loads(ack)["event"], json.loads(data)["arg"]["channel"], pong) == ("subscribe", "tickers", "pong")
        assert simulator.wait(lambda one: not one.sessions)


# --- replay ----------------------------------------------------------------------------------------------------------


def recording(path: Path, gap: float = 0.0, count: int = 500) -> tuple[Path, list[bytes]]:
    """A file with text and binary frames between what a client sent; and the frames."""
    frames, lines = [], []
    for n in range(count):
        text = f'{{"n":{n},"padding":"{"é" * (n % 300)}"}}'
        lines.append({"t": n * gap, "dir": "send", "raw": "x"})
        if n % 7:
            frames.append(text.encode())
            lines.append({"t": n * gap, "dir": "recv", "raw": text})
        else:
            frames.append(b"\x00\xff" + text.encode())
            lines.append({"t": n * gap, "dir": "recv", "raw": text, "b64": base64.b64encode(frames[-1]).decode()})
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path, frames


def play(client: Client, count: int) -> list[bytes]:
    """Subscribe to anything and read so many frames."""
    client.ws.send('{"op":"subscribe","args":[]}')
    return [client.ws.recv_data()[1] for _ in range(count)]


def test_replay_equals_the_file(tmp_path: Path) -> None:
    """Every received frame of a recording is served once, in order and byte for byte, to whoever subscribes."""
    file, frames = recording(tmp_path / "r.jsonl")
    with Simulator(Replay([file, file])) as simulator, Client(simulator, "/any/path") as client:
        assert client.drain() == []
        assert not simulator.venue.played.is_set()
        assert play(client, 2 * len(frames)) == frames * 2
        assert simulator.venue.played.wait(10)
        assert client.drain() == []
        with Client(simulator) as again:
            assert play(again, len(frames)) == frames


def test_replay_on_one_path(tmp_path: Path) -> None:
    """A client that opens a business connection too gets the frames once; with `once` so does one that comes back."""
    file, frames = recording(tmp_path / "r.jsonl", count=20)
    with Simulator(Replay([file], dialect=REPLAYED, once=True)) as simulator:
        with Client(simulator, BUSINESS) as business:
            assert not play(business, 0) and not business.drain()
        with Client(simulator) as client:
            assert play(client, len(frames)) == frames
        with Client(simulator) as again:
            assert not play(again, 0) and not again.drain()


def test_replay_as_recorded(tmp_path: Path) -> None:
    """Paced, the last frame comes when it came, or sooner by the factor asked for."""
    file, frames = recording(tmp_path / "r.jsonl", gap=0.05, count=21)
    with Simulator(Replay([file], speed=4.0)) as simulator, Client(simulator) as client:
        began = time.monotonic()
        assert play(client, len(frames)) == frames
        assert time.monotonic() - began >= 0.25


def test_replay_to_a_slow_reader(tmp_path: Path) -> None:
    """A client that reads slowly is waited for, not thrown out, though the recording is larger than any buffer."""
    text = "x" * 100_000
    file = tmp_path / "large.jsonl"
    file.write_text("\n".join(json.dumps({"t": None, "dir": "recv", "raw": text}) for _ in range(400)))
    with Simulator(Replay([file])) as simulator, Client(simulator) as client:
        client.ws.send("go")
        assert simulator.wait(lambda one: bool(one.plays))
        assert not simulator.venue.played.is_set()
        assert all(client.ws.recv_data()[1] == text.encode() for _ in range(400))
        assert simulator.venue.played.wait(10)


# --- the command, and a process of its own ---------------------------------------------------------------------------


def launch(*arguments: str) -> subprocess.Popen[str]:
    """Python with these arguments, from the repository's root."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *arguments], cwd=root, env=environment, text=True, **pipes)  # type: ignore[call-overload,no-any-return]


SERVE = (
    "import sys; from recorder.simulator.server import serve;sys.exit(serve(['okx'], '127.0.0.1', 0, {tls}, 100.0, []))"
)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_until_a_signal(tls: bool, number: signal.Signals) -> None:
    """`serve` prints name, WebSocket and HTTP URL as soon as it serves, and ends with 0 on a signal."""
    with launch("-c", SERVE.format(tls=tls)) as process:
        assert process.stdout is not None and process.stderr is not None
        name, ws, http = process.stdout.readline().split()
        ca = process.stderr.readline().split()[-1] if tls else ""
        schemes = ("wss", "https") if tls else ("ws", "http")
        assert (name, ws.split(":")[0], http.split(":")[0]) == ("okx", *schemes)
        verify = ssl.create_default_context(cafile=ca) if tls else True
        answer = httpx.get(f"{http}/api/v5/public/instruments?instType=SPOT", verify=verify)
        assert len(answer.json()["data"]) == 3
        process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""
        assert not ca or not Path(ca).exists()


def test_a_process_of_its_own(tmp_path: Path) -> None:
    """The oracle as a process says where it is, goes on numbering, and ends with its standard input."""
    with launch("-m", "recorder.simulator", "--rate", "1000", "--tls", str(tmp_path)) as process:
        assert process.stdout is not None and process.stdin is not None
        where = json.loads(process.stdout.readline())
        with httpx.Client(verify=ssl.create_default_context(cafile=where["ca"])) as http:
            first, second = (http.get(f"{where['http']}/_control").json()["ledger"]["issued"][BTC] for _ in range(2))
        assert second >= first > 0
        process.stdin.close()
        assert process.wait(10) == 0


def test_the_demo_has_something_for_every_table() -> None:
    """The demo's venues bring something on every stream of the demo's sources, by pattern or by name, to a client that
    asks as a recorder does."""
    tables: set[str] = set()
    for venue, sources in demo_venues():
        with Simulator(venue) as simulator:
            for source in sources:
                tables |= _brought(simulator, _listed(simulator, source))
    assert tables == set(TABLES)


def _listed(simulator: Simulator[TickingVenue], source: Source) -> Source:
    """The source with the symbols that its patterns mean."""
    listing = venues()[source.venue].listing
    asks = listing.asks if listing is not None else ()
    answers = [httpx.get(simulator.http_url + ask.path, params=dict(ask.params)).content for ask in asks]
    found = [symbol for body in answers if listing for symbol in listing.alive(listing.read(body))]
    return resolve(source, found)


def _brought(simulator: Simulator[TickingVenue], source: Source) -> set[str]:
    """The tables that a source fills, once each of its streams has brought something."""
    venue, tables = venues()[source.venue], set()
    for line in venue.lines(source):
        streams = Streams()
        decoder = venue.decoder(
            Header("", f"{source.name}/{line.name}", source.name, venue.name, line.path, {}), streams
        )
        wanted = {Stream(source.name, each.channel, each.symbol) for each in line.subscriptions}
        with Client(simulator, f"{line.path}?{urlencode(line.query)}") as client:
            for request in venue.subscribe(line.subscriptions):
                client.ws.send(request.payload)
            while wanted:
                decoded = decoder.decode(Burst(0, now_us(), Kind.TEXT, [str(client.ws.recv()).encode()]))
                wanted -= {streams[number] for rows in decoded.tables.values() for number in rows.streams}
                tables |= {name for name, rows in decoded.tables.items() if rows.streams}
    return tables
