"""How one logs in at OKEx: v1 with an MD5, v3 as OKX v5 still signs it.

Owns what is signed, and the options that v3's is made of. Never knows what for: no market data wants a login.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from recorder.venues import Request

OPTIONS: Mapping[str, str] = {
    "api_key": "the key of an account, to log in with: no channel of market data needs it",
    "secret_key": "its secret",
    "passphrase": "its passphrase",
}
SIGNED = "GET/users/self/verify"


@dataclass(frozen=True, slots=True)
class KeyLogin:
    """Of an account at v1. Shows nothing of itself."""

    api_key: str = field(repr=False)
    secret_key: str = field(repr=False)

    def request(self, now: int) -> Request:
        """`{"event":"login","parameters":{"api_key":…,"sign":…}}`: the MD5 of the sorted parameters and, behind them,
        the secret."""
        signed = f"api_key={self.api_key}&secret_key={self.secret_key}".encode()
        sign = hashlib.md5(signed, usedforsecurity=False).hexdigest().upper()
        message = {"event": "login", "parameters": {"api_key": self.api_key, "sign": sign}}
        return Request(json.dumps(message, separators=(",", ":")).encode())


@dataclass(frozen=True, slots=True)
class Credentials:
    """Of an account. Shows nothing of itself."""

    api_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    passphrase: str = field(repr=False)

    def request(self, now: int) -> Request:
        """`{"op":"login","args":[key, passphrase, seconds, signature]}` as v3 has it; good for 30 s from `now` (µs)."""
        second = str(now // 1_000_000)
        digest = hmac.digest(self.secret_key.encode(), f"{second}{SIGNED}".encode(), "sha256")
        args = [self.api_key, self.passphrase, second, base64.b64encode(digest).decode()]
        return Request(json.dumps({"op": "login", "args": args}, separators=(",", ":")).encode())


def credentials(options: Mapping[str, str]) -> Credentials | None:
    """The login that a source's options ask for; None where they lack any part of it."""
    found = [options.get(each, "") for each in OPTIONS]
    return Credentials(*found) if all(found) else None


def missing(options: Mapping[str, str]) -> Iterator[str]:
    """What a login lacks that the options begin, a sentence each."""
    lacking = [each for each in OPTIONS if not options.get(each)]
    words = f"is missing; a login needs {', '.join(OPTIONS)}: all of them, or none"
    yield from (f"{each}: {words}" for each in lacking if len(lacking) < len(OPTIONS))
