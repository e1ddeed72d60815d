"""The way to a venue's host and port: straight, or through a proxy.

Owns what the user is told when a proxy is in the way, in three sentences that call for three different people: "proxy
unreachable" (ours: its address, its machine), "proxy refused" (the proxy's: user, password, rules), and "venue
unreachable through proxy" (nobody's here: the proxy cannot reach it either). python-socks speaks the protocols over
our own non-blocking socket. Never lets a proxy's password, or a word of what the proxy itself says, into a message.
"""

from __future__ import annotations

import socket
import time
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from python_socks import ProxyError
from python_socks.sync.v2 import Proxy

from recorder.capture.reach import Deadline, Target, bracketed, patiently, resolve, send_all, tcp
from recorder.errors import ConnectionLost

MAX_HEAD = 64 << 10  # of an HTTP proxy's answer

# RFC 1928, section 6. 4 to 6 and 3 are about the way from the proxy on; 1 says nothing, and proxies use it for rules.
_SOCKS5 = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "time to live expired",
    7: "command not supported",
    8: "address type not supported",
}
# https://www.openssh.com/txt/socks4.protocol: 91 rejected or failed, 92 and 93 about the user.
_SOCKS4 = {91: "rejected or failed", 92: "user not confirmed", 93: "user not confirmed"}
_BEYOND = {"http": {502, 503, 504}, "socks5": {3, 4, 5, 6}, "socks4": set[int]()}


def connect(goal: Target, deadline: Deadline, proxy: str | None = None) -> tuple[socket.socket, float]:
    """A non-blocking socket that ends at the goal, and the seconds it took to get there. `socks5h` and `http` leave
    the name to the proxy, `socks5` and `socks4` look it up here. Raises `ConnectionLost`."""
    if proxy is None:
        return tcp(goal.host, goal.port, deadline)
    start = time.monotonic()
    sock, name = _reach(proxy, deadline)
    talk = _Talk(sock, deadline)
    try:
        _ask(talk, name, proxy, goal)
    except BaseException:  # whatever ends the attempt, its socket is closed
        sock.close()
        raise
    return sock, time.monotonic() - start


def _reach(proxy: str, deadline: Deadline) -> tuple[socket.socket, str]:
    """A socket to the proxy, and the proxy's `host:port`."""
    parts = urlsplit(proxy)
    try:
        host, port = parts.hostname or "", parts.port or 0
    except ValueError:
        host, port = "", 0
    if not host or not port or _kind(parts.scheme) not in _BEYOND:
        raise ConnectionLost(
            "proxy", f"proxy unreachable: its URL is none of {', '.join(_BEYOND)}, socks5h://host:port"
        )
    try:
        return tcp(host, port, deadline)[0], f"{bracketed(host)}:{port}"
    except ConnectionLost as lost:
        if lost.reason == "shutdown":
            raise
        raise ConnectionLost("proxy", f"proxy unreachable: {lost.detail}") from None


def _ask(talk: _Talk, name: str, proxy: str, goal: Target) -> None:
    """Have the proxy connect us."""
    scheme, _, rest = proxy.partition("://")
    kind = _kind(scheme)
    host = goal.host if scheme in ("socks5h", "http") else _lookup(goal, scheme, talk.deadline)
    by_name = {"rdns": True} if scheme == "socks5h" else {}
    try:
        Proxy.from_url(f"{kind}://{rest}", forward=talk, **by_name).connect(host, goal.port)
    except ProxyError as error:
        raise _refused(kind, talk, error.error_code, name, goal) from None
    except ConnectionLost:
        raise
    except TimeoutError:
        raise _silent(kind, talk, name, goal) from None
    except OSError as error:
        words = error.strerror or type(error).__name__
        raise ConnectionLost("proxy", f"proxy unreachable: {name}: {words}") from None
    except ValueError:  # of the library, and what it says holds user or password
        words = f"{kind.upper()} cannot carry this user, password or venue's name"
        raise ConnectionLost("proxy", f"proxy refused: {name}: {words}") from None


def _kind(scheme: str) -> str:
    """The protocol: the h says who looks up names."""
    return "socks5" if scheme == "socks5h" else scheme


def _lookup(goal: Target, scheme: str, deadline: Deadline) -> str:
    """The goal's address, IPv4 rather than IPv6: we know nothing of the proxy's network, and SOCKS4 has no other."""
    found = sorted(resolve(goal.host, goal.port, deadline), key=lambda address: address[0] != socket.AF_INET)
    if scheme == "socks4" and found[0][0] != socket.AF_INET:
        raise ConnectionLost("dns", f"looking up {goal.host}: no IPv4 address, and SOCKS4 carries no other")
    return str(found[0][4][0])


# --- what went wrong -------------------------------------------------------------------------------------------------


def _refused(kind: str, talk: _Talk, code: int | None, name: str, goal: Target) -> ConnectionLost:
    """The proxy answered, and the answer is no."""
    if code is None:
        return ConnectionLost("proxy", f"proxy refused: {name}: {_no_code(kind, talk)}")
    words = _words(kind, code)
    if code in _BEYOND[kind]:
        return ConnectionLost("proxy", f"venue unreachable through proxy: {goal.name}: {words}", str(code))
    return ConnectionLost("proxy", f"proxy refused: {name}: {words}", str(code))


def _words(kind: str, code: int) -> str:
    """A code and what it means, by the standard: what the proxy says about it may be anything."""
    if kind != "http":
        known = _SOCKS5 if kind == "socks5" else _SOCKS4
        return f"SOCKS {code:#04x}, {known.get(code, 'unknown')}"
    if code == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return "HTTP 407, it wants another user and password"
    known_status = code in HTTPStatus.__members__.values()
    return f"HTTP {code}{', ' + HTTPStatus(code).phrase if known_status else ''}"


def _no_code(kind: str, talk: _Talk) -> str:
    """What an answer without a code says: of RFC 1928 section 3 and RFC 1929, or of no protocol at all."""
    heard = bytes(talk.heard)
    if kind == "socks5" and heard[:2] == b"\x05\xff":
        return "SOCKS method 0xff, it wants another way to log in (a user and password, or none)"
    if kind == "socks5" and heard[:3] == b"\x05\x02\x01" and heard[3:4] not in (b"", b"\x00"):
        return f"SOCKS login status {heard[3]:#04x}, the user or the password is wrong"
    if talk.ended:
        return "it ended the connection without an answer"
    return f"it does not answer as {'an HTTP proxy' if kind == 'http' else kind.upper()} does"


def _silent(kind: str, talk: _Talk, name: str, goal: Target) -> ConnectionLost:
    """No answer in time. A SOCKS5 proxy says something before it goes to the venue; others do not, and mostly it is
    the venue that they wait for."""
    if kind == "socks5" and not talk.heard:
        return ConnectionLost("proxy", f"proxy unreachable: {name}: no answer in time")
    return ConnectionLost("proxy", f"venue unreachable through proxy: {goal.name}: no answer in time")


class _Talk:
    """The connection to the proxy as the library sees it, both the chain before it and its stream: every wait is
    ours. `heard` is everything that the proxy said, `ended` that it hung up; nothing after its answer is taken."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self.deadline = deadline
        self.heard = bytearray()
        self.ended = False
        self._sock = sock

    def connect(self, **_: Any) -> _Talk:
        """The library asks for the way to its proxy: here it is."""
        return self

    def write(self, data: bytes) -> None:
        """Send all of it."""
        send_all(self._sock, data, self.deadline)

    def read(self, max_bytes: int = MAX_HEAD) -> bytes:
        """The head of an HTTP answer, whole, however many packets it comes in."""
        while not self.heard.endswith(b"\r\n\r\n") and len(self.heard) < max_bytes and self._more(1):
            pass
        return bytes(self.heard)

    def read_exactly(self, n: int) -> bytes:
        """So many bytes of a SOCKS answer."""
        end = len(self.heard) + n
        while len(self.heard) < end:
            if not self._more(end - len(self.heard)):
                raise ProxyError("the answer ended early")
        return bytes(self.heard[end - n :])

    def _more(self, size: int) -> int:
        data = patiently(lambda: self._sock.recv(size), self._sock, self.deadline)
        self.heard += data
        self.ended = not data
        return len(data)

    def close(self) -> None:
        """Whoever opened the socket closes it."""
