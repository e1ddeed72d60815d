"""The log: one line per event on stderr, for people on a terminal, as JSON everywhere else.

Owns the only sink, the interception of the standard library's logging, and the throttle of repeated messages. Nothing
leaves it with a secret or a control character in it. Never decides what is worth a line, and never raises: a log that
cannot be written is counted, not fatal.

Every record carries an `event` word (`logger.bind(event="feed.gap")`); without one it is the module's name.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from loguru import logger

from recorder.redact import clean, redact

if TYPE_CHECKING:
    from loguru import Message, Record

# These say at INFO what is only interesting when one of them is being debugged (httpx: every request, with its query).
_CHATTY = ("httpx", "httpcore", "websocket", "websockets", "psycopg", "asyncio", "schedule")


def _public(value: object) -> object:
    """A bound value as it may be shown. Numbers stay numbers; everything else becomes redacted text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return clean(redact(str(value)))


def _trace(record: Record) -> str | None:
    """The exception's traceback: source lines and messages, never local variables."""
    exception = record["exception"]
    if exception is None or exception.value is None:
        return None
    text = "".join(traceback.format_exception(exception.type, exception.value, exception.traceback))
    return "\n".join(clean(line) for line in redact(text).rstrip("\n").split("\n"))


def _event(record: Record) -> str:
    bound = record["extra"].get("event")
    return str(bound) if bound else (record["name"] or "log").removeprefix("recorder.")


def _extra(record: Record) -> dict[str, object]:
    return {key: _public(value) for key, value in record["extra"].items() if key != "event"}


def as_json(record: Record) -> str:
    """A record as one line of JSON."""
    line: dict[str, object] = {
        "time": record["time"].isoformat(timespec="milliseconds"),
        "level": record["level"].name.lower(),
        "event": clean(_event(record)),
        "message": _public(record["message"]),
        "thread": record["thread"].name,
        **_extra(record),
    }
    trace = _trace(record)
    if trace is not None:
        line["exception"] = trace
    return redact(json.dumps(line, ensure_ascii=False, allow_nan=True))


def as_text(record: Record) -> str:
    """A record as a line for people; a traceback follows on lines of its own."""
    extra = "".join(f" {key}={value}" for key, value in _extra(record).items())
    head = f"{record['time']:%Y-%m-%d %H:%M:%S.%f}"[:-3]
    line = f"{head} {record['level'].name:<7} {clean(_event(record))}: {_public(record['message'])}{extra}"
    trace = _trace(record)
    return redact(line if trace is None else f"{line}\n{trace}")


@dataclass(slots=True)
class Sink:
    """Writes records to one stream, and survives the stream."""

    stream: IO[str]
    layout: Callable[[Record], str]
    failed: int = 0

    def __call__(self, message: Message) -> None:
        """Write one record."""
        line = self.layout(message.record) + "\n"
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        try:
            self.stream.write(line.encode(encoding, "backslashreplace").decode(encoding))
            self.stream.flush()
        except (OSError, ValueError):  # a closed pipe, a full disk behind it: recording matters more
            self.failed += 1


class Intercept(logging.Handler):
    """Hands what libraries log over to the one sink."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record on; a message that cannot be formatted is passed on unformatted."""
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):
            message = str(record.msg)
        bound = logger.bind(event=f"library.{record.name.split('.')[0]}", logger=record.name)
        bound.opt(exception=record.exc_info).log(level, "{}", message)


def wants_json(environ: Mapping[str, str], stream: IO[str]) -> bool:
    """JSON unless somebody looks at it; LOG_FORMAT=json|human decides otherwise."""
    choice = environ.get("LOG_FORMAT", "").lower()
    return choice == "json" if choice in ("json", "human") else not stream.isatty()


def setup(stream: IO[str] | None = None, environ: Mapping[str, str] | None = None, threads: bool = True) -> Sink:
    """Make this the only log of the process: level from LOG_LEVEL (INFO), layout from LOG_FORMAT or the terminal.
    `threads`: also report what would end a thread unseen."""
    out = sys.stderr if stream is None else stream
    env = os.environ if environ is None else environ
    sink = Sink(out, as_json if wants_json(env, out) else as_text)
    level = env.get("LOG_LEVEL", "INFO").upper()
    known = level in ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    logger.remove()
    # catch=False: loguru's own report of a failing sink would print the record past the redaction.
    logger.add(sink, level=level if known else "INFO", format="{message}", diagnose=False, backtrace=False, catch=False)
    _intercept(level if known else "INFO")
    if threads:
        threading.excepthook = _thread_died
    if not known:
        logger.bind(event="log.level").warning("LOG_LEVEL {} is no level: INFO is used", level)
    return sink


def _intercept(level: str) -> None:
    logging.basicConfig(
        handlers=[Intercept()], level=logging.DEBUG if level in ("TRACE", "DEBUG") else logging.INFO, force=True
    )
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET if level in ("TRACE", "DEBUG") else logging.WARNING)


def _thread_died(args: Any) -> None:
    if args.exc_type is not SystemExit:
        name = args.thread.name if args.thread is not None else "?"
        bound = logger.bind(event="thread.died", died=name)
        bound.opt(exception=(args.exc_type, args.exc_value, args.exc_traceback)).error("a thread died")


class Throttle:
    """Lets a repeated message through once per interval and counts what it held back. Never grows without bound."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, keys: int = 1024) -> None:
        self._clock = clock
        self._keys = keys
        self._lock = threading.Lock()
        self._state: OrderedDict[str, tuple[float, int]] = (
            OrderedDict()
        )  # key -> when last let through, held back since

    def __call__(self, key: str, every: float = 60.0) -> int | None:
        """None: say nothing now. Otherwise say it, and how many times it was held back."""
        now = self._clock()
        with self._lock:
            last, held = self._state.pop(key, (now - every, 0))
            due = now - last >= every
            self._state[key] = (now, 0) if due else (last, held + 1)
            if len(self._state) > self._keys:
                self._state.popitem(last=False)
        return held if due else None


_throttle = Throttle()


def repeated(key: str, every: float = 60.0) -> int | None:
    """For messages that could come a thousand times a second: None means silence, a number means log it now and is
    how many were held back since the last one.

        if (held := repeated(f"sink.down:{reason}")) is not None:
            logger.bind(event="sink.down", held=held).warning("{}", reason)
    """
    return _throttle(key, every)
