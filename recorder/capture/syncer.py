"""The thread that makes what feeds append durable, and compresses what they have sealed.

Owns the rhythm. Never appends, never reads a record, never deletes frames.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from recorder.capture.compression import Compression
from recorder.capture.spool import Spool

COMPRESSING = 0.2  # of the time: ~50 MB/s of raw frames, and four fifths of the core are left to receiving
RETRY_SECONDS = 60.0  # a full disk does not empty itself within a turn


def _ignore(*_: object) -> None:
    """Nobody listens."""


class Syncer(threading.Thread):
    """Every `interval` seconds, which may be changed while it runs: sync all spools, then compress what was sealed for
    a fifth of that time.

    `observe(seconds)` is called for each sync that had something to do, `trouble(path, error)` where compression
    failed (the segment stays as it is and is tried again later), `beat()` on every turn. A spool that cannot be
    synced says so in `Spool.fault`.
    """

    def __init__(
        self,
        interval: float,
        *,
        observe: Callable[[float], object] = _ignore,
        trouble: Callable[[Path, OSError], object] = _ignore,
        beat: Callable[[], object] = _ignore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="spool-syncer")
        self.interval = interval
        self._observe, self._trouble, self._beat, self._clock = observe, trouble, beat, clock
        self._stopping = threading.Event()
        self._spools: tuple[Spool, ...] = ()
        self._spool: Spool | None = None  # whose segment `_job` compresses
        self._job: Compression | None = None
        self._rest_until = 0.0

    def add(self, spool: Spool) -> None:
        """Take care of a spool from now on."""
        self._spools = (*self._spools, spool)

    def remove(self, spool: Spool) -> None:
        """Leave a spool alone; what it has sealed is compressed when it is opened again."""
        self._spools = tuple(s for s in self._spools if s is not spool)

    def stop(self) -> None:
        """Sync once more and end."""
        self._stopping.set()

    def run(self) -> None:
        """The thread."""
        while not self._stopping.wait(self.interval):
            self.turn()
        self._sync_all()
        self._drop_job()

    def turn(self) -> None:
        """One turn."""
        self._sync_all()
        self._compress(self._clock() + self.interval * COMPRESSING)
        self._beat()

    def _sync_all(self) -> None:
        for spool in self._spools:
            started, before = self._clock(), spool.durable
            spool.sync()
            if spool.durable != before:
                self._observe(self._clock() - started)

    def _compress(self, until: float) -> None:
        """Block by block until the time is up; what is left waits for the next turn."""
        while self._choose():
            self._step()
            if self._clock() >= until:
                return

    def _choose(self) -> bool:
        """See to it that there is something to compress, if anything was sealed."""
        for spool in self._spools:
            while self._job is None and spool.sealed and self._clock() >= self._rest_until:
                self._begin(spool)
        return self._job is not None

    def _begin(self, spool: Spool) -> None:
        path = spool.directory / spool.sealed.popleft()
        try:
            self._job = Compression(spool.files, path)
            self._spool = spool
        except FileNotFoundError:
            pass  # released before its turn came
        except OSError as error:
            self._put_off(spool, path, error)

    def _step(self) -> None:
        job, spool = self._job, self._spool
        if job is None or spool is None:
            return
        try:
            if job.step():
                self._job = None
        except OSError as error:
            self._drop_job()
            self._put_off(spool, job.path, error)

    def _drop_job(self) -> None:
        if self._job is not None:
            self._job.abort()
            self._job = None

    def _put_off(self, spool: Spool, path: Path, error: OSError) -> None:
        spool.sealed.append(path.name)
        self._rest_until = self._clock() + RETRY_SECONDS
        self._trouble(path, error)
