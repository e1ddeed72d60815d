"""What a position that did not match tells: committed already, owned by another, or somewhere else.

Owns the two exceptions that end a flush for good. Pure: never asks the database itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recorder.errors import RecorderError
from recorder.store.flush import Move, Position


class Fenced(RecorderError):
    """Another recorder owns these positions now: stop committing, keep spooling."""


class PositionMoved(RecorderError):
    """A position is neither where the flush starts nor where it ends: resume from what was `found`.

    `restored`: it lies further back than what we had committed, so the database is an older copy of itself.
    """

    def __init__(self, message: str, found: dict[str, Position], restored: bool) -> None:
        super().__init__(message)
        self.found = found
        self.restored = restored


def settle(moves: Sequence[Move], found: Mapping[str, Position], epochs: Mapping[str, int]) -> None:
    """Return if every move is committed already; else raise what is to be done. `epochs`: what we own."""
    fenced(found, epochs)
    if all(_arrived(move, found.get(move.feed), epochs) for move in moves):
        return
    away = [move for move in moves if not _stands(move, found.get(move.feed), epochs)] or list(moves)
    restored = any(_behind(move, found.get(move.feed), epochs) for move in away)
    why = "the database is older than what was committed to it" if restored else "somebody else moved it"
    names = ", ".join(move.feed for move in away)
    raise PositionMoved(f"the position of {names} is not where this recorder left it: {why}", dict(found), restored)


def fenced(found: Mapping[str, Position], epochs: Mapping[str, int]) -> None:
    """Raise Fenced if any position has an epoch above the one we own."""
    taken = [feed for feed, position in found.items() if feed in epochs and position.epoch > epochs[feed]]
    if taken:
        raise Fenced(
            f"another recorder with this identity has taken over {', '.join(sorted(taken))}: stop one of the two; "
            "a second recorder needs a data_dir of its own, not a copy of one"
        )


def ordinal(run: str) -> int:
    """The count of a run: `7-3f9c2a1b` → 7."""
    head = run.partition("-")[0]
    return int(head) if head.isdigit() else 0


def _arrived(move: Move, position: Position | None, epochs: Mapping[str, int]) -> bool:
    return position == Position(move.feed, move.new_run, move.new_next, epochs.get(move.feed, -1))


def _stands(move: Move, position: Position | None, epochs: Mapping[str, int]) -> bool:
    return position == Position(move.feed, move.run, move.next, epochs.get(move.feed, -1))


def _behind(move: Move, position: Position | None, epochs: Mapping[str, int]) -> bool:
    if position is None or position.epoch < epochs.get(move.feed, -1):
        return True
    if position.run == move.run:
        return position.next < move.next
    return ordinal(position.run) < ordinal(move.run)
