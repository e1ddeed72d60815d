"""Flushes of made-up trades, and what a database holds of them.

Owns the lines and their numbers; written without the recorder's decoders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg

from recorder.records import Rows, stamp
from recorder.store.flush import Flush, Move, Part
from recorder.store.sink import Sink

Own = Callable[..., Sink]

FEED = "okx/public/0"
RUN = "1-aaaaaaaa"
RECORDER = "6f1c8a5e-6f0e-4a55-9d3b-0a4c3f3f2b10"
START = 1_790_000_000_000_000


def raw(feed: str, run: str, n: int) -> bytes | None:
    """What the spool would give for a frame."""
    return f"frame {n} of {run} of {feed}".encode()


def sink(url: str, *, instance: str = "boot-a/1", deadline: float = 20.0, **more: Any) -> Sink:
    """A sink that is not connected yet."""
    return Sink(url, RECORDER, instance, deadline=deadline, raw=raw, **more)


@contextmanager
def owners(url: str) -> Iterator[Own]:
    """Makes sinks that own their positions; closes them in the end."""
    made: list[Sink] = []

    def make(*, through: str = url, feeds: Sequence[str] = (FEED,), **more: Any) -> Sink:
        made.append(sink(through, **more))
        made[-1].take_over(dict.fromkeys(feeds, (RUN, 0)))
        return made[-1]

    try:
        yield make
    finally:
        for one in made:
            one.close()


def trade(n: int, *, price: str = "65000.1", symbol: str = "BTC-USDT") -> str:
    """The COPY line of trade number n."""
    at = stamp(START + n * 1000)
    return f"{at}\t{at}\tokx\ttrades\t{symbol}\t{price}\t0.5\tbuy\t{n}\t1\t{n}\t\\N\tstream\n"


def candle(n: int, close: str, closed: str, *, received: int = 0, bar: int = 0) -> str:
    """The COPY line of a candle revision."""
    at, seen = stamp(START + bar * 60_000_000), stamp(START + received)
    return f"{at}\t{seen}\tokx\tcandle1m\tBTC-USDT\t1m\t1\t2\t0.5\t{close}\t{n}\t\\N\t{closed}\tstream\n"


def rows(lines: Sequence[str], frames: Iterable[int]) -> Rows:
    """Lines as a decoder hands them over."""
    numbers: list[int | None] = list(range(len(lines)))
    times = [START] * len(lines)
    return Rows("".join(lines).encode(), [0] * len(lines), numbers, numbers, times, list(frames))


def part(lines: Sequence[str], frames: Iterable[int], feed: str = FEED) -> Part:
    """Lines of a feed."""
    return Part(feed, RUN, rows(lines, frames))


def move(old: int, new: int, feed: str = FEED) -> Move:
    """From frame to frame of the one run."""
    return Move(feed, RUN, old, RUN, new, START)


def trades(old: int, new: int, bad: Iterable[int] = (), price: str = "not a number") -> Flush:
    """A flush of trades old … new - 1, one a frame; `bad` ones have a price that is none."""
    wrong = set(bad)
    lines = [trade(n, price=price) if n in wrong else trade(n) for n in range(old, new)]
    return Flush([move(old, new)], {"trades": [part(lines, range(old, new))]})


def ask(url: str, query: LiteralString, *params: Any) -> list[tuple[Any, ...]]:
    """Rows of a query over a connection of its own; statements without rows give none."""
    with psycopg.connect(url, autocommit=True) as conn:
        cursor = conn.execute(query, params or None)
        return cursor.fetchall() if cursor.description else []


def stored(url: str) -> list[int]:
    """The numbers of all stored trades, doubled ones twice."""
    return [row[0] for row in ask(url, "SELECT trade_id::int FROM trades ORDER BY 1")]


def position(url: str, feed: str = FEED) -> tuple[Any, ...]:
    """run and next of a feed."""
    return ask(url, "SELECT run, next FROM positions WHERE feed = %s", feed)[0]
