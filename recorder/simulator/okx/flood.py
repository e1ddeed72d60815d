"""The simulated OKX as a sender without a pause: numbered trades as fast as they are read.

Owns when the next block goes out. Everything else is the venue's.
"""

from __future__ import annotations

import asyncio

from recorder.simulator.connection import Connection
from recorder.simulator.okx.venue import OkxVenue
from recorder.simulator.oracle import Numbered


class FlatOut(OkxVenue):
    """Sends numbered trades as fast as the slowest subscriber reads them. Market and limits are otherwise usual."""

    BLOCK = 256  # frames a write: 50 KB, three TLS records

    _scheduled = False

    def received(self, link: Connection, message: bytes) -> None:
        """As usual; a subscription starts the flood."""
        super().received(link, message)
        self._schedule()

    def writable(self, link: Connection) -> None:
        """Go on."""
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """Write one block for every symbol, and come again, unless somebody is still busy reading the last one."""
        self._scheduled = False
        wanted = self.pusher.wanted("trades")
        links = {link for group in wanted.values() for link in group}
        if not links or any(link.paused for link in links):
            return
        ts = self.clock.wall_us() // 1000
        for symbol in wanted:
            instrument = self.market.instruments[symbol]
            assert isinstance(instrument, Numbered)
            for _ in range(self.BLOCK):
                self.pusher.on_trade(instrument, instrument.issue(ts))
        for link in links:
            link.flush()
        self._schedule()
