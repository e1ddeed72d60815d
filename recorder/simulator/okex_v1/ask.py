"""What a client of OKEx v1 asks, read from its bytes, and the signature of a login.

Owns the reading. Never answers and never keeps anything.

Documented: one object or an array of them; single quotes, which the documents' own examples have; `binary` 1 for
compressed answers; the signature. Our guess: `binary` as number, string or true alike, and the codes for what is no
request at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

EVENTS = frozenset({"addChannel", "removeChannel", "login", "ping"})
TRUE = ("1", "true", "True")


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `error`: the code that answers it, empty where it can be understood."""

    event: str
    channel: str = ""
    packed: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)
    error: str = ""


def read(message: bytes) -> list[Ask]:
    """The requests of a message."""
    try:
        found = _decoded(message)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return [Ask("", error="10001")]
    return [_ask(one) for one in (found if isinstance(found, list) else [found])]


def _decoded(message: bytes) -> object:
    try:
        return msgspec.json.decode(message)
    except msgspec.MsgspecError:
        return msgspec.json.decode(message.replace(b"'", b'"'))


def _ask(found: object) -> Ask:
    if not isinstance(found, dict):
        return Ask("", error="10001")
    event, channel, parameters = (found.get(name) or "" for name in ("event", "channel", "parameters"))
    given = {str(k): str(v) for k, v in parameters.items()} if isinstance(parameters, dict) else {}
    packed = str(found.get("binary", "0")) in TRUE
    if event not in EVENTS:
        return Ask(str(event), str(channel), packed, given, "10008" if event else "10000")
    missing = event in ("addChannel", "removeChannel") and not channel
    return Ask(event, str(channel), packed, given, "10000" if missing else "")


def sign(parameters: Mapping[str, str], secret: str) -> str:
    """The signature of a request: MD5, in upper case, of the sorted parameters (but itself) and the secret key."""
    pairs = [f"{name}={value}" for name, value in sorted(parameters.items()) if name != "sign"]
    text = "&".join([*pairs, f"secret_key={secret}"])
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest().upper()
