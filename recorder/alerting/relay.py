"""The relay: hands a notification to one messenger, keeps within its rate, and says what became of it.

Owns the list of messengers and, for each, how soon it may be spoken to again and which failure was already told. Never
queues and never tries again: Alertmanager does both, so a relay that is stopped has lost nothing.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from loguru import logger

from recorder.alerting.mail import Mail
from recorder.alerting.message import Message, compose, parse
from recorder.alerting.post import Post
from recorder.alerting.robots import DingTalk, Feishu, Robot, Telegram, Webhook, WeCom
from recorder.alerting.settings import Settings
from recorder.alerting.verdict import DELIVERED, Outcome, Verdict, again
from recorder.alerting.words import LANGUAGES
from recorder.capture.backoff import Window
from recorder.errors import ConnectionLost

NAMES = ("webhook", "email", "telegram", "dingtalk", "feishu", "wecom")

Send = Callable[[bytes, Message], Verdict]


@dataclass(slots=True)
class Receiver:
    """One messenger that is on. Any thread may deliver."""

    name: str
    send: Send
    pace: Window | None = None
    clock: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _silent_until: float = 0.0
    _told: str = ""

    def deliver(self, raw: bytes, message: Message) -> Verdict:
        """Send it, unless the messenger wants to hear nothing now."""
        wait = self._turn()
        if wait > 0:
            return again(f"held back for {wait:.0f} s: it takes no more messages now", wait)
        verdict = self.send(raw, message)
        with self._lock:
            if verdict.wait:
                self._silent_until = self.clock() + verdict.wait
            self._tell(verdict)
        return verdict

    def _turn(self) -> float:
        """Seconds until a message may go; 0 takes the turn."""
        with self._lock:
            now = self.clock()
            wait = max(self._silent_until - now, self.pace.wait(1, now) if self.pace else 0.0)
            if wait <= 0 and self.pace:
                self.pace.reserve(1, now)
            return wait

    def _tell(self, verdict: Verdict) -> None:
        """A failure is told once, until it changes or is over: Alertmanager comes back with it every few minutes."""
        log = logger.bind(event="relay.receiver", receiver=self.name)
        kind = "" if verdict.outcome is Outcome.DELIVERED else verdict.outcome.name + re.sub(r"\d+", "", verdict.why)
        if kind == self._told:
            return
        if verdict.outcome is Outcome.DELIVERED:
            log.info("{} takes messages again", self.name)
        elif verdict.outcome is Outcome.AGAIN:
            log.warning("{} took no message, it will be tried again: {}", self.name, verdict.why)
        else:
            log.error("{} refuses messages: {}", self.name, verdict.why)
        self._told = kind


@dataclass(frozen=True, slots=True)
class Relay:
    """Every messenger, by name; None where it is off."""

    receivers: dict[str, Receiver | None]
    language: str = "en"

    @classmethod
    def of(cls, settings: Settings, post: Post | None = None, clock: Callable[[], float] = time.time) -> Relay:
        """As configured. `clock`: seconds since 1970, for signatures and dates."""
        sender = post or Post(settings.proxies)
        found: dict[str, Receiver | None] = dict.fromkeys(NAMES)
        for name, robot in _robots(settings).items():
            pace = Window(robot.per_minute, 60.0) if robot.per_minute else None
            found[name] = Receiver(name, _by_http(robot, sender, clock), pace)
        if settings.email is not None:
            mail = Mail(settings.email)
            found["email"] = Receiver("email", lambda raw, message: mail(message, clock()))
        return cls(found, settings.language)

    def deliver(self, name: str, raw: bytes) -> Verdict:
        """Hand a notification to a messenger; ValueError for what is no notification, KeyError for no messenger."""
        receiver = self.receivers[name]
        if receiver is None:
            return DELIVERED
        return receiver.deliver(raw, compose(parse(raw), LANGUAGES[self.language]))

    def probe(self, name: str, raw: bytes) -> Verdict:
        """The same at once, with nothing logged: for a test message to one that is on."""
        receiver = self.receivers[name]
        assert receiver is not None, f"{name} is off"
        return receiver.send(raw, compose(parse(raw), LANGUAGES[self.language]))

    def on(self) -> list[str]:
        """The messengers that are on."""
        return [name for name in NAMES if self.receivers[name] is not None]


def _robots(settings: Settings) -> dict[str, Robot]:
    found: dict[str, Robot] = {}
    if settings.webhook is not None:
        found["webhook"] = Webhook(settings.webhook)
    if settings.telegram is not None:
        found["telegram"] = Telegram(settings.telegram)
    if settings.dingtalk is not None:
        found["dingtalk"] = DingTalk(settings.dingtalk)
    if settings.feishu is not None:
        found["feishu"] = Feishu(settings.feishu)
    if settings.wecom is not None:
        found["wecom"] = WeCom(settings.wecom)
    return found


def _by_http(robot: Robot, post: Post, clock: Callable[[], float]) -> Send:
    def send(raw: bytes, message: Message) -> Verdict:
        try:
            return robot.verdict(post(robot.request(raw, message, clock())))
        except ConnectionLost as lost:
            return again(lost.detail.removeprefix("venue "))

    return send
