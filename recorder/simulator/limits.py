"""How many within how long: the windows that venues count requests in.

Owns the counting. Never reads a clock and never decides what happens to whoever asks too much.
"""

from __future__ import annotations

from collections import deque


def allowed(times: deque[float], now: float, limit: int, seconds: float) -> bool:
    """Count one more in a sliding window, unless it is full."""
    while times and now - times[0] >= seconds:
        times.popleft()
    if len(times) >= limit:
        return False
    times.append(now)
    return True
