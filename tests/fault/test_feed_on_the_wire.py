"""A whole feed on real sockets with a real spool: what the scripted venue does to it is found in the spool."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loguru import logger

from recorder.capture.backoff import Backoff
from recorder.capture.feed import Feed, FeedParts
from recorder.capture.feedstate import FeedState
from recorder.capture.heartbeat import Heartbeats
from recorder.capture.spool import Spool
from recorder.capture.spoolreader import SpoolReader
from recorder.config import Secret, Source
from recorder.observe.health import Beats
from recorder.observe.metrics import Metrics
from recorder.quality.continuity import Continuity
from recorder.records import Alive, Closed, Decoded, Failed, Header, Kind, Opened, Streams, decode_control
from recorder.venues import Continuity as Proof
from recorder.venues import Heartbeat, Limits, Line, Subscription
from tests.fault.gateway import Gateway, Manners
from tests.fault.process import until
from tests.fault.venue import PING, PONG, Peer, Venue, close_frame, frame
from tests.unit.feedrig import CODES, Toy


class Recorded:
    """A running feed and everything that it needs."""

    def __init__(self, root: Path, url: str, heartbeat: Heartbeat, proxy: str = "") -> None:
        self.root = root
        self.streams = Streams()
        self.metrics = Metrics({"toy": ["trades"]}, {"toy": [code.code for code in CODES]})
        self.beats = Beats()
        self.heartbeats = Heartbeats(self.beats)
        self.faults: list[BaseException] = []
        self.spool = Spool(root, Header("id", "toy/public/0", "toy", "toy", "/ws", {}))
        items: queue.Queue[Decoded] = queue.Queue()
        state = FeedState(
            "toy/public/0", "toy", self.spool.run, items, lambda: 1 << 20, self.metrics.queue_overflows("toy")
        )
        venue = Toy(Limits())
        venue.heartbeat = heartbeat
        parts = FeedParts(
            self.spool,
            state,
            venue.decoder(self.spool.header, self.streams),
            Continuity(self.streams, lambda stream: Proof.NUMBERED),
            self.heartbeats,
            self.metrics,
            self.beats,
            self.streams,
        )
        source = Source(name="toy", venue="toy", endpoints=(url,), rest="", proxy=Secret(proxy) if proxy else None)
        line = Line("public/0", "/ws", (Subscription("trades", "A"),))
        self.feed = Feed("toy/public/0", source, venue, line, parts, self.faults.append)
        self.heartbeats.start()
        self.feed.start()

    def stop(self) -> float:
        """Stop the feed; how long that took."""
        begin = time.monotonic()
        self.feed.stop()
        self.feed.join(10)
        took = time.monotonic() - begin
        self.heartbeats.stop()
        self.heartbeats.join(5)
        self.spool.close()
        assert not self.feed.is_alive() and not self.faults
        return took

    def frames(self) -> list[tuple[Kind, bytes]]:
        """All frames in the spool."""
        reader, found, n = SpoolReader(self.root, "toy/public/0"), list[tuple[Kind, bytes]](), 0
        while (part := reader.read(self.spool.run, n, 1 << 20)).next > n:
            found += [(burst.kind, one) for burst in part.bursts for one in burst.frames]
            n = part.next
        return found

    def text(self) -> list[bytes]:
        """Frames with data."""
        return [one for kind, one in self.frames() if kind is Kind.TEXT and one.startswith(b"data")]

    def controls(self) -> list[object]:
        """Control records."""
        return [decode_control(one) for kind, one in self.frames() if kind is Kind.CONTROL]


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Callable[..., Recorded]]:
    """Starts feeds, and stops what a failing test leaves running."""
    running: list[Recorded] = []

    def start(url: str, heartbeat: Heartbeat | None = None, proxy: str = "") -> Recorded:
        running.append(Recorded(tmp_path, url, heartbeat or Heartbeat(b"ping", 20.0, 10.0, True), proxy))
        return running[-1]

    yield start
    for each in running:
        if each.feed.is_alive():
            each.stop()


def trade(n: int) -> bytes:
    """A message of the toy venue."""
    return b"data trades A %d %d" % (n, n)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconnect within milliseconds; how long the delays are is tested elsewhere."""
    monkeypatch.setattr(Backoff, "failed", lambda *_: 0.001)


def test_a_venue_that_goes_silent_in_the_middle_of_a_frame_is_left(record: Callable[..., Recorded]) -> None:
    """The heartbeat notices, the connection is left, the next one goes on; whole frames before the break are kept,
    the half one is not."""
    done = threading.Event()
    rounds = 0

    def script(peer: Peer) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            peer.accept(frame(trade(1)) + frame(b"x" * 1000)[:10])
            peer.hold()
        peer.accept(frame(trade(2)) + frame(b"", PING))
        while True:
            opcode, payload = peer.read()
            if opcode == PONG:
                done.set()
            elif payload == b"ping":
                peer.text(b"pong")

    with Venue(script) as venue:
        feed = record(venue.url, Heartbeat(b"ping", 0.2, 0.2, True))
        assert done.wait(10)
        feed.stop()
    assert feed.text() == [trade(1), trade(2)]
    closed = next(c for c in feed.controls() if isinstance(c, Closed))
    assert (closed.reason, closed.frames) == ("heartbeat", 1)
    assert feed.metrics.registry.get_sample_value("recorder_heartbeat_timeouts_total", {"source": "toy"}) == 1


def test_a_hundred_forced_reconnects_leave_one_of_everything(record: Callable[..., Recorded]) -> None:
    """EOF, RST and close frames by turns: one heartbeat schedule, no thread and no socket is left over, every message
    is in the spool once, and every connection's end has its reason."""
    done = threading.Event()
    rounds = 0

    def script(peer: Peer) -> None:
        nonlocal rounds
        rounds += 1
        n = rounds
        peer.accept()
        peer.read()
        peer.text(b"ok trades A", trade(n))
        if n > 100:
            done.set()
            peer.hold()
        peer.send(frame(b"", PING))
        while peer.read()[0] != PONG:
            pass
        if n % 3 == 0:
            peer.reset()
        elif n % 3 == 1:
            peer.send(close_frame(1012, "restart"))

    with Venue(script) as venue:
        feed = record(venue.url)
        assert done.wait(60)
        threads = threading.active_count() - sum(t.name.startswith("venue") for t in threading.enumerate())
        assert feed.heartbeats.schedules == 1
        assert threads <= 4
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        feed.stop()
        assert descriptors < 400
    assert feed.text() == [trade(n) for n in range(1, len(feed.text()) + 1)]
    assert len(feed.text()) >= 100
    reasons = [c.reason for c in feed.controls() if isinstance(c, Closed)]
    assert set(reasons[:-1]) == {"eof", "reset", "close"} and reasons[-1] == "shutdown"
    assert len(reasons) == len([c for c in feed.controls() if isinstance(c, Opened)]) == 101


def test_stop_while_the_venue_sends_flat_out_keeps_what_was_received(record: Callable[..., Recorded]) -> None:
    """Within two seconds, in order, without a hole up to where it stopped."""

    def script(peer: Peer) -> None:
        peer.accept()
        n = 0
        while not peer.over.is_set():
            peer.send(b"".join(frame(trade(i)) for i in range(n, n + 500)))
            n += 500

    with Venue(script) as venue:
        feed = record(venue.url)
        while feed.spool.next < 5000:
            time.sleep(0.01)
        took = feed.stop()
    assert took < 2
    kept = feed.text()
    assert kept == [trade(n) for n in range(len(kept))]
    assert len(kept) > 4900
    assert [c.reason for c in feed.controls() if isinstance(c, Closed)] == ["shutdown"]


def test_stop_while_the_venue_does_not_answer_the_handshake_is_quick(record: Callable[..., Recorded]) -> None:
    """Connecting may take 10 s; stopping may not."""
    asked = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        asked.set()
        peer.hold()

    with Venue(script) as venue:
        feed = record(venue.url)
        assert asked.wait(10)
        assert feed.stop() < 2
    assert [type(c) for c in feed.controls()] == [Alive, Alive]


@pytest.mark.parametrize(
    ("manners", "sentence"),
    [
        (None, "proxy unreachable: "),
        (Manners(password=True), "proxy refused: "),
        (Manners(), "venue unreachable through proxy: "),
    ],
)
def test_a_feed_says_what_is_wrong_with_its_proxy(
    record: Callable[..., Recorded], manners: Manners | None, sentence: str
) -> None:
    """Three sentences, the same in the event, the log and the trouble that `status` shows; no password in any."""
    lines: list[str] = []
    handler = logger.add(lines.append, format="{extra[reason]} {message}", filter=lambda r: "reason" in r["extra"])
    with Gateway("socks5h", manners or Manners()) as gateway:
        port = gateway.port if manners else 1
        recorded = record("ws://unknown.test", proxy=f"socks5h://user:s3cret-pwd-x@127.0.0.1:{port}")
        until(lambda: bool(recorded.feed.trouble and lines), 10, "a failed attempt")
        trouble = recorded.feed.trouble
        recorded.stop()
    logger.remove(handler)
    failed = next(each for each in recorded.controls() if isinstance(each, Failed))
    assert (failed.reason, failed.message[: len(sentence)]) == ("proxy", sentence)
    assert trouble.startswith(f"proxy: {sentence}")
    assert lines[0].startswith(f"proxy proxy: {sentence}")
    assert "s3cret" not in repr(failed) + trouble + "".join(lines)
