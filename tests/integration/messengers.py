"""Messengers on loopback, as their documents describe them: they check signatures, sizes and forms by themselves.

Owns the sockets and what arrived. Written without the recorder's code: signatures are computed anew from the pages of
open.dingtalk.com, open.feishu.cn, developer.work.weixin.qq.com and core.telegram.org.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

DINGTALK_TOKEN, DINGTALK_SECRET = "canary-dingtalk-token", "SECcanary-dingtalk-secret"
FEISHU_KEY, FEISHU_SECRET = "canary-feishu-key", "canary-feishu-secret"
WECOM_KEY = "canary-wecom-key"
TELEGRAM_TOKEN, TELEGRAM_CHAT = "123456:canary-telegram-token", "-100200300"
BEARER = "canary-bearer-token"
SECRETS = (
    *(DINGTALK_TOKEN, DINGTALK_SECRET, FEISHU_KEY, FEISHU_SECRET),
    *(WECOM_KEY, TELEGRAM_TOKEN, TELEGRAM_TOKEN.partition(":")[2], BEARER),
)
HOUR = 3600


@dataclass(frozen=True)
class Arrived:
    """One request. `answer`: what it was answered, status and body."""

    name: str
    headers: dict[str, str]
    body: bytes
    answer: tuple[int, dict[str, Any]]

    @property
    def text(self) -> str:
        """All that a person would read in it."""
        said = json.loads(self.body)
        if self.name == "telegram":
            return _plain(said["text"])
        if self.name == "dingtalk":
            return str(said["markdown"]["title"]) + "\n" + str(said["markdown"]["text"])
        if self.name == "wecom":
            return str(said["markdown"]["content"])
        if self.name == "feishu":
            card = said["card"]
            parts = [card["header"]["title"], *(e["text"] for e in card["elements"] if "text" in e)]
            return "\n".join(str(part["content"]) for part in parts)
        return self.body.decode()


class _Html(HTMLParser):
    """Telegram's HTML: only its tags, each closed."""

    TAGS = frozenset({"b", "i", "u", "s", "code", "pre", "a", "blockquote"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """An opening tag."""
        if tag not in self.TAGS:
            raise ValueError(f'Unsupported start tag "{tag}"')
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """A closing tag."""
        if not self.open or self.open.pop() != tag:
            raise ValueError("Unmatched end tag")

    def handle_data(self, data: str) -> None:
        """Text."""
        self.text += data


def _plain(markup: str) -> str:
    parser = _Html()
    parser.feed(markup)
    parser.close()
    if parser.open:
        raise ValueError("Can't find end tag")
    return parser.text


@dataclass
class Messengers:
    """All of them on one port, by their own paths. `instead`: answers that are given first, in order, by name."""

    arrived: list[Arrived] = field(default_factory=list)
    instead: dict[str, list[tuple[int, dict[str, Any] | str]]] = field(default_factory=lambda: defaultdict(list))
    headers: dict[str, str] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer = owner.receive(self.path, dict(self.headers.items()), body)
                said = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
                self.send_response(status)
                for name, value in owner.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Messengers:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        """Where they listen."""
        return int(self._server.server_address[1])

    def environ(self) -> dict[str, str]:
        """The relay's settings for all of them but mail."""
        base = f"http://127.0.0.1:{self.port}"
        return {
            "ALERT_WEBHOOK_URL": f"{base}/any/where?x=1",
            "ALERT_WEBHOOK_TOKEN": BEARER,
            "ALERT_TELEGRAM_URL": base,
            "ALERT_TELEGRAM_TOKEN": TELEGRAM_TOKEN,
            "ALERT_TELEGRAM_CHAT": TELEGRAM_CHAT,
            "ALERT_DINGTALK_URL": f"{base}/robot/send?access_token={DINGTALK_TOKEN}",
            "ALERT_DINGTALK_SECRET": DINGTALK_SECRET,
            "ALERT_FEISHU_URL": f"{base}/open-apis/bot/v2/hook/{FEISHU_KEY}",
            "ALERT_FEISHU_SECRET": FEISHU_SECRET,
            "ALERT_WECOM_URL": f"{base}/cgi-bin/webhook/send?key={WECOM_KEY}",
        }

    def of(self, name: str) -> list[Arrived]:
        """What a messenger was sent so far."""
        with self.changed:
            return [one for one in self.arrived if one.name == name]

    def wait(self, name: str, count: int = 1, seconds: float = 60.0) -> list[Arrived]:
        """Wait until it was sent so many."""
        with self.changed:
            found = self.changed.wait_for(lambda: sum(one.name == name for one in self.arrived) >= count, seconds)
        assert found, f"{name} was sent {len(self.of(name))} messages, not {count}"
        return self.of(name)

    def receive(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, Any] | str]:
        """Take a request and answer it."""
        parts = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        name, judge = self._which(parts.path)
        with self.changed:
            answer = self.instead[name].pop(0) if self.instead[name] else judge(parts.path, query, body)
            said = answer[1] if isinstance(answer[1], dict) else {}
            self.arrived.append(Arrived(name, headers, body, (answer[0], said)))
            self.changed.notify_all()
        return answer

    def _which(self, path: str) -> tuple[str, Any]:
        if path == "/robot/send":
            return "dingtalk", dingtalk
        if path.startswith("/open-apis/bot/v2/hook/"):
            return "feishu", feishu
        if path == "/cgi-bin/webhook/send":
            return "wecom", wecom
        if path.startswith("/bot"):
            return "telegram", telegram
        return "webhook", lambda *_: (200, {})


def dingtalk(path: str, query: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
    """errcode in an answer of 200; the signature's timestamp is in milliseconds, the secret is the key."""
    if query.get("access_token") != DINGTALK_TOKEN:
        return 200, {"errcode": 300001, "errmsg": "token is not exist"}
    timestamp = query.get("timestamp", "")
    if not timestamp.isdecimal() or abs(int(timestamp) / 1000 - time.time()) > HOUR:
        return 200, {"errcode": 310000, "errmsg": "invalid timestamp"}
    signed = hmac.new(DINGTALK_SECRET.encode(), (timestamp + "\n" + DINGTALK_SECRET).encode(), hashlib.sha256)
    if query.get("sign") != base64.b64encode(signed.digest()).decode():
        return 200, {"errcode": 310000, "errmsg": "sign not match"}
    said = json.loads(body)
    if len(body) > 20_000:
        return 200, {"errcode": 460101, "errmsg": "message too long, exceed 20000 bytes"}
    if said.get("msgtype") != "markdown" or not said["markdown"]["title"] or not said["markdown"]["text"]:
        return 200, {"errcode": 40035, "errmsg": "param error"}
    if "recorder" not in said["markdown"]["title"] + said["markdown"]["text"]:
        return 200, {"errcode": 310000, "errmsg": "keywords not in content"}
    return 200, {"errcode": 0, "errmsg": "ok"}


def feishu(path: str, query: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
    """code in an answer of 200; the timestamp is in seconds, and together with the secret the key of nothing."""
    if path.rpartition("/")[2] != FEISHU_KEY:
        return 200, {"code": 19001, "msg": "param invalid: incoming webhook access token invalid"}
    said = json.loads(body)
    timestamp = said.get("timestamp", "")
    signed = hmac.new((timestamp + "\n" + FEISHU_SECRET).encode(), b"", hashlib.sha256).digest()
    late = not timestamp.isdecimal() or abs(int(timestamp) - time.time()) > HOUR
    if late or said.get("sign") != base64.b64encode(signed).decode():
        return 200, {"code": 19021, "msg": "sign match fail or timestamp is not within one hour from current time"}
    if len(body) > 20_000 or said.get("msg_type") != "interactive" or not said["card"]["elements"]:
        return 200, {"code": 9499, "msg": "Bad Request", "data": {}}
    if "recorder" not in said["card"]["header"]["title"]["content"]:
        return 200, {"code": 19024, "msg": "Key Words Not Found"}
    return 200, {"code": 0, "msg": "success", "data": {}}


def wecom(path: str, query: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
    """errcode in an answer of 200; at most 4096 bytes of UTF-8."""
    if query.get("key") != WECOM_KEY:
        return 200, {"errcode": 93000, "errmsg": "invalid webhook url"}
    said = json.loads(body)
    if said.get("msgtype") != "markdown":
        return 200, {"errcode": 40008, "errmsg": "invalid message type"}
    if len(said["markdown"]["content"].encode()) > 4096:
        return 200, {"errcode": 40058, "errmsg": "markdown.content exceed max length 4096"}
    return 200, {"errcode": 0, "errmsg": "ok"}


def telegram(path: str, query: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
    """ok, or error_code, which is the status, too; at most 4096 characters after entities are parsed."""
    if path != f"/bot{TELEGRAM_TOKEN}/sendMessage":
        return 401, {"ok": False, "error_code": 401, "description": "Unauthorized"}
    said = json.loads(body)
    if said.get("chat_id") != TELEGRAM_CHAT:
        return 400, {"ok": False, "error_code": 400, "description": "Bad Request: chat not found"}
    try:
        text = _plain(said["text"]) if said.get("parse_mode") == "HTML" else said["text"]
    except ValueError as error:
        return 400, {"ok": False, "error_code": 400, "description": f"Bad Request: can't parse entities: {error}"}
    if not 1 <= len(text.encode("utf-16-le")) // 2 <= 4096:
        return 400, {"ok": False, "error_code": 400, "description": "Bad Request: message is too long"}
    return 200, {"ok": True, "result": {"message_id": 1}}
