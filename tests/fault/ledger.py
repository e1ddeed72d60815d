"""The oracle: compares what a database holds with what a simulator numbered.

Owns the four properties: every number is stored exactly once or lies inside exactly one gap row; nothing stored lies
inside a gap; nothing was invented; every payload is the one that the number implies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from recorder.simulator.oracle import trade_of


@dataclass(frozen=True)
class Gap:
    """A row of `gaps`."""

    first: int
    last: int
    seconds: float
    cause: str


@dataclass(frozen=True)
class Finding:
    """What the database holds of one numbered stream."""

    stored: int
    first: int
    last: int
    gaps: tuple[Gap, ...]

    @property
    def gap_seconds(self) -> float:
        return sum(g.seconds for g in self.gaps)


def gaps(
    conn: psycopg.Connection[tuple[object, ...]], symbol: str, channel: str = "trades", source: str | None = None
) -> tuple[Gap, ...]:
    """The numbered gap rows of a stream, in order; without `source`, of every source."""
    rows = conn.execute(
        "SELECT from_seq, to_seq, extract(epoch FROM to_time - from_time)::float8, cause FROM gaps "
        "WHERE symbol = %s AND channel = %s AND source = coalesce(%s, source) AND from_seq IS NOT NULL "
        "ORDER BY from_seq",
        (symbol, channel, source),
    ).fetchall()
    return tuple(Gap(int(str(a)), int(str(b)), float(str(s)), str(c)) for a, b, s, c in rows)


def judge(
    url: str,
    symbol: str,
    issued: int,
    *,
    source: str = "okx",
    channel: str = "trades",
    spelled: Callable[[int], tuple[str, str, str]] = trade_of,
) -> Finding:
    """Assert the four properties up to the last stored number; `issued` is the highest number that can exist, and
    `spelled` says how trade n is written. A venue that aggregates nothing tells no count."""
    with psycopg.connect(url) as conn:
        rows = conn.execute(
            "SELECT trade_id::bigint, price::text, size::text, side, coalesce(count, 1) FROM trades "
            "WHERE symbol = %s AND source = %s AND channel = %s ORDER BY 1",
            (symbol, source, channel),
        ).fetchall()
        holes = gaps(conn, symbol, channel, source)
    ids = [int(row[0]) for row in rows]
    assert ids, "nothing was stored"
    twice = sorted({i for i in ids if ids.count(i) > 1}) if len(ids) != len(set(ids)) else []
    assert not twice, f"stored twice: {twice[:10]} … {len(twice)} in all"
    assert ids[-1] <= issued, f"invented: {ids[-1]} > {issued}"
    _partition(ids, holes)
    wrong = [row for row in rows if (row[1], row[2], row[3]) != spelled(int(row[0])) or row[4] != 1]
    assert not wrong, f"payload changed: {wrong[:3]}"
    return Finding(len(ids), ids[0], ids[-1], holes)


def _partition(ids: list[int], holes: tuple[Gap, ...]) -> None:
    """Stored numbers and gaps tile everything between the first and the last stored number."""
    stored = set(ids)
    missing = [i for i in range(ids[0], ids[-1] + 1) if i not in stored]
    named: dict[int, int] = {}
    for hole in holes:
        for i in range(hole.first, hole.last + 1):
            named[i] = named.get(i, 0) + 1
    inside = sorted(stored & named.keys())
    assert not inside, f"stored, yet inside a gap: {inside[:10]}"
    silent = [i for i in missing if i not in named]
    assert not silent, f"neither stored nor in a gap: {silent[:10]} … {len(silent)} in all"
    double = sorted(i for i, n in named.items() if n > 1)
    assert not double, f"in more than one gap: {double[:10]}"
