"""OKEx v3's login: whether key, passphrase, time and signature are somebody's.

Owns the rule: Base64 of HMAC-SHA256 over time + "GET" + "/users/self/verify", the time in Unix seconds, good for 30
seconds. So the clients of the vendor; which code meets which fault is taken from the table of the REST API.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

VERIFIED = "GET/users/self/verify"
EXPIRES = 30.0  # seconds
BLANK = ("30001", "30004", "30003", "30002")  # in the order of the arguments


@dataclass(frozen=True, slots=True)
class Account:
    """What goes with a key."""

    secret: str = field(repr=False)
    passphrase: str = field(repr=False)


ACCOUNTS: Mapping[str, Account] = {"demo": Account("demo-secret", "demo-passphrase")}


def sign(secret: str, timestamp: str) -> str:
    """The signature of a login at this time."""
    return b64encode(hmac.digest(secret.encode(), f"{timestamp}{VERIFIED}".encode(), "sha256")).decode()


def refused(args: Sequence[str], accounts: Mapping[str, Account], now: float) -> str:
    """The code that refuses a login at this time (Unix seconds), empty when it is fine. `args`: key, passphrase,
    time, signature."""
    blank = next((code for code, value in zip(BLANK, [*args, "", "", "", ""], strict=False) if not value), "")
    if blank or len(args) != len(BLANK):
        return blank or "30027"
    key, passphrase, timestamp, signature = args
    try:
        at = float(timestamp)
    except ValueError:
        return "30005"
    if not isfinite(at):
        return "30005"
    if abs(now - at) > EXPIRES:
        return "30008"
    account = accounts.get(key)
    if account is None:
        return "30006"
    if not hmac.compare_digest(signature.encode(), sign(account.secret, timestamp).encode()):
        return "30013"
    return "" if hmac.compare_digest(passphrase.encode(), account.passphrase.encode()) else "30015"
