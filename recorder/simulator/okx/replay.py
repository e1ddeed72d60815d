"""How recordings of OKX are played: heartbeats are words, and data came on the public path.

Owns nothing else.
"""

from __future__ import annotations

from recorder.simulator.replay import Dialect, hear_text

REPLAYED = Dialect(hear_text, without="/business")
