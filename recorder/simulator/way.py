"""The way from a simulated venue to its clients: delay, and loss as TCP shows it.

Owns the state of the way to one address of a venue, and what waits on it, for each connection. Acts on what the venue
sends, in one direction: data and answers are late by as much as a round trip grows. Knows nothing of what is sent, and
is no slower than without it while nothing is wrong. What a kernel answers by itself (TCP's handshake) it cannot delay;
a TLS handshake it can.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random


@dataclass(slots=True)
class Way:
    """The way to an address. `delay`: seconds that everything is late; `share` of what is sent at once is lost, and
    comes `stall` seconds later, twice as late if that is lost, too; whatever is behind it waits."""

    delay: float = 0.0
    share: float = 0.0
    stall: float = 0.2
    random: Random = field(default_factory=lambda: Random(1))  # noqa: S311 - reproducible on purpose

    @property
    def good(self) -> bool:
        """Nothing is wrong."""
        return not self.delay and not self.share

    def clear(self) -> None:
        """Nothing is wrong any more."""
        self.delay = self.share = 0.0

    def takes(self) -> float:
        """Seconds that something sent now is under way."""
        seconds, stall = self.delay, self.stall
        while self.random.random() < self.share:
            seconds, stall = seconds + stall, 2 * stall
        return seconds


class Queue:
    """What is under way on one connection, in order."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()

    def __bool__(self) -> bool:
        """Whether whatever is done now must wait."""
        return bool(self._waiting) or not self._way.good

    def then(self, action: Callable[[], None]) -> None:
        """Do this when it has passed the way, behind everything that was to be done before."""
        loop = asyncio.get_running_loop()
        last = self._waiting[-1][0] if self._waiting else 0.0
        self._waiting.append((max(last, loop.time() + self._way.takes()), action))
        if len(self._waiting) == 1:
            loop.call_at(self._waiting[0][0], self._arrived)

    def _arrived(self) -> None:
        """Do what is due; the clock of the loop may be a little early."""
        loop = asyncio.get_running_loop()
        while self._waiting and self._waiting[0][0] <= loop.time() + 1e-4:
            self._waiting[0][1]()
            self._waiting.popleft()
        if self._waiting:
            loop.call_at(self._waiting[0][0], self._arrived)


class Porch(asyncio.Protocol):
    """A client that has connected and wants TLS: the handshake begins when the way lets it."""

    def __init__(self, way: Way, context: ssl.SSLContext, protocol: Callable[[], asyncio.Protocol]) -> None:
        self._way, self._context, self._protocol = way, context, protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket before anything is read from it."""
        assert isinstance(transport, asyncio.Transport)
        sock: socket.socket = transport.get_extra_info("socket").dup()
        transport.abort()
        asyncio.get_running_loop().create_task(self._begin(sock))

    async def _begin(self, sock: socket.socket) -> None:
        loop, owned = asyncio.get_running_loop(), False
        try:
            if not self._way.good:
                await asyncio.sleep(self._way.takes())
            owned = True
            with suppress(OSError):  # the client has gone, or wants another TLS
                await loop.connect_accepted_socket(self._protocol, sock, ssl=self._context)
        finally:
            if not owned:
                sock.close()
