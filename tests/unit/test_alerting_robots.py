"""Formats, signatures and error codes of the messengers that are spoken to by HTTP."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from recorder.alerting import settings
from recorder.alerting.message import Message
from recorder.alerting.post import Answer
from recorder.alerting.robots import DingTalk, Feishu, Robot, Telegram, Webhook, WeCom
from recorder.alerting.verdict import Outcome
from recorder.alerting.words import CHINESE
from recorder.config import Secret
from tests.unit.notices import alert, message

URL = Secret("https://robot.test/send?access_token=canary-url")
TELEGRAM = settings.Telegram(Secret("1:canary-telegram"), "-5")

ROBOTS: dict[str, Robot] = {
    "webhook": Webhook(settings.Webhook(URL, Secret("canary-bearer"))),
    "telegram": Telegram(TELEGRAM),
    "dingtalk": DingTalk(settings.Robot(URL, Secret("SECtest0123456789"))),
    "feishu": Feishu(settings.Robot(URL, Secret("feishu-secret"))),
    "wecom": WeCom(settings.Robot(URL)),
}


def sent(name: str, what: Message, now: float = 1_700_000_000.0) -> Any:
    """The body of a request, read back."""
    return json.loads(ROBOTS[name].request(b'{"raw": 1}', what, now).body)


def said(body: object, status: int = 200, retry_after: str | None = None) -> Answer:
    """An answer in JSON."""
    return Answer(status, json.dumps(body).encode(), retry_after)


def test_dingtalk_signs_in_the_query() -> None:
    """Milliseconds and secret signed with the secret, by `openssl dgst -sha256 -hmac SECtest0123456789`."""
    url = str.__str__(ROBOTS["dingtalk"].request(b"", message(alert("RecorderLag")), 1_700_000_000.0).url)
    sign = "yBKp5IlG6qCzcQWmgyRK%2FziJBdVNJmHfFE2ST%2FCzT%2Fg%3D"
    assert url == f"{URL}&timestamp=1700000000000&sign={sign}"


def test_feishu_signs_in_the_body() -> None:
    """Seconds and secret are the key of an empty text, by `openssl dgst -sha256 -mac HMAC -macopt hexkey:…`."""
    body = sent("feishu", message(alert("RecorderLag")))
    assert (body["timestamp"], body["sign"]) == ("1700000000", "OrBzY1Y01Gq+HgJsl+7OfWcMVwc7YocohQm5iiZwjhU=")


def test_without_a_secret_nothing_is_signed() -> None:
    """A robot without a signature gets neither timestamp nor sign."""
    what = message(alert("RecorderLag"))
    assert DingTalk(settings.Robot(URL)).request(b"", what, 0.0).url == URL
    assert set(json.loads(Feishu(settings.Robot(URL)).request(b"", what, 0.0).body)) == {"msg_type", "card"}


def test_the_webhook_is_unchanged() -> None:
    """A webhook gets Alertmanager's bytes, and the token as a bearer's."""
    request = ROBOTS["webhook"].request(b' {"a" :1}\n', message(), 0.0)
    assert request.body == b' {"a" :1}\n'
    assert request.headers == {"Authorization": "Bearer canary-bearer"}
    assert Webhook(settings.Webhook(URL)).request(b"", message(), 0.0).headers == {}


def test_telegram_escapes_html() -> None:
    """Only our own tags are markup; the text of an alert is escaped, and no link is unfolded."""
    nasty = alert("RecorderLag")
    nasty["annotations"] = {"summary": 'a < b & <b>c</b> "q"'}
    body = sent("telegram", message(nasty))
    assert (body["chat_id"], body["parse_mode"], body["link_preview_options"]) == ("-5", "HTML", {"is_disabled": True})
    assert 'a &lt; b &amp; &lt;b&gt;c&lt;/b&gt; "q"' in body["text"]
    assert set(re.findall(r"</?\w+>", body["text"])) == {"<b>", "</b>"}


@pytest.mark.parametrize("name", ["dingtalk", "wecom"])
def test_markdown_mentions_nobody_and_links_nowhere(name: str) -> None:
    """Text of an alert becomes no link, picture, mention, colour or code."""
    nasty = alert("RecorderLag")
    nasty["annotations"] = {"summary": "[x](http://e.test) ![y](http://e.test) <@all> <font color=red> `z`"}
    text = json.dumps(sent(name, message(nasty)), ensure_ascii=False)
    assert "](" not in text
    assert "<" not in text
    assert "`" not in text


def test_feishu_is_plain_text() -> None:
    """A card's texts are all plain, so an <at> is only text; its colour follows the worst that fires."""
    nasty = alert("RecorderLag", "critical")
    nasty["annotations"] = {"summary": '<at id="all"></at> [x](http://e.test)'}
    card = sent("feishu", message(nasty))["card"]
    texts = [card["header"]["title"], *(element["text"] for element in card["elements"] if "text" in element)]
    assert {text["tag"] for text in texts} == {"plain_text"}
    assert card["header"]["template"] == "red"
    assert sent("feishu", message(alert("A", "critical", "resolved")))["card"]["header"]["template"] == "green"


def size(name: str, body: Any) -> int:
    """How a messenger counts."""
    if name == "telegram":
        return len(body["text"].encode("utf-16-le")) // 2
    return len(body["markdown"]["content"].encode()) if name == "wecom" else len(json.dumps(body, ensure_ascii=False))


@pytest.mark.parametrize(
    ("name", "limit"), [("telegram", 4096), ("wecom", 4096), ("dingtalk", 20000), ("feishu", 20000)]
)
@pytest.mark.parametrize("count", [1, 3, 300])
def test_sizes(name: str, limit: int, count: int) -> None:
    """However many alerts and however long: within the limit, with the number of those left out."""
    alerts = [alert("RecorderLag", source=f"s{n}") for n in range(count)]
    alerts[0]["annotations"]["summary"] = "🔴价" * 4000
    what = message(*alerts, words=CHINESE)
    raw = ROBOTS[name].request(b"", what, 0.0).body
    body = json.loads(raw)
    assert size(name, body) <= limit
    assert name in ("telegram", "wecom") or len(raw) <= limit
    if count == 300:
        assert size(name, body) > limit / 3
        assert re.search(r"另有 \d+ 条", json.dumps(body, ensure_ascii=False))


AGAIN, NEVER, DELIVERED = Outcome.AGAIN, Outcome.NEVER, Outcome.DELIVERED


@pytest.mark.parametrize(
    ("name", "answer", "outcome", "wait", "words"),
    [
        ("dingtalk", said({"errcode": 0, "errmsg": "ok"}), DELIVERED, 0, ""),
        ("dingtalk", said({"errcode": -1, "errmsg": "系统繁忙"}), AGAIN, 0, "-1: 系统繁忙"),
        ("dingtalk", said({"errcode": 130101, "errmsg": "send too fast, exceed 20 times"}), AGAIN, 60, "send too fast"),
        ("dingtalk", said({"errcode": 310000, "errmsg": "sign not match"}), NEVER, 0, "ALERT_DINGTALK_SECRET"),
        ("dingtalk", said({"errcode": 310000, "errmsg": "keywords not in content"}), NEVER, 0, "must be recorder"),
        ("dingtalk", said({"errcode": 300001, "errmsg": "token is not exist"}), NEVER, 0, "ALERT_DINGTALK_URL"),
        ("dingtalk", said({"errcode": 99, "errmsg": "new"}), NEVER, 0, "99: new"),
        ("feishu", said({"code": 0, "msg": "success"}), DELIVERED, 0, ""),
        ("feishu", said({"code": 19021, "msg": "sign match fail"}), NEVER, 0, "ALERT_FEISHU_SECRET"),
        ("feishu", said({"code": 19024, "msg": "Key Words Not Found"}, 400), NEVER, 0, "must be recorder"),
        ("feishu", said({"code": 9499, "msg": "Bad Request"}, 400), NEVER, 0, "9499"),
        ("feishu", said({"code": 9499, "msg": "too many request"}, 400), AGAIN, 60, "too many"),
        ("feishu", said({"code": 11232, "msg": "frequency limited"}), AGAIN, 60, "11232"),
        ("wecom", said({"errcode": 0, "errmsg": "ok"}), DELIVERED, 0, ""),
        ("wecom", said({"errcode": 45009, "errmsg": "api freq out of limit"}), AGAIN, 60, "45009"),
        ("wecom", said({"errcode": 93000, "errmsg": "invalid webhook url"}), NEVER, 0, "ALERT_WECOM_URL"),
        ("telegram", said({"ok": True, "result": {}}), DELIVERED, 0, ""),
        (
            "telegram",
            said({"ok": False, "error_code": 429, "description": "Too Many", "parameters": {"retry_after": 35}}, 429),
            *(AGAIN, 35, "Too Many"),
        ),
        ("telegram", said({"ok": False, "error_code": 429, "description": "Too Many"}, 429), AGAIN, 60, "Too Many"),
        ("telegram", said({"ok": False, "error_code": 502, "description": "Bad Gateway"}, 502), AGAIN, 0, "502"),
        ("telegram", said({"ok": False, "error_code": 401, "description": "Unauthorized"}, 401), NEVER, 0, "TOKEN"),
        ("telegram", said({"ok": False, "error_code": 403, "description": "bot was kicked"}, 403), NEVER, 0, "add it"),
        (
            "telegram",
            said({"ok": False, "error_code": 400, "description": "x", "parameters": {"migrate_to_chat_id": -9}}, 400),
            *(NEVER, 0, "set ALERT_TELEGRAM_CHAT to -9"),
        ),
        ("webhook", said({}, 204), DELIVERED, 0, ""),
        ("webhook", said({}, 500), AGAIN, 0, "HTTP 500"),
        ("webhook", said({}, 408), AGAIN, 0, "HTTP 408"),
        ("webhook", said({}, 429, "7"), AGAIN, 7, "HTTP 429"),
        ("webhook", said({}, 429, "soon"), AGAIN, 60, "HTTP 429"),
        ("webhook", said({}, 429, "999999"), AGAIN, 3600, "HTTP 429"),
        ("webhook", said({}, 404), NEVER, 0, "HTTP 404"),
        ("webhook", said({}, 302), NEVER, 0, "redirects are not followed"),
    ],
)
def test_what_an_answer_means(name: str, answer: Answer, outcome: Outcome, wait: float, words: str) -> None:
    """A code in an answer of 200 is an error like any other; what passes by itself is tried again, and after a
    complaint about the rate not before its time."""
    verdict = ROBOTS[name].verdict(answer)
    assert (verdict.outcome, verdict.wait) == (outcome, wait)
    assert words in verdict.why


@pytest.mark.parametrize("name", ["telegram", "dingtalk", "feishu", "wecom"])
@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"{}", b"\xff", b'{"errcode":"0","code":null,"ok":"true"}'])
def test_an_answer_that_is_not_theirs(name: str, body: bytes) -> None:
    """A portal's page with status 200 is no delivery and is tried again; with 404 it is not."""
    assert ROBOTS[name].verdict(Answer(200, body)).outcome is AGAIN
    assert ROBOTS[name].verdict(Answer(404, body)).outcome is NEVER


@pytest.mark.parametrize("name", sorted(ROBOTS))
def test_no_secret_in_any_repr(name: str) -> None:
    """Neither a robot nor a request of it shows a token, a signature or a body."""
    what = repr(ROBOTS[name]) + repr(ROBOTS[name].request(b"", message(alert("RecorderLag")), 1_700_000_000.0))
    assert not re.search(r"canary|SECtest|feishu-secret|yBKp5IlG6|OrBzY1Y0", what)
