"""The messengers that are spoken to by HTTP: how each wants a message, how it is signed, and what its answers mean.

Owns formats, signatures, sizes, rates and error codes, each with the page that says so. Pure: no sockets, no clocks.
Most of them answer 200 whatever happened; the code in the body is what counts.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol
from urllib.parse import quote

import msgspec

from recorder.alerting import settings
from recorder.alerting.message import Entry, Message, fitted
from recorder.alerting.post import Answer, Request
from recorder.alerting.verdict import DELIVERED, PAUSE, Verdict, again, by_status, never
from recorder.config import Secret


class Robot(Protocol):
    """One messenger. `per_minute`: how many messages it takes in a minute; None: no limit that we know."""

    per_minute: ClassVar[int | None]

    def request(self, raw: bytes, message: Message, now: float) -> Request:
        """What to send. `raw` is what Alertmanager said, `message` the same for people, `now` seconds since 1970."""

    def verdict(self, answer: Answer) -> Verdict:
        """What became of it."""


def _json(answer: Answer) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if isinstance(found, dict) else None


def _blocks(message: Message) -> tuple[Entry, ...]:
    """The alerts, and the line that says that more are left out."""
    return (*message.entries, *([Entry(None, (message.more,))] if message.more else []))


def _unlinked(text: str) -> str:
    """Markdown text in which nothing from outside becomes a link, a picture, a mention or a colour."""
    return text.replace("](", "] (").replace("<", "＜").replace("`", "ˋ")


@dataclass(frozen=True, slots=True)
class Webhook:
    """Alertmanager's JSON, byte for byte."""

    to: settings.Webhook
    per_minute: ClassVar[int | None] = None

    def request(self, raw: bytes, message: Message, now: float) -> Request:
        """Unchanged, with the token where there is one."""
        token = self.to.token
        headers = {} if token is None else {"Authorization": f"Bearer {str.__str__(token)}"}
        return Request(self.to.url, raw, headers)

    def verdict(self, answer: Answer) -> Verdict:
        """Any 2xx will do."""
        return by_status(answer.status, answer.retry_after)


@dataclass(frozen=True, slots=True)
class Telegram:
    """https://core.telegram.org/bots/api#sendmessage: HTML, 4096 characters; 20 a minute to one group (bots/faq)."""

    to: settings.Telegram
    per_minute: ClassVar[int | None] = 20
    LENGTH: ClassVar[int] = 4096

    def request(self, raw: bytes, message: Message, now: float) -> Request:
        """sendMessage. Characters are counted as UTF-16 and before entities are parsed: never less than they count."""
        text = fitted(message, self._text, lambda text: len(text.encode("utf-16-le")) // 2 <= self.LENGTH)
        body = {
            "chat_id": self.to.chat,
            "text": text,
            "parse_mode": "HTML",
            "link_preview_options": {"is_disabled": True},
        }
        return Request(Secret(f"{self.to.url}/bot{str.__str__(self.to.token)}/sendMessage"), msgspec.json.encode(body))

    def _text(self, message: Message) -> str:
        blocks = [f"<b>{html.escape(message.title, quote=False)}</b>"]
        for entry in _blocks(message):
            head = [f"<b>{html.escape(entry.head, quote=False)}</b>"] if entry.head else []
            blocks.append("\n".join([*head, *(html.escape(line, quote=False) for line in entry.lines)]))
        return "\n\n".join(blocks)

    def verdict(self, answer: Answer) -> Verdict:
        """`ok`, else `error_code` and `description`; a flood names the seconds to wait in `parameters`."""
        said = _json(answer)
        if said is None or not isinstance(said.get("ok"), bool):
            return _strange(answer)
        if said["ok"]:
            return DELIVERED
        code, words = said.get("error_code"), str(said.get("description", ""))
        parameters = said.get("parameters")
        parameters = parameters if isinstance(parameters, dict) else {}
        if code == 429:
            wait = parameters.get("retry_after")
            return again(f"{code}: {words}", float(wait) if isinstance(wait, int) else PAUSE)
        if isinstance(code, int) and code >= 500:
            return again(f"{code}: {words}")
        if "migrate_to_chat_id" in parameters:
            return never(f"{code}: {words}: set ALERT_TELEGRAM_CHAT to {parameters['migrate_to_chat_id']}")
        return never(f"{code}: {words}{_hint(_TELEGRAM, code)}")


_TELEGRAM = {
    400: "is ALERT_TELEGRAM_CHAT right, and is the bot in it?",
    401: "ALERT_TELEGRAM_TOKEN is not a bot's token, or was revoked",
    403: "the bot may not write there: start a chat with it, or add it to the group",
    404: "is ALERT_TELEGRAM_TOKEN right?",
}


@dataclass(frozen=True, slots=True)
class DingTalk:
    """https://open.dingtalk.com/document/robots/custom-robot-access: markdown, 20 a minute, then silence for ten; a
    message of at most 20 000 bytes. Signature: robots/customize-robot-security-settings, milliseconds in the query."""

    to: settings.Robot
    per_minute: ClassVar[int | None] = 20
    BYTES: ClassVar[int] = 20_000

    def request(self, raw: bytes, message: Message, now: float) -> Request:
        """markdown; the title is what the list of chats shows."""
        body = fitted(message, self._body, lambda body: len(body) <= self.BYTES)
        return Request(self._signed(now), body)

    def _body(self, message: Message) -> bytes:
        parts = [f"### {_unlinked(message.title)}"]
        for entry in _blocks(message):
            head = [f"#### {_unlinked(entry.head)}"] if entry.head else []
            # Two spaces end a line in its markdown; an empty line ends the quote.
            parts += [*head, "  \n".join(f"> {_unlinked(line)}" for line in entry.lines)]
        content = {"title": message.title, "text": "\n\n".join(parts)}
        return msgspec.json.encode({"msgtype": "markdown", "markdown": content})

    def _signed(self, now: float) -> Secret:
        url = str.__str__(self.to.url)
        if self.to.secret is None:
            return self.to.url
        timestamp, secret = str(round(now * 1000)), str.__str__(self.to.secret)
        digest = hmac.new(secret.encode(), f"{timestamp}\n{secret}".encode(), hashlib.sha256).digest()
        return Secret(f"{url}&timestamp={timestamp}&sign={quote(base64.b64encode(digest), safe='')}")

    def verdict(self, answer: Answer) -> Verdict:
        """`errcode` in an answer of 200."""
        return _by_code(answer, "errcode", "errmsg", {-1, 410100, 130101}, _DINGTALK)


_DINGTALK = {
    310000: "the robot's security settings refuse it: ALERT_DINGTALK_SECRET must be its secret (加签), its keyword "
    "must be recorder, its addresses must include this machine's",
    300001: "the robot does not exist, is ALERT_DINGTALK_URL right?",
    400101: "the robot does not exist, is ALERT_DINGTALK_URL right?",
    400102: "the robot was switched off",
    400013: "the group was dissolved",
}


@dataclass(frozen=True, slots=True)
class Feishu:
    """https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot: a card, 100 a minute and 5 a second, a
    request of at most 20 KB; the signature (seconds, the key signs nothing) stands in the body."""

    to: settings.Robot
    per_minute: ClassVar[int | None] = 100
    BYTES: ClassVar[int] = 20_000
    COLOURS: ClassVar[Mapping[str | None, str]] = {
        "critical": "red",
        "warning": "orange",
        "info": "blue",
        None: "green",
    }

    def request(self, raw: bytes, message: Message, now: float) -> Request:
        """A card. All text is plain text: whatever a summary holds, it mentions nobody and links nowhere."""
        signature = self._signature(now)
        return Request(
            self.to.url,
            fitted(message, lambda part: self._body(part, signature), lambda body: len(body) <= self.BYTES),
        )

    def _body(self, message: Message, signature: Mapping[str, str]) -> bytes:
        elements: list[object] = []
        for entry in _blocks(message):
            elements += [{"tag": "hr"}] if entry.head else []
            text = "\n".join([*([entry.head] if entry.head else []), *entry.lines])
            elements.append({"tag": "div", "text": {"tag": "plain_text", "content": text}})
        title = {"tag": "plain_text", "content": message.title}
        card = {
            "config": {"wide_screen_mode": True},
            "header": {"title": title, "template": self.COLOURS[message.severity]},
            "elements": elements,
        }
        return msgspec.json.encode({**signature, "msg_type": "interactive", "card": card})

    def _signature(self, now: float) -> dict[str, str]:
        if self.to.secret is None:
            return {}
        timestamp = str(int(now))
        digest = hmac.new(f"{timestamp}\n{str.__str__(self.to.secret)}".encode(), b"", hashlib.sha256).digest()
        return {"timestamp": timestamp, "sign": base64.b64encode(digest).decode()}

    def verdict(self, answer: Answer) -> Verdict:
        """`code`; 9499 is a bad request, unless it says that there were too many."""
        said = _json(answer)
        if said is not None and said.get("code") == 9499 and "too many" in str(said.get("msg")).lower():
            return again(f"9499: {said['msg']}", PAUSE)
        return _by_code(answer, "code", "msg", {11232, 99991400}, _FEISHU)


_FEISHU = {
    19001: "the robot does not exist, is ALERT_FEISHU_URL right?",
    19021: "ALERT_FEISHU_SECRET must be the robot's secret (签名校验), and this machine's clock right to the hour",
    19022: "the robot's list of addresses must include this machine's",
    19024: "the robot's keyword must be recorder",
}


@dataclass(frozen=True, slots=True)
class WeCom:
    """https://developer.work.weixin.qq.com/document/path/91770: markdown of at most 4096 bytes, 20 a minute."""

    to: settings.Robot
    per_minute: ClassVar[int | None] = 20
    BYTES: ClassVar[int] = 4096

    def request(self, raw: bytes, message: Message, now: float) -> Request:
        """markdown: headings and quotes are all that it needs."""
        text = fitted(message, self._text, lambda text: len(text.encode()) <= self.BYTES)
        return Request(self.to.url, msgspec.json.encode({"msgtype": "markdown", "markdown": {"content": text}}))

    def _text(self, message: Message) -> str:
        parts = [f"### {_unlinked(message.title)}"]
        for entry in _blocks(message):
            head = [f"**{_unlinked(entry.head)}**"] if entry.head else []
            parts.append("\n".join([*head, *(f"> {_unlinked(line)}" for line in entry.lines)]))
        return "\n\n".join(parts)

    def verdict(self, answer: Answer) -> Verdict:
        """`errcode`, https://developer.work.weixin.qq.com/document/path/90313."""
        return _by_code(answer, "errcode", "errmsg", {-1, 6000, 45009, 45033}, _WECOM)


_WECOM = {
    93000: "the robot does not exist, is ALERT_WECOM_URL right?",
    40058: "the message is longer than it takes",
}

_BUSY = {-1, 6000}  # not us: no need to keep silent for a minute


def _by_code(answer: Answer, key: str, words: str, passing: set[int], hints: Mapping[int, str]) -> Verdict:
    """The code in the body decides, whatever the status: 0 is success, `passing` ones are tried again."""
    said = _json(answer)
    code = said.get(key) if said is not None else None
    if said is None or not isinstance(code, int):
        return _strange(answer)
    if code == 0:
        return DELIVERED
    why = f"{code}: {said.get(words, '')}"
    if code in passing:
        return again(why, 0.0 if code in _BUSY else PAUSE)
    return never(f"{why}{_hint(hints, code)}")


def _hint(hints: Mapping[int, str], code: object) -> str:
    return f"; {hints[code]}" if isinstance(code, int) and code in hints else ""


def _strange(answer: Answer) -> Verdict:
    """Not the messenger's own words: something on the way answered in its place."""
    verdict = by_status(answer.status, answer.retry_after)
    return again("the answer is not its own; is a proxy or a portal in the way?") if verdict is DELIVERED else verdict
