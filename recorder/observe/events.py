"""Live push: decoded records on their way into the queue, shown to whoever listens at `GET /events`.

Owns the listeners, what each wants to see, and a bounded buffer for each. Feeds hand over a burst and go on: they never
wait, and turn nothing into JSON. A listener whose buffer is full has been too slow: it is dropped and counted.

What passes is what a feed hands to the queue. While a feed is behind (a slow or absent database, a full queue), or
sheds, its records go by way of the spool and do not pass here: listeners get one event `behind`, and one event `live`
when they pass again; what lies between is in the database. Duplicates that the writer leaves out do pass, and books
carry the integrity that the feed saw.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import parse_qsl

import msgspec

from recorder.errors import RecorderError
from recorder.observe.health import Clock
from recorder.observe.metrics import Metrics
from recorder.observe.rows import objects
from recorder.records import Decoded, Streams

LISTENERS = 8
BUFFER = 4 << 20  # bytes of one listener as the queue counts them: 8 s of 2 000 trades a second
VALUES = 1000  # of all parameters; a request line ends at 64 KiB anyway

Known = Callable[[], Mapping[str, AbstractSet[str]]]


class BadQuery(RecorderError):
    """The parameters of a request are wrong."""


class TooMany(RecorderError):
    """All places for listeners are taken."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which streams somebody wants; an empty set means all."""

    source: frozenset[str] = frozenset()
    channel: frozenset[str] = frozenset()
    symbol: frozenset[str] = frozenset()


def parse(query: str, known: Mapping[str, AbstractSet[str]]) -> Selection:
    """`source=a&channel=trades,books&symbol=X&symbol=Y`. Raises `BadQuery` with a sentence; `known`: source →
    channels. Symbols are not held against a list, because patterns make new ones every day."""
    wanted: dict[str, set[str]] = {"source": set(), "channel": set(), "symbol": set()}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in wanted:
            raise BadQuery(f"unknown parameter {name!r}: there are source, channel and symbol")
        values = set(text.split(","))
        if "" in values:
            raise BadQuery(f"{name} has an empty value: leave it out to get every {name}")
        wanted[name] |= values
    if sum(map(len, wanted.values())) > VALUES:
        raise BadQuery(f"more than {VALUES} values: leave symbol out, and choose among what comes")
    _among("source", wanted["source"], known)
    channels = {name for source in wanted["source"] or known for name in known[source]}
    _among("channel", wanted["channel"], channels)
    return Selection(**{name: frozenset(values) for name, values in wanted.items()})


def _among(name: str, values: set[str], known: Collection[str]) -> None:
    for value in sorted(values - set(known)):
        raise BadQuery(f"unknown {name} {value!r}: there is {', '.join(sorted(known)) or 'none'}")


@dataclass(frozen=True, slots=True)
class Told:
    """What a listener is told of a feed between the records: `behind` or `live`."""

    event: str
    source: str
    feed: str
    size: ClassVar[int] = 400  # bytes to account for


@dataclass(slots=True)
class Listener:
    """One client. `give` is the feeds' side, everything else its own thread's. `dropped`: it was too slow."""

    selection: Selection
    streams: Streams
    limit: int = BUFFER
    dropped: bool = False
    closed: bool = False  # the recorder stops
    held: int = 0  # bytes
    _items: deque[Decoded | Told] = field(default_factory=deque)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _behind: set[str] = field(default_factory=set)
    _wanted: dict[int, bool] = field(default_factory=dict)  # stream -> whether it was chosen

    def give(self, source: str, decoded: Decoded, live: bool) -> None:
        """A burst passes, or has passed by way of the spool. Never waits longer than the other side moves a pointer."""
        if self.selection.source and source not in self.selection.source:
            return
        with self._changed:
            if self.dropped:
                return
            if live == (decoded.feed in self._behind):
                (self._behind.discard if live else self._behind.add)(decoded.feed)
                self._add(Told("live" if live else "behind", source, decoded.feed), Told.size)
            if live and decoded.tables:
                self._add(decoded, decoded.size)
            if self.held > self.limit:
                self.dropped = True
                self._items.clear()
                self.held = 0
            if self._items or self.dropped:
                self._changed.notify()

    def _add(self, item: Decoded | Told, size: int) -> None:
        self._items.append(item)
        self.held += size

    def close(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self.closed = True
            self._changed.notify()

    def take(self, timeout: float) -> Decoded | Told | None:
        """The next burst, waited for so long; None when there is none, or never will be."""
        with self._changed:
            if not self._items and not self.dropped and not self.closed:
                self._changed.wait(timeout)
            item = self._items.popleft() if self._items else None
            self.held -= item.size if item is not None else 0
            return item

    def events(self, item: Decoded | Told) -> bytes:
        """What an item looks like on the wire: an event for each record that was chosen, in the order of the frames
        within each table."""
        if isinstance(item, Told):
            return message(item.event, {"source": item.source, "feed": item.feed})
        out = []
        for table, rows in item.tables.items():
            chosen = [i for i, number in enumerate(rows.streams) if self._chosen(number)]
            head = f"event: {table}\nid: {item.run}/".encode()
            for i, each in zip(chosen, objects(table, rows.data, chosen) if chosen else (), strict=True):
                out.append(b"%s%d\ndata: %s\n\n" % (head, rows.frames[i], each))
        return b"".join(out)

    def _chosen(self, number: int) -> bool:
        found = self._wanted.get(number)
        if found is None:
            stream, want = self.streams[number], self.selection
            found = self._wanted[number] = (
                (not want.source or stream.source in want.source)
                and (not want.channel or stream.channel in want.channel)
                and (not want.symbol or stream.symbol in want.symbol)
            )
        return found


def message(event: str, data: Mapping[str, object]) -> bytes:
    """An event that is no record."""
    return b"event: %s\ndata: %s\n\n" % (event.encode(), msgspec.json.encode(data))


class Events:
    """All listeners. The feeds look at `wanted`, and call `passed` only while somebody listens."""

    def __init__(self, streams: Streams, metrics: Metrics, known: Known, clock: Clock = time.monotonic) -> None:
        self.wanted = False
        self.clock = clock
        self._streams = streams
        self._known = known
        self._dropped = metrics.events_dropped
        self._lock = threading.Lock()
        self._listeners: tuple[Listener, ...] = ()
        self._closed = False
        metrics.watch("recorder_events_clients", lambda: len(self._listeners))

    def passed(self, decoded: Decoded, live: bool) -> None:
        """In a feed's thread: a burst went into the queue (`live`), or was left to the spool."""
        source = decoded.feed.partition("/")[0]
        for listener in self._listeners:
            listener.give(source, decoded, live)

    def open(self, query: str) -> Listener:
        """A new listener. Raises `BadQuery`, `TooMany`."""
        listener = Listener(parse(query, self._known()), self._streams)
        with self._lock:
            if len(self._listeners) >= LISTENERS or self._closed:
                raise TooMany(f"there are already {LISTENERS} listeners: close one, or let one pass on what it gets")
            self._listeners = (*self._listeners, listener)
            self.wanted = True
        return listener

    def leave(self, listener: Listener) -> None:
        """A listener has gone, or was too slow."""
        with self._lock:
            self._listeners = tuple(each for each in self._listeners if each is not listener)
            self.wanted = bool(self._listeners)
        if listener.dropped:
            self._dropped.inc()

    def close(self) -> None:
        """The recorder stops: no listener any more."""
        with self._lock:
            self._closed = True
        for listener in self._listeners:
            listener.close()
