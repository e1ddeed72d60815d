"""The tracker of a chain: every record names the one before.

Owns when a chain holds, when it is broken, and what mends it: a snapshot of the stream, or one that came over REST and
is joined with the updates that came meanwhile. Pure. Never keeps a book.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from recorder.quality.trackers import NEVER, UNSET, Found, Hole, Tracker, TrackerState
from recorder.records import ANSWER, SNAPSHOT, Stream


class Chained(Tracker):
    """While `flag` is set the chain is broken and records are suspect; the true last id then stands in `last_from`, and
    `expected` is kept out of the hot path's reach.

    A snapshot over REST says at which id it stands, and any update whose previous id is not above that and whose own id
    is goes on from it (the venue's rule for books that start over REST). `since`: the previous id of the first update
    of the unbroken run since the break; `ahead`: the id of a snapshot that the run has not reached yet."""

    __slots__ = ("ahead", "since")

    def __init__(self, number: int, feed: str, token: int) -> None:
        super().__init__(number, feed, token)
        self.since: int | None = None
        self.ahead: int | None = None

    def irregular(self, first: int | None, last: int | None, time: int, cause: str, received_at: int) -> Found:
        found = Found()
        if first == ANSWER:
            return self._answered(last)
        if first is None or last is None:
            self._unchained(first == SNAPSHOT, time, cause, received_at, found)
        elif first == SNAPSHOT:
            self._snapshot(last, time, cause, received_at, found)
        elif last == self._known() and first != last:
            found.drop = True
            found.proof = False
        elif self.ahead is not None and first <= self.ahead and first <= last:
            self._beyond(first, last, time, cause, received_at, found)
        elif first != self._known():
            self._broken(first, last, time, cause, received_at, found)
        else:
            self._follow(first, last, found)
        if not found.drop:
            self.time = time
        found.suspect |= self.flag and not found.drop
        return found

    def holds(self, first: int | None, last: int | None, time: int) -> bool:
        known = self._known()
        if first == ANSWER:
            return False
        if last is None or known is None or known is UNSET:
            return time <= self.time
        return last <= known and first != known  # what follows on a known id is a renumbering, or says no change

    def _known(self) -> int | None:
        """The last id that the chain holds."""
        return self.last_from if self.flag or self.expected is UNSET else self.expected

    def _set(self, last: int | None) -> None:
        self.last_from = last if self.flag else None
        self.expected = UNSET if self.flag else last

    def _mend(self, last: int | None) -> None:
        """The chain is whole, and ends with this id."""
        self.flag, self.since, self.ahead = False, None, None
        self._set(last)

    def _hole(self, last: int | None, time: int, cause: str, received_at: int, found: Found) -> None:
        """What lies between the last record and this one is missing; how much, nobody knows."""
        if not self.fresh:
            hole = self._unknown(cause or "sequence", time, received_at)
            found.holes.append(replace(hole, from_seq=self._known(), to_seq=last))

    def _follow(self, first: int, last: int, found: Found) -> None:
        """The successor of what we hold. Numbers that start lower end a run: no snapshot can be compared with both."""
        if self.flag and last < first:
            found.broken = self.ahead is not None
            self.since, self.ahead = last, None
        self._set(last)

    def _unchained(self, whole: bool, time: int, cause: str, received_at: int, found: Found) -> None:
        """Recordings of 2021 and 2022 carry no ids: then nothing can be proven by them."""
        if cause and not self.fresh:
            found.holes.append(self._unknown(cause, time, received_at))
        if whole or not self.flag:
            self._mend(None)
        else:
            self._set(None)

    def _snapshot(self, last: int, time: int, cause: str, received_at: int, found: Found) -> None:
        """A snapshot mends the chain; unless nothing changed since the last record, what lies between is missing."""
        if self._known() != last:
            self._hole(last, time, cause, received_at, found)
        self._mend(last)

    def _broken(self, first: int, last: int, time: int, cause: str, received_at: int, found: Found) -> None:
        """Not the successor of what we hold: one hole of unknown size, and suspect until a snapshot."""
        found.broken = True
        self._hole(last, time, cause, received_at, found)
        self.flag, self.since, self.ahead = True, first, None
        self._set(last)

    @property
    def stands(self) -> tuple[int, int | None]:
        """Time and id of the last record."""
        return self.time, self._known()

    def refuted(self, before: tuple[int, int | None], received_at: int) -> Found:
        """The venue's checksum is not that of the book with the last record in it, whatever the ids say: something is
        missing since the record `before`."""
        time, known = before
        found = Found(suspect=True, broken=True)
        if time != NEVER:
            found.holes.append(Hole(self.number, "sequence", time, self.time, known, self._known(), None, received_at))
        last = self._known()
        self.flag, self.since, self.ahead = True, last, None
        self._set(last)
        return found

    # --- snapshots over REST -----------------------------------------------------------------------------------------

    def _answered(self, last: int | None) -> Found:
        """A snapshot over REST. It says nothing about what is missing, and a chain that holds does not need it. One
        that is older than the run since the break is asked for again (`broken`)."""
        found = Found(proof=False)
        known = self._known()
        if last is None or not (self.flag or self.fresh):
            return found
        if known is None or last > known:
            self.flag, self.ahead = True, last
            self._set(known)
        elif last >= (known if self.since is None else self.since):
            self._mend(known)
        else:
            found.broken = True
        return found

    def _beyond(self, first: int, last: int, time: int, cause: str, received_at: int, found: Found) -> None:
        """An update while a snapshot is ahead of the run. What the snapshot holds already is kept, but suspect: only
        what leads beyond it can be applied to it."""
        if first != self._known():
            self._hole(last, time, cause, received_at, found)
            self.since = first
        ahead = self.ahead if self.ahead is not None else last
        found.suspect = last <= ahead
        if last >= ahead:
            self._mend(last)
        else:
            self._set(last)

    # --- state -------------------------------------------------------------------------------------------------------

    def rebase(self, last: int | None, time: int, closed: bool) -> None:
        self.time = time
        self._mend(last)

    def state(self, stream: Stream, cause: str) -> TrackerState:
        return msgspec.structs.replace(super().state(stream, cause), since=self.since, ahead=self.ahead)

    def restore(self, state: TrackerState) -> None:
        super().restore(state)
        self.since, self.ahead = state.since, state.ahead
