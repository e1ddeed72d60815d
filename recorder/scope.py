"""What is to be recorded: the connections that the configuration asks for, at the start and after a reload.

Owns the way from sources to named lines. Never opens or ends anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec

from recorder.config import Source
from recorder.listing import resolve
from recorder.subscriptions import limits_of
from recorder.venues import Line, Venue, venues


@dataclass(frozen=True, slots=True)
class Planned:
    """One feed that the configuration asks for."""

    feed: str
    source: Source
    venue: Venue
    line: Line

    @property
    def wanted(self) -> bool:
        """Whether there is anything to ask for. A line that lost all it had keeps its place among the others."""
        return bool(self.line.subscriptions)


Known = Callable[[Source], Sequence[str]]


def _nothing(source: Source) -> Sequence[str]:
    """Nobody has asked a venue what it lists."""
    return ()


@dataclass(frozen=True, slots=True)
class Scope:
    """What is to be recorded: with `only`, these sources. `listed`: the symbols that a source's patterns are held
    against, as far as they are known."""

    only: tuple[str, ...] = ()
    listed: Known = _nothing

    def wanted(self, sources: Iterable[Source]) -> list[Source]:
        """The sources that are ours to record."""
        return [source for source in sources if not self.only or source.name in self.only]

    def planned(self, sources: Iterable[Source]) -> list[Planned]:
        """Every connection to make."""
        return [plan for source in self.wanted(sources) for plan in self.replanned(source, self.listed(source), ())]

    def replanned(self, source: Source, symbols: Sequence[str], held: Iterable[Planned]) -> list[Planned]:
        """The connections of a source whose patterns are held against `symbols`; what is `held` stays where it is, as
        far as the source's limits allow."""
        venue = venues()[source.venue]
        lines = venue.lines(resolve(source, symbols), _fitting(source, venue, [plan.line for plan in held]))
        return [Planned(f"{source.name}/{line.name}", source, venue, line) for line in lines]


def reconnects(old: Source, new: Source) -> bool:
    """Whether the connections of a source cannot stay: more than what it asks for has changed."""
    asked = {"subscribe": (), "connections": 1, "refill": True, "sessions": ""}
    return msgspec.structs.replace(old, **asked) != msgspec.structs.replace(new, **asked)


def spare(source: Source, venue: Venue, held: Iterable[Planned]) -> float:
    """How many connections the venue allows a source beyond those that what is `held` of it needs."""
    most = limits_of(source, venue.limits).max_connections
    return most - sum(each.wanted for each in held) if most else math.inf


def _fitting(source: Source, venue: Venue, held: list[Line]) -> list[Line]:
    """Lines as the limits allow them now: they may have been lowered since."""
    limits = limits_of(source, venue.limits)
    if 0 < limits.max_connections < sum(bool(line.subscriptions) for line in held):
        return []
    return [_trimmed(line, limits.symbols_per_connection) for line in held]


def _trimmed(line: Line, most: int) -> Line:
    """The first symbols of a line, with all their channels; 0 is no limit."""
    symbols = list(dict.fromkeys(each.symbol for each in line.subscriptions))
    if not 0 < most < len(symbols):
        return line
    kept = frozenset(symbols[:most])
    return replace(line, subscriptions=tuple(each for each in line.subscriptions if each.symbol in kept))
