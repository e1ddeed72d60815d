"""Books that are maintained for one purpose: to verify the checksums that a venue sends with them.

Owns the levels of such a book as the venue spelled them, and the checksum rule. Never outlives the process, never
judges a stream (continuity does), and costs nothing where no checksums are sent.

The rule, the only one among the venues here (verified on 7 834 recorded frames of 2019 to 2023): the best 25 bids and
asks in turn, `price:size` each, joined by `:`; where one side is shorter, the other goes on. CRC-32 of that text; the
venue sends it as a signed number. Digits count as they were sent: 1.10 and 1.1 are the same price, but another text.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from decimal import Decimal
from itertools import zip_longest
from zlib import crc32

from recorder.records import TABLES

DEPTH = 25
KIND, BIDS, ASKS = (TABLES["books"].columns.index(column) for column in ("kind", "bids", "asks"))
WHOLE = 0xFFFFFFFF


class Side:
    """One side of a book, best price first."""

    __slots__ = ("_keys", "_levels", "_sign")

    def __init__(self, descending: bool) -> None:
        self._sign = -1 if descending else 1
        self._keys: list[Decimal] = []  # sorted, the best first
        self._levels: dict[Decimal, str] = {}  # what each adds to the text

    def change(self, literal: str) -> None:
        """Put levels in, or take them out where their size is zero: an array literal, rows of price, size, and
        whatever follows."""
        for row in literal[2:-2].split("},{") if len(literal) > 2 else ():
            price, size, *_ = row.split(",")
            key = self._sign * Decimal(price)
            if not Decimal(size):
                if self._levels.pop(key, None) is not None:
                    del self._keys[bisect_left(self._keys, key)]
                continue
            if key not in self._levels:
                insort(self._keys, key)
            self._levels[key] = f"{price}:{size}"

    def best(self) -> list[str]:
        """`price:size` of the best levels."""
        return [self._levels[key] for key in self._keys[:DEPTH]]


class Book:
    """Both sides, from a snapshot on."""

    __slots__ = ("_asks", "_bids")

    def __init__(self) -> None:
        self._bids, self._asks = Side(descending=True), Side(descending=False)

    def change(self, bids: str, asks: str) -> None:
        """Take a record in: array literals."""
        self._bids.change(bids)
        self._asks.change(asks)

    def checksum(self) -> int:
        """What the venue should say of it, as a number without sign."""
        pairs = zip_longest(self._bids.best(), self._asks.best())
        return crc32(":".join(level for pair in pairs for level in pair if level is not None).encode())


class Books:
    """The books of those streams whose records carry checksums, by the number of the stream."""

    def __init__(self) -> None:
        self._books: dict[int, Book] = {}

    def __bool__(self) -> bool:
        return bool(self._books)

    def forget(self, numbers: list[int]) -> None:
        """These streams brought something that is not in their books: nothing is verified before the next snapshot."""
        for number in self._books.keys() & set(numbers):
            del self._books[number]

    def agrees(self, number: int, line: bytes, checksum: int) -> bool | None:
        """Take in a record, a COPY line of `books`. Whether the venue's checksum is that of the book; None where that
        cannot be told: it sent none, or no snapshot has been seen. A book that was refuted is forgotten; so is one
        that cannot follow: a level that is no number is refused by the database, too."""
        fields = line.decode().split("\t")
        if fields[KIND] == "snapshot":
            self._books[number] = Book()
        book = self._books.get(number)
        if book is None:
            return None
        try:
            book.change(fields[BIDS], fields[ASKS])
        except (ArithmeticError, ValueError):
            agrees = False
        else:
            if not checksum:
                return None
            agrees = book.checksum() == checksum & WHOLE
        if not agrees:
            del self._books[number]
        return agrees


def is_snapshot(line: bytes) -> bool:
    """Whether a COPY line of `books` holds a whole book."""
    return line.split(b"\t", KIND + 1)[KIND] == b"snapshot"
