"""Hosts that have given a protocol up: to be said before a connection fails.

Owns the sentence about them. Never decides: a name may mean another machine at the user's.
"""

from __future__ import annotations

from recorder.config import Source

GONE = "okex.com"


def doubts(source: Source) -> list[str]:
    """A sentence for each endpoint that is known not to answer any more."""
    words = "has not answered this protocol for years; name a host that speaks it, or take venue okx"
    return [f'endpoints[{n}]: "{url}" {words}' for n, url in enumerate(source.endpoints) if GONE in url]
