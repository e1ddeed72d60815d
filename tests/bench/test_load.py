"""The sender in its own process, as a client sees it."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import websocket

from recorder.bench.load import Load
from recorder.errors import RecorderError
from recorder.simulator.flatout import SYMBOLS


@contextmanager
def client(load: Load, channels: tuple[str, ...] = ("trades",)) -> Iterator[websocket.WebSocket]:
    """A connection that has subscribed to everything on these channels; acknowledgements are not read yet."""
    context = ssl.create_default_context(cafile=load.certificate)
    ws = websocket.create_connection(
        f"wss://127.0.0.1:{load.port}/ws/v5/public", sslopt={"context": context}, timeout=20
    )
    args = [{"channel": channel, "instId": symbol} for channel in channels for symbol in SYMBOLS]
    ws.send(json.dumps({"id": "7", "op": "subscribe", "args": args}))
    try:
        yield ws
    finally:
        ws.close(timeout=1)


@contextmanager
def prepared(load: Load, messages: int) -> Iterator[websocket.WebSocket]:
    """A client, and messages ready for it. The sender accepts only on an order, so the order has to go first."""
    order = threading.Thread(target=load.prepare, args=(messages, "trades"))
    order.start()
    with client(load) as ws:
        order.join()
        for _ in SYMBOLS:
            answer = json.loads(ws.recv())
            assert (answer["event"], answer["id"]) == ("subscribe", "7")
        yield ws


def ids(ws: websocket.WebSocket, count: int) -> list[tuple[str, int]]:
    """Symbol and trade id of the next messages."""
    data = [json.loads(ws.recv())["data"][0] for _ in range(count)]
    return [(d["instId"], int(d["tradeId"])) for d in data]


def test_everything_arrives_in_order(tmp_path: Path) -> None:
    """Every message that was prepared arrives once, ids running on over orders, flat out or paced."""
    with Load(tmp_path) as load, prepared(load, 500) as ws:
        load.begin(64)
        first = ids(ws, 500)
        assert load.end()["sent"] == 500
        assert first == [(SYMBOLS[n % 10], 1_000_000_001 + n // 10) for n in range(500)]
        answer: dict[str, float] = {}
        pace = threading.Thread(target=lambda: answer.update(load.pace(1000, 0.2, "trades")))
        pace.start()
        assert ids(ws, 200) == [(SYMBOLS[n % 10], 1_000_000_051 + n // 10) for n in range(200)]
        pace.join()
        assert answer["sent"] == 200
        assert answer["seconds"] >= 0.19


def test_pings_are_answered_between_orders(tmp_path: Path) -> None:
    """A recorder that waits for the next round must not take the connection for dead."""
    with Load(tmp_path) as load, prepared(load, 1) as ws:
        ws.send("ping")
        assert ws.recv() == "pong"


def test_the_next_client_begins_anew(tmp_path: Path) -> None:
    """When a client has left, the next order waits for a new one and its subscriptions."""
    with Load(tmp_path) as load:
        with prepared(load, 1):
            pass
        with prepared(load, 10) as ws:
            load.begin(1)
            assert len(ids(ws, 10)) == 10
            assert load.end()["sent"] == 10


def test_a_sender_that_fails_says_so(tmp_path: Path) -> None:
    """A connection lost in the middle ends the benchmark with a sentence, not with silence."""
    with Load(tmp_path) as load:
        with prepared(load, 200_000) as ws:
            ws.shutdown()  # type: ignore[no-untyped-call]
            load.begin(64)
        with pytest.raises(RecorderError, match="the benchmark's sender has failed"):
            load.end()
