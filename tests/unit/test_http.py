"""The HTTP port: what each path says, and that clients can neither hold it up nor make it talk."""

import base64
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from recorder.errors import ConfigError
from recorder.observe import events, http
from recorder.observe.events import Events
from recorder.observe.health import Beats
from recorder.observe.http import HttpServer, Pages, parse_listen
from recorder.observe.metrics import Metrics
from recorder.observe.report import FeedReport, Report, Status
from recorder.records import Streams


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Daemon:
    """A status that a test writes."""

    def __init__(self) -> None:
        self.says = Report(version="1")

    def report(self) -> Report:
        return self.says


class Broken:
    """A status that fails."""

    def report(self) -> Report:
        raise RuntimeError("the daemon has a bug")


def pages(metrics: Metrics, status: Status, beats: Beats) -> Pages:
    """The pages of a recorder with one source and no feeds."""
    return Pages(metrics, status, beats, Events(Streams(), metrics, lambda: {"alpha": {"trades"}}))


class Port:
    """A server on a free port with everything that a test wants to touch."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics({"alpha": ["trades"]})
        self.daemon = Daemon()
        self.beats = Beats(self.clock)
        self.server = HttpServer(
            "127.0.0.1:0", pages(self.metrics, self.daemon, self.beats), self.beats, clock=self.clock
        )

    def get(self, path: str, **headers: str) -> httpx.Response:
        host, port = self.server.address
        with httpx.Client(trust_env=False) as client:
            return client.get(f"http://{host}:{port}{path}", headers=headers)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.server.address, timeout=20)


@pytest.fixture
def port() -> Iterator[Port]:
    port = Port()
    port.server.start()
    yield port
    port.server.stop()


def test_metrics_page(port: Port) -> None:
    """A scrape gives the text format, with what was counted."""
    port.metrics.messages_received("alpha", "trades").inc(3)
    answer = port.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'recorder_messages_received_total{channel="trades",source="alpha"} 3.0' in answer.text


def test_openmetrics_is_offered(port: Port) -> None:
    """Prometheus asks for OpenMetrics and gets it."""
    answer = port.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_healthz_names_the_stuck_thread(port: Port) -> None:
    """Healthy is: every thread beat recently. Otherwise 503, and which one, and for how long."""
    port.beats.register("writer")
    port.beats.register("feed:alpha/public/0")
    assert port.get("/healthz").text == "ok\n"
    port.clock.now += 41
    port.beats.beat("feed:alpha/public/0")
    port.beats.beat("http")
    answer = port.get("/healthz")
    assert answer.status_code == 503
    assert answer.text == "thread writer has not moved for 41 s\n"


def test_a_lost_database_is_no_reason_to_be_killed(port: Port) -> None:
    """/healthz speaks of threads only: an orchestrator must not restart a recorder that is busy spooling."""
    port.daemon.says = Report(version="1", database="connection refused")
    assert port.get("/healthz").status_code == 200
    assert port.get("/readyz").status_code == 503


def test_readyz_says_why_not(port: Port) -> None:
    """Every reason has its line; a feed that is only drained from the spool is none."""
    port.daemon.says = Report(
        version="1",
        database="its schema is older than this recorder; run `recorder migrate`",
        fenced="another recorder has taken over the positions",
        feeds=(
            FeedReport("a/public/0", "a", connected=True, shedding="the disk is full: what comes in is shed"),
            FeedReport("a/public/1", "a", connected=False, trouble="certificate has expired"),
            FeedReport("b/public/0", "b", connected=False, parked=True, trouble="bad key"),
            FeedReport("gone/public/0", "gone", connected=False, draining=True),
        ),
    )
    assert port.get("/readyz").text.splitlines() == [
        "database: its schema is older than this recorder; run `recorder migrate`",
        "fenced: another recorder has taken over the positions",
        "feed a/public/0: the disk is full: what comes in is shed",
        "feed a/public/1: not connected (certificate has expired)",
        "feed b/public/0: parked, probing from time to time (bad key)",
    ]


def test_a_venue_cannot_write_lines(port: Port) -> None:
    """Words of a venue inside a reason stay on its line."""
    feed = FeedReport("a/public/0", "a", connected=False, trouble="bye\n\x1b[31mok\r\n")
    port.daemon.says = Report(version="1", feeds=(feed,))
    assert port.get("/readyz").text == "feed a/public/0: not connected (bye\\n\\x1b[31mok\\r\\n)\n"


def test_status_is_json(port: Port) -> None:
    """/status carries the report as it is, and the verdict of /readyz."""
    feed = FeedReport("a/public/0", "a", connected=True, head=10, position=8, lag_seconds=0.25)
    port.daemon.says = Report(version="1", feeds=(feed,), notes=("refill is not yet effective",))
    status = json.loads(port.get("/status?pretty").content)
    assert status["ready"] is True
    assert status["feeds"][0] | {"head": 10, "position": 8, "lag_seconds": 0.25} == status["feeds"][0]
    assert status["notes"] == ["refill is not yet effective"]


def test_the_page_may_do_nothing_else(port: Port) -> None:
    """The status page is one file; its policy names the script and the style that are in it and nobody else."""
    answer = port.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert re.findall(rb"""(?:src|href)=["'](?!data:)([^"']*)""", answer.content) == [
        b"status",
        b"readyz",
        b"healthz",
        b"metrics",
        b"readyz",
    ]
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    script, style = (
        re.findall(rb"<%s>(.*?)</%s>" % (tag, tag), answer.content, re.DOTALL) for tag in (b"script", b"style")
    )
    for name, (text,) in (("script-src", script), ("style-src", style)):
        assert policy.pop(name) == f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"
    assert policy == {
        "default-src": "'none'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


def test_the_page_writes_text_only(port: Port) -> None:
    """Nothing in its script could make markup of a string."""
    banned = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|setTimeout\([\"']|createContextual"
    )
    assert re.findall(banned, port.get("/").text) == []


def test_listeners_have_places_of_their_own(port: Port) -> None:
    """However many listen, scrapes find room; one too many is told so; no deadline and no crowd ends a listener."""
    listeners = [port.connect() for _ in range(events.LISTENERS)]
    for client in listeners:
        client.sendall(b"GET /events HTTP/1.1\r\n\r\n")
        assert client.recv(1 << 16).startswith(b"HTTP/1.0 200 OK")
    full = port.get("/events")
    assert (full.status_code, full.text.partition(":")[0]) == (503, f"there are already {events.LISTENERS} listeners")
    assert f"recorder_events_clients {events.LISTENERS}.0" in port.get("/metrics").text
    port.clock.now += http.DEADLINE + 1
    crowd = [port.connect() for _ in range(http.SLOTS + 8)]
    assert port.get("/healthz").status_code == 200
    for client in listeners:
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            while client.recv(1 << 16):
                pass
    for client in crowd + listeners:
        client.close()


def test_a_listener_that_asks_wrongly_is_told(port: Port) -> None:
    """400 and a sentence; HEAD is answered without listening."""
    answer = port.get("/events?source=beta")
    assert (answer.status_code, answer.text) == (400, "unknown source 'beta': there is alpha\n")
    host, number = port.server.address
    with httpx.Client(trust_env=False) as client:
        head = client.head(f"http://{host}:{number}/events")
    assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


def test_unknown_paths_and_methods(port: Port) -> None:
    """What is not there is 404 with the paths that are; nothing can be written; HEAD has no body."""
    assert port.get("/admin").status_code == 404
    assert "/metrics" in port.get("/admin").text
    host, number = port.server.address
    with httpx.Client(trust_env=False, base_url=f"http://{host}:{number}") as client:
        assert client.post("/metrics").status_code == 501
        head = client.head("/healthz")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "3")


def test_a_page_that_fails_is_counted() -> None:
    """A bug in the daemon costs a 500, is counted, and takes nothing else down."""
    metrics, beats = Metrics(), Beats()
    server = HttpServer("127.0.0.1:0", pages(metrics, Broken(), beats), beats)
    server.start()
    try:
        url = "http://{}:{}".format(*server.address)
        assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 500
        assert "recorder_http_errors_total 1.0" in httpx.get(f"{url}/metrics", trust_env=False).text
    finally:
        server.stop()


def test_slow_loris_cannot_keep_scrapes_out(port: Port) -> None:
    """Clients that take every slot and never finish their request lose the oldest slot to the next scrape."""
    crowd = [port.connect() for _ in range(http.SLOTS + 8)]
    for client in crowd:
        client.sendall(b"GET /metrics HTTP/1.1\r\nX-Slow: ")
    assert port.get("/healthz").status_code == 200
    assert crowd[0].recv(1) == b""
    for client in crowd:
        client.close()


def test_dripping_clients_are_cut_off(port: Port) -> None:
    """A byte now and then does not extend the deadline of a request."""
    client = port.connect()
    client.sendall(b"GET /met")
    assert port.get("/healthz").status_code == 200  # the server has accepted the other one by now
    port.clock.now += http.DEADLINE + 1
    assert client.recv(1) == b""
    client.close()


def test_scrapes_do_not_wait_for_each_other(port: Port) -> None:
    """A scrape whose gauge blocks holds up nobody else."""
    entered, leave = threading.Event(), threading.Event()

    def stuck() -> float:
        entered.set()
        assert leave.wait(20)
        return 1

    port.metrics.watch("recorder_database_up", stuck)
    scrape = threading.Thread(target=port.get, args=("/metrics",))
    scrape.start()
    assert entered.wait(20)
    assert port.get("/healthz").status_code == 200
    leave.set()
    scrape.join()


def test_clients_that_vanish_leave_no_trace(port: Port, capfd: pytest.CaptureFixture[str]) -> None:
    """A client that resets its connection causes no traceback, and its slot is free again."""
    for _ in range(5):
        client = port.connect()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        client.close()
    assert port.get("/healthz").status_code == 200
    assert capfd.readouterr().err == ""


def test_a_taken_port_is_a_sentence() -> None:
    """The user learns which setting, which port and what to do; exit code 78."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        beats = Beats()
        with pytest.raises(ConfigError, match=rf"recorder\.listen: {listen} is in use") as caught:
            HttpServer(listen, pages(Metrics(), Daemon(), beats), beats)
    assert caught.value.exit_code == 78


def test_a_foreign_address_is_a_sentence() -> None:
    """An address that this machine does not have (TEST-NET-1) is said to be so."""
    beats = Beats()
    with pytest.raises(ConfigError, match="is not an address of this machine"):
        HttpServer("192.0.2.1:0", pages(Metrics(), Daemon(), beats), beats)


@pytest.mark.parametrize(
    ("listen", "address"),
    [("127.0.0.1:9464", ("127.0.0.1", 9464)), ("[::1]:80", ("::1", 80)), (":0", ("", 0))],
)
def test_listen(listen: str, address: tuple[str, int]) -> None:
    """Host and port, also of IPv6."""
    assert parse_listen(listen) == address


@pytest.mark.parametrize("listen", ["9464", "localhost", "localhost:http", "127.0.0.1:70000", "127.0.0.1:-1"])
def test_bad_listen(listen: str) -> None:
    """What is not host:port is refused with an example."""
    with pytest.raises(ConfigError, match=r"not host:port, such as 127\.0\.0\.1:9464"):
        parse_listen(listen)


def test_stop_frees_the_port() -> None:
    """After stop the port can be bound again at once, and the thread is gone."""
    port = Port()
    port.server.start()
    port.get("/healthz")
    address = port.server.address
    started = time.monotonic()
    port.server.stop()
    assert not port.server.thread.is_alive()
    assert "http" not in port.beats.ages()
    assert time.monotonic() - started < 5
    with socket.create_server(address):
        pass
