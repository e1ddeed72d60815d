"""What may reach COPY: single values checked, whole bursts proven, and the closed set of reasons why not.

Owns the guards and the poison reasons. Never knows a venue's fields, never builds a line.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from recorder.errors import PoisonMessage
from recorder.records import NULL, stamp, text

REASONS = frozenset(
    {
        "invalid_json",  # not JSON
        "invalid_utf8",
        "too_deep",  # nested beyond what a decoder follows
        "wrong_type",  # JSON, but not the shape of this channel
        "missing_field",
        "bad_number",
        "bad_text",  # NUL, control characters or an absurd length in a name
        "bad_levels",  # a book side that is no table of numbers
        "absurd_time",
        "invalid_control",  # a control record of ours that cannot be read
    }
)

DAY_US = 86_400_000_000
Y2000_US = 946_684_800_000_000
BIGINT = 1 << 63


class Bad(PoisonMessage):
    """Why a frame cannot become rows: one of REASONS."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


# What reading a frame can raise on any bytes at all. UnicodeError is a ValueError; KeyError and IndexError are
# LookupErrors.
TROUBLE = (Bad, msgspec.MsgspecError, ValueError, LookupError, RecursionError)


# --- single values, checked -----------------------------------------------------------------------------------------

_NUMBER = re.compile(r"-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_MILLISECONDS = re.compile(r"-?\d{1,17}", re.ASCII)
_NAME = re.compile(r"[^\x00-\x1f\x7f]{0,200}")


def number(value: str) -> str:
    """A decimal as the venue spelled it, NULL for nothing. `numeric` holds more digits than any venue sends."""
    if not value:
        return NULL
    if len(value) > 1000 or not _NUMBER.fullmatch(value):
        raise Bad("bad_number")
    return value


def whole(value: str | int | None, limit: int = BIGINT) -> int | None:
    """A non-negative integer below `limit`, None for nothing."""
    if value is None or value == "":
        return None
    if isinstance(value, str) and not (len(value) < 20 and value.isascii() and value.isdigit()):
        raise Bad("bad_number")
    found = int(value)
    if not 0 <= found < limit:
        raise Bad("bad_number")
    return found


def name(value: str) -> str:
    """A channel or symbol as one COPY field. Bounded, for streams are never forgotten."""
    if not _NAME.fullmatch(value):
        raise Bad("bad_text")
    return text(value)


def moment(milliseconds: str, received_at: int, ahead: int = DAY_US) -> int:
    """A venue's millisecond text as microseconds; received_at where the venue gave none."""
    if not milliseconds:
        return received_at
    if not _MILLISECONDS.fullmatch(milliseconds):
        raise Bad("bad_number")
    us = int(milliseconds) * 1000
    if not Y2000_US <= us <= received_at + ahead:
        raise Bad("absurd_time")
    return us


def plain(message: str) -> str:
    """What a venue said, as PostgreSQL can store it: without NUL, and not endless."""
    return message.replace("\x00", "\ufffd")[:4000]


_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_HUGE = re.compile(rb"[eE][+-]?\d{4}")
_scan = msgspec.json.Decoder()


def payload(raw: bytes) -> str:
    """JSON as one COPY field of a jsonb column: the venue's own text, proven to be what jsonb accepts."""
    value = _scan.decode(raw)
    if _NUL.search(raw):
        raise Bad("bad_text")
    if not isinstance(value, str) and _HUGE.search(raw) and _has_number(value):
        raise Bad("bad_number")
    return text(raw.decode())


def _has_number(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_has_number, value.values()))
    if isinstance(value, list):
        return any(map(_has_number, value))
    return isinstance(value, int | float) and not isinstance(value, bool)


def reason(raw: bytes) -> str:
    """Why these bytes could not be read as a message: not text, not JSON, too deep, or JSON of another shape."""
    try:
        raw.decode()
        _scan.decode(raw)
    except UnicodeDecodeError:
        return "invalid_utf8"
    except RecursionError:
        return "too_deep"
    except msgspec.ValidationError:
        return "bad_number"  # beyond what a double or a Python integer holds
    except (msgspec.DecodeError, ValueError):
        return "invalid_json"
    return "wrong_type"


# --- times, a second at a time --------------------------------------------------------------------------------------

MILLIS = {f"{ms:03d}": ms * 1000 for ms in range(1000)}


class Seconds(dict[str, tuple[str, int]]):
    """Text of a second since 1970 → (`YYYY-MM-DD HH:MM:SS.`, microseconds). Neighbours share it: two look-ups make
    a time and prove that it was made of digits."""

    def __missing__(self, key: str) -> tuple[str, int]:
        if len(key) > 11 or not (key.isascii() and key.isdecimal()):
            raise Bad("bad_number")
        us = int(key) * 1_000_000
        if us < Y2000_US:
            raise Bad("absurd_time")
        if len(self) >= 4096:
            self.clear()
        found = self[key] = (stamp(us)[:20], us)
        return found


# --- guards over a whole burst --------------------------------------------------------------------------------------

_DIGITS = b"0123456789"
_PLAIN = _DIGITS + b".-\t"


def prove_numbers(fields: Sequence[str]) -> None:
    """Only plain decimals: no NaN, Infinity, exponent, hex, white space or backslash. Empty fields pass."""
    joined = "\t".join(fields)
    if joined.encode().translate(None, _PLAIN):
        raise Bad("bad_number")
    deque(map(float, joined.split()), 0)  # the alphabet is proven; float refuses `1.2.3`, `-` and `.`


ARRAY = bytes.maketrans(b"[]", b"{}")
_LEVEL = b'["","","",""]'


def arrays(sides: Sequence[bytes]) -> list[str]:
    """JSON book sides of [price, size, x, count] rows as PostgreSQL array literals, by byte translation alone.

    Without digits and decimal points every row is `["","","",""]`: folding those away must leave nothing. Anything
    else (white space, escapes, other widths, negative prices) is refused, and read value by value instead.
    """
    joined = b"\n".join(sides)
    folded = joined.translate(None, _DIGITS).replace(b'"."', b'""').replace(_LEVEL, b"L").replace(b"L,", b"")
    if folded.replace(b"[L]", b"[]").replace(b"[]\n", b"") not in (b"[]", b""):
        raise Bad("bad_levels")
    if b'""' in joined or b'"."' in joined:
        raise Bad("bad_number")
    return joined.translate(ARRAY, b'"').decode().split("\n") if sides else []


def best_first(side: bytes, descending: bool) -> bool:
    """Whether a side of [price, size, x, count] rows has its best price first."""
    prices = list(map(float, side.split(b'"')[1::8]))
    return prices == sorted(prices, reverse=descending)


_levels: msgspec.json.Decoder[list[list[str]]] = msgspec.json.Decoder(list[list[str]])


def levels(side: bytes | msgspec.Raw) -> list[list[str]]:
    """The rows of a book side as the venue spelled them."""
    return _levels.decode(side)


def checked_array(side: bytes, descending: bool | None) -> str:
    """A book side read value by value. `descending` sorts, None keeps the order as sent."""
    rows = [[number(value) for value in level] for level in levels(side)]
    if any(len(row) != len(rows[0]) or len(row) < 2 or NULL in row for row in rows):
        raise Bad("bad_levels")
    if descending is not None:
        rows.sort(key=lambda row: Decimal(row[0]), reverse=descending)
    return "{" + ",".join("{" + ",".join(row) + "}" for row in rows) + "}"
