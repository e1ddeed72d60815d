"""How recordings of OKEx v3 are played: every frame is compressed, heartbeats are words, and every login is good.

Owns nothing else. What was recorded as bytes is played as those bytes.
"""

from __future__ import annotations

from recorder.simulator.deflate import deflated_frame
from recorder.simulator.okex_v3.commands import GRANTED, asked
from recorder.simulator.replay import Dialect, hear_text


def hear(message: bytes) -> tuple[bytes, bool]:
    """A login is granted; what is no heartbeat either begins."""
    return (GRANTED, False) if asked(message).op == "login" else hear_text(message)


REPLAYED = Dialect(hear, pack=deflated_frame)
