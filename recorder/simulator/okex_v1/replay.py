"""How recordings of OKEx v1 are played: compressed, as on `/ws/v1`; heartbeats and logins are answered, a subscription
begins.

Owns nothing else. Any login is good.
"""

from __future__ import annotations

from recorder.simulator.deflate import deflated_frame
from recorder.simulator.okex_v1.ask import read
from recorder.simulator.okex_v1.options import Manners
from recorder.simulator.okex_v1.text import LOGGED_IN, PONG, enveloped
from recorder.simulator.replay import Dialect


def hear(message: bytes) -> tuple[bytes, bool]:
    """A heartbeat is answered, a subscription is the sign to begin."""
    events = {ask.event for ask in read(message) if not ask.error}
    if "ping" in events:
        return PONG, "addChannel" in events
    return enveloped(LOGGED_IN, 0, Manners()) if "login" in events else b"", "addChannel" in events


REPLAYED = Dialect(hear, pack=deflated_frame)
