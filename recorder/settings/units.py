"""Durations and sizes as people write them: "250ms", "1h30m", "64MiB".

Owns their grammar, both ways. Never rounds silently: what cannot be read is a `ValueError` whose text says why.
"""

from __future__ import annotations

import re

DURATIONS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BINARY = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_DECIMAL = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
SIZES = _BINARY | _DECIMAL

_PART = re.compile(r"(\d+(?:\.\d+)?)([A-Za-zµ]*)")


def _parts(text: str, units: dict[str, float] | dict[str, int], kind: str, example: str) -> float:
    """The sum of `<number><unit>` parts."""
    total, at = 0.0, 0
    for match in _PART.finditer(text):
        if match.start() != at:
            break
        total += float(match[1]) * _unit(match[2], units, kind, example)
        at = match.end()
    if at != len(text) or not text:
        raise ValueError(f"is not a {kind} like {example}")
    return total


def _unit(name: str, units: dict[str, float] | dict[str, int], kind: str, example: str) -> float:
    if name in units:
        return units[name]
    if not name:
        raise ValueError(f"has no unit; write a {kind} like {example}")
    near = [u for u in units if u.lower() == name.lower() or u.lower().startswith(name.lower())]
    hint = f'; did you mean "{near[0]}"?' if near else f"; units are {', '.join(units)}"
    raise ValueError(f'has the unknown unit "{name}"{hint}')


def duration(text: str) -> float:
    """Seconds of a duration like "250ms"."""
    return _parts(text.strip(), DURATIONS, "duration", '"250ms", "10s" or "7d"')


def size(text: str) -> int:
    """Bytes of a size like "64MiB"."""
    return round(_parts(text.strip(), SIZES, "size", '"64MiB" or "20GiB"'))


def show_duration(seconds: float) -> str:
    """A duration in the largest unit that keeps it exact to the microsecond."""
    us = round(seconds * 1e6)
    for name, one in reversed(DURATIONS.items()):
        if us and us % round(one * 1e6) == 0 and name != "w":
            return f"{us // round(one * 1e6)}{name}"
    return "0s"


def show_size(count: int) -> str:
    """A size in the largest unit that keeps it exact."""
    exact = [name for name, one in _BINARY.items() if count and count % one == 0]
    return f"{count // _BINARY[exact[-1]]}{exact[-1]}" if exact else "0B"


def show_bytes(count: int) -> str:
    """A number of bytes for people: rounded, in the unit that suits it."""
    fitting = [name for name, one in _BINARY.items() if count >= one] or ["B"]
    return f"{count / _BINARY[fitting[-1]]:.3g} {fitting[-1]}" if len(fitting) > 1 else f"{count} B"
