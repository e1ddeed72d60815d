"""A relay of the tests: in this process on a free port, or as the command.

Owns the server and how it is posted to.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from recorder.alerting.post import Post
from recorder.alerting.relay import Relay
from recorder.alerting.server import RelayServer
from recorder.alerting.settings import read


@dataclass(frozen=True)
class Here:
    """Where it listens."""

    port: int

    def post(self, name: str, body: bytes) -> tuple[int, str, str | None]:
        """Hand a notification over: status, text, Retry-After."""
        return self._ask(urllib.request.Request(f"http://127.0.0.1:{self.port}/{name}", body, method="POST"))

    def get(self, path: str) -> tuple[int, str, str | None]:
        """A page."""
        return self._ask(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}"))

    def _ask(self, request: urllib.request.Request) -> tuple[int, str, str | None]:
        try:
            with direct().open(request, timeout=60) as answer:
                return answer.status, answer.read().decode(), answer.headers["Retry-After"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(), error.headers["Retry-After"]


def direct() -> urllib.request.OpenerDirector:
    """Past any proxy of the machine."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def relaying(environ: Mapping[str, str], post: Post | None = None) -> Iterator[Here]:
    """A relay with these settings."""
    settings = read(environ)
    server = RelayServer("127.0.0.1:0", Relay.of(settings, post))
    server.start()
    try:
        yield Here(server.address[1])
    finally:
        server.stop()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def command(*arguments: str, environ: Mapping[str, str]) -> subprocess.Popen[str]:
    """`recorder relay` as a process."""
    kept = {key: value for key, value in os.environ.items() if not key.upper().endswith("PROXY")}
    return subprocess.Popen(
        [sys.executable, "-m", "recorder", "relay", *arguments],
        env={**kept, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
