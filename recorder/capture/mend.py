"""Mends broken books over REST: asks for the whole book beside the stream, which goes on.

Owns when a book is asked for, how often, and when asking is given up for a new subscription. Its threads wait for the
venue, so the feed never does. Never judges a chain and never joins an answer with updates: the answer is spooled like
everything that came, and continuity decides, in the feed and in the writer alike.
"""

from __future__ import annotations

import math
import queue
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlencode

from loguru import logger

from recorder.decoding import rest_frame
from recorder.errors import ConnectionLost
from recorder.listing import Ask
from recorder.venues import Subscription

FIRST = 0.25  # seconds: a venue's REST book is a little older than its stream; asked at once, it would be of no use
PAUSE, LONGEST_PAUSE = 0.5, 30.0  # before the next try for one book
MEND_WITHIN = 10.0  # then the stream is subscribed anew as well, in case that its snapshot comes
AGAIN = 60.0  # until that happens once more


class Answered(Protocol):
    """An answer of a venue. `url` without the query."""

    @property
    def url(self) -> str: ...
    @property
    def body(self) -> bytes: ...


class Asking(Protocol):
    """What is needed of a REST client."""

    def get(self, path: str, params: Mapping[str, str] | None = None) -> Answered:
        """Ask, and wait for the answer; raises `ConnectionLost`."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class Venue(Protocol):
    """What is needed of a venue."""

    def book_request(self, subscription: Subscription) -> Ask | None:
        """How to ask for a book."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What mending takes of a feed. `rest` and `threads` make the client and who waits for it, the first time that they
    are needed; `suspect`: whether a book is broken still; `turn`: takes one at the venue's door and says in how many
    seconds it comes; `begun`: counts."""

    source: str
    rest: Callable[[], Asking]
    threads: Callable[[], Executor]
    suspect: Callable[[Subscription], bool]
    turn: Callable[[float], float]
    begun: Callable[[], None]


@dataclass(slots=True)
class Patient:
    """One broken book. `due`: when to ask for it, infinity while a question is on its way."""

    request: Ask
    due: float
    give_up: float
    pause: float = PAUSE
    turn: bool = False  # its turn at the door is taken
    complained: bool = False


# What a thread brings back: the frame, or why there is none.
Result = tuple[Subscription, bytes | Exception]


class Mender:
    """The broken books of one feed. A book belongs to the stream, not to a connection: an answer that was asked for on
    one is judged by its number on the next."""

    def __init__(self, venue: Venue, around: Surroundings) -> None:
        self._venue = venue
        self._around = around
        self._patients: dict[Subscription, Patient] = {}
        self._results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._threads: Executor | None = None
        self._rest: Asking | None = None

    def close(self) -> None:
        """Ask nobody any more. Whoever is on the way comes back at once when the feed has been told to stop."""
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
        if self._rest is not None:
            self._rest.close()

    def broke(self, books: Iterable[Subscription], now: float) -> list[Subscription]:
        """Books that need a snapshot; those that are in hand already go on as they were. Those that REST cannot give
        are returned."""
        left = []
        for book in books:
            request = self._venue.book_request(book)
            if request is None:
                left.append(book)
            elif book not in self._patients:
                self._patients[book] = Patient(request, now + FIRST, now + MEND_WITHIN)
                self._around.begun()
        return left

    def look(self, now: float) -> tuple[list[bytes], list[Subscription]]:
        """Every turn: frames to spool, and books for which a new subscription must be tried. Nothing is asked before
        the answers that came are judged."""
        if not self._patients and self._results.empty():
            return [], []
        frames = self._collect(now)
        late: list[Subscription] = []
        for book, patient in [] if frames else list(self._patients.items()):
            if not self._around.suspect(book):
                del self._patients[book]
                continue
            if patient.due <= now:
                self._ask(book, patient, now)
            if patient.give_up <= now:
                patient.give_up = now + AGAIN
                late.append(book)
        return frames, late

    def _ask(self, book: Subscription, patient: Patient, now: float) -> None:
        """Send somebody, or come back when it is this one's turn."""
        if not patient.turn:
            patient.turn, patient.due = True, now + self._around.turn(now)
        if patient.due <= now:
            patient.turn, patient.due = False, math.inf
            if self._threads is None:
                self._threads, self._rest = self._around.threads(), self._around.rest()
            self._threads.submit(self._fetch, book, patient.request)

    def _fetch(self, book: Subscription, request: Ask) -> None:
        """In a thread of its own. Whatever goes wrong there, the feed hears of it."""
        assert self._rest is not None
        try:
            answer = self._rest.get(request.path, request.params)
            url = f"{answer.url}?{urlencode(request.params)}"
            self._results.put((book, rest_frame(url, book.channel, book.symbol, answer.body)))
        except Exception as fault:  # noqa: BLE001 - a thread's top
            self._results.put((book, fault))

    def _collect(self, now: float) -> list[bytes]:
        """Answers that came. Whether one helps is seen when it has been judged: until then the next try is planned."""
        frames = []
        while not self._results.empty():
            book, found = self._results.get()
            patient = self._patients.get(book)
            if isinstance(found, bytes):
                frames.append(found)
            elif not isinstance(found, ConnectionLost):
                raise found
            if patient is not None:
                patient.due = now + patient.pause
                patient.pause = min(2 * patient.pause, LONGEST_PAUSE)
                if isinstance(found, ConnectionLost):
                    self._complain(book, patient, found)
        return frames

    def _complain(self, book: Subscription, patient: Patient, lost: ConnectionLost) -> None:
        """Once for each broken book."""
        if not patient.complained:
            patient.complained = True
            log = logger.bind(event="book.unanswered", source=self._around.source)
            log.warning("{} {}: no book over REST: {}", book.channel, book.symbol, lost)
