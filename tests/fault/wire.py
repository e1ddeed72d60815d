"""The client's side of tests against the scripted venue: a line with secrets in it, certificates, reading on."""

from __future__ import annotations

import datetime
import ssl
import time
from functools import cache

import trustme

from recorder.capture.transport import Options, Transport
from recorder.errors import ConnectionLost
from recorder.records import Kind
from recorder.venues import Line

LINE = Line("public/0", "/ws/v5/public", (), {"apikey": "s3cret-key"}, {"X-Token": "s3cret-token"})


@cache
def authority() -> trustme.CA:
    """Whom our certificates are signed by."""
    return trustme.CA()


@cache
def trusting() -> Options:
    """Options of a client that trusts this authority and no other."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return Options(tls=context, connect_timeout=5)


def serving(name: str = "localhost", days: int = 30) -> ssl.SSLContext:
    """A server's context with a certificate for `name` that ends `days` from now."""
    now = datetime.datetime.now(datetime.UTC)
    start = now - datetime.timedelta(days=60)
    certificate = authority().issue_cert(name, not_before=start, not_after=now + datetime.timedelta(days=days))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def collect(transport: Transport, seconds: float = 10) -> tuple[list[tuple[Kind, bytes]], ConnectionLost]:
    """Everything until the connection is lost, and why."""
    found: list[tuple[Kind, bytes]] = []
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            found += [(kind, one) for kind, frames in transport.read(0.5) for one in frames]
    except ConnectionLost as lost:
        return found, lost
    finally:
        transport.close()
    raise AssertionError(f"the connection still stood after {seconds} s")
