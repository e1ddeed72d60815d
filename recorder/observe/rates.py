"""How fast it goes: messages a second by source and channel, and how fast the spool grows.

Owns a sample a second of counters that others count, and the arithmetic between samples. Its thread, `rates`, waits
for nobody but the disk, and nobody waits for it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from recorder.observe.health import Clock

EVERY = 1.0
KEPT = 61  # samples: a minute
OVER = 10.0  # seconds that "messages a second" looks back

Key = tuple[str, str]  # source, channel
Totals = Mapping[Key, float]


@dataclass(frozen=True, slots=True)
class Sample:
    """What the counters stood at (monotonic seconds)."""

    at: float
    messages: Totals
    spool_bytes: int


class Rates(threading.Thread):
    """`messages` gives what was received so far by source and channel; `spool_bytes` the size of the spool."""

    def __init__(
        self, messages: Callable[[], Totals], spool_bytes: Callable[[], int], clock: Clock = time.monotonic
    ) -> None:
        super().__init__(name="rates", daemon=True)  # a disk that hangs must not delay the end
        self._messages = messages
        self._spool_bytes = spool_bytes
        self._clock = clock
        self._stopping = threading.Event()
        self._samples: deque[Sample] = deque(maxlen=KEPT)

    def run(self) -> None:
        """A sample a second, until stopped."""
        while not self._stopping.wait(EVERY):
            self.turn()

    def stop(self) -> None:
        """End before the next sample."""
        self._stopping.set()

    def turn(self) -> None:
        """Take a sample."""
        self._samples.append(Sample(self._clock(), self._messages(), self._spool_bytes()))

    # --- asking ----------------------------------------------------------------------------------------------------

    def messages(self) -> dict[Key, tuple[int, float]]:
        """By source and channel: messages so far, and messages a second over the last ten."""
        now, samples = self._messages(), list(self._samples)
        before = next((sample for sample in samples if self._clock() - sample.at <= OVER), None)
        passed = self._clock() - before.at if before is not None else 0.0
        past: Totals = before.messages if before is not None and passed > 0 else now
        return {key: (int(n), max(0.0, n - past.get(key, 0.0)) / max(passed, 1e-9)) for key, n in now.items()}

    def history(self) -> dict[str, list[float]]:
        """By source: messages a second in each second of the last minute, the newest last."""
        sums = [(sample.at, _by_source(sample.messages)) for sample in list(self._samples)]
        found: dict[str, list[float]] = {source: [] for _, of in sums[-1:] for source in of}
        for (before, old), (after, new) in pairwise(sums):
            for source, rates in found.items():
                more = max(0.0, new.get(source, 0.0) - old.get(source, 0.0))
                rates.append(round(more / max(after - before, 1e-9), 1))
        return found

    def spool_growth(self) -> float | None:
        """Bytes a second over the last minute; None until there are ten seconds to look back on."""
        samples = list(self._samples)
        passed = samples[-1].at - samples[0].at if samples else 0.0
        return (samples[-1].spool_bytes - samples[0].spool_bytes) / passed if passed >= OVER else None


def _by_source(totals: Totals) -> dict[str, float]:
    sums: dict[str, float] = {}
    for (source, _), n in totals.items():
        sums[source] = sums.get(source, 0.0) + n
    return sums
