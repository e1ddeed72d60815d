"""What may reach COPY: single values checked, whole bursts proven, and the closed set of reasons why not.

Owns the guards and the poison reasons. Never knows a venue's fields, never builds a line.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TypeVar

import msgspec

from recorder.errors import PoisonMessage
from recorder.records import NULL, stamp, text

REASONS = frozenset(
    {
        "invalid_json",  # not JSON
        "invalid_utf8",
        "bad_deflate",  # compressed, but not as announced, or to more than a message may hold
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
    """Why a frame cannot become rows: one of REASONS. `frames`: of many, those that are to blame, if that is known."""

    def __init__(self, reason: str, frames: Iterable[int] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.frames = frozenset(frames)


# What reading a frame can raise on any bytes at all. UnicodeError is a ValueError; KeyError and IndexError are
# LookupErrors; what Decimal raises is an ArithmeticError.
TROUBLE = (Bad, msgspec.MsgspecError, ValueError, LookupError, ArithmeticError, RecursionError)


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
_EXPONENT = re.compile(r"[eE][+-]?\d{4}")


def _storable(spelled: str) -> None:
    """Refuse a JSON number that `numeric` may not hold."""
    if _EXPONENT.search(spelled) or len(spelled) > 1000:
        raise Bad("bad_number")


_scan = msgspec.json.Decoder(float_hook=_storable)


def payload(raw: bytes) -> str:
    """JSON as one COPY field of a jsonb column: the venue's own text, proven to be what jsonb accepts."""
    _scan.decode(raw)
    if _NUL.search(raw):
        raise Bad("bad_text")
    return text(raw.decode())


def reason(raw: bytes) -> str:
    """Why these bytes could not be read as a message: not text, not JSON, too deep, or JSON of another shape."""
    try:
        raw.decode()
        _scan.decode(raw)
    except UnicodeDecodeError:
        return "invalid_utf8"
    except RecursionError:
        return "too_deep"
    except (Bad, msgspec.ValidationError):
        return "bad_number"  # beyond what numeric or a Python integer holds
    except (msgspec.DecodeError, ValueError):
        return "invalid_json"
    return "wrong_type"


# --- times --------------------------------------------------------------------------------------


class Stamps(dict[str, tuple[str, int]]):
    """Milliseconds since 1970 as a venue spells them → (text for COPY, microseconds). The more there is to do, the
    more records share a millisecond: then a time costs one look-up, which also proves that it was made of digits."""

    def __init__(self) -> None:
        super().__init__()
        self._seconds: dict[str, str] = {}

    def __missing__(self, key: str) -> tuple[str, int]:
        if not (13 <= len(key) <= 14 and key.isascii() and key.isdecimal()):
            raise Bad("bad_number")  # or a time that only the checked path can judge
        us = int(key) * 1000
        if us < Y2000_US:
            raise Bad("absurd_time")
        second = self._seconds.get(key[:-3])
        if second is None:
            second = _bounded(self._seconds)[key[:-3]] = stamp(us)[:20]
        found = _bounded(self)[key] = (f"{second}{key[-3:]}000+00", us)
        return found


def odd_times(milliseconds: Sequence[str], stamps: Stamps) -> list[int]:
    """Where the times are that only the checked path can judge."""
    found = []
    for i, ms in enumerate(milliseconds):
        try:
            stamps[ms]
        except Bad:
            found.append(i)
    return found


V = TypeVar("V")


def _bounded(cache: dict[str, V]) -> dict[str, V]:
    """The cache, emptied when it has grown beyond use."""
    if len(cache) >= 4096:
        cache.clear()
    return cache


# --- guards over a whole burst --------------------------------------------------------------------------------------

_DIGITS = b"0123456789"
_POINTED = _DIGITS + b"."


def prove_numbers(columns: Sequence[Sequence[str]]) -> None:
    """Only plain decimals: no NaN, Infinity, exponent, hex, white space or backslash. Empty fields pass."""
    joined = "\t".join(["", *map("\t".join, columns), ""]).encode()
    rest = joined.translate(None, _DIGITS)  # tabs and points, if all is well
    if rest.translate(None, b".\t"):
        if rest.translate(None, b".\t-"):
            raise Bad("bad_number")
        deque(map(float, joined.split()), 0)  # the alphabet is proven; float refuses `1-2`, `-` and `1.2.3`
    elif b".." in rest or b"\t.\t" in joined:
        raise Bad("bad_number")
    if rest.count(b"\t") != sum(map(len, columns)) + 1:
        raise Bad("bad_text")  # a tab inside a field would move the columns behind it


_PLAIN = re.compile(r"-?(?:\d+\.?\d*|\.\d+)?", re.ASCII)


def odd_ones(column: Sequence[str]) -> list[int]:
    """Where in a column that could not be proven the values are that are no plain decimals."""
    return [i for i, value in enumerate(column) if not _PLAIN.fullmatch(value)]


def prove_ids(fields: Sequence[str]) -> None:
    """Only digits."""
    joined = "".join(fields)
    if joined and not (joined.isascii() and joined.isdecimal()):
        raise Bad("bad_number")


_ARRAY = bytes.maketrans(b"[]", b"{}")
_LEVEL = b'["","","",""]'
_SHAPES = {2: b"[]"}


def _shape(length: int) -> bytes:
    """What remains of a side of that many bytes without its digits and points: `[["","","",""],…]`."""
    shape = b"[" + b",".join([_LEVEL] * (length // len(_LEVEL + b","))) + b"]"
    if len(shape) < 8192:
        _SHAPES[len(shape)] = shape
    return shape


def array(side: bytes) -> str:
    """A JSON book side of [price, size, x, count] rows as a PostgreSQL array literal, by byte translation alone.

    Proves the layout and the alphabet (0.5 µs for ten levels); that every number is one would cost four times as
    much, and the database refuses those that are none (``, `.`, `1.2.3`). Any other layout (white space, escapes,
    other widths, negative prices) is refused here: `checked_array` reads it.
    """
    shape = side.translate(None, _POINTED)
    if shape != (_SHAPES.get(len(shape)) or _shape(len(shape))):
        raise Bad("bad_levels")
    return side.translate(_ARRAY, b'"').decode()


def best_first(literal: str, descending: bool) -> bool:
    """Whether an array literal made by `array` has its best price first."""
    return ordered(literal.replace("{", "").split(",")[::4], descending)


def ordered(prices: Sequence[str], descending: bool) -> bool:
    """The same for the prices by themselves, none of them negative. Prices with equally many digits before the point
    compare as text; converting them costs twice as much."""
    points = {price.find(".") for price in prices}
    if len(points) == 1 and (-1 not in points or len(set(map(len, prices))) == 1):
        return prices == sorted(prices, reverse=descending)
    found = [Decimal(price) for price in prices]
    return found == sorted(found, reverse=descending)


Columns = Sequence[Sequence[str]]  # of a book side: prices, sizes, and what the venue adds


def zipped(columns: Columns, descending: bool) -> str:
    """A book side that comes column by column as a PostgreSQL array literal; its numbers are proven. What is not
    usual (nothing in a field, negative prices, another order) is refused here: `checked_array` reads it."""
    literal = "{" + ",".join(["{" + ",".join(level) + "}" for level in zip(*columns, strict=True)]) + "}"
    if literal != "{}" and ("-" in literal or "" in columns[1] or not ordered(columns[0], descending)):
        raise Bad("bad_levels")
    return literal


def checked_zipped(columns: Columns, descending: bool) -> str:
    """The same, value by value."""
    if len(columns) == 1 or len(set(map(len, columns))) > 1:
        raise Bad("bad_levels")
    return checked_array(msgspec.json.encode(list(zip(*columns, strict=True))), descending)


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
