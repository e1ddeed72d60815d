"""The relay's settings: which messengers are on, and with what. All of them come from the environment.

Owns their names, their checks and the sentences about what is wrong. Each `NAME` may also be given as `NAME_FILE`, the
full path of a file that holds it; an empty one is as good as none. Never opens a connection, and never quotes a value:
addresses of robots are credentials.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from recorder.config import Secret
from recorder.errors import ConfigError
from recorder.redact import protect
from recorder.settings import addresses
from recorder.settings.references import resolve
from recorder.settings.tables import did_you_mean

T = TypeVar("T")

LISTEN = "127.0.0.1:9465"
TELEGRAM = "https://api.telegram.org"
NAMES = (
    *("LISTEN", "LANGUAGE", "WEBHOOK_URL", "WEBHOOK_TOKEN", "TELEGRAM_TOKEN", "TELEGRAM_CHAT", "TELEGRAM_URL"),
    *("EMAIL_TO", "SMTP_HOST", "SMTP_PORT", "SMTP_SECURITY", "SMTP_USER", "SMTP_PASSWORD", "SMTP_FROM"),
    *("DINGTALK_URL", "DINGTALK_SECRET", "FEISHU_URL", "FEISHU_SECRET", "WECOM_URL"),
)

# What makes a bot's token: https://core.telegram.org/bots/api#authorizing-your-bot. It becomes part of a path.
_TOKEN = re.compile(r"[0-9]+:[A-Za-z0-9_-]{10,}")
_CHAT = re.compile(r"-?[0-9]+|@[A-Za-z0-9_]+")
_MAILBOX = re.compile(r"[^\s@<>()\[\],;:\"\\\x00-\x1f\x7f]+@[A-Za-z0-9.-]+")
_HEADER = re.compile(r"[\x21-\x7e]+")


class Security(Enum):
    """How a mail server is spoken to; the value is how the setting says it."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


PORTS = {Security.STARTTLS: 587, Security.TLS: 465, Security.NONE: 25}


@dataclass(frozen=True, slots=True)
class Webhook:
    """Alertmanager's own JSON to any address; `token` goes as `Authorization: Bearer`."""

    url: Secret
    token: Secret | None = None


@dataclass(frozen=True, slots=True)
class Email:
    """Mail by SMTP."""

    to: tuple[str, ...]
    sender: str
    host: str
    port: int
    security: Security
    user: str | None = None
    password: Secret | None = None


@dataclass(frozen=True, slots=True)
class Telegram:
    """A bot and the chat it writes to."""

    token: Secret
    chat: str
    url: str = TELEGRAM


@dataclass(frozen=True, slots=True)
class Robot:
    """A group's robot at DingTalk, Feishu or WeCom. `secret`: signs what is sent, where the robot wants that."""

    url: Secret
    secret: Secret | None = None


@dataclass(frozen=True, slots=True)
class Proxies:
    """Which way out: PROXY, else HTTPS_PROXY, HTTP_PROXY or ALL_PROXY by scheme; NO_PROXY names exceptions."""

    by_scheme: Mapping[str, Secret] = field(default_factory=dict)
    exceptions: str = ""

    def __call__(self, scheme: str, host: str) -> str | None:
        """The proxy for an address, if any."""
        proxy = self.by_scheme.get(scheme)
        return None if proxy is None or self._excepted(host.lower()) else str.__str__(proxy)

    def _excepted(self, host: str) -> bool:
        """NO_PROXY: names, with everything below them; `*` is all."""
        names = [name.strip().lower().lstrip(".") for name in self.exceptions.split(",")]
        return any(name and (name in ("*", host) or host.endswith(f".{name}")) for name in names)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything. A messenger that is None is off."""

    listen: str = LISTEN
    language: str = "en"
    proxies: Proxies = field(default_factory=Proxies)
    webhook: Webhook | None = None
    email: Email | None = None
    telegram: Telegram | None = None
    dingtalk: Robot | None = None
    feishu: Robot | None = None
    wecom: Robot | None = None
    notes: tuple[str, ...] = ()


def read(environ: Mapping[str, str]) -> Settings:
    """The settings; raises `ConfigError` with a sentence for each mistake. Their secrets are protected from now on."""
    env = _Environment(environ)
    settings = Settings(
        listen=env.take("LISTEN", addresses.listen) or LISTEN,
        language=env.take("LANGUAGE", _language) or "en",
        proxies=_proxies(env),
        webhook=_webhook(env),
        email=_email(env),
        telegram=_telegram(env),
        dingtalk=_robot(env, "DINGTALK", _dingtalk_url, _dingtalk_secret),
        feishu=_robot(env, "FEISHU", _feishu_url, _token),
        wecom=_robot(env, "WECOM", _wecom_url, None),
        notes=tuple(_strangers(environ)),
    )
    if env.problems:
        raise ConfigError(env.problems)
    return settings


@dataclass(slots=True)
class _Environment:
    """Takes settings by name and collects what is wrong with them."""

    environ: Mapping[str, str]
    problems: list[str] = field(default_factory=list)

    def text(self, name: str) -> str | None:
        """A setting as it was given; None where it was not."""
        full = f"ALERT_{name}"
        value, file = (self.environ.get(key, "").strip() for key in (full, f"{full}_FILE"))
        if value and file:
            self.problems.append(f"{full} and {full}_FILE are both set: remove one of them")
        if value or not file:
            return value or None
        if not file.startswith("/"):
            self.problems.append(f"{full}_FILE must be the full path of a file")
            return None
        try:
            return resolve(f"file:{file}", {}).strip()
        except ValueError as error:
            self.problems.append(f"{full}_FILE {error}; make it readable for the relay, or remove the setting")
            return None

    def take(self, name: str, check: Callable[[str], T]) -> T | None:
        """A setting that passed its check; None where it was not given, or is wrong."""
        text = self.text(name)
        if text is None:
            return None
        try:
            return check(text)
        except ValueError as error:
            self.problems.append(f"ALERT_{name} {error}")
            return None

    def given(self, name: str) -> bool:
        """Whether a setting is there, right or wrong."""
        return any(self.environ.get(key, "").strip() for key in (f"ALERT_{name}", f"ALERT_{name}_FILE"))

    def needs(self, name: str, other: str, why: str) -> None:
        """Complain about half a pair."""
        if self.given(name) and not self.given(other):
            self.problems.append(f"ALERT_{name} is set, but ALERT_{other} is not: {why}")


def _strangers(environ: Mapping[str, str]) -> list[str]:
    """Names that look like ours but are not: most likely slips, after which a messenger would stay off unseen."""
    known = [f"ALERT_{name}" for name in NAMES]
    every = {*known, *(f"{name}_FILE" for name in known)}
    strange = sorted(name for name in environ if name.startswith("ALERT_") and name not in every)
    return [f"{name} is no setting of the relay{did_you_mean(name, known)}" for name in strange]


# --- one messenger each ----------------------------------------------------------------------------------------------


def _webhook(env: _Environment) -> Webhook | None:
    env.needs("WEBHOOK_TOKEN", "WEBHOOK_URL", "the token needs an address to go to")
    url, token = env.take("WEBHOOK_URL", _url), env.take("WEBHOOK_TOKEN", _token)
    return Webhook(url, token) if url else None


def _telegram(env: _Environment) -> Telegram | None:
    env.needs("TELEGRAM_TOKEN", "TELEGRAM_CHAT", "add the number of the chat, or @name of a channel")
    env.needs("TELEGRAM_CHAT", "TELEGRAM_TOKEN", "add the token that @BotFather gave you")
    env.needs("TELEGRAM_URL", "TELEGRAM_TOKEN", "add the token that @BotFather gave you")
    token, chat = env.take("TELEGRAM_TOKEN", _telegram_token), env.take("TELEGRAM_CHAT", _telegram_chat)
    url = env.take("TELEGRAM_URL", addresses.base_url("https", "http")) or TELEGRAM
    return Telegram(token, chat, url) if token and chat else None


def _robot(
    env: _Environment, name: str, url: Callable[[str], Secret], secret: Callable[[str], Secret] | None
) -> Robot | None:
    if secret is not None:
        env.needs(f"{name}_SECRET", f"{name}_URL", "add the robot's address")
    address = env.take(f"{name}_URL", url)
    key = env.take(f"{name}_SECRET", secret) if secret is not None else None
    return Robot(address, key) if address else None


def _email(env: _Environment) -> Email | None:
    for name in ("SMTP_HOST", "SMTP_PORT", "SMTP_SECURITY", "SMTP_USER", "SMTP_PASSWORD", "SMTP_FROM"):
        env.needs(name, "EMAIL_TO", "say who gets the mail")
    env.needs("EMAIL_TO", "SMTP_HOST", "name the mail server")
    env.needs("SMTP_USER", "SMTP_PASSWORD", "a login needs both")
    env.needs("SMTP_PASSWORD", "SMTP_USER", "a login needs both")
    to, host = env.take("EMAIL_TO", _mailboxes), env.take("SMTP_HOST", _host)
    port, user = env.take("SMTP_PORT", _port), env.take("SMTP_USER", _ascii)
    security = env.take("SMTP_SECURITY", _security) or (Security.TLS if port == 465 else Security.STARTTLS)
    password = env.take("SMTP_PASSWORD", _password)
    if security is Security.NONE and user:
        env.problems.append(
            "ALERT_SMTP_SECURITY is none, but a password must not travel in the clear: use starttls or tls"
        )
    sender = env.take("SMTP_FROM", _mailbox) or (user if user and _MAILBOX.fullmatch(user) else None)
    if to and host and not sender and not env.given("SMTP_FROM"):
        env.problems.append("ALERT_SMTP_FROM is not set: say which address the mail comes from")
    if not (to and host and sender):
        return None
    return Email(to, sender, host, port or PORTS[security], security, user, password)


def _proxies(env: _Environment) -> Proxies:
    found: dict[str, Secret] = {}
    for scheme in ("https", "http"):
        names = ("PROXY", f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY")
        name = next((name for name in names if env.environ.get(name, "").strip()), None)
        if name is None:
            continue
        try:
            found[scheme] = addresses.proxy(env.environ[name].strip())
        except ValueError as error:
            problem = f"{name} {error}"
            env.problems += [problem] if problem not in env.problems else []
        else:
            protect(*addresses.proxy_passwords(found[scheme]))
    return Proxies(found, env.environ.get("no_proxy") or env.environ.get("NO_PROXY") or "")


# --- checks of single values; none of them quotes what it refuses --------------------------------------------------


def _language(text: str) -> str:
    if text.lower() not in ("en", "zh"):
        raise ValueError("must be en or zh")
    return text.lower()


def _url(text: str) -> Secret:
    """An address to send to; every part of it that may be a credential is protected."""
    if not text.lower().startswith(("http://", "https://")):
        raise ValueError("is no http(s) URL: copy the whole address, it begins with https://")
    parts = addresses.split_url(text)
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user or password")
    if parts.fragment or not text.isascii() or not text.isprintable():
        raise ValueError("holds characters that an address cannot have: copy it again")
    pieces = [value for _, value in parse_qsl(parts.query)] + [unquote(parts.path).rpartition("/")[2]]
    protect(text, *(piece for piece in pieces if len(piece) >= 8))
    return Secret(text)


def _robot_url(text: str, parameter: str, example: str) -> Secret:
    url = _url(text)
    if not dict(parse_qsl(urlsplit(text).query)).get(parameter):
        raise ValueError(f"has no {parameter}=…: copy the robot's whole address, {example}{parameter}=…")
    return url


def _dingtalk_url(text: str) -> Secret:
    return _robot_url(text, "access_token", "https://oapi.dingtalk.com/robot/send?")


def _wecom_url(text: str) -> Secret:
    return _robot_url(text, "key", "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?")


def _feishu_url(text: str) -> Secret:
    url = _url(text)
    if not re.search(r"/hook/[^/]+$", urlsplit(text).path):
        raise ValueError(
            "does not end in /hook/…: copy the robot's whole address, https://open.feishu.cn/open-apis/bot/v2/hook/…"
        )
    return url


def _dingtalk_secret(text: str) -> Secret:
    if not text.startswith("SEC") or not _HEADER.fullmatch(text):
        raise ValueError("does not begin with SEC: copy the secret that DingTalk shows under 加签 (signature)")
    return _token(text)


def _token(text: str) -> Secret:
    if not _HEADER.fullmatch(text):
        raise ValueError("holds spaces or characters that are not ASCII: copy it again")
    protect(text)
    return Secret(text)


def _telegram_token(text: str) -> Secret:
    if not _TOKEN.fullmatch(text):
        raise ValueError("is no bot's token: copy what @BotFather gave you, a number, a colon and letters")
    protect(text, text.partition(":")[2])
    return Secret(text)


def _telegram_chat(text: str) -> str:
    if not _CHAT.fullmatch(text):
        raise ValueError("is no chat: write its number (groups' begin with -), or @name of a channel")
    return text


def _mailbox(text: str) -> str:
    if not _MAILBOX.fullmatch(text) or not text.isascii():
        raise ValueError("is no plain mail address: write name@example.com, without a display name")
    return text


def _mailboxes(text: str) -> tuple[str, ...]:
    return tuple(_mailbox(one.strip()) for one in text.split(",") if one.strip())


def _host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._:-]+", text) or text.count(":") == 1:
        raise ValueError("is no host name: write it without https:// and without a port, which is ALERT_SMTP_PORT")
    return text


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65536):
        raise ValueError("is no number from 1 to 65535")
    return int(text)


def _security(text: str) -> Security:
    try:
        return Security(text.lower())
    except ValueError:
        raise ValueError("must be starttls, tls or none") from None


def _ascii(text: str) -> str:
    if not text.isascii() or not text.isprintable():
        raise ValueError("holds characters that are not ASCII, which a login by SMTP cannot carry")
    return text


def _password(text: str) -> Secret:
    protect(_ascii(text))
    return Secret(text)
