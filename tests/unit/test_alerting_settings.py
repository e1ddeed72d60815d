"""The relay's settings: every mistake a sentence, no secret in any of them, everything off by default."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from recorder.alerting.settings import NAMES, Proxies, Security, Settings, read
from recorder.config import Secret
from recorder.errors import ConfigError
from recorder.redact import redact

DINGTALK = "https://oapi.dingtalk.com/robot/send?access_token=canary-ding-4711"
FEISHU = "https://open.feishu.cn/open-apis/bot/v2/hook/canary-feishu-4711"
WECOM = "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=canary-wecom-4711"
MAIL = {"EMAIL_TO": "a@example.com, b@example.com", "SMTP_HOST": "mail.example.com"}
LOGIN = {"SMTP_USER": "u@example.com", "SMTP_PASSWORD": "canary-mail-4711"}


def environ(**settings: str) -> dict[str, str]:
    """Settings as variables."""
    return {f"ALERT_{name}": value for name, value in settings.items()}


def problems(**settings: str) -> list[str]:
    """The sentences about them."""
    with pytest.raises(ConfigError) as caught:
        read(environ(**settings))
    assert "canary" not in str(caught.value) + repr(caught.value)
    return caught.value.problems


def test_nothing_set_is_everything_off() -> None:
    """Without any setting no receiver is on and nothing is wrong; empty values, as compose makes them, are none."""
    assert read({}) == Settings()
    assert read({f"ALERT_{name}{end}": " " for name in NAMES for end in ("", "_FILE")}) == Settings()
    assert read({"PROXY": "", "HTTPS_PROXY": ""}) == Settings()


def test_all_of_it() -> None:
    """Each receiver is read with all it needs; a mail server's port and encryption follow from each other."""
    found = read(
        environ(
            LANGUAGE="ZH",
            LISTEN="0.0.0.0:9465",
            WEBHOOK_URL="http://n8n:5678/hook",
            DINGTALK_URL=DINGTALK,
            DINGTALK_SECRET="SECcanary4711",
            FEISHU_URL=FEISHU,
            WECOM_URL=WECOM,
            TELEGRAM_TOKEN="1234:canary_telegram-4711",
            TELEGRAM_CHAT="-100123",
            **MAIL,
            **LOGIN,
        )
    )
    assert (found.language, found.listen) == ("zh", "0.0.0.0:9465")
    assert found.dingtalk is not None and found.dingtalk.secret == "SECcanary4711"
    assert found.feishu is not None and found.feishu.secret is None
    assert found.wecom is not None and found.wecom.url == WECOM
    assert found.telegram is not None and found.telegram.url == "https://api.telegram.org"
    assert found.email is not None
    assert (found.email.to, found.email.sender) == (("a@example.com", "b@example.com"), "u@example.com")
    assert (found.email.port, found.email.security) == (587, Security.STARTTLS)
    assert "canary" not in repr(found)


@pytest.mark.parametrize(
    ("settings", "port", "security"),
    [
        ({"SMTP_PORT": "465"}, 465, Security.TLS),
        ({"SMTP_SECURITY": "tls"}, 465, Security.TLS),
        ({"SMTP_PORT": "2525"}, 2525, Security.STARTTLS),
    ],
)
def test_ports_and_encryption(settings: dict[str, str], port: int, security: Security) -> None:
    """465 is TLS from the first byte and the other way round; any other port is STARTTLS."""
    found = read(environ(**MAIL, **LOGIN, **settings)).email
    assert found is not None and (found.port, found.security) == (port, security)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"DINGTALK_URL": "oapi.dingtalk.com/canary"}, "ALERT_DINGTALK_URL is no http(s) URL: copy the whole address"),
        ({"WEBHOOK_URL": "ftp://canary/"}, "ALERT_WEBHOOK_URL is no http(s) URL"),
        ({"WEBHOOK_URL": "http://"}, "ALERT_WEBHOOK_URL is no URL with a host"),
        ({"WEBHOOK_URL": "http://x:99999/canary"}, "ALERT_WEBHOOK_URL has a port that is no number"),
        ({"WEBHOOK_URL": "http://canary:canary@x/"}, "ALERT_WEBHOOK_URL must not hold a user or password"),
        ({"WEBHOOK_URL": "http://x/canary y"}, "ALERT_WEBHOOK_URL is no URL with a host"),
        ({"WEBHOOK_URL": "http://x/canary\x07"}, "ALERT_WEBHOOK_URL holds characters"),
        ({"DINGTALK_URL": WECOM}, "ALERT_DINGTALK_URL has no access_token=…: copy the robot's whole address"),
        ({"DINGTALK_URL": DINGTALK.partition("canary")[0]}, "ALERT_DINGTALK_URL has no access_token=…"),
        ({"WECOM_URL": DINGTALK}, "ALERT_WECOM_URL has no key=…"),
        ({"FEISHU_URL": WECOM}, "ALERT_FEISHU_URL does not end in /hook/…"),
        ({"DINGTALK_URL": DINGTALK, "DINGTALK_SECRET": "canary"}, "ALERT_DINGTALK_SECRET does not begin with SEC"),
        ({"DINGTALK_SECRET": "SECcanary"}, "ALERT_DINGTALK_SECRET is set, but ALERT_DINGTALK_URL is not"),
        ({"FEISHU_SECRET": "canary"}, "ALERT_FEISHU_SECRET is set, but ALERT_FEISHU_URL is not"),
        ({"WEBHOOK_TOKEN": "canary"}, "ALERT_WEBHOOK_TOKEN is set, but ALERT_WEBHOOK_URL is not"),
        ({"TELEGRAM_CHAT": "1"}, "ALERT_TELEGRAM_CHAT is set, but ALERT_TELEGRAM_TOKEN is not"),
        ({"TELEGRAM_TOKEN": "1:canary-12345"}, "ALERT_TELEGRAM_TOKEN is set, but ALERT_TELEGRAM_CHAT is not"),
        ({"TELEGRAM_TOKEN": "canary/..", "TELEGRAM_CHAT": "1"}, "ALERT_TELEGRAM_TOKEN is no bot's token"),
        ({"TELEGRAM_TOKEN": "1:canary-12345", "TELEGRAM_CHAT": "my chat"}, "ALERT_TELEGRAM_CHAT is no chat"),
        ({"EMAIL_TO": "a@example.com"}, "ALERT_EMAIL_TO is set, but ALERT_SMTP_HOST is not: name the mail server"),
        ({"SMTP_HOST": "x"}, "ALERT_SMTP_HOST is set, but ALERT_EMAIL_TO is not: say who gets the mail"),
        (MAIL, "ALERT_SMTP_FROM is not set: say which address the mail comes from"),
        ({**MAIL, "SMTP_USER": "u@example.com"}, "ALERT_SMTP_USER is set, but ALERT_SMTP_PASSWORD is not"),
        ({**MAIL, **LOGIN, "SMTP_SECURITY": "none"}, "ALERT_SMTP_SECURITY is none, but a password must not travel"),
        ({**MAIL, **LOGIN, "SMTP_SECURITY": "ssl"}, "ALERT_SMTP_SECURITY must be starttls, tls or none"),
        ({**MAIL, **LOGIN, "SMTP_PORT": "smtp"}, "ALERT_SMTP_PORT is no number from 1 to 65535"),
        ({**MAIL, **LOGIN, "SMTP_HOST": "mail.example.com:25"}, "ALERT_SMTP_HOST is no host name"),
        ({**MAIL, **LOGIN, "SMTP_FROM": "Me <a@b.c>"}, "ALERT_SMTP_FROM is no plain mail address"),
        ({**MAIL, **LOGIN, "EMAIL_TO": "a@b.c\nBcc: x@y.z"}, "ALERT_EMAIL_TO is no plain mail address"),
        ({"LANGUAGE": "fr"}, "ALERT_LANGUAGE must be en or zh"),
        ({"LISTEN": "9465"}, "ALERT_LISTEN is no address to listen on"),
    ],
)
def test_a_mistake_is_one_sentence(settings: dict[str, str], sentence: str) -> None:
    """Each mistake stops the start with one sentence that names the setting and quotes no value."""
    found = problems(**settings)
    assert len(found) == 1, found
    assert found[0].startswith(sentence)


def test_all_mistakes_at_once() -> None:
    """Every mistake is told, not only the first."""
    assert len(problems(LANGUAGE="fr", WECOM_URL="x", FEISHU_URL="y", TELEGRAM_CHAT="1")) == 4


def test_files(tmp_path: Path) -> None:
    """NAME_FILE holds the value, line ends and spaces around it do not count."""
    (tmp_path / "secret").write_text(" SECcanary4711 \r\n")
    found = read(environ(DINGTALK_URL=DINGTALK, DINGTALK_SECRET_FILE=str(tmp_path / "secret"))).dingtalk
    assert found is not None and found.secret == "SECcanary4711"


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read: No such file"), (b"", "is empty"), (b"\xff\xfe", "is not UTF-8 text")],
)
def test_a_file_that_is_no_use(content: bytes | None, words: str, tmp_path: Path) -> None:
    """A file that is missing, empty or no text stops the start; so do a folder, a relative path, and both at once."""
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    (only,) = problems(WECOM_URL_FILE=str(path))
    assert only.startswith(f"ALERT_WECOM_URL_FILE names the file {path}, which {words}")
    assert problems(WECOM_URL_FILE=str(tmp_path))[0].endswith("make it readable for the relay, or remove the setting")
    assert problems(WECOM_URL_FILE="secret") == ["ALERT_WECOM_URL_FILE must be the full path of a file"]
    assert "are both set: remove one" in problems(WECOM_URL=WECOM, WECOM_URL_FILE=str(path))[0]


def test_a_slip_in_a_name_is_told() -> None:
    """A name that is nearly one of ours would leave a receiver off unseen: the log says so."""
    assert read({"ALERT_DINGTAK_URL": "x"}).notes == (
        'ALERT_DINGTAK_URL is no setting of the relay; did you mean "ALERT_DINGTALK_URL"?',
    )


@pytest.mark.parametrize(
    ("variables", "scheme", "host", "proxy"),
    [
        ({"PROXY": "http://p:1", "HTTPS_PROXY": "http://q:2"}, "https", "x", "http://p:1"),
        ({"HTTPS_PROXY": "socks5h://q:2"}, "https", "x", "socks5h://q:2"),
        ({"HTTPS_PROXY": "http://q:2"}, "http", "x", None),
        ({"http_proxy": "http://q:2"}, "http", "x", "http://q:2"),
        ({"ALL_PROXY": "http://q:2"}, "http", "x", "http://q:2"),
        ({"PROXY": "http://p:1", "NO_PROXY": "a.cn, .b.cn"}, "https", "b.cn", None),
        ({"PROXY": "http://p:1", "NO_PROXY": "a.cn,.b.cn"}, "https", "X.A.cn", None),
        ({"PROXY": "http://p:1", "NO_PROXY": "a.cn"}, "https", "ba.cn", "http://p:1"),
        ({"PROXY": "http://p:1", "no_proxy": "*"}, "https", "x", None),
    ],
)
def test_the_proxy_of_the_environment(variables: dict[str, str], scheme: str, host: str, proxy: str | None) -> None:
    """PROXY goes before the usual names; NO_PROXY makes exceptions by whole labels."""
    assert read(variables).proxies(scheme, host) == proxy


def test_a_bad_proxy_is_told_once() -> None:
    """A proxy that cannot be used stops the start, without its password."""
    with pytest.raises(ConfigError) as caught:
        read({"PROXY": "https://u:canary-proxy@p:1"})
    assert caught.value.problems == ["PROXY must be a proxy URL: http, socks4, socks5 or socks5h://host:port"]
    assert "canary" not in repr(Proxies({"https": Secret("http://u:canary@p:1")}))


def test_what_was_read_is_protected() -> None:
    """After reading, no secret of the settings survives redaction: not alone, not in its address, in no spelling."""
    ding = DINGTALK.replace("canary-ding", "qwe%2Frty")
    read(
        environ(
            FEISHU_URL=FEISHU, WECOM_URL=WECOM, DINGTALK_URL=ding, WEBHOOK_URL="http://x/zxcvb4711", **MAIL, **LOGIN
        )
    )
    read({"PROXY": "http://u:canary-proxy-4711@p:1"})
    alone = (
        "canary-feishu-4711 canary-wecom-4711 qwe/rty-4711 qwe%2Frty-4711 zxcvb4711 canary-mail-4711 canary-proxy-4711"
    )
    assert "4711" not in redact(f"{FEISHU} {WECOM} {ding} {alone}")


def test_the_documentation_lists_them_all() -> None:
    """docs/alerting.md names every setting, and none that there is not."""
    text = (Path(__file__).parents[2] / "docs/alerting.md").read_text()
    listed = {name for row in text.splitlines() if row.startswith("| `") for name in re.findall(r"`ALERT_(\w+)`", row)}
    assert listed == set(NAMES)


def test_a_mistake_ends_the_command_with_78() -> None:
    """`recorder relay` with a malformed webhook exits with 78 and says only that one sentence."""
    done = subprocess.run(
        [sys.executable, "-m", "recorder", "relay"],
        env={"ALERT_WECOM_URL": "htp://canary", "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == "ALERT_WECOM_URL is no http(s) URL: copy the whole address, it begins with https://\n"
