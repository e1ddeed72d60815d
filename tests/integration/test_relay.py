"""The relay and messengers that check by themselves what they are sent."""

from __future__ import annotations

import json
import signal
import socket
import time

import pytest

from recorder.alerting.post import Post
from tests.fault.gateway import Gateway, Manners
from tests.integration.messengers import SECRETS, Messengers
from tests.integration.relaying import Here, command, free_port, relaying
from tests.unit.notices import alert, notification

ROBOTS = ("webhook", "telegram", "dingtalk", "feishu", "wecom")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("count", [1, 200])
def test_every_messenger_takes_it(language: str, count: int) -> None:
    """Each of them accepts signature, form and size, of one alert and of two hundred, in both languages."""
    alerts = [alert("RecorderLag", "critical", source=f"s{n} <&>[](*_") for n in range(count)]
    raw = notification(*alerts, alert("RecorderGaps", status="resolved"))
    with Messengers() as messengers, relaying({**messengers.environ(), "ALERT_LANGUAGE": language}) as relay:
        for name in ROBOTS:
            assert relay.post(name, raw) == (200, "ok\n", None)
            (one,) = messengers.of(name)
            assert "RecorderLag" in one.text
            assert name == "webhook" or ("入库滞后" in one.text) == (language == "zh")
        assert messengers.of("webhook")[0].body == raw
        assert messengers.of("webhook")[0].headers["Authorization"].startswith("Bearer ")
        assert len(messengers.arrived) == len(ROBOTS)


@pytest.mark.parametrize(
    ("name", "setting", "value", "words"),
    [
        ("dingtalk", "ALERT_DINGTALK_SECRET", "SECanother-canary", "310000: sign not match"),
        ("feishu", "ALERT_FEISHU_SECRET", "another-canary", "19021: sign match fail"),
        ("telegram", "ALERT_TELEGRAM_TOKEN", "1:another-canary", "401: Unauthorized"),
        ("telegram", "ALERT_TELEGRAM_CHAT", "-1", "400: Bad Request: chat not found"),
        ("wecom", "ALERT_WECOM_URL", "{base}/cgi-bin/webhook/send?key=another-canary", "93000: invalid webhook url"),
        ("dingtalk", "ALERT_DINGTALK_URL", "{base}/robot/send?access_token=another-canary", "300001: token is not"),
        ("feishu", "ALERT_FEISHU_URL", "{base}/open-apis/bot/v2/hook/another-canary", "19001: param invalid"),
    ],
)
def test_a_wrong_secret_is_never_tried_again(name: str, setting: str, value: str, words: str) -> None:
    """What a messenger refuses for good, though its status be 200, is a 4xx for Alertmanager, with the reason."""
    with Messengers() as messengers:
        settings = messengers.environ() | {setting: value.format(base=f"http://127.0.0.1:{messengers.port}")}
        with relaying(settings) as relay:
            status, text, _ = relay.post(name, notification(alert("RecorderLag")))
        assert (status, text.partition(words)[:2]) == (422, ("", words))
        assert "canary" not in text


def test_a_busy_messenger_is_tried_again_in_time() -> None:
    """A flood that Telegram complains about with 429 is a 503 with its own time to come back, and until then nothing
    more is sent."""
    flood = {"ok": False, "error_code": 429, "description": "Too Many Requests", "parameters": {"retry_after": 35}}
    with Messengers() as messengers, relaying(messengers.environ()) as relay:
        messengers.instead["telegram"] = [(429, flood)]
        assert relay.post("telegram", notification(alert("A"))) == (503, "429: Too Many Requests\n", "35")
        status, text, wait = relay.post("telegram", notification(alert("A")))
        assert status == 503
        assert text.startswith("held back for ")
        assert wait is not None
        assert 1 <= int(wait) <= 35
        assert len(messengers.of("telegram")) == 1
        assert relay.post("wecom", notification(alert("A")))[0] == 200


@pytest.mark.parametrize("answer", ["<html>Please log in</html>", "", '{"errcode": "0"}'])
def test_a_portal_is_no_delivery(answer: str) -> None:
    """A page that something on the way answers with 200 is tried again."""
    with Messengers() as messengers, relaying(messengers.environ()) as relay:
        messengers.instead["wecom"] = [(200, answer)]
        status, text, _ = relay.post("wecom", notification(alert("A")))
        assert (status, text) == (503, "the answer is not its own; is a proxy or a portal in the way?\n")


def test_redirects_are_not_followed() -> None:
    """A robot's key goes to no other address than the one that was given."""
    with Messengers() as messengers, relaying(messengers.environ()) as relay:
        messengers.headers["Location"] = f"http://127.0.0.1:{messengers.port}/elsewhere"
        messengers.instead["webhook"] = [(307, {})]
        status, text, _ = relay.post("webhook", notification(alert("A")))
        assert (status, len(messengers.arrived)) == (422, 1)
        assert text.startswith("HTTP 307: redirects are not followed")


@pytest.mark.parametrize("trouble", ["closed", "silent", "unknown"])
def test_no_answer_is_tried_again(trouble: str) -> None:
    """A messenger that cannot be reached, or says nothing, is a 503 within the deadline, and names no secret."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ports = {"closed": free_port(), "silent": silent.getsockname()[1], "unknown": 80}
        host = "messenger.invalid" if trouble == "unknown" else "127.0.0.1"
        environ = {"ALERT_WECOM_URL": f"http://{host}:{ports[trouble]}/send?key=canary-wecom-key"}
        start = time.monotonic()
        with relaying(environ, Post(seconds=1.0)) as relay:
            status, text, _ = relay.post("wecom", notification(alert("A")))
        assert time.monotonic() - start < 30
    assert status == 503
    assert "canary" not in text
    assert host in text


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_the_proxy_of_the_environment_is_used(scheme: str) -> None:
    """PROXY leads to messengers that have a name only there; what the proxy refuses is said, without its password."""
    with Messengers() as messengers, Gateway(scheme, Manners(password=True)) as gateway:
        environ = messengers.environ() | {
            "PROXY": gateway.url(),
            "ALERT_WECOM_URL": f"http://venue.test:{messengers.port}/cgi-bin/webhook/send?key=canary-wecom-key",
            "ALERT_WEBHOOK_URL": "http://unknown.test/hook",
            "NO_PROXY": "127.0.0.1",
        }
        with relaying(environ) as relay:
            assert relay.post("wecom", notification(alert("A")))[0] == 200
            assert gateway.asked == [("venue.test", messengers.port)]
            assert relay.post("dingtalk", notification(alert("A")))[0] == 200
            assert len(gateway.asked) == 1
            status, text, _ = relay.post("webhook", notification(alert("A")))
            assert (status, text.partition(":")[0]) == (503, "unreachable through proxy")
            assert "s3cret" not in text


def test_requests_that_are_none() -> None:
    """Without a length, too long, or broken off: a 4xx or nothing, and the relay goes on."""
    with relaying({}) as relay:
        for head, status in (("", 411), ("Content-Length: 99999999999\r\n", 413), ("Content-Length: x\r\n", 411)):
            with socket.create_connection(("127.0.0.1", relay.port), 30) as client:
                client.sendall(f"POST /wecom HTTP/1.1\r\n{head}\r\n".encode())
                assert client.recv(100).split()[1] == str(status).encode()
        with socket.create_connection(("127.0.0.1", relay.port), 30) as client:
            client.sendall(b"POST /wecom HTTP/1.1\r\nContent-Length: 9\r\n\r\n{")
        assert relay.get("/healthz") == (200, "ok\n", None)


def test_the_command() -> None:
    """`recorder relay` says where it listens and what is on, serves, ends with 0 on SIGTERM; no secret is in its
    output, not even when a messenger repeats it."""
    port = free_port()
    with Messengers() as messengers:
        messengers.instead["dingtalk"] = [(200, {"errcode": 9, "errmsg": " ".join(SECRETS)})]
        messengers.instead["feishu"] = [(200, {"code": 9, "msg": " ".join(SECRETS)})]
        process = command("--listen", f"127.0.0.1:{port}", environ=messengers.environ())
        try:
            assert process.stderr is not None
            first = json.loads(process.stderr.readline())
            here = Here(port)
            said = [here.post(name, notification(alert("RecorderLag"))) for name in ROBOTS]
        finally:
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
    assert first["message"] == f"listening on 127.0.0.1:{port}, sending to webhook, telegram, dingtalk, feishu, wecom"
    assert [status for status, _, _ in said] == [200, 200, 422, 422, 200]
    assert (process.returncode, out) == (0, "")
    assert "dingtalk refuses messages: 9: ***" in err
    assert [secret for secret in SECRETS if secret in err + str(said)] == []


def test_the_test_message() -> None:
    """`recorder relay --test` says per receiver ok, off, or why not; one that refuses is exit code 1."""
    with Messengers() as messengers:
        environ = messengers.environ() | {"ALERT_FEISHU_SECRET": "another"}
        process = command("--test", environ=environ)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (1, "")
        assert [line.split(maxsplit=1)[1][:20] for line in out.splitlines()] == [
            *("ok", "off", "ok", "ok", "19021: sign match fa", "ok")
        ]
        assert "A test message: nothing is wrong." in messengers.of("telegram")[0].text
        one = command("--test", "wecom", environ=environ)
        assert (one.communicate(timeout=60), one.returncode) == (("wecom     ok\n", ""), 0)
        assert (len(messengers.of("wecom")), len(messengers.of("dingtalk"))) == (2, 1)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--test", "slack"), 2, "there is no receiver slack; there are webhook, email,"),
        (("--test", "email"), 1, "email     off"),
        (("--test",), 1, "wecom     off"),
        (("--listen", "nowhere"), 78, "--listen is no address to listen on"),
        (("--listen", "192.0.2.1:9465"), 78, "ALERT_LISTEN: 192.0.2.1:9465 is not an address of this machine"),
        (("wecom",), 2, "a receiver is only named with --test"),
    ],
)
def test_what_the_command_refuses(arguments: tuple[str, ...], code: int, words: str) -> None:
    """A receiver that there is not, one that is off, an address that cannot be: a sentence and an exit code."""
    process = command(*arguments, environ={})
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert words in out + err


def test_a_taken_port_is_a_sentence() -> None:
    """A port in use stops the start with 78."""
    with relaying({}) as relay:
        process = command(environ={"ALERT_LISTEN": f"127.0.0.1:{relay.port}"})
        _, err = process.communicate(timeout=60)
    assert process.returncode == 78
    assert err.startswith(f"ALERT_LISTEN: 127.0.0.1:{relay.port} is in use")
