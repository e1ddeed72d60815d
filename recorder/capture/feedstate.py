"""What a feed and the writer share about one feed: how far it is, and whether the queue carries it.

Owns the handshake between live and behind: a feed is *live* while everything it appends also goes through the queue,
and *behind* when the writer must read its spool. Never touches the spool or a socket.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable

from prometheus_client import Counter

from recorder.records import Decoded


class FeedState:
    """The feed's thread offers, the writer's thread takes; `lock` makes "offered" and "behind" one decision, so that
    no burst falls between queue and spool. `share`: bytes this feed may have in the queue now, for feeds come and go.
    """

    def __init__(
        self,
        feed: str,
        source: str,
        run: str,
        items: queue.Queue[Decoded],
        share: Callable[[], int],
        overflows: Counter,
    ) -> None:
        self.feed = feed
        self.source = source
        self.run = run
        self.lock = threading.Lock()
        self.head = 0  # number after the last frame that was offered or left to the spool
        self.live = False
        self.shedding = ""  # why the spool has no room for what the database does not take: set by the writer
        self.disk_full = ""  # why the last burst was not kept: set by the feed
        self.queued_bytes = 0
        self.uncommitted_at: int | None = None  # received_at of the oldest record that is not committed
        self._items = items
        self._share = share
        self._overflows = overflows
        self._committed = 0  # the writer may read and commit a burst before the feed comes to offer it
        self._marks: deque[tuple[int, int]] = deque()  # (first, received_at) of what the queue was given

    @property
    def trouble(self) -> str:
        """Why what comes in is not kept, in a sentence; empty while it is."""
        reason = self.disk_full or self.shedding
        return f"{reason}: what comes in is shed" if reason else ""

    # --- the feed's side -------------------------------------------------------------------------------------------

    def offer(self, decoded: Decoded) -> None:
        """Publish the head; hand the burst over if the writer is following and there is room, else fall behind."""
        size = decoded.size
        with self.lock:
            self.head = decoded.next
            if self.uncommitted_at is None and decoded.first >= self._committed:
                self.uncommitted_at = decoded.received_at
            if not self.live:
                return
            if self.queued_bytes + size > self._share():
                self.live = False
                self._overflows.inc()
                return
            self.queued_bytes += size
            self._marks.append((decoded.first, decoded.received_at))
            self._items.put_nowait(decoded)

    def pass_by(self, decoded: Decoded) -> bool:
        """Publish the head for a burst that was only skimmed. False, and nothing done, if the writer follows now: then
        it has to be offered whole."""
        with self.lock:
            if self.live:
                return False
            self.head = decoded.next
            if self.uncommitted_at is None and decoded.first >= self._committed:
                self.uncommitted_at = decoded.received_at
            return True

    # --- the writer's side -----------------------------------------------------------------------------------------

    def taken(self, decoded: Decoded) -> None:
        """The burst left the queue, whatever becomes of it."""
        with self.lock:
            self.queued_bytes -= decoded.size

    def catch_up(self, run: str, n: int) -> bool:
        """Whether the queue holds, or will hold, everything from frame `n` on; decided anew if it did not."""
        with self.lock:
            if not self.live and run == self.run and n >= self.head:
                self.live = True
            return self.live

    def fall_behind(self) -> None:
        """The writer let a burst of the queue go: the spool has to give it."""
        with self.lock:
            self.live = False

    def committed(self, run: str, n: int, received_at: Callable[[], int | None]) -> None:
        """Everything before frame `n` is in the database. `received_at` asks the spool when frame `n` came; it is
        called only for a feed that is behind."""
        with self.lock:
            self._committed = n if run == self.run else 0
            if run == self.run:
                while self._marks and self._marks[0][0] < n:
                    self._marks.popleft()
                if n >= self.head:
                    self.uncommitted_at = None
                    return
                if self._marks and self._marks[0][0] == n:
                    self.uncommitted_at = self._marks[0][1]
                    return
        at = received_at()
        with self.lock:
            if run != self.run or n < self.head:
                self.uncommitted_at = at
