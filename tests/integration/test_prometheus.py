"""The Prometheus that tests start scrapes, evaluates, and says what it holds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.fault.process import until
from tests.fixtures.prometheus import Prometheus, Refused, Target

RULES = """
groups:
  - name: test
    rules:
      - {record: "instance:water:max", expr: "max by (instance) (water)"}
      - {alert: Flood, expr: "water > 3", labels: {severity: critical}, annotations: {summary: "{{ $value }} m"}}
"""


class Gauge(BaseHTTPRequestHandler):
    """A target with one series."""

    water = 1.0

    def do_GET(self) -> None:
        """Its value now."""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(f"water {type(self).water}\n".encode())

    def log_message(self, *arguments: object) -> None:
        """Into no log."""


@pytest.fixture
def gauge() -> Iterator[str]:
    """Where the target is."""
    Gauge.water = 1.0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gauge)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_alert_comes_and_goes(gauge: str, start_prometheus: Callable[..., Prometheus], tmp_path: Path) -> None:
    """With its labels and annotations, under the instance that the test chose; what is wrong is said."""
    rules = tmp_path / "rules.yml"
    rules.write_text(RULES)
    server = start_prometheus(Target(gauge, instance="dam"), rules=[rules], scrape=0.2, evaluate=0.2)
    until(lambda: server.up() == {"dam": True}, 30, "it is scraped")
    until(lambda: [s.value for s in server.query("instance:water:max")] == [1], 30, "the rule is evaluated")
    assert server.alerts("") == []
    Gauge.water = 4.0
    until(lambda: bool(server.alerts(instance="dam", severity="critical")), 30, "the alert fires")
    (alert,) = server.alerts()
    assert (alert.name, alert.state, alert.annotations) == ("Flood", "firing", {"summary": "4 m"})
    assert server.alerts(instance="another") == []
    Gauge.water = 1.0
    until(lambda: not server.alerts(""), 30, "it is over")
    assert server.rule_errors() == {}
    with pytest.raises(Refused, match="parse error"):
        server.query("sum(")
