"""Bytes on the wire, seen from a server: HTTP/1.1 requests and answers, and unmasked WebSocket frames.

Owns the two formats. Never touches a socket; the opening handshake and what clients send are left to `websockets`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

HEAD_BYTES = 16 << 10
BODY_BYTES = 1 << 20


class BadRequest(ValueError):
    """What came is not an HTTP/1.1 request that we read: the connection is answered 400 and closed."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One HTTP request. Header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def is_upgrade(self) -> bool:
        """Whether the client asks for a WebSocket."""
        return self.headers.get("upgrade", "").lower() == "websocket"


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """One HTTP answer, always with a length."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The whole answer as bytes."""
        fields = {"Content-Type": "application/json", **self.headers, "Content-Length": str(len(self.body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        head = f"HTTP/1.1 {self.status} {_phrase(self.status)}\r\n{lines}\r\n"
        return head.encode("latin-1") + self.body


def _phrase(status: int) -> str:
    """The status in words; gateways and venues have numbers of their own (427, 499, 524)."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unassigned"


def parse_request(data: bytes) -> tuple[HttpRequest, int] | None:
    """The first request in `data` and how many bytes it took; None while it is incomplete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > HEAD_BYTES:
            raise BadRequest("the head is longer than 16 KiB")
        return None
    line, headers = _head(data[:end])
    length = _length(headers)
    total = end + 4 + length
    if len(data) < total:
        return None
    method, target = line
    url = urlsplit(target)
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    return HttpRequest(method, url.path, query, headers, data[end + 4 : total]), total


def _head(head: bytes) -> tuple[tuple[str, str], dict[str, str]]:
    first, *rest = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or words[2] != "HTTP/1.1":
        raise BadRequest("not an HTTP/1.1 request line")
    headers = {}
    for line in rest:
        name, colon, value = line.partition(":")
        if not colon:
            raise BadRequest("a header without a colon")
        headers[name.strip().lower()] = value.strip()
    return (words[0], words[1]), headers


def _length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "0")
    if not text.isascii() or not text.isdigit() or int(text) > BODY_BYTES:
        raise BadRequest("a Content-Length that is no number up to 1 MiB")
    return int(text)


def frame(payload: bytes, opcode: int = 0x1, *, final: bool = True) -> bytes:
    """An unmasked frame, as servers send them (RFC 6455 §5.2). Opcodes: 0 continuation, 1 text, 2 binary."""
    size = len(payload)
    first = (0x80 | opcode) if final else opcode
    if size < 126:
        return bytes((first, size)) + payload
    if size < 1 << 16:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload
