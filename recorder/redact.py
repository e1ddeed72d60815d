"""Keeps secrets, and characters that forge lines, out of everything that leaves the process as text.

Owns the set of known secret values and the patterns of credentials in URLs and connection strings. Every text that
goes to a log, a terminal, a page or an exception's sentence passes `redact`. Never stores where a secret came from,
and never gives one back.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable
from urllib.parse import quote, quote_plus, unquote

MASK = "***"

# Shorter values would blank out every other word of a log; in URLs and connection strings the patterns catch them.
_SHORTEST = 4

_WORDS = (
    "api_?key|access_?key|secret_?key|secret|token|access_token|password|passwd|passphrase|sslpassword|signature|sign"
)
_PATTERNS = (
    # The user's part may hold unescaped slashes and at-signs: everything up to the last @ of the word goes.
    (re.compile(r"(?<=://)([^/@:\s]*):\S*@"), rf"\1:{MASK}@"),
    (re.compile(rf"(?i)([?&](?:{_WORDS})=)[^&\s\"'#]+"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(password|passwd|sslpassword)\s*=\s*('(?:[^'\\]|\\.)*'|[^\s*&'\"][^\s&'\"]*)"), rf"\1={MASK}"),
    (re.compile(r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?(?:basic|bearer)\s+)[\w.~+/=-]+"), rf"\1{MASK}"),
)


class Redactor:
    """Replaces every known secret, in each of the spellings in which it can turn up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None

    def add(self, secrets: Iterable[str]) -> None:
        """Know these values from now on."""
        spellings = {s for secret in secrets for s in _spellings(secret)}
        with self._lock:
            if spellings <= self._known:
                return
            self._known |= spellings
            # The longest first: a secret may begin with another one.
            ordered = sorted(self._known, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, ordered)))

    def __call__(self, text: str) -> str:
        """The text without credentials."""
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return self._pattern.sub(MASK, text) if self._pattern is not None else text


def _spellings(secret: str) -> set[str]:
    """A value as it is, percent-encoded and -decoded, and as the inside of a JSON string or a repr."""
    values = {secret, unquote(secret)}
    found = {f(v) for v in values for f in (str, quote, quote_plus, lambda s: quote(s, safe=""))}
    found |= {json.dumps(v)[1:-1] for v in values} | {repr(str(v))[1:-1] for v in values}
    return {str(s) for s in found if len(s) >= _SHORTEST}


_redactor = Redactor()


def protect(*secrets: str) -> None:
    """Never let these values appear in any output of this process."""
    _redactor.add(secrets)


def redact(text: str) -> str:
    """The text without any protected value and without credentials in URLs."""
    return _redactor(text)


# C0, C1 and DEL move the cursor or end the line; the rest reorders or breaks text on a terminal (bidi, U+2028/9);
# lone surrogates cannot be encoded.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def clean(text: str) -> str:
    """Control characters as visible escapes: a venue's string cannot forge a line or move a cursor."""
    return _CONTROL.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    return _SHORT.get(char) or (f"\\x{ord(char):02x}" if char < "\x7f" or char <= "\x9f" else f"\\u{ord(char):04x}")
