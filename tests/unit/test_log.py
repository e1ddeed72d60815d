"""The log: what a line holds, what it never holds, and that it never costs the process anything."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from recorder import log, redact
from recorder.redact import Redactor, clean

CANARY = "canary-7f3a/p@ss"


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """A JSON log of its own, with its own secrets; the process's logging is put back afterwards."""
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    monkeypatch.setattr(redact, "_redactor", Redactor())
    log.setup(stream, {"LOG_LEVEL": "DEBUG"}, threads=False)
    yield stream
    logger.remove()
    root.handlers[:], root.level = before


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """The records of a JSON log."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_its_event(out: io.StringIO) -> None:
    """Off a terminal every record is one JSON object with time, level, event, message and what was bound."""
    logger.bind(event="feed.connected", feed="a/public/0", attempt=3).info("connected to {}", "wss://h")
    (line,) = lines(out)
    assert line["event"] == "feed.connected"
    assert line["level"] == "info"
    assert line["message"] == "connected to wss://h"
    assert (line["feed"], line["attempt"]) == ("a/public/0", 3)
    assert line["thread"] == threading.current_thread().name


def test_a_record_without_event_is_called_by_its_module(out: io.StringIO) -> None:
    """No record is without an event word."""
    logger.info("hello")
    assert lines(out)[0]["event"] == __name__.removeprefix("recorder.")


@pytest.mark.parametrize(
    ("environ", "terminal", "expected"),
    [
        ({}, True, False),
        ({}, False, True),
        ({"LOG_FORMAT": "json"}, True, True),
        ({"LOG_FORMAT": "human"}, False, False),
        ({"LOG_FORMAT": "nonsense"}, False, True),
    ],
)
def test_layout(environ: dict[str, str], terminal: bool, expected: bool) -> None:
    """JSON unless somebody looks at it, or LOG_FORMAT says otherwise."""
    stream = io.StringIO()
    stream.isatty = lambda: terminal  # type: ignore[method-assign]
    assert log.wants_json(environ, stream) is expected


def test_secrets_appear_nowhere(out: io.StringIO) -> None:
    """A protected value is masked in message, bound values, exceptions and what libraries log, in every spelling."""
    redact.protect(CANARY)
    logger.bind(url=f"x{CANARY}y").info("key {}", CANARY)
    logging.getLogger("psycopg").warning("connection failed: %s", "wss://h/?k=canary-7f3a%2Fp%40ss")
    try:
        raise ValueError(f"refused with {CANARY!r}")
    except ValueError:
        logger.exception("failed")
    text = out.getvalue()
    assert "canary" not in text
    assert text.count(redact.MASK) >= 4
    assert "ValueError: refused with" in lines(out)[-1]["exception"]


def test_a_traceback_shows_no_variables(out: io.StringIO) -> None:
    """A local variable that nobody protected stays out of the traceback."""
    local = "".join(["can", "ary"])
    try:
        raise ValueError("refused")
    except ValueError:
        logger.exception("failed")
    assert local not in out.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:p4ss@h:5432/db", "postgresql://u:***@h:5432/db"),
        ("to postgresql://u:p@s/s@h/db now", "to postgresql://u:***@h/db now"),
        ("socks5h://u:p@127.0.0.1:1080", "socks5h://u:***@127.0.0.1:1080"),
        ("wss://h/ws?business=stock&apikey=abc123", "wss://h/ws?business=stock&apikey=***"),
        ("GET /x?api_key=abc&n=1 HTTP/1.1", "GET /x?api_key=***&n=1 HTTP/1.1"),
        ("host=h password=abc dbname=d", "host=h password=*** dbname=d"),
        ("host=h password='a b c' dbname=d", "host=h password=*** dbname=d"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("postgresql://recorder@localhost:5432/market", "postgresql://recorder@localhost:5432/market"),
        ("wss://ws.example.com:8443/ws/v5/public", "wss://ws.example.com:8443/ws/v5/public"),
    ],
)
def test_credentials_are_recognised_by_their_place(text: str, shown: str) -> None:
    """Credentials in URLs, queries and connection strings are masked even when nobody protected them."""
    assert Redactor()(text) == shown


@given(st.text(min_size=4, max_size=30), st.text(max_size=20), st.text(max_size=20))
def test_a_protected_value_never_passes(secret: str, before: str, after: str) -> None:
    """Wherever a protected value stands, raw or as JSON, it does not come out (the mask itself aside)."""
    redactor = Redactor()
    redactor.add([secret])
    shown = redactor(before + secret + after)
    inside = json.dumps(before + secret + after)
    if secret not in redact.MASK + before and secret not in after + redact.MASK:
        assert secret not in shown.replace(redact.MASK, "\0")
        assert json.dumps(secret)[1:-1] not in redactor(inside).replace(redact.MASK, "\0")


def test_the_longer_of_two_secrets_goes_whole() -> None:
    """A secret that begins with another one leaves no tail."""
    redactor = Redactor()
    redactor.add(["abcd"])
    redactor.add(["abcdefgh"])
    assert redactor("<abcdefgh>") == "<***>"


def test_a_short_secret_does_not_blank_the_log() -> None:
    """Values below four characters are left to the patterns: masking every `a` would leave nothing to read."""
    redactor = Redactor()
    redactor.add(["a", "", "\n"])
    assert redactor("a day at the market\n") == "a day at the market\n"


def test_a_venue_cannot_forge_a_line(out: io.StringIO) -> None:
    """Control characters, line separators and direction marks of a venue's string are shown as escapes."""
    nasty = 'ok\n{"level":"critical"}\r\x1b[2J\u2028\u202e\x85\x00'
    logger.bind(reply=nasty).warning("said {}", nasty)
    (line,) = lines(out)
    assert line["message"] == 'said ok\\n{"level":"critical"}\\r\\x1b[2J\\u2028\\u202e\\x85\\x00'
    assert line["reply"] == line["message"].removeprefix("said ")


@given(st.text())
def test_clean_text_is_one_printable_line(text: str) -> None:
    """Whatever a text holds, its clean form is one line that can be encoded."""
    shown = clean(text)
    assert len(shown.splitlines()) <= 1
    shown.encode()


def test_human_layout_keeps_a_message_on_its_line() -> None:
    """For people a record is one line; only a traceback of ours takes more."""
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        log.setup(stream, {"LOG_FORMAT": "human"}, threads=False)
        logger.bind(event="feed.notice", code="1").warning("line one\nline two")
    finally:
        logger.remove()
        root.handlers[:], root.level = before
    (line,) = stream.getvalue().splitlines()
    assert line.endswith("WARNING feed.notice: line one\\nline two code=1")


def test_libraries_log_through_the_same_sink(out: io.StringIO) -> None:
    """What the standard library's logging gets becomes a record."""
    logging.getLogger("websocket.core").error("odd %s", "x")
    logging.getLogger("psycopg.pool").warning("plain")
    first, second = lines(out)
    assert (first["event"], first["logger"], first["message"]) == ("library.websocket", "websocket.core", "odd x")
    assert (second["event"], second["level"]) == ("library.psycopg", "warning")


def test_a_librarys_broken_message_is_a_record_too(out: io.StringIO) -> None:
    """A message whose arguments do not fit is logged as it is written."""
    log.Intercept().emit(logging.LogRecord("websocket", logging.ERROR, "", 0, "odd %d", ("x",), None))
    log.Intercept().emit(logging.LogRecord("websocket", 35, "", 0, "between two levels", None, None))
    assert [line["message"] for line in lines(out)] == ["odd %d", "between two levels"]


def test_chatty_libraries_are_quiet_at_info() -> None:
    """At INFO a library that logs every request says nothing."""
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        log.setup(stream, {"LOG_LEVEL": "info"}, threads=False)
        logging.getLogger("httpx").info("HTTP Request: GET /")
    finally:
        logger.remove()
        root.handlers[:], root.level = before
    assert stream.getvalue() == ""


class Broken(io.StringIO):
    """A stream whose other end is gone."""

    def write(self, text: str) -> int:
        """Fail as a closed pipe does."""
        raise BrokenPipeError(32, "Broken pipe")


def test_a_log_that_cannot_be_written_costs_nothing() -> None:
    """A closed pipe behind stderr is counted, and the thread that logged goes on."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        sink = log.setup(Broken(), {}, threads=False)
        logger.info("one")
        logger.info("two")
    finally:
        logger.remove()
        root.handlers[:], root.level = before
    assert sink.failed == 2


def test_a_surrogate_can_be_logged(out: io.StringIO) -> None:
    """Bytes of a venue that were no text reach the log as an escape."""
    logger.info("frame {}", b"\xff".decode("utf-8", "surrogateescape"))
    assert lines(out)[0]["message"] == "frame \\udcff"


def test_repeated_messages_are_throttled_and_counted() -> None:
    """A repeated message passes once an interval and says how often it was held back; keys are independent."""
    now = 0.0
    throttle = log.Throttle(clock=lambda: now)
    assert [throttle("a", 60), throttle("a", 60), throttle("b", 60), throttle("a", 60)] == [0, None, 0, None]
    now = 59.9
    assert throttle("a", 60) is None
    now = 60.0
    assert throttle("a", 60) == 3
    assert throttle("a", 60) is None


def test_the_throttle_does_not_grow() -> None:
    """Keys made of venues' words cannot fill the memory: the oldest is forgotten."""
    throttle = log.Throttle(clock=lambda: 0.0, keys=10)
    for number in range(1000):
        throttle(str(number))
    assert len(throttle._state) == 10
    assert throttle("999") is None
    assert throttle("0") == 0
