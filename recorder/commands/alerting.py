"""The command `relay`: serve, or send a test message.

Owns what is printed and the exit code. What is sent, and how, is `recorder.alerting`.
"""

from __future__ import annotations

import os
import signal
import threading
from datetime import UTC, datetime

import typer
from loguru import logger

from recorder import log
from recorder.alerting.message import example
from recorder.alerting.relay import NAMES, Relay
from recorder.alerting.server import RelayServer
from recorder.alerting.settings import read
from recorder.alerting.verdict import Outcome
from recorder.alerting.words import LANGUAGES
from recorder.capture.reach import bracketed
from recorder.errors import ConfigError, Exit
from recorder.settings import addresses


def relay(listen: str | None) -> int:
    """Serve Alertmanager until SIGTERM or SIGINT."""
    log.setup()
    settings = read(os.environ)
    for note in settings.notes:
        logger.bind(event="relay.settings").warning("{}", note)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    the_relay = Relay.of(settings)
    server = RelayServer(_listen(listen) or settings.listen, the_relay)
    server.start()
    on = ", ".join(the_relay.on()) or "nothing: no receiver is configured"
    host, port = server.address
    logger.bind(event="relay.started").info("listening on {}:{}, sending to {}", bracketed(host), port, on)
    stop.wait()
    server.stop()
    logger.bind(event="relay.stopped").info("stopped")
    return Exit.OK


def _listen(text: str | None) -> str | None:
    try:
        return None if text is None else addresses.listen(text)
    except ValueError as error:
        raise ConfigError([f"--listen {error}"]) from None


def test(name: str | None) -> int:
    """Send a test message to every receiver, or to one; 0 when at least one took it and none refused it."""
    if name is not None and name not in NAMES:
        typer.echo(f"there is no receiver {name}; there are {', '.join(NAMES)}", err=True)
        return Exit.USAGE
    settings = read(os.environ)
    the_relay = Relay.of(settings)
    raw = example(LANGUAGES[settings.language], datetime.now(UTC))
    taken = []
    for receiver in NAMES if name is None else (name,):
        if receiver not in the_relay.on():
            taken += [False] if name is not None else []
            typer.echo(f"{receiver:<9} off")
            continue
        verdict = the_relay.probe(receiver, raw)
        taken.append(verdict.outcome is Outcome.DELIVERED)
        typer.echo(f"{receiver:<9} {verdict.why or 'ok'}")
    return Exit.OK if taken and all(taken) else Exit.NEGATIVE
