"""Strings of the configuration that point elsewhere: ${VAR}, ${VAR:-default}, ${VAR:?message}, file:/path.

Owns their grammar and their resolution. What it resolves it never shows: a resolved string remembers how it was
written, and messages quote that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

# A secret or a URL; a path that leads to something larger is a mistake, and must not be read into memory whole.
_MOST = 64 * 1024

# `$${` stands for a literal `${`, should a password hold one.
_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_INNER = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::([-?])(.*))?", re.DOTALL)


class Resolved(str):
    """A string that came from elsewhere; `written` is what stands in the file."""

    __slots__ = ("written",)
    written: str

    def __new__(cls, value: str, written: str) -> Resolved:
        """The value, and how the file says it."""
        made = super().__new__(cls, value)
        made.written = written
        return made


def written(value: object) -> str:
    """How a value stands in the file, for messages."""
    if isinstance(value, Resolved):
        return f'"{value.written}"'
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "a list"
    return "a table" if isinstance(value, dict) else str(value)


def resolve(text: str, environ: Mapping[str, str]) -> str:
    """The string that is meant; ValueError with a sentence when it cannot be had."""
    value = _REFERENCE.sub(lambda match: _replacement(match, environ), text)
    if value.startswith("file:"):
        return Resolved(_content(value.removeprefix("file:")), text)
    return value if value == text else Resolved(value, text)


def _replacement(match: re.Match[str], environ: Mapping[str, str]) -> str:
    if match[0] == "$${":
        return "${"
    inner = _INNER.fullmatch(match[1] or "")
    if inner is None:
        raise ValueError('holds a "${" that is no ${VAR}, ${VAR:-default} or ${VAR:?message}; a literal one is "$${"')
    name, operator, argument = inner[1], inner[2], inner[3]
    found = environ.get(name)
    if operator is None:
        if found is None:
            raise ValueError(f"needs the environment variable {name}, which is not set")
        return found
    if found:
        return found
    if operator == "-":
        return str(argument)
    raise ValueError(f"needs the environment variable {name}: {argument or 'not set'}")


def _content(name: str) -> str:
    """The text of a file without the newline at its end."""
    path = Path(name.removeprefix("//"))
    if not path.is_absolute():
        raise ValueError('names a file without its full path; write "file:/full/path"')
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST + 1)
        text = raw.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError(f"names the file {path}, which is not UTF-8 text") from None
    except OSError as error:
        raise ValueError(f"names the file {path}, which cannot be read: {error.strerror}") from None
    if len(raw) > _MOST:
        raise ValueError(f"names the file {path}, which is larger than 64 KiB")
    if not text:
        raise ValueError(f"names the file {path}, which is empty")
    return text
