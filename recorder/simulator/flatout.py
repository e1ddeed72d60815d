"""A venue that only sends, as fast as it can or at a steady rate: the load of the benchmark, in its own process.

Owns one connection at a time, in one thread: finished frames are pushed into the TLS socket in large pieces, so
that the sender costs a fraction of the receiver. Speaks just enough of the protocol to be taken for a venue:
handshake, one acknowledgement per subscription, `pong`. Never draws on a market: prices repeat, ids run on.

`python -m recorder.simulator.flatout DIRECTORY [--plain]` prints {"port": …, "certificate": …}, then reads orders
from standard input, one JSON object a line, and answers each with one:
{"prepare": N, "mix": "trades"}  make N messages ready (once a connection is subscribed) -> {"prepared": bytes}
{"go": frames per send}          send what was prepared, flat out -> {"sent": N, "seconds": s}
{"pace": rate, "seconds": s, "mix": …}  send one by one at that rate -> {"sent": N, "seconds": s, "late": worst}
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recorder.simulator.selfsigned import self_signed
from recorder.simulator.wire import frame

VENUE = "okx"  # whose protocol this speaks
SYMBOLS = tuple(f"S{n:02d}-USDT" for n in range(10))
# Shares of the mix that all figures of the past were taken with: 50 % trades, 30 % books, 20 % tickers.
# One message in a hundred of the last one cannot be stored.
MIXES = {"trades": "t", "mix": "tbtbttbtkk", "poisoned": "t" * 50 + "x" + "t" * 49}
CHANNELS = {"t": "trades", "b": "books", "k": "tickers"}
LEVELS = 10  # a side; 20-level updates are what books pushes on a lively instrument
LISTEN_POLL = 0.05  # seconds between two looks at what the client says while we are sending


def stored(mix: str, count: int) -> int:
    """How many of `count` messages are rows; `count` is a multiple of the mix's length."""
    return count - count // len(MIXES[mix]) * MIXES[mix].count("x")


class Traffic:
    """Messages without end: trade ids and book chains of every symbol run on over all orders."""

    def __init__(self, symbols: tuple[str, ...] = SYMBOLS) -> None:
        self._symbols = symbols
        self._n = 0
        self._ids = dict.fromkeys(symbols, 1_000_000_000)
        self._seqs = dict.fromkeys(symbols, 0)

    def channels(self, mix: str) -> list[str]:
        """The channels that a mix sends on."""
        return [CHANNELS[kind] for kind in CHANNELS if kind in MIXES[mix]]

    def message(self, mix: str, now_ms: int) -> bytes:
        """The next message."""
        kinds = MIXES[mix]
        n, self._n = self._n, self._n + 1
        symbol = self._symbols[n // len(kinds) % len(self._symbols)]
        match kinds[n % len(kinds)]:
            case "t":
                return self._trade(symbol, n, now_ms)
            case "b":
                return self._book(symbol, n, now_ms)
            case "k":
                return _ticker(symbol, n, now_ms)
            case _:
                return self._trade(symbol, n, now_ms).replace(b'"px":"', b'"px":"NaN')

    def _trade(self, symbol: str, n: int, now_ms: int) -> bytes:
        self._ids[symbol] += 1
        side = "buy" if n % 2 else "sell"
        return (
            f'{{"arg":{{"channel":"trades","instId":"{symbol}"}},"data":[{{"instId":"{symbol}",'
            f'"tradeId":"{self._ids[symbol]}","px":"{42000 + n % 1000}.{n % 10}","sz":"0.{n % 100_000_000:08d}",'
            f'"side":"{side}","ts":"{now_ms}","count":"1","source":"0","seqId":{n + 1}}}]}}'
        ).encode()

    def _book(self, symbol: str, n: int, now_ms: int) -> bytes:
        before = self._seqs[symbol]
        after = self._seqs[symbol] = before + 1 + n % 7
        action, previous = ("update", before) if before else ("snapshot", -1)
        return (
            f'{{"arg":{{"channel":"books","instId":"{symbol}"}},"action":"{action}","data":[{{'
            f'"asks":{_levels(n, 42000, 1)},"bids":{_levels(n, 41999, -1)},"ts":"{now_ms}",'
            f'"checksum":0,"prevSeqId":{previous},"seqId":{after}}}]}}'
        ).encode()


def _levels(n: int, price: int, step: int) -> str:
    rows = (f'["{price + step * i}.{n % 10}","{n % 97 + i}.0{i}23","0","{i + 1}"]' for i in range(LEVELS))
    return f"[{','.join(rows)}]"


def _ticker(symbol: str, n: int, now_ms: int) -> bytes:
    p = 42000 + n % 1000
    return (
        f'{{"arg":{{"channel":"tickers","instId":"{symbol}"}},"data":[{{"instType":"SPOT","instId":"{symbol}",'
        f'"last":"{p}.1","lastSz":"0.00{n % 9 + 1}","askPx":"{p}.2","askSz":"1.{n % 1000:03d}","bidPx":"{p}.1",'
        f'"bidSz":"2.5","open24h":"41000.5","high24h":"43100","low24h":"40990.1","volCcy24h":"181818181.12",'
        f'"vol24h":"4321.{n % 1000:03d}","ts":"{now_ms}","sodUtc0":"41500","sodUtc8":"41600"}}]}}'
    ).encode()


class Client:
    """The one connection: TLS, the opening handshake, and what the client asks for."""

    def __init__(self, sock: socket.socket) -> None:
        from websockets.server import ServerProtocol

        self._sock = sock
        self._protocol = ServerProtocol()
        self.subscribed: set[str] = set()
        self._heard = time.monotonic()

    def wait_subscribed(self, channels: set[str]) -> None:
        """Until everything that is to be sent was asked for, by every symbol."""
        wanted = {f"{channel} {symbol}" for channel in channels for symbol in SYMBOLS}
        while not wanted <= self.subscribed:
            self.listen(1.0)

    def send(self, data: bytes) -> None:
        """Finished frames, after a look at what the client says when the last one was a while ago."""
        if time.monotonic() - self._heard > LISTEN_POLL:
            self.listen(0.0)
        self._sock.sendall(data)

    def listen(self, timeout: float) -> None:
        """Hear the client out, waiting at most `timeout` for it to begin."""
        self._heard = time.monotonic()
        while self._readable(timeout):
            timeout = 0.0
            data = self._sock.recv(65536)
            if not data:
                raise ConnectionError("the recorder closed the connection")
            self._protocol.receive_data(data)
            for event in self._protocol.events_received():
                self._hear(event)
            for answer in self._protocol.data_to_send():
                self._sock.sendall(answer)

    def _readable(self, timeout: float) -> bool:
        if isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
            return True
        return bool(select.select([self._sock], [], [], timeout)[0])

    def _hear(self, event: Any) -> None:
        from websockets.http11 import Request

        if isinstance(event, Request):
            self._protocol.send_response(self._protocol.accept(event))
        elif event.opcode == event.opcode.TEXT:
            self._text(bytes(event.data))

    def _text(self, text: bytes) -> None:
        if text == b"ping":
            self._sock.sendall(frame(b"pong"))
            return
        request = json.loads(text)
        for arg in request.get("args", ()):
            answer = {"event": request["op"], "arg": arg, "connId": "a4d3ae55"}
            answer |= {"id": request["id"]} if "id" in request else {}
            self._sock.sendall(frame(json.dumps(answer, separators=(",", ":")).encode()))
            self.subscribed.add(f"{arg['channel']} {arg.get('instId', '')}")


class Sender:
    """Carries out the orders on one client after the other."""

    def __init__(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        self._listener = listener
        self._context = context
        self._traffic = Traffic()
        self._client: Client | None = None
        self._prepared: list[bytes] = []

    def order(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry out one order."""
        if "prepare" in order:
            return self._prepare(order["prepare"], order["mix"])
        if "go" in order:
            return self._go(order["go"])
        return self._pace(order["pace"], order["seconds"], order["mix"])

    def idle(self) -> None:
        """Between two orders: hear the client out. It may go; the next one begins with a subscription again."""
        try:
            if self._client is not None:
                self._client.listen(0.0)
        except OSError:
            self._client = None

    def _accept(self, mix: str) -> Client:
        self.idle()
        if self._client is None:
            sock, _ = self._listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._client = Client(self._context.wrap_socket(sock, server_side=True) if self._context else sock)
        self._client.wait_subscribed(set(self._traffic.channels(mix)))
        return self._client

    def _prepare(self, count: int, mix: str) -> dict[str, Any]:
        self._accept(mix)
        now = time.time_ns() // 1_000_000
        self._prepared = [frame(self._traffic.message(mix, now)) for _ in range(count)]
        return {"prepared": sum(map(len, self._prepared))}

    def _go(self, frames_per_send: int) -> dict[str, Any]:
        client, messages = self._open(), self._prepared
        blocks = _blocks(messages, frames_per_send)
        started = time.monotonic()
        for block in blocks:
            client.send(block)
        self._prepared = []
        return {"sent": len(messages), "seconds": time.monotonic() - started}

    def _pace(self, rate: float, seconds: float, mix: str) -> dict[str, Any]:
        client = self._accept(mix)
        total, sent, late = int(rate * seconds), 0, 0.0
        started = time.monotonic()
        while sent < total:
            ahead = started + sent / rate - time.monotonic()
            if ahead > 0:
                client.listen(ahead)
                continue
            late = max(late, -ahead)
            client.send(frame(self._traffic.message(mix, time.time_ns() // 1_000_000)))
            sent += 1
        return {"sent": sent, "seconds": time.monotonic() - started, "late": late}

    def _open(self) -> Client:
        if self._client is None:
            raise ConnectionError("nobody is connected")
        return self._client


def _blocks(messages: list[bytes], frames: int) -> list[bytes]:
    """Made before the clock runs: joining is not part of what is measured."""
    return [b"".join(messages[at : at + frames]) for at in range(0, len(messages), frames)]


def _orders(sender: Sender) -> Iterator[dict[str, Any]]:
    """Orders as they come; the client is heard out while none comes."""
    while True:
        while not select.select([sys.stdin], [], [], 1.0)[0]:
            sender.idle()
        line = sys.stdin.readline()
        if not line:
            return
        yield json.loads(line)


def main(arguments: list[str]) -> int:
    """Serve until standard input ends."""
    context, certificate = None, ""
    if "--plain" not in arguments:
        cert, key = self_signed(Path(arguments[0]))
        context, certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), str(cert)
        context.load_cert_chain(cert, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = Sender(listener, context)
        _say({"port": listener.getsockname()[1], "certificate": certificate})
        for order in _orders(sender):
            try:
                _say(sender.order(order))
            except OSError as error:
                _say({"error": str(error)})
                return 1
    return 0


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
