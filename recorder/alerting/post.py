"""One HTTP request to a messenger: posted, answered, done, within a deadline.

Owns the request's way (through the proxy of the environment, certificates checked) and the size of an answer. Never
follows a redirect, never tries again by itself, and lets nothing of a URL but scheme, host and port into a message:
robots' tokens stand in paths and queries.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpcore

from recorder import __version__
from recorder.alerting.settings import Proxies
from recorder.capture.reach import PORTS, Deadline, Target, bracketed, trust
from recorder.capture.streams import Attempt, Backend, carried
from recorder.config import Secret
from recorder.errors import ConnectionLost

SECONDS = 20.0  # for a whole request; Alertmanager waits 40 s
CAP = 256 << 10  # bytes of an answer; robots say less than one KiB


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be sent."""

    url: Secret
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class Post:
    """Sends requests, each over a connection of its own: there is one every few minutes."""

    proxies: Proxies = field(default_factory=Proxies)
    seconds: float = SECONDS
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    def __call__(self, request: Request) -> Answer:
        """Send. Raises `ConnectionLost` with a sentence where no answer came."""
        goal, asked = _goal(request.url)
        attempt = Attempt(goal, Deadline(self.seconds, lambda: False), "it")
        backend = Backend(self.proxies("https" if goal.tls else "http", goal.host))
        with (
            carried(attempt),
            httpcore.ConnectionPool(ssl_context=self.tls or trust(), network_backend=backend) as pool,
        ):
            response = pool.handle_request(self._request(goal, asked, request))
            try:
                return Answer(response.status, _read(response, goal.public), _retry_after(response))
            finally:
                response.close()

    def _request(self, goal: Target, asked: str, request: Request) -> httpcore.Request:
        headers = {
            "Host": goal.name,
            "User-Agent": f"recorder/{__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json; charset=utf-8",
            "Content-Length": str(len(request.body)),
            "Connection": "close",
            **request.headers,
        }
        scheme, host = "https" if goal.tls else "http", goal.host.encode("idna")
        url = httpcore.URL(scheme=scheme, host=host, port=goal.port, target=asked)
        timeout = {"timeout": {"pool": self.seconds}}
        return httpcore.Request("POST", url, headers=list(headers.items()), content=request.body, extensions=timeout)


def _goal(url: Secret) -> tuple[Target, str]:
    """Where to connect, and what to ask for there."""
    parts = urlsplit(str.__str__(url))
    host, scheme = parts.hostname or "", parts.scheme.lower()
    port = parts.port or PORTS[scheme]
    asked = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    public = f"{scheme}://{bracketed(host)}:{port}"
    return Target(str.__str__(url), public, host, port, scheme == "https"), asked


def _read(response: httpcore.Response, public: str) -> bytes:
    body = bytearray()
    for chunk in response.iter_stream():
        body += chunk
        if len(body) > CAP:
            raise ConnectionLost("handshake", f"{public}: an answer of more than {CAP} bytes")
    return bytes(body)


def _retry_after(response: httpcore.Response) -> str | None:
    found = (value.decode("latin-1").strip() for name, value in response.headers if name.lower() == b"retry-after")
    return next(found, None)
