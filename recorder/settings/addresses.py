"""Addresses in the configuration: where we listen, whom we call, through whom.

Owns the checks of their form. Never resolves a name and never opens a connection.
"""

from __future__ import annotations

from urllib.parse import SplitResult, quote, urlsplit

from recorder.config import Secret
from recorder.settings.tables import Check, did_you_mean, word

_PROXIES = ("http", "socks4", "socks5", "socks5h")


def listen(value: object) -> str:
    """host:port that we bind; port 0 takes a free one."""
    text = word(value)
    host, separator, port = text.rpartition(":")
    example = 'write host:port, like "127.0.0.1:9464" or "[::1]:9464"'
    if not separator or not host or not (port.isascii() and port.isdecimal()):
        raise ValueError(f"is no address to listen on; {example}")
    if (":" in host and not (host.startswith("[") and host.endswith("]"))) or "/" in host:
        raise ValueError(f"is no address to listen on; {example}")
    if int(port) > 65535:
        raise ValueError("has a port above 65535")
    return text


def split_url(text: str) -> SplitResult:
    """The parts of a URL whose host and port are sound."""
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("is no URL that can be read") from None
    try:
        port = parts.port
    except ValueError:
        hint = "; / ? and # in user or password must be percent-encoded (/ is %2F)" if "@" in text else ""
        raise ValueError(f"has a port that is no number from 1 to 65535{hint}") from None
    if not parts.hostname or any(c.isspace() for c in text):
        raise ValueError("is no URL with a host")
    if port == 0:
        raise ValueError("has a port that is no number from 1 to 65535")
    return parts


def base_url(*schemes: str) -> Check[str]:
    """A base URL of a venue: scheme, host, port, maybe a path; nothing that belongs to a request or is secret."""

    def check(value: object) -> str:
        text = word(value)
        scheme = text.partition("://")[0] if "://" in text else ""
        if scheme not in schemes:
            raise ValueError(
                f"must begin with {' or '.join(s + '://' for s in schemes)}{did_you_mean(scheme, schemes)}"
            )
        parts = split_url(text)
        if parts.username is not None or parts.password is not None:
            raise ValueError("must not hold a user or password")
        if parts.query or parts.fragment or text.endswith(("?", "#")):
            raise ValueError('must end before "?" and "#": paths and queries are added by the venue')
        return text.rstrip("/")

    return check


def proxy(value: object) -> Secret:
    """The URL of a proxy, perhaps with user and password."""
    text = word(value)
    scheme = text.partition("://")[0]
    if "://" not in text or scheme not in _PROXIES:
        raise ValueError(f"must be a proxy URL: {', '.join(_PROXIES[:-1])} or {_PROXIES[-1]}://host:port")
    if split_url(text).port is None:
        raise ValueError(f"names no port; write {scheme}://host:port")
    return Secret(text)


def database(value: object) -> Secret | None:
    """The URL of a PostgreSQL server; an empty one is none. What the driver says about a bad one is not repeated: it
    quotes pieces of the password."""
    if not isinstance(value, str):
        raise ValueError('must be a string in quotes, like "postgresql://recorder@localhost:5432/market"')
    text = value.strip()
    if not text:
        return None
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("must begin with postgresql://, like postgresql://recorder@localhost:5432/market")
    # psycopg takes 0.1 s to import, and most commands that fail here never need it.
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        parts = conninfo_to_dict(text)
    except ProgrammingError:
        raise ValueError(
            "cannot be read as a PostgreSQL URL; characters such as @ : / ? # % in user or password must be "
            "percent-encoded (@ is %40)"
        ) from None
    # The parser takes any text for a port; a list has one for each host.
    for port in filter(None, str(parts.get("port") or "").split(",")):
        if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError("has a port that is no number from 1 to 65535")
    return Secret(text)


def with_password(url: str, password: str) -> Secret:
    """A checked database URL without password, with this one."""
    return Secret(f"{url}{'&' if urlsplit(url).query else '?'}password={quote(password, safe='')}")


def passwords(url: str) -> list[str]:
    """The secret parts of a checked database URL."""
    from psycopg.conninfo import conninfo_to_dict

    found = conninfo_to_dict(url)
    return [str(found[key]) for key in ("password", "sslpassword") if found.get(key)]


def proxy_passwords(url: str) -> list[str]:
    """The secret part of a checked proxy URL."""
    password = urlsplit(url).password
    return [password] if password else []
