"""From receiving to committed: the distribution over messages, out of what the COPY lines say themselves.

Pure: lines and commit times in, percentiles out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

SKIP_US = 500_000  # the first half second warms up: connections, plans, chunks


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds over all messages but those of the first half second."""

    messages: int
    p50: float
    p99: float
    worst: float


def latency(kept: Iterable[tuple[int, bytes]], skip_us: int = SKIP_US) -> Latency | None:
    """Percentiles of commit − received_at; None when nothing was committed."""
    found: Counter[tuple[int, int]] = Counter()
    for committed, lines in kept:
        for text, count in Counter(line.split(b"\t", 2)[1] for line in lines.splitlines()).items():
            received = round(datetime.fromisoformat(text.decode()).timestamp() * 1e6)
            found[received, committed - received] += count
    if not found:
        return None
    first = min(received for received, _ in found)
    late: Counter[int] = Counter()
    for (received, waited), count in found.items():
        if received - first >= skip_us:
            late[waited] += count
    return _percentiles(late) if late else None


def _percentiles(late: Counter[int]) -> Latency:
    total = sum(late.values())
    return Latency(total, _at(late, total * 0.50), _at(late, total * 0.99), max(late) / 1000)


def _at(late: Counter[int], rank: float) -> float:
    """The smallest wait that at least `rank` messages do not exceed, in milliseconds."""
    seen = 0
    for waited in sorted(late):
        seen += late[waited]
        if seen >= rank:
            return waited / 1000
    raise ValueError("a rank beyond the last message")


def percentile(seconds: Iterable[float], share: float) -> float:
    """Of a plain list, in milliseconds."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000
