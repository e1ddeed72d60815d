"""The relay's own decisions: rates, silences, what is told once, and what each path answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus

import pytest
from loguru import logger

from recorder.alerting.message import Message
from recorder.alerting.relay import NAMES, Receiver, Relay
from recorder.alerting.server import Paths
from recorder.alerting.settings import Settings
from recorder.alerting.verdict import DELIVERED, Outcome, Verdict, again, never
from recorder.capture.backoff import Window
from tests.unit.notices import alert, message, notification


@dataclass
class Messenger:
    """Answers as told, then with success; counts."""

    verdicts: list[Verdict] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    now: float = 1000.0

    def __call__(self, raw: bytes, message: Message) -> Verdict:
        """Take one."""
        self.sent.append(raw)
        return self.verdicts.pop(0) if self.verdicts else DELIVERED

    def receiver(self, pace: Window | None = None) -> Receiver:
        """As the relay has it."""
        return Receiver("wecom", self, pace, lambda: self.now)


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What was logged."""
    lines: list[str] = []
    sink = logger.add(lambda text: lines.append(str(text)), format="{level} {message}", level="INFO")
    yield lines
    logger.remove(sink)


def test_a_rate_is_kept() -> None:
    """Beyond its messages a minute a messenger is not asked: Alertmanager is sent away with the time to come back."""
    messenger = Messenger()
    receiver = messenger.receiver(Window(20, 60.0))
    verdicts = [receiver.deliver(b"", message()) for _ in range(25)]
    assert [verdict.outcome for verdict in verdicts] == [Outcome.DELIVERED] * 20 + [Outcome.AGAIN] * 5
    assert len(messenger.sent) == 20
    assert 60 <= verdicts[-1].wait <= 66
    messenger.now += verdicts[-1].wait
    assert receiver.deliver(b"", message()).outcome is Outcome.DELIVERED


def test_a_complaint_about_the_rate_is_heeded() -> None:
    """After "too many" nothing is sent until the time is over."""
    messenger = Messenger([again("429", 35)])
    receiver = messenger.receiver()
    assert receiver.deliver(b"", message()).wait == 35
    messenger.now += 34
    verdict = receiver.deliver(b"", message())
    assert (verdict.outcome, verdict.wait, len(messenger.sent)) == (Outcome.AGAIN, 1, 1)
    messenger.now += 1
    assert receiver.deliver(b"", message()) is DELIVERED


def test_a_failure_is_told_once(told: list[str]) -> None:
    """The same failure is one line however often Alertmanager comes back; another one, and its end, are more."""
    bad = never("93000: invalid webhook url, hint: [17]"), never("93000: invalid webhook url, hint: [18]")
    messenger = Messenger([*bad, again("no answer"), again("no answer"), DELIVERED, DELIVERED, bad[0]])
    receiver = messenger.receiver()
    for _ in range(7):
        receiver.deliver(b"", message())
    assert [line.rstrip() for line in told] == [
        "ERROR wecom refuses messages: 93000: invalid webhook url, hint: [17]",
        "WARNING wecom took no message, it will be tried again: no answer",
        "INFO wecom takes messages again",
        "ERROR wecom refuses messages: 93000: invalid webhook url, hint: [17]",
    ]


def paths(messenger: Messenger | None = None) -> Paths:
    """A relay with at most one receiver on."""
    found: dict[str, Receiver | None] = dict.fromkeys(NAMES)
    if messenger is not None:
        found["wecom"] = messenger.receiver()
    return Paths(Relay(found))


@pytest.mark.parametrize(
    ("verdict", "status"),
    [(DELIVERED, 200), (again("busy"), 503), (never("no such robot"), 422)],
)
def test_what_alertmanager_is_told(verdict: Verdict, status: int) -> None:
    """5xx has Alertmanager try again, 4xx not; the body says why."""
    answer = paths(Messenger([verdict])).post("/wecom", notification(alert("RecorderLag")))
    assert (answer.status, answer.text) == (status, f"{verdict.why or 'ok'}\n")


def test_a_receiver_that_is_off_takes_everything() -> None:
    """What is not configured answers 200, so that Alertmanager never waits for it."""
    off = Paths(Relay.of(Settings()))
    assert {off.post(f"/{name}", b"whatever").status for name in NAMES} == {HTTPStatus.OK}
    assert off.get("/").text == "webhook: off\nemail: off\ntelegram: off\ndingtalk: off\nfeishu: off\nwecom: off\n"


def test_pages() -> None:
    """`/` says what is on, /healthz that the process lives; there is nothing else, and nothing is sent by GET."""
    here = paths(messenger := Messenger())
    assert "wecom: on\n" in here.get("/").text
    assert (here.get("/healthz").status, here.get("/nowhere").status) == (200, 404)
    assert (here.get("/wecom").status, here.get("/wecom").headers) == (405, {"Allow": "POST"})
    assert here.post("/slack", b"").status == 404
    assert messenger.sent == []


def test_what_is_no_notification_is_not_tried_again(told: list[str]) -> None:
    """Anything but a notification gets 400 and a sentence."""
    answer = paths(messenger := Messenger()).post("/wecom", b"hello")
    assert answer.status == 400
    assert answer.text.startswith("not a notification of Alertmanager")
    assert messenger.sent == []
    assert any("posted to /wecom" in line for line in told)
