"""Steps through the records of one segment, over whatever damage lies between them.

Owns the finding of records. Never decides what a damaged range has cost: numbers decide that, and `spoolreader`
knows them.
"""

from __future__ import annotations

from dataclasses import dataclass

from recorder.capture.segments import (
    FOOTER,
    HEAD_BYTES,
    SYNC,
    Head,
    SegmentHeader,
    decode_burst,
    decode_head,
    decode_header,
)
from recorder.capture.window import CHUNK, Source, Window
from recorder.records import Burst

_HEADER_BYTES = 64 << 10  # more than both copies ever take


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes `start` … `end`-1 are no record. `head` is the damaged record's, if that much of it is good.

    `torn`: it looks like a write that was cut short, or was never written at all, at the end of the segment.
    """

    start: int
    end: int
    head: Head | None
    torn: bool


def read_header(source: Source) -> tuple[SegmentHeader | None, int]:
    """The segment's header, if a copy of it is good, and where to look for records."""
    found = decode_header(source.read(0, _HEADER_BYTES))
    return found if found is not None else (None, 0)


class Walker:
    """A place in a segment. `at` is the offset of the next record, `footer` the one that sealed it, once seen."""

    def __init__(self, window: Window, seed: int, at: int) -> None:
        self.window = window
        self.at = at
        self.footer: Head | None = None
        self._seed = seed

    def step(self, below: int = 0) -> Burst | Damage | None:
        """The next burst or damaged range; None at the limit. Bursts that end at or before `below` are passed
        over without a look at their payload."""
        while self.at < self.window.limit:
            head = self.head(self.at)
            if head is None or self.at + head.size > self.window.limit:
                return self._damage(head)
            if head.kind == FOOTER:
                self.footer = head
            elif head.next > below:
                return self._burst(head)
            self.at += head.size
        return None

    def head(self, at: int) -> Head | None:
        """The head at `at`, if there is a good one."""
        index = self.window.locate(at, HEAD_BYTES)
        return None if index is None else decode_head(self.window.data, index, self._seed)

    def _burst(self, head: Head) -> Burst | Damage:
        burst = self._decoded(self.at, head)
        if burst is None:
            return self._damage(head)
        self.at += head.size
        return burst

    def _decoded(self, at: int, head: Head) -> Burst | None:
        index = self.window.locate(at, head.size)
        if index is None:
            return None
        return decode_burst(head, self.window.data[index + HEAD_BYTES : index + head.size])

    def _damage(self, head: Head | None) -> Damage:
        """Pass over everything up to the next good record."""
        start = self.at
        following = self._next_good(start + 1)
        self.at = self.window.limit if following is None else following
        return Damage(start, self.at, head, following is None and self._torn(start, head))

    def _next_good(self, at: int) -> int | None:
        place = self.window.find(SYNC, at)
        while place is not None:
            head = self.head(place)
            if head is not None and (head.kind == FOOTER or self._decoded(place, head) is not None):
                return place
            place = self.window.find(SYNC, place + 1)
        return None

    def _torn(self, start: int, head: Head | None) -> bool:
        """A burst that was ever whole has a whole head and a frame. Zeros are what a power cut leaves of pages."""
        rest = self.window.limit - start
        if rest <= HEAD_BYTES or (head is not None and head.size > rest):
            return True
        return all(not self.window.view(at, CHUNK).strip(b"\0") for at in range(start, self.window.limit, CHUNK))
