"""Server-sent events on a socket: signs of life, an orderly end, and how a client that does not read is let go."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from recorder.observe import stream
from recorder.observe.events import BUFFER, Events
from recorder.observe.metrics import Metrics
from recorder.records import Decoded, Rows, Stream, Streams

AT = "2026-11-21 09:30:00.123456+00"


class Rig:
    """A listener served in a thread, and the client's end of its socket."""

    def __init__(self) -> None:
        self.now = 0.0
        self.streams = Streams()
        self.events = Events(self.streams, Metrics(), lambda: {"a": {"trades"}}, lambda: self.now)
        self.listener = self.events.open("")
        with socket.create_server(("127.0.0.1", 0)) as door:
            self.client = socket.socket()
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            self.client.connect(door.getsockname())
            self.server, _ = door.accept()
        self.client.settimeout(30)
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        with self.server:
            stream.serve(self.server, self.events, self.listener)

    def burst(self, records: int = 1) -> Decoded:
        """Prices of one stream."""
        number = self.streams.number(Stream("a", "trades", "X"))
        line = f"{AT}\t{AT}\ta\ttrades\tX\tmark\t1.10\n".encode()
        nothing = [None] * records
        rows = Rows(line * records, [number] * records, list(nothing), list(nothing), [0] * records, [0] * records)
        return Decoded("a/0", "1-a", 0, records, 0, {"reference_prices": rows})

    def read(self, until: Callable[[bytes], bool]) -> bytes:
        """What comes, until it is enough or the end."""
        text = b""
        while not until(text) and (more := self.client.recv(1 << 16)):
            text += more
        return text

    def overflow(self) -> None:
        """More than its buffer holds, while it reads nothing."""
        while not self.listener.dropped:
            self.events.passed(self.burst(500), True)


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(stream, "SEND_BUFFER", 4096)
    rig = Rig()
    yield rig
    rig.events.close()
    rig.client.close()
    assert gone(rig)


def gone(rig: Rig) -> bool:
    """Whether its thread has ended."""
    rig.thread.join(30)
    return not rig.thread.is_alive()


def test_it_says_hello_and_then_what_comes(rig: Rig) -> None:
    """A comment and the pause before a browser comes back; then events as they are."""
    rig.events.passed(rig.burst(2), True)
    text = rig.read(lambda text: text.count(b"data: ") == 2).decode()
    assert text.startswith(": ")
    assert "\nretry: 2000\n\nevent: reference_prices\nid: 1-a/0\ndata: {" in text
    assert text.endswith("}\n\n")


def test_a_quiet_stream_is_alive(rig: Rig) -> None:
    """Fifteen seconds after the last word a comment comes, and fifteen later the next."""
    rig.read(lambda text: text.endswith(b"retry: 2000\n\n"))
    for _ in range(2):
        rig.now += stream.HEARTBEAT
        assert rig.read(lambda text: text.endswith(b"\n\n")) == b": alive\n\n"


def test_a_slow_client_that_reads_on_learns_why(rig: Rig) -> None:
    """What it was in the middle of ends whole, the last event says that it was dropped, then comes the end."""
    rig.overflow()
    text = rig.read(lambda text: False)
    assert text.endswith(b"\n\n" + stream.SLOW)
    assert all(b"data: {" in block or block.startswith(b": ") for block in text.split(b"\n\n")[:-1])
    assert len(text) < 2 * BUFFER
    assert gone(rig)


def test_a_client_that_never_reads_is_let_go(rig: Rig) -> None:
    """After its last words' time nobody waits for it any more."""
    rig.overflow()
    ticking = threading.Event()
    while rig.thread.is_alive():
        rig.now += stream.LAST_WORDS
        ticking.wait(0.05)
        rig.thread.join(0.0)
    assert rig.listener.dropped


def test_a_client_that_leaves_frees_its_place(rig: Rig) -> None:
    """Within a second or so, though nothing is sent to it; that is no slowness."""
    rig.read(lambda text: text.endswith(b"retry: 2000\n\n"))
    rig.client.close()
    assert gone(rig)
    assert not rig.listener.dropped


def test_the_end_of_the_recorder_ends_it(rig: Rig) -> None:
    """Without a word: a browser comes back by itself."""
    rig.read(lambda text: text.endswith(b"retry: 2000\n\n"))
    rig.events.close()
    assert rig.client.recv(1) == b""
    assert gone(rig)
