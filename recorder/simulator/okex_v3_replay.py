"""How recordings of OKEx v3 are played: every frame is compressed, and heartbeats are words.

Owns nothing else. What was recorded as bytes is played as those bytes.
"""

from __future__ import annotations

from recorder.simulator.deflate import deflated_frame
from recorder.simulator.replay import Dialect, hear_text

REPLAYED = Dialect(hear_text, pack=deflated_frame)
