"""Where the time of the pipeline goes: CPU of the calling thread inside chosen methods, and when commits happen.

Owns the wrappers that it puts around methods, and takes them off again. Used in rounds of their own: a wrapped call
costs ~1 µs, once a burst, so the throughput is never measured through it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from recorder.records import now_us


@dataclass(frozen=True, slots=True)
class Point:
    """A method whose time belongs to a stage."""

    stage: str
    owner: type
    method: str


@contextmanager
def replaced(owner: type, method: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """A method of a class is another one for a while."""
    original = getattr(owner, method)
    own = method in vars(owner)
    setattr(owner, method, make(original))
    try:
        yield
    finally:
        if own:
            setattr(owner, method, original)
        else:
            delattr(owner, method)


class Stopwatch:
    """CPU seconds by stage, each without what the stages inside it took. Waiting costs nothing here: it is the
    thread's own CPU clock that runs."""

    def __init__(self) -> None:
        self._spent: dict[tuple[str, int], float] = {}  # one writer per key, so that threads never race
        self._inside = threading.local()

    @contextmanager
    def over(self, points: Iterable[Point]) -> Iterator[Stopwatch]:
        """Measure these methods for a while."""
        with ExitStack() as stack:
            for point in points:
                stack.enter_context(replaced(point.owner, point.method, self._timed(point.stage)))
            yield self

    def _timed(self, stage: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        spent, inside, clock = self._spent, self._inside, time.thread_time

        def make(call: Callable[..., Any]) -> Callable[..., Any]:
            def timed(*args: Any, **kwargs: Any) -> Any:
                outer = getattr(inside, "seconds", 0.0)
                inside.seconds = 0.0
                started = clock()
                try:
                    return call(*args, **kwargs)
                finally:
                    took = clock() - started
                    key = stage, threading.get_ident()
                    spent[key] = spent.get(key, 0.0) + took - inside.seconds
                    inside.seconds = outer + took

            return timed

        return make

    def seconds(self) -> dict[str, float]:
        """What each stage took, over all threads."""
        totals: dict[str, float] = {}
        for (stage, _), seconds in list(self._spent.items()):
            totals[stage] = totals.get(stage, 0.0) + seconds
        return totals


@dataclass(slots=True)
class Commits:
    """What was committed while we watched. `keep` holds the lines too, for their received_at."""

    keep: bool = False
    rows: int = 0
    flushes: int = 0
    kept: list[tuple[int, bytes]] = field(default_factory=list)  # wall clock of the commit (µs), COPY lines
    _moved: threading.Condition = field(default_factory=threading.Condition)

    @contextmanager
    def of(self, sink: type) -> Iterator[Commits]:
        """Watch the commits of a sink."""
        with replaced(sink, "commit", self._watched):
            yield self

    def _watched(self, commit: Callable[..., Any]) -> Callable[..., Any]:
        def watched(sink: Any, flush: Any) -> Any:
            answer = commit(sink, flush)
            at = now_us()
            with self._moved:
                self.rows += flush.rows
                self.flushes += bool(flush.rows)
                if self.keep:
                    self.kept += [(at, part.rows.data) for parts in flush.parts.values() for part in parts]
                self._moved.notify_all()
            return answer

        return watched

    def wait(self, rows: int, within: float) -> bool:
        """Until so many rows are committed in all; False when they are not within that time."""
        with self._moved:
            return self._moved.wait_for(lambda: self.rows >= rows, within)
