"""Follows what venues list: the table `instruments`, and the symbols that patterns mean from day to day.

Owns when a venue is asked, and the copy of its list under data_dir, from which a recorder begins while the venue
cannot be asked. Used by the chores' thread only. Never decides which connection serves a symbol (the venue does), and
a list that cannot be had or read changes nothing.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from loguru import logger

from recorder.capture.rest import Rest
from recorder.config import Source
from recorder.errors import ConnectionLost, PoisonMessage, RecorderError
from recorder.listing import Instrument, Listing, has_patterns
from recorder.records import now_us
from recorder.store.instruments import Register
from recorder.venues import venues

FOLLOW_SECONDS = 30.0  # a new listing is recorded within a minute
LOOK_SECONDS = 600.0  # where no pattern waits for it: for the table alone
AGAIN_SECONDS = 10.0  # after a failure


class Unlisted(RecorderError):
    """A venue's list could not be had. It is asked again; the last one stays in force."""


@dataclass(slots=True)
class Followed:
    """A source whose venue tells what it lists."""

    source: Source
    listing: Listing
    rest: Rest
    due: float = -math.inf  # monotonic
    stored: bool = False
    instruments: list[Instrument] = field(default_factory=list)
    symbols: list[str] = field(default_factory=list)

    @property
    def every(self) -> float:
        """Seconds between two looks."""
        return FOLLOW_SECONDS if has_patterns(self.source) else LOOK_SECONDS


def listed(rest: Rest, listing: Listing) -> list[Instrument]:
    """Everything that a venue lists. Raises `ConnectionLost` where it cannot be asked, `PoisonMessage` where its
    answers are none, or nothing at all: that is a mistake of the venue's, and must not end every subscription."""
    found = [one for ask in listing.asks for one in listing.read(rest.get(ask.path, ask.params).body)]
    if not found:
        raise PoisonMessage("the venue lists nothing at all")
    return found


class Following:
    """`serve` holds a source's patterns against what is listed now; `connect` opens the database, or raises while there
    is none; `ask` makes the client of a source's venue."""

    def __init__(
        self,
        sources: Iterable[Source],
        home: Path,
        serve: Callable[[Source, Sequence[str]], None],
        connect: Callable[[], psycopg.Connection[tuple[object, ...]]],
        ask: Callable[[Source], Rest],
    ) -> None:
        self._home = home
        self._serve = serve
        self._connect = connect
        self._ask = ask
        self._register = Register()
        self._sources = list(sources)
        self._wanted = self._sources
        self._followed: list[Followed] = []
        self._follow(self._sources)

    def change(self, sources: Iterable[Source]) -> None:
        """From any thread: follow these from now on. Of those that are as before, nothing is asked anew."""
        self._wanted = list(sources)

    def _follow(self, sources: list[Source]) -> None:
        self._sources = sources
        known, self._followed = self._followed, []
        for source in sources:
            held = next((each for each in known if each.source == source), None)
            listing = venues()[source.venue].listing
            if held is not None:
                self._followed.append(held)
            elif listing is not None and source.rest:
                self._followed.append(Followed(source, listing, self._ask(source)))
        for each in known:
            if all(each is not other for other in self._followed):
                each.rest.close()

    def close(self) -> None:
        """Close the connections."""
        for each in self._followed:
            each.rest.close()

    def turn(self, now: float | None = None) -> None:
        """Ask whose time has come (`now`: monotonic). Raises `Unlisted` when all is done, if one could not be had."""
        if self._wanted is not self._sources:
            self._follow(self._wanted)
        now = time.monotonic() if now is None else now
        troubles = []
        for each in self._followed:
            if now >= each.due:
                each.due = now + each.every
                try:
                    self._look(each)
                except (ConnectionLost, PoisonMessage) as trouble:
                    each.due = min(each.due, now + AGAIN_SECONDS)
                    troubles.append(f"{each.source.name}: {trouble}")
            if each.instruments and not each.stored:
                each.stored = self._store(each)
        if troubles:
            raise Unlisted("what is listed could not be asked: " + "; ".join(troubles))

    def _look(self, each: Followed) -> None:
        found = listed(each.rest, each.listing)
        each.stored = each.stored and found == each.instruments
        each.instruments = found
        symbols = each.listing.alive(found)
        if symbols != each.symbols:
            self._change(each, symbols)

    def _change(self, each: Followed, symbols: list[str]) -> None:
        before = set(each.symbols)
        each.symbols = symbols
        remember(self._home, each.source.name, symbols)
        if has_patterns(each.source):
            if before:
                new, gone = sorted(set(symbols) - before), sorted(before - set(symbols))
                log = logger.bind(event="listing.changed", source=each.source.name)
                log.info("{}: newly listed {}, no longer listed {}", each.source.name, new[:20], gone[:20])
            self._serve(each.source, symbols)

    def _store(self, each: Followed) -> bool:
        """Into the table; False while there is no database."""
        try:
            with self._connect() as conn:
                self._register.keep(conn, each.source.name, each.instruments, now_us())
        except (psycopg.Error, RecorderError) as away:
            log = logger.bind(event="listing.unstored")
            log.debug("{}: instruments wait for the database: {}", each.source.name, away)
            return False
        return True


# --- the copy on disk ------------------------------------------------------------------------------------------------


def _file(home: Path, source: str) -> Path:
    return home / "listings" / f"{source}.json"


def remember(home: Path, source: str, symbols: Sequence[str]) -> None:
    """Keep what is listed. A disk that refuses costs only the next start's head start."""
    path = _file(home, source)
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(list(symbols)), encoding="utf-8")
        draft.replace(path)


def remembered(home: Path, source: str) -> list[str]:
    """What was listed when somebody last asked; nothing where nobody has."""
    try:
        found = json.loads(_file(home, source).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
