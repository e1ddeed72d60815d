"""What the recorder says about itself to people and to orchestrators: `/status` and `/readyz`.

Owns the shape of the report and the rule that tells ready from not ready. Never gathers facts (the daemon does)
and holds no field that could carry a credential.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import msgspec


@dataclass(frozen=True, slots=True)
class FeedReport:
    """One connection. `run`, `head`: the number after the last frame received; `position_run`, `position`: the next
    frame to commit, None until the database told. `trouble` says in a sentence why it is not connected,
    `shedding` why what it receives is not kept."""

    feed: str
    source: str
    connected: bool
    parked: bool = False
    live: bool = False
    draining: bool = False  # no longer configured: only its spool is still being stored
    run: str = ""
    head: int = 0
    position_run: str | None = None
    position: int | None = None
    lag_seconds: float | None = None
    last_message_age_seconds: float | None = None
    silent_streams: int = 0  # accepted by the venue, but nothing ever came
    queued_bytes: int = 0
    spool_bytes: int = 0
    endpoint: str = ""
    trouble: str = ""
    shedding: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The whole recorder. `database` and `fenced` hold the sentence that says why not, empty when all is well;
    `problems` whatever else a person should look at, `notes` what the configuration asks for in vain."""

    version: str
    recorder_id: str = ""
    instance: str = ""
    started_at: str = ""
    database: str = ""
    fenced: str = ""
    stopping: bool = False
    committed_age_seconds: float | None = None
    queue_bytes: int = 0
    spool_bytes: int = 0
    spool_max_bytes: int = 0
    disk_free_bytes: int | None = None
    feeds: tuple[FeedReport, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def unready(self) -> list[str]:
        """Why not everything that was configured is being recorded into the database; empty when it is."""
        reasons = ["the recorder is stopping"] if self.stopping else []
        reasons += [f"database: {self.database}"] if self.database else []
        reasons += [f"fenced: {self.fenced}"] if self.fenced else []
        reasons += [f"feed {feed.feed}: {feed.shedding}" for feed in self.feeds if feed.shedding]
        return reasons + [_unready(feed) for feed in self.feeds if not feed.connected and not feed.draining]

    def json(self) -> bytes:
        """The report as `/status` gives it, with the answer of `/readyz` in it."""
        fields: dict[str, object] = msgspec.to_builtins(self)
        return msgspec.json.encode({"ready": not self.unready(), "unready": self.unready(), **fields})


def _unready(feed: FeedReport) -> str:
    state = "parked, probing from time to time" if feed.parked else "not connected"
    return f"feed {feed.feed}: {state}" + (f" ({feed.trouble})" if feed.trouble else "")


class Status(Protocol):
    """What the HTTP server asks the daemon for. Called in the client's thread: it must not wait for a lock that
    a stuck thread may hold."""

    def report(self) -> Report:
        """The recorder as it is now."""
        ...
